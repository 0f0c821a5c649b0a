//! `stepwell._native`: what the Python package takes from the engine. Here is only what crosses the border between
//! the languages; the public names and their documentation stand in `python/stepwell/`.

use pyo3::prelude::*;

mod command_line;
mod errors;

/// The native part of `stepwell`; its types stand in `_native.pyi`.
#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::command_line::main;
    #[pymodule_export]
    use crate::errors::error_codes;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("END", stepwell_core::workflow::definition::END)
    }
}
