//! What a run tells of its steps (F2, F24): one record for each part that its user wrote, with those of its body inside.

use serde_json::{Value, json};
use stepwell::{
    Agent, Branch, BranchFailure, Code, Context, Engine, Map, Next, Options, Parallel, Pipeline, Refine,
    RefinementCheck, Repeat, Retry, Step, StepError, StepRecord, Workflow, load,
};

use crate::support::on_each_store;

fn add(name: &str, n: i64) -> Step {
    Step::new(name, move |_: Context, value: i64| async move { Ok(value + n) })
}

fn fails(name: &str) -> Step {
    Step::new(name, |_: Context, _: Value| async move { Err::<Value, _>(StepError::never_again("no")) })
}

/// Shows records as `name=output`, failures as `name!`, and what is inside of them in brackets.
fn shown(records: &[StepRecord]) -> String {
    let one = |record: &StepRecord| {
        let inside =
            if record.history.is_empty() { String::new() } else { format!("[{}]", shown(&record.history)) };
        let end = if record.error.is_some() { "!".to_owned() } else { format!("={}", record.output) };
        format!("{}{end}{inside}", record.name)
    };
    records.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn f24_each_part_has_one_record_with_those_of_its_body() {
    on_each_store(async |engine| {
        let critic = Step::new("judge", |_: Context, n: i64| async move {
            Ok(if n > 20 { RefinementCheck::complete() } else { RefinementCheck::again("more") })
        });
        let pipeline = Pipeline::new("all")
            .then(add("first", 1))
            .then(Repeat::until("loop", add("body", 1), |n: &i64, _| Ok(*n > 3)))
            .then(
                Branch::on("way", |n: &i64, _| Ok(if *n > 3 { "big" } else { "small" }))
                    .case("big", Pipeline::new("").then(add("a", 10)).then(add("b", 1)))
                    .case("small", add("a", 1)),
            )
            .then(
                Parallel::new("both")
                    .branch("x", add("a", 1))
                    .branch("y", Branch::on("inner", |_: &i64, _| Ok("only")).case("only", add("b", 2)))
                    .max_concurrent(1),
            )
            .step(
                "list",
                |_: Context, both: Value| async move { Ok(vec![both["x"].clone(), both["y"].clone()]) },
            )
            .then(
                Map::each("rows", Repeat::until("twice", add("row", 1), |n: &i64, _| Ok(*n > 17)))
                    .max_concurrent(1),
            )
            .step("sum", |_: Context, rows: Vec<i64>| async move { Ok(rows.iter().sum::<i64>()) })
            .then(Refine::new("refine", add("make", 0), critic))
            .build(&engine)
            .unwrap();
        let run = pipeline.start(1).await.unwrap();
        run.wait().await.unwrap();
        let history = run.details().await.unwrap().history;
        assert_eq!(
            shown(&history),
            "first=2 loop=4[body=3 body=4] way=15[a=14 b=15] \
             both={\"x\":16,\"y\":17}[a=16 inner=17[b=17]] list=[16,17] \
             rows=[18,18][twice=18[row=17 row=18] twice=18[row=18]] sum=36 \
             refine=36[make=36 judge={\"is_complete\":true,\"feedback\":null}]"
        );
        assert_eq!(history[1].history[0].path, "loop/body");
        let items: Vec<_> = history[5].history.iter().map(|record| record.item).collect();
        assert_eq!(items, [Some(0), Some(1)]);
    })
    .await;
}

#[tokio::test]
async fn f24_failures_stand_in_the_records_too() {
    on_each_store(async |engine| {
        let saved =
            fails("load").retry(Retry::times(0)).fallback(|_: Context, _: Value| async move { Ok(7) });
        let pipeline = Pipeline::new("failures")
            .then(saved)
            .then(
                Parallel::new("both")
                    .branch("good", add("a", 1))
                    .branch("bad", Repeat::until("loop", fails("b"), |_: &Value, _| Ok(true)))
                    .on_branch_failure(BranchFailure::Ignore)
                    .max_concurrent(1),
            )
            .then(
                Repeat::until(
                    "never",
                    Step::new("same", |_: Context, v: Value| async move { Ok(v) }),
                    |_: &Value, _| Ok(false),
                )
                .max(2),
            )
            .build(&engine)
            .unwrap();
        let run = pipeline.start(json!(1)).await.unwrap();
        let failed = run.wait().await.unwrap_err();
        assert_eq!(failed.error.code, Code::LOOP_LIMIT);
        let details = run.details().await.unwrap();
        assert_eq!(
            shown(&details.history),
            "load=7[load! fallback=7] both={\"good\":8,\"bad\":null}[a=8 loop![b!]] \
             never![same={\"good\":8,\"bad\":null} same={\"good\":8,\"bad\":null}]"
        );
        assert_eq!(details.history[0].attempts, 2);
    })
    .await;
}

#[tokio::test]
async fn f24_a_body_that_is_a_child_run_is_told_too() {
    on_each_store(async |engine| {
        let body = Parallel::new("both").branch("x", add("a", 1)).branch("y", add("b", 2)).max_concurrent(1);
        let pipeline = Pipeline::new("forks").then(Map::each("rows", body)).build(&engine).unwrap();
        let run = pipeline.start([1]).await.unwrap();
        run.wait().await.unwrap();
        assert_eq!(
            shown(&run.details().await.unwrap().history),
            "rows=[{\"x\":2,\"y\":3}][item={\"x\":2,\"y\":3}[both={\"x\":2,\"y\":3}[a=2 b=3]]]"
        );
    })
    .await;
}

#[tokio::test]
async fn f9_what_failed_has_one_record_when_it_was_tried_again() {
    on_each_store(async |engine| {
        let calls = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let once = Step::new("once", move |_: Context, n: i64| {
            let call = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async move { if call == 0 { Err(StepError::never_again("not yet")) } else { Ok(n) } }
        });
        let body = Pipeline::new("").then(add("before", 1)).then(once);
        let pipeline = Pipeline::new("again")
            .then(Repeat::until("loop", body, |_: &i64, _| Ok(true)))
            .build(&engine)
            .unwrap();
        let run = pipeline.start(1).await.unwrap();
        run.wait().await.unwrap_err();
        assert_eq!(shown(&run.details().await.unwrap().history), "loop![before=2 once!]");
        run.retry().await.unwrap();
        run.wait().await.unwrap();
        let history = run.details().await.unwrap().history;
        assert_eq!(shown(&history), "loop=2[before=2 once=2]");
        assert_eq!(history[0].history[1].attempts, 2);
    })
    .await;
}

#[tokio::test]
async fn f2_steps_of_other_workflows_have_a_record_each() {
    let store = stepwell::open_store("memory:").await.unwrap();
    let engine = Engine::open(store, stepwell::registry(Vec::new()), Options::default()).await.unwrap();
    let file = "steps: [{id: nap, for_each: [0, 0], method: timer/sleep, params: {seconds: \"${item}\"}}, \
                {id: last, method: timer/sleep, params: {seconds: 0}, needs: [nap]}]";
    let naps = Workflow::from_text(file, load::Format::Yaml, &engine).unwrap();
    let run = naps.start(json!({})).await.unwrap();
    run.wait().await.unwrap();
    let history = run.details().await.unwrap().history;
    assert_eq!(history.iter().map(|record| record.name.as_str()).collect::<Vec<_>>(), ["nap", "last"]);

    let agent = Agent::new("two")
        .state("a", |_: Context| async { Ok(Next::to("b/c")) })
        .state("b/c", |_: Context| async { Ok(Next::done()) })
        .build(&engine)
        .unwrap();
    let run = agent.start(()).await.unwrap();
    run.wait().await.unwrap();
    assert_eq!(shown(&run.details().await.unwrap().history), "a=null b/c=null");
    engine.shutdown().await;
}

#[tokio::test]
async fn f24_what_a_failure_cut_short_stands_in_the_record_of_its_part() {
    on_each_store(async |engine| {
        let bad = Pipeline::new("").then(add("before", 1)).then(fails("bad"));
        let pipeline =
            Pipeline::new("p").then(Parallel::new("both").branch("x", bad)).build(&engine).unwrap();
        let run = pipeline.start(1).await.unwrap();
        run.wait().await.unwrap_err();
        assert_eq!(shown(&run.details().await.unwrap().history), "both![before=2 bad!]");
    })
    .await;
}
