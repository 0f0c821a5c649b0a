//! What the value of a key can be: how it is read, its JSON Schema, and its words in the tables of keys.

use serde_json::{Value, json};
use stepwell_core::policy::retry::Backoff;
use stepwell_core::workflow::bad_name;
use stepwell_core::workflow::definition::{Effect, NeedKind, OnFailure, Priority};

use super::super::fields::{Field, LONGEST, Problems};
use super::super::node::Kind;

/// What a value must be.
pub(in crate::load) trait Type {
    /// Returns the schema of the values that fit. It may let more pass than the loader does, never less.
    fn schema(&self) -> Value;

    /// Returns what fits, as a table tells it.
    fn told(&self) -> String;
}

/// A type whose values can be read without knowing anything else.
pub(in crate::load) trait Read: Type {
    type Output<'a>;

    /// Returns the value; what does not fit is reported.
    fn read<'a>(&self, field: &Field<'a>, problems: &mut Problems) -> Option<Self::Output<'a>>;
}

/// The id or name of a workflow or step. One that is a text is read even if it may not be one.
#[derive(Debug)]
pub(in crate::load) struct Name;

impl Type for Name {
    fn schema(&self) -> Value {
        json!({ "type": "string", "minLength": 1, "maxLength": 200 })
    }

    fn told(&self) -> String {
        "text, 1 to 200 characters".into()
    }
}

impl Read for Name {
    type Output<'a> = &'a str;

    fn read<'a>(&self, field: &Field<'a>, problems: &mut Problems) -> Option<&'a str> {
        let text = field.text(problems)?;
        if let Some(reason) = bad_name(text) {
            problems.at(field, reason);
        }
        Some(text)
    }
}

/// A text of at most so many characters.
#[derive(Debug)]
pub(in crate::load) struct Text {
    pub(in crate::load) most: usize,
}

impl Type for Text {
    fn schema(&self) -> Value {
        json!({ "type": "string", "maxLength": self.most })
    }

    fn told(&self) -> String {
        format!("text, up to {} characters", self.most)
    }
}

impl Read for Text {
    type Output<'a> = &'a str;

    fn read<'a>(&self, field: &Field<'a>, problems: &mut Problems) -> Option<&'a str> {
        field.text_within(self.most, problems)
    }
}

/// True or false.
#[derive(Debug)]
pub(in crate::load) struct Flag;

impl Type for Flag {
    fn schema(&self) -> Value {
        json!({ "type": "boolean" })
    }

    fn told(&self) -> String {
        "`true` or `false`".into()
    }
}

impl Read for Flag {
    type Output<'a> = bool;

    fn read(&self, field: &Field, problems: &mut Problems) -> Option<bool> {
        field.boolean(problems)
    }
}

/// A whole number.
#[derive(Debug)]
pub(in crate::load) struct Integer {
    pub(in crate::load) least: u32,
    /// `u32::MAX`: any.
    pub(in crate::load) most: u32,
}

impl Type for Integer {
    fn schema(&self) -> Value {
        json!({ "type": "integer", "minimum": self.least, "maximum": self.most })
    }

    fn told(&self) -> String {
        match self.most {
            u32::MAX => format!("whole number, from {}", self.least),
            most => format!("whole number, {} to {most}", self.least),
        }
    }
}

impl Read for Integer {
    type Output<'a> = u32;

    fn read(&self, field: &Field, problems: &mut Problems) -> Option<u32> {
        field.integer(self.least, self.most, problems)
    }
}

/// A time in seconds, read as milliseconds.
#[derive(Debug)]
pub(in crate::load) struct Seconds {
    pub(in crate::load) least: f64,
    pub(in crate::load) most: f64,
}

impl Type for Seconds {
    fn schema(&self) -> Value {
        json!({ "type": "number", "minimum": self.least, "maximum": self.most })
    }

    fn told(&self) -> String {
        format!("seconds, {} to {}", self.least, self.most)
    }
}

impl Read for Seconds {
    type Output<'a> = u64;

    fn read(&self, field: &Field, problems: &mut Problems) -> Option<u64> {
        field.seconds(self.least, self.most, problems)
    }
}

/// How long something may take, in seconds, read as milliseconds.
#[derive(Debug)]
pub(in crate::load) struct Limit;

impl Type for Limit {
    fn schema(&self) -> Value {
        json!({ "type": "number", "exclusiveMinimum": 0, "maximum": LONGEST })
    }

    fn told(&self) -> String {
        "seconds, more than 0".into()
    }
}

impl Read for Limit {
    type Output<'a> = u64;

    fn read(&self, field: &Field, problems: &mut Problems) -> Option<u64> {
        field.limit(problems)
    }
}

