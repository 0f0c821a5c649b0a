//! How a run begins.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::{Map, Value};
use stepwell_core::context::why_reserved;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::RunId;
use stepwell_core::workflow::{Workflow, problems_error};
use stepwell_engine::{Engine, Start};

use super::Run;
use super::result::{RunError, RunResult, outside_of_states};
use crate::error::StepError;
use crate::json::to_json;
use crate::millis;

/// A run that is about to begin: await it.
///
/// [`Agent::run`](crate::Agent::run) and [`Workflow::run`](crate::Workflow::run) make one that ends with the [`RunResult`], their
/// `start` one that ends with the [`Run`] as soon as that is durable.
///
/// ```
/// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, State, StepError};
/// # use std::time::Duration;
/// # use serde_json::json;
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = stepwell::open_store("memory:").await?;
/// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
/// let agent = Agent::new("double")
///     .state("double", |cx: Context| async move {
///         cx.set("twice", &(2 * cx.get::<u32>("n")?.unwrap_or(0)))?;
///         Ok(Next::done())
///     })
///     .build(&engine)?;
///
/// let result = agent.run(json!({ "n": 21 })).run_id("double-21").timeout(Duration::from_mins(1)).await?;
/// assert_eq!(result.get("twice")?, Some(42));
/// // The same again is the same run.
/// let again = agent.run(json!({ "n": 21 })).run_id("double-21").timeout(Duration::from_mins(1)).await?;
/// assert_eq!(again, result);
/// # Ok(())
/// # }
/// ```
#[must_use = "a run begins when this is awaited"]
pub struct Launch<'a, T> {
    engine: &'a Engine,
    workflow: &'a Arc<Workflow>,
    input: Result<Value, StepError>,
    /// The keys of the input are the first context.
    fills_context: bool,
    run_id: Option<RunId>,
    context: Map<String, Value>,
    metadata: Map<String, Value>,
    base_dir: Option<String>,
    timeout: Option<Duration>,
    cleanup: Option<Duration>,
    ends_with: PhantomData<fn() -> T>,
}

impl<'a, T> Launch<'a, T> {
    /// Returns a run of an agent, whose input is an object: its keys are the first context.
    pub(crate) fn of_agent(engine: &'a Engine, workflow: &'a Arc<Workflow>, input: &impl Serialize) -> Self {
        Self { fills_context: true, ..Self::new(engine, workflow, input) }
    }

    /// Returns a run with any input and an empty context.
    pub(crate) fn new(engine: &'a Engine, workflow: &'a Arc<Workflow>, input: &impl Serialize) -> Self {
        Self {
            engine,
            workflow,
            input: to_json(input, || "the input".into()),
            fills_context: false,
            run_id: None,
            context: Map::new(),
            metadata: Map::new(),
            base_dir: None,
            timeout: None,
            cleanup: None,
            ends_with: PhantomData,
        }
    }

    /// Gives the run that id. If there is such a run already, of the same workflow and input, it is that one, and goes on or
    /// has ended; another run of that id is an error.
    pub fn run_id(mut self, id: impl Into<RunId>) -> Self {
        self.run_id = Some(id.into());
        self
    }

    /// Begins with these keys in the context, besides those that the input of an agent brings.
    pub fn context(mut self, context: Map<String, Value>) -> Self {
        self.context = context;
        self
    }

