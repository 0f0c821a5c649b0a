//! Stepwell runs workflows and AI agents so that no step is ever lost.
//!
//! This is the library people add to `Cargo.toml`: an [`Engine`] over a [`Store`], with the providers every Stepwell
//! has. Agents, pipelines and builders of workflows come with later versions; what stands is the engine itself.
//!
//! ```
//! use serde_json::json;
//! use stepwell::{Engine, Options, Start, load};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = stepwell::registry(Vec::new());
//! let file = "steps: [{name: Nap, method: timer/sleep, params: {seconds: 0}}]";
//! let workflow = load::text(file, load::Format::Yaml, &registry, false).unwrap().workflow;
//!
//! let store = stepwell::open_store("memory:").await?;
//! let engine = Engine::open(store, registry, Options::default()).await?;
//! let run = engine.start(Start { input: json!({}), ..Start::of(workflow) }).await?.run;
//! let row = engine.rest(&run, false).await?;
//! assert_eq!(row.state.status.as_str(), "completed");
//! engine.shutdown().await;
//! # Ok(())
//! # }
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use stepwell_core::workflow::Workflow;
use stepwell_providers::Written;
use stepwell_providers::python::PythonSettings;

pub use stepwell_core as core;
pub use stepwell_engine::{
    Engine, Follow, Leases, Options, Outcome, Provider, Registry, Start, Started, Task, load,
};
pub use stepwell_providers::http::{AllowPrivate, HttpSettings, UnknownRule};
pub use stepwell_store::{Store, open as open_store};

/// Returns the providers of every Stepwell. File parameters must lie inside the roots (none given: inside the working
/// directory) or the directory their run was submitted from. HTTP requests reach the internet and nothing else.
pub fn registry(roots: Vec<PathBuf>) -> Registry {
    registry_with(roots, HttpSettings::default())
}

/// Returns the same with settings for HTTP requests.
pub fn registry_with(roots: Vec<PathBuf>, http: HttpSettings) -> Registry {
    let mut python = PythonSettings::default();
    if !roots.is_empty() {
        python.roots = roots;
    }
    // A run of the library or the command line is its user's own, wherever a worker carries it on.
    python.trust_base_dir = true;
    stepwell_providers::registry(python, http, Arc::new(read_child))
}

/// Reads the workflow of a child run. Its steps are checked against the same providers, and so are those of its own
/// children that are written in it.
fn read_child(written: Written<'_>) -> Result<Arc<Workflow>, load::Invalid> {
    let settings = (PythonSettings::default(), HttpSettings::default());
    let known = stepwell_providers::registry(settings.0, settings.1, Arc::new(read_child));
    let loaded = match written {
        Written::Inline(value) => load::value(value, &known, false)?,
        Written::File(path, content) => load::bytes(path, content, &known, false)?,
    };
    Ok(loaded.workflow)
}
