//! `${…}` in Python source: a value is bound as data and never becomes code (spec/gleitzeit.md §3.1).
//!
//! The source is read once, when a workflow is submitted, as Python reads it: code, comments, string literals,
//! f-strings with their fields. What happens to a reference depends on where it stands. In code it becomes a
//! generated name that the worker binds to the value; in the text of a literal the value's text is spliced with
//! every unusual character escaped, the first always; in a comment it is replaced by fixed text. Everywhere else
//! it is refused. So neither form can end a literal or begin code, even if Python should read the source in
//! another way than we do: a generated name holds nothing of the value, and escaped text is no code.

mod place;
mod scan;

use std::fmt::Write;

use serde_json::Value;

use super::path::Path;
use super::template::{MissingReference, Names, ProblemKind, Reference, Scope, TemplateProblem, push_text};

/// What every generated name begins with; source may not use such names itself.
pub const RESERVED_PREFIX: &str = "__stepwell_";

/// Python source with references.
///
/// ```
/// use serde_json::{Value, json};
/// use stepwell_core::workflow::python_source::PythonSource;
/// use stepwell_core::workflow::template::{Root, Scope, View};
///
/// struct Input(Value);
/// impl Scope for Input {
///     fn root(&self, root: &Root) -> Option<View<'_>> {
///         (*root == Root::Input).then(|| View::from(&self.0))
///     }
/// }
///
/// let source = PythonSource::parse("n = len(${input.rows})\nprint('${input.name}')", &()).unwrap();
/// let resolved = source.resolve(&Input(json!({"rows": [1, 2], "name": "a'b"}))).unwrap();
/// assert_eq!(resolved.code, "n = len(__stepwell_0__)\nprint('\\x61\\x27b')");
/// assert_eq!(resolved.bindings, [("__stepwell_0__".to_owned(), json!([1, 2]))]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonSource {
    pieces: Vec<Piece>,
    references: Vec<Reference>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Source as it is.
    Text(String),
    /// A reference in code, by its index.
    Name(usize),
    /// A reference in the text of a literal, by its index.
    Spliced(usize),
}

/// Source that Python can read, and the values of the names it uses.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedSource {
    /// The source; its lines are those of the original.
    pub code: String,
    /// Generated names and their values, each its own copy, to be set as globals before the source runs.
    pub bindings: Vec<(String, Value)>,
}

impl PythonSource {
    /// Reads source.
    ///
    /// # Errors
    /// Every problem of the source at once: bad syntax of a reference, an unknown root, a place where no value
    /// can stand, a name that begins like a generated one, source that is nothing but one reference.
    pub fn parse(code: &str, names: &dyn Names) -> Result<Self, Vec<TemplateProblem>> {
        let (pieces, references, mut problems) = scan::scan(code, names);
        let mut meaningful =
            pieces.iter().filter(|piece| !matches!(piece, Piece::Text(text) if text.trim().is_empty()));
        if matches!((meaningful.next(), meaningful.next()), (Some(Piece::Name(_)), None)) {
            problems.push(TemplateProblem {
                path: Path::root(),
                at: code.find("${").unwrap_or_default(),
                kind: ProblemKind::Place,
                message: "the code is nothing but one reference; a value never becomes code".into(),
            });
        }
        if problems.is_empty() { Ok(Self { pieces, references }) } else { Err(problems) }
    }

    /// Returns the references that need a value, in order; those in comments do not.
    pub fn references(&self) -> impl ExactSizeIterator<Item = &Reference> {
        self.references.iter()
    }

    /// Returns the source with every reference replaced.
    ///
    /// # Errors
    /// The first reference whose value is not there.
    pub fn resolve(&self, scope: &dyn Scope) -> Result<ResolvedSource, MissingReference> {
        let mut resolved = ResolvedSource { code: String::new(), bindings: Vec::new() };
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => resolved.code.push_str(text),
                Piece::Name(index) => {
                    // The underscores at the end keep Python from mangling the name inside a class.
                    let name = format!("{RESERVED_PREFIX}{}__", resolved.bindings.len());
                    resolved.code.push_str(&name);
                    let value = self.references[*index].lookup(scope)?.into_owned();
                    resolved.bindings.push((name, value));
                }
                Piece::Spliced(index) => {
                    let value = self.references[*index].lookup(scope)?;
                    match &*value {
                        Value::String(text) => push_escaped(&mut resolved.code, text),
                        other => {
                            let mut text = String::new();
                            push_text(&mut text, other);
                            push_escaped(&mut resolved.code, &text);
                        }
                    }
                }
            }
        }
        Ok(resolved)
    }
}

/// Appends text as the inside of any literal that is neither raw nor bytes.
fn push_escaped(code: &mut String, text: &str) {
    for (i, c) in text.chars().enumerate() {
        let number = u32::from(c);
        if i > 0 && (c.is_ascii_alphanumeric() || c == ' ') {
            code.push(c);
        } else {
            match number {
                0..=0xFF => write!(code, "\\x{number:02x}"),
                0x100..=0xFFFF => write!(code, "\\u{number:04x}"),
                _ => write!(code, "\\U{number:08x}"),
            }
            .expect("a string takes any text");
        }
    }
}

#[cfg(test)]
mod tests;
