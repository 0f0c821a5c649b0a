//! Reading the keys of an object: aliases, types, limits. Whatever is wrong is collected, and reading goes on.

use serde_json::Value;
use stepwell_core::spelling::{as_list, nearest, seconds_of};
use stepwell_core::workflow::path::Path;

use super::keys::types::Read;
use super::keys::{Key, Table, names};
use super::node::{Kind, Member, Node, Position};
use super::problem::{Invalid, MAX_TOLD, Problem};

/// A limit is at most so long, in seconds: 100 years. Whoever writes more means none, and a moment so far away cannot be
/// told.
pub(super) const LONGEST: f64 = 100.0 * 365.25 * 86_400.0;

/// Collects problems of one object or of several.
#[derive(Debug, Default)]
pub(super) struct Problems {
    pub(super) list: Vec<Problem>,
    /// How many more there are.
    more: usize,
    /// The step whose object is being read.
    pub(super) step: Option<String>,
}

impl Problems {
    /// Returns whether what else is found is only counted.
    pub(super) fn are_enough(&self) -> bool {
        self.list.len() >= MAX_TOLD
    }

    /// Counts a problem that is not told.
    pub(super) fn count_one(&mut self) {
        self.more += 1;
    }

    /// Returns the definition that they are the problems of, if there are any.
    pub(super) fn into_invalid(self) -> Option<Invalid> {
        (!self.list.is_empty()).then(|| Invalid::with_more(self.list, self.more))
    }

    pub(super) fn push(&mut self, mut problem: Problem) {
        if self.are_enough() {
            return self.count_one();
        }
        if problem.step.is_none() {
            problem.step.clone_from(&self.step);
        }
        self.list.push(problem);
    }

    pub(super) fn at(&mut self, field: &Field, message: impl Into<String>) {
        self.at_with(field, message, None);
    }

    pub(super) fn at_with(&mut self, field: &Field, message: impl Into<String>, hint: Option<String>) {
        let message = format!("{}'{}' {}", self.subject(), field.key, message.into());
        self.push(Problem::new(field.path.clone(), field.node.at, message).maybe_hint(hint));
    }

    /// Returns `step 'x': ` while a step is read.
    pub(super) fn subject(&self) -> String {
        self.step.as_ref().map_or_else(String::new, |step| format!("step '{step}': "))
    }
}

/// A key that is there, with its value.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    pub(super) key: &'a str,
    pub(super) key_at: Option<Position>,
    pub(super) path: Path,
    pub(super) node: &'a Node,
}

/// An object whose keys are read.
#[derive(Clone, Debug)]
pub(super) struct Object<'a> {
    pub(super) path: Path,
    pub(super) at: Option<Position>,
    members: &'a [Member],
}

impl<'a> Object<'a> {
    /// Returns the object at `path`, or `None` if something else is there.
    pub(super) fn new(node: &'a Node, path: Path) -> Option<Self> {
        match &node.kind {
            Kind::Object(members) => Some(Self { path, at: node.at, members }),
            Kind::Scalar(_) | Kind::List(_) => None,
        }
    }

    /// Returns the value of a key under any of its names. Null is as if the key were not there; two names at once
    /// are a problem.
    pub(super) fn get(&self, names: &[&'static str], problems: &mut Problems) -> Option<Field<'a>> {
        let mut found: Option<Field<'a>> = None;
        for name in names {
            let Some(member) = self.members.iter().rev().find(|member| member.key == **name) else {
                continue;
            };
            let path = self.path.join(*name);
            if let Some(first) = &found {
                let message = format!(
                    "{}'{}' and '{name}' are two names of one key; give one of them",
                    problems.subject(),
                    first.key
                );
                problems.push(Problem::new(path, member.key_at, message));
            } else {
                found = Some(Field { key: &member.key, key_at: member.key_at, path, node: &member.value });
            }
        }
        found.filter(|field| !field.node.is_null())
    }

    /// Returns the field of a key, under any of its names.
    pub(super) fn field<T>(&self, key: &Key<T>, problems: &mut Problems) -> Option<Field<'a>> {
        self.get(key.names, problems)
    }

    /// Returns the value of a key, if it is there and fits.
    pub(super) fn read<T: Read>(&self, key: &Key<T>, problems: &mut Problems) -> Option<T::Output<'a>> {
        key.value.read(&self.field(key, problems)?, problems)
    }

    /// Reports every key that is not in the table, naming the nearest one that is.
    pub(super) fn only_of(&self, table: &Table, problems: &mut Problems) {
        self.only_of_or(table, |_| None, problems);
    }

    /// Reports every key that is not in the table, with what is to be done about it if that is known, else naming the
    /// nearest one.
    pub(super) fn only_of_or(
        &self,
        table: &Table,
        hint: impl Fn(&str) -> Option<String>,
        problems: &mut Problems,
    ) {
        let known: Vec<&str> = names(table).collect();
        for member in self.members.iter().filter(|member| !known.contains(&member.key.as_str())) {
            if problems.are_enough() {
                problems.count_one();
                continue;
            }
            let message = format!("{}unknown key '{}'", problems.subject(), member.key);
            let path = self.path.join(member.key.as_str());
            let near =
                || nearest(&member.key, known.iter().copied()).map(|near| format!("did you mean '{near}'?"));
            let hint = hint(&member.key).or_else(near);
            let hint = hint.unwrap_or_else(|| format!("known keys: {}", known.join(", ")));
            problems.push(Problem::new(path, member.key_at, message).hint(hint));
        }
    }
}

