//! The threads of the engine: one runtime for the process, begun when it is used first and ended when nobody holds it.

use std::sync::Mutex;
use std::time::Duration;

use pyo3::prelude::*;
use stepwell_core::error::{Code, ErrorObject};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::errors::exception;

/// How long threads that are to end are waited for. What blocks one for longer ends with the process.
const PATIENCE: Duration = Duration::from_secs(1);

/// The runtime, the process that began it, and how many hold it.
struct Threads {
    pid: u32,
    runtime: Runtime,
    held: usize,
}

static THREADS: Mutex<Option<Threads>> = Mutex::new(None);

/// What keeps the threads: an engine, or a request that is under way.
pub(crate) struct Held {
    handle: Handle,
    pid: u32,
}

impl Held {
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut known = THREADS.lock().expect("no panic happens under this lock");
        let Some(threads) = known.as_mut().filter(|threads| threads.pid == self.pid) else { return };
        threads.held -= 1;
        if threads.held > 0 || self.pid != std::process::id() {
            return;
        }
        let ended = known.take().map(|threads| threads.runtime);
        drop(known);
        let Some(runtime) = ended else { return };
        if Handle::try_current().is_ok() {
            // A thread cannot wait for itself.
            runtime.shutdown_background();
        } else {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

/// Keeps the threads of this process, and begins them if there are none. Those of a runtime do not come along into a forked
/// process: it gets its own.
pub(crate) fn hold(py: Python<'_>) -> PyResult<Held> {
    let pid = std::process::id();
    let mut known = THREADS.lock().expect("no panic happens under this lock");
    if let Some(threads) = known.as_mut().filter(|threads| threads.pid == pid) {
        threads.held += 1;
        return Ok(Held { handle: threads.runtime.handle().clone(), pid });
    }
    let built = Builder::new_multi_thread().thread_name("stepwell").enable_all().build();
    let runtime = built.map_err(|error| {
        let message = format!("the threads of the engine cannot be begun: {error}");
        exception(py, &ErrorObject::new(Code::INTERNAL_ERROR, message))
    })?;
    let handle = runtime.handle().clone();
    // Threads that are not in this process cannot be waited for.
    std::mem::forget(known.replace(Threads { pid, runtime, held: 1 }));
    Ok(Held { handle, pid })
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
