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
mod unreadable;
mod workflow;
mod yaml;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use stepwell_core::error::Code;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::path::{Part, Path as Place};

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
    /// Takes what a workflow file of that name holds.
    ///
    /// # Errors
    /// As [`open`].
    pub fn of(path: &Path, content: Vec<u8>) -> Result<Self, Invalid> {
        let Some(format) = format_of(path) else { return Err(no_workflow_file(path)) };
        let text = String::from_utf8(content)
            .map_err(|_| unusable(path, format!("'{}' is not UTF-8", path.display()), "not_utf8"))?;
        Ok(Self { text: text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text), format })
    }

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
        let path = Place::root()
            .join(key(steps, &keys::workflow::STEPS))
            .join(step)
            .join(key(params, &keys::step::PARAMS))
            .join(name);
        Problem::new(path, value.and_then(|member| member.value.at), message)
    }

    /// Returns a problem of a parameter, whose path is that in the definition, with its place in what was read.
    pub fn placed(&self, mut problem: Problem) -> Problem {
        if let [_, Part::Index(step), _, Part::Key(name), ..] = problem.path.parts() {
            let place = self.about_param(*step, name, "");
            (problem.path, problem.at, problem.end_column) = (place.path, place.at, place.end_column);
        }
        problem
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
    let node = node.map_err(|unreadable| {
        let problem = Problem::new(Place::root(), Some(unreadable.at), unreadable.message);
        Invalid::one(problem.maybe_hint(unreadable.hint.map(str::to_owned)))
    })?;
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
pub fn file(path: &Path, protocols: &dyn Protocols, strict: bool) -> Result<Loaded, Invalid> {
    open(path)?.load(protocols, strict)
}

/// Reads the text of a workflow file: `.yaml`, `.yml` or `.json`, in UTF-8.
///
/// # Errors
/// `CONFIGURATION_ERROR` with `data.path` if the file is missing, cannot be read or has another suffix.
pub fn open(path: &Path) -> Result<Source, Invalid> {
    let shown = path.display();
    if format_of(path).is_none() {
        return Err(no_workflow_file(path));
    }
    match read(path) {
        Ok(Some(content)) => Source::of(path, content),
        Ok(None) => Err(unusable(path, format!("'{shown}' is no regular file"), "not_a_file")),
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
            Err(unusable(path, format!("'{shown}' is a directory, no workflow file"), "directory"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(unusable(path, format!("there is no file '{shown}'"), "not_found"))
        }
        Err(error) => Err(unusable(path, format!("'{shown}' cannot be read: {error}"), "unreadable")),
    }
}

/// Reads a file; none: what is there never ends, such as a pipe or a device.
fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let kind = std::fs::metadata(path)?;
    if kind.is_file() || kind.is_dir() { std::fs::read(path).map(Some) } else { Ok(None) }
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
