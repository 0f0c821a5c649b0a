//! A document as read: values that know where they stand.

use std::collections::HashSet;

use serde_json::{Map, Value};
use stepwell_core::workflow::path::{Part, Path};

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
    /// The byte at which it begins.
    pub start: u32,
    /// The byte behind it; of a list or object, and of what is no text, the same as `start`.
    pub end: u32,
}

impl Position {
    /// Returns the bytes of the place, if they are a part of that text.
    pub fn of(self, text: &str) -> Option<&str> {
        text.get(self.start as usize..self.end as usize)
    }

    /// Returns the place behind a text that begins here, of no bytes yet.
    pub(super) fn behind(self, text: &str) -> Self {
        let characters = |text: &str| text.chars().count() as u32;
        let column = match line_ends(text).last() {
            Some(end) => 1 + characters(&text[end..]),
            None => self.column + characters(text),
        };
        let start = self.start + text.len() as u32;
        Self { line: self.line + line_ends(text).count() as u32, column, start, end: start }
    }

    /// Returns the place with its bytes, of which there are none, found by its line and column in the text.
    pub(super) fn found_in(self, text: &str) -> Self {
        let begin = match self.line {
            0 | 1 => 0,
            line => line_ends(text).nth(line as usize - 2).unwrap_or(text.len()),
        };
        let before = text[begin..].chars().take(self.column.saturating_sub(1) as usize);
        let start = (begin + before.map(char::len_utf8).sum::<usize>()) as u32;
        Self { start, end: start, ..self }
    }
}

/// Returns where each line but the first begins.
fn line_ends(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let is_end = |i: &usize| bytes[*i] == b'\n' || (bytes[*i] == b'\r' && bytes.get(i + 1) != Some(&b'\n'));
    (0..bytes.len()).filter(is_end).map(|i| i + 1)
}

/// Objects of so many members are searched from their beginning.
const SMALL: usize = 16;

/// A value and where it begins; values that never were text have no place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Option<Position>,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Null, a truth value, a number or a string.
    Scalar(Value),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// A key with its value. A key may come twice; that is found by [`Node::duplicates`].
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) key: String,
    pub(super) key_at: Option<Position>,
    pub(super) value: Node,
}

impl Node {
    /// Returns a value without places.
    pub(super) fn from_value(value: &Value) -> Self {
        let kind = match value {
            Value::Array(list) => Kind::List(list.iter().map(Self::from_value).collect()),
            Value::Object(map) => {
                let member = |(key, value): (&String, &Value)| Member {
                    key: key.clone(),
                    key_at: None,
                    value: Self::from_value(value),
                };
                Kind::Object(map.iter().map(member).collect())
            }
            scalar => Kind::Scalar(scalar.clone()),
        };
        Self { at: None, kind }
    }

