//! Exit codes, in one place (DESIGN §7).

use std::process::ExitCode;

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::run::Run;
use stepwell_core::status::RunStatus;
use stepwell_engine::batch::is_batch;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    /// The run failed or was cancelled, or a failure without a code of its own.
    Failed = 1,
    Usage = 2,
    InvalidDefinition = 3,
    NotFound = 4,
    Conflict = 5,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// Returns how a command ends that was refused with this error.
    pub(crate) fn of(error: &ErrorObject) -> Self {
        match error.code {
            Code::WORKFLOW_VALIDATION_FAILED
            | Code::WORKFLOW_CIRCULAR_DEPENDENCY
            | Code::PROTOCOL_NOT_FOUND
            | Code::METHOD_NOT_SUPPORTED
            | Code::PROTOCOL_VERSION_MISMATCH => Self::InvalidDefinition,
            Code::INVALID_PARAMS if error.data.contains_key("validation_errors") => Self::InvalidDefinition,
            Code::INVALID_PARAMS | Code::ANSWER_INVALID | Code::STATE_VALUE_INVALID => Self::Usage,
            Code::CONFIGURATION_ERROR => match error.data.get("reason").and_then(|reason| reason.as_str()) {
                Some("not_found") => Self::NotFound,
                Some("suffix" | "not_utf8" | "directory") => Self::InvalidDefinition,
                _ => Self::Failed,
            },
            Code::METHOD_NOT_FOUND => Self::Usage,
            Code::WORKFLOW_NOT_FOUND | Code::TASK_NOT_FOUND | Code::STATE_NOT_FOUND => Self::NotFound,
            // Whatever is ambiguous, a run, a question or an execution: it was not named well enough.
            Code::WORKFLOW_INVALID_STATE
                if error.data.get("reason").is_some_and(|r| r == "wait_ambiguous" || r == "ambiguous") =>
            {
                Self::Usage
            }
            Code::WORKFLOW_INVALID_STATE
            | Code::RUN_EXISTS
            | Code::DEFINITION_MISMATCH
            | Code::TASK_RETRY_ERROR
            | Code::STATE_CONFLICT => Self::Conflict,
            _ => Self::Failed,
        }
    }

    /// Returns how a command ends that followed this run. A batch in which a file failed is completed all the same.
    pub(crate) fn of_run(run: &Run) -> Self {
        let has_failed = || run.executions().iter().any(|execution| execution.status.is_failure());
        match run.status() {
            RunStatus::Failed | RunStatus::Cancelled => Self::Failed,
            RunStatus::Completed if is_batch(run.workflow().definition()) && has_failed() => Self::Failed,
            RunStatus::Pending | RunStatus::Running | RunStatus::Paused | RunStatus::Completed => Self::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of spec/gleitzeit.md §6 that name codes, those included that nothing raises yet.
    #[test]
    fn the_codes_of_a_row_exit_as_it_says() {
        let of = |code: Code| Exit::of(&ErrorObject::new(code, ""));
        for code in [
            Code::WORKFLOW_VALIDATION_FAILED,
            Code::WORKFLOW_CIRCULAR_DEPENDENCY,
            Code::PROTOCOL_NOT_FOUND,
            Code::METHOD_NOT_SUPPORTED,
            Code::PROTOCOL_VERSION_MISMATCH,
        ] {
            assert_eq!(of(code), Exit::InvalidDefinition, "{code}");
        }
        for code in [
            Code::WORKFLOW_INVALID_STATE,
            Code::RUN_EXISTS,
            Code::DEFINITION_MISMATCH,
            Code::TASK_RETRY_ERROR,
            Code::STATE_CONFLICT,
        ] {
            assert_eq!(of(code), Exit::Conflict, "{code}");
        }
        assert_eq!(of(Code::PERSISTENCE_WRITE_FAILED), Exit::Failed);
    }
}
