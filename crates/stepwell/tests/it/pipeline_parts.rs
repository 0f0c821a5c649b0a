//! The parts of a pipeline: which steps they are lowered to, what they refuse, and how they fail (F17, F24).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepwell::core::error::Code;
use stepwell::core::ids::Seq;
use stepwell::core::run::event::Event;
use stepwell::core::status::{ExecutionStatus, RunStatus};
use stepwell::core::workflow::definition::Successors;
use stepwell::{
    Ask, Branch, BranchFailure, Context, Engine, Human, Map, Merge, Parallel, Pipeline, Refine,
    RefinementCheck, Repeat, RunResult, Step, StepError, Workflow,
};
use tokio::sync::Barrier;

use crate::support::{answer, on_each_store, open, questions, told};

async fn same(_: Context, value: Value) -> Result<Value, StepError> {
    Ok(value)
}

async fn fails(_: Context, _: Value) -> Result<Value, StepError> {
    Err(StepError::never_again("no bread"))
}

fn sets(name: &str, key: &'static str, value: i64) -> Step {
    Step::new(name, move |cx: Context, input: Value| async move {
        cx.set(key, &value)?;
        Ok(input)
    })
}

async fn memory() -> Engine {
    open(&stepwell::open_store("memory:").await.unwrap()).await
}

/// Builds a pipeline of one part.
fn only(engine: &Engine, part: impl Into<Pipeline>) -> Workflow {
    Pipeline::new("p").then(part).build(engine).unwrap()
}

