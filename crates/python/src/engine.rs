//! The engine, and requests that it answers by and by.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stepwell::core::policy::resources::Resources;
use stepwell::load::BatchRequest;
use stepwell::{
    Client, Engine, LaterRoots, Leases, Options, Page, Registry, Run, RunFilter, RunStatus, RunSummary,
    Serving, load,
};
use stepwell_core::error::{Code, ErrorObject};

use tokio::sync::watch;

use crate::border::{Border, Queue};
use crate::errors::exception;
use crate::run::PyRun;
use crate::runtime::{self, Held};
use crate::value::{to_json, to_python};
use crate::workflow::{PyWorkflow, interpreter};

/// An engine on a store.
#[pyclass(frozen, name = "Engine", module = "stepwell._native")]
pub(crate) struct PyEngine {
    engine: Engine,
    /// Where files may lie beside its roots.
    later_roots: LaterRoots,
    /// Nobody else has its store.
    owns_store: bool,
    /// The process that opened it.
    pid: u32,
    /// Its store is in memory: no commit waits for anything.
    pub(crate) is_in_memory: bool,
    /// Its threads, until it is closed.
    held: Arc<Mutex<Option<Held>>>,
    /// Which functions of an agent or pipeline were taken in last, by its name: those before are told that they are replaced.
    functions: Mutex<HashMap<String, watch::Sender<bool>>>,
}

impl PyEngine {
    /// Returns an engine without providers.
    pub(crate) fn of(engine: Engine, held: Held) -> Self {
        Self {
            engine,
            later_roots: LaterRoots::default(),
            owns_store: false,
            pid: std::process::id(),
            is_in_memory: false,
            held: Arc::new(Mutex::new(Some(held))),
            functions: Mutex::default(),
        }
    }

    /// Takes note that functions have been taken in, in the place of those that were there before by that name.
    pub(crate) fn note_functions(&self, agent: &str, now: watch::Sender<bool>) {
        let mut functions = self.functions.lock().expect("no panic happens under this lock");
        if let Some(before) = functions.insert(agent.to_owned(), now) {
            before.send_replace(true);
        }
    }

    /// Returns the engine, in the process that opened it.
    pub(crate) fn engine(&self, py: Python<'_>) -> PyResult<&Engine> {
        runtime::of_this_process(py, self.pid, "this engine")?;
        Ok(&self.engine)
    }
}

/// What an engine is opened with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    store: String,
    #[serde(default)]
    pool: Resources,
    /// None: as the engine says.
    slots: Option<usize>,
    /// It has the providers of the command line, and files may lie in these directories.
    roots: Option<Vec<PathBuf>>,
    /// It takes work.
    #[serde(default = "yes")]
    works: bool,
}

fn yes() -> bool {
    true
}

/// What a run is begun with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Starting {
    run_id: Option<String>,
    metadata: Map<String, Value>,
    base_dir: Option<PathBuf>,
}

/// Which runs are listed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    status: Vec<RunStatus>,
    workflow: Option<String>,
    metadata: Map<String, Value>,
    limit: usize,
    cursor: Option<String>,
}

/// A batch that stands in no file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    pattern: String,
    max_concurrent: u32,
    method: String,
    params: Map<String, Value>,
}

/// What an engine is made with, beside its store.
struct Made {
    registry: Registry,
    later_roots: LaterRoots,
    held: Held,
}

impl Made {
    fn of(py: Python<'_>, opening: &Opening) -> PyResult<Self> {
        let (registry, later_roots) = match &opening.roots {
            None => (Registry::default(), LaterRoots::default()),
            Some(roots) => {
                stepwell_cli::providers(&interpreter(py)?, roots).map_err(|error| exception(py, &error))?
            }
        };
        Ok(Self { registry, later_roots, held: runtime::hold(py)? })
    }

    async fn open(self, opening: Opening) -> Result<PyEngine, ErrorObject> {
        let store = stepwell_cli::open_store(&opening.store).await?;
        let mut options = Options { pool: opening.pool, ..Options::default() };
        options.slots = opening.slots.unwrap_or(options.slots);
        options.leases = match (opening.works, &opening.roots) {
            (false, _) => Leases::None,
            // It is the worker of its store.
            (true, Some(_)) => Leases::All,
            (true, None) => Leases::Own,
        };
        let engine = Engine::open(store, self.registry, options).await?;
        Ok(PyEngine {
            later_roots: self.later_roots,
            owns_store: opening.roots.is_some(),
            is_in_memory: opening.store.starts_with("memory:"),
            ..PyEngine::of(engine, self.held)
        })
    }
}

