//! Loops that go round very often: bounded memory where it is meant, a clear refusal where nobody said so.

use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::error::Code;
use stepwell_core::run::event::Target;
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_engine::testing::{ScriptedProvider, TestEngine, has_no_gaps};
use stepwell_engine::{Completion, Outcome, Start, Task};
use stepwell_store::RunRow;

/// Goes round once more as long as there is something left.
fn round(task: &Task) -> Outcome {
    let left = task.payload.as_deref().or(Some(&*task.run.input)).and_then(Value::as_u64).unwrap();
    let to = if left > 1 { vec![Target::with_payload("loop", left - 1)] } else { Vec::new() };
    Outcome::Complete(Completion { output: Arc::new(json!(left)), to, ..Completion::default() })
}

async fn go_round(test: &TestEngine, rounds: u64, max_steps: Option<u32>) -> RunRow {
    let mut definition = Definition::new("round", vec![Step::function("loop").next(&["loop", "$end"])]);
    definition.max_steps = max_steps.unwrap_or(definition.max_steps);
    let workflow = Workflow::new(definition).unwrap();
    let run = test.engine.start(Start { input: json!(rounds), ..Start::of(workflow) }).await.unwrap().run;
    test.end(&run).await
}

/// Returns the most memory this process ever had, in bytes.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_rounds_need_bounded_memory_when_they_are_meant() {
    const ROUNDS: u64 = 100_000;
    let test = TestEngine::new(ScriptedProvider::default().on("loop", round)).await;
    let row = go_round(&test, ROUNDS, Some(200_000)).await;
    assert_eq!(row.state.status, RunStatus::Completed, "{:?}", row.state.error);
    assert_eq!(u64::from(test.script.calls("loop")), ROUNDS);
    assert!(most_memory() < 2 << 30, "{} bytes", most_memory());
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_nobody_meant_to_be_endless_is_ended_with_max_steps() {
    let test = TestEngine::new(ScriptedProvider::default().on("loop", round)).await;
    let row = go_round(&test, 100_000, None).await;
    assert_eq!(row.state.status, RunStatus::Failed);
    let error = row.state.error.unwrap();
    assert_eq!(error.code, Code::MAX_STEPS);
    assert!(error.message.contains("10000") && error.message.contains("loop"), "{}", error.message);
    assert!(error.hint.is_some(), "{error:?}");
    // The entry does not count.
    assert_eq!(test.script.calls("loop"), Definition::DEFAULT_MAX_STEPS + 1);
    assert!(has_no_gaps(&test.journal(&row.run).await));
}