/// Returns the steps of a workflow and where they lead, a line each.
fn lowered(workflow: &Workflow) -> Vec<String> {
    let next = |next: &Successors| {
        let names = next.known().expect("a pipeline declares everything");
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let steps = workflow.definition().steps.iter();
    steps
        .map(|step| format!("{}{} -> {}", if step.entry { "> " } else { "" }, step.name, next(&step.next)))
        .collect()
}

#[tokio::test]
async fn each_part_is_lowered_to_the_steps_that_its_page_names() {
    let engine = memory().await;
    let body = || Pipeline::new("body").step("a", same).step("b", same);
    let branch =
        Branch::on("way", |_: &Value, _| Ok("x")).case("x", body()).case("y", Pipeline::new("nothing"));
    let parallel = Parallel::new("both").branch("l", body()).branch("r", Step::new("a", same));
    let pipeline = Pipeline::new("whole")
        .then(branch)
        .then(parallel)
        .then(Map::each("rows", body()))
        .then(Human::ask("sure", Ask::new("Sure?")))
        .then(Refine::new("essay", body(), Step::new("judge", same)))
        .then(Repeat::until("again", body(), |_: &Value, _| Ok(true)))
        .build(&engine)
        .unwrap();
    assert_eq!(
        lowered(&pipeline),
        [
            "> way -> way/x/a, both",
            "way/x/a -> way/x/b",
            "way/x/b -> both",
            "both -> both/l/a, both/r/a",
            "both/l/a -> both/l/b",
            "both/l/b -> both/join",
            "both/r/a -> both/join",
            "both/join -> rows",
            "rows -> rows/a, rows/join",
            "rows/a -> rows/b",
            "rows/b -> rows/join",
            "rows/join -> sure",
            "sure -> essay",
            "essay -> essay/generator/a",
            "essay/generator/a -> essay/generator/b",
            "essay/generator/b -> essay/critic/judge",
            "essay/critic/judge -> essay/check",
            "essay/check -> essay/generator/a, again/a",
            "again/a -> again/b",
            "again/b -> again/check",
            "again/check -> again/a, again/output",
            "again/output -> ",
        ]
    );
}

#[tokio::test]
async fn the_version_says_what_is_declared() {
    let engine = memory().await;
    let version = |part: Pipeline| Pipeline::new("p").then(part).build(&engine).unwrap().version().to_owned();
    let repeat = |max| Repeat::until("r", Step::new("a", same), |_: &Value, _| Ok(true)).max(max).into();
    let ask = |prompt: &str| Human::ask("h", Ask::new(prompt)).into();
    let parallel = |merge| Parallel::new("f").branch("a", Step::new("a", same)).merge(merge).into();
    let map = |items| Map::each("m", Step::new("a", same)).max_concurrent(items).into();
    assert_ne!(version(map(2)), version(map(3)));
    assert_eq!(version(repeat(3)), version(repeat(3)));
    assert_ne!(version(repeat(3)), version(repeat(4)));
    assert_ne!(version(ask("Sure?")), version(ask("Really?")));
    assert_ne!(version(parallel(Merge::KeepFirst)), version(parallel(Merge::NoMerge)));
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_pipeline_is_told_at_once() {
    let engine = memory().await;
    let nothing = || Pipeline::new("nothing");
    let until = |_: &Value, _: &Context| Ok(true);
    let wrong = Pipeline::new("wrong")
        .then(Parallel::new("p"))
        .then(Parallel::new("q").branch("x", nothing()))
        .then(Map::each("m", nothing()))
        .then(Map::each("n", Parallel::new("deep")))
        .then(Refine::new("r", nothing(), Step::new("judge", same)))
        .then(Repeat::until("u", Step::new("a", same), until).max(0))
        .then(Map::each("none", Step::new("a", same)).max_concurrent(0))
        .then(Parallel::new("nobody").branch("x", Step::new("a", same)).max_concurrent(0))
        .then(Branch::on("b", |_: &Value, _| Ok("")))
        .then(Parallel::new("same").branch("x", Step::new("a", same)).branch("x", Step::new("b", same)))
        .step("twice", same)
        .step("twice", same)
        .step("u", same)
        .step("x/y", same)
        .build(&engine)
        .unwrap_err();
    let told: Vec<_> = wrong.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "two parts are named 'twice'",
            "two parts are named 'u'",
            "'x/y' is no name within a pipeline: those have 1 to 120 characters, no '/' or '*', and do not begin with '$'",
            "'p' has no branches",
            "branch 'x' of 'q' has no steps",
            "'m' does nothing with its items: its body has no steps",
            "'deep' has no branches",
            "'r' needs a generator and a critic, each with a step",
            "'u' has no rounds: `max` must be at least 1",
            "'none' begins no item: `max_concurrent` must be at least 1",
            "'nobody' begins no branch: `max_concurrent` must be at least 1",
            "'b' has no cases",
            "two parts are named 'same/x'",
        ]
    );
    let empty = nothing().build(&engine).unwrap_err();
    assert_eq!(empty.to_string(), "pipeline 'nothing' has no steps");
}

#[tokio::test]
async fn a_step_that_is_named_like_one_of_the_part_around_it_is_refused_when_built() {
    let engine = memory().await;
    let until = |_: &Value, _: &Context| Ok(true);
    let step = |name: &str| Step::new(name, same);
    let way = || Pipeline::new("way").step("a", same);
    let wrong = Pipeline::new("wrong")
        .then(Map::each("rows", step("join")))
        .then(Map::each("turns", step("next")).max_concurrent(2))
        .then(Repeat::until("again", step("check"), until))
        .then(Branch::on("way", |_: &Value, _| Ok("")).case("otherwise", way()).otherwise(way()))
        .then(Branch::on("twice", |_: &Value, _| Ok("")).case("a", way()).case("a", way()))
        .then(Map::each("free", step("next")))
        .then(Repeat::until("last", step("output"), until))
        .build(&engine)
        .unwrap_err();
    let told: Vec<_> = wrong.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "'rows/join' is named like a step that 'rows' makes itself: nothing in 'rows' can be called 'join'",
            "'turns/next' is named like a step that 'turns' makes itself: nothing in 'turns' can be called 'next'",
            "'again/check' is named like a step that 'again' makes itself: nothing in 'again' can be called 'check'",
            "'way' has a case 'otherwise', which is what the way for every other key is called",
            "two parts are named 'twice/a'",
            "'last/output' is named like a step that 'last' makes itself: nothing in 'last' can be called 'output'",
        ]
    );
    assert_eq!(wrong.problems[0].step.as_ref().unwrap().as_str(), "rows/join");
}