#[pymethods]
impl PyEngine {
    /// Opens an engine on a store.
    #[staticmethod]
    fn open(py: Python<'_>, border: &Border, number: u64, options: &Bound<'_, PyAny>) -> PyResult<()> {
        let opening: Opening = described(options, "no engine")?;
        let made = Made::of(py, &opening)?;
        request(py, border, number, made.open(opening), |py, opened| Ok(Py::new(py, opened)?.into_any()))
    }

    /// Takes the work of every run whose functions it has, until what this returns is told to stop.
    fn serve(&self, py: Python<'_>) -> PyResult<PyServing> {
        Ok(PyServing { serving: Mutex::new(Some(self.engine(py)?.serve())) })
    }

    /// Opens an engine on a store while the thread waits.
    #[staticmethod]
    fn open_now(py: Python<'_>, options: &Bound<'_, PyAny>) -> PyResult<Self> {
        let opening: Opening = described(options, "no engine")?;
        let made = Made::of(py, &opening)?;
        now(py, made.open(opening))
    }

    /// Finds a run of a workflow while the thread waits.
    fn find_now(&self, py: Python<'_>, workflow: &str, run_id: &str) -> PyResult<PyRun> {
        Ok(PyRun::new(now(py, Run::find(self.engine(py)?, workflow, run_id.into()))?))
    }

