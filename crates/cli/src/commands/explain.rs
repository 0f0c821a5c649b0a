//! `stepwell explain`: the page of an error code, as it lies in `docs/errors`.

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::spelling::nearest;

use crate::args::Shared;
use crate::exit::Exit;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or number of the code
    #[arg(allow_negative_numbers = true)]
    code: String,
}

pub(crate) fn explain(shared: &Shared, args: &Args) -> Result<Exit, ErrorObject> {
    let given = args.code.trim();
    let is_meant = |code: &&Code| {
        code.name().eq_ignore_ascii_case(given)
            || code.number().to_string().trim_start_matches('-') == given.trim_start_matches('-')
    };
    let code = Code::ALL.iter().find(is_meant).copied();
    let Some((code, page)) = code.and_then(|code| Some((code, page(code)?))) else {
        let hint = match nearest(given, Code::ALL.iter().map(|code| code.name())) {
            Some(near) => format!("did you mean '{near}'?"),
            None => "it stands behind `error` in brackets, a name and a number: either will do".into(),
        };
        return Err(ErrorObject::new(Code::INVALID_PARAMS, format!("no error has the code {given}"))
            .with("parameter", "code")
            .with_hint(hint));
    };
    if shared.json {
        output::json(&serde_json::json!({
            "code": code.number(), "name": code.name(), "meaning": code.meaning(),
            "retryable": code.is_retryable(), "page": page,
        }));
        return Ok(Exit::Ok);
    }
    for line in page.lines() {
        output::data(line);
    }
    Ok(Exit::Ok)
}

macro_rules! pages {
    ($($name:ident)+) => {
        /// Returns the page of a code; every code has one, which a test sees to.
        fn page(code: Code) -> Option<&'static str> {
            match code {
                $(Code::$name => Some(include_str!(concat!(
                    "../../../../docs/errors/", stringify!($name), ".md"
                ))),)+
                _ => None,
            }
        }
    };
}

pages! {
    PARSE_ERROR
    INVALID_REQUEST
    METHOD_NOT_FOUND
    INVALID_PARAMS
    INTERNAL_ERROR
    SYSTEM_NOT_INITIALIZED
    SYSTEM_SHUTDOWN
    CONFIGURATION_ERROR
    RESOURCE_EXHAUSTED
    RATE_LIMIT_EXCEEDED
    STATE_CONFLICT
    STATE_VALUE_INVALID
    STATE_NOT_FOUND
    PROTOCOL_NOT_FOUND
    PROVIDER_NOT_FOUND
    PROVIDER_NOT_AVAILABLE
    PROVIDER_INITIALIZATION_FAILED
    PROVIDER_UNHEALTHY
    PROVIDER_TIMEOUT
    PROVIDER_OVERLOADED
    METHOD_NOT_SUPPORTED
    PROTOCOL_VERSION_MISMATCH
    PROVIDER_ERROR
    TASK_VALIDATION_FAILED
    TASK_EXECUTION_FAILED
    TASK_TIMEOUT
    TASK_CANCELLED
    TASK_DEPENDENCY_FAILED
    TASK_PARAMETER_ERROR
    TASK_RESULT_INVALID
    TASK_RETRY_EXHAUSTED
    TASK_NOT_FOUND
    TASK_RETRY_ERROR
    UNKNOWN_STEP
    HUMAN_TIMEOUT
    REPLAY_MISMATCH
    CHILD_FAILED
    STALE_CONTEXT
    WORKER_LOST
    SIGNAL_TIMEOUT
    CONTEXT_CONFLICT
    LOOP_LIMIT
    NO_BRANCH
    WORKFLOW_VALIDATION_FAILED
    WORKFLOW_NOT_FOUND
    WORKFLOW_EXECUTION_FAILED
    WORKFLOW_TIMEOUT
    WORKFLOW_CANCELLED
    WORKFLOW_CIRCULAR_DEPENDENCY
    WORKFLOW_INVALID_STATE
    DEADLOCK
    MAX_STEPS
    CHECKPOINT_INVALID
    RUN_EXISTS
    DEFINITION_MISMATCH
    HANDLER_UNAVAILABLE
    ANSWER_INVALID
    BUDGET_EXCEEDED
    ARTIFACT_NOT_FOUND
    PRICE_UNKNOWN
    QUEUE_NOT_FOUND
    QUEUE_FULL
    QUEUE_EMPTY
    SCHEDULING_FAILED
    SCHEDULER_NOT_RUNNING
    PERSISTENCE_CONNECTION_FAILED
    PERSISTENCE_WRITE_FAILED
    PERSISTENCE_READ_FAILED
    PERSISTENCE_TRANSACTION_FAILED
    PERSISTENCE_INTEGRITY_ERROR
    NETWORK_UNREACHABLE
    CONNECTION_REFUSED
    CONNECTION_TIMEOUT
    CONNECTION_LOST
    AUTHENTICATION_FAILED
    AUTHORIZATION_FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_page_in_the_program() {
        for &code in Code::ALL {
            let page = page(code).unwrap_or_else(|| panic!("{code} is missing in `pages!`"));
            assert!(page.starts_with(&format!("# {code} ({})\n", code.number())), "{code}");
        }
    }
}
