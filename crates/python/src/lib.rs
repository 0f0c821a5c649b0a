//! `stepwell._native`: what the Python package takes from the engine. Here is only what crosses the border between
//! the languages; the public names and their documentation stand in `python/stepwell/`.

use pyo3::prelude::*;

mod agent;
mod batch;
mod border;
mod carrier;
mod checkpoint;
mod client;
mod command_line;
mod context;
mod engine;
mod errors;
mod moves;
mod pipeline;
mod route;
mod run;
mod runtime;
mod value;
mod worker;
mod workflow;

/// The native part of `stepwell`; its types stand in `_native.pyi`.
#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::agent::PyAgent;
    #[pymodule_export]
    use crate::batch::PyBatchResult;
    #[pymodule_export]
    use crate::border::Border;
    #[pymodule_export]
    use crate::checkpoint::load_checkpoint;
    #[pymodule_export]
    use crate::checkpoint::read_checkpoint;
    #[pymodule_export]
    use crate::checkpoint::save_checkpoint;
    #[pymodule_export]
    use crate::client::PyClient;
    #[pymodule_export]
    use crate::command_line::default_store;
    #[pymodule_export]
    use crate::command_line::main;
    #[pymodule_export]
    use crate::context::PyContext;
    #[pymodule_export]
    use crate::engine::{PyEngine, PyServing};
    #[pymodule_export]
    use crate::errors::error_codes;
    #[pymodule_export]
    use crate::pipeline::PyPipeline;
    #[pymodule_export]
    use crate::run::PyRun;
    #[pymodule_export]
    use crate::worker::PyWorker;
    #[pymodule_export]
    use crate::workflow::PyWorkflow;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("END", stepwell_core::workflow::definition::END)
    }
}
