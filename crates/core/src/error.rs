//! Every failure a user can see: stable codes by family, and the one object that carries them outward.
//!
//! Sources: `spec/gleitzeit.md` §4, `spec/fluffy.md` §6, `spec/flujo.md` §1.4, `spec/runner.md` §4. One
//! failure has one code; surfaces cite this table and add nothing to it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Whether a failure is worth another attempt, unless the provider says otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Yes,
    No,
}
use Again::{No, Yes};

macro_rules! codes {
    ($($name:ident $number:literal $again:ident $meaning:literal)+) => {
        /// A stable code. Numbers are grouped in families of a thousand.
        ///
        /// ```
        /// use stepwell_core::error::Code;
        /// assert_eq!(Code::TASK_TIMEOUT.number(), -29003);
        /// assert_eq!(Code::TASK_TIMEOUT.name(), "TASK_TIMEOUT");
        /// assert!(Code::TASK_TIMEOUT.is_retryable());
        /// ```
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct Code(i32);

        impl Code {
            $(#[doc = $meaning] pub const $name: Code = Code($number);)+

            /// Every code, by family.
            pub const ALL: &'static [Code] = &[$(Code::$name),+];

            fn entry(self) -> (&'static str, &'static str, Again) {
                match self.0 {
                    $($number => (stringify!($name), $meaning, $again),)+
                    _ => ("UNKNOWN_ERROR", "a code of another version", No),
                }
            }
        }
    };
}

codes! {
    PARSE_ERROR -32700 No "body or line is not JSON"
    INVALID_REQUEST -32600 No "wrong shape"
    METHOD_NOT_FOUND -32601 No "no such route or command"
    INVALID_PARAMS -32602 No "params of a step or call"
    INTERNAL_ERROR -32603 No "our bug"

    SYSTEM_NOT_INITIALIZED -31001 No "client used before open or after close"
    SYSTEM_SHUTDOWN -31002 No "engine stopping"
    CONFIGURATION_ERROR -31003 No "setting, file or directory"
    RESOURCE_EXHAUSTED -31004 Yes "a limit of ours"
    RATE_LIMIT_EXCEEDED -31005 Yes "our own rate limit"
    STATE_CONFLICT -31101 No "system state has another version"
    STATE_VALUE_INVALID -31102 No "system state must be a JSON object of at most 1 MiB"
    STATE_NOT_FOUND -31103 No "no system state under this key"

    PROTOCOL_NOT_FOUND -30001 No "no provider speaks this protocol"
    PROVIDER_NOT_FOUND -30002 No "named instance unknown"
    PROVIDER_NOT_AVAILABLE -30003 Yes "unreachable, 5xx or circuit open"
    PROVIDER_INITIALIZATION_FAILED -30004 No "a provider could not start"
    PROVIDER_UNHEALTHY -30005 No "health check failed"
    PROVIDER_TIMEOUT -30006 Yes "the provider's own time limit"
    PROVIDER_OVERLOADED -30007 Yes "asked to slow down"
    METHOD_NOT_SUPPORTED -30008 No "the protocol has no such method"
    PROTOCOL_VERSION_MISMATCH -30009 No "another version of the protocol is registered"
    PROVIDER_ERROR -30010 No "the provider refused the request"

    TASK_VALIDATION_FAILED -29001 No "a single submitted step is malformed"
    TASK_EXECUTION_FAILED -29002 Yes "script, tool or function raised"
    TASK_TIMEOUT -29003 Yes "the time limit of an attempt"
    TASK_CANCELLED -29004 No "cancelled"
    TASK_DEPENDENCY_FAILED -29005 No "a step it needs did not complete"
    TASK_PARAMETER_ERROR -29006 No "a reference cannot be resolved"
    TASK_RESULT_INVALID -29007 No "the result or route is not valid"
    TASK_RETRY_EXHAUSTED -29008 No "more than one attempt, all failed"
    TASK_NOT_FOUND -29009 No "step or execution unknown"
    TASK_RETRY_ERROR -29010 No "a retry was asked for that cannot be done"
    UNKNOWN_STEP -29021 No "a route names a step that does not exist"
    HUMAN_TIMEOUT -29022 No "nobody answered in time"
    REPLAY_MISMATCH -29023 No "a function asked other questions when it ran again"
    CHILD_FAILED -29024 No "a child run failed"
    STALE_CONTEXT -29026 No "a context was used after its attempt had ended"
    WORKER_LOST -29027 No "lost with its worker too often"
    SIGNAL_TIMEOUT -29028 No "the signal did not come in time"
    CONTEXT_CONFLICT -29101 No "branches wrote different values to one key"
    LOOP_LIMIT -29102 No "a loop used up its rounds"
    NO_BRANCH -29103 No "no branch for this key"

    WORKFLOW_VALIDATION_FAILED -28001 No "the definition cannot be run"
    WORKFLOW_NOT_FOUND -28002 No "definition or run unknown"
    WORKFLOW_EXECUTION_FAILED -28003 No "the run failed"
    WORKFLOW_TIMEOUT -28004 No "the time limit of the run"
    WORKFLOW_CANCELLED -28005 No "the run was cancelled"
    WORKFLOW_CIRCULAR_DEPENDENCY -28006 No "needs form a cycle"
    WORKFLOW_INVALID_STATE -28007 No "the command does not fit the status"
    DEADLOCK -28021 No "what is left can never start"
    MAX_STEPS -28022 No "the run made too many routed executions"
    CHECKPOINT_INVALID -28023 No "not a checkpoint of ours"
    RUN_EXISTS -28101 No "a run of this id exists and is another"
    DEFINITION_MISMATCH -28102 No "the run has another definition"
    HANDLER_UNAVAILABLE -28103 No "nobody can carry out its steps"
    ANSWER_INVALID -28104 No "the answer does not fit its schema"
    BUDGET_EXCEEDED -28105 No "the budget would be passed"
    ARTIFACT_NOT_FOUND -28107 No "no such file or version"
    PRICE_UNKNOWN -28106 No "a model without a price under a money limit"

    QUEUE_NOT_FOUND -27001 No "queue unknown"
    QUEUE_FULL -27002 Yes "too much is waiting"
    QUEUE_EMPTY -27003 No "queue empty"
    SCHEDULING_FAILED -27004 No "cannot be scheduled"
    SCHEDULER_NOT_RUNNING -27005 No "scheduler not running"

    PERSISTENCE_CONNECTION_FAILED -26001 Yes "store unreachable"
    PERSISTENCE_WRITE_FAILED -26002 No "store cannot be written"
    PERSISTENCE_READ_FAILED -26003 No "store cannot be read"
    PERSISTENCE_TRANSACTION_FAILED -26004 No "outcome of a commit unknown"
    PERSISTENCE_INTEGRITY_ERROR -26005 No "journal damaged"

    NETWORK_UNREACHABLE -25001 Yes "network unreachable"
    CONNECTION_REFUSED -25002 Yes "connection refused"
    CONNECTION_TIMEOUT -25003 Yes "connection timed out"
    CONNECTION_LOST -25004 Yes "connection lost"
    AUTHENTICATION_FAILED -25005 No "not who it says"
    AUTHORIZATION_FAILED -25006 No "not allowed"
}

impl Code {
    /// Returns the number.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Returns the name; it is also the name of the page in `docs/errors/`.
    pub fn name(self) -> &'static str {
        self.entry().0
    }

    /// Returns what the code stands for, in a few words.
    pub fn meaning(self) -> &'static str {
        self.entry().1
    }

    /// Returns whether a failure of this kind is worth another attempt unless the provider says otherwise.
    pub fn is_retryable(self) -> bool {
        self.entry().2 == Yes
    }

    /// Returns the status of an HTTP answer that is this failure (spec/gleitzeit.md §4.2, spec/flujo.md §1.4). Surfaces of
    /// other programs may have their own.
    ///
    /// ```
    /// use stepwell_core::error::Code;
    /// assert_eq!(Code::WORKFLOW_NOT_FOUND.http_status(), 404);
    /// assert_eq!(Code::TASK_EXECUTION_FAILED.http_status(), 500);
    /// ```
    pub fn http_status(self) -> u16 {
        match self {
            Self::PARSE_ERROR | Self::INVALID_REQUEST | Self::INVALID_PARAMS => 400,
            Self::AUTHENTICATION_FAILED => 401,
            Self::AUTHORIZATION_FAILED => 403,
            Self::METHOD_NOT_FOUND
            | Self::WORKFLOW_NOT_FOUND
            | Self::TASK_NOT_FOUND
            | Self::STATE_NOT_FOUND
            | Self::ARTIFACT_NOT_FOUND
            | Self::QUEUE_NOT_FOUND => 404,
            Self::WORKFLOW_INVALID_STATE
            | Self::TASK_RETRY_ERROR
            | Self::RUN_EXISTS
            | Self::DEFINITION_MISMATCH => 409,
            Self::STATE_CONFLICT => 412,
            Self::WORKFLOW_VALIDATION_FAILED
            | Self::WORKFLOW_CIRCULAR_DEPENDENCY
            | Self::TASK_VALIDATION_FAILED
            | Self::PROTOCOL_NOT_FOUND
            | Self::METHOD_NOT_SUPPORTED
            | Self::PROTOCOL_VERSION_MISMATCH
            | Self::ANSWER_INVALID
            | Self::STATE_VALUE_INVALID => 422,
            Self::RATE_LIMIT_EXCEEDED | Self::QUEUE_FULL => 429,
            Self::SYSTEM_NOT_INITIALIZED | Self::SYSTEM_SHUTDOWN | Self::HANDLER_UNAVAILABLE => 503,
            Self::PERSISTENCE_CONNECTION_FAILED
            | Self::PERSISTENCE_WRITE_FAILED
            | Self::PERSISTENCE_READ_FAILED
            | Self::PERSISTENCE_TRANSACTION_FAILED
            | Self::PERSISTENCE_INTEGRITY_ERROR => 503,
            _ => 500,
        }
    }

    /// Returns the code of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What went wrong, as every surface shows it: `{code, name, message, hint, data, retryable, help}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorObject {
    /// Stable code.
    pub code: Code,
    /// What happened, naming the step or object.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Details for programs; keys depend on the code.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub data: Map<String, Value>,
    /// Whether another attempt could help.
    pub retryable: bool,
}

