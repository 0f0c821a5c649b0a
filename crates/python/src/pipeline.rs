//! Pipelines whose functions are Python's.

use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::{Map as Object, Value, json};
use stepwell::{
    Ask, Branch, BranchFailure, Callback, Context, Human, Map, Merge, Parallel, Pipeline, Prepared, Refine,
    Repeat, Retry, Step, StepError, Workflow,
};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::workflow::definition::Definition;
use tokio::sync::watch;

use crate::border::{Answer, Border, Queue, Registered, Replaced};
use crate::carrier::OnRuntime;
use crate::context::{Question, ask_of, duration};
use crate::engine::{PyEngine, look_here, request};
use crate::errors::exception;
use crate::moves::Expected;
use crate::run::PyRun;
use crate::runtime;
use crate::value::{to_json, to_python};

/// A pipeline that an engine can carry out.
#[pyclass(frozen, name = "Pipeline", module = "stepwell._native")]
pub(crate) struct PyPipeline {
    prepared: Prepared,
    /// None: no engine carries it out yet.
    registered: Mutex<Option<Workflow>>,
    /// Tells its functions that others were taken in; its engine has it once it is registered.
    replaced: Mutex<Option<watch::Sender<bool>>>,
}

/// Where its functions are called.
#[derive(Clone)]
struct Called {
    queue: Arc<Queue>,
    replaced: Replaced,
}