#[tokio::test]
async fn f24_a_branch_is_hit_or_the_default_or_an_error() {
    on_each_store(async |engine| {
        let branch = || {
            Branch::on("way", |key: &String, _| Ok(key.clone()))
                .case("a", Step::new("one", |_, _: Value| async { Ok("went a") }))
                .case("b", Pipeline::new("nothing"))
        };
        let strict = only(&engine, branch());
        let result = strict.run("a").await.unwrap();
        assert_eq!(result.output, json!("went a"));
        assert_eq!(told(&engine, &result).await, "way 1 way/a/one 1 way/output 1");
        assert_eq!(strict.run("b").await.unwrap().output, json!("b"));
        let failed = strict.run("c").await.unwrap_err().error;
        assert_eq!(failed.code, Code::NO_BRANCH);
        assert_eq!(failed.message, "step 'way': there is no branch for 'c', only for 'a', 'b'");
        let lenient =
            Pipeline::new("q").then(branch().otherwise(Step::new("rest", same))).build(&engine).unwrap();
        assert_eq!(lenient.run("c").await.unwrap().output, json!("c"));
    })
    .await;
}

#[tokio::test]
async fn f24_a_branch_maps_what_its_way_is_given_and_what_that_came_to() {
    on_each_store(async |engine| {
        let branch = |name: &str| {
            Branch::on(name, |n: &u32, _| Ok(if *n < 10 { "few" } else { "many" }))
                .case("few", Step::new("double", |_, n: u32| async move { Ok(n * 2) }))
                .otherwise(Pipeline::new("nothing"))
                .input(|n: &u32, cx, key| Ok(n + u32::from(key == "few") + cx.get("more")?.unwrap_or(0)))
                .output(|n: &u32, _, key| Ok(json!({ "key": key, "n": n })))
        };
        let alone = only(&engine, branch("size"));
        assert_eq!(
            lowered(&alone),
            ["> size -> size/few/double, size/output", "size/few/double -> size/output", "size/output -> "]
        );
        let result = alone.run(3).await.unwrap();
        assert_eq!(result.output, json!({ "key": "few", "n": 8 }));
        assert_eq!(told(&engine, &result).await, "size 1 size/few/double 1 size/output 1");
        // The key is that which was chosen by, not the name of the way.
        assert_eq!(alone.run(30).await.unwrap().output, json!({ "key": "many", "n": 30 }));

        // Items side by side keep their keys apart, and rounds of a loop find none of an earlier one.
        let rounds = Repeat::until("rounds", branch("size"), |_: &Value, cx| Ok(cx.get("more")? == Some(1)));
        let again = rounds.next_input(|found: &Value, cx, _| {
            cx.set("more", &1)?;
            Ok(found["n"].clone())
        });
        let result = Pipeline::new("items").then(Map::each("rows", again)).build(&engine).unwrap();
        let result = result.run([3, 30]).await.unwrap();
        assert_eq!(result.output, json!([{ "key": "few", "n": 20 }, { "key": "many", "n": 31 }]));
        let run = engine.inspect(&result.run_id).await.unwrap();
        assert!(run.context().reserved("").is_empty());

        let wrong = branch("size").output(|text: &String, _, _| Ok(text.clone()));
        let failed = Pipeline::new("wrong").then(wrong).then(Step::new("keep", same)).build(&engine).unwrap();
        let failed = failed.run(3).await.unwrap_err().to_string();
        assert!(failed.starts_with("step 'size/output': the input cannot be read as"), "{failed}");
    })
    .await;
}

