//! Functions of states as what the engine carries out.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_engine::{Completion, Outcome, Provider, Task};

use super::added;
use super::builder::Defaults;
use super::next::Next;
use crate::context::Context;
use crate::error::StepError;

/// The function of a state.
pub(super) type Handler = Arc<dyn Fn(Context) -> BoxFuture<'static, Result<Next, StepError>> + Send + Sync>;

/// The predicate of a conditional need.
pub(super) type Condition = Arc<dyn Fn(&Context) -> Result<bool, StepError> + Send + Sync>;

/// Returns a function whose futures the runtime drives. They are dropped when their attempt is cancelled.
pub(super) fn driven<F, Fut>(function: F) -> Handler
where
    F: Fn(Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Next, StepError>> + Send + 'static,
{
    Arc::new(move |cx| {
        let cancel = cx.task().cancel.clone();
        let running = function(cx);
        Box::pin(async move {
            tokio::select! {
                biased;
                ended = running => ended,
                () = cancel.cancelled() => Err(cancelled()),
            }
        })
    })
}

/// Returns a function that blocks its thread, one of those that may.
pub(super) fn blocking<F>(function: F) -> Handler
where
    F: Fn(Context) -> Result<Next, StepError> + Send + Sync + 'static,
{
    let function = Arc::new(function);
    Arc::new(move |cx| {
        let function = function.clone();
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || function(cx)).await {
                Ok(ended) => ended,
                Err(gone) => match gone.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Err(cancelled()),
                },
            }
        })
    })
}

fn cancelled() -> StepError {
    ErrorObject::new(Code::TASK_CANCELLED, "the attempt was cancelled").into()
}

/// What carries out a state.
pub(super) struct Function {
    pub(super) handler: Handler,
    pub(super) conditions: Vec<Condition>,
    /// For states that it adds.
    pub(super) defaults: Arc<Defaults>,
}

#[async_trait]
impl Provider for Function {
    async fn execute(&self, task: Task) -> Outcome {
        let cx = Context::new(task);
        let _ending = Ending(&cx);
        if cx.task().judges {
            return self.holds(&cx).map_or_else(|error| failed(&cx, error), Outcome::output);
        }
        let ended = (self.handler)(cx.clone()).await;
        let mut left = cx.end().unwrap_or_default();
        let next = match ended {
            Ok(_) if left.waits.suspended => return swallowed(&cx),
            Err(StepError::Suspended) => return Outcome::Suspend(left.waits.opened),
            Err(error) => return failed(&cx, error),
            Ok(next) => next,
        };
        let defines = match added::take_in(std::mem::take(&mut left.states), &self.defaults, cx.task()) {
            Ok(defines) => defines,
            Err(error) => return failed(&cx, error.into()),
        };
        let mut children = next.children;
        for child in &mut children {
            child.metadata.clone_from(cx.metadata());
        }
        let (output, writes) = (Arc::default(), cx.changes(left));
        Outcome::Complete(Completion { output, writes, to: next.targets, children, defines })
    }
}

/// Ends the context of an attempt, however the attempt ends: by a panic and by being dropped too.
struct Ending<'a>(&'a Context);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Function {
    fn holds(&self, cx: &Context) -> Result<bool, StepError> {
        for condition in &self.conditions {
            if !condition(cx)? {
                return Ok(false);
            }
        }
        Ok(true)
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

/// Returns the failure of an attempt; its message names the state.
fn failed(cx: &Context, error: StepError) -> Outcome {
    let step = cx.step();
    let Some(mut error) = error.into_error() else { return swallowed(cx) };
    if !error.message.starts_with("step '") {
        error.message = format!("step '{step}': {}", error.message);
    }
    error.with("task_id", step).into()
}
