//! Functions of states as what the engine carries out.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde_json::Value;
use stepwell_engine::{Outcome, Provider, Task};

use super::next::Next;
use crate::context::Context;
use crate::error::StepError;
use crate::function::{self, Ended, carry_out, unless_cancelled};

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
        let running = function(cx.clone());
        Box::pin(async move { unless_cancelled(&cx, running).await })
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
        Box::pin(function::blocking(move || function(cx)))
    })
}

/// What carries out a state.
pub(super) struct Function {
    pub(super) handler: Handler,
    pub(super) conditions: Vec<Condition>,
}

#[async_trait]
impl Provider for Function {
    async fn execute(&self, task: Task) -> Outcome {
        let judges = task.judges;
        let cx = Context::new(task);
        if judges {
            return carry_out(cx.clone(), async { self.holds(&cx).map(Judged) }).await;
        }
        carry_out(cx.clone(), async { (self.handler)(cx).await }).await
    }
}

impl From<Next> for Ended {
    fn from(next: Next) -> Self {
        Self { output: Value::Null, to: next.targets }
    }
}

/// Whether the conditions of a state hold.
struct Judged(bool);

impl From<Judged> for Ended {
    fn from(Judged(holds): Judged) -> Self {
        Self { output: Value::Bool(holds), to: Vec::new() }
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
