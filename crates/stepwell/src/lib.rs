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

pub use stepwell_core as core;
pub use stepwell_engine::{
    Engine, Follow, Leases, Options, Outcome, Provider, Registry, Start, Started, Task, batch, load,
};
pub use stepwell_providers::http::{AllowPrivate, HttpSettings, UnknownRule};
pub use stepwell_providers::python::PythonSettings;
pub use stepwell_store::{Store, open as open_store};

/// How the providers of a Stepwell work.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Of Python scripts; what they may see and use is also what programs may.
    pub python: PythonSettings,
    /// Of HTTP requests. By default they reach the internet and nothing else.
    pub http: HttpSettings,
}

/// Returns the providers of every Stepwell. File parameters must lie inside the roots (none given: inside the working
/// directory) or the directory their run was submitted from.
pub fn registry(roots: Vec<PathBuf>) -> Registry {
    registry_with(Settings::default(), roots)
}

/// Returns the same providers with settings of your own.
pub fn registry_with(settings: Settings, roots: Vec<PathBuf>) -> Registry {
    let Settings { mut python, http } = settings;
    if !roots.is_empty() {
        python.isolation.roots = roots;
    }
    // A run of the library or the command line is its user's own, wherever a worker carries it on.
    python.isolation.trust_base_dir = true;
    let roots = python.isolation.roots.clone();
    stepwell_providers::registry(python, http, Arc::new(read_child)).within(roots)
}

/// Reads the workflow of a child run. Its steps are checked against the same providers, and so are those of its own
/// children that are written in it.
fn read_child(written: Written<'_>, roots: &[PathBuf]) -> Result<Arc<Workflow>, load::Invalid> {
    let mut python = PythonSettings::default();
    python.isolation.roots = roots.to_vec();
    let known = stepwell_providers::registry(python, HttpSettings::default(), Arc::new(read_child));
    let known = known.within(roots.to_vec());
    let loaded = match written {
        Written::Inline(value) => load::value(value, &known, false)?,
        Written::File(source) => source.load(&known, false)?,
    };
    Ok(loaded.workflow)
}
