//! Limits of maps and of parallel branches: how many items or branches are under way at once, and who is next (F24).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use stepwell::{
    Ask, Branch, BranchFailure, Client, Context, Engine, Human, Map, Page, Parallel, Pipeline, Repeat, Step,
    StepError, WaitFilter, Workflow,
};
use tokio::sync::Barrier;

use crate::support::{answer, on_each_store, open, questions, told};

async fn same(_: Context, value: Value) -> Result<Value, StepError> {
    Ok(value)
}

/// Counts what is under way from one step to another.
#[derive(Clone, Default)]
struct Under {
    now: Arc<AtomicU32>,
    most: Arc<AtomicU32>,
}

impl Under {
    fn begins(&self, name: &str) -> Step {
        let under = self.clone();
        Step::new(name, move |_, value: Value| {
            let now = under.now.fetch_add(1, Ordering::SeqCst) + 1;
            under.most.fetch_max(now, Ordering::SeqCst);
            async move { Ok(value) }
        })
    }

    fn ends(&self, name: &str) -> Step {
        let under = self.clone();
        Step::new(name, move |_, value: Value| {
            under.now.fetch_sub(1, Ordering::SeqCst);
            async move { Ok(value) }
        })
    }

    /// Returns steps that are under way from the first to the last, with one between.
    fn around(&self, between: impl Into<Pipeline>) -> Pipeline {
        Pipeline::from(self.begins("begins")).then(between).then(self.ends("ends"))
    }

    fn most(&self) -> u32 {
        self.most.load(Ordering::SeqCst)
    }
}

/// A step that goes on when so many have come to it.
fn meets(name: &str, barrier: &Arc<Barrier>) -> Step {
    let barrier = barrier.clone();
    Step::new(name, move |_: Context, value: Value| {
        let barrier = barrier.clone();
        async move {
            barrier.wait().await;
            Ok(value)
        }
    })
}

fn built(engine: &Engine, part: impl Into<Pipeline>) -> Workflow {
    Pipeline::new("p").then(part).build(engine).unwrap()
}

#[tokio::test]
async fn f24_so_many_items_are_under_way_at_once_and_no_more() {
    on_each_store(async |engine| {
        let (under, pairs) = (Under::default(), Arc::new(Barrier::new(2)));
        let map = Map::each("rows", under.around(meets("meets", &pairs))).max_concurrent(2);
        let pipeline = built(&engine, map);
        let result = pipeline.run([5, 4, 3, 2, 1, 0]).await.unwrap();
        assert_eq!(result.output, json!([5, 4, 3, 2, 1, 0]));
        assert_eq!(under.most(), 2);
        assert_eq!(
            told(&engine, &result).await,
            "rows 1 rows/begins 6 rows/ends 6 rows/join 1 rows/meets 6 rows/next 8"
        );
        let run = engine.inspect(&result.run_id).await.unwrap();
        assert!(run.context().reserved("").is_empty());
        let run = pipeline.find(result.run_id.clone()).await.unwrap();
        assert_eq!(run.metrics().await.unwrap().conflicts, 0);
        let none = pipeline.run([0; 0]).await.unwrap();
        assert_eq!(none.output, json!([]));
        assert_eq!(told(&engine, &none).await, "rows 1 rows/join 1");
    })
    .await;
}