/// A pipeline as Python describes it. Functions are numbers at the border, times are seconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    name: String,
    metadata: Object<String, Value>,
    parts: Vec<DescribedPart>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum DescribedPart {
    Step(DescribedStep),
    Human {
        name: String,
        /// Without a prompt what comes in is shown.
        question: Box<Question>,
        shows_input: bool,
        has_references: bool,
        sink_to: Option<String>,
    },
    Loop {
        name: String,
        body: Vec<DescribedPart>,
        until: u64,
        max: u32,
        first_input: Option<u64>,
        next_input: Option<u64>,
        output: Option<u64>,
    },
    Refine {
        name: String,
        generator: Vec<DescribedPart>,
        critic: Vec<DescribedPart>,
        max: u32,
        next_input: Option<u64>,
    },
    Branch {
        name: String,
        choose: u64,
        cases: Vec<(String, Vec<DescribedPart>)>,
        otherwise: Option<Vec<DescribedPart>>,
        input: Option<u64>,
        output: Option<u64>,
    },
    Parallel {
        name: String,
        branches: Vec<(String, Vec<DescribedPart>)>,
        merge: DescribedMerge,
        ignores_failures: bool,
        context_keys: Option<Vec<String>>,
        reduce: Option<u64>,
        max_concurrent: Option<u32>,
    },
    Map {
        name: String,
        body: Vec<DescribedPart>,
        over: Option<String>,
        max_concurrent: Option<u32>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribedStep {
    name: String,
    function: u64,
    max_retries: u32,
    timeout: Option<f64>,
    fallback: Option<u64>,
    updates_context: bool,
    sink_to: Option<String>,
    cached: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum DescribedMerge {
    ContextUpdate,
    Overwrite,
    KeepFirst,
    ErrorOnConflict,
    NoMerge,
}

impl From<DescribedMerge> for Merge {
    fn from(described: DescribedMerge) -> Self {
        match described {
            DescribedMerge::ContextUpdate => Self::ContextUpdate,
            DescribedMerge::Overwrite => Self::Overwrite,
            DescribedMerge::KeepFirst => Self::KeepFirst,
            DescribedMerge::ErrorOnConflict => Self::ErrorOnConflict,
            DescribedMerge::NoMerge => Self::NoMerge,
        }
    }
}

/// Makes parts of what Python described.
struct Builder<'q> {
    called: &'q Called,
}

impl Builder<'_> {
    fn parts(&self, described: Vec<DescribedPart>) -> Result<Pipeline, StepError> {
        let mut pipeline = Pipeline::new("");
        for part in described {
            pipeline = pipeline.then(self.part(part)?);
        }
        Ok(pipeline)
    }

    fn part(&self, described: DescribedPart) -> Result<Pipeline, StepError> {
        Ok(match described {
            DescribedPart::Step(step) => self.step(step).into(),
            DescribedPart::Human { name, question, shows_input, has_references, sink_to } => {
                let ask: Ask = ask_of(*question)?;
                let human = match (shows_input, has_references) {
                    (true, _) => Human::show(&name, ask),
                    (false, true) => Human::template(&name, ask),
                    (false, false) => Human::ask(&name, ask),
                };
                match sink_to {
                    Some(place) => human.sink_to(place).into(),
                    None => human.into(),
                }
            }
            DescribedPart::Loop { name, body, until, max, first_input, next_input, output } => {
                let mut repeat = Repeat::until_called(&name, self.parts(body)?, self.called(until)).max(max);
                if let Some(map) = first_input {
                    repeat = repeat.first_input_called(self.called(map));
                }
                if let Some(map) = next_input {
                    repeat = repeat.next_input_called(self.called(map));
                }
                if let Some(map) = output {
                    repeat = repeat.output_called(self.called(map));
                }
                repeat.into()
            }
            DescribedPart::Refine { name, generator, critic, max, next_input } => {
                let refine = Refine::new(&name, self.parts(generator)?, self.parts(critic)?).max(max);
                match next_input {
                    Some(map) => refine.next_input_called(self.called(map)).into(),
                    None => refine.into(),
                }
            }
            DescribedPart::Branch { name, choose, cases, otherwise, input, output } => {
                let mut branch = Branch::on_called(&name, self.called(choose));
                for (key, way) in cases {
                    branch = branch.case(&key, self.parts(way)?);
                }
                if let Some(way) = otherwise {
                    branch = branch.otherwise(self.parts(way)?);
                }
                if let Some(map) = input {
                    branch = branch.input_called(self.called(map));
                }
                if let Some(map) = output {
                    branch = branch.output_called(self.called(map));
                }
                branch.into()
            }
            DescribedPart::Parallel {
                name,
                branches,
                merge,
                ignores_failures,
                context_keys,
                reduce,
                max_concurrent,
            } => {
                let mut parallel = Parallel::new(&name).merge(merge.into());
                for (branch, steps) in branches {
                    parallel = parallel.branch(&branch, self.parts(steps)?);
                }
                if ignores_failures {
                    parallel = parallel.on_branch_failure(BranchFailure::Ignore);
                }
                if let Some(keys) = context_keys {
                    parallel = parallel.context_keys(keys);
                }
                if let Some(reduce) = reduce {
                    parallel = parallel.reduce_called(self.called(reduce));
                }
                match max_concurrent {
                    Some(branches) => parallel.max_concurrent(branches).into(),
                    None => parallel.into(),
                }
            }
            DescribedPart::Map { name, body, over, max_concurrent } => {
                let mut map = Map::each(&name, self.parts(body)?);
                if let Some(place) = over {
                    map = map.over(place);
                }
                match max_concurrent {
                    Some(items) => map.max_concurrent(items).into(),
                    None => map.into(),
                }
            }
        })
    }

    fn step(&self, described: DescribedStep) -> Step {
        let mut step = Step::cooperative(&described.name, self.function(described.function));
        if described.max_retries > 0 {
            step = step.retry(Retry::times(described.max_retries));
        }
        if let Some(seconds) = described.timeout {
            step = step.timeout(duration(seconds));
        }
        if let Some(fallback) = described.fallback {
            step = step.cooperative_fallback(self.function(fallback));
        }
        if described.updates_context {
            step = step.updates_context();
        }
        if let Some(place) = described.sink_to {
            step = step.sink_to(place);
        }
        if described.cached { step.cached() } else { step }
    }

    fn function(
        &self,
        number: u64,
    ) -> impl Fn(Context, Value) -> futures_util::future::BoxFuture<'static, Result<Value, StepError>>
    + Send
    + Sync
    + 'static
    + use<> {
        let (function, replaced) = self.registered(number);
        move |cx, input| Box::pin(call(function.clone(), replaced.clone(), cx, vec![input]))
    }

    fn called(&self, number: u64) -> Callback {
        let (function, replaced) = self.registered(number);
        Callback::new(move |cx, args: Vec<Value>| call(function.clone(), replaced.clone(), cx, args))
    }

    fn registered(&self, number: u64) -> (Arc<Registered>, Replaced) {
        (Registered::new(&self.called.queue, number), self.called.replaced.clone())
    }
}

/// Lets a function be called with arguments, for a value.
async fn call(
    function: Arc<Registered>,
    replaced: Replaced,
    cx: Context,
    args: Vec<Value>,
) -> Result<Value, StepError> {
    match function.call(cx, args, Expected::default(), replaced).await? {
        Answer::Value(value) => Ok(value),
        Answer::Next(_) | Answer::Holds(_) => Err(StepError::never_again("a function led somewhere")),
    }
}

impl PyPipeline {
    /// Returns what it declares, with its version.
    pub(crate) fn declared(&self) -> (Definition, String) {
        (self.prepared.definition().clone(), self.prepared.version().to_owned())
    }

    /// Returns it as an engine carries it out.
    fn workflow(&self, py: Python<'_>) -> PyResult<Workflow> {
        let registered = self.registered.lock().expect("no panic happens under this lock").clone();
        registered.ok_or_else(|| {
            let message = "no engine carries the pipeline out: it was not registered";
            exception(py, &ErrorObject::new(Code::INTERNAL_ERROR, message))
        })
    }
}

#[pymethods]
impl PyPipeline {
    /// Finds out whether a pipeline is right; its functions are called at a border, once it is registered.
    #[staticmethod]
    fn build(py: Python<'_>, border: &Border, description: &Bound<'_, PyAny>) -> PyResult<Self> {
        let wrong = |message: String| exception(py, &ErrorObject::new(Code::CONFIGURATION_ERROR, message));
        let description = to_json(description, &|| "the pipeline".into())?;
        let described: Described = serde_json::from_value(description)
            .map_err(|error| wrong(format!("the pipeline cannot be read: {error}")))?;
        let Described { name, metadata, parts } = described;
        let replaced = watch::Sender::new(false);
        let called = Called { queue: border.queue.clone(), replaced: replaced.subscribe() };
        let built = Builder { called: &called }.parts(parts);
        let parts = built.map_err(|error| crate::errors::of_step(py, &error))?;
        let whole = Pipeline::new(&name).metadata(metadata).then(parts);
        let prepared = whole.prepare().map_err(|error| exception(py, &error.to_error()))?;
        Ok(Self { prepared, registered: Mutex::default(), replaced: Mutex::new(Some(replaced)) })
    }

    /// Lets an engine carry out its steps from now on, in runs that were begun before as well. It is always the same engine.
    fn register(&self, py: Python<'_>, engine: &PyEngine) -> PyResult<()> {
        let runtime = runtime::hold(py)?.handle().clone();
        let workflow =
            self.prepared.register_with(engine.engine(py)?, &(Arc::new(OnRuntime { runtime }) as _));
        if let Some(replaced) = self.replaced.lock().expect("no panic happens under this lock").take() {
            engine.note_functions(&format!("{} {}", self.prepared.name(), self.prepared.version()), replaced);
        }
        *self.registered.lock().expect("no panic happens under this lock") = Some(workflow);
        Ok(())
    }

    #[getter]
    fn name(&self) -> &str {
        self.prepared.name()
    }

    #[getter]
    fn version(&self) -> &str {
        self.prepared.version()
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
            run_id: Option<String>,
            metadata: Object<String, Value>,
            context: Object<String, Value>,
        }
        let input = to_json(input, &|| "the input".into())?;
        let options = to_json(options, &|| "the options".into())?;
        let options: Options = serde_json::from_value(options).map_err(|error| {
            exception(py, &ErrorObject::new(Code::INVALID_PARAMS, format!("the run cannot begin: {error}")))
        })?;
        let workflow = self.workflow(py)?;
        let begin = async move {
            let mut launch = workflow.start(input).metadata(options.metadata).context(options.context);
            if let Some(id) = options.run_id {
                launch = launch.run_id(id);
            }
            launch.await.map_err(|failed| failed.error)
        };
        request(py, border, number, begin, |py, run| Ok(Py::new(py, PyRun::new(run))?.into_any()))
    }

    /// Finds a run of the pipeline.
    fn find(&self, py: Python<'_>, border: &Border, number: u64, run_id: String) -> PyResult<()> {
        let workflow = self.workflow(py)?;
        let find = async move { workflow.find(run_id.as_str()).await };
        look_here(py, border, number, find, |py, run| Ok(Py::new(py, PyRun::new(run))?.into_any()))
    }

    /// Returns what it declares, as JSON.
    fn definition(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(to_python(py, &json!(self.prepared.definition()))?.unbind())
    }
}
