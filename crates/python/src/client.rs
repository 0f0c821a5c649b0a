//! The people's side of a store: runs as they are listed, what they ask, how they go on, and system state.

use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use stepwell::core::ids::Timestamp;
use stepwell::{Among, Client, Code, Engine, ErrorObject, RunFilter, RunStatus};

use crate::border::Border;
use crate::engine::{PyEngine, look_here, request, summary_to_json};
use crate::errors::exception;
use crate::pipeline::PyPipeline;
use crate::run::{PyRun, asked_to_json};
use crate::value::{to_json, to_python};

/// The people's side of the store of an engine, which carries out what goes on.
#[pyclass(frozen, name = "Client", module = "stepwell._native")]
pub(crate) struct PyClient {
    client: Client,
    engine: Engine,
}

/// Which runs are listed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    status: Vec<RunStatus>,
    workflow: Option<String>,
    metadata: Map<String, Value>,
    limit: Option<usize>,
    offset: usize,
}

/// How a run goes on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoingOn {
    /// One value, or none.
    input: Vec<Value>,
    wait_id: Option<String>,
    answered_by: Option<String>,
    only_failed: bool,
}

/// A value of system state that is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    key: String,
    value: Value,
    expected: Option<u64>,
}

fn state_to_json(row: &stepwell::StateRow) -> Value {
    json!({ "key": row.key, "value": row.value, "version": row.version, "updated_at": since_1970(row.updated_at) })
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of these centuries fit")]
fn since_1970(at: Timestamp) -> f64 {
    at.0 as f64 / 1e6
}

/// Reads what Python described.
fn read<T: serde::de::DeserializeOwned>(given: &Bound<'_, PyAny>, what: &str) -> PyResult<T> {
    let described = to_json(given, &|| what.into())?;
    serde_json::from_value(described).map_err(|error| {
        let message = format!("{what} cannot be used: {error}");
        exception(given.py(), &ErrorObject::new(Code::INVALID_PARAMS, message))
    })
}

#[pymethods]
impl PyClient {
    /// Returns a client over the store of an engine.
    #[new]
    fn new(py: Python<'_>, engine: &PyEngine) -> PyResult<Self> {
        let engine = engine.engine(py)?.clone();
        Ok(Self { client: Client::of(&engine), engine })
    }

    /// Brings runs that no run began, newest first.
    fn list(&self, py: Python<'_>, border: &Border, number: u64, listing: &Bound<'_, PyAny>) -> PyResult<()> {
        let Listing { status, workflow, metadata, limit, offset } = read(listing, "the filter")?;
        let filter = RunFilter { status, workflow, metadata, among: Among::Roots, ..RunFilter::default() };
        let client = self.client.clone();
        let list = async move {
            let listed = client.runs_from(&filter, offset, limit).await?;
            Ok(listed.iter().map(summary_to_json).collect::<Value>())
        };
        request(py, border, number, list, |py, listed| Ok(to_python(py, &listed)?.unbind()))
    }

    /// Brings a run as it is listed.
    fn summary(&self, py: Python<'_>, border: &Border, number: u64, run_id: String) -> PyResult<()> {
        let client = self.client.clone();
        let look = async move { Ok(summary_to_json(&client.summary(run_id).await?)) };
        request(py, border, number, look, |py, summary| Ok(to_python(py, &summary)?.unbind()))
    }

    /// Brings the open questions of a run and of runs below it.
    fn questions(&self, py: Python<'_>, border: &Border, number: u64, run_id: String) -> PyResult<()> {
        let client = self.client.clone();
        let look = async move {
            let asked = client.questions(run_id).await?;
            Ok(asked.iter().map(asked_to_json).collect::<Value>())
        };
        look_here(py, border, number, look, |py, asked| Ok(to_python(py, &asked)?.unbind()))
    }

    /// Brings a run.
    fn find(&self, py: Python<'_>, border: &Border, number: u64, run_id: String) -> PyResult<()> {
        let client = self.client.clone();
        let find = async move { client.run(run_id).await };
        look_here(py, border, number, find, |py, run| Ok(Py::new(py, PyRun::new(run))?.into_any()))
    }

    /// Lets a run go on, which must be one of the pipeline if one is given; brings it when that is durable.
    fn resume(
        &self,
        py: Python<'_>,
        border: &Border,
        number: u64,
        run_id: String,
        how: &Bound<'_, PyAny>,
        pipeline: Option<PyRef<'_, PyPipeline>>,
    ) -> PyResult<()> {
        let GoingOn { input, wait_id, answered_by, only_failed } = read(how, "what the run goes on with")?;
        let expected = pipeline.map(|pipeline| pipeline.declared());
        let client = self.client.clone();
        let go_on = async move {
            let mut resuming = if only_failed { client.retry(run_id) } else { client.resume(run_id) };
            if let Some(input) = input.into_iter().next() {
                resuming = resuming.input(input);
            }
            if let Some(wait) = wait_id {
                resuming = resuming.wait_id(wait.as_str());
            }
            if let Some(by) = answered_by {
                resuming = resuming.answered_by(by);
            }
            if let Some((definition, version)) = &expected {
                resuming = resuming.of_version(definition, version);
            }
            resuming.await
        };
        request(py, border, number, go_on, |py, run| Ok(Py::new(py, PyRun::new(run))?.into_any()))
    }

    /// Brings whether a run waits for somebody who has its functions.
    fn is_left(&self, py: Python<'_>, border: &Border, number: u64, run_id: String) -> PyResult<()> {
        let client = self.client.clone();
        let look = async move { client.is_left(run_id).await };
        request(py, border, number, look, |py, is_left| {
            Ok(pyo3::types::PyBool::new(py, is_left).to_owned().into_any().unbind())
        })
    }

    /// Ends a run.
    fn cancel(
        &self,
        py: Python<'_>,
        border: &Border,
        number: u64,
        run_id: String,
        reason: Option<String>,
    ) -> PyResult<()> {
        let client = self.client.clone();
        let cancel = async move { client.cancel(run_id, reason.as_deref()).await };
        request(py, border, number, cancel, |py, ()| Ok(py.None()))
    }

    /// Brings a value of system state, or None.
    fn state(&self, py: Python<'_>, border: &Border, number: u64, key: String) -> PyResult<()> {
        let engine = self.engine.clone();
        let look = async move { Ok(engine.state(&key).await?.as_ref().map(state_to_json)) };
        request(py, border, number, look, |py, state| match state {
            Some(state) => Ok(to_python(py, &state)?.unbind()),
            None => Ok(py.None()),
        })
    }

    /// Writes a value of system state.
    fn put_state(
        &self,
        py: Python<'_>,
        border: &Border,
        number: u64,
        written: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let Written { key, value, expected } = read(written, "the value of system state")?;
        let engine = self.engine.clone();
        let put = async move { Ok(state_to_json(&engine.put_state(&key, value, expected).await?)) };
        request(py, border, number, put, |py, state| Ok(to_python(py, &state)?.unbind()))
    }

    /// Deletes a value of system state; tells whether there was one.
    fn delete_state(
        &self,
        py: Python<'_>,
        border: &Border,
        number: u64,
        key: String,
        expected: Option<u64>,
    ) -> PyResult<()> {
        let engine = self.engine.clone();
        let delete = async move { engine.delete_state(&key, expected).await };
        request(py, border, number, delete, |py, was_there| {
            Ok(pyo3::types::PyBool::new(py, was_there).to_owned().into_any().unbind())
        })
    }
}
