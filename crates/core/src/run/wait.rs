//! Open questions of a run. Each is resolved exactly once, by its own id.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::ErrorObject;
use crate::ids::{RunId, StepName, Timestamp};
use crate::run::event::{Payload, present};

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitSpec {
    /// Position in the execution, from 0: how a function that runs again finds its answer.
    #[serde(default)]
    pub position: u32,
    /// Name given by the function, if any; it goes before the position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What resolves it.
    pub kind: WaitKind,
    /// When it times out. Of a timer: when it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// What stands in for an answer after the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub default: Option<Payload>,
    /// What the resolution does.
    #[serde(default)]
    pub then: Then,
}

impl WaitSpec {
    /// Returns the wait of a step that is nothing but a wait, without a deadline.
    pub fn step(kind: WaitKind) -> Self {
        Self { position: 0, name: None, kind, deadline: None, default: None, then: Then::Complete }
    }
}

/// What resolves a wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum WaitKind {
    /// A person's answer.
    Human(Question),
    /// The next signal of that name.
    Signal {
        /// Name of the queue.
        name: String,
    },
    /// The deadline.
    Timer,
    /// The end of a child run.
    Child(Box<ChildStart>),
}

impl WaitKind {
    /// Returns the word people see: `human`, `signal`, `timer` or `child`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Human(_) => "human",
            Self::Signal { .. } => "signal",
            Self::Timer => "timer",
            Self::Child(_) => "child",
        }
    }
}

/// A question to a person.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// What to show.
    pub prompt: String,
    /// JSON Schema (2020-12) that an answer must fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Choices, `[{value, label}]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Value>,
    /// Who should answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<String>,
    /// Asked by the engine about an attempt whose outcome is unknown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settles: bool,
    /// The last answer that was rejected, if it is asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Box<Rejected>>,
}

impl Question {
    /// Returns how many times it has been asked, with this one.
    ///
    /// ```
    /// use stepwell_core::run::wait::Question;
    ///
    /// assert_eq!(Question::default().tries(), 1);
    /// ```
    pub fn tries(&self) -> u32 {
        self.rejected.as_ref().map_or(1, |rejected| rejected.times + 1)
    }
}

/// An answer that fits its form and that the function which asked would not take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// The answer.
    pub answer: Payload,
    /// What is wrong with it, for people.
    pub message: String,
    /// How many answers were rejected, with this one.
    pub times: u32,
}

/// The child run to start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChildStart {
    /// Its id, derived by the core; empty in a command.
    #[serde(default = "no_run")]
    pub run: RunId,
    /// Its definition, in full.
    pub definition: Value,
    /// Its input.
    pub input: Payload,
    /// Its first context.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub context: Map<String, Value>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// The step it begins with; none: the entries of its definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<StepName>,
}

fn no_run() -> RunId {
    RunId::from("")
}

/// What the resolution of a wait does to its execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The function runs again from its start and finds the resolution.
    #[default]
    Rerun,
    /// The execution is completed with it (steps that are nothing but a wait).
    Complete,
}

/// How a wait was resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Resolution {
    /// A person answered.
    Answered {
        /// The answer.
        value: Payload,
        /// Who.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// A signal came.
    Signalled {
        /// Its id.
        id: String,
        /// Its value.
        value: Payload,
    },
    /// The timer fired.
    Fired,
    /// The deadline passed and the default stands in.
    Defaulted {
        /// The default.
        value: Payload,
    },
    /// The deadline passed and there is no default.
    TimedOut,
    /// The child run completed.
    ChildCompleted {
        /// What its parent sees of it.
        output: Payload,
    },
    /// The child run failed or was cancelled.
    ChildFailed {
        /// `CHILD_FAILED` with the cause.
        error: Box<ErrorObject>,
    },
    /// The execution or its run ended first.
    Withdrawn,
}

impl Resolution {
    /// Returns the value that it brought, if it brought one.
    pub(crate) fn value(&self) -> Option<&Value> {
        match self {
            Self::Answered { value, .. } | Self::Signalled { value, .. } | Self::Defaulted { value } => {
                Some(value)
            }
            Self::ChildCompleted { output } => Some(output),
            Self::Fired | Self::TimedOut | Self::ChildFailed { .. } | Self::Withdrawn => None,
        }
    }
}
