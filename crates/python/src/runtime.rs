//! The threads of the engine: one runtime for the process, begun when it is used first.

use std::sync::Mutex;

use pyo3::prelude::*;
use stepwell_core::error::{Code, ErrorObject};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::errors::exception;

/// The runtime and the process that began it. It is never dropped: that would wait for functions that block.
static RUNTIME: Mutex<Option<(u32, &'static Runtime)>> = Mutex::new(None);

/// Returns the runtime of this process. The threads of a runtime do not come along into a forked process: it gets one of its
/// own.
pub(crate) fn handle(py: Python<'_>) -> PyResult<Handle> {
    let mut known = RUNTIME.lock().expect("no panic happens under this lock");
    let pid = std::process::id();
    if let Some((of, runtime)) = *known
        && of == pid
    {
        return Ok(runtime.handle().clone());
    }
    let built = Builder::new_multi_thread().thread_name("stepwell").enable_all().build();
    let runtime: &'static Runtime = Box::leak(Box::new(built.map_err(|error| {
        let message = format!("the threads of the engine cannot be begun: {error}");
        exception(py, &ErrorObject::new(Code::INTERNAL_ERROR, message))
    })?));
    *known = Some((pid, runtime));
    Ok(runtime.handle().clone())
}

/// Refuses what was made by another process, of which this one is a fork.
pub(crate) fn of_this_process(py: Python<'_>, pid: u32, what: &str) -> PyResult<()> {
    if pid == std::process::id() {
        return Ok(());
    }
    let message = format!("{what} was opened before this process was forked, and does not work in it");
    let error = ErrorObject::new(Code::CONFIGURATION_ERROR, message);
    Err(exception(
        py,
        &error.with_hint("open it anew in the forked process, or start processes with 'spawn'"),
    ))
}
