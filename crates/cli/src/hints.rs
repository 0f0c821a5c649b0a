//! What to type next, for refusals that leave it open.

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::RunId;

use crate::text;

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
