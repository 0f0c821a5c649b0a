//! The one status vocabulary of runs and executions (DESIGN §1). Surfaces with words of their own convert.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in the order of the vocabulary.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the word people see.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|s| s.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| UnknownWord {
                    given: text.to_owned(),
                    known: Self::ALL.iter().map(|s| s.as_str()).collect(),
                })
            }
        }
    };
}

/// A word that is not of the vocabulary it was read as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown status '{given}'; known: {}", known.join(", "))]
pub struct UnknownWord {
    /// What was given.
    pub given: String,
    /// The words there are.
    pub known: Vec<&'static str>,
}

words!(
    /// Status of a run.
    RunStatus {
        /// Created, held until `Start`.
        Pending = "pending",
        /// Something can move.
        Running = "running",
        /// An operator paused it, or nothing but people and signals can move it.
        Paused = "paused",
        /// Ended well.
        Completed = "completed",
        /// Ended with an error; a retry opens the next epoch.
        Failed = "failed",
        /// Ended by request.
        Cancelled = "cancelled",
    }
);

impl RunStatus {
    /// Those that end a run.
    pub const TERMINAL: &'static [Self] = &[Self::Completed, Self::Failed, Self::Cancelled];

    /// True for `completed`, `failed` and `cancelled`.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

words!(
    /// Why a run is paused.
    PauseReason {
        /// Open questions or signals, and nothing else can move.
        Input = "input",
        /// Someone asked for it.
        Operator = "operator",
    }
);

words!(
    /// Status of an execution.
    ExecutionStatus {
        /// Activated, waiting for a place under `max_concurrent`.
        Pending = "pending",
        /// A token is here and its needs are not met.
        Blocked = "blocked",
        /// A work item waits for a worker.
        Ready = "ready",
        /// An attempt is under way.
        Running = "running",
        /// An open question, signal, timer or child run.
        Waiting = "waiting",
        /// The last attempt failed; the next is due later.
        Retrying = "retrying",
        /// Ended well.
        Completed = "completed",
        /// Ended with an error after its last attempt.
        Failed = "failed",
        /// As failed, and the last attempt ran out of time.
        TimedOut = "timed_out",
        /// Ended by request, or by the end of its run.
        Cancelled = "cancelled",
        /// Never attempted: its needs or its condition said no.
        Skipped = "skipped",
    }
);

impl ExecutionStatus {
    /// True if no attempt, wait or token of the execution is live.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::TimedOut | Self::Cancelled | Self::Skipped)
    }

    /// True for `failed` and `timed_out`.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut)
    }
}

words!(
    /// Status of a run in the words of agents (spec/fluffy.md §10).
    ///
    /// ```
    /// use stepwell_core::status::{AgentStatus, RunStatus};
    /// assert_eq!(AgentStatus::from(RunStatus::Pending), AgentStatus::Idle);
    /// assert_eq!(AgentStatus::from(RunStatus::Paused).as_str(), "paused");
    /// ```
    AgentStatus {
        /// No run, or one that has not started.
        Idle = "idle",
        /// Something can move.
        Running = "running",
        /// By somebody, or because only people and signals can move it.
        Paused = "paused",
        /// Ended well.
        Completed = "completed",
        /// Ended with an error.
        Failed = "failed",
        /// Ended by request.
        Cancelled = "cancelled",
    }
);

impl From<RunStatus> for AgentStatus {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Pending => Self::Idle,
            RunStatus::Running => Self::Running,
            RunStatus::Paused => Self::Paused,
            RunStatus::Completed => Self::Completed,
            RunStatus::Failed => Self::Failed,
            RunStatus::Cancelled => Self::Cancelled,
        }
    }
}

words!(
    /// Status of a state in the words of agents (spec/fluffy.md §10): that of its latest execution.
    ///
    /// ```
    /// use stepwell_core::status::{ExecutionStatus, StateStatus};
    /// assert_eq!(StateStatus::from(ExecutionStatus::Retrying), StateStatus::Pending);
    /// assert_eq!(StateStatus::from(ExecutionStatus::TimedOut).as_str(), "timeout");
    /// ```
    StateStatus {
        /// Never activated, waiting for a place, or for its next attempt.
        Pending = "pending",
        /// Waiting for what it needs, or for what it asked.
        Blocked = "blocked",
        /// Waiting for a worker.
        Ready = "ready",
        /// An attempt is under way.
        Running = "running",
        /// Ended well.
        Completed = "completed",
        /// Ended with an error.
        Failed = "failed",
        /// Ended with an error: its last attempt ran out of time.
        Timeout = "timeout",
        /// Ended by request, or never attempted.
        Cancelled = "cancelled",
    }
);

impl From<ExecutionStatus> for StateStatus {
    fn from(status: ExecutionStatus) -> Self {
        match status {
            ExecutionStatus::Pending | ExecutionStatus::Retrying => Self::Pending,
            ExecutionStatus::Blocked | ExecutionStatus::Waiting => Self::Blocked,
            ExecutionStatus::Ready => Self::Ready,
            ExecutionStatus::Running => Self::Running,
            ExecutionStatus::Completed => Self::Completed,
            ExecutionStatus::Failed => Self::Failed,
            ExecutionStatus::TimedOut => Self::Timeout,
            ExecutionStatus::Cancelled | ExecutionStatus::Skipped => Self::Cancelled,
        }
    }
}
