//! How steps of a pipeline are run: what they take, who goes first, and what is made only once. The words and the promises are those of
//! the states of agents.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use stepwell::core::error::Code;
use stepwell::{Context, Effect, Map, Parallel, Pipeline, Priority, Resources, Step, StepError};

use crate::support::{on_each_store, simulated, simulated_with};

async fn same(_: Context, value: Value) -> Result<Value, StepError> {
    Ok(value)
}

/// A step that takes a while, and the most that were under way at once.
fn slow(name: &str, most: &Arc<AtomicU32>) -> Step {
    let (now, most) = (Arc::new(AtomicU32::new(0)), most.clone());
    Step::new(name, move |_, value: Value| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(value)
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a16_steps_of_all_runs_share_the_units_of_a_limit() {
    let engine = simulated().await;
    let most = Arc::default();
    let print = || slow("print", &most).limit("printer", 1);
    // A body that forks is a child run, for which there are as many units.
    let fork = Parallel::new("both").branch("a", print()).branch("b", Step::new("same", same));
    for (name, body) in [("plain", Pipeline::from(print())), ("child", Pipeline::from(fork))] {
        let pipeline = Pipeline::new(name).limit("printer", 2).then(Map::each("letters", body));
        let pipeline = pipeline.build(&engine).unwrap();
        let (one, other) = tokio::join!(pipeline.run([1, 2, 3]), pipeline.run([4, 5, 6]));
        assert!(one.is_ok() && other.is_ok());
        assert_eq!(most.swap(0, Ordering::SeqCst), 2, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a14_steps_share_the_resources_of_their_process() {
    let engine = simulated_with(Resources::cpu(4)).await;
    let most = Arc::default();
    let map = Map::each("rows", slow("render", &most).resources(Resources::cpu(2)));
    let result = Pipeline::new("renders").then(map).build(&engine).unwrap().run([1, 2, 3, 4]).await.unwrap();
    assert_eq!(result.output, json!([1, 2, 3, 4]));
    assert_eq!(most.load(Ordering::SeqCst), 2);
    assert!(engine.booked().is_empty());
}

#[tokio::test]
async fn steps_of_higher_priority_go_first() {
    on_each_store(async |engine| {
        let began = Arc::new(Mutex::new(Vec::new()));
        let notes = |name: &'static str, priority| {
            let began = began.clone();
            let step = Step::new(name, move |_, value: Value| {
                began.lock().unwrap().push(name);
                async move { Ok(value) }
            });
            step.priority(priority)
        };
        let fork = Parallel::new("fork")
            .branch("a", notes("low", Priority::Low))
            .branch("b", notes("normal", Priority::Normal))
            .branch("c", notes("critical", Priority::Critical))
            .branch("d", notes("high", Priority::High));
        let pipeline = Pipeline::new("p").max_concurrent(1).then(fork).build(&engine).unwrap();
        pipeline.run(()).await.unwrap();
        assert_eq!(*began.lock().unwrap(), ["critical", "high", "normal", "low"]);
    })
    .await;
}

#[tokio::test]
async fn what_may_be_attempted_only_once_does_not_wait() {
    on_each_store(async |engine| {
        let waits = |cx: Context, value: Value| async move {
            cx.sleep(Duration::ZERO).await?;
            Ok(value)
        };
        let step = Step::new("pay", waits).effect(Effect::AtMostOnce);
        let failed = Pipeline::new("p").then(step).build(&engine).unwrap().run(()).await.unwrap_err();
        assert_eq!(failed.error.code, Code::TASK_EXECUTION_FAILED);
        assert!(failed.error.message.contains("only once"), "{failed}");
    })
    .await;
}

#[tokio::test]
async fn what_no_attempt_could_ever_take_is_refused_when_built() {
    let engine = simulated().await;
    let print = || Step::new("print", same).limit("printer", 2);
    let fork = Parallel::new("fork").branch("a", print());
    let wrong = Pipeline::new("wrong")
        .limit("printer", 1)
        .limit("none", 0)
        .then(print())
        .then(Map::each("rows", fork))
        .then(Step::new("render", same).resources(Resources::cpu(-1)))
        .build(&engine)
        .unwrap_err();
    let told: Vec<_> = wrong.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "limit 'none' must be at least 1",
            "step 'fork/a/print' takes 2 of limit 'printer', which has 1",
            "step 'print' takes 2 of limit 'printer', which has 1",
            "step 'render': cpu_units must be a number that is not negative, not -1",
        ]
    );
}
