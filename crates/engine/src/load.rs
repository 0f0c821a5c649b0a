//! Workflow files: YAML or JSON text, or the same as a value, become a [`Workflow`] (spec/gleitzeit.md §1).
//!
//! Reading goes on after a problem, so that all problems of a definition are told at once, each with its path and,
//! where there is a text, line and column. What the engine cannot do with a definition is a problem too: nothing
//! is ignored. Nothing is stored or run here.
//!
//! Start reading at [`text`]; `keys.rs` declares the keys, `workflow.rs` and `step.rs` read them, `references.rs` reads what
//! steps say about each other, `batch.rs` makes steps of files.

mod batch;
mod fields;
mod json;
mod keys;
mod node;
mod problem;
mod protocols;
mod references;
mod schema;
mod step;
mod workflow;
mod yaml;

use std::sync::Arc;

use serde_json::Value;
use stepwell_core::error::Code;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::path::{Part, Path};

pub use batch::{BatchRequest, Files, batch};
pub use keys::tables;
pub use node::Position;
use node::{Member, Node};
pub use problem::{Invalid, Problem};
pub use protocols::Protocols;
pub use schema::schema;

/// What a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2, of which one document is read.
    Yaml,
    /// JSON.
    Json,
}

/// The text of a workflow file.
#[derive(Clone, Debug)]
pub struct Source {
    /// All of it, but for a byte order mark.
    pub text: String,
    /// What it is written in.
    pub format: Format,
}

impl Source {
    /// Reads the definition.
    ///
    /// # Errors
    /// Every problem of the text.
    pub fn load(&self, protocols: &dyn Protocols, strict: bool) -> Result<Loaded, Invalid> {
        text(&self.text, self.format, protocols, strict)
    }
}

/// A definition that can be run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The workflow.
    pub workflow: Arc<Workflow>,
    /// What is worth knowing, such as needs that were added for references.
    pub warnings: Vec<Problem>,
    /// What was read, for later questions about places.
    document: Option<Node>,
}

impl Loaded {
    /// Returns what was read, as a value; none if it was one already.
    pub fn document(&self) -> Option<Value> {
        self.document.as_ref().map(Node::to_value)
    }

    /// Returns a warning about a parameter of a step, which is known by its number in the definition.
    pub fn about_param(&self, step: usize, name: &str, message: impl Into<String>) -> Problem {
        let steps = self.document.as_ref().and_then(|document| document.member(keys::workflow::STEPS.names));
        let object = steps.and_then(|steps| steps.value.element(step));
        let params = object.and_then(|object| object.member(keys::step::PARAMS.names));
        let value = params.and_then(|params| params.value.member(&[name]));
        let key = |member: Option<&Member>, key: &keys::Key<_>| {
            Part::from(member.map_or(key.names[0], |member| member.key.as_str()))
        };
        let path = Path::root()
            .join(key(steps, &keys::workflow::STEPS))
            .join(step)
            .join(key(params, &keys::step::PARAMS))
            .join(name);
        Problem::new(path, value.and_then(|member| member.value.at), message)
    }
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
        .map_err(|unreadable| Invalid::one(Problem::new(Path::root(), unreadable.at, unreadable.message)))?;
    match workflow::read(&node, protocols, strict) {
        Ok(mut loaded) => {
            for warning in &mut loaded.warnings {
                warning.locate(text);
            }
            loaded.document = Some(node);
            Ok(loaded)
        }
        Err(mut invalid) => {
            invalid.locate(text);
            Err(invalid)
        }
    }
}

/// Reads a definition that is a value already: the body of a request, a dict.
///
/// # Errors
/// Every problem of the definition; none has a line.
pub fn value(value: &Value, protocols: &dyn Protocols, strict: bool) -> Result<Loaded, Invalid> {
    workflow::read(&Node::from_value(value), protocols, strict)
}

/// Reads a workflow file.
///
/// # Errors
/// Those of [`open`], else every problem of its text.
pub fn file(path: &std::path::Path, protocols: &dyn Protocols, strict: bool) -> Result<Loaded, Invalid> {
    open(path)?.load(protocols, strict)
}

/// Reads the text of a workflow file: `.yaml`, `.yml` or `.json`, in UTF-8.
///
/// # Errors
/// `CONFIGURATION_ERROR` with `data.path` if the file is missing, cannot be read or has another suffix.
pub fn open(path: &std::path::Path) -> Result<Source, Invalid> {
    let refuse = |message: String, reason: &str| {
        let problem = Problem::new(Path::root(), None, message).code(Code::CONFIGURATION_ERROR);
        Err(Invalid::one(problem.with("path", path.display().to_string()).with("reason", reason)))
    };
    let shown = path.display();
    let suffix = path.extension().and_then(|suffix| suffix.to_str()).map(str::to_ascii_lowercase);
    let format = match suffix.as_deref() {
        Some("yaml" | "yml") => Format::Yaml,
        Some("json") => Format::Json,
        _ => {
            return refuse(
                format!("'{shown}' is no workflow file: it must end in .yaml, .yml or .json"),
                "suffix",
            );
        }
    };
    match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => {
                let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
                Ok(Source { text, format })
            }
            Err(_) => refuse(format!("'{shown}' is not UTF-8"), "not_utf8"),
        },
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
            refuse(format!("'{shown}' is a directory, no workflow file"), "directory")
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            refuse(format!("there is no file '{shown}'"), "not_found")
        }
        Err(error) => refuse(format!("'{shown}' cannot be read: {error}"), "unreadable"),
    }
}

#[cfg(test)]
mod tests;