/// One of some words.
#[derive(Debug)]
pub(in crate::load) struct Choice<T: 'static>(pub(in crate::load) &'static [(&'static str, T)]);

impl<T> Choice<T> {
    fn words(&self) -> Vec<&'static str> {
        self.0.iter().map(|(word, _)| *word).collect()
    }
}

impl<T> Type for Choice<T> {
    fn schema(&self) -> Value {
        json!({ "enum": self.words() })
    }

    fn told(&self) -> String {
        let quoted: Vec<String> = self.words().iter().map(|word| format!("`{word}`")).collect();
        match &quoted[..] {
            [words @ .., last] if !words.is_empty() => format!("{} or {last}", words.join(", ")),
            words => words.join(""),
        }
    }
}

impl<T: Clone> Read for Choice<T> {
    type Output<'a> = T;

    fn read(&self, field: &Field, problems: &mut Problems) -> Option<T> {
        field.choice(self.0, problems)
    }
}

pub(in crate::load) static ON_FAILURE: Choice<OnFailure> =
    Choice(&[("fail", OnFailure::Fail), ("continue", OnFailure::Continue), ("stop", OnFailure::Stop)]);

pub(in crate::load) static EFFECT: Choice<Effect> =
    Choice(&[("at_least_once", Effect::AtLeastOnce), ("at_most_once", Effect::AtMostOnce)]);

pub(in crate::load) static BACKOFF: Choice<Backoff> =
    Choice(&[("fixed", Backoff::Fixed), ("linear", Backoff::Linear), ("exponential", Backoff::Exponential)]);

/// A file's `optional` is met by any end of the step (spec/gleitzeit.md §1.4) and so waits for one: the core's word
/// for that is `sequential`. What the core calls `optional` does not wait for a step that has not begun.
pub(in crate::load) static NEED_KIND: Choice<NeedKind> = Choice(&[
    ("required", NeedKind::Required),
    ("optional", NeedKind::Sequential),
    ("and", NeedKind::And),
    ("or", NeedKind::Or),
    ("xor", NeedKind::Xor),
    ("sequential", NeedKind::Sequential),
    ("parallel", NeedKind::Parallel),
]);

impl<T: Type> Type for &'static T {
    fn schema(&self) -> Value {
        (**self).schema()
    }

    fn told(&self) -> String {
        (**self).told()
    }
}

impl<T: Read> Read for &'static T {
    type Output<'a> = T::Output<'a>;

    fn read<'a>(&self, field: &Field<'a>, problems: &mut Problems) -> Option<T::Output<'a>> {
        (**self).read(field, problems)
    }
}

/// A priority, as a word or as a number.
#[derive(Debug)]
pub(in crate::load) struct Urgency;

const PRIORITIES: Choice<Priority> = Choice(&[
    ("low", Priority::Low),
    ("normal", Priority::Normal),
    ("high", Priority::High),
    ("urgent", Priority::Critical),
    ("critical", Priority::Critical),
]);

/// What the numbers from 1 stand for.
const PRIORITY_NUMBERS: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

impl Type for Urgency {
    fn schema(&self) -> Value {
        let numbers = (1..=PRIORITY_NUMBERS.len()).map(Value::from);
        let words = PRIORITIES.words().into_iter().map(Value::from);
        json!({ "enum": words.chain(numbers).collect::<Vec<Value>>() })
    }

    fn told(&self) -> String {
        "`low`, `normal`, `high`, `urgent` (or `critical`); 1 is high, 2 normal, 3 low".into()
    }
}

impl Read for Urgency {
    type Output<'a> = Priority;

    fn read(&self, field: &Field, problems: &mut Problems) -> Option<Priority> {
        if let Kind::Scalar(Value::Number(number)) = &field.node.kind {
            let found =
                number.as_u64().and_then(|n| PRIORITY_NUMBERS.get((n as usize).checked_sub(1)?).copied());
            if found.is_none() {
                problems.at(field, format!("as a number is 1 (high), 2 (normal) or 3 (low), not {number}"));
            }
            return found;
        }
        PRIORITIES.read(field, problems)
    }
}

/// What is read by a function of its own, since it takes more than the value: its schema and its words.
#[derive(Debug)]
pub(in crate::load) struct Shape {
    pub(in crate::load) told: &'static str,
    pub(in crate::load) schema: fn() -> Value,
}

impl Type for Shape {
    fn schema(&self) -> Value {
        (self.schema)()
    }

    fn told(&self) -> String {
        self.told.into()
    }
}

/// Any object.
pub(in crate::load) const OBJECT: Shape = Shape { told: "object", schema: || json!({ "type": "object" }) };

/// What becomes metadata beside `metadata`.
pub(in crate::load) const TAGS: Shape = Shape {
    told: "object of texts, numbers and truth values",
    schema: || json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] } }),
};

/// Text that may hold references where something else could stand.
pub(in crate::load) fn reference() -> Value {
    json!({ "type": "string", "pattern": r"\$\{" })
}
