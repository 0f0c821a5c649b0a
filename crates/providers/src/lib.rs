//! What carries out a step: one file or folder for each provider, and one line of the registry.
//!
//! Providers know nothing of journals or retries. They take resolved parameters, do the work within their limits and
//! answer with a value, a failure that says everything there is to know, or what they wait for.
//!
//! - [`python`] runs Python scripts, each in a fresh interpreter state.
//! - [`Process`] runs programs, never through a shell.
//! - [`isolation`] is what scripts and programs may see and use, [`sandbox`] the walls that the kernel keeps.
//! - [`http`] makes HTTP requests, to addresses that workflows may reach.
//! - [`files`] opens the files that parameters name, inside the configured roots only.

mod capture;
pub mod files;
pub mod http;
mod human;
pub mod isolation;
mod mark;
mod moment;
mod params;
mod process;
pub mod python;
pub mod sandbox;
mod signal;
mod signals;
mod supervise;
mod timer;
mod workflow;

use std::sync::Arc;

use stepwell_engine::Registry;

pub use human::Human;
pub use process::Process;
pub use signal::Signal;
pub use timer::Timer;
pub use workflow::{ChildRuns, ReadWorkflow, Written};

/// Returns the providers that every Stepwell has. `read` reads workflows of child runs; files of them lie where scripts do.
pub fn registry(
    python: python::PythonSettings,
    http: http::HttpSettings,
    read: Arc<ReadWorkflow>,
) -> Registry {
    let isolation = python.isolation.clone();
    Registry::default()
        .provide("process/v1", Arc::new(Process::new(isolation.clone())))
        .provide("python/v1", Arc::new(python::Python::new(python)))
        .provide("http/v1", Arc::new(http::Http::new(http)))
        .provide("human/v1", Arc::new(Human))
        .provide("signal/v1", Arc::new(Signal))
        .provide("timer/v1", Arc::new(Timer))
        .provide("workflow/v1", Arc::new(ChildRuns::new(read, isolation)))
}