#[tokio::test]
async fn f24_what_branches_came_to_is_reduced() {
    on_each_store(async |engine| {
        let number = |text: String| async move { Ok(text.parse::<u32>()?) };
        let fork = || {
            Parallel::new("fork")
                .branch("number", Step::new("read", move |_, text: String| number(text)))
                .branch("length", Step::new("count", |_, text: String| async move { Ok(text.len()) }))
                .on_branch_failure(BranchFailure::Ignore)
        };
        let sum = |found: &std::collections::BTreeMap<String, Option<u32>>| {
            Ok(found.values().flatten().sum::<u32>())
        };
        let reduced = only(&engine, fork().reduce(sum));
        assert_eq!(reduced.run("17").await.unwrap().output, json!(19));
        assert_eq!(reduced.run("well").await.unwrap().output, json!(4));
        assert_ne!(only(&engine, fork()).version(), reduced.version());

        let refuses = fork().reduce(|_: &Value| Err::<Value, _>(StepError::never_again("no sum")));
        let failed = only(&engine, refuses).run("17").await.unwrap_err();
        assert_eq!(failed.to_string(), "step 'fork/join': no sum");
    })
    .await;
}

#[tokio::test]
async fn f24_a_loop_that_uses_up_its_rounds_fails() {
    on_each_store(async |engine| {
        let never = Repeat::until("r", Step::new("a", same), |_: &Value, _| Ok(false)).max(3);
        let failed = only(&engine, never).run(1).await.unwrap_err();
        assert_eq!(failed.error.code, Code::LOOP_LIMIT);
        assert_eq!(
            failed.error.message,
            "step 'r/check': 'r' went on for 3 rounds, and its condition does not hold"
        );
        assert_eq!(told(&engine, &failed.result.unwrap()).await, "r/a 3 r/check 3");
        let judge = Step::new("judge", |_, _: Value| async { Ok(RefinementCheck::again("more")) });
        let never = Refine::new("r", Step::new("draft", same), judge).max(2);
        let failed = only(&engine, never).run(1).await.unwrap_err();
        assert_eq!(failed.error.code, Code::LOOP_LIMIT);
    })
    .await;
}

/// Two branches write one key, and each a key of its own.
fn writers(merge: Merge) -> Pipeline {
    let first = sets("a", "both", 1).into();
    let fork = Parallel::new("fork")
        .branch("first", Pipeline::then(first, sets("b", "mine", 1)))
        .branch("second", Pipeline::new("s").then(sets("a", "both", 2)).then(sets("b", "yours", 2)));
    Pipeline::new("p").then(sets("before", "both", 0)).then(fork.merge(merge))
}

async fn conflicts(engine: &Engine, result: &RunResult) -> Vec<Value> {
    let journal = engine.store().events(&result.run_id, Seq(0), usize::MAX).await.unwrap();
    let emitted = journal.into_iter().filter_map(|recorded| match recorded.event {
        Event::Emitted { kind, data, .. } if kind == "conflict" => Some((*data).clone()),
        _ => None,
    });
    emitted.collect()
}

#[tokio::test]
async fn f24_writes_of_branches_are_merged_as_the_strategy_says() {
    on_each_store(async |engine| {
        let all = |both| json!({ "both": both, "mine": 1, "yours": 2 });
        let table = [
            (Merge::ContextUpdate, all(2), 1),
            (Merge::Overwrite, all(2), 0),
            (Merge::KeepFirst, all(1), 0),
            (Merge::NoMerge, json!({ "both": 0 }), 0),
        ];
        for (merge, expected, told) in table {
            let pipeline = writers(merge).build(&engine).unwrap();
            let result = pipeline.run("x").await.unwrap();
            assert_eq!(Value::Object(result.context.clone()), expected, "{merge:?}");
            assert_eq!(result.output, json!({ "first": "x", "second": "x" }));
            let conflicts = conflicts(&engine, &result).await;
            assert_eq!(conflicts.len(), told, "{merge:?}");
            if let [conflict] = &conflicts[..] {
                let expected = json!({ "key": "both", "branches": ["first", "second"], "winner": "second" });
                assert_eq!(*conflict, expected);
            }
        }
        let failed = writers(Merge::ErrorOnConflict).build(&engine).unwrap().run("x").await.unwrap_err();
        assert_eq!(failed.error.code, Code::CONTEXT_CONFLICT);
        assert_eq!(
            failed.error.message,
            "step 'fork/join': branches 'first', 'second' wrote different values to context key 'both'"
        );
        // What was under way is nobody's to see.
        assert_eq!(Value::Object(failed.result.unwrap().context), json!({ "both": 0 }));
    })
    .await;
}

