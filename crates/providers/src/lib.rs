//! What carries out a step: one file or folder for each provider, and one line of the registry.
//!
//! Providers know nothing of journals or retries. They take resolved parameters, do the work within their limits and
//! answer with a value, a failure that says everything there is to know, or what they wait for.
//!
//! - [`python`] runs Python scripts, each in a fresh interpreter state.
//! - [`http`] makes HTTP requests, to addresses that workflows may reach.
//! - [`files`] opens the files that parameters name, inside the configured roots only.

pub mod files;
pub mod http;
mod human;
mod moment;
mod params;
pub mod python;
mod signal;
mod timer;
mod workflow;

use std::sync::Arc;

use stepwell_engine::Registry;

pub use human::Human;
pub use signal::Signal;
pub use timer::Timer;
pub use workflow::{ChildRuns, ReadWorkflow, Written};

/// Returns the providers that every Stepwell has. `read` reads workflows of child runs; files of them lie where scripts do.
pub fn registry(
    python: python::PythonSettings,
    http: http::HttpSettings,
    read: Arc<ReadWorkflow>,
) -> Registry {
    let places = files::Places::new(python.roots.clone(), python.trust_base_dir);
    Registry::default()
        .provide("python/v1", Arc::new(python::Python::new(python)))
        .provide("http/v1", Arc::new(http::Http::new(http)))
        .provide("human/v1", Arc::new(Human))
        .provide("signal/v1", Arc::new(Signal))
        .provide("timer/v1", Arc::new(Timer))
        .provide("workflow/v1", Arc::new(ChildRuns::new(read, places)))
}
