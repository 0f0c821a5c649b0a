//! A run that waits for another: the parent stands as its child does.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use stepwell_core::ids::RunId;
use stepwell_core::run::MessageBody;
use stepwell_core::run::event::Parent;
use stepwell_core::run::wait::{ChildStart, Question, WaitKind, WaitSpec};
use stepwell_core::status::{PauseReason, RunStatus};
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_engine::testing::{ScriptedProvider, TestEngine};
use stepwell_engine::{Outcome, Task};
use stepwell_store::conformance::words::Tale;
use stepwell_store::{OutboxMessage, Page, WaitFilter, WaitRow, WaitState};

fn definition(name: &str, step: &str) -> Definition {
    Definition::new(name, vec![Step::provided(step, "test/v1", "test/do", json!({}))])
}

fn wait(kind: WaitKind) -> Outcome {
    Outcome::Suspend(vec![WaitSpec::step(kind)])
}

/// Starts a child run of one step.
fn starts(step: &'static str) -> impl Fn(&Task) -> Outcome {
    move |_| {
        wait(WaitKind::Child(Box::new(ChildStart {
            run: RunId::from(""),
            definition: serde_json::to_value(definition("child", step)).expect("a definition is JSON"),
            input: Arc::new(Value::Null),
            context: Map::new(),
            metadata: Map::new(),
            entry: None,
        })))
    }
}

/// A run whose child has a child that asks a question.
async fn three_generations() -> (TestEngine, RunId) {
    let script = ScriptedProvider::default()
        .on("top", starts("middle"))
        .on("middle", starts("ask"))
        .on("ask", |_| wait(WaitKind::Human(Question { prompt: "Ship it?".into(), ..Question::default() })));
    let test = TestEngine::new(script).await;
    let run = test.start(definition("parent", "top")).await;
    let row = test.rest(&run).await;
    assert_eq!((row.state.status, row.state.pause_reason), (RunStatus::Paused, Some(PauseReason::Input)));
    (test, run)
}

async fn question(test: &TestEngine) -> WaitRow {
    let filter = WaitFilter { state: Some(WaitState::Open), ..WaitFilter::default() };
    let open = test.store.waits(&filter, &Page::first(10)).await.expect("waits can be listed").items;
    open.into_iter().find(|wait| wait.kind == "human").expect("a person is asked")
}

#[tokio::test(start_paused = true)]
async fn a_run_is_paused_while_its_grandchild_asks_and_the_answer_lets_all_go_on() {
    let (test, run) = three_generations().await;
    let asked = question(&test).await;
    assert_ne!(asked.run, run);
    test.engine.answer(&asked.wait, json!("yes"), None).await.expect("the question is open");
    assert_eq!(test.end(&run).await.state.status, RunStatus::Completed);
    assert_eq!(test.end(&asked.run).await.state.status, RunStatus::Completed);
    let kinds: Vec<&str> = test.journal(&run).await.iter().map(|recorded| recorded.event.kind()).collect();
    let paused = kinds.iter().position(|kind| *kind == "ChildPaused").expect("the parent was told");
    assert_eq!(kinds[paused + 1], "RunPaused");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_child_that_was_paused_ends_the_pause_of_its_parents() {
    let (test, run) = three_generations().await;
    let asked = question(&test).await;
    test.engine.cancel(&asked.run, None).await.expect("the child is paused");
    let row = test.end(&run).await;
    assert_eq!(row.state.status, RunStatus::Failed);
    assert_eq!(row.state.error.expect("it failed").code.name(), "CHILD_FAILED");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_parent_that_was_paused_takes_its_children_with_it() {
    let (test, run) = three_generations().await;
    let asked = question(&test).await;
    test.engine.cancel(&run, None).await.expect("the parent is paused");
    assert_eq!(test.end(&asked.run).await.state.status, RunStatus::Cancelled);
}

/// Writes messages of a run that has ended, as a commit of its own would have.
async fn send(test: &TestEngine, source: &RunId, messages: Vec<(&str, MessageBody)>) {
    let row = test.store.run(source).await.expect("the run exists");
    let tale = Tale { run: source.clone(), revision: row.revision, clock: 1 };
    let mut batch = tale.batch("sends");
    batch.events = Vec::new();
    batch.row = row.state;
    batch.outbox = messages
        .into_iter()
        .map(|(target, body)| OutboxMessage {
            target: target.into(),
            command: "said".into(),
            body: serde_json::to_value(body).expect("a message is JSON"),
        })
        .collect();
    test.store.commit(batch).await.expect("the run stands as it stood");
}

/// Waits until every message has been delivered or discarded.
async fn all_is_said(test: &TestEngine) {
    let said = async {
        while !test.store.outbox(1).await.expect("messages can be read").is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), said).await.expect("no message stays");
}

fn start(definition: Value, parent: &RunId) -> MessageBody {
    MessageBody::StartChild {
        definition,
        input: Arc::new(Value::Null),
        context: Map::new(),
        metadata: Map::new(),
        parent: Parent { run: parent.clone(), wait: "wait_of_old".into(), depth: 1 },
        base_dir: None,
        entry: None,
    }
}

#[tokio::test(start_paused = true)]
async fn messages_to_a_child_that_never_came_are_discarded() {
    let test = TestEngine::new(ScriptedProvider::default()).await;
    let parent = test.start(definition("parent", "top")).await;
    test.end(&parent).await;
    let broken = start(json!({ "not": "a definition" }), &parent);
    send(&test, &parent, vec![("broken", broken), ("broken", MessageBody::CancelChild)]).await;
    send(&test, &parent, vec![("nobody", MessageBody::CancelChild)]).await;
    all_is_said(&test).await;
    assert!(test.store.run(&"broken".into()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_child_is_started_before_it_is_cancelled() {
    let script = ScriptedProvider::default()
        .on("ask", |_| wait(WaitKind::Human(Question { prompt: "Ship it?".into(), ..Question::default() })));
    let test = TestEngine::new(script).await;
    let parent = test.start(definition("parent", "top")).await;
    test.end(&parent).await;
    let child = serde_json::to_value(definition("child", "ask")).expect("a definition is JSON");
    send(&test, &parent, vec![("child", start(child, &parent)), ("child", MessageBody::CancelChild)]).await;
    all_is_said(&test).await;
    assert_eq!(test.end(&"child".into()).await.state.status, RunStatus::Cancelled);
}
