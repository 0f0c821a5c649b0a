//! The table of codes, for the exceptions in `errors.py`.

use pyo3::prelude::*;
use stepwell_core::error::Code;

/// Returns name, number, HTTP status and whether another attempt could help, of every code.
#[pyfunction]
pub(crate) fn error_codes() -> Vec<(&'static str, i32, u16, bool)> {
    let entry = |code: &Code| (code.name(), code.number(), code.http_status(), code.is_retryable());
    Code::ALL.iter().map(entry).collect()
}
