//! Checking parameters against a short table: unknown, missing, of the wrong type.

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::Timestamp;
use stepwell_core::workflow::distance;
use stepwell_engine::{Param, ParamProblem, Task};

use crate::moment;

/// What a parameter must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Object,
    /// A workflow, written as in a file of its own.
    Workflow,
    List,
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
    /// Returns a word for what is wrong with a value, if it does not fit.
    fn fault(self, value: &Value) -> Option<&'static str> {
        let fits = match self {
            Self::Text => value.is_string(),
            Self::Object | Self::Workflow => value.is_object(),
            Self::List => value.is_array(),
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

    /// Returns the JSON Schema of what fits in a file, where a reference may stand for anything.
    fn schema(self) -> Value {
        let or_reference = |schema: Value| json!({ "anyOf": [schema, { "$ref": "#/$defs/reference" }] });
        let seconds = json!({ "type": "number", "minimum": 0, "maximum": LONGEST });
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Object => or_reference(json!({ "type": "object" })),
            Self::Workflow => or_reference(json!({ "$ref": "#" })),
            Self::List => or_reference(json!({ "type": "array" })),
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

    fn word(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Object | Self::Workflow => "an object",
            Self::List => "a list",
            Self::Seconds => "a number of seconds, at most 3155760000 (100 years)",
            Self::Limit => "a number of seconds, more than 0 and at most 3155760000 (100 years)",
            Self::Moment => {
                "a number of seconds from now, at most 3155760000, or an RFC 3339 time with an offset"
            }
            Self::Date => "an RFC 3339 time with an offset, such as '2027-01-31T09:00:00+01:00'",
            Self::Any => "any value",
        }
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
                let near = table.iter().map(|(known, ..)| *known).min_by_key(|known| distance(name, known));
                let hint =
                    near.map_or_else(String::new, |near| format!("; the nearest known one is '{near}'"));
                problems.push(problem(name, "unknown", format!("parameter '{name}' is not known{hint}")));
            }
            Some((_, kind, ..)) => {
                if let Some(fault) = kind.fault(value).filter(|_| !passes(value)) {
                    problems.push(problem(
                        name,
                        fault,
                        format!("parameter '{name}' must be {}", kind.word()),
                    ));
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
    ParamProblem { parameter: parameter.to_owned(), message, reason }
}

fn holds_reference(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("${"))
}

/// Refuses the parameters of an attempt if they do not fit.
pub(crate) fn require(task: &Task, table: &Table) -> Result<(), ErrorObject> {
    refuse(task, check_resolved(&task.params, table))
}

/// Returns the first problem as `INVALID_PARAMS`.
pub(crate) fn refuse(task: &Task, problems: Vec<ParamProblem>) -> Result<(), ErrorObject> {
    let Some(first) = problems.into_iter().next() else { return Ok(()) };
    let message = format!("step '{}': {}", task.step, first.message);
    Err(ErrorObject::new(Code::INVALID_PARAMS, message)
        .with("parameter", first.parameter)
        .with("reason", first.reason)
        .with("task_id", task.step.as_str()))
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
    fn a_reference_passes_in_a_definition_and_is_text_in_an_attempt() {
        let params = json!({ "limit": "${input.limit}", "names": "${input.names}" });
        assert!(check(&params, TABLE).is_empty());
        let found = check_resolved(&params, TABLE);
        assert_eq!(found.iter().map(|found| found.reason).collect::<Vec<_>>(), ["type", "type"]);
    }
}
