//! What to type next, for refusals that leave it open.

use stepwell_core::error::{Code, ErrorObject};

/// Returns the error with a hint, if there is one to give and it has none.
pub(crate) fn hinted(error: &ErrorObject) -> ErrorObject {
    let mut error = error.clone();
    if error.hint.is_none() && error.code == Code::WORKFLOW_INVALID_STATE {
        let text = |key: &str| error.data.get(key).and_then(|value| value.as_str()).unwrap_or_default();
        error.hint = of_refusal(text("reason"), text("status")).map(str::to_owned);
    }
    error
}

/// Returns what may be done where a command does not fit the status of a run.
fn of_refusal(reason: &str, status: &str) -> Option<&'static str> {
    Some(match (reason, status) {
        ("terminal", "failed") => "`stepwell retry RUN` tries again what failed",
        ("terminal", _) => "it has ended; `stepwell run FILE` starts another",
        ("not_failed", "completed" | "cancelled") => "it has ended; `stepwell run FILE` starts another",
        ("not_failed", _) => {
            "`stepwell resume RUN` goes on with it, `stepwell show RUN` tells what it waits for"
        }
        ("not_paused", _) => "`stepwell show RUN` tells why it is not going on",
        ("not_started", _) => "`stepwell resume RUN` starts it",
        ("wait_closed", _) => "the first answer stands; `stepwell inbox WAIT` shows the question",
        ("no_such_wait" | "not_a_question", _) => "`stepwell inbox` lists the open questions",
        _ => return None,
    })
}
