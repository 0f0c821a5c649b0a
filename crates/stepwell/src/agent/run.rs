//! Runs of an agent: begun, waited for, and what came of them.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, Seq, WaitId};
use stepwell_core::run::Run as CoreRun;
use stepwell_core::status::{ExecutionStatus, RunStatus};
use stepwell_core::workflow::{StepIx, Workflow, problems_error};
use stepwell_engine::error::from_store;
use stepwell_engine::{Engine, Follow, Start};
use stepwell_store::Recorded;

use super::ask::Asked;
use super::context::system_time;
use super::dead_letter::DeadLetter;
use super::error::StepError;
use super::json::{from_json, to_json};
use super::metrics::Metrics;
use super::typed::{self, Typed};
use super::{Agent, millis};

/// A run that is about to begin: await it.
///
/// [`Agent::run`] makes one that ends with the [`RunResult`], [`Agent::start`] one that ends with the [`Run`] as soon as
/// that is durable.
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
    agent: &'a Agent,
    input: Result<Value, StepError>,
    run_id: Option<RunId>,
    metadata: Map<String, Value>,
    timeout: Option<Duration>,
    ends_with: PhantomData<fn() -> T>,
}

impl<'a, T> Launch<'a, T> {
    pub(super) fn new(agent: &'a Agent, input: &impl Serialize) -> Self {
        Self {
            agent,
            input: to_json(input, || "the input".into()),
            run_id: None,
            metadata: Map::new(),
            timeout: None,
            ends_with: PhantomData,
        }
    }

    /// Gives the run that id. If there is such a run already, of the same agent and input, it is that one, and goes on or
    /// has ended; another run of that id is an error.
    pub fn run_id(mut self, id: impl Into<RunId>) -> Self {
        self.run_id = Some(id.into());
        self
    }

    /// Tags the run, for those who look for it.
    pub fn metadata(mut self, metadata: Map<String, Value>) -> Self {
        self.metadata = metadata;
        self
    }

    /// Limits the time of the run, from its start, waits included, in place of what the agent says. It is part of the
    /// run's definition: who begins it again with a [`run_id`](Self::run_id) gives the same limit.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    async fn launch(self) -> Result<Run, ErrorObject> {
        let input = self.input.map_err(outside_of_states)?;
        let context = first_context(&input)?;
        let mut workflow = self.agent.workflow.clone();
        if let Some(time) = self.timeout {
            let mut limited = workflow.definition().clone();
            limited.timeout_ms = Some(millis(time));
            workflow = Workflow::new(limited).map_err(|problems| problems_error(&problems))?;
        }
        let (run_id, metadata) = (self.run_id, self.metadata);
        let start = Start { input, run_id, metadata, context, ..Start::of(workflow) };
        let id = self.agent.engine.start(start).await?.run;
        Ok(Run::of(self.agent.engine.clone(), id))
    }
}

/// Returns the context that a run with that input begins with.
pub(super) fn first_context(input: &Value) -> Result<Map<String, Value>, ErrorObject> {
    match input {
        Value::Object(input) => Ok(input.clone()),
        Value::Null => Ok(Map::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let message = "the input of an agent is an object, whose keys it finds in its context";
            Err(ErrorObject::new(Code::INVALID_PARAMS, message).with("parameter", "input"))
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
            .field("agent", self.agent)
            .field("run_id", &self.run_id)
            .finish_non_exhaustive()
    }
}

/// A run. It goes on whether anybody holds this or not; clones are the same run.
///
/// ```
/// # use stepwell::{Agent, Context, Engine, Next, Options, Registry};
/// # use serde_json::json;
/// use stepwell::core::status::RunStatus;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = stepwell::open_store("memory:").await?;
/// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
/// let agent = Agent::new("patient")
///     .state("wait", |cx: Context| async move {
///         let speed: u32 = cx.signal("go").await?;
///         cx.set("speed", &speed)?;
///         Ok(Next::done())
///     })
///     .build(&engine)?;
///
/// let run = agent.start(()).run_id("patient-1").await?;
/// run.pause().await?;
/// engine.signal(run.id(), "go", json!(3), None).await?;
/// assert_eq!(run.status().await?, RunStatus::Paused);
///
/// // Here, or in another process that built the agent:
/// let run = agent.find("patient-1").await?;
/// run.resume().await?;
/// assert_eq!(run.wait().await?.get("speed")?, Some(3));
/// assert_eq!(run.metrics().await?.attempts, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Run {
    engine: Engine,
    id: RunId,
}

