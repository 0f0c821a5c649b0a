//! The `stepwell` command, carried out by an interpreter.

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;
use stepwell_cli::{Call, Program};

use crate::errors::exception;

/// Returns the URL of the store that is taken when none is named.
#[pyfunction]
pub(crate) fn default_store(py: Python<'_>) -> PyResult<String> {
    stepwell_cli::default_store().map_err(|error| exception(py, &error))
}

/// Carries out the command that these words are, without the name of the program, and returns the exit code.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, argv: Vec<OsString>) -> PyResult<u8> {
    let call = call(py, argv)?;
    Ok(py.detach(|| stepwell_cli::carry_out(&call)))
}

/// Returns the call that these words are.
pub(crate) fn call(py: Python<'_>, argv: Vec<OsString>) -> PyResult<Call> {
    let interpreter: PathBuf = py.import("sys")?.getattr("executable")?.extract()?;
    let program = Program { file: interpreter, first: vec!["-m".into(), "stepwell".into()] };
    Ok(Call::hosted(argv, program))
}