    /// Returns the value without its places. Of a key that comes twice the last stays.
    pub(super) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(nodes) => nodes.iter().map(Self::to_value).collect(),
            Kind::Object(members) => Value::Object(to_map(members)),
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Scalar(Value::Null))
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(value) => value.as_str(),
            Kind::List(_) | Kind::Object(_) => None,
        }
    }

    /// Returns a number or truth value as it is written for a text.
    pub(super) fn quoted(&self) -> Option<String> {
        match &self.kind {
            Kind::Scalar(value @ (Value::Number(_) | Value::Bool(_))) => Some(format!("\"{value}\"")),
            Kind::Scalar(_) | Kind::List(_) | Kind::Object(_) => None,
        }
    }

    /// Returns the member that has one of these names.
    pub(super) fn member(&self, names: &[&str]) -> Option<&Member> {
        match &self.kind {
            Kind::Object(members) => members.iter().rev().find(|member| names.contains(&member.key.as_str())),
            Kind::Scalar(_) | Kind::List(_) => None,
        }
    }

    /// Returns the element with this number.
    pub(super) fn element(&self, number: usize) -> Option<&Self> {
        match &self.kind {
            Kind::List(nodes) => nodes.get(number),
            Kind::Scalar(_) | Kind::Object(_) => None,
        }
    }

    /// Returns the value at a path, or its nearest container that is there.
    pub(super) fn nearest(&self, path: &[Part]) -> &Self {
        let inner = match path.first() {
            Some(Part::Index(index)) => self.element(*index),
            Some(Part::Key(key)) => self.member(&[key]).map(|member| &member.value),
            None => None,
        };
        inner.map_or(self, |inner| inner.nearest(&path[1..]))
    }

    /// Returns which member of an object has that key; null is as if it were not there.
    pub(super) fn position(&self, key: &str) -> Option<usize> {
        let Kind::Object(members) = &self.kind else { return None };
        members.iter().rposition(|member| member.key == key && !member.value.is_null())
    }

    /// Returns the value of a key of an object, which is added if it is not there.
    pub(super) fn entry(&mut self, key: &str, missing: impl FnOnce() -> Kind) -> &mut Self {
        let (at, known) = (self.at, self.position(key));
        let Kind::Object(members) = &mut self.kind else { unreachable!("only asked of objects") };
        let known = known.unwrap_or_else(|| {
            members.push(Member::new(key, Self { at, kind: missing() }));
            members.len() - 1
        });
        &mut members[known].value
    }

    /// Returns where the value at a path begins, or its nearest container that is there.
    pub(super) fn position_of(&self, path: &[Part]) -> Option<Position> {
        self.nearest(path).at
    }

    /// Returns the first text in the value that holds these words, and goes to its path.
    pub(super) fn holding(&self, words: &str, path: &mut Path) -> Option<&Self> {
        match &self.kind {
            Kind::Scalar(value) => value.as_str().is_some_and(|text| text.contains(words)).then_some(self),
            Kind::List(nodes) => nodes.iter().enumerate().find_map(|(index, node)| {
                path.push(index);
                node.holding(words, path).or_else(|| path.pop().and(None))
            }),
            Kind::Object(members) => members.iter().find_map(|member| {
                path.push(member.key.as_str());
                member.value.holding(words, path).or_else(|| path.pop().and(None))
            }),
        }
    }

    /// Returns every key that comes again in its object, with its path and place.
    pub(super) fn duplicates(&self) -> Vec<(Path, Option<Position>)> {
        let mut found = Vec::new();
        self.find_duplicates(&mut Path::root(), &mut found);
        found
    }

    fn find_duplicates(&self, path: &mut Path, found: &mut Vec<(Path, Option<Position>)>) {
        match &self.kind {
            Kind::Scalar(_) => {}
            Kind::List(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    path.push(index);
                    node.find_duplicates(path, found);
                    path.pop();
                }
            }
            Kind::Object(members) => {
                // Most objects are small: looking at the keys before costs less than a table of them.
                let is_small = members.len() <= SMALL;
                let mut seen = HashSet::with_capacity(if is_small { 0 } else { members.len() });
                for (i, member) in members.iter().enumerate() {
                    let is_again = if is_small {
                        members[..i].iter().any(|before| before.key == member.key)
                    } else {
                        !seen.insert(member.key.as_str())
                    };
                    if !is_again && matches!(member.value.kind, Kind::Scalar(_)) {
                        continue;
                    }
                    path.push(member.key.as_str());
                    if is_again {
                        found.push((path.clone(), member.key_at));
                    }
                    member.value.find_duplicates(path, found);
                    path.pop();
                }
            }
        }
    }

    /// Returns what the value is, for people.
    pub(super) fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(Value::Null) => "nothing",
            Kind::Scalar(Value::Bool(_)) => "a truth value",
            Kind::Scalar(Value::Number(_)) => "a number",
            Kind::Scalar(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Object(_) => "an object",
        }
    }
}

impl Kind {
    /// Returns the same, with all that is in it at one place.
    pub(super) fn moved_to(&self, at: Option<Position>) -> Self {
        let moved = |node: &Node| Node { at, kind: node.kind.moved_to(at) };
        match self {
            Self::Scalar(value) => Self::Scalar(value.clone()),
            Self::List(nodes) => Self::List(nodes.iter().map(moved).collect()),
            Self::Object(members) => {
                let moved = |member: &Member| Member {
                    key: member.key.clone(),
                    key_at: at,
                    value: moved(&member.value),
                };
                Self::Object(members.iter().map(moved).collect())
            }
        }
    }
}

impl Member {
    /// Returns a member that stands nowhere.
    pub(super) fn new(key: &str, value: Node) -> Self {
        Self { key: key.to_owned(), key_at: None, value }
    }
}

pub(super) fn to_map(members: &[Member]) -> Map<String, Value> {
    members.iter().map(|member| (member.key.clone(), member.value.to_value())).collect()
}
