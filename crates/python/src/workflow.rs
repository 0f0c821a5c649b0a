//! Workflows that were written down: files, texts and dicts, read and found to be in order.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use serde_json::Value;
use stepwell::load::{self, Invalid, Loaded, Problem};
use stepwell_core::error::{Code, ErrorObject};

use crate::errors::exception;
use crate::value::{to_json, to_python};

/// A definition that can be run.
#[pyclass(frozen, name = "Workflow", module = "stepwell._native")]
pub(crate) struct PyWorkflow {
    loaded: Loaded,
    /// The directory of its file.
    directory: Option<PathBuf>,
    /// It, as a dict that was given.
    given: Option<Value>,
}

impl PyWorkflow {
    pub(crate) fn of(loaded: Loaded, directory: Option<PathBuf>) -> Self {
        Self { loaded, directory, given: None }
    }

    pub(crate) fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Returns the directory of its file, whose files it may name.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }
}

#[pymethods]
impl PyWorkflow {
    /// Reads a workflow file.
    #[staticmethod]
    fn file(py: Python<'_>, path: PathBuf, roots: Vec<PathBuf>, strict: bool) -> PyResult<Self> {
        let directory = path.canonicalize().ok().and_then(|real| real.parent().map(Path::to_owned));
        let roots = roots.into_iter().chain(directory.clone()).collect();
        let loaded = read(py, roots, move |registry| load::file(&path, registry, strict))?;
        Ok(Self::of(loaded, directory))
    }

    /// Reads the text of a workflow file.
    #[staticmethod]
    fn text(py: Python<'_>, text: &str, language: &str, roots: Vec<PathBuf>, strict: bool) -> PyResult<Self> {
        let format = match language {
            "yaml" => load::Format::Yaml,
            "json" => load::Format::Json,
            other => {
                let message = format!("a workflow is written in yaml or json, not in {other:?}");
                let error = ErrorObject::new(Code::INVALID_PARAMS, message).with("parameter", "format");
                return Err(exception(py, &error));
            }
        };
        let loaded = read(py, roots, |registry| load::text(text, format, registry, strict))?;
        Ok(Self::of(loaded, None))
    }

    /// Reads a definition that is a dict.
    #[staticmethod]
    fn value(py: Python<'_>, value: &Bound<'_, PyAny>, roots: Vec<PathBuf>, strict: bool) -> PyResult<Self> {
        let value = to_json(value, &|| "the workflow".into())?;
        let loaded = read(py, roots, |registry| load::value(&value, registry, strict))?;
        Ok(Self { loaded, directory: None, given: Some(value) })
    }

    #[getter]
    fn id(&self) -> &str {
        self.loaded.workflow.name()
    }

    #[getter]
    fn name(&self) -> &str {
        let definition = self.loaded.workflow.definition();
        definition.title.as_deref().unwrap_or(&definition.name)
    }

    #[getter]
    fn description(&self) -> &str {
        &self.loaded.workflow.definition().description
    }

    #[getter]
    fn version(&self) -> &str {
        self.loaded.workflow.version()
    }

    /// The ids of its steps, in the order of definition.
    #[getter]
    fn steps(&self) -> Vec<&str> {
        self.loaded.workflow.definition().steps.iter().map(|step| step.name.as_str()).collect()
    }

    #[getter]
    fn warnings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.loaded.warnings.iter().map(Problem::to_json).collect())
    }

    /// Returns what was read; none of a batch.
    fn document<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let document = self.given.clone().or_else(|| self.loaded.document());
        to_python(py, &document.unwrap_or(Value::Null))
    }
}

/// Reads a definition whose steps the providers of every Stepwell carry out.
fn read(
    py: Python<'_>,
    roots: Vec<PathBuf>,
    read: impl FnOnce(&stepwell::Registry) -> Result<Loaded, Invalid> + Send,
) -> PyResult<Loaded> {
    let interpreter = interpreter(py)?;
    let loaded = py.detach(move || {
        let (registry, _) = stepwell_cli::providers(&interpreter, &roots)?;
        read(&registry).map_err(|invalid| invalid.to_error())
    });
    loaded.map_err(|error| exception(py, &error))
}

/// Returns the interpreter of this process, which scripts get too.
pub(crate) fn interpreter(py: Python<'_>) -> PyResult<PathBuf> {
    let executable: Option<PathBuf> = py.import("sys")?.getattr("executable")?.extract()?;
    Ok(executable.filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| "python3".into()))
}