#[tokio::test]
async fn f24_a_branch_sees_what_was_there_when_it_began_and_its_own_writes() {
    on_each_store(async |engine| {
        let sees = |name: &str| {
            Step::new(name, |cx: Context, _: Value| async move {
                Ok(json!([cx.get::<i64>("a")?, cx.get::<i64>("b")?, cx.keys()?, cx.has("a")?]))
            })
        };
        let removes = |name: &str| {
            Step::new(name, |cx: Context, input: Value| async move {
                cx.remove("a")?;
                Ok(input)
            })
        };
        let inner = Parallel::new("inner").branch("sees", sees("s")).branch("removes", removes("r"));
        let left = Pipeline::new("l").then(sets("set", "b", 2)).then(inner).then(sees("s"));
        let fork = Parallel::new("fork").branch("left", left).branch("right", sees("s"));
        let pipeline = Pipeline::new("p").then(sets("a", "a", 1)).then(fork).then(Step::new("keep", same));
        let result = pipeline.build(&engine).unwrap().run(()).await.unwrap();
        let expected = json!({ "left": [null, 2, ["b"], false], "right": [1, null, ["a"], true] });
        assert_eq!(result.output, expected);
        assert_eq!(Value::Object(result.context), json!({ "b": 2 }));

        let some = Parallel::new("fork").branch("x", sees("s")).context_keys(["b"]);
        let pipeline = Pipeline::new("q").then(sets("a", "a", 1)).then(sets("b", "b", 2)).then(some);
        let result = pipeline.build(&engine).unwrap().run(()).await.unwrap();
        assert_eq!(result.output, json!({ "x": [null, 2, ["b"], false] }));
    })
    .await;
}

#[tokio::test]
async fn nobody_writes_what_a_pipeline_keeps_for_itself() {
    let engine = memory().await;
    let failed = only(&engine, sets("a", "$pipeline/x", 1)).run(1).await.unwrap_err();
    let expected = "step 'a': context key '$pipeline/x' is reserved: no key begins with '$pipeline/'";
    assert_eq!(failed.to_string(), expected);
}

#[tokio::test]
async fn f24_a_failing_branch_ends_its_siblings_or_is_null() {
    on_each_store(async |engine| {
        let waits = |_: Context, _: Value| std::future::pending::<Result<Value, StepError>>();
        let fork =
            Parallel::new("fork").branch("bad", Step::new("a", fails)).branch("slow", Step::new("a", waits));
        let failed = only(&engine, fork).run(1).await.unwrap_err();
        assert_eq!(failed.to_string(), "step 'fork/bad/a': no bread");
        let run = engine.inspect(&failed.result.unwrap().run_id).await.unwrap();
        let slow =
            run.executions().iter().find(|execution| execution.step.as_str() == "fork/slow/a").unwrap();
        assert_eq!(slow.status, ExecutionStatus::Cancelled);

        let bad = Pipeline::new("b").then(sets("set", "lost", 1)).step("a", fails).step("never", same);
        let inner =
            Parallel::new("inner").branch("x", Step::new("a", fails)).branch("y", Step::new("a", waits));
        let fork = Parallel::new("fork")
            .branch("bad", bad)
            .branch("good", sets("a", "kept", 1))
            .branch("nested", inner)
            .on_branch_failure(BranchFailure::Ignore);
        let result = Pipeline::new("q").then(fork).build(&engine).unwrap().run(1).await.unwrap();
        assert_eq!(result.output, json!({ "bad": null, "good": 1, "nested": null }));
        assert_eq!(Value::Object(result.context), json!({ "kept": 1 }));
        assert_eq!(result.failed_states, ["fork/bad/a", "fork/nested/run"]);
        let retried = engine.retry(&result.run_id, None, None).await;
        assert!(retried.is_err(), "somebody took care of what failed");
    })
    .await;
}

