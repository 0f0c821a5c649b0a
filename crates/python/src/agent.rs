//! Agents whose states are Python functions.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyList;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stepwell::core::policy::resources::Resources;
use stepwell::core::workflow::definition::{Effect, Join, Lifecycle, OnFailure, Priority};
use stepwell::{
    Agent, AgentBuilder, Checkpoint, Context, Executor, Need, Next, Reducer, Retry, State, StepError,
};
use stepwell_core::error::{Code, ErrorObject};
use tokio::sync::watch;

use crate::border::{Answer, Border, Queue, Registered, Replaced};
use crate::carrier::{Carrier, OnRuntime};
use crate::context::duration;
use crate::engine::{PyEngine, look_here, now, request};
use crate::errors::exception;
use crate::moves::Expected;
use crate::run::{PyRun, asked_to_json};
use crate::runtime;
use crate::value::{to_json, to_python};

/// An agent that an engine knows.
#[pyclass(frozen, name = "Agent", module = "stepwell._native")]
pub(crate) struct PyAgent {
    pub(crate) agent: Agent,
    called: Called,
}

/// Where the functions of an agent are called.
#[derive(Clone)]
struct Called {
    queue: Arc<Queue>,
    replaced: Replaced,
    /// Carries its attempts out.
    executor: Arc<dyn Executor>,
}

fn executor(py: Python<'_>, is_in_memory: bool) -> PyResult<Arc<dyn Executor>> {
    let runtime = runtime::hold(py)?.handle().clone();
    // A commit that waits for a disk would hold up the event loop.
    Ok(if is_in_memory { Arc::new(Carrier { runtime }) } else { Arc::new(OnRuntime { runtime }) })
}

