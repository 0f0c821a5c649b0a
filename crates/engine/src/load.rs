//! Workflow files: YAML or JSON text, or the same as a value, become a [`Workflow`] (spec/gleitzeit.md §1).
//!
//! Reading goes on after a problem, so that all problems of a definition are told at once, each with its path and,
//! where there is a text, line and column. What the engine cannot do with a definition is a problem too: nothing
//! is ignored. Nothing is stored or run here.
//!
//! Start reading at [`text`]; `workflow.rs` and `step.rs` read the keys, `references.rs` what steps say about each
//! other.

mod fields;
mod json;
mod node;
mod problem;
mod protocols;
mod references;
mod step;
mod workflow;
mod yaml;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use stepwell_core::error::Code;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::path::Path as Place;

use node::Node;
pub use node::Position;
pub use problem::{Invalid, Problem};
pub use protocols::Protocols;

/// What a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, of which one document is read.
    Yaml,
    /// JSON.
    Json,
}

/// A definition that can be run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// What is worth knowing, such as needs that were added for references.
    pub warnings: Vec<Problem>,
}

/// Reads the text of a workflow file. With `strict`, as with `strict: true` in the file, warnings are problems.
///
/// # Errors
/// Every problem of the text.
///
/// ```
/// use stepwell_engine::Registry;
/// use stepwell_engine::load::{self, Format};
///
/// let source = "steps:\n  - name: A\n    method: llm/chat\n    tiemout: 5\n";
/// let invalid = load::text(source, Format::Yaml, &Registry::default(), false).unwrap_err();
/// let told: Vec<String> = invalid.problems.iter().map(ToString::to_string).collect();
/// assert_eq!(
///     told,
///     [
///         "3:13: steps[0].method: step 'A': no provider speaks 'llm'",
///         "4:5: steps[0].tiemout: step 'A': unknown key 'tiemout'",
///     ]
/// );
/// assert_eq!(invalid.problems[1].hint.as_deref(), Some("did you mean 'timeout'?"));
/// ```
pub fn text(text: &str, format: Format, protocols: &dyn Protocols, strict: bool) -> Result<Loaded, Invalid> {
    let node = match format {
        Format::Yaml => yaml::read(text),
        Format::Json => json::read(text),
    };
    let node = node
        .map_err(|unreadable| Invalid::one(Problem::new(Place::root(), unreadable.at, unreadable.message)))?;
    workflow::read(&node, protocols, strict)
}

/// Reads a definition that is a value already: the body of a request, a dict.
///
/// # Errors
/// Every problem of the definition; none has a line.
pub fn value(value: &Value, protocols: &dyn Protocols, strict: bool) -> Result<Loaded, Invalid> {
    workflow::read(&Node::from_value(value), protocols, strict)
}

/// Reads a workflow file: `.yaml`, `.yml` or `.json`, in UTF-8.
///
/// # Errors
/// `CONFIGURATION_ERROR` with `data.path` if the file is missing, cannot be read or has another suffix; else every
/// problem of its text.
pub fn file(path: &Path, protocols: &dyn Protocols, strict: bool) -> Result<Loaded, Invalid> {
    let shown = path.display();
    if format_of(path).is_none() {
        return Err(no_workflow_file(path));
    }
    match std::fs::read(path) {
        Ok(content) => bytes(path, content, protocols, strict),
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
            Err(unusable(path, format!("'{shown}' is a directory, no workflow file"), "directory"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(unusable(path, format!("there is no file '{shown}'"), "not_found"))
        }
        Err(error) => Err(unusable(path, format!("'{shown}' cannot be read: {error}"), "unreadable")),
    }
}

/// Reads what a workflow file of that name holds.
///
/// # Errors
/// As [`file`].
pub fn bytes(
    path: &Path,
    content: Vec<u8>,
    protocols: &dyn Protocols,
    strict: bool,
) -> Result<Loaded, Invalid> {
    let Some(format) = format_of(path) else { return Err(no_workflow_file(path)) };
    match String::from_utf8(content) {
        Ok(content) => text(content.strip_prefix('\u{feff}').unwrap_or(&content), format, protocols, strict),
        Err(_) => Err(unusable(path, format!("'{}' is not UTF-8", path.display()), "not_utf8")),
    }
}

/// Returns what a file of that name is written in, if it can be a workflow file.
pub fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "yaml" | "yml" => Some(Format::Yaml),
        "json" => Some(Format::Json),
        _ => None,
    }
}

fn no_workflow_file(path: &Path) -> Invalid {
    let message = format!("'{}' is no workflow file: it must end in .yaml, .yml or .json", path.display());
    unusable(path, message, "suffix")
}

fn unusable(path: &Path, message: String, reason: &str) -> Invalid {
    let problem = Problem::new(Place::root(), None, message).code(Code::CONFIGURATION_ERROR);
    Invalid::one(problem.with("path", path.display().to_string()).with("reason", reason))
}

#[cfg(test)]
mod tests;
