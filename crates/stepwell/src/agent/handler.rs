//! Functions of states as what the engine carries out.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde_json::Value;
use stepwell_engine::{Executor, Outcome, Provider, Task};

use super::added;
use super::builder::Defaults;
use super::next::Next;
use crate::context::{Context, Left};
use crate::error::StepError;
use crate::function::{self, Ended, carry_out};
use crate::threads;

/// The function of a state.
pub(super) type Handler = Arc<dyn Fn(Context) -> BoxFuture<'static, Result<Next, StepError>> + Send + Sync>;

/// The predicate of a conditional need.
pub(super) type Condition = Arc<dyn Fn(Context) -> BoxFuture<'static, Result<bool, StepError>> + Send + Sync>;

/// Returns a function whose futures are dropped when their attempt is cancelled.
pub(super) fn driven<F, Fut>(function: F) -> Handler
where
    F: Fn(Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Next, StepError>> + Send + 'static,
{
    let function = Arc::new(function);
    Arc::new(move |cx| {
        let (function, given) = (function.clone(), cx.clone());
        // What is before its future may block too.
        Box::pin(async move { function::driven(&cx, async move { function(given).await }).await })
    })
}

/// Returns a function whose futures are let come to their end.
pub(super) fn cooperative<F, Fut, T>(
    function: F,
) -> Arc<dyn Fn(Context) -> BoxFuture<'static, T> + Send + Sync>
where
    F: Fn(Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    Arc::new(move |cx| Box::pin(function(cx)))
}

/// Returns a predicate that only looks.
pub(super) fn looks(
    holds: impl Fn(&Context) -> Result<bool, StepError> + Send + Sync + 'static,
) -> Condition {
    let holds = Arc::new(holds);
    Arc::new(move |cx| {
        let (holds, given) = (holds.clone(), cx.clone());
        Box::pin(async move { function::driven(&cx, async move { holds(&given) }).await })
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
    /// For states that it adds.
    pub(super) defaults: Arc<Defaults>,
    /// None: the threads of functions.
    pub(super) executor: Option<Arc<dyn Executor>>,
}

#[async_trait]
impl Provider for Function {
    async fn execute(&self, task: Task) -> Outcome {
        let judges = task.judges;
        let cx = Context::new(task);
        if judges {
            let running = all_hold(&self.conditions, &cx);
            let end = |holds, _: &mut Left| Ok(Ended { output: Value::Bool(holds), ..Ended::default() });
            return carry_out(cx.clone(), running, end).await;
        }
        carry_out(cx.clone(), async { (self.handler)(cx.clone()).await }, |next, left| {
            self.end(&cx, next, left)
        })
        .await
    }

    fn executor(&self) -> Option<&Arc<dyn Executor>> {
        Some(self.executor.as_ref().unwrap_or_else(|| threads::functions()))
    }
}

impl Function {
    fn end(&self, cx: &Context, next: Next, left: &mut Left) -> Result<Ended, StepError> {
        let defines = added::take_in(std::mem::take(&mut left.states), &self.defaults, cx.task())?;
        let mut children = next.children;
        for child in &mut children {
            child.metadata.clone_from(cx.metadata());
        }
        Ok(Ended { output: Value::Null, to: next.targets, children, defines })
    }
}

async fn all_hold(conditions: &[Condition], cx: &Context) -> Result<bool, StepError> {
    for condition in conditions {
        if !condition(cx.clone()).await? {
            return Ok(false);
        }
    }
    Ok(true)
}
