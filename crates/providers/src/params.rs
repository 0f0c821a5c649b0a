//! Checking parameters against a short table: unknown, missing, of the wrong type.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::Timestamp;
use stepwell_core::spelling::{nearest, seconds_of};
use stepwell_engine::{Param, ParamProblem, Task};

use crate::moment;

/// What a parameter must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Object,
    /// An object whose values are strings.
    TextObject,
    /// A workflow, written as in a file of its own.
    Workflow,
    List,
    /// A list of strings.
    Texts,
    /// One of a few words.
    OneOf(&'static [&'static str]),
    /// An exit code, or several.
    ExitCodes,
    /// A time in seconds, perhaps none.
    Seconds,
    /// How long something may take, in seconds.
    Limit,
    /// Seconds from now, or an RFC 3339 time.
    Moment,
    /// An RFC 3339 time.
    Date,
    Any,
}

/// The longest time that can be given, in seconds: 100 years, as for the limits of a workflow file.
pub(crate) const LONGEST: f64 = 3_155_760_000.0;

impl Kind {
    /// Returns a word for what is wrong with a value, if it does not fit. What `passes` fits anything.
    fn fault(self, value: &Value, passes: fn(&Value) -> bool) -> Option<&'static str> {
        if passes(value) {
            return None;
        }
        let fits = match self {
            Self::Text => value.is_string(),
            Self::Object | Self::Workflow => value.is_object(),
            Self::TextObject => value.as_object().is_some_and(|all| all.values().all(Value::is_string)),
            Self::List => value.is_array(),
            Self::Texts => value.as_array().is_some_and(|all| all.iter().all(Value::is_string)),
            Self::OneOf(words) if value.is_string() => {
                return (!words.contains(&value.as_str().unwrap_or_default())).then_some("unknown");
            }
            Self::OneOf(_) => false,
            Self::ExitCodes => match value {
                Value::Array(codes) if codes.is_empty() => return Some("range"),
                Value::Array(codes) => {
                    return codes
                        .iter()
                        .find_map(|code| Self::exit_code_fault(code).filter(|_| !passes(code)));
                }
                code => return Self::exit_code_fault(code),
            },
            Self::Seconds | Self::Limit => match value.as_f64() {
                Some(0.0) if self == Self::Seconds => true,
                Some(seconds) if seconds > 0.0 && seconds <= LONGEST => true,
                Some(_) => return Some("range"),
                None => false,
            },
            Self::Moment => moment::moment(value, Timestamp::default()).is_some(),
            Self::Date => moment::date(value).is_some(),
            Self::Any => true,
        };
        (!fits).then_some("type")
    }

    fn exit_code_fault(code: &Value) -> Option<&'static str> {
        match code.as_i64() {
            Some(0..=255) => None,
            Some(_) => Some("range"),
            None => Some("type"),
        }
    }

    /// Returns how to write what seems to be meant by a value that does not fit.
    fn hint(self, value: &Value) -> Option<String> {
        let write = |value: Value| format!("write `{value}`");
        match self {
            Self::Text => Some(write(as_text(value)?)),
            Self::Texts => match value {
                Value::String(words) if !words.contains(['"', '\'']) => {
                    Some(write(words.split_whitespace().collect()))
                }
                Value::Array(all) => Some(write(all.iter().map(as_text).collect::<Option<_>>()?)),
                _ => None,
            },
            Self::TextObject => {
                let text = |(name, value): (&String, &Value)| Some((name.clone(), as_text(value)?));
                Some(write(value.as_object()?.iter().map(text).collect::<Option<_>>()?))
            }
            Self::Seconds | Self::Limit | Self::Moment => {
                Some(format!("a number of seconds: {}", seconds_of(value.as_str()?)?))
            }
            Self::Object
            | Self::Workflow
            | Self::List
            | Self::OneOf(_)
            | Self::ExitCodes
            | Self::Date
            | Self::Any => None,
        }
    }

    /// Returns the JSON Schema of what fits in a file, where a reference may stand for anything.
    fn schema(self) -> Value {
        let or_reference = |schema: Value| json!({ "anyOf": [schema, { "$ref": "#/$defs/reference" }] });
        let seconds = json!({ "type": "number", "minimum": 0, "maximum": LONGEST });
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Object => or_reference(json!({ "type": "object" })),
            Self::Workflow => or_reference(json!({ "$ref": "#" })),
            Self::TextObject => {
                or_reference(json!({ "type": "object", "additionalProperties": { "type": "string" } }))
            }
            Self::List => or_reference(json!({ "type": "array" })),
            Self::Texts => or_reference(json!({ "type": "array", "items": { "type": "string" } })),
            Self::OneOf(words) => or_reference(json!({ "enum": words })),
            Self::ExitCodes => {
                let code = or_reference(json!({ "type": "integer", "minimum": 0, "maximum": 255 }));
                json!({ "anyOf": [code, { "type": "array", "minItems": 1, "items": code }] })
            }
            Self::Seconds => or_reference(seconds),
            Self::Limit => {
                or_reference(json!({ "type": "number", "exclusiveMinimum": 0, "maximum": LONGEST }))
            }
            // A text is a time or holds a reference.
            Self::Moment => json!({ "anyOf": [seconds, { "type": "string" }] }),
            Self::Date => json!({ "type": "string" }),
            Self::Any => json!({}),
        }
    }

    fn word(self) -> Cow<'static, str> {
        let word = match self {
            Self::Text => "a string",
            Self::Object | Self::Workflow => "an object",
            Self::TextObject => "an object of strings",
            Self::List => "a list",
            Self::Texts => "a list of strings",
            Self::OneOf(words) => return format!("'{}'", words.join("' or '")).into(),
            Self::ExitCodes => "an exit code from 0 to 255, or a list of them",
            Self::Seconds => "a number of seconds, at most 3155760000 (100 years)",
            Self::Limit => "a number of seconds, more than 0 and at most 3155760000 (100 years)",
            Self::Moment => {
                "a number of seconds from now, at most 3155760000, or an RFC 3339 time with an offset, such as \
                 '2027-01-31T09:00:00+01:00'"
            }
            Self::Date => "an RFC 3339 time with an offset, such as '2027-01-31T09:00:00+01:00'",
            Self::Any => "any value",
        };
        word.into()
    }
}

