//! Attempts that give no sign of life for too long.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use stepwell_core::error::Code;
use stepwell_core::policy::retry::RetryPolicy;
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_engine::testing::SimClock;
use stepwell_engine::{Engine, Options, Outcome, Provider, Registry, Start, Task};
use stepwell_store::{MemoryStore, RunRow};

/// Gives signs of life for a while, and then none, whatever it is told.
struct Quiet;

#[async_trait]
impl Provider for Quiet {
    async fn execute(&self, task: Task) -> Outcome {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            match task.step.as_str() {
                "beats" => task.report.heartbeat(),
                "emits" => task.report.emit("progress", json!(1)),
                _ => {}
            }
            // The second attempt is over before it is missed.
            if task.attempt == 2 {
                break;
            }
        }
        if task.step.as_str() == "hangs" {
            tokio::time::sleep(Duration::from_hours(1)).await;
        }
        Outcome::output(json!({ "result": "done" }))
    }
}

async fn run(step: Step) -> RunRow {
    let registry = Registry::default().provide("test/v1", Arc::new(Quiet));
    let clock = Arc::new(SimClock::new(1));
    let store = Arc::new(MemoryStore::default());
    let engine = Engine::open_with_clock(store, registry, Options::default(), clock).await.unwrap();
    let workflow = Workflow::new(Definition::new("quiet", vec![step])).unwrap();
    let run = engine.start(Start::of(workflow)).await.unwrap().run;
    engine.rest(&run, false).await.unwrap()
}

fn watched(name: &str) -> Step {
    let heartbeat_timeout_ms = Some(250);
    Step { heartbeat_timeout_ms, ..Step::provided(name, "test/v1", "test/do", json!({})) }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_gives_signs_of_life_may_take_its_time() {
    for name in ["beats", "emits"] {
        assert_eq!(run(watched(name)).await.state.status, RunStatus::Completed, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_a_sign_of_life_fails_and_names_what_is_missing() {
    for name in ["silent", "hangs"] {
        let row = run(watched(name)).await;
        let error = row.state.error.expect("the run failed");
        assert_eq!(error.code, Code::TASK_TIMEOUT, "{error}");
        assert!(error.message.contains(&format!("step '{name}' gave no sign of life for 0.25 s")), "{error}");
        assert_eq!(error.data["reason"], json!("heartbeat"));
        // It is told to end, and gets as long again.
        let (from, to) = (row.state.started_at.unwrap(), row.state.finished_at.unwrap());
        assert!((250..=750).contains(&((to.0 - from.0) / 1_000)), "{from:?} {to:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn such_an_attempt_counts_as_a_try() {
    let row = run(Step { retry: Some(RetryPolicy::fixed(1, 10)), ..watched("silent") }).await;
    assert_eq!(row.state.status, RunStatus::Completed);
}
