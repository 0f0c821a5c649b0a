//! How a program can fail, with everything there is to say about it.

use std::time::Duration;

use stepwell_core::error::ErrorObject;
use stepwell_engine::ParamProblem;

use crate::capture::Printed;

/// Why a program has no outcome.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramFailure {
    /// It ended with a code that was not expected.
    #[error("it exited with code {code}{}", last_words(printed))]
    Exit { code: i32, printed: Printed },
    /// A signal ended it: a crash, a limit, or somebody outside.
    #[error("it was ended by signal {signal}{}", last_words(printed))]
    Signal { signal: i32, printed: Printed },
    /// It ran longer than it may and was killed.
    #[error("it ran longer than {} s", limit.as_secs_f64())]
    TimedOut { limit: Duration, printed: Printed },
    /// It printed more than it may and was killed.
    #[error("it printed more than {limit_bytes} bytes")]
    OutputLimit { limit_bytes: usize, printed: Printed },
    /// What it printed is not the JSON it was to print. Trying again cannot help.
    #[error("what it printed is not JSON: {reason}")]
    NotJson { reason: String, printed: Printed },
    /// The caller cancelled it.
    #[error("it was cancelled")]
    Cancelled { printed: Printed },
    /// It cannot be run as it was asked for.
    #[error("{}", .0.message)]
    Refused(ParamProblem),
    /// It is to run in a sandbox, and there can be none.
    #[error("{}", .0.message)]
    NoSandbox(ErrorObject),
    /// It could not be set going, for example because its directory is missing.
    #[error("it cannot be started: {reason}")]
    NotStarted { reason: String },
    /// Its guard died, and it with it. Nobody knows how far it came.
    #[error("its guard died while it ran")]
    GuardLost,
}

impl ProgramFailure {
    /// Returns what the program wrote, if it came so far.
    pub(super) fn printed(&self) -> Option<&Printed> {
        match self {
            Self::Exit { printed, .. }
            | Self::Signal { printed, .. }
            | Self::TimedOut { printed, .. }
            | Self::OutputLimit { printed, .. }
            | Self::NotJson { printed, .. }
            | Self::Cancelled { printed } => Some(printed),
            Self::Refused(_) | Self::NoSandbox(_) | Self::NotStarted { .. } | Self::GuardLost => None,
        }
    }
}

/// How much of its last line a program's failure is told with.
const LAST_WORDS: usize = 300;

/// Returns the last line that a program wrote to stderr, which most often says why it failed.
fn last_words(printed: &Printed) -> String {
    let last = printed.stderr.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.map_or_else(String::new, |line| format!(": {}", line.chars().take(LAST_WORDS).collect::<String>()))
}