#[tokio::test]
async fn f24_an_item_that_waits_is_under_way_and_keeps_no_other_lane_from_going_on() {
    on_each_store(async |engine| {
        let asks = Branch::on("who", |n: &u32, _| Ok(if n.is_multiple_of(5) { "asks" } else { "works" }))
            .case("asks", Human::ask_about("ask", |n: &u32, _| Ok(Ask::new(format!("item {n}?")))))
            .case("works", Step::new("work", same));
        let map = Map::each("rows", asks).max_concurrent(2);
        let run = built(&engine, map).start([0, 1, 2, 3, 4, 5, 6, 10, 15]).await.unwrap();
        let prompts =
            async || questions(&run).await.into_iter().map(|(prompt, _)| prompt).collect::<Vec<_>>();
        // The second lane alone carried the four in between.
        assert_eq!(prompts().await, ["item 0?", "item 5?"]);
        answer(&run, "item 5?", json!("five")).await;
        assert_eq!(prompts().await, ["item 0?", "item 10?"]);
        answer(&run, "item 0?", json!("none")).await;
        assert_eq!(prompts().await, ["item 10?", "item 15?"]);
        answer(&run, "item 15?", json!("fifteen")).await;
        answer(&run, "item 10?", json!("ten")).await;
        let result = run.wait().await.unwrap();
        assert_eq!(result.output, json!(["none", 1, 2, 3, 4, "five", 6, "ten", "fifteen"]));
    })
    .await;
}

#[tokio::test]
async fn f24_branches_take_turns_in_the_order_of_declaration() {
    on_each_store(async |engine| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let notes = |name: &'static str| {
            let order = order.clone();
            Step::new("note", move |_, value: u32| {
                order.lock().unwrap().push(name);
                async move { if name == "c" { Err(StepError::never_again("not c")) } else { Ok(value + 1) } }
            })
        };
        let fork = |under: &Under| {
            let branches = ["d", "c", "b", "a"].into_iter();
            branches.fold(Parallel::new("fork"), |fork, name| {
                fork.branch(
                    name,
                    Pipeline::from(under.begins("begins")).then(notes(name)).then(under.ends("ends")),
                )
            })
        };
        let under = Under::default();
        let one = fork(&under).max_concurrent(1).on_branch_failure(BranchFailure::Ignore);
        let result = built(&engine, one).run(1).await.unwrap();
        assert_eq!(result.output, json!({ "d": 2, "c": null, "b": 2, "a": 2 }));
        assert_eq!(std::mem::take(&mut *order.lock().unwrap()), ["d", "c", "b", "a"]);

        // Whose failure ends the others, those never begin.
        let strict = Pipeline::new("q").then(fork(&under).max_concurrent(1)).build(&engine).unwrap();
        let failed = strict.run(1).await.unwrap_err();
        assert_eq!(failed.to_string(), "step 'fork/c/note': not c");
        assert_eq!(std::mem::take(&mut *order.lock().unwrap()), ["d", "c"]);

        let (under, pairs) = (Under::default(), Arc::new(Barrier::new(2)));
        let fork = ["d", "c", "b", "a"].into_iter().fold(Parallel::new("fork"), |fork, name| {
            fork.branch(name, under.around(meets("meets", &pairs)))
        });
        let two = Pipeline::new("r").then(fork.max_concurrent(2)).build(&engine).unwrap();
        two.run(1).await.unwrap();
        assert_eq!(under.most(), 2);
    })
    .await;
}

#[tokio::test]
async fn f24_a_branch_that_takes_turns_and_forks_joins_without_the_others() {
    on_each_store(async |engine| {
        let inner = || {
            let inner =
                Parallel::new("inner").branch("x", Step::new("a", same)).branch("y", Step::new("a", same));
            Pipeline::from(inner)
                .then(Map::each("rows", Step::new("a", same)).over("rows"))
                .step("done", same)
        };
        let asks = inner().then(Human::ask("ask", Ask::new("Sure?")));
        let fork = Parallel::new("fork").branch("asks", asks).branch("b", inner()).branch("c", inner());
        let sets = Step::new("sets", |cx: Context, value: Value| async move {
            cx.set("rows", &[1, 2])?;
            Ok(value)
        });
        // In a loop the rule of joins alone would not tell these branches from those of the next round.
        let once = Repeat::until("once", fork.max_concurrent(2), |_: &Value, _| Ok(true));
        let pipeline = Pipeline::from(sets).then(once);
        let run = built(&engine, pipeline).start(()).await.unwrap();
        run.rest().await.unwrap();
        // The others went on and ended meanwhile.
        let so_far = engine.inspect(run.id()).await.unwrap();
        let ended = so_far.executions().iter().filter(|e| e.step.as_str() == "once/fork/next").count();
        assert_eq!(ended, 4);
        let inbox = Client::over(engine.store().clone()).await.unwrap();
        let asked = inbox.inbox(&WaitFilter::default(), &Page::first(10)).await.unwrap().items;
        inbox.answer(&asked[0].wait, true, None).await.unwrap();
        assert_eq!(run.wait().await.unwrap().output, json!({ "asks": true, "b": [1, 2], "c": [1, 2] }));
    })
    .await;
}

