//! What a Python function sees of its run.

use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde::Deserialize;
use serde_json::{Value, json};
use stepwell::{Ask, Context, StepError};

use crate::agent::PyAgent;
use crate::border::Border;
use crate::errors::of_step;
use crate::run::result_to_json;
use crate::runtime;
use crate::value::{map_to_python, to_json, to_python};

/// The context of an attempt.
#[pyclass(frozen, name = "Context", module = "stepwell._native")]
pub(crate) struct PyContext {
    cx: Context,
}

impl PyContext {
    pub(crate) fn new(cx: Context) -> Self {
        Self { cx }
    }
}

/// What a question is asked with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    prompt: String,
    schema: Option<Value>,
    options: Option<Vec<Value>>,
    /// In a list of its own, since null is a default too.
    default: Vec<Value>,
    /// In seconds.
    deadline: Option<f64>,
    /// In seconds since 1970.
    #[serde(default)]
    until: Option<f64>,
    assignee: Option<String>,
    name: Option<String>,
}

type Waiting = BoxFuture<'static, Result<Value, StepError>>;

impl PyContext {
    fn value<'py>(&self, py: Python<'py>, key: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let value: Option<Value> = self.cx.get(key).map_err(|error| of_step(py, &error))?;
        value.map(|value| to_python(py, &value)).transpose()
    }
}

/// Returns what a wait has brought, in a tuple. None: the request of that number will be told.
fn wait<'py>(
    py: Python<'py>,
    border: &Border,
    request: u64,
    mut waiting: Waiting,
) -> PyResult<Option<(Bound<'py, PyAny>,)>> {
    let held = runtime::hold(py)?;
    let threads = held.handle().clone();
    let _entered = threads.enter();
    // What is known already is there at the first look.
    match waiting.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(Ok(value)) => return Ok(Some((to_python(py, &value)?,))),
        Poll::Ready(Err(error)) => return Err(of_step(py, &error)),
        Poll::Pending => {}
    }
    let queue = border.queue.clone();
    drop(threads.spawn(async move {
        let _held = held;
        let brought = waiting.await;
        queue.done(
            request,
            Box::new(move |py| match brought {
                Ok(value) => Ok(to_python(py, &value)?.unbind()),
                Err(error) => Err(of_step(py, &error)),
            }),
        );
    }));
    Ok(None)
}