    /// Returns what attempts have booked of the pool, by dimension.
    fn booked<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let booked = self.engine(py)?.booked();
        let booked: Map<String, Value> =
            booked.iter().map(|(dimension, amount)| (dimension.to_owned(), json!(amount))).collect();
        to_python(py, &Value::Object(booked))
    }

    /// Returns an id for a new run.
    fn new_run_id(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.engine(py)?.new_run_id().to_string())
    }

    /// Lets what runs end and closes the engine, and the store if nobody else has it.
    fn shutdown(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let (engine, owns_store) = (self.engine(py)?.clone(), self.owns_store);
        let held = self.held.clone();
        let close = async move {
            engine.shutdown().await;
            if owns_store {
                engine.store().close().await.map_err(|error| stepwell::from_store(&error))?;
            }
            Ok(())
        };
        request(py, border, number, close, move |py, ()| {
            drop(held.lock().expect("no panic happens under this lock").take());
            Ok(py.None())
        })
    }

    /// Does not wait any longer for what runs, if the engine is being closed.
    fn cut_short(&self, py: Python<'_>) -> PyResult<()> {
        let (engine, held) = (self.engine(py)?, runtime::hold(py)?);
        // What ends attempts is spawned.
        let _entered = held.handle().enter();
        engine.abort();
        Ok(())
    }

    /// Closes the engine without waiting for what runs; its leases are given back. Blocks the thread for that long.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        let (engine, runtime) = (self.engine(py)?.clone(), runtime::hold(py)?);
        py.detach(|| {
            // In this order: what is given back must not begin here anew.
            runtime.handle().block_on(async { tokio::join!(engine.shutdown(), async { engine.abort() }) });
        });
        // The process ends: nobody waits for functions that block their threads.
        std::mem::forget(runtime);
        Ok(())
    }

    /// Closes the engine, which nobody can use any more, as `abort` does, without waiting for that.
    fn abandon(&self, py: Python<'_>) -> PyResult<()> {
        let engine = self.engine(py)?.clone();
        let (held, runtime) = (self.held.clone(), runtime::hold(py)?);
        drop(runtime.handle().clone().spawn(async move {
            tokio::join!(engine.shutdown(), async { engine.abort() });
            drop(held.lock().expect("no panic happens under this lock").take());
            drop(runtime);
        }));
        Ok(())
    }

    /// Begins a run of a workflow.
    fn start(
        &self,
        py: Python<'_>,
        border: &Border,
        number: u64,
        workflow: &PyWorkflow,
        input: &Bound<'_, PyAny>,
        options: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let engine = self.engine(py)?;
        let input = to_json(input, &|| "the input".into())?;
        let starting: Starting = described(options, "no start")?;
        if let Some(directory) = workflow.directory() {
            self.later_roots.add(directory);
        }
        let workflow = stepwell::Workflow::of_loaded(workflow.loaded(), engine);
        let start = async move {
            let mut launch = workflow.start(input).metadata(starting.metadata);
            if let Some(id) = starting.run_id {
                launch = launch.run_id(id);
            }
            if let Some(directory) = starting.base_dir {
                launch = launch.base_dir(directory);
            }
            launch.await.map_err(|failed| failed.error)
        };
        request(py, border, number, start, |py, run| Ok(Py::new(py, PyRun::new(run))?.into_any()))
    }

    /// Makes the workflow of a batch, of the files below a directory or of those that are listed.
    fn batch(
        &self,
        py: Python<'_>,
        border: &Border,
        number: u64,
        directory: Option<PathBuf>,
        files: Vec<PathBuf>,
        description: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let registry = self.engine(py)?.registry();
        let roots = registry.roots().iter().cloned().chain(self.later_roots.all()).collect();
        let registry = registry.clone().within(roots);
        let batch: Batch = described(description, "no batch")?;
        let files = match directory {
            Some(directory) => load::Files::Below { directory, pattern: batch.pattern },
            None => load::Files::Listed(files),
        };
        let request_of = BatchRequest {
            id: "batch".into(),
            files,
            max_concurrent: Some(batch.max_concurrent),
            method: batch.method,
            params: batch.params,
        };
        let read = async move {
            let read = move || load::batch(&request_of, &registry).map_err(|invalid| invalid.to_error());
            tokio::task::spawn_blocking(read).await.expect("reading a batch does not panic")
        };
        request(py, border, number, read, |py, loaded| {
            Ok(Py::new(py, PyWorkflow::of(loaded, None))?.into_any())
        })
    }

    /// Finds a run, whoever began it.
    fn find(&self, py: Python<'_>, border: &Border, number: u64, run_id: String) -> PyResult<()> {
        let client = Client::of(self.engine(py)?);
        let find = async move { client.run(run_id).await };
        look_here(py, border, number, find, |py, run| Ok(Py::new(py, PyRun::new(run))?.into_any()))
    }

    /// Lists runs, newest first: `(runs, cursor)`.
    fn runs(&self, py: Python<'_>, border: &Border, number: u64, listing: &Bound<'_, PyAny>) -> PyResult<()> {
        let client = Client::of(self.engine(py)?);
        let listing: Listing = described(listing, "no list")?;
        let look = async move {
            let filter = RunFilter {
                status: listing.status,
                workflow: listing.workflow,
                metadata: listing.metadata,
                ..RunFilter::default()
            };
            let mut page = Page::first(listing.limit);
            page.cursor = listing.cursor;
            let found = client.runs(&filter, &page).await?;
            let runs: Vec<Value> = found.items.iter().map(summary_to_json).collect();
            Ok(json!([runs, found.next]))
        };
        request(py, border, number, look, |py, found| Ok(to_python(py, &found)?.unbind()))
    }

    /// Brings a value of system state.
    fn state(&self, py: Python<'_>, border: &Border, number: u64, key: String) -> PyResult<()> {
        let engine = self.engine(py)?.clone();
        let look = async move { Ok(engine.state(&key).await?.map_or(Value::Null, |row| row.value)) };
        request(py, border, number, look, |py, value| Ok(to_python(py, &value)?.unbind()))
    }

    /// Writes a value of system state.
    fn put_state(
        &self,
        py: Python<'_>,
        border: &Border,
        number: u64,
        key: String,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let engine = self.engine(py)?.clone();
        let value = to_json(value, &|| format!("the value of '{key}'"))?;
        let put = async move { engine.put_state(&key, value, None).await.map(|_| ()) };
        request(py, border, number, put, |py, ()| Ok(py.None()))
    }
}

