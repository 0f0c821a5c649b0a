//! What came of a run.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::RunId;
use stepwell_core::run::Run as CoreRun;
use stepwell_core::status::{ExecutionStatus, RunStatus};

use crate::context::system_time;
use crate::context::typed::{self, Typed};
use crate::error::StepError;
use crate::json::from_json;

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
    /// What it results in: of a pipeline what its last step returned, of another workflow the result of the only step that
    /// leads nowhere; null if it did not complete. [`RunResult::output`] reads it.
    pub output: Value,
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

/// What the executions of a state came to.
#[derive(Clone, Copy, Default)]
struct CameTo {
    began: bool,
    completed: bool,
    failed: bool,
}

impl RunResult {
    pub(super) fn of(run: &CoreRun) -> Self {
        let steps = &run.workflow().definition().steps;
        let mut came_to = vec![CameTo::default(); run.workflow().len_with_elements()];
        for execution in run.executions() {
            let step = &mut came_to[execution.step_ix().at()];
            step.began = true;
            step.completed |= execution.status == ExecutionStatus::Completed;
            step.failed |= execution.status.is_failure();
        }
        let named = |holds: fn(&CameTo) -> bool| {
            let those = steps.iter().zip(&came_to).filter(|(_, came_to)| holds(came_to));
            those.map(|(step, _)| step.name.to_string()).collect()
        };
        let context = run.context().values().into_iter();
        Self {
            run_id: run.id().clone(),
            status: run.status(),
            error: run.error().cloned(),
            output: (**run.output()).clone(),
            context: context.map(|(key, value)| (key.to_owned(), (**value).clone())).collect(),
            completed_states: named(|step| step.completed),
            failed_states: named(|step| step.failed),
            not_reached: named(|step| !step.began),
            started_at: run.started_at().map(system_time),
            finished_at: run.finished_at().map(system_time),
        }
    }

    /// Returns how long it took, pauses and waits included; none: it has not begun, or not ended.
    pub fn duration(&self) -> Option<Duration> {
        self.finished_at?.duration_since(self.started_at?).ok()
    }

    /// Returns what the run results in.
    ///
    /// # Errors
    /// It is of another type.
    pub fn output<T: DeserializeOwned>(&self) -> Result<T, ErrorObject> {
        from_json(&self.output, || "the output of the run".into()).map_err(outside_of_states)
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

pub(super) fn outside_of_states(error: StepError) -> ErrorObject {
    error.into_error().expect("only states wait")
}

/// A run that did not complete, or that could not be begun or followed. It shows itself with the hint of its error, if that
/// has one.
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
///
/// let agent = Agent::new("essay")
///     .state("write", |_: Context| async { Ok(Next::to("pubish")) })
///     .state("publish", |_: Context| async { Ok(Next::done()) })
///     .build(&engine)?;
/// let failed = agent.run(()).await.unwrap_err();
/// assert_eq!(
///     failed.to_string(),
///     "step 'write' names 'pubish', which no step is named (did you mean 'publish'?)"
/// );
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
        self.error.fmt(f)?;
        let Some(hint) = &self.error.hint else { return Ok(()) };
        write!(f, " ({hint})")
    }
}

impl std::error::Error for RunError {}

impl From<ErrorObject> for RunError {
    fn from(error: ErrorObject) -> Self {
        Self { error, result: None }
    }
}