#[tokio::test]
async fn f24_every_round_of_a_loop_begins_with_its_first_item() {
    on_each_store(async |engine| {
        let plus = Step::new("plus", |_, n: u32| async move { Ok(n + 1) });
        let map = Map::each("rows", plus).max_concurrent(2);
        let fork = Parallel::new("fork")
            .branch("a", map)
            .branch("b", Step::new("same", same))
            .branch("c", Step::new("same", same))
            .max_concurrent(2)
            .reduce(|all: &BTreeMap<String, Value>| Ok(all["a"].clone()));
        let repeat = Repeat::until("rounds", fork, |_: &Value, cx| Ok(cx.ordinal() == 3));
        let result = built(&engine, repeat).run([1, 10, 100]).await.unwrap();
        assert_eq!(result.output, json!([4, 13, 103]));
        assert_eq!(told(&engine, &result).await, "rounds/check 3 rounds/fork 3 rounds/fork/a/run 3 rounds/fork/b/same 3 \
            rounds/fork/c/same 3 rounds/fork/join 3 rounds/fork/next 15 rounds/output 1");

        let rounds = Repeat::until("rounds", Map::each("rows", Step::new("a", same)).max_concurrent(2), |_: &Value, cx| {
            Ok(cx.ordinal() == 3)
        });
        let result = Pipeline::new("q").then(rounds).build(&engine).unwrap().run([1, 2, 3]).await.unwrap();
        assert_eq!(result.output, json!([1, 2, 3]));
        assert_eq!(
            told(&engine, &result).await,
            "rounds/check 3 rounds/output 1 rounds/rows 3 rounds/rows/a 9 rounds/rows/join 3 rounds/rows/next 15"
        );
    })
    .await;
}

#[tokio::test]
async fn f24_the_limit_of_a_map_holds_over_all_processes() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/s.db", dir.path().display());
    let (under, pairs) = (Under::default(), Arc::new(Barrier::new(2)));
    let build = |engine: &Engine| {
        built(engine, Map::each("rows", under.around(meets("meets", &pairs))).max_concurrent(2))
    };
    let first = open(&stepwell::open_store(&url).await.unwrap()).await;
    let second = open(&stepwell::open_store(&url).await.unwrap()).await;
    let (here, there) = (build(&first), build(&second));
    let items: Vec<u32> = (0..20).collect();
    let run = here.start(&items).run_id("job").await.unwrap();
    let seen = there.find("job").await.unwrap().wait().await.unwrap();
    assert_eq!(seen.output, json!(items));
    assert_eq!(run.wait().await.unwrap().output, seen.output);
    assert_eq!(under.most(), 2);
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test]
async fn two_runs_of_a_map_do_not_wait_for_each_other() {
    on_each_store(async |engine| {
        let both = Arc::new(Barrier::new(2));
        let pipeline = built(&engine, Map::each("rows", meets("meets", &both)).max_concurrent(1));
        let (a, b) = tokio::join!(pipeline.run([1, 2]), pipeline.run([3, 4]));
        assert_eq!((a.unwrap().output, b.unwrap().output), (json!([1, 2]), json!([3, 4])));
    })
    .await;
}
