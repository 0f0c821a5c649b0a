//! A run, for those who follow and steer it.

use pyo3::prelude::*;
use serde_json::{Map, Value, json};
use stepwell::{
    Answered, Asked, DeadLetter, ExecutionStatus, Metrics, PauseReason, Recorded, Run, RunDetails, RunReport,
    RunResult, StepRecord,
};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::Seq;

use crate::batch::PyBatchResult;
use crate::border::Border;
use crate::context::duration;
use crate::engine::{look_here, now, request, seconds};
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

    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    fn letters_to_json(&self, letters: &[DeadLetter]) -> Value {
        letters.iter().map(|letter| letter_to_json(self.run.id().as_str(), letter)).collect()
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

/// Returns how a run stands as plain data; times are seconds since 1970.
fn report_to_json(report: &RunReport) -> Value {
    let definition = report.workflow.definition();
    let mut told = result_to_json(&report.result);
    let more = json!({
        "workflow": definition.name,
        "version": report.workflow.version(),
        "name": definition.title.as_ref().unwrap_or(&definition.name),
        "description": definition.description,
        "steps": definition.steps,
        "results": report.views,
        "metadata": report.metadata,
        "pause_reason": report.pause_reason.map(stepwell::PauseReason::as_str),
        "created_at": seconds(report.created_at),
    });
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.extend(more);
    }
    told
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

/// Returns a run in full as plain data; times are seconds since 1970, durations seconds.
pub(crate) fn details_to_json(details: &RunDetails, asked: &[Asked]) -> Value {
    let mut told = result_to_json(&details.result);
    told["workflow"] = json!(details.workflow);
    told["version"] = json!(details.version);
    told["pause_reason"] = json!(details.pause_reason);
    told["input"] = json!(details.input);
    told["metadata"] = json!(details.metadata);
    told["created_at"] = json!(seconds(details.created_at));
    told["history"] = details.history.iter().map(record_to_json).collect();
    told["answers"] = details.answers.iter().map(answered_to_json).collect();
    told["questions"] = asked.iter().map(asked_to_json).collect();
    told
}

fn record_to_json(record: &StepRecord) -> Value {
    json!({
        "name": record.name,
        "path": record.path,
        "output": record.output,
        "error": record.error.as_ref().map(ErrorObject::to_json),
        "attempts": record.attempts,
        "duration": record.duration.as_secs_f64(),
        "item": record.item,
        "child": record.child.as_ref().map(stepwell::RunId::as_str),
        "history": record.history.iter().map(record_to_json).collect::<Value>(),
    })
}

fn answered_to_json(answered: &Answered) -> Value {
    json!({
        "wait_id": answered.wait.as_str(),
        "step": answered.step,
        "prompt": answered.question.prompt,
        "answer": answered.answer,
        "answered_by": answered.by,
        "answered_at": seconds(answered.at),
    })
}

/// Returns a final failure as plain data; times are seconds since 1970.
fn letter_to_json(run: &str, letter: &DeadLetter) -> Value {
    let error = &letter.error;
    json!({
        "run_id": run,
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

fn event_to_json(recorded: &Recorded) -> Value {
    json!({ "seq": recorded.seq, "at": recorded.at, "event": recorded.event })
}

fn events_to_json(events: &[Recorded]) -> Value {
    events.iter().map(event_to_json).collect()
}

/// Returns what a run did so far as plain data; times are seconds.
fn metrics_to_json(metrics: &Metrics) -> Value {
    let mut told: Map<String, Value> = ExecutionStatus::ALL
        .iter()
        .map(|status| (status.as_str().to_owned(), json!(metrics.count(*status))))
        .collect();
    let numbers = [
        ("executions", metrics.total()),
        ("attempts", metrics.attempts),
        ("retries", metrics.retries),
        ("conflicts", metrics.conflicts),
        ("joins", metrics.joins),
        ("absorbed", metrics.absorbed),
        ("max_running", metrics.max_running),
    ];
    told.extend(numbers.map(|(name, number)| (name.to_owned(), json!(number))));
    let times = [("run_seconds", metrics.run_time), ("queued_seconds", metrics.queued_time)];
    told.extend(times.map(|(name, time)| (name.to_owned(), json!(time.as_secs_f64()))));
    Value::Object(told)
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

    /// Brings how it stands, step by step: now, or when it has ended.
    fn report(&self, py: Python<'_>, border: &Border, number: u64, at_end: bool) -> PyResult<()> {
        let run = self.run.clone();
        let look = async move {
            if at_end
                && let Err(failed) = run.wait().await
                && failed.result.is_none()
            {
                return Err(failed.error);
            }
            Ok(report_to_json(&run.report().await?))
        };
        request(py, border, number, look, |py, report| Ok(to_python(py, &report)?.unbind()))
    }

    /// Brings what came of its files; none if it is no run of a batch.
    fn batch(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        let look = async move { run.batch().await };
        request(py, border, number, look, |py, result| match result {
            Some(result) => Ok(Py::new(py, PyBatchResult::new(result))?.into_any()),
            None => Ok(py.None()),
        })
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
        look_here(py, border, number, async move { run.status().await }, |py, status| {
            Ok(status.as_str().into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Returns its status and why it is paused, if it is.
    fn look(&self, py: Python<'_>) -> PyResult<(&'static str, Option<&'static str>)> {
        let summary = now(py, self.run.summary())?;
        Ok((summary.status.as_str(), summary.pause_reason.map(PauseReason::as_str)))
    }

    /// Returns a checkpoint of it, as JSON.
    fn checkpoint_now(&self, py: Python<'_>) -> PyResult<String> {
        Ok(now(py, self.run.checkpoint())?.to_json())
    }

    /// Returns the last checkpoint that it took by itself, as JSON.
    fn latest_checkpoint(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(now(py, self.run.latest_checkpoint())?.map(|checkpoint| checkpoint.to_json()))
    }

    /// Returns what it did so far, in numbers.
    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &metrics_to_json(&now(py, self.run.metrics())?))
    }

    /// Returns what its final failures left, oldest first.
    fn dead_letters_now<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let letters = now(py, self.run.dead_letters())?;
        to_python(py, &self.letters_to_json(&letters))
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

    /// Takes it up in this process, whoever began it.
    fn carry(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        request(py, border, number, async move { run.carry().await }, |py, ()| Ok(py.None()))
    }

    fn resume(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        request(py, border, number, async move { run.resume().await }, |py, ()| Ok(py.None()))
    }

    /// Gives it so many seconds from now on.
    fn limit_time(&self, py: Python<'_>, border: &Border, number: u64, limit: f64) -> PyResult<()> {
        let (run, limit) = (self.run.clone(), duration(limit));
        request(py, border, number, async move { run.limit_time(limit).await }, |py, ()| Ok(py.None()))
    }

    /// Deletes it, once it has ended, with its child runs.
    fn delete(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        request(py, border, number, async move { run.delete().await }, |py, ()| Ok(py.None()))
    }

    fn cancel(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        request(py, border, number, async move { run.cancel().await }, |py, count| {
            Ok(count.into_pyobject(py)?.into_any().unbind())
        })
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

    /// Brings how it stands, in full: what its steps came to, what it asks and what was answered.
    fn details(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        let look = async move {
            let details = run.details().await?;
            Ok(details_to_json(&details, &run.questions().await?))
        };
        request(py, border, number, look, |py, details| Ok(to_python(py, &details)?.unbind()))
    }

    /// Brings the open questions.
    fn questions(&self, py: Python<'_>, border: &Border, number: u64) -> PyResult<()> {
        let run = self.run.clone();
        let look = async move {
            let asked = run.questions().await?;
            Ok(Value::Array(asked.iter().map(asked_to_json).collect()))
        };
        look_here(py, border, number, look, |py, asked| Ok(to_python(py, &asked)?.unbind()))
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
            Ok(Self { run }.letters_to_json(&letters))
        };
        request(py, border, number, look, |py, letters| Ok(to_python(py, &letters)?.unbind()))
    }

    /// Brings the events of its journal after that one, as soon as there are any, and how it stands if it rests.
    fn news(&self, py: Python<'_>, border: &Border, number: u64, after: u64) -> PyResult<()> {
        let run = self.run.clone();
        let look = async move {
            let mut follow = run.follow(Seq(after));
            let (events, rests) = tokio::select! {
                biased;
                events = follow.next() => (events?, None),
                status = run.rest() => (run.events_after(Seq(after)).await?, Some(status?)),
            };
            let rests = match rests {
                // It has ended, and there is nothing more.
                None if events.is_empty() => Some(run.status().await?),
                rests => rests,
            };
            let rests = rests.map(stepwell::RunStatus::as_str);
            Ok(json!({ "events": events.iter().map(event_to_json).collect::<Value>(), "rests": rests }))
        };
        request(py, border, number, look, |py, news| Ok(to_python(py, &news)?.unbind()))
    }

    /// Brings so many events of its journal, from after that one.
    fn events(&self, py: Python<'_>, border: &Border, number: u64, after: u64) -> PyResult<()> {
        let run = self.run.clone();
        let look = async move { Ok(events_to_json(&run.events_after(Seq(after)).await?)) };
        request(py, border, number, look, |py, events| Ok(to_python(py, &events)?.unbind()))
    }

    /// Brings the next events of its journal, from after that one, when there are some; none when it has ended.
    fn next_events(&self, py: Python<'_>, border: &Border, number: u64, after: u64) -> PyResult<()> {
        let run = self.run.clone();
        let wait = async move { Ok(events_to_json(&run.follow(Seq(after)).next().await?)) };
        request(py, border, number, wait, |py, events| Ok(to_python(py, &events)?.unbind()))
    }
}
