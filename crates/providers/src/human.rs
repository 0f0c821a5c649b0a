//! `human/v1`: a step that asks a person and ends with the answer.

use async_trait::async_trait;
use serde_json::Value;
use stepwell_core::error::ErrorObject;
use stepwell_core::run::wait::{Question, WaitKind, WaitSpec};
use stepwell_engine::forms::Form;
use stepwell_engine::{Outcome, Param, ParamProblem, Provider, Task};

use crate::moment;
use crate::params::{self, Kind, Table};

/// Asks people.
#[derive(Debug, Default)]
pub struct Human;

const ASK: &Table = &[
    ("prompt", Kind::Text, true, "the question"),
    (
        "schema",
        Kind::Object,
        false,
        "what an answer must be. One that does not fit is refused, and the question stays open",
    ),
    ("options", Kind::List, false, "the answers there are"),
    ("deadline", Kind::Moment, false, "until when it can be answered"),
    (
        "default",
        Kind::Any,
        false,
        "stands in for an answer after the deadline. Without it the step ends as `timed_out`, HUMAN_TIMEOUT",
    ),
    ("assignee", Kind::Text, false, "who should answer: `stepwell inbox --assignee anna`"),
];

#[async_trait]
impl Provider for Human {
    fn methods(&self) -> Vec<&'static str> {
        vec!["human/ask"]
    }

    fn result_keys(&self, _method: &str) -> &'static [&'static str] {
        &["result", "answered_by", "answered_at", "wait_id", "defaulted"]
    }

    fn params(&self, _method: &str) -> Option<Vec<Param>> {
        Some(params::described(ASK))
    }

    fn check(&self, _method: &str, params: &Value) -> Vec<ParamProblem> {
        let mut problems = params::check(params, ASK);
        for problem in problems.iter_mut().filter(|problem| problem.parameter == "timeout") {
            "parameter 'timeout' is not known; a question is open until its 'deadline'"
                .clone_into(&mut problem.message);
        }
        if problems.iter().all(|problem| !["schema", "options"].contains(&&*problem.parameter)) {
            problems.extend(unfit_form(params));
        }
        problems
    }

    async fn execute(&self, task: Task) -> Outcome {
        match question(&task) {
            Ok(wait) => Outcome::Suspend(vec![wait]),
            Err(error) => error.into(),
        }
    }
}

/// A form that cannot be read, or a default that nobody could give as an answer. What holds a reference is not
/// looked at.
fn unfit_form(params: &Value) -> Option<ParamProblem> {
    let literal = |key: &str| params.get(key).filter(|value| !value.to_string().contains("${"));
    let is_whole = |key: &str| params.get(key).is_none() || literal(key).is_some();
    if !is_whole("schema") || !is_whole("options") {
        return None;
    }
    let (schema, options) = (literal("schema"), literal("options"));
    let form = match Form::new(schema, options) {
        Ok(form) => form,
        Err(error) => {
            let parameter = if Form::new(schema, None).is_err() { "schema" } else { "options" };
            return Some(params::problem(
                parameter,
                "form",
                format!("parameter '{parameter}': {}", error.message),
            ));
        }
    };
    let fault = form.check(literal("default")?).into_iter().next()?;
    let message = format!("parameter 'default' does not fit its own question: {}", fault.message);
    Some(params::problem("default", "form", message))
}

fn question(task: &Task) -> Result<WaitSpec, ErrorObject> {
    params::require(task, ASK)?;
    let given = |key: &str| task.params.get(key).cloned();
    let text = |key: &str| given(key).and_then(|value| value.as_str().map(str::to_owned));
    let deadline = moment::given(task, "deadline");
    let question = Question {
        prompt: text("prompt").unwrap_or_default(),
        schema: given("schema"),
        options: given("options"),
        assignee: text("assignee"),
        ..Question::default()
    };
    Ok(WaitSpec {
        deadline,
        default: given("default").map(std::sync::Arc::new),
        ..WaitSpec::step(WaitKind::Human(question))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn options_that_are_no_list_are_one_problem() {
        let problems = Human.check("human/ask", &json!({ "prompt": "ok?", "options": "yes" }));
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
