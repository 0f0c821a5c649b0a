//! Checkpoints as JSON text: read, and kept in files. A run takes one of itself in `run.rs`; an agent goes on from one in
//! `agent.rs`.

use std::path::PathBuf;

use pyo3::prelude::*;
use stepwell::Checkpoint;

use crate::errors::exception;

/// Reads a checkpoint that others may have written; returns it as this version writes it.
#[pyfunction]
pub(crate) fn read_checkpoint(py: Python<'_>, text: &str) -> PyResult<String> {
    let read = py.detach(|| Checkpoint::from_json(text).map(|checkpoint| checkpoint.to_json()));
    read.map_err(|error| exception(py, &error))
}

/// Reads the checkpoint in a file.
#[pyfunction]
pub(crate) fn load_checkpoint(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    let read = py.detach(|| Checkpoint::load(path).map(|checkpoint| checkpoint.to_json()));
    read.map_err(|error| exception(py, &error))
}

/// Writes a checkpoint to a file that only its owner can read, whole or not at all.
#[pyfunction]
pub(crate) fn save_checkpoint(py: Python<'_>, text: &str, path: PathBuf) -> PyResult<()> {
    let saved = py.detach(|| Checkpoint::from_json(text)?.save(path));
    saved.map_err(|error| exception(py, &error))
}