impl<'a> Field<'a> {
    pub(super) fn text(&self, problems: &mut Problems) -> Option<&'a str> {
        let text = self.node.as_str();
        if text.is_none() {
            let message = format!("must be a text, not {}", self.node.kind_name());
            problems.at_with(self, message, self.node.quoted().map(|quoted| format!("write `{quoted}`")));
        }
        text
    }

    /// Returns a text of at most so many characters.
    pub(super) fn text_within(&self, most: usize, problems: &mut Problems) -> Option<&'a str> {
        let text = self.text(problems)?;
        if text.chars().count() > most {
            problems.at(self, format!("is longer than {most} characters"));
            return None;
        }
        Some(text)
    }

    pub(super) fn boolean(&self, problems: &mut Problems) -> Option<bool> {
        if let Kind::Scalar(Value::Bool(value)) = &self.node.kind {
            return Some(*value);
        }
        problems.at(self, format!("must be true or false, not {}", self.node.kind_name()));
        None
    }

    pub(super) fn integer(&self, least: u32, most: u32, problems: &mut Problems) -> Option<u32> {
        let number = match &self.node.kind {
            Kind::Scalar(value) => value.as_u64().and_then(|n| u32::try_from(n).ok()),
            Kind::List(_) | Kind::Object(_) => None,
        };
        let fitting = number.filter(|n| (least..=most).contains(n));
        if fitting.is_none() {
            let range =
                if most == u32::MAX { format!("at least {least}") } else { format!("{least} to {most}") };
            problems.at(self, format!("must be a whole number, {range}{}", self.found()));
        }
        fitting
    }

    /// Returns a time in seconds as milliseconds.
    pub(super) fn seconds(&self, least: f64, most: f64, problems: &mut Problems) -> Option<u64> {
        let number = match &self.node.kind {
            Kind::Scalar(value) => value.as_f64(),
            Kind::List(_) | Kind::Object(_) => None,
        };
        let fitting = number.filter(|n| (least..=most).contains(n));
        if fitting.is_none() {
            let message = format!("must be a number of seconds, {least} to {most}{}", self.found());
            problems.at_with(self, message, self.as_seconds());
        }
        fitting.map(|seconds| (seconds * 1000.0).round() as u64)
    }

    /// Returns a limit in seconds, more than 0 and at most 100 years, as milliseconds.
    pub(super) fn limit(&self, problems: &mut Problems) -> Option<u64> {
        let number = match &self.node.kind {
            Kind::Scalar(value) => value.as_f64(),
            Kind::List(_) | Kind::Object(_) => None,
        };
        let fitting = number.filter(|n| *n > 0.0 && *n <= LONGEST);
        if fitting.is_none() {
            let range = "more than 0 and at most 100 years";
            let message = format!("must be a number of seconds, {range}{}", self.found());
            problems.at_with(self, message, self.as_seconds());
        }
        // What rounds to nothing is a millisecond.
        fitting.map(|seconds| ((seconds * 1000.0).round() as u64).max(1))
    }

    /// Returns what one of the words stands for.
    pub(super) fn choice<T: Clone>(&self, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let word = self.node.as_str();
        if let Some((_, value)) = words.iter().find(|(known, _)| Some(*known) == word) {
            return Some(value.clone());
        }
        let listed = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let near = word.and_then(|word| nearest(word, words.iter().map(|(known, _)| *known)));
        let message = format!("{}'{}' must be one of {listed}{}", problems.subject(), self.key, self.found());
        let problem = Problem::new(self.path.clone(), self.node.at, message);
        problems.push(problem.maybe_hint(near.map(|near| format!("did you mean '{near}'?"))));
        None
    }

    pub(super) fn object(&self, problems: &mut Problems) -> Option<Object<'a>> {
        self.object_or(|_| None, problems)
    }

    /// Returns the object, or tells what to write instead of what is there.
    pub(super) fn object_or(
        &self,
        hint: impl FnOnce(&Node) -> Option<String>,
        problems: &mut Problems,
    ) -> Option<Object<'a>> {
        let object = Object::new(self.node, self.path.clone());
        if object.is_none() {
            let message = format!("must be an object, not {}", self.node.kind_name());
            problems.at_with(self, message, hint(self.node));
        }
        object
    }

    pub(super) fn members(&self, problems: &mut Problems) -> Option<&'a [Member]> {
        self.object(problems).map(|object| object.members)
    }

    pub(super) fn list(&self, problems: &mut Problems) -> Option<&'a [Node]> {
        let hint = |node: &Node| node.as_str().and_then(as_list).map(|list| format!("write `{list}`"));
        self.list_or(hint, problems)
    }

    /// Returns the list, or tells what to write instead of what is there.
    pub(super) fn list_or(
        &self,
        hint: impl FnOnce(&Node) -> Option<String>,
        problems: &mut Problems,
    ) -> Option<&'a [Node]> {
        if let Kind::List(nodes) = &self.node.kind {
            return Some(nodes);
        }
        let message = format!("must be a list, not {}", self.node.kind_name());
        problems.at_with(self, message, hint(self.node));
        None
    }

    /// Returns how to write what seems to be meant by a time with a unit, such as `10s`.
    fn as_seconds(&self) -> Option<String> {
        let seconds = seconds_of(self.node.as_str()?)?;
        Some(format!("a number of seconds: {seconds}"))
    }

    /// Returns `, not …` for a message, with the value if it is short.
    fn found(&self) -> String {
        match &self.node.kind {
            Kind::Scalar(value) => {
                let text = value.to_string();
                if text.len() <= 40 {
                    format!(", not {text}")
                } else {
                    format!(", not {}", self.node.kind_name())
                }
            }
            Kind::List(_) | Kind::Object(_) => format!(", not {}", self.node.kind_name()),
        }
    }
}