/// Returns a text, number or truth value as a text.
fn as_text(value: &Value) -> Option<Value> {
    match value {
        Value::String(_) => Some(value.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// (name, what it must be, required, what it means in one line of Markdown).
pub(crate) type Table = [(&'static str, Kind, bool, &'static str)];

/// Returns the parameters of a table as the provider describes them.
pub(crate) fn described(table: &Table) -> Vec<Param> {
    let param = |(name, kind, required, meaning): &(&'static str, Kind, bool, &'static str)| Param {
        name,
        required: *required,
        schema: kind.schema(),
        meaning,
    };
    table.iter().map(param).collect()
}

/// Returns every problem of parameters as they stand in a definition. What holds a reference is not looked at.
pub(crate) fn check(params: &Value, table: &Table) -> Vec<ParamProblem> {
    problems(params, table, holds_reference)
}

/// Returns every problem of the parameters of an attempt. What looks like a reference in them is text.
pub(crate) fn check_resolved(params: &Value, table: &Table) -> Vec<ParamProblem> {
    problems(params, table, |_| false)
}

fn problems(params: &Value, table: &Table, passes: fn(&Value) -> bool) -> Vec<ParamProblem> {
    let empty = serde_json::Map::new();
    let given = params.as_object().unwrap_or(&empty);
    let mut problems = Vec::new();
    for (name, value) in given {
        match table.iter().find(|(known, ..)| known == name) {
            None => {
                let known = || table.iter().map(|(known, ..)| *known);
                let hint = match nearest(name, known()) {
                    Some(near) => format!("; the nearest known one is '{near}'"),
                    None if table.is_empty() => String::new(),
                    None => format!("; known are {}", known().collect::<Vec<_>>().join(", ")),
                };
                problems.push(problem(name, "unknown", format!("parameter '{name}' is not known{hint}")));
            }
            Some((_, kind, ..)) => {
                if let Some(fault) = kind.fault(value, passes) {
                    let message = format!("parameter '{name}' must be {}", kind.word());
                    problems.push(ParamProblem { hint: kind.hint(value), ..problem(name, fault, message) });
                }
            }
        }
    }
    let is_missing =
        |(name, _, required, _): &&(&str, Kind, bool, &str)| *required && !given.contains_key(*name);
    for (name, ..) in table.iter().filter(is_missing) {
        problems.push(problem(name, "missing", format!("parameter '{name}' is missing")));
    }
    problems
}

pub(crate) fn problem(parameter: &str, reason: &'static str, message: String) -> ParamProblem {
    ParamProblem { parameter: parameter.to_owned(), message, reason, hint: None }
}

/// Returns whether a value is known only when an attempt starts.
pub(crate) fn holds_reference(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("${"))
}

/// Returns how long an attempt may take: its parameter `timeout`, else no limit if its step has one, which the engine
/// keeps, else `default`.
pub(crate) fn limit(task: &Task, default: Duration) -> Duration {
    let seconds = match task.params.get("timeout").and_then(Value::as_f64) {
        Some(seconds) => seconds,
        None if task.deadline.is_some() => LONGEST,
        None => default.as_secs_f64(),
    };
    Duration::try_from_secs_f64(seconds).expect("the longest limit is a duration")
}

/// Refuses the parameters of an attempt if they do not fit.
pub(crate) fn require(task: &Task, table: &Table) -> Result<(), ErrorObject> {
    refuse(task, check_resolved(&task.params, table))
}

/// Returns the first problem as `INVALID_PARAMS`.
pub(crate) fn refuse(task: &Task, problems: Vec<ParamProblem>) -> Result<(), ErrorObject> {
    problems.into_iter().next().map_or(Ok(()), |first| Err(refused(task, first)))
}

/// Returns a problem as `INVALID_PARAMS`.
pub(crate) fn refused(task: &Task, problem: ParamProblem) -> ErrorObject {
    let message = format!("step '{}': {}", task.step, problem.message);
    let error = ErrorObject::new(Code::INVALID_PARAMS, message)
        .with("parameter", problem.parameter)
        .with("reason", problem.reason)
        .with("task_id", task.step.as_str());
    ErrorObject { hint: problem.hint, ..error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TABLE: &Table = &[("limit", Kind::Limit, false, ""), ("names", Kind::List, false, "")];

    #[test]
    fn a_limit_is_a_number_of_seconds_that_a_clock_can_keep() {
        let fault = |limit: Value| check(&json!({ "limit": limit }), TABLE).pop().map(|found| found.reason);
        for fitting in [json!(0.001), json!(30), json!(LONGEST)] {
            assert_eq!(fault(fitting.clone()), None, "{fitting}");
        }
        for beyond in [json!(0), json!(-1), json!(1e300), json!(u64::MAX)] {
            assert_eq!(fault(beyond.clone()), Some("range"), "{beyond}");
        }
        for other in [json!("30"), json!(null), json!([30])] {
            assert_eq!(fault(other.clone()), Some("type"), "{other}");
        }
        assert!(Kind::Limit.word().contains(&LONGEST.to_string()));
    }

    #[test]
    fn words_lists_of_texts_and_exit_codes_are_judged_by_their_elements() {
        let table: &Table = &[
            ("args", Kind::Texts, false, ""),
            ("env", Kind::TextObject, false, ""),
            ("parse", Kind::OneOf(&["json"]), false, ""),
            ("codes", Kind::ExitCodes, false, ""),
        ];
        let fault = |params: Value| check(&params, table).pop().map(|found| found.reason);
        for fitting in [
            json!({ "args": [], "env": {}, "parse": "json", "codes": 255 }),
            json!({ "args": ["", "${a}"], "env": {"A": "1"}, "codes": [0, "${a.code}"] }),
            json!({ "args": "${a}", "env": "${a}", "parse": "${a}", "codes": "${a}" }),
        ] {
            assert_eq!(fault(fitting.clone()), None, "{fitting}");
        }
        for (unfit, reason) in [
            (json!({ "args": ["-n", 5] }), "type"),
            (json!({ "args": "-n 5" }), "type"),
            (json!({ "env": {"A": 1} }), "type"),
            (json!({ "parse": "yaml" }), "unknown"),
            (json!({ "parse": true }), "type"),
            (json!({ "codes": [] }), "range"),
            (json!({ "codes": [0, 256] }), "range"),
            (json!({ "codes": -1 }), "range"),
            (json!({ "codes": ["0"] }), "type"),
            (json!({ "codes": 1.5 }), "type"),
        ] {
            assert_eq!(fault(unfit.clone()), Some(reason), "{unfit}");
        }
    }

    #[test]
    fn what_seems_to_be_meant_is_told_as_it_is_written() {
        let meant = |kind: Kind, value: Value| kind.hint(&value);
        let write = |text: &str| Some(format!("write `{text}`"));
        assert_eq!(meant(Kind::Texts, json!("-l a.csv")), write(r#"["-l","a.csv"]"#));
        assert_eq!(meant(Kind::Texts, json!(["-n", 1, true])), write(r#"["-n","1","true"]"#));
        assert_eq!(meant(Kind::TextObject, json!({"A": 1, "B": "x"})), write(r#"{"A":"1","B":"x"}"#));
        assert_eq!(meant(Kind::Text, json!(3)), write(r#""3""#));
        assert_eq!(meant(Kind::Moment, json!("2h")), Some("a number of seconds: 7200".into()));
        assert_eq!(meant(Kind::Seconds, json!("5m")), Some("a number of seconds: 300".into()));
        for (kind, value) in [
            (Kind::Texts, json!("sh -c 'a b'")),
            (Kind::Texts, json!([["a"]])),
            (Kind::Text, json!(["a"])),
            (Kind::Moment, json!("2020-01-01")),
            (Kind::Limit, json!(-1)),
        ] {
            assert_eq!(meant(kind, value.clone()), None, "{value}");
        }
    }

    #[test]
    fn a_reference_passes_in_a_definition_and_is_text_in_an_attempt() {
        let params = json!({ "limit": "${input.limit}", "names": "${input.names}" });
        assert!(check(&params, TABLE).is_empty());
        let found = check_resolved(&params, TABLE);
        assert_eq!(found.iter().map(|found| found.reason).collect::<Vec<_>>(), ["type", "type"]);
    }
}
