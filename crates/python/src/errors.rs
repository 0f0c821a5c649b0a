//! Failures across the border: the table of codes, and how an error of the engine becomes an exception of `errors.py`.

use pyo3::prelude::*;
use stepwell::StepError;
use stepwell_core::error::{Code, ErrorObject};

use crate::value::to_python;

/// Returns name, number, HTTP status and whether another attempt could help, of every code.
#[pyfunction]
pub(crate) fn error_codes() -> Vec<(&'static str, i32, u16, bool)> {
    let entry = |code: &Code| (code.name(), code.number(), code.http_status(), code.is_retryable());
    Code::ALL.iter().map(entry).collect()
}

/// Returns the exception for an error of the engine.
pub(crate) fn exception(py: Python<'_>, error: &ErrorObject) -> PyErr {
    let make = || {
        let object = to_python(py, &error.to_json())?;
        py.import("stepwell.errors")?.getattr("from_object")?.call1((object,))
    };
    make().map_or_else(|broken| broken, PyErr::from_value)
}

/// Returns the exception for what a use of a context ends with.
pub(crate) fn of_step(py: Python<'_>, error: &StepError) -> PyErr {
    match error.error() {
        Some(error) => exception(py, error),
        None => named(py, "stepwell._suspended", "Suspended", "the step waits"),
    }
}

/// Returns the exception for a value that cannot be kept.
pub(crate) fn context_type_error(py: Python<'_>, message: &str) -> PyErr {
    named(py, "stepwell.errors", "ContextTypeError", message)
}

fn named(py: Python<'_>, module: &str, class: &str, message: &str) -> PyErr {
    let make = || py.import(module)?.getattr(class)?.call1((message,));
    make().map_or_else(|broken| broken, PyErr::from_value)
}
