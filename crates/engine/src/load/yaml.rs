//! YAML 1.2 text as nodes, made of what the parser tells as it tells it. Nothing here recurses but over what anchors name.

mod anchors;
mod failure;
mod scalar;
mod tag;

use std::collections::HashSet;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span};
use serde_json::Value;

use super::node::{Kind, Member, Node, Position};
use super::unreadable::{MAX_DEPTH, Unreadable};
use anchors::Anchors;

/// A definition of 100 000 steps is large but honest.
const MAX_VALUES: usize = 4_000_000;

/// Reads one document.
///
/// # Errors
/// What was found first; a key that comes twice is left to [`Node::duplicates`].
pub(super) fn read(text: &str) -> Result<Node, Unreadable> {
    let options = granit_parser::options! { emit_comments: false };
    let mut composer = Composer::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| failure::told(&error, text))?;
        composer.take(event, span)?;
    }
    Ok(composer.document.expect("what ends without an error is a document"))
}

/// A document as far as it was told.
#[derive(Default)]
struct Composer {
    document: Option<Node>,
    /// Lists and objects that are not complete, the innermost last.
    open: Vec<Open>,
    anchors: Anchors,
    values: usize,
}

/// A list or object that is not complete.
struct Open {
    at: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Object {
        members: Vec<Member>,
        key: Key,
        /// What is merged into it: the members of other objects.
        bases: Vec<Member>,
    },
}

/// What the next value of an object is.
enum Key {
    /// A key itself.
    Awaited,
    /// The value of this key.
    Name(String, Position),
    /// The value of a key `<<`: what is merged.
    Merge,
}

impl Composer {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Unreadable> {
        let at = place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_merge = text == "<<" && style == ScalarStyle::Plain && tag.is_none();
                match self.open.last_mut().and_then(Open::awaited_key) {
                    Some(key) if is_merge => *key = Key::Merge,
                    _ => {
                        let value = scalar::value(text, style, tag.as_deref(), span)?;
                        self.put(Kind::Scalar(value), at, anchor)?;
                    }
                }
                Ok(())
            }
            Event::SequenceStart(_, anchor, tag) => {
                tag::check(tag.as_deref(), "seq", span)?;
                self.open(at, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                tag::check(tag.as_deref(), "map", span)?;
                let content = Content::Object { members: Vec::new(), key: Key::Awaited, bases: Vec::new() };
                self.open(at, anchor, content)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { at, anchor, content } = self.open.pop().expect("what ends has begun");
                self.put(content.complete(), at, anchor)
            }
            Event::Alias(anchor) => {
                let kind = self.anchors.repeat(anchor, at, self.open.len())?;
                self.put(kind, at, 0)
            }
            Event::DocumentStart(..) if self.document.is_some() => {
                Err(Unreadable::new("there are several documents; a file is one", at))
            }
            Event::StreamEnd if self.document.is_none() => self.put(Kind::Scalar(Value::Null), at, 0),
            // The others mean nothing here, or are only told when they are asked for.
            _ => Ok(()),
        }
    }

    fn open(&mut self, at: Position, anchor: usize, content: Content) -> Result<(), Unreadable> {
        if self.open.len() == MAX_DEPTH {
            return Err(Unreadable::too_deep(at));
        }
        self.open.push(Open { at, anchor, content });
        Ok(())
    }

    /// Takes what is complete. An anchor of 0 is none.
    fn put(&mut self, kind: Kind, at: Position, anchor: usize) -> Result<(), Unreadable> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Unreadable::new(format!("it has more than {MAX_VALUES} values"), at));
        }
        if anchor > 0 {
            self.anchors.name(anchor, &kind, at)?;
        }
        let Some(open) = self.open.last_mut() else {
            self.document = Some(Node { at: Some(at), kind });
            return Ok(());
        };
        open.content.put(kind, at)
    }
}

impl Open {
    fn awaited_key(&mut self) -> Option<&mut Key> {
        match &mut self.content {
            Content::Object { key: key @ Key::Awaited, .. } => Some(key),
            Content::Object { .. } | Content::List(_) => None,
        }
    }
}

impl Content {
    fn put(&mut self, kind: Kind, at: Position) -> Result<(), Unreadable> {
        let (members, key, bases) = match self {
            Self::List(nodes) => {
                nodes.push(Node { at: Some(at), kind });
                return Ok(());
            }
            Self::Object { members, key, bases } => (members, key, bases),
        };
        match std::mem::replace(key, Key::Awaited) {
            Key::Awaited => *key = Key::Name(name(kind, at)?, at),
            Key::Name(name, key_at) => {
                members.push(Member { key: name, key_at: Some(key_at), value: Node { at: Some(at), kind } });
            }
            Key::Merge => merged(kind, at, bases)?,
        }
        Ok(())
    }

    fn complete(self) -> Kind {
        match self {
            Self::List(nodes) => Kind::List(nodes),
            Self::Object { members, bases, .. } if bases.is_empty() => Kind::Object(members),
            Self::Object { mut members, bases, .. } => {
                merge(&mut members, bases);
                Kind::Object(members)
            }
        }
    }
}

/// Returns a key; what is no text is told as Python's `json` does it.
fn name(kind: Kind, at: Position) -> Result<String, Unreadable> {
    match kind {
        Kind::Scalar(Value::String(text)) => Ok(text),
        Kind::Scalar(Value::Null) => {
            Err(Unreadable::new("a key is empty", at).hint("the text null stands in quotes"))
        }
        Kind::Scalar(other) => Ok(other.to_string()),
        Kind::List(_) | Kind::Object(_) => Err(Unreadable::new("a key is not a text", at)),
    }
}

/// Adds what a key `<<` names to what is merged.
fn merged(kind: Kind, at: Position, bases: &mut Vec<Member>) -> Result<(), Unreadable> {
    match kind {
        Kind::Object(members) => bases.extend(members),
        Kind::Scalar(Value::Null) => {}
        Kind::List(nodes) => {
            for node in nodes {
                merged(node.kind, at, bases)?;
            }
        }
        Kind::Scalar(_) => {
            return Err(Unreadable::new("'<<' takes an object or a list of objects", at)
                .hint("a key that is called so stands in quotes"));
        }
    }
    Ok(())
}

/// Adds the members of other objects whose keys are not there yet.
fn merge(members: &mut Vec<Member>, bases: Vec<Member>) {
    let mut known: HashSet<String> = members.iter().map(|member| member.key.clone()).collect();
    members.extend(bases.into_iter().filter(|member| known.insert(member.key.clone())));
}

/// Returns a place; only texts of gigabytes have columns and bytes that are not told.
fn place(span: Span) -> Position {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let byte = |mark: Marker| narrow(mark.byte_offset().expect("a text that is at hand is told in bytes"));
    let Span { start, end, .. } = span;
    Position {
        line: narrow(start.line()),
        column: narrow(start.col() + 1),
        start: byte(start),
        end: byte(end),
    }
}

#[cfg(test)]
mod tests;