#[tokio::test]
async fn f24_branches_within_a_loop_run_side_by_side() {
    on_each_store(async |engine| {
        let barrier = Arc::new(Barrier::new(2));
        let meets = |name: &str| {
            let barrier = barrier.clone();
            Step::new(name, move |_: Context, n: Value| {
                let barrier = barrier.clone();
                async move {
                    barrier.wait().await;
                    Ok(n)
                }
            })
        };
        let fork = Parallel::new("fork").branch("a", meets("x")).branch("b", meets("y"));
        let repeat = Repeat::until("rounds", fork, |_: &Value, cx| Ok(cx.ordinal() == 3));
        let result = only(&engine, repeat).run(0).await.unwrap();
        assert_eq!(
            told(&engine, &result).await,
            "rounds/check 3 rounds/fork 3 rounds/fork/a/x 3 rounds/fork/b/y 3 rounds/fork/join 3 rounds/output 1"
        );
    })
    .await;
}

#[tokio::test]
async fn f24_a_map_keeps_the_order_of_its_items_whoever_is_first() {
    on_each_store(async |engine| {
        let square = |_: Context, n: u64| async move {
            for _ in 0..(5 - n % 5) {
                tokio::task::yield_now().await;
            }
            Ok(n * n)
        };
        let map = || Map::each("rows", Step::new("square", square));
        let squares = only(&engine, map());
        let items: Vec<u64> = (0..1_000).collect();
        let expected: Vec<u64> = items.iter().map(|n| n * n).collect();
        let result = squares.run(&items).await.unwrap();
        assert_eq!(result.output::<Vec<u64>>().unwrap(), expected);
        assert_eq!(told(&engine, &result).await, "rows 1 rows/join 1 rows/square 1000");
        let result = squares.run([0; 0]).await.unwrap();
        assert_eq!(result.output, json!([]));
        assert_eq!(told(&engine, &result).await, "rows 1 rows/join 1");
        let failed = squares.run(json!({ "a": 1 })).await.unwrap_err();
        assert_eq!(failed.to_string(), "step 'rows': what came in must be a list, and is an object");
        let over = Pipeline::new("over")
            .then(Step::new("load", same).sink_to("data.rows"))
            .then(map().over("data.rows"))
            .build(&engine)
            .unwrap();
        assert_eq!(over.run([2, 3]).await.unwrap().output, json!([4, 9]));
        let failed = over.run("x").await.unwrap_err();
        assert_eq!(failed.to_string(), "step 'rows': context key 'data.rows' must be a list, and is a text");
    })
    .await;
}

#[tokio::test]
async fn f24_a_body_that_forks_is_a_child_run_per_item() {
    on_each_store(async |engine| {
        let plus = |name: &str, more: u64| Step::new(name, move |_, n: u64| async move { Ok(n + more) });
        let fork = Parallel::new("fork").branch("one", plus("a", 1)).branch("ten", plus("a", 10));
        let notes = Step::new("note", |cx: Context, found: Value| async move {
            cx.set("seen", &found)?;
            let base: u64 = cx.get("base")?.unwrap();
            Ok(json!([base, found["one"], found["ten"]]))
        });
        let map = Map::each("rows", Pipeline::from(fork).then(notes));
        let pipeline =
            Pipeline::new("p").then(Step::new("base", same)).then(sets("set", "base", 7)).then(map);
        let result = pipeline.build(&engine).unwrap().run([1, 2]).await.unwrap();
        assert_eq!(result.output, json!([[7, 2, 11], [7, 3, 12]]));
        assert_eq!(told(&engine, &result).await, "base 1 rows 1 rows/item 2 rows/join 1 set 1");
        assert_eq!(Value::Object(result.context), json!({ "base": 7, "seen": { "one": 3, "ten": 12 } }));
    })
    .await;
}

