//! Which runs an engine takes work of that takes that of its own runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use stepwell_core::ids::RunId;
use stepwell_core::run::wait::{ChildStart, WaitKind, WaitSpec};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_engine::testing::{ScriptedProvider, TestEngine};
use stepwell_engine::{Leases, Options, Outcome, Start, Task};
use stepwell_store::{MemoryStore, Store};

fn definition(name: &str, step: &str) -> Definition {
    Definition::new(name, vec![Step::provided(step, "test/v1", "test/do", json!({}))])
}

/// Begins a child run, and is done when that has ended.
fn begins_child(task: &Task) -> Outcome {
    if !task.resolutions.is_empty() {
        return Outcome::output(json!({ "result": "done" }));
    }
    Outcome::Suspend(vec![WaitSpec::step(WaitKind::Child(Box::new(ChildStart {
        run: RunId::from(""),
        definition: serde_json::to_value(definition("child", "below")).expect("a definition is JSON"),
        input: Arc::new(Value::Null),
        context: Map::new(),
        metadata: Map::new(),
        entry: None,
    })))])
}

fn script() -> ScriptedProvider {
    ScriptedProvider::default().on("top", begins_child)
}

async fn own(store: &Arc<dyn Store>) -> TestEngine {
    let options = Options { leases: Leases::Own, slots: 8, ..Options::default() };
    TestEngine::with(store.clone(), script(), options).await
}

/// Waits as long as an engine that wants work takes to find it.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

async fn begun(test: &TestEngine, run: &RunId) -> bool {
    test.count(run, "AttemptStarted").await > 0
}

#[tokio::test(start_paused = true)]
async fn what_others_left_is_left_to_others_until_it_is_taken_up() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let left = TestEngine::idle(store.clone()).await.start(definition("left", "top")).await;
    let test = own(&store).await;
    // Its own, with a child run, is carried to its end.
    assert_eq!(test.run(definition("own", "top")).await.state.status, RunStatus::Completed);
    a_while().await;
    assert!(!begun(&test, &left).await, "nobody told it to");
    test.engine.carry(&left).await.unwrap();
    assert_eq!(test.end(&left).await.state.status, RunStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn who_serves_takes_all_until_it_stops() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let idle = TestEngine::idle(store.clone()).await;
    let test = own(&store).await;
    let serving = test.engine.serve();
    let served = idle.start(definition("served", "top")).await;
    assert_eq!(test.end(&served).await.state.status, RunStatus::Completed);
    drop(serving);
    let left = idle.start(definition("left", "top")).await;
    a_while().await;
    assert!(!begun(&test, &left).await, "it has stopped");
}

#[tokio::test(start_paused = true)]
async fn a_run_of_that_id_that_is_there_is_joined() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let idle = TestEngine::idle(store.clone()).await;
    let test = own(&store).await;
    let workflow = Workflow::new(definition("joined", "top")).unwrap();
    let start = Start { run_id: Some("r".into()), ..Start::of(workflow) };
    assert!(!idle.engine.start(start.clone()).await.unwrap().existed);
    assert!(test.engine.start(start).await.unwrap().existed);
    assert_eq!(test.end(&"r".into()).await.state.status, RunStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_resumed_or_tried_again_here_goes_on_here() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let idle = TestEngine::idle(store.clone()).await;
    let failing = ScriptedProvider::default().on("once", |task| match task.attempt {
        1 => Outcome::from(stepwell_core::error::ErrorObject::new(
            stepwell_core::error::Code::TASK_EXECUTION_FAILED,
            "the first attempt fails",
        )),
        _ => Outcome::output(json!({ "result": "done" })),
    });
    let options = Options { leases: Leases::Own, slots: 8, ..Options::default() };
    let test = TestEngine::with(store.clone(), failing, options).await;
    let failed = test.run(definition("fails", "once")).await;
    assert_eq!(failed.state.status, RunStatus::Failed);
    test.engine.retry(&failed.run, None, None).await.unwrap();
    assert_eq!(test.end(&failed.run).await.state.status, RunStatus::Completed);

    let paused = idle.start(definition("paused", "any")).await;
    idle.engine.pause(&paused, None).await.unwrap();
    test.engine.resume(&paused, None).await.unwrap();
    assert_eq!(test.end(&paused).await.state.status, RunStatus::Completed);
}
