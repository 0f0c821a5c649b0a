//! What the engine tells its callers: the one error object, made from what the store says.

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::RunId;
use stepwell_core::workflow::differences::told;
use stepwell_store::Error as StoreError;

/// Turns a store's failure into the error users see.
pub fn from_store(error: &StoreError) -> ErrorObject {
    let text = chain(error);
    match error {
        StoreError::NotFound(_) => ErrorObject::new(Code::WORKFLOW_NOT_FOUND, text)
            .with_hint("`stepwell list` shows the runs of the store; `--store` names another"),
        StoreError::Unavailable { .. } => ErrorObject::new(Code::PERSISTENCE_CONNECTION_FAILED, text),
        StoreError::NotThere { .. } => ErrorObject::new(Code::PERSISTENCE_CONNECTION_FAILED, text)
            .with_hint("put it back, or name another store with `--store`")
            .with("reason", "not_there")
            .never_again(),
        StoreError::WriteFailed { .. } => ErrorObject::new(Code::PERSISTENCE_WRITE_FAILED, text)
            .with_hint("free some space or make the store writable; the run goes on from where it stands"),
        StoreError::Corrupt { .. } => ErrorObject::new(Code::PERSISTENCE_INTEGRITY_ERROR, text)
            .with_hint("the file was left as it is; name another with `--store`"),
        StoreError::Invalid(_) => ErrorObject::new(Code::INVALID_PARAMS, text),
    }
}

/// Returns the error and everything behind it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Returns the error for a run id that is taken by a run that is another in these: `definition`, `input` …, and what of the
/// definition has changed since.
pub(crate) fn run_exists(run: &RunId, differs: &[&str], changes: &[String]) -> ErrorObject {
    let message = match differs {
        [] => format!("run {run} exists"),
        [rest @ .., last] if !rest.is_empty() => {
            format!("run {run} exists with another {} and {last}", rest.join(", "))
        }
        [only, ..] => format!("run {run} exists with another {only}"),
    };
    let error = |message| {
        ErrorObject::new(Code::RUN_EXISTS, message).with("run_id", run.as_str()).with("differs", differs)
    };
    if changes.is_empty() {
        return error(message)
            .with_hint("choose another id, or start it with what the existing run was started with; to let that run go on, resume it");
    }
    error(format!("{message}: {}", told(changes))).with("changes", changes).with_hint(
        "choose another id, or go on with the definition that the run began with; what its functions do may have changed",
    )
}

/// Returns the error of who waits for a run that is not over, on an engine that was shut down.
pub(crate) fn shut_down_meanwhile(run: &RunId) -> ErrorObject {
    let message = format!("the engine was shut down while run {run} was waited for, which is not over");
    ErrorObject::new(Code::SYSTEM_SHUTDOWN, message)
        .with("run_id", run.as_str())
        .with_hint("the run goes on where an engine over its store carries it: find it there, and wait again")
}

/// Returns the error of an engine that is shutting down.
pub(crate) fn shutting_down() -> ErrorObject {
    ErrorObject::new(Code::SYSTEM_SHUTDOWN, "the engine is shutting down")
}
