//! What to type next, for refusals that leave it open.

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::RunId;
use stepwell_core::run::Run;

use crate::{functions, text};

/// Returns the refusal of a command about that run with a hint, if there is one to give and it has none.
pub(crate) fn about(run: &RunId) -> impl Fn(ErrorObject) -> ErrorObject + '_ {
    move |mut error| {
        if error.hint.is_none() && error.code == Code::WORKFLOW_INVALID_STATE {
            let text = |key: &str| error.data.get(key).and_then(|value| value.as_str()).unwrap_or_default();
            let run = text::word(run.as_str());
            error.hint = match text("reason") {
                "wait_closed" => Some(of_closed(text("state"), text("status"), &run)),
                reason => of_refusal(reason, text("status"), &run),
            };
        }
        error
    }
}

/// Returns how a run that failed is tried again, so that what it failed for is repaired.
pub(crate) fn of_failure(run: &Run, error: &ErrorObject) -> String {
    let id = text::word(run.id().as_str());
    if let Some(who) = functions::who_has(run.workflow()) {
        return format!(
            "repair the cause, then `stepwell retry {id}`: {who} goes on with it; what is completed stays"
        );
    }
    let missing =
        error.data.get("reference").and_then(Value::as_str).and_then(|at| at.strip_prefix("input."));
    match missing.filter(|_| error.code == Code::TASK_PARAMETER_ERROR) {
        Some(path) => {
            let key = path.split(['.', '[']).next().unwrap_or(path);
            let param = text::word(&format!("{key}=…")).into_owned();
            let input = text::word(&text::json(&json!({ key: "…" }))).into_owned();
            format!(
                "the input has no '{key}': `stepwell run FILE --param {param}` gives it to another run, \
                 `stepwell retry {id} --input {input}` to this one, in place of all its input"
            )
        }
        None => format!("repair the cause, then `stepwell retry {id}`; what is completed stays"),
    }
}

/// Returns what may be done where a command does not fit the status of a run.
fn of_refusal(reason: &str, status: &str, run: &str) -> Option<String> {
    Some(match (reason, status) {
        ("terminal", "failed") => format!("`stepwell retry {run}` tries again what failed"),
        ("terminal", _) | ("not_failed", "completed" | "cancelled") => {
            "it has ended; `stepwell run FILE` starts another".into()
        }
        ("not_failed", _) => {
            format!("`stepwell resume {run}` goes on with it, `stepwell show {run}` tells what it waits for")
        }
        ("not_stuck", _) => {
            format!("`stepwell show {run}` tells how it stands; `stepwell cancel {run}` ends the run")
        }
        ("not_paused", _) => format!("`stepwell show {run}` tells why it is not going on"),
        ("not_started", _) => format!("`stepwell resume {run}` starts it"),
        ("no_such_wait" | "not_a_question", _) => "`stepwell inbox` lists the open questions".into(),
        _ => return None,
    })
}

/// Returns what may be done where a question is no longer open.
fn of_closed(state: &str, status: &str, run: &str) -> String {
    let show = format!("`stepwell show {run}` tells how the run goes on");
    match (state, status) {
        ("withdrawn", "cancelled") => {
            "the run was cancelled before anybody answered; `stepwell run FILE` starts another".into()
        }
        ("withdrawn", _) => format!("nobody waits for the answer any more; {show}"),
        ("expired", _) => format!("nobody answered in time; {show}"),
        _ => format!("the first answer stands; {show}"),
    }
}
