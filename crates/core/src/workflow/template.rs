//! `${…}` in JSON values: read once when a workflow is submitted, resolved once per attempt
//! (spec/gleitzeit.md §3).
//!
//! A string that is exactly one reference becomes the value, type kept. In a longer string, a value that is a
//! string is spliced as it is and anything else as compact JSON. `$${` is the text `${`. Values are never
//! scanned again, so text in them that looks like a reference stays text. Python source has rules of its own:
//! [`python_source`](super::python_source).

mod reference;
mod scope;

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::{Map, Value};

pub(crate) use reference::Fault;
pub use reference::{Names, Reference, Root, Segment};
pub use scope::{MissingReference, Scope, StepView, View};

use super::path::Path;

/// A JSON value with references in its strings.
///
/// ```
/// use serde_json::{Value, json};
/// use stepwell_core::workflow::template::{Root, Scope, Template, View};
///
/// struct Input(Value);
/// impl Scope for Input {
///     fn root(&self, root: &Root) -> Option<View<'_>> {
///         (*root == Root::Input).then(|| View::from(&self.0))
///     }
/// }
///
/// let params = json!({"rows": "${input.rows}", "title": "${input.rows} of ${input.name}"});
/// let template = Template::parse(&params, &()).unwrap();
/// let resolved = template.resolve(&Input(json!({"rows": [1, 2], "name": "x"}))).unwrap();
/// assert_eq!(*resolved, json!({"rows": [1, 2], "title": "[1,2] of x"}));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    node: Node,
    references: Vec<Reference>,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// No reference inside; escapes are already undone.
    Literal(Value),
    /// Exactly one reference.
    Whole(usize),
    /// Text with references.
    Text(Vec<Piece>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Value(usize),
}

/// What is wrong with a reference, found when a workflow is submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateProblem {
    /// Where the string or key is, from the value that was given.
    pub path: Path,
    /// From which byte of that string or key on.
    pub at: usize,
    /// What kind of problem it is.
    pub kind: ProblemKind,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// The kinds of [`TemplateProblem`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// Not closed, empty, or against the grammar.
    Syntax,
    /// The name at the start is no step and none of `input`, `item`, `index`.
    UnknownRoot(String),
    /// The name at the start is kept for later, such as `env`.
    Reserved(String),
    /// A reference in the key of an object.
    Key,
    /// A place in Python source where no value can stand, or a name that is ours.
    Place,
}

impl TemplateProblem {
    pub(crate) fn new(path: &Path, at: usize, fault: Fault) -> Self {
        let message = fault.to_string();
        let kind = match fault {
            Fault::UnknownRoot(name) => ProblemKind::UnknownRoot(name),
            Fault::Reserved(name) => ProblemKind::Reserved(name),
            Fault::Unclosed | Fault::Empty | Fault::Syntax(..) => ProblemKind::Syntax,
        };
        Self { path: path.clone(), at, kind, message }
    }
}

impl Template {
    /// Reads a value.
    ///
    /// # Errors
    /// Every problem of the value at once: bad syntax, unknown roots, references in keys.
    pub fn parse(value: &Value, names: &dyn Names) -> Result<Self, Vec<TemplateProblem>> {
        let mut parser = Parser { names, path: Path::root(), references: Vec::new(), problems: Vec::new() };
        let node = parser.node(value);
        if parser.problems.is_empty() {
            Ok(Self { node, references: parser.references })
        } else {
            Err(parser.problems)
        }
    }

    /// Returns the references, in order.
    pub fn references(&self) -> impl ExactSizeIterator<Item = &Reference> {
        self.references.iter()
    }

    /// Returns the value if it is the same in every scope.
    pub fn as_literal(&self) -> Option<&Value> {
        match &self.node {
            Node::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the value with every reference replaced. Without references nothing is copied.
    ///
    /// # Errors
    /// The first reference whose value is not there.
    pub fn resolve(&self, scope: &dyn Scope) -> Result<Cow<'_, Value>, MissingReference> {
        match &self.node {
            Node::Literal(value) => Ok(Cow::Borrowed(value)),
            node => self.resolve_node(node, scope).map(Cow::Owned),
        }
    }

    fn resolve_node(&self, node: &Node, scope: &dyn Scope) -> Result<Value, MissingReference> {
        Ok(match node {
            Node::Literal(value) => value.clone(),
            Node::Whole(index) => self.references[*index].lookup(scope)?.into_owned(),
            Node::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(literal) => text.push_str(literal),
                        Piece::Value(index) => push_text(&mut text, &*self.references[*index].lookup(scope)?),
                    }
                }
                Value::String(text)
            }
            Node::List(nodes) => {
                let items = nodes.iter().map(|node| self.resolve_node(node, scope));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Node::Object(members) => {
                let mut map = Map::with_capacity(members.len());
                for (key, node) in members {
                    map.insert(key.clone(), self.resolve_node(node, scope)?);
                }
                Value::Object(map)
            }
        })
    }
}

