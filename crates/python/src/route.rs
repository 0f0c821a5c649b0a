//! What a Python function returned, as where its step leads (spec/fluffy.md §2.1).

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use stepwell::Next;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::workflow::definition::END;

use crate::agent::PyAgent;
use crate::value::to_json;

type Route = Result<Next, ErrorObject>;

/// Reads what a function returned.
pub(crate) fn next_of(returned: &Bound<'_, PyAny>) -> PyResult<Route> {
    if returned.is_none() {
        return Ok(Ok(Next::done()));
    }
    let Ok(list) = returned.cast::<PyList>() else { return target(returned, returned) };
    let mut next = Next::done();
    for part in list.iter() {
        match target(&part, returned)? {
            Ok(more) => next = next.and(more),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(next))
}

fn target(part: &Bound<'_, PyAny>, returned: &Bound<'_, PyAny>) -> PyResult<Route> {
    if let Ok(name) = part.cast::<PyString>() {
        let name = name.to_str()?;
        return Ok(Ok(if name == END { Next::done() } else { Next::to(name) }));
    }
    let pair = part.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
    let Some(pair) = pair else { return wrong(returned) };
    let (first, second) = (pair.get_item(0)?, pair.get_item(1)?);
    if let Ok(name) = first.cast::<PyString>() {
        let name = name.to_str()?;
        let payload = match to_json(&second, &|| format!("a payload for '{name}'")) {
            Ok(payload) => payload,
            Err(misfit) => return Ok(Err(bad_route(misfit.value(part.py()).to_string()))),
        };
        return Ok(Next::each(name, [payload]).map_err(|error| {
            error.into_error().unwrap_or_else(|| bad_route("a payload cannot be kept".into()))
        }));
    }
    if let (Ok(agent), Ok(name)) = (first.cast::<PyAgent>(), second.cast::<PyString>()) {
        let next = Next::agent(&agent.get().agent, name.to_str()?);
        return Ok(
            next.map_err(|error| error.into_error().unwrap_or_else(|| bad_route("no such agent".into())))
        );
    }
    wrong(returned)
}

fn wrong(returned: &Bound<'_, PyAny>) -> PyResult<Route> {
    let shown: String = match returned.repr() {
        Ok(text) => text.to_string_lossy().chars().take(80).collect(),
        // Nested too deeply, say: that it names no step is what is to be told.
        Err(_) => format!("a {} that cannot be shown", returned.get_type().name()?),
    };
    Ok(Err(bad_route(format!("it returned {shown}, which names no step"))
        .with_hint("return the name of a step, (name, payload), a list of these, or None to end")))
}

fn bad_route(message: String) -> ErrorObject {
    ErrorObject::new(Code::TASK_RESULT_INVALID, message).never_again()
}
