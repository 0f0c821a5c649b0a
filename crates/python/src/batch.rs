//! What came of a batch, and how it is written down.

use std::path::PathBuf;

use pyo3::prelude::*;
use stepwell::batch::BatchResult;

use crate::value::to_python;

/// What came of a batch.
#[pyclass(frozen, name = "BatchResult", module = "stepwell._native")]
pub(crate) struct PyBatchResult {
    result: BatchResult,
}

impl PyBatchResult {
    pub(crate) fn new(result: BatchResult) -> Self {
        Self { result }
    }
}

#[pymethods]
impl PyBatchResult {
    /// Returns all of it.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.result.to_json())
    }

    /// Returns all of it as a page of Markdown.
    fn to_markdown(&self) -> String {
        self.result.to_markdown()
    }

    fn save_to_json(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        Ok(py.detach(move || self.result.save_to_json(&path))?)
    }

    fn save_to_markdown(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        Ok(py.detach(move || self.result.save_to_markdown(&path))?)
    }
}
