//! A run that waits for another: the parent stands as its child does.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use stepwell_core::ids::RunId;
use stepwell_core::run::wait::{ChildStart, Question, Then, WaitKind, WaitSpec};
use stepwell_core::status::{PauseReason, RunStatus};
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_engine::testing::{ScriptedProvider, TestEngine};
use stepwell_engine::{Outcome, Task};
use stepwell_store::{Page, WaitFilter, WaitRow, WaitState};

fn definition(name: &str, step: &str) -> Definition {
    Definition::new(name, vec![Step::provided(step, "test/v1", "test/do", json!({}))])
}

fn wait(kind: WaitKind) -> Outcome {
    Outcome::Suspend(vec![WaitSpec {
        position: 0,
        name: None,
        kind,
        deadline: None,
        default: None,
        then: Then::Complete,
    }])
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
