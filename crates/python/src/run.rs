//! A run, for those who follow and steer it.

use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use serde_json::{Value, json};
use stepwell::{Asked, DeadLetter, Run, RunResult};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::Seq;

use crate::border::Border;
use crate::engine::request;
use crate::value::{to_json, to_python};

/// A run of an agent.
#[pyclass(frozen, name = "Run", module = "stepwell._native")]
pub(crate) struct PyRun {
    run: Run,
}

impl PyRun {
    pub(crate) fn new(run: Run) -> Self {
        Self { run }
    }
}

/// Returns a result as plain data; times are seconds since 1970.
pub(crate) fn result_to_json(result: &RunResult) -> Value {
    json!({
        "run_id": result.run_id.as_str(),
        "status": result.status.as_str(),
        "error": result.error.as_ref().map(ErrorObject::to_json),
        "output": result.output,
        "context": result.context,
        "completed_states": result.completed_states,
        "failed_states": result.failed_states,
        "not_reached": result.not_reached,
        "started_at": result.started_at.map(seconds),
        "finished_at": result.finished_at.map(seconds),
    })
}

/// Returns an open question as plain data; times are seconds since 1970.
pub(crate) fn asked_to_json(asked: &Asked) -> Value {
    json!({
        "wait_id": asked.wait.as_str(),
        "run_id": asked.run.as_str(),
        "workflow": asked.workflow,
        "metadata": asked.metadata,
        "step": asked.step,
        "prompt": asked.question.prompt,
        "schema": asked.question.schema,
        "options": asked.question.options,
        "assignee": asked.question.assignee,
        "rejected": asked.question.rejected,
        "default": asked.default,
        "deadline": asked.deadline.map(seconds),
        "opened_at": seconds(asked.asked_at),
    })
}

/// Returns a final failure as plain data; times are seconds since 1970.
fn letter_to_json(letter: &DeadLetter) -> Value {
    let error = &letter.error;
    json!({
        "step": letter.step,
        "ordinal": letter.ordinal,
        "code": error.code.number(),
        "type": error.data.get("exception_type"),
        "message": error.message,
        "traceback": error.data.get("traceback"),
        "attempts": letter.attempts,
        "failed_at": seconds(letter.failed_at),
        "timed_out": letter.timed_out,
    })
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[pymethods]
impl PyRun {
    #[getter]
    fn id(&self) -> &str {
        self.run.id().as_str()
    }

    /// Waits for its end; tells how it ended, well or not.
    fn wait(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        let wait = async move {
            match run.wait().await {
                Ok(result) => Ok(result_to_json(&result)),
                Err(failed) => match failed.result {
                    Some(result) => Ok(result_to_json(&result)),
                    None => Err(failed.error),
                },
            }
        };
        request(py, border, number, wait, |py, result| Ok(to_python(py, &result)?.unbind()))
    }

    /// Waits until it rests: it has ended, or only people can move it.
    fn rest(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        request(py, border, number, async move { run.rest().await }, |py, status| {
            Ok(status.as_str().into_pyobject(py)?.into_any().unbind())
        })
    }

    fn status(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        request(py, border, number, async move { run.status().await }, |py, status| {
            Ok(status.as_str().into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Pauses it; brings a checkpoint of it, as JSON.
    fn pause(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        let pause = async move { Ok(run.pause().await?.to_json()) };
        request(py, border, number, pause, |py, json| Ok(json.into_pyobject(py)?.into_any().unbind()))
    }

    /// Brings a checkpoint of it, as JSON.
    fn checkpoint(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        let look = async move { Ok(run.checkpoint().await?.to_json()) };
        request(py, border, number, look, |py, json| Ok(json.into_pyobject(py)?.into_any().unbind()))
    }

    fn resume(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        request(py, border, number, async move { run.resume().await }, |py, ()| Ok(py.None()))
    }

    fn cancel(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        request(py, border, number, async move { run.cancel().await }, |py, ()| Ok(py.None()))
    }

    fn cancel_state(&self, py: Python<'_>, border: &Border, number: u64, name: String) -> PyResult<()> {
        let run = self.run.clone();
        let cancel = async move { run.cancel_state(&name).await };
        request(py, border, number, cancel, |py, count| Ok(count.into_pyobject(py)?.into_any().unbind()))
    }

    fn retry(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        request(py, border, number, async move { run.retry().await }, |py, ()| Ok(py.None()))
    }

    fn signal(
        &self,
        py: Python<'_>,
        border: &Border,
        number: u64,
        name: String,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (run, value) = (self.run.clone(), to_json(value, &|| format!("the value of signal '{name}'"))?);
        request(py, border, number, async move { run.signal(&name, value).await }, |py, ()| Ok(py.None()))
    }

    /// Brings the open questions.
    fn questions(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        let look = async move {
            let asked = run.questions().await?;
            Ok(Value::Array(asked.iter().map(asked_to_json).collect()))
        };
        request(py, border, number, look, |py, asked| Ok(to_python(py, &asked)?.unbind()))
    }

    fn answer(
        &self,
        py: Python<'_>,
        border: &Border,
        number: u64,
        wait: String,
        answer: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (run, answer) = (self.run.clone(), to_json(answer, &|| "the answer".into())?);
        let give = async move { run.answer(&wait.as_str().into(), answer).await };
        request(py, border, number, give, |py, ()| Ok(py.None()))
    }

    /// Brings what its final failures left, oldest first.
    fn dead_letters(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        let look = async move {
            let letters = run.dead_letters().await?;
            Ok(Value::Array(letters.iter().map(letter_to_json).collect()))
        };
        request(py, border, number, look, |py, letters| Ok(to_python(py, &letters)?.unbind()))
    }

    /// Brings so many events of its journal, from after that one.
    fn events(&self, py: Python<'_>, border: &Border, number: u64, after: u64) -> PyResult<()> {
        let run = self.run.clone();
        let look = async move {
            let events = run.events_after(Seq(after)).await?;
            let shown = events
                .iter()
                .map(|recorded| json!({ "seq": recorded.seq, "at": recorded.at, "event": recorded.event }));
            Ok(Value::Array(shown.collect()))
        };
        request(py, border, number, look, |py, events| Ok(to_python(py, &events)?.unbind()))
    }
}