impl Run {
    pub(super) fn of(engine: Engine, id: RunId) -> Self {
        Self { engine, id }
    }

    /// Returns its id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Returns how it stands.
    ///
    /// # Errors
    /// The store failed.
    pub async fn status(&self) -> Result<RunStatus, ErrorObject> {
        let row = self.engine.store().run(&self.id).await;
        Ok(row.map_err(|error| from_store(&error))?.state.status)
    }

    /// Waits until it is over, or paused: by somebody, or because only people and signals can move it. Returns which.
    ///
    /// # Errors
    /// The store failed.
    pub async fn rest(&self) -> Result<RunStatus, ErrorObject> {
        Ok(self.engine.rest(&self.id, true).await?.state.status)
    }

    /// Returns what it asks people, oldest first. Questions of runs that it waits for are asked by those.
    ///
    /// # Errors
    /// The store failed.
    pub async fn questions(&self) -> Result<Vec<Asked>, ErrorObject> {
        let run = self.engine.inspect(&self.id).await?;
        Ok(run.open_waits().iter().filter_map(Asked::of).collect())
    }

    /// Answers a question; durable when this returns. Of several answers one is taken.
    ///
    /// # Errors
    /// `ANSWER_INVALID` if it does not fit, and the question stays open; `WORKFLOW_INVALID_STATE` if it was answered, or its
    /// time is over; or the store failed.
    pub async fn answer(&self, wait: &WaitId, answer: impl Serialize) -> Result<(), ErrorObject> {
        let answer = to_json(&answer, || "the answer".into()).map_err(outside_of_states)?;
        self.engine.answer(wait, answer, None).await.map(|_| ())
    }

    /// Lets nothing begin from now on; what is under way may end. It is durable, and so is what happens meanwhile:
    /// answers, signals and times that pass are kept for later.
    ///
    /// # Errors
    /// The run is over, or the store failed.
    pub async fn pause(&self) -> Result<(), ErrorObject> {
        self.engine.pause(&self.id, None).await.map(|_| ())
    }

    /// Goes on after [`Run::pause`].
    ///
    /// # Errors
    /// Nobody paused it, it is over, or the store failed.
    pub async fn resume(&self) -> Result<(), ErrorObject> {
        self.engine.resume(&self.id, None).await.map(|_| ())
    }

    /// Ends the run. Futures of its states are dropped, what they wait for is closed, and the runs that they began are
    /// cancelled too.
    ///
    /// # Errors
    /// The run has completed or failed, or the store failed.
    pub async fn cancel(&self) -> Result<(), ErrorObject> {
        self.engine.cancel(&self.id, None).await.map(|_| ())
    }

    /// Tries again what failed in a run that is over, and goes on from there. What completed stays, and so does what was
    /// done once.
    ///
    /// # Errors
    /// There is nothing to be tried again, or the store failed.
    pub async fn retry(&self) -> Result<(), ErrorObject> {
        self.engine.retry(&self.id, None, None).await.map(|_| ())
    }

    /// Follows its journal, from the first event.
    pub fn events(&self) -> Follow {
        self.engine.follow(&self.id, Seq(0))
    }

    /// Returns what it did so far, in numbers.
    ///
    /// # Errors
    /// The store failed.
    pub async fn metrics(&self) -> Result<Metrics, ErrorObject> {
        let journal = self.journal().await?;
        Ok(Metrics::of(&self.engine.inspect(&self.id).await?, &journal))
    }