/// Returns a text in which nothing is a reference and that resolves to the given one.
///
/// ```
/// use stepwell_core::workflow::template::escaped;
/// assert_eq!(escaped("a ${b} $$c"), "a $${b} $$c");
/// ```
pub fn escaped(text: &str) -> Cow<'_, str> {
    let mut plain = String::new();
    let mut done = 0;
    while let Some(at) = find_run(text, done) {
        let dollars = Dollars::read(text, at).expect("find_run stops at a run before '{'");
        plain.push_str(&text[done..dollars.brace]);
        plain.push_str(&text[at..dollars.brace]);
        done = dollars.brace;
    }
    if done == 0 {
        return text.into();
    }
    plain.push_str(&text[done..]);
    plain.into()
}

/// Appends the text that a value has inside a longer text.
pub(crate) fn push_text(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => out.push_str(text),
        other => write!(out, "{other}").expect("a string takes any text"),
    }
}

/// What a run of `$` before a `{` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dollars {
    /// How many dollars are text.
    pub(crate) literal: usize,
    /// Where the `{` is.
    pub(crate) brace: usize,
    /// Whether a reference begins; else the `{` is text.
    pub(crate) is_reference: bool,
}

impl Dollars {
    /// Reads the run that begins at `at`; `None` if no `{` follows it.
    pub(crate) fn read(text: &str, at: usize) -> Option<Self> {
        let count = text.as_bytes()[at..].iter().take_while(|b| **b == b'$').count();
        let brace = at + count;
        let found = count > 0 && text.as_bytes().get(brace) == Some(&b'{');
        found.then_some(Self { literal: count / 2, brace, is_reference: count % 2 == 1 })
    }
}

/// Returns where `${` stands at or after `from`, at the first `$` of its run.
fn find_run(text: &str, from: usize) -> Option<usize> {
    let hit = from + text[from..].find("${")?;
    let before = text.as_bytes()[from..hit].iter().rev().take_while(|b| **b == b'$').count();
    Some(hit - before)
}

struct Parser<'a> {
    names: &'a dyn Names,
    path: Path,
    references: Vec<Reference>,
    problems: Vec<TemplateProblem>,
}

impl Parser<'_> {
    fn node(&mut self, value: &Value) -> Node {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(list) => {
                let mut nodes = Vec::with_capacity(list.len());
                for (index, item) in list.iter().enumerate() {
                    self.path.push(index);
                    nodes.push(self.node(item));
                    self.path.pop();
                }
                fold_list(nodes)
            }
            Value::Object(map) => {
                let mut members = Vec::with_capacity(map.len());
                for (key, item) in map {
                    self.path.push(key.as_str());
                    let key = self.key(key);
                    members.push((key, self.node(item)));
                    self.path.pop();
                }
                fold_object(members)
            }
            scalar => Node::Literal(scalar.clone()),
        }
    }

    fn key(&mut self, key: &str) -> String {
        let mut plain = String::new();
        let mut done = 0;
        while let Some(at) = find_run(key, done) {
            let dollars = Dollars::read(key, at).expect("find_run stops at a run before '{'");
            if dollars.is_reference {
                let message = format!("the key {key:?} holds a reference; only values can");
                self.problems.push(TemplateProblem {
                    path: self.path.clone(),
                    at: dollars.brace - 1,
                    kind: ProblemKind::Key,
                    message,
                });
                return key.to_owned();
            }
            plain.push_str(&key[done..at + dollars.literal]);
            plain.push('{');
            done = dollars.brace + 1;
        }
        plain.push_str(&key[done..]);
        plain
    }

    fn text(&mut self, text: &str) -> Node {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut done = 0;
        while let Some(at) = find_run(text, done) {
            let dollars = Dollars::read(text, at).expect("find_run stops at a run before '{'");
            literal.push_str(&text[done..at + dollars.literal]);
            done = dollars.brace + 1;
            if !dollars.is_reference {
                literal.push('{');
                continue;
            }
            match Reference::parse(&text[done..], self.names) {
                Ok((reference, len)) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Value(self.references.len()));
                    self.references.push(reference);
                    done += len;
                }
                Err(fault) => {
                    self.problems.push(TemplateProblem::new(&self.path, dollars.brace - 1, fault));
                    done = text[done..].find('}').map_or(text.len(), |close| done + close + 1);
                }
            }
        }
        literal.push_str(&text[done..]);
        match pieces[..] {
            [] => Node::Literal(Value::String(literal)),
            [Piece::Value(index)] if literal.is_empty() => Node::Whole(index),
            _ => {
                if !literal.is_empty() {
                    pieces.push(Piece::Text(literal));
                }
                Node::Text(pieces)
            }
        }
    }
}

/// Makes a list of literals one literal, so that resolving copies it in one go.
fn fold_list(nodes: Vec<Node>) -> Node {
    if nodes.iter().all(|node| matches!(node, Node::Literal(_))) {
        Node::Literal(nodes.into_iter().map(Node::into_literal).collect())
    } else {
        Node::List(nodes)
    }
}

fn fold_object(members: Vec<(String, Node)>) -> Node {
    if members.iter().all(|(_, node)| matches!(node, Node::Literal(_))) {
        Node::Literal(members.into_iter().map(|(key, node)| (key, node.into_literal())).collect())
    } else {
        Node::Object(members)
    }
}

impl Node {
    fn into_literal(self) -> Value {
        match self {
            Self::Literal(value) => value,
            _ => unreachable!("only called on literals"),
        }
    }
}

#[cfg(test)]
mod tests;