/// Reads what Python describes something with.
fn described<T: for<'de> Deserialize<'de>>(options: &Bound<'_, PyAny>, without: &str) -> PyResult<T> {
    let py = options.py();
    let options = to_json(options, &|| "the options".into())?;
    serde_json::from_value(options).map_err(|error| {
        exception(py, &ErrorObject::new(Code::CONFIGURATION_ERROR, format!("{without}: {error}")))
    })
}

/// Returns a run as it is listed; times are seconds since 1970.
pub(crate) fn summary_to_json(run: &RunSummary) -> Value {
    json!({
        "run_id": run.run_id.as_str(),
        "workflow": run.workflow,
        "version": run.version,
        "status": run.status.as_str(),
        "pause_reason": run.pause_reason.map(stepwell::PauseReason::as_str),
        "metadata": run.metadata,
        "parent": run.parent.as_ref().map(stepwell::RunId::as_str),
        "error": run.error.as_ref().map(ErrorObject::to_json),
        "created_at": seconds(run.created_at),
        "updated_at": seconds(run.updated_at),
        "started_at": run.started_at.map(seconds),
        "finished_at": run.finished_at.map(seconds),
    })
}

/// Returns a time in seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// An engine takes the work of all runs.
#[pyclass(frozen, name = "Serving", module = "stepwell._native")]
pub(crate) struct PyServing {
    serving: Mutex<Option<Serving>>,
}

#[pymethods]
impl PyServing {
    /// Takes only the work of its own runs again.
    fn stop(&self) {
        self.serving.lock().expect("no panic happens under this lock").take();
    }
}

/// Carries a request out on the threads of the engine; the loop is told what came of it under its number.
pub(crate) fn request<T: Send + 'static>(
    py: Python<'_>,
    border: &Border,
    number: u64,
    carry_out: impl Future<Output = Result<T, ErrorObject>> + Send + 'static,
    show: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<()> {
    let asked = Asked { queue: Arc::clone(&border.queue), number, held: runtime::hold(py)?, show };
    let threads = asked.held.handle().clone();
    drop(threads.spawn(async move { asked.done(AssertUnwindSafe(carry_out).catch_unwind().await) }));
    Ok(())
}

/// Carries out a request that most often reads a row: so much is done on the thread that asks, which costs less than to change
/// threads twice. What has to be waited for is left to the threads of the engine.
pub(crate) fn look_here<T: Send + 'static>(
    py: Python<'_>,
    border: &Border,
    number: u64,
    carry_out: impl Future<Output = Result<T, ErrorObject>> + Send + 'static,
    show: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
) -> PyResult<()> {
    let asked = Asked { queue: Arc::clone(&border.queue), number, held: runtime::hold(py)?, show };
    let threads = asked.held.handle().clone();
    let _entered = threads.enter();
    let mut looking = Box::pin(AssertUnwindSafe(carry_out).catch_unwind());
    match looking.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(result) => asked.done(result),
        Poll::Pending => drop(threads.spawn(async move { asked.done(looking.await) })),
    }
    Ok(())
}

/// Who asked for something, and how it is shown.
struct Asked<S> {
    queue: Arc<Queue>,
    number: u64,
    /// The last one waits for the threads to end.
    held: Held,
    show: S,
}

impl<S> Asked<S> {
    fn done<T: Send + 'static>(self, result: std::thread::Result<Result<T, ErrorObject>>)
    where
        S: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        let Self { queue, number, held, show } = self;
        // Whoever waits hears of a panic too, which the hook for panics has told.
        let result = result.unwrap_or_else(|_| {
            Err(ErrorObject::new(
                Code::INTERNAL_ERROR,
                "the engine failed at this request: a fault of its own",
            ))
        });
        queue.done(
            number,
            Box::new(move |py| {
                let shown = match result {
                    Ok(value) => show(py, value),
                    Err(error) => Err(exception(py, &error)),
                };
                py.detach(|| drop(held));
                shown
            }),
        );
    }
}

/// Carries something out while the thread that asks waits for it. What it waits for never needs the interpreter.
pub(crate) fn now<T: Send>(
    py: Python<'_>,
    carry_out: impl Future<Output = Result<T, ErrorObject>> + Send,
) -> PyResult<T> {
    let runtime = runtime::hold(py)?;
    py.detach(|| runtime.handle().block_on(carry_out)).map_err(|error| exception(py, &error))
}
