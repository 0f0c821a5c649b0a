//! The same over a file: what was committed is there for the next engine.

use std::sync::Arc;

use serde_json::json;
use stepwell_core::run::wait::{ChildStart, Question, Then, WaitKind, WaitSpec};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_engine::testing::{ScriptedProvider, TestEngine, completes_once, has_no_gaps};
use stepwell_engine::{Engine, Options, Outcome, Provider, Registry, Start};
use stepwell_store::Store;

fn step(name: &str, needs: &[&str]) -> Step {
    Step::provided(name, "test/v1", "test/do", json!({})).needs(needs)
}

async fn engine(store: &Arc<dyn Store>, script: &ScriptedProvider) -> Engine {
    let provider: Arc<dyn Provider> = Arc::new(script.clone());
    let registry = Registry::default().provide("test/v1", provider.clone()).functions(provider);
    Engine::open(store.clone(), registry, Options::default()).await.unwrap()
}

#[tokio::test]
async fn a_run_over_a_file_ends_and_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/s.db", dir.path().display());
    let store = stepwell_store::open(&url).await.unwrap();
    let script =
        ScriptedProvider::default().on("a", |_| Outcome::output(json!({ "result": "x".repeat(200_000) })));
    let engine = engine(&store, &script).await;
    let steps = vec![step("a", &[]), step("b", &["a"]), step("c", &["b"])];
    let workflow = stepwell_core::workflow::Workflow::new(Definition::new("chain", steps)).unwrap();
    let run = engine.start(Start::of(workflow)).await.unwrap().run;
    let row = engine.rest(&run, false).await.unwrap();
    assert_eq!(row.state.status, RunStatus::Completed);
    engine.shutdown().await;
    store.close().await.unwrap();

    let again = stepwell_store::open(&url).await.unwrap();
    let test = TestEngine::idle(again.clone()).await;
    let journal = test.journal(&run).await;
    assert!(has_no_gaps(&journal) && completes_once(&journal));
    assert_eq!(test.view(&run, "a").await["result"].as_str().unwrap().len(), 200_000);
    assert_eq!(test.engine.inspect(&run).await.unwrap().status(), RunStatus::Completed);
}

/// A step that starts a child run and ends in the same commit leaves two messages to it behind, over a store that takes
/// its time to answer. The child must not come to life after its cancellation was delivered to nobody.
#[tokio::test]
async fn a_child_whose_start_and_cancellation_are_under_way_together_does_not_live_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = stepwell_store::open(&format!("sqlite://{}/s.db", dir.path().display())).await.unwrap();
    let waits = |task: &stepwell_engine::Task| {
        let definition = Definition::new("child", vec![step("ask", &[])]);
        let child = ChildStart {
            run: "".into(),
            definition: serde_json::to_value(definition).unwrap(),
            input: Arc::default(),
            context: serde_json::Map::new(),
            metadata: serde_json::Map::new(),
            entry: None,
        };
        let wait = |position, kind, deadline| WaitSpec {
            position,
            name: None,
            kind,
            deadline,
            default: None,
            then: Then::Complete,
        };
        Outcome::Suspend(vec![
            wait(0, WaitKind::Child(Box::new(child)), None),
            wait(1, WaitKind::Timer, Some(task.report.now())),
        ])
    };
    let question = |_: &stepwell_engine::Task| {
        let kind = WaitKind::Human(Question { prompt: "?".into(), ..Question::default() });
        Outcome::Suspend(vec![WaitSpec::step(kind)])
    };
    let script = ScriptedProvider::default().on("starts", waits).on("ask", question);
    let engine = engine(&store, &script).await;
    let workflow =
        stepwell_core::workflow::Workflow::new(Definition::new("parent", vec![step("starts", &[])]));
    let run = engine.start(Start::of(workflow.unwrap())).await.unwrap().run;
    assert_eq!(engine.rest(&run, false).await.unwrap().state.status, RunStatus::Completed);
    let known = engine.inspect(&run).await.unwrap();
    let child = known.all_waits().find_map(|wait| match &wait.spec.kind {
        WaitKind::Child(child) => Some(child.run.clone()),
        _ => None,
    });
    let child = child.expect("a child was started");
    while !store.outbox(10).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(engine.rest(&child, true).await.unwrap().state.status, RunStatus::Cancelled);
}