impl ErrorObject {
    /// Returns an error of that code, retryable as its table says.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, data: Map::new(), retryable: code.is_retryable() }
    }

    /// Adds what to do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a detail.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.data.insert(key.to_owned(), value.into());
        self
    }

    /// Says that the same would only happen again.
    pub fn never_again(mut self) -> Self {
        self.retryable = false;
        self
    }

    /// Drops data that is nested so deep that nobody could read it again, once other errors have it as their cause.
    #[must_use]
    pub fn readable(mut self) -> Self {
        self.data.retain(|_, value| !crate::nesting::is_deeper(value, crate::nesting::MAX_NESTING - 20));
        self
    }

    /// Returns the outward form with all seven keys.
    ///
    /// ```
    /// use stepwell_core::error::{Code, ErrorObject};
    /// let shown = ErrorObject::new(Code::DEADLOCK, "step 'b' waits for 'a'").to_json();
    /// assert_eq!(shown["name"], "DEADLOCK");
    /// assert_eq!(shown["help"], "docs/errors/DEADLOCK.md");
    /// ```
    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "code": self.code.number(),
            "name": self.code.name(),
            "message": self.message,
            "hint": self.hint,
            "data": self.data,
            "retryable": self.retryable,
            "help": format!("docs/errors/{}.md", self.code.name()),
        })
    }
}

impl fmt::Display for ErrorObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ErrorObject {}