#[pymethods]
impl PyContext {
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &str,
        default: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.value(py, key)?.unwrap_or(default))
    }

    fn set(&self, py: Python<'_>, key: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = to_json(value, &|| format!("context key '{key}'"))?;
        self.cx.set(key, &value).map_err(|error| of_step(py, &error))
    }

    fn has(&self, py: Python<'_>, key: &str) -> PyResult<bool> {
        self.cx.has(key).map_err(|error| of_step(py, &error))
    }

    fn remove(&self, py: Python<'_>, key: &str) -> PyResult<()> {
        self.cx.remove(key).map_err(|error| of_step(py, &error))
    }

    fn keys(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let keys = self.cx.keys().map_err(|error| of_step(py, &error))?;
        Ok(keys.into_iter().collect())
    }

    /// Returns the type and the fields of a typed value; none: the key is not there, or untyped.
    fn typed<'py>(&self, py: Python<'py>, key: &str) -> PyResult<Option<(String, Bound<'py, PyAny>)>> {
        let known = self.cx.typed_value(key).map_err(|error| of_step(py, &error))?;
        known.map(|(name, fields)| Ok((name, to_python(py, &fields)?))).transpose()
    }

    fn set_typed(&self, py: Python<'_>, key: &str, name: &str, fields: &Bound<'_, PyAny>) -> PyResult<()> {
        let fields = to_json(fields, &|| format!("context key '{key}'"))?;
        self.cx.set_typed_value(key, name, fields).map_err(|error| of_step(py, &error))
    }

    fn emit(&self, py: Python<'_>, kind: &str, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = to_json(data, &|| format!("what is emitted as '{kind}'"))?;
        self.cx.emit(kind, &data).map_err(|error| of_step(py, &error))
    }

    fn ask<'py>(
        &self,
        py: Python<'py>,
        border: &Border,
        request: u64,
        question: &Bound<'_, PyAny>,
        judge: Option<Py<PyAny>>,
    ) -> PyResult<Option<(Bound<'py, PyAny>,)>> {
        let question = to_json(question, &|| "the question".into())?;
        let question = serde_json::from_value(question).map_err(StepError::from);
        let mut ask = question.and_then(ask_of).map_err(|error| of_step(py, &error))?;
        if let Some(judge) = judge {
            // A context looks at an answer when it is asked, so this is called on this thread, before anything is waited for.
            ask = ask.check(move |answer: &Value| Python::attach(|py| verdict(py, &judge, answer)));
        }
        let answer = self.cx.ask_human::<Value>(ask);
        wait(py, border, request, Box::pin(answer))
    }

    fn sleep<'py>(
        &self,
        py: Python<'py>,
        border: &Border,
        request: u64,
        seconds: f64,
    ) -> PyResult<Option<(Bound<'py, PyAny>,)>> {
        let slept = self.cx.sleep(duration(seconds));
        wait(py, border, request, Box::pin(async { slept.await.map(|()| Value::Null) }))
    }

    fn signal<'py>(
        &self,
        py: Python<'py>,
        border: &Border,
        request: u64,
        name: &str,
        timeout: Option<f64>,
    ) -> PyResult<Option<(Bound<'py, PyAny>,)>> {
        let waiting: Waiting = match timeout {
            Some(seconds) => Box::pin(self.cx.signal_within(name, duration(seconds))),
            None => Box::pin(self.cx.signal(name)),
        };
        wait(py, border, request, waiting)
    }

    fn run_agent<'py>(
        &self,
        py: Python<'py>,
        border: &Border,
        request: u64,
        agent: &PyAgent,
        input: &Bound<'_, PyAny>,
        entry: Option<&str>,
    ) -> PyResult<Option<(Bound<'py, PyAny>,)>> {
        let input = to_json(input, &|| "the input".into())?;
        let child = self.cx.run_agent_from(&agent.agent, entry, input);
        let waiting = async { child.await.map(|result| result_to_json(&result)) };
        wait(py, border, request, Box::pin(waiting))
    }

    /// Returns what was kept under a name, in a tuple.
    fn recorded<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<(Bound<'py, PyAny>,)>> {
        let known = self.cx.recorded_once(name).map_err(|error| of_step(py, &error))?;
        known.map(|value| Ok((to_python(py, &value)?,))).transpose()
    }

    fn record(
        &self,
        py: Python<'_>,
        border: &Border,
        request: u64,
        name: &str,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let value = to_json(value, &|| format!("what '{name}' returned"))?;
        let (cx, name, queue) = (self.cx.clone(), name.to_owned(), border.queue.clone());
        let held = runtime::hold(py)?;
        let threads = held.handle().clone();
        drop(threads.spawn(async move {
            let _held = held;
            let kept = cx.record_once(&name, value).await;
            queue.done(
                request,
                Box::new(move |py| match kept {
                    Ok(()) => Ok(py.None()),
                    Err(error) => Err(of_step(py, &error)),
                }),
            );
        }));
        Ok(())
    }

    /// Returns the text of a secret.
    fn secret(&self, py: Python<'_>, name: &str) -> PyResult<String> {
        let secret = self.cx.secret(name).map_err(|error| of_step(py, &error))?;
        Ok(secret.reveal().to_owned())
    }

    /// What the run was begun with, or what a retry replaced it with.
    #[getter]
    fn input<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let input: Value = self.cx.input().map_err(|error| of_step(py, &error))?;
        to_python(py, &input)
    }

    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let payload: Option<Value> = self.cx.payload().map_err(|error| of_step(py, &error))?;
        payload.map(|payload| to_python(py, &payload)).transpose()
    }

    #[getter]
    fn failure<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(failure) = self.cx.failure() else { return Ok(None) };
        let error = &failure.error;
        let told = json!({
            "step": failure.step.as_str(),
            "ordinal": failure.ordinal.0,
            "code": error.code.number(),
            "type": error.data.get("exception_type"),
            "message": error.message,
            "traceback": error.data.get("traceback"),
            "attempts": failure.attempts,
            "timed_out": error.code == stepwell_core::error::Code::TASK_TIMEOUT,
        });
        to_python(py, &told).map(Some)
    }

    #[getter]
    fn attempt(&self) -> u32 {
        self.cx.attempt()
    }

    #[getter]
    fn idempotency_key(&self) -> String {
        self.cx.idempotency_key()
    }

    /// Returns until when the attempt may take, in seconds since 1970.
    #[getter]
    fn deadline(&self) -> Option<f64> {
        Some(self.cx.deadline()?.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.cx.is_cancelled()
    }

    #[getter]
    fn run_id(&self) -> &str {
        self.cx.run_id().as_str()
    }

    #[getter]
    fn step(&self) -> &str {
        self.cx.step()
    }

    #[getter]
    fn ordinal(&self) -> u32 {
        self.cx.ordinal()
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        map_to_python(py, self.cx.metadata())
    }
}

pub(crate) fn ask_of(question: Question) -> Result<Ask, StepError> {
    let mut ask = Ask::new(question.prompt);
    if let Some(schema) = question.schema {
        ask = ask.schema(schema);
    }
    if let Some(options) = question.options {
        ask = ask.options(options)?;
    }
    if let Some(default) = question.default.first() {
        ask = ask.default_answer(default)?;
    }
    if let Some(seconds) = question.deadline {
        ask = ask.deadline(duration(seconds));
    }
    if let Some(moment) = question.until {
        ask = ask.until(UNIX_EPOCH + duration(moment));
    }
    if let Some(assignee) = question.assignee {
        ask = ask.assignee(assignee);
    }
    Ok(match question.name {
        Some(name) => ask.named(name),
        None => ask,
    })
}

/// Returns what is wrong with an answer, as a function says: nothing, or a text.
fn verdict(py: Python<'_>, judge: &Py<PyAny>, answer: &Value) -> Result<(), String> {
    let judged = to_python(py, answer).and_then(|answer| judge.call1(py, (answer,)));
    match judged.and_then(|verdict| verdict.extract::<Option<String>>(py)) {
        Ok(None) => Ok(()),
        Ok(Some(message)) => Err(message),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns a time given in seconds, which was checked in Python; too long for a clock is for ever.
pub(crate) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
