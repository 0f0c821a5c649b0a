//! Functions of the host program as what the engine carries out: their future becomes the outcome of an attempt.

use std::sync::Arc;

use serde_json::Value;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::run::event::Target;
use stepwell_core::run::wait::ChildStart;
use stepwell_core::workflow::definition::Step;
use stepwell_engine::{Completion, Outcome};
use tokio::task::JoinError;

use crate::context::{Context, Left};
use crate::error::StepError;

/// What a function that ended well comes to.
#[derive(Default)]
pub(crate) struct Ended {
    /// What others see of it.
    pub(crate) output: Value,
    /// Where it leads.
    pub(crate) to: Vec<Target>,
    /// Branches that are child runs.
    pub(crate) children: Vec<ChildStart>,
    /// Steps that it adds.
    pub(crate) defines: Vec<Step>,
}

/// Lets a function come to its end, and makes an outcome of what it returned and left. Its context ends with it, by a panic and
/// by being dropped too.
pub(crate) async fn carry_out<T>(
    cx: Context,
    running: impl Future<Output = Result<T, StepError>>,
    end: impl FnOnce(T, &mut Left) -> Result<Ended, StepError>,
) -> Outcome {
    let _ending = Ending(&cx);
    let ended = running.await;
    let mut left = cx.end().unwrap_or_default();
    let ended = match ended {
        Ok(_) if left.waits.suspended => return swallowed(&cx),
        Err(StepError::Suspended) => return Outcome::Suspend(left.waits.opened),
        Err(StepError::Lost) => {
            return Outcome::Lost { reason: format!("what carried out step '{}' is gone", cx.step()) };
        }
        Err(error) => return failed(&cx, error),
        Ok(ended) => end(ended, &mut left),
    };
    let Ended { output, to, children, defines } = match ended {
        Ok(ended) => ended,
        Err(error) => return failed(&cx, error),
    };
    let (output, writes) = (Arc::new(output), cx.changes(left));
    Outcome::Complete(Completion { output, writes, to, children, defines })
}

/// Drives a future until it ends or its attempt is cancelled, which drops it.
pub(crate) async fn driven<T>(
    cx: &Context,
    running: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    tokio::select! {
        biased;
        ended = running => ended,
        () = cx.task().cancel.cancelled() => Err(cancelled()),
    }
}

/// Runs a function that blocks its thread on one of those that may.
pub(crate) async fn blocking<T: Send + 'static>(
    function: impl FnOnce() -> Result<T, StepError> + Send + 'static,
) -> Result<T, StepError> {
    joined(tokio::task::spawn_blocking(function).await)
}

/// Returns what a task ended with; its panic goes on here.
fn joined<T>(ended: Result<Result<T, StepError>, JoinError>) -> Result<T, StepError> {
    match ended {
        Ok(ended) => ended,
        Err(gone) => match gone.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(cancelled()),
        },
    }
}

/// Returns what an attempt that was cancelled ends with.
fn cancelled() -> StepError {
    ErrorObject::new(Code::TASK_CANCELLED, "the attempt was cancelled").into()
}

/// Ends the context of an attempt, however the attempt ends.
struct Ending<'a>(&'a Context);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Returns the failure of an attempt that went on although it was to wait.
fn swallowed(cx: &Context) -> Outcome {
    let message = format!("step '{}' did not pass on that it waits, and went on", cx.step());
    ErrorObject::new(Code::REPLAY_MISMATCH, message)
        .with_hint("pass on `StepError::Suspended` with `?`")
        .with("reason", "suspended_swallowed")
        .with("task_id", cx.step())
        .into()
}

/// Returns the failure of an attempt; its message names the step.
fn failed(cx: &Context, error: StepError) -> Outcome {
    let step = cx.step();
    let Some(mut error) = error.into_error() else { return swallowed(cx) };
    if !error.message.starts_with("step '") {
        error.message = format!("step '{step}': {}", error.message);
    }
    error.with("task_id", step).into()
}
