//! How a run stands, step by step.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};
use stepwell_core::run::Run as CoreRun;
use stepwell_core::status::PauseReason;
use stepwell_core::workflow::Workflow;

use super::result::RunResult;
use crate::context::system_time;

/// How a run stands, with what its steps came to; [`Run::report`](super::Run::report) returns it, of a run that goes on too.
///
/// ```
/// use serde_json::json;
/// use stepwell::{Engine, Options, Workflow, load};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = stepwell::open_store("memory:").await?;
/// let engine = Engine::open(store, stepwell::registry(Vec::new()), Options::default()).await?;
/// let file = "steps: [{name: Nap, method: timer/sleep, params: {seconds: 0}}]";
/// let run = Workflow::from_text(file, load::Format::Yaml, &engine)?.start(json!({})).await?;
/// run.wait().await?;
///
/// let report = run.report().await?;
/// assert_eq!(report.views["Nap"]["status"], "completed");
/// assert_eq!(report.workflow.definition().steps.len(), report.result.completed_states.len());
/// # engine.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunReport {
    /// What came of it so far.
    pub result: RunResult,
    /// What others see of each step that has ended, by name, in the order of definition.
    pub views: Map<String, Value>,
    /// What it runs.
    pub workflow: Arc<Workflow>,
    /// Its tags.
    pub metadata: Map<String, Value>,
    /// Why it is paused, if it is.
    pub pause_reason: Option<PauseReason>,
    /// When it was created.
    pub created_at: SystemTime,
}

impl RunReport {
    pub(super) fn of(run: &CoreRun) -> Self {
        Self {
            result: RunResult::of(run),
            views: run.views(),
            workflow: run.workflow().origin().clone(),
            metadata: run.metadata().clone(),
            pause_reason: run.pause_reason(),
            created_at: system_time(run.created_at()),
        }
    }
}
