//! Checking parameters against a short table: unknown, missing, of the wrong type.

use serde_json::Value;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::workflow::distance;
use stepwell_engine::{ParamProblem, Task};

/// What a parameter must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Object,
    List,
    /// A number that is not negative.
    Number,
    Any,
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Object => value.is_object(),
            Self::List => value.is_array(),
            Self::Number => value.as_f64().is_some_and(|number| number >= 0.0),
            Self::Any => true,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Object => "an object",
            Self::List => "a list",
            Self::Number => "a number that is not negative",
            Self::Any => "any value",
        }
    }
}

/// (name, what it must be, required).
pub(crate) type Table = [(&'static str, Kind, bool)];

/// Returns every problem of the parameters. What holds a reference is not looked at.
pub(crate) fn check(params: &Value, table: &Table) -> Vec<ParamProblem> {
    let empty = serde_json::Map::new();
    let given = params.as_object().unwrap_or(&empty);
    let mut problems = Vec::new();
    for (name, value) in given {
        match table.iter().find(|(known, _, _)| known == name) {
            None => {
                let near = table.iter().map(|(known, _, _)| *known).min_by_key(|known| distance(name, known));
                let hint =
                    near.map_or_else(String::new, |near| format!("; the nearest known one is '{near}'"));
                problems.push(problem(name, "unknown", format!("parameter '{name}' is not known{hint}")));
            }
            Some((_, kind, _)) if !kind.fits(value) && !holds_reference(value) => {
                problems.push(problem(name, "type", format!("parameter '{name}' must be {}", kind.word())));
            }
            Some(_) => {}
        }
    }
    for (name, _, _) in table.iter().filter(|(name, _, required)| *required && !given.contains_key(*name)) {
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
    refuse(task, check(&task.params, table))
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
