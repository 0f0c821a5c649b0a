//! Looking up the value of a reference.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::reference::{Reference, Root, Segment};

/// Most keys that an error about a missing one lists.
const KEYS_SHOWN: usize = 50;

/// Where references find their values.
pub trait Scope {
    /// Returns what a root stands for, or `None` if it is not bound here.
    fn root(&self, root: &Root) -> Option<View<'_>>;
}

/// What a root stands for. Nothing is copied before the last segment has been followed.
#[derive(Clone, Debug)]
pub enum View<'a> {
    /// A value: the input, an element, or the whole view of a step as one object.
    Value(Cow<'a, Value>),
    /// The view of a step in parts, so that nobody has to put them together.
    Step(StepView<'a>),
}

impl<'a> From<&'a Value> for View<'a> {
    fn from(value: &'a Value) -> Self {
        Self::Value(Cow::Borrowed(value))
    }
}

impl From<Value> for View<'_> {
    fn from(value: Value) -> Self {
        Self::Value(Cow::Owned(value))
    }
}

/// What others see of a step that has ended (spec/gleitzeit.md §2).
#[derive(Clone, Copy, Debug)]
pub struct StepView<'a> {
    /// The result object of the provider; `None` unless the step completed.
    pub result: Option<&'a Map<String, Value>>,
    /// The status of the execution.
    pub status: &'a str,
    /// Why it failed, as an error object.
    pub error: Option<&'a Value>,
}

impl<'a> StepView<'a> {
    /// Returns a field of the view.
    pub fn get(&self, key: &str) -> Option<Cow<'a, Value>> {
        match (key, self.result) {
            ("status", _) => Some(Cow::Owned(self.status.into())),
            ("success", _) => Some(Cow::Owned(self.success())),
            ("error", _) => Some(self.error.map_or(Cow::Owned(Value::Null), Cow::Borrowed)),
            (_, Some(result)) => result.get(key).map(Cow::Borrowed),
            ("result", None) => Some(Cow::Owned(Value::Null)),
            (_, None) => None,
        }
    }

    /// Returns the view as one object.
    pub fn to_value(&self) -> Value {
        let mut view = self.result.cloned().unwrap_or_default();
        if self.result.is_none() {
            view.insert("result".into(), Value::Null);
        }
        view.insert("status".into(), self.status.into());
        view.insert("success".into(), self.success());
        view.insert("error".into(), self.error.cloned().unwrap_or_default());
        Value::Object(view)
    }

    /// What the provider says of a completed step, else whether it completed.
    fn success(&self) -> Value {
        let told = self.result.and_then(|result| result.get("success"));
        told.cloned().unwrap_or_else(|| self.result.is_some().into())
    }

    fn keys(&self) -> Vec<String> {
        let own = ["status", "success", "error"];
        let mut keys = match self.result {
            Some(result) => shown(result.keys().filter(|key| !own.contains(&key.as_str()))),
            None => vec!["result".to_owned()],
        };
        keys.extend(own.map(str::to_owned));
        keys.truncate(KEYS_SHOWN);
        keys
    }
}

/// A reference whose value is not there: `TASK_PARAMETER_ERROR`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'${{{reference}}}' has no value: {reason}")]
pub struct MissingReference {
    /// The reference, without `${` and `}`.
    pub reference: String,
    /// Where it ended and what was found there.
    pub reason: String,
    /// Up to 50 keys that were there instead.
    pub available_keys: Vec<String>,
}

impl Reference {
    /// Returns the value in a scope.
    ///
    /// # Errors
    /// [`MissingReference`] if the root is not bound, or a key or index is not there.
    pub fn lookup<'a>(&self, scope: &'a dyn Scope) -> Result<Cow<'a, Value>, MissingReference> {
        let missing = |reason, available_keys| MissingReference {
            reference: self.source().to_owned(),
            reason,
            available_keys,
        };
        let Some(view) = scope.root(self.root()) else {
            return Err(missing(format!("'{}' is not bound here", self.root_name()), Vec::new()));
        };
        let bare = [Segment::Field("result".into())];
        let is_bare_step = matches!(self.root(), Root::Step(_)) && self.segments().is_empty();
        let segments = if is_bare_step { &bare } else { self.segments() };
        let (mut value, followed) = match (view, segments) {
            (View::Value(value), _) => (value, 0),
            (View::Step(view), []) => (Cow::Owned(view.to_value()), 0),
            (View::Step(view), [Segment::Field(key) | Segment::Key(key), ..]) => match view.get(key) {
                Some(value) => (value, 1),
                None => return Err(missing(self.describe(segments, 0, "an object"), view.keys())),
            },
            (View::Step(view), [Segment::Index(_), ..]) => {
                return Err(missing(self.describe(segments, 0, "an object"), view.keys()));
            }
        };
        for (i, segment) in segments.iter().enumerate().skip(followed) {
            value = match follow(value, segment) {
                Ok(inner) => inner,
                Err(found) => return Err(missing(self.describe(segments, i, &kind(&found)), keys(&found))),
            };
        }
        Ok(value)
    }

    fn root_name(&self) -> &str {
        match self.root() {
            Root::Step(id) => id,
            Root::Input => "input",
            Root::Item => "item",
            Root::Index => "index",
        }
    }

    /// Says that segment `at` leads nowhere, because what it starts from is a `found`.
    fn describe(&self, segments: &[Segment], at: usize, found: &str) -> String {
        let mut way = self.root_name().to_owned();
        for segment in &segments[..at] {
            match segment {
                Segment::Field(key) => way.extend([".", key]),
                Segment::Index(index) => way.extend(["[", &index.to_string(), "]"]),
                Segment::Key(key) => way.extend(["[", &Value::from(&**key).to_string(), "]"]),
            }
        }
        match &segments[at] {
            Segment::Field(key) | Segment::Key(key) => format!("'{way}' is {found} without '{key}'"),
            Segment::Index(index) => format!("'{way}' is {found} without element {index}"),
        }
    }
}

