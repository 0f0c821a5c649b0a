//! The engine, and requests that it answers by and by.

use std::sync::Arc;

use pyo3::prelude::*;
use serde::Deserialize;
use stepwell::core::policy::resources::Resources;
use stepwell::{Engine, Options, Registry};
use stepwell_core::error::{Code, ErrorObject};

use crate::border::Border;
use crate::errors::exception;
use crate::runtime;
use crate::value::to_json;

/// An engine on a store.
#[pyclass(frozen, name = "Engine", module = "stepwell._native")]
pub(crate) struct PyEngine {
    engine: Engine,
    /// The process that opened it.
    pid: u32,
}

impl PyEngine {
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
    pool: Resources,
    slots: usize,
}

#[pymethods]
impl PyEngine {
    /// Opens an engine on a store.
    #[staticmethod]
    fn open(py: Python<'_>, border: &Border, number: u64, options: &Bound<'_, PyAny>) -> PyResult<()> {
        let options = to_json(options, &|| "the options".into())?;
        let opening: Opening = serde_json::from_value(options).map_err(|error| {
            exception(py, &ErrorObject::new(Code::CONFIGURATION_ERROR, format!("no engine: {error}")))
        })?;
        let open = async move {
            let opened = stepwell::open_store(&opening.store).await;
            let store = opened.map_err(|error| stepwell::from_store(&error))?;
            let options = Options { pool: opening.pool, slots: opening.slots, ..Options::default() };
            Engine::open(store, Registry::default(), options).await
        };
        request(py, border, number, open, |py, engine| {
            Ok(Py::new(py, PyEngine { engine, pid: std::process::id() })?.into_any())
        })
    }

    /// Lets what runs end and closes the engine.
    fn shutdown(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let engine = self.engine(py)?.clone();
        let close = async move {
            engine.shutdown().await;
            Ok(())
        };
        request(py, border, number, close, |py, ()| Ok(py.None()))
    }

    /// Closes the engine without waiting for what runs; its leases are given back. Blocks the thread for that long.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        let (engine, runtime) = (self.engine(py)?.clone(), runtime::handle(py)?);
        py.detach(|| {
            engine.abort();
            runtime.block_on(engine.shutdown());
        });
        Ok(())
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
    let queue = Arc::clone(&border.queue);
    drop(runtime::handle(py)?.spawn(async move {
        let result = carry_out.await;
        queue.done(
            number,
            Box::new(move |py| match result {
                Ok(value) => show(py, value),
                Err(error) => Err(exception(py, &error)),
            }),
        );
    }));
    Ok(())
}
