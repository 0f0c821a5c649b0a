//! `stepwell worker MODULE:AGENT`, as far as the interpreter leaves it to the command line.

use std::ffi::OsString;
use std::sync::Arc;

use pyo3::prelude::*;
use serde_json::json;
use stepwell::Engine;
use stepwell_cli::HostedWorker;
use stepwell_core::error::ErrorObject;

use crate::border::Border;
use crate::command_line::call;
use crate::engine::{PyEngine, request};
use crate::errors::exception;
use crate::runtime;
use crate::value::to_json;

/// A worker that is to serve agents of Python modules.
#[pyclass(frozen, name = "Worker", module = "stepwell._native")]
pub(crate) struct PyWorker {
    worker: Arc<HostedWorker>,
}

#[pymethods]
impl PyWorker {
    /// Returns the worker that these words ask for, without the name of the program.
    #[staticmethod]
    fn asked(py: Python<'_>, argv: Vec<OsString>) -> PyResult<Option<Self>> {
        let worker = HostedWorker::asked(&call(py, argv)?);
        Ok(worker.map(|worker| Self { worker: Arc::new(worker) }))
    }

    /// The agents, each as `MODULE:NAME`.
    #[getter]
    fn agents(&self) -> Vec<String> {
        self.worker.agents().to_vec()
    }

    /// The URL of the store whose runs it carries.
    #[getter]
    fn store(&self, py: Python<'_>) -> PyResult<String> {
        self.worker.store_url().map_err(|error| exception(py, &error))
    }

    /// Opens the engine on that store, with all that a worker carries out.
    fn open(&self, py: Python<'_>, border: &Border, number: u64, slots: usize) -> PyResult<()> {
        let worker = self.worker.clone();
        let open = async move { worker.open(slots).await };
        request(py, border, number, open, |py, engine| {
            Ok(Py::new(py, PyEngine::of(engine, runtime::hold(py)?))?.into_any())
        })
    }

    /// Lets engines work until the process is asked to end, and shuts them down; brings the exit code.
    fn work(&self, py: Python<'_>, border: &Border, number: u64, engines: Vec<Py<PyEngine>>) -> PyResult<()> {
        let of = |engine: Py<PyEngine>| engine.get().engine(py).cloned();
        let engines: Vec<Engine> = engines.into_iter().map(of).collect::<PyResult<_>>()?;
        let worker = self.worker.clone();
        let work = async move { worker.work(&engines).await };
        request(py, border, number, work, |py, code| Ok(code.into_pyobject(py)?.into_any().unbind()))
    }

    /// Says why it could not work; returns the exit code.
    fn refused(&self, error: &Bound<'_, PyAny>) -> PyResult<u8> {
        let object = to_json(error, &|| "the error".into())?;
        let message = object["message"].clone();
        let error = serde_json::from_value(object).unwrap_or_else(|_| {
            let code = stepwell_core::error::Code::INTERNAL_ERROR;
            ErrorObject::new(code, message.as_str().unwrap_or("the worker failed").to_owned())
                .with("unreadable", json!(true))
        });
        Ok(self.worker.refused(&error))
    }
}