/// Goes one segment into a value, moving out of it if it is owned; gives the value back if it ends there.
fn follow<'a>(value: Cow<'a, Value>, segment: &Segment) -> Result<Cow<'a, Value>, Cow<'a, Value>> {
    let index_of = |segment: &Segment| match segment {
        Segment::Index(index) => Some(*index),
        Segment::Field(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
        Segment::Field(_) | Segment::Key(_) => None,
    };
    let key_of = |segment: &'_ Segment| match segment {
        Segment::Field(key) | Segment::Key(key) => Some(key.clone()),
        Segment::Index(_) => None,
    };
    match value {
        Cow::Borrowed(Value::Object(map)) => match segment {
            Segment::Field(key) | Segment::Key(key) => map.get(&**key).map(Cow::Borrowed).ok_or(value),
            Segment::Index(_) => Err(value),
        },
        Cow::Borrowed(Value::Array(list)) => {
            index_of(segment).and_then(|index| list.get(index)).map(Cow::Borrowed).ok_or(value)
        }
        Cow::Owned(Value::Object(mut map)) => match key_of(segment).and_then(|key| map.remove(&*key)) {
            Some(inner) => Ok(Cow::Owned(inner)),
            None => Err(Cow::Owned(Value::Object(map))),
        },
        Cow::Owned(Value::Array(mut list)) => match index_of(segment).filter(|index| *index < list.len()) {
            Some(index) => Ok(Cow::Owned(list.swap_remove(index))),
            None => Err(Cow::Owned(Value::Array(list))),
        },
        scalar => Err(scalar),
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "a truth value".into(),
        Value::Number(_) => "a number".into(),
        Value::String(_) => "a string".into(),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "an object".into(),
    }
}

fn keys(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => shown(map.keys()),
        Value::Array(list) => (0..list.len().min(KEYS_SHOWN)).map(|index| index.to_string()).collect(),
        _ => Vec::new(),
    }
}

fn shown<'a>(keys: impl Iterator<Item = &'a String>) -> Vec<String> {
    keys.take(KEYS_SHOWN).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Fixed<'a>(View<'a>);

    impl Scope for Fixed<'_> {
        fn root(&self, root: &Root) -> Option<View<'_>> {
            matches!(root, Root::Step(_)).then(|| self.0.clone())
        }
    }

    fn names(name: &str) -> Option<std::sync::Arc<str>> {
        (name == "A").then(|| "A".into())
    }

    fn look(view: &View, text: &str) -> Result<Value, MissingReference> {
        let (reference, _) = Reference::parse(&format!("{text}}}"), &names).unwrap();
        reference.lookup(&Fixed(view.clone())).map(Cow::into_owned)
    }

    #[test]
    fn a_view_in_parts_and_as_one_object_are_the_same() {
        let result = json!({"result": {"a": [1, {"b c": null}], "0": "zero"}, "output": "x"});
        let parts = StepView { result: result.as_object(), status: "completed", error: None };
        let whole = parts.to_value();
        for view in [View::Step(parts), View::from(&whole), View::from(whole.clone())] {
            assert_eq!(look(&view, "A").unwrap(), result["result"]);
            assert_eq!(look(&view, "A.result.a[0]").unwrap(), json!(1));
            assert_eq!(look(&view, "A.result.a.1['b c']").unwrap(), Value::Null);
            assert_eq!(look(&view, "A.result.0").unwrap(), json!("zero"));
            assert_eq!(look(&view, "A.status").unwrap(), json!("completed"));
            assert_eq!(look(&view, "A.success").unwrap(), json!(true));
            assert_eq!(look(&view, "A.error").unwrap(), Value::Null);
            let missing = look(&view, "A.nope").unwrap_err();
            assert_eq!(missing.available_keys, ["result", "output", "status", "success", "error"]);
            let missing = look(&view, "A.result.a[7]").unwrap_err();
            assert_eq!(
                missing.to_string(),
                "'${A.result.a[7]}' has no value: 'A.result.a' is a list of 2 without element 7"
            );
            assert_eq!(missing.available_keys, ["0", "1"]);
            assert!(look(&view, "A.result[0]").is_err(), "an index is no key");
            assert!(look(&view, "A.output.len").is_err(), "a string has no keys");
        }
    }

    #[test]
    fn a_step_that_did_not_complete_has_a_null_result() {
        let error = json!({"code": -29003});
        let view = View::Step(StepView { result: None, status: "timed_out", error: Some(&error) });
        assert_eq!(look(&view, "A").unwrap(), Value::Null);
        assert_eq!(look(&view, "A.success").unwrap(), json!(false));
        assert_eq!(look(&view, "A.error.code").unwrap(), json!(-29003));
        assert_eq!(look(&view, "A.result.x").unwrap_err().reason, "'A.result' is null without 'x'");
        assert_eq!(
            look(&view, "A.output").unwrap_err().available_keys,
            ["result", "status", "success", "error"]
        );
    }

    #[test]
    fn at_most_fifty_keys_are_listed() {
        let many: Map<String, Value> = (0..80).map(|i| (format!("k{i}"), Value::Null)).collect();
        let view = View::from(json!({"result": many}));
        assert_eq!(look(&view, "A.result.x").unwrap_err().available_keys.len(), 50);
    }
}
