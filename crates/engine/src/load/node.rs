//! A document as read: values that know where they stand.

use std::collections::HashSet;

use serde_json::{Map, Value};
use stepwell_core::workflow::path::{Part, Path};

/// Line and column, from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column.
    pub column: u64,
}

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
        let inner = match (path.first(), &self.kind) {
            (Some(Part::Index(index)), Kind::List(nodes)) => nodes.get(*index),
            (Some(Part::Key(key)), Kind::Object(members)) => {
                members.iter().rev().find(|member| member.key == *key).map(|member| &member.value)
            }
            _ => None,
        };
        inner.map_or(self.at, |inner| inner.position_of(&path[1..]).or(self.at))
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
                let mut seen = HashSet::with_capacity(members.len());
                for member in members {
                    path.push(member.key.as_str());
                    if !seen.insert(member.key.as_str()) {
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

impl Member {
    /// Returns a member that stands nowhere.
    pub(super) fn new(key: &str, value: Node) -> Self {
        Self { key: key.to_owned(), key_at: None, value }
    }
}

pub(super) fn to_map(members: &[Member]) -> Map<String, Value> {
    members.iter().map(|member| (member.key.clone(), member.value.to_value())).collect()
}