/// An agent as Python describes it. Times are seconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    name: String,
    max_concurrent: u32,
    max_steps: u32,
    checkpoint_interval: Option<f64>,
    state_timeout: Option<f64>,
    retry: Option<DescribedRetry>,
    on_failure: OnFailure,
    limits: BTreeMap<String, u32>,
    reducers: BTreeMap<String, Reducer>,
    states: Vec<DescribedState>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribedState {
    name: String,
    /// Its number at the border.
    function: u64,
    next: Option<Vec<String>>,
    /// It is called on the loop, not on a thread.
    is_async: bool,
    heartbeat_timeout: Option<f64>,
    /// `next` was read from the source.
    is_inferred: bool,
    join: Join,
    needs: Vec<DescribedNeed>,
    resources: Resources,
    priority: Priority,
    retry: Option<DescribedRetry>,
    timeout: Option<f64>,
    on_failure: Option<OnFailure>,
    compensation: Option<String>,
    limits: BTreeMap<String, u32>,
    effect: Effect,
    entry: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribedRetry {
    max_retries: u32,
    initial_delay: f64,
    exponential_base: f64,
    jitter: bool,
    max_delay: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribedNeed {
    step: String,
    kind: String,
    lifecycle: String,
    expiry: Option<f64>,
    timeout: Option<f64>,
    /// The number of the function at the border.
    condition: Option<u64>,
}

impl From<DescribedRetry> for Retry {
    fn from(described: DescribedRetry) -> Self {
        Retry::times(described.max_retries)
            .initial(duration(described.initial_delay))
            .base(described.exponential_base)
            .jitter(described.jitter)
            .max_delay(duration(described.max_delay))
    }
}

impl DescribedState {
    fn into_state(self, called: &Called, problems: &mut Vec<String>) -> State {
        let function = Registered::new(&called.queue, self.function);
        let replaced = called.replaced.clone();
        let heartbeat = self.heartbeat_timeout.map(duration);
        let expected = Expected { of_loop: heartbeat.filter(|_| self.is_async) };
        let call = move |cx: Context| {
            let (function, replaced) = (function.clone(), replaced.clone());
            async move {
                match function.call(cx, Vec::new(), expected, replaced).await? {
                    Answer::Next(next) => Ok(next),
                    Answer::Holds(_) | Answer::Value(_) => Ok(Next::done()),
                }
            }
        };
        let mut state = State::cooperative(&self.name, call)
            .join(self.join)
            .resources(self.resources)
            .priority(self.priority)
            .effect(self.effect);
        state = state.carried_out_by(called.executor.clone());
        state = match self.next {
            Some(names) if self.is_inferred => state.next_inferred(names),
            Some(names) => state.next(names),
            None => state,
        };
        for need in self.needs {
            match need.to_need(called) {
                Ok(described) => state = state.needs(&need.step, described),
                Err(missing) => {
                    problems.push(format!("step '{}': its need of '{}' is {missing}", self.name, need.step));
                }
            }
        }
        for (name, units) in self.limits {
            state = state.limit(&name, units);
        }
        if let Some(retry) = self.retry {
            state = state.retry(retry.into());
        }
        if let Some(seconds) = self.timeout {
            state = state.timeout(duration(seconds));
        }
        if let Some(time) = heartbeat {
            state = state.heartbeat_timeout(time);
        }
        if let Some(on_failure) = self.on_failure {
            state = state.on_failure(on_failure);
        }
        if let Some(compensation) = self.compensation {
            state = state.compensation(&compensation);
        }
        if self.entry { state.entry() } else { state }
    }
}

impl DescribedNeed {
    /// Returns the need, or what it lacks.
    fn to_need(&self, called: &Called) -> Result<Need, String> {
        let need = match self.kind.as_str() {
            "required" | "and" => Need::required(),
            "optional" => Need::optional(),
            "parallel" => Need::parallel(),
            "sequential" => Need::sequential(),
            "or" => Need::or(),
            "xor" => Need::xor(),
            "timeout" => Need::timeout(duration(self.timeout.ok_or("of kind TIMEOUT and has no timeout")?)),
            "conditional" => {
                let function = self.condition.ok_or("of kind CONDITIONAL and has no condition")?;
                let (function, replaced) =
                    (Registered::new(&called.queue, function), called.replaced.clone());
                Need::conditional_on(move |cx: Context| {
                    let (function, replaced) = (function.clone(), replaced.clone());
                    async move {
                        match function.call(cx, Vec::new(), Expected::default(), replaced).await? {
                            Answer::Holds(holds) => Ok(holds),
                            Answer::Next(_) | Answer::Value(_) => {
                                Err(StepError::never_again("a condition led somewhere"))
                            }
                        }
                    }
                })
            }
            other => return Err(format!("of a kind that there is not: {other}")),
        };
        Ok(need.lifecycle(match self.lifecycle.as_str() {
            "always" => Lifecycle::Always,
            "session" => Lifecycle::Session,
            "temporary" => {
                let expiry = self.expiry.ok_or("of lifecycle TEMPORARY and has no expiry")?;
                let expiry_ms = u64::try_from(duration(expiry).as_millis()).unwrap_or(u64::MAX);
                Lifecycle::Temporary { expiry_ms }
            }
            _ => Lifecycle::Once,
        }))
    }
}

fn builder(described: Described, called: &Called, problems: &mut Vec<String>) -> AgentBuilder {
    let mut builder = Agent::new(&described.name)
        .max_concurrent(described.max_concurrent)
        .max_steps(described.max_steps)
        .on_failure(described.on_failure);
    if let Some(seconds) = described.checkpoint_interval {
        builder = builder.checkpoint_interval(duration(seconds));
    }
    if let Some(seconds) = described.state_timeout {
        builder = builder.state_timeout(duration(seconds));
    }
    if let Some(retry) = described.retry {
        builder = builder.retry(retry.into());
    }
    for (name, units) in described.limits {
        builder = builder.limit(&name, units);
    }
    for (key, reducer) in described.reducers {
        builder = builder.reducer(&key, reducer);
    }
    for state in described.states {
        builder = builder.add_state(state.into_state(called, problems));
    }
    builder
}

#[pymethods]
impl PyAgent {
    /// Builds an agent whose functions are called at a border.
    #[staticmethod]
    fn build(
        py: Python<'_>,
        engine: &PyEngine,
        border: &Border,
        description: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let description = to_json(description, &|| "the agent".into())?;
        let described: Described = serde_json::from_value(description).map_err(|error| {
            let error =
                ErrorObject::new(Code::CONFIGURATION_ERROR, format!("the agent cannot be read: {error}"));
            exception(py, &error)
        })?;
        border.queue.watch.know(engine.engine(py)?);
        let mut problems = Vec::new();
        let name = described.name.clone();
        let replaced = watch::Sender::new(false);
        let called = Called {
            queue: border.queue.clone(),
            replaced: replaced.subscribe(),
            executor: executor(py, engine.is_in_memory)?,
        };
        let built = builder(described, &called, &mut problems).build(engine.engine(py)?);
        let agent = built.map_err(|error| exception(py, &with_problems(error.to_error(), &problems)))?;
        if !problems.is_empty() {
            let message = format!("agent '{name}' cannot be built");
            let error = ErrorObject::new(Code::WORKFLOW_VALIDATION_FAILED, message);
            return Err(exception(py, &with_problems(error, &problems)));
        }
        engine.note_functions(&name, replaced);
        Ok(Self { agent, called })
    }

    /// Begins a run.
    fn start(
        &self,
        py: Python<'_>,
        border: &Border,
        number: u64,
        input: &Bound<'_, PyAny>,
        options: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Options {
            timeout: Option<f64>,
            cleanup_timeout: f64,
            run_id: Option<String>,
            metadata: Map<String, Value>,
        }
        let input = to_json(input, &|| "the input".into())?;
        let options = to_json(options, &|| "the options".into())?;
        let options: Options = serde_json::from_value(options).map_err(|error| {
            exception(py, &ErrorObject::new(Code::INVALID_PARAMS, format!("the run cannot begin: {error}")))
        })?;
        let agent = self.agent.clone();
        let begin = async move {
            let mut launch = agent
                .start(input)
                .metadata(options.metadata)
                .cleanup_timeout(duration(options.cleanup_timeout));
            if let Some(seconds) = options.timeout {
                launch = launch.timeout(duration(seconds));
            }
            if let Some(id) = options.run_id {
                launch = launch.run_id(id);
            }
            launch.await.map_err(|failed| failed.error)
        };
        request(py, border, number, begin, |py, run| Ok(Py::new(py, PyRun::new(run))?.into_any()))
    }

    /// Finds a run of the agent.
    fn find(&self, py: Python<'_>, border: &Border, number: u64, run_id: String) -> PyResult<()> {
        let agent = self.agent.clone();
        let find = async move { agent.find(run_id.as_str()).await };
        look_here(py, border, number, find, |py, run| Ok(Py::new(py, PyRun::new(run))?.into_any()))
    }

    /// Adds a state to a run that goes on, while the thread waits.
    fn add_state(
        &self,
        py: Python<'_>,
        border: &Border,
        run: &PyRun,
        state: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let described = to_json(state, &|| "the step".into())?;
        let described: DescribedState = serde_json::from_value(described).map_err(|error| {
            let error =
                ErrorObject::new(Code::CONFIGURATION_ERROR, format!("the step cannot be read: {error}"));
            exception(py, &error)
        })?;
        let mut problems = Vec::new();
        let called = Called { queue: border.queue.clone(), ..self.called.clone() };
        let state = described.into_state(&called, &mut problems);
        if !problems.is_empty() {
            let error = ErrorObject::new(Code::WORKFLOW_VALIDATION_FAILED, "the step cannot be added");
            return Err(exception(py, &with_problems(error, &problems)));
        }
        now(py, self.agent.add_state(run.run(), state))
    }

    /// Brings the open questions of its runs, oldest first.
    fn inbox(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let agent = self.agent.clone();
        let look = async move {
            let asked = agent.inbox().await?;
            Ok(Value::Array(asked.iter().map(asked_to_json).collect()))
        };
        request(py, border, number, look, |py, asked| Ok(to_python(py, &asked)?.unbind()))
    }

    /// Answers a question of one of its runs.
    fn answer(
        &self,
        py: Python<'_>,
        border: &Border,
        number: u64,
        wait: String,
        answer: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (agent, answer) = (self.agent.clone(), to_json(answer, &|| "the answer".into())?);
        let give = async move { agent.answer(&wait.as_str().into(), answer).await };
        request(py, border, number, give, |py, ()| Ok(py.None()))
    }

    /// Makes a new run of a checkpoint, paused.
    fn restore(
        &self,
        py: Python<'_>,
        border: &Border,
        number: u64,
        checkpoint: String,
        run_id: String,
        allow_changes: bool,
    ) -> PyResult<()> {
        let agent = self.agent.clone();
        let restore = async move {
            let checkpoint = Checkpoint::from_json(&checkpoint)?;
            let restoring = agent.restore(&checkpoint).run_id(run_id);
            if allow_changes { restoring.allow_changes().await } else { restoring.await }
        };
        request(py, border, number, restore, |py, run| Ok(Py::new(py, PyRun::new(run))?.into_any()))
    }

    /// Cancels all its live runs; tells how many executions that ended.
    fn cancel_all(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let agent = self.agent.clone();
        let cancel = async move { agent.cancel_all().await };
        request(py, border, number, cancel, |py, count| Ok(count.into_pyobject(py)?.into_any().unbind()))
    }

    /// Returns what is odd about it.
    fn lint<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for finding in self.agent.lint() {
            let told = json!({
                "code": finding.code,
                "step": finding.step,
                "message": finding.message,
                "hint": finding.hint,
            });
            list.append(to_python(py, &told)?)?;
        }
        Ok(list)
    }
}

/// Adds what only Python could leave out to the problems of a definition.
fn with_problems(mut error: ErrorObject, more: &[String]) -> ErrorObject {
    if more.is_empty() {
        return error;
    }
    error.message = [&[error.message.clone()], more].concat().join("; ");
    let problems = error.data.entry("validation_errors").or_insert_with(|| json!([]));
    if let Some(problems) = problems.as_array_mut() {
        problems.extend(more.iter().map(|message| json!({ "message": message })));
    }
    error
}
