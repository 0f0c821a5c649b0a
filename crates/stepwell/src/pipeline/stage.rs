//! What carries out a lowered step: it takes its input from the route, and its context is that of where it stands.

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use stepwell_core::run::event::{Payload, Target};
use stepwell_engine::{Executor, Outcome, Provider, Task};

use crate::context::Context;
use crate::context::scope::Scope;
use crate::error::StepError;
use crate::function::{Ended, carry_out};
use crate::json::{from_json, to_json};

/// What a lowered step does.
pub(super) type Work =
    Arc<dyn Fn(Context, Input) -> BoxFuture<'static, Result<Ended, StepError>> + Send + Sync>;

/// A function that its user gave, from JSON to JSON.
pub(super) type Function =
    Arc<dyn Fn(Context, Input) -> BoxFuture<'static, Result<Output, StepError>> + Send + Sync>;

/// What a function came to.
pub(super) struct Output {
    pub(super) value: Value,
    /// It was known, and nothing was called.
    pub(super) cached: bool,
}

impl Output {
    /// Returns what a call came to.
    pub(super) fn of_call(value: Value) -> Self {
        Self { value, cached: false }
    }

    /// Returns what a step ends with that hands this on; its result object says if nothing was called.
    pub(super) fn ended(self, to: Vec<Target>) -> Ended {
        let mut ended = ended(self.value, to);
        if self.cached {
            ended.output["cached"] = true.into();
        }
        ended
    }
}

/// What carries out a lowered step.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) scope: Scope,
    pub(super) in_map: bool,
    pub(super) work: Work,
    executor: Option<Arc<dyn Executor>>,
}

#[async_trait]
impl Provider for Stage {
    async fn execute(&self, task: Task) -> Outcome {
        let (scope, input) = self.place(&task);
        let cx = Context::within(task, scope);
        carry_out(cx.clone(), async { (self.work)(cx.clone(), input).await }, |ended, _| Ok(ended)).await
    }

    fn executor(&self) -> Option<&Arc<dyn Executor>> {
        self.executor.as_ref()
    }
}

impl Stage {
    pub(super) fn new(scope: Scope, in_map: bool, work: Work) -> Self {
        Self { scope, in_map, work, executor: None }
    }

    pub(super) fn carried_out_by(self, executor: &Arc<dyn Executor>) -> Self {
        Self { executor: Some(executor.clone()), ..self }
    }

    /// Returns where an attempt is made, and what it is given. A step that stands in for a failed one is given what that was
    /// given; the first of all is given the input of the run.
    fn place(&self, task: &Task) -> (Scope, Input) {
        let of_failed = task.failure.as_ref().and_then(|failure| failure.payload.as_ref());
        let given = task.payload.as_ref().or(of_failed).unwrap_or(&task.run.input).clone();
        if !self.in_map {
            return (self.scope.clone(), Input { given, of_item: false });
        }
        let item =
            given.get(0).and_then(Value::as_u64).expect("a route within a map carries the item's number");
        (self.scope.item(item), Input { given, of_item: true })
    }
}

/// What a step is given.
#[derive(Clone)]
pub(super) struct Input {
    given: Payload,
    /// It stands behind the number of the item.
    of_item: bool,
}

impl Deref for Input {
    type Target = Value;

    fn deref(&self) -> &Value {
        if self.of_item { &self.given[1] } else { &self.given }
    }
}

impl Input {
    /// Returns a value as something that a function is given.
    pub(super) fn of(value: Payload) -> Self {
        Self { given: value, of_item: false }
    }

    /// Returns the value, to be passed on.
    pub(super) fn payload(&self) -> Payload {
        if self.of_item { Payload::new(self.given[1].clone()) } else { self.given.clone() }
    }

    /// Reads it as a type.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, StepError> {
        from_json(self, || "the input".into())
    }
}

/// Returns what a step that ended well comes to. The output stands in a result object, as that of every step of a
/// workflow does.
pub(super) fn ended(output: Value, to: Vec<Target>) -> Ended {
    let output = Value::Object(Map::from_iter([("result".to_owned(), output)]));
    Ended { output, to, ..Ended::default() }
}

fn returned(value: &impl Serialize) -> Result<Output, StepError> {
    to_json(value, || "what it returned".into()).map(Output::of_call)
}

/// Returns what a function that its user gave makes of a value on its way.
pub(super) fn mapped(value: &impl Serialize) -> Result<Value, StepError> {
    to_json(value, || "what was made of the value".into())
}

/// Returns work that waits for what its user gave.
pub(super) fn working<Fut>(act: impl Fn(Context, Input) -> Fut + Send + Sync + 'static) -> Work
where
    Fut: Future<Output = Result<Ended, StepError>> + Send + 'static,
{
    let act = Arc::new(act);
    Arc::new(move |cx, input| {
        let (act, given) = (act.clone(), cx.clone());
        Box::pin(async move { crate::function::driven(&cx, async move { act(given, input).await }).await })
    })
}

/// Returns work that waits for nothing.
pub(super) fn work(act: impl Fn(Context, Input) -> Result<Ended, StepError> + Send + Sync + 'static) -> Work {
    let act = Arc::new(act);
    Arc::new(move |cx, input| {
        let (act, given) = (act.clone(), cx.clone());
        Box::pin(async move { crate::function::driven(&cx, async move { act(given, input) }).await })
    })
}

/// Returns a function whose futures the runtime drives.
pub(super) fn driven<In, Out, F, Fut>(function: F) -> Function
where
    In: DeserializeOwned,
    Out: Serialize,
    F: Fn(Context, In) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Out, StepError>> + Send + 'static,
{
    let function = Arc::new(function);
    Arc::new(move |cx, input| {
        let (function, given) = (function.clone(), cx.clone());
        let call = move || input.read().map(|input| function(given, input));
        let running = async move { returned(&call()?.await?) };
        Box::pin(async move { crate::function::driven(&cx, running).await })
    })
}

/// Returns a function whose futures are let come to their end.
pub(super) fn cooperative<In, Out, F, Fut>(function: F) -> Function
where
    In: DeserializeOwned,
    Out: Serialize,
    F: Fn(Context, In) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Out, StepError>> + Send + 'static,
{
    let function = Arc::new(function);
    Arc::new(move |cx, input| {
        let function = function.clone();
        let call = move || input.read().map(|input| function(cx, input));
        Box::pin(async move {
            let running = call()?;
            returned(&running.await?)
        })
    })
}

/// Returns a function that blocks its thread, one of those that may.
pub(super) fn blocking<In, Out, F>(function: F) -> Function
where
    In: DeserializeOwned,
    Out: Serialize,
    F: Fn(Context, In) -> Result<Out, StepError> + Send + Sync + 'static,
{
    let function = Arc::new(function);
    Arc::new(move |cx, input| {
        let function = function.clone();
        let call = move || returned(&function(cx, input.read()?)?);
        Box::pin(crate::function::blocking(call))
    })
}