#[tokio::test]
async fn f17_questions_in_a_loop_are_asked_once_a_round() {
    on_each_store(async |engine| {
        let body = Pipeline::new("b")
            .step("draft", |cx: Context, _: Value| async move { Ok(cx.ordinal()) })
            .then(Human::ask_about("ask", |draft: &u32, _| Ok(Ask::new(format!("draft {draft}?")))));
        let repeat = Repeat::until("polish", body, |answer: &Value, _| Ok(*answer == json!("good")));
        let run = only(&engine, repeat).start(()).await.unwrap();
        let first = questions(&run).await;
        answer(&run, "draft 1?", json!("bad")).await;
        answer(&run, "draft 2?", json!("bad")).await;
        assert!(run.answer(&first[0].1, "good").await.is_err(), "an old question is closed");
        answer(&run, "draft 3?", json!("good")).await;
        let result = run.wait().await.unwrap();
        assert_eq!(result.output, json!("good"));
        assert_eq!(
            told(&engine, &result).await,
            "polish/ask 3 polish/check 3 polish/draft 3 polish/output 1"
        );
    })
    .await;
}

#[tokio::test]
async fn f17_questions_in_branches_and_items_are_answered_in_any_order() {
    on_each_store(async |engine| {
        let ask = |name: &str, prompt: &str| Human::ask(name, Ask::new(prompt));
        let fork = Parallel::new("fork")
            .branch("a", ask("ask", "a?").sink_to("said"))
            .branch("b", ask("ask", "b?"))
            .branch("c", Step::new("works", same));
        let each = Human::ask_about("each", |n: &u32, _| Ok(Ask::new(format!("item {n}?"))));
        let pipeline = Pipeline::new("p")
            .then(fork)
            .step("list", |_, _: Value| async { Ok([1, 2]) })
            .then(Map::each("rows", each))
            .build(&engine)
            .unwrap();
        let run = pipeline.start("x").await.unwrap();
        answer(&run, "b?", json!(2)).await;
        answer(&run, "a?", json!(1)).await;
        answer(&run, "item 2?", json!("two")).await;
        answer(&run, "item 1?", json!("one")).await;
        let result = run.wait().await.unwrap();
        assert_eq!(result.output, json!(["one", "two"]));
        assert_eq!(Value::Object(result.context.clone()), json!({ "said": 1 }));
        let said = told(&engine, &result).await;
        assert!(said.contains("fork/c/works 1"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn f16_an_answer_that_does_not_fit_leaves_the_question_open() {
    on_each_store(async |engine| {
        let ask = Ask::new("How many?").schema(json!({ "type": "integer" }));
        let run = only(&engine, Human::ask("count", ask)).start(()).await.unwrap();
        let asked = questions(&run).await.remove(0);
        assert_eq!(run.answer(&asked.1, "many").await.unwrap_err().code, Code::ANSWER_INVALID);
        assert_eq!(run.status().await.unwrap(), RunStatus::Paused);
        run.answer(&asked.1, 3).await.unwrap();
        assert_eq!(run.wait().await.unwrap().output, json!(3));
        let late = Ask::new("Now?").deadline(Duration::ZERO);
        let pipeline = Pipeline::new("late").then(Human::ask("now", late)).build(&engine).unwrap();
        assert_eq!(pipeline.run(()).await.unwrap_err().error.code, Code::HUMAN_TIMEOUT);
    })
    .await;
}