    /// Tags the run, for those who look for it.
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = metadata;
        self
    }

    /// Says where relative paths in the parameters of its steps start, and that files below may be named there. Without it they
    /// start at the first root of whoever carries the run out.
    pub fn base_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.base_dir = Some(directory.as_ref().display().to_string());
        self
    }

    /// Limits the time of the run, from its start, waits included, in place of what its workflow says. It is part of the
    /// run's definition: who begins it again with a [`run_id`](Self::run_id) gives the same limit.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// Waits so long for states that are to end, because the run was cancelled, has failed or ran out of time, before they
    /// are abandoned; in place of what [`Options::cleanup_ms`](crate::Options::cleanup_ms) says, which is 10 s if nobody
    /// does. It holds for [`Run::wait`] on the run that is returned, and is no part of the run.
    ///
    /// ```
    /// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, State};
    /// # use std::time::Duration;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = stepwell::open_store("memory:").await?;
    /// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    /// let (finish, finished) = std::sync::mpsc::channel::<()>();
    /// let finished = std::sync::Mutex::new(finished);
    /// let agent = Agent::new("stubborn")
    ///     .add_state(State::blocking("deaf", move |_| {
    ///         // It never asks whether it is cancelled.
    ///         let _ = finished.lock().unwrap().recv();
    ///         Ok(Next::done())
    ///     }))
    ///     .build(&engine)?;
    ///
    /// let run = agent.start(()).cleanup_timeout(Duration::from_millis(5)).await?;
    /// run.cancel().await?;
    /// let cancelled = run.wait().await.unwrap_err(); // although the thread still waits
    /// assert_eq!(cancelled.error.code.name(), "WORKFLOW_CANCELLED");
    /// # drop(finish);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cleanup_timeout(mut self, time: Duration) -> Self {
        self.cleanup = Some(time);
        self
    }

    async fn launch(self) -> Result<Run, ErrorObject> {
        let input = self.input.map_err(outside_of_states)?;
        let mut context = if self.fills_context { first_context(&input)? } else { Map::new() };
        if let Some((key, reason)) = self.context.keys().find_map(|key| Some((key, why_reserved(key)?))) {
            let message = format!("the context cannot begin with key '{key}', which {reason}");
            let error = ErrorObject::new(Code::INVALID_PARAMS, message).with("parameter", "context");
            return Err(error.with_hint("give the key another name"));
        }
        context.extend(self.context);
        let mut workflow = self.workflow.clone();
        if let Some(time) = self.timeout {
            let mut limited = workflow.definition().clone();
            limited.timeout_ms = Some(millis(time));
            workflow = Workflow::new(limited).map_err(|problems| problems_error(&problems))?;
        }
        let (run_id, metadata, base_dir) = (self.run_id, self.metadata, self.base_dir);
        let start = Start { input, run_id, metadata, context, base_dir, ..Start::of(workflow) };
        let id = self.engine.start(start).await?.run;
        Ok(Run { cleanup: self.cleanup, ..Run::of(self.engine.clone(), id) })
    }
}

/// Returns the context that a run with that input begins with.
pub(crate) fn first_context(input: &Value) -> Result<Map<String, Value>, ErrorObject> {
    match input {
        Value::Object(input) => match input.keys().find_map(|key| Some((key, why_reserved(key)?))) {
            None => Ok(input.clone()),
            Some((key, reason)) => {
                let error = ErrorObject::new(
                    Code::INVALID_PARAMS,
                    format!("the input has key '{key}', which {reason}"),
                );
                let error = error.with("parameter", "input").with("key", key.as_str());
                Err(error.with_hint("give the key another name"))
            }
        },
        Value::Null => Ok(Map::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let message = "the input of an agent is an object, whose keys it finds in its context";
            let error = ErrorObject::new(Code::INVALID_PARAMS, message).with("parameter", "input");
            Err(error.with_hint("name it: `json!({ \"key\": value })`; `()` begins with nothing"))
        }
    }
}

impl<'a> IntoFuture for Launch<'a, Run> {
    type Output = Result<Run, RunError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { Ok(self.launch().await?) })
    }
}

impl<'a> IntoFuture for Launch<'a, RunResult> {
    type Output = Result<RunResult, RunError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { self.launch().await?.wait().await })
    }
}

impl<T> fmt::Debug for Launch<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch")
            .field("workflow", &self.workflow.name())
            .field("run_id", &self.run_id)
            .finish_non_exhaustive()
    }
}
