//! How a script can fail, with everything there is to say about it.

use std::path::PathBuf;
use std::time::Duration;

use stepwell_core::error::ErrorObject;

use crate::capture::Printed;
use crate::files::FileError;

/// An exception that a script did not catch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    /// Its class, with the module unless that is `builtins` or `__main__`.
    pub exception_type: String,
    /// Its text.
    pub message: String,
    /// The traceback as Python prints it, from the script's first line on.
    pub traceback: String,
    /// The line of a syntax error.
    pub line: Option<u64>,
}

impl Raised {
    /// Returns whether the script asked for an environment variable that it cannot see.
    pub(super) fn is_of_environment(&self) -> bool {
        // Newer interpreters have their own `os` frozen in, and name it so.
        let is_os = |text: &str| text.contains("<frozen os>") || text.contains("/os.py\"");
        self.exception_type == "KeyError" && is_os(&self.traceback)
    }
}

/// Why a task has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum PythonFailure {
    /// The script raised an exception.
    #[error("the script raised {}: {}", raised.exception_type, raised.message)]
    Exception {
        /// The exception.
        raised: Box<Raised>,
        /// What the script wrote.
        printed: Printed,
    },
    /// The script, or something it imports, is not valid Python. Trying again cannot help.
    #[error("the script is not valid Python: {}", raised.message)]
    Syntax {
        /// The error and its place.
        raised: Box<Raised>,
        /// What the script wrote.
        printed: Printed,
    },
    /// The script ran out of the memory it may use.
    #[error("the script needed more than {limit_bytes} bytes of memory")]
    Memory {
        /// The limit of one process.
        limit_bytes: u64,
        /// Where it happened.
        raised: Box<Raised>,
        /// What the script wrote.
        printed: Printed,
    },
    /// The script ended by itself with an exit code that means failure.
    #[error("the script exited with code {code}")]
    Exit {
        /// The code as the script gave it.
        code: i64,
        /// What the script wrote.
        printed: Printed,
    },
    /// A signal ended the script: a crash, or somebody outside.
    #[error("the script was ended by signal {signal}")]
    Signal {
        /// The number of the signal.
        signal: i32,
        /// What the script wrote.
        printed: Printed,
    },
    /// The script ran longer than it may and was killed.
    #[error("the script ran longer than {} s", limit.as_secs_f64())]
    TimedOut {
        /// How long it was allowed to run.
        limit: Duration,
        /// What the script wrote until then.
        printed: Printed,
    },
    /// The script printed more than it may and was killed.
    #[error("the script printed more than {limit_bytes} bytes")]
    OutputLimit {
        /// The limit for stdout and stderr together.
        limit_bytes: usize,
        /// What it wrote, cut at the limit.
        printed: Printed,
    },
    /// The script's result cannot be kept unchanged. Trying again cannot help.
    #[error("the result cannot be kept: {path}: {reason}")]
    ResultInvalid {
        /// Where in the result, such as `result.rows[3]`.
        path: String,
        /// What is wrong there.
        reason: String,
        /// What the script wrote.
        printed: Printed,
    },
    /// The caller cancelled the task; it was killed if it had started.
    #[error("the script was cancelled")]
    Cancelled {
        /// What the script wrote until then.
        printed: Printed,
    },
    /// The script file was refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// The script could not be set going, for example because its directory is missing.
    #[error("cannot start the script: {reason}")]
    NotStarted {
        /// What stood in the way.
        reason: String,
    },
    /// Scripts are to run in a sandbox, and there can be none.
    #[error("{}", .0.message)]
    NoSandbox(ErrorObject),
    /// No interpreter could be started.
    #[error("cannot start the python interpreter {}: {reason}", interpreter.display())]
    NoInterpreter {
        /// The interpreter of the settings.
        interpreter: PathBuf,
        /// What the system or the interpreter says.
        reason: String,
        /// It was killed as it started, which need not happen again.
        was_killed: bool,
    },
    /// The interpreter that ran the task died, for reasons that need not be the script's. Nobody knows how far it came.
    #[error("the python interpreter died while the script ran")]
    ParentLost {
        /// What the script wrote until then.
        printed: Printed,
    },
    /// The pool was shut down.
    #[error("the python pool was shut down")]
    Closed,
}

impl PythonFailure {
    /// Whether the same task may end differently when tried again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Exception { .. }
            | Self::Memory { .. }
            | Self::Exit { .. }
            | Self::Signal { .. }
            | Self::TimedOut { .. }
            | Self::OutputLimit { .. }
            | Self::NotStarted { .. }
            | Self::ParentLost { .. } => true,
            Self::NoInterpreter { was_killed, .. } => *was_killed,
            Self::Syntax { .. }
            | Self::ResultInvalid { .. }
            | Self::Cancelled { .. }
            | Self::File(_)
            | Self::NoSandbox(_)
            | Self::Closed => false,
        }
    }

    /// Returns what the script wrote, if it came so far.
    pub fn printed(&self) -> Option<&Printed> {
        match self {
            Self::Exception { printed, .. }
            | Self::Syntax { printed, .. }
            | Self::Memory { printed, .. }
            | Self::Exit { printed, .. }
            | Self::Signal { printed, .. }
            | Self::TimedOut { printed, .. }
            | Self::OutputLimit { printed, .. }
            | Self::ResultInvalid { printed, .. }
            | Self::Cancelled { printed }
            | Self::ParentLost { printed } => Some(printed),
            Self::File(_)
            | Self::NoSandbox(_)
            | Self::NotStarted { .. }
            | Self::NoInterpreter { .. }
            | Self::Closed => None,
        }
    }
}