    /// Returns every final failure of a state so far, oldest first, also those that a policy, a route or a retry has taken
    /// care of.
    ///
    /// # Errors
    /// The store failed.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, ErrorObject> {
        Ok(DeadLetter::of(self.journal().await?))
    }

    async fn journal(&self) -> Result<Vec<Recorded>, ErrorObject> {
        let journal = self.engine.store().events(&self.id, Seq(0), usize::MAX).await;
        journal.map_err(|error| from_store(&error))
    }

    /// Waits until the run is over, however long it is paused or waits for people.
    ///
    /// # Errors
    /// It failed or was cancelled; or the store failed.
    pub async fn wait(&self) -> Result<RunResult, RunError> {
        self.engine.rest(&self.id, false).await?;
        let result = RunResult::of(&self.engine.inspect(&self.id).await?);
        match (result.status, result.error.clone()) {
            (RunStatus::Completed, _) | (_, None) => Ok(result),
            (_, Some(error)) => Err(RunError { error, result: Some(Box::new(result)) }),
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RunResult {
    /// Which run.
    pub run_id: RunId,
    /// How it ended.
    pub status: RunStatus,
    /// What ended it, unless it completed.
    pub error: Option<ErrorObject>,
    /// What its states left in the context. [`RunResult::get`] and [`RunResult::typed`] read it.
    pub context: Map<String, Value>,
    /// States that ended well at least once.
    pub completed_states: Vec<String>,
    /// States that failed for good at least once.
    pub failed_states: Vec<String>,
    /// States that never began.
    pub not_reached: Vec<String>,
    /// When it began.
    pub started_at: Option<SystemTime>,
    /// When it ended.
    pub finished_at: Option<SystemTime>,
}

impl RunResult {
    fn of(run: &CoreRun) -> Self {
        let steps = &run.workflow().definition().steps;
        let named = |holds: &dyn Fn(StepIx) -> bool| {
            let numbered = steps.iter().enumerate().filter(|(i, _)| holds(StepIx(*i as u32)));
            numbered.map(|(_, step)| step.name.to_string()).collect()
        };
        let any = |step: StepIx, holds: fn(ExecutionStatus) -> bool| {
            run.executions().iter().any(|execution| execution.step_ix() == step && holds(execution.status))
        };
        let context = run.context().values().into_iter();
        Self {
            run_id: run.id().clone(),
            status: run.status(),
            error: run.error().cloned(),
            context: context.map(|(key, value)| (key.to_owned(), (**value).clone())).collect(),
            completed_states: named(&|step| any(step, |status| status == ExecutionStatus::Completed)),
            failed_states: named(&|step| any(step, ExecutionStatus::is_failure)),
            not_reached: named(&|step| !any(step, |_| true)),
            started_at: run.started_at().map(system_time),
            finished_at: run.finished_at().map(system_time),
        }
    }

    /// Returns the value that the run left under a key.
    ///
    /// # Errors
    /// It is of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ErrorObject> {
        let value = self.context.get(key);
        let read = value.map(|value| from_json(value, || format!("context key '{key}'"))).transpose();
        read.map_err(outside_of_states)
    }

    /// Returns the value that the run left under a key if it is of that type; none: it is not there, untyped or of
    /// another type.
    ///
    /// # Errors
    /// The fields are not those of the type any more.
    pub fn typed<T: Typed>(&self, key: &str) -> Result<Option<T>, ErrorObject> {
        let Some(value) = self.context.get(key) else { return Ok(None) };
        typed::read(value, || format!("context key '{key}'")).map_err(outside_of_states)
    }
}

fn outside_of_states(error: StepError) -> ErrorObject {
    error.into_error().expect("only states wait")
}

/// A run that did not complete, or that could not be begun or followed.
///
/// ```
/// # use stepwell::{Agent, Context, Engine, Next, Options, Registry, State, StepError};
/// # use std::time::Duration;
/// # use serde_json::json;
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = stepwell::open_store("memory:").await?;
/// # let engine = Engine::open(store, Registry::default(), Options::default()).await?;
/// let agent = Agent::new("broken")
///     .state("a", |_: Context| async { Err(StepError::new("no bread")) })
///     .build(&engine)?;
///
/// let failed = agent.run(()).await.unwrap_err();
/// assert_eq!(failed.to_string(), "step 'a': no bread");
/// assert_eq!(failed.error.code.name(), "TASK_EXECUTION_FAILED");
/// assert_eq!(failed.result.unwrap().failed_states, ["a"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RunError {
    /// What went wrong.
    pub error: ErrorObject,
    /// What came of the run, if it ended.
    pub result: Option<Box<RunResult>>,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for RunError {}

impl From<ErrorObject> for RunError {
    fn from(error: ErrorObject) -> Self {
        Self { error, result: None }
    }
}
