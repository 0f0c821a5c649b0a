//! One activation of a step: its attempts, what it was given, what came of it.

use serde::{Deserialize, Serialize};

use crate::error::{Code, ErrorObject};
use crate::ids::{Epoch, Ordinal, StepName, Timestamp, WaitId};
use crate::run::event::{Payload, present};
use crate::run::snapshot::is_default;
use crate::run::token::Lineage;
use crate::status::ExecutionStatus;
use crate::workflow::StepIx;

/// An execution as the fold of its events. Snapshots hold many: their keys are short, and name and ordinal are
/// left out, since the step and the order tell them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and they combine freely")]
pub struct Execution {
    /// The step.
    #[serde(skip, default = "unnamed")]
    pub step: StepName,
    /// Which activation.
    #[serde(skip)]
    pub ordinal: Ordinal,
    /// Status.
    #[serde(rename = "st")]
    pub status: ExecutionStatus,
    /// Attempts begun, over all epochs.
    #[serde(rename = "a", default, skip_serializing_if = "is_default")]
    pub attempts: u32,
    /// What a route gave it.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub payload: Option<Payload>,
    /// What others see of it, if it completed.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub output: Option<Payload>,
    /// What went wrong, if it failed or was skipped because of a failure.
    #[serde(rename = "err", default, skip_serializing_if = "is_default")]
    pub error: Option<Box<ErrorObject>>,
    /// Results of `once`, by name, in order.
    #[serde(rename = "m", default, skip_serializing_if = "is_default")]
    pub memos: Vec<(String, Payload)>,
    /// First start.
    #[serde(rename = "b", default, skip_serializing_if = "is_default")]
    pub started_at: Option<Timestamp>,
    /// End.
    #[serde(rename = "f", default, skip_serializing_if = "is_default")]
    pub finished_at: Option<Timestamp>,
    /// When the next attempt may start, if it is retrying.
    #[serde(rename = "due", default, skip_serializing_if = "is_default")]
    pub due_at: Option<Timestamp>,
    /// Session of the running attempt.
    #[serde(rename = "w", default, skip_serializing_if = "is_default")]
    pub session: u64,
    /// Failed attempts of this epoch.
    #[serde(rename = "fa", default, skip_serializing_if = "is_default")]
    pub failed_attempts: Vec<AttemptNote>,
    #[serde(rename = "s")]
    pub(super) step_ix: StepIx,
    /// Attempts lost with their worker, in this epoch.
    #[serde(rename = "lo", default, skip_serializing_if = "is_default")]
    pub(super) losses: u32,
    #[serde(rename = "e")]
    pub(super) epoch: Epoch,
    /// Whether a token of the run is in it.
    #[serde(rename = "tok", default, skip_serializing_if = "is_default")]
    pub(super) has_token: bool,
    #[serde(rename = "li", default, skip_serializing_if = "is_default")]
    pub(super) lineage: Lineage,
    #[serde(rename = "la", default, skip_serializing_if = "is_default")]
    pub(super) late: Vec<StepIx>,
    #[serde(rename = "ws", default, skip_serializing_if = "is_default")]
    pub(super) waits: Vec<WaitId>,
    #[serde(rename = "ow", default, skip_serializing_if = "is_default")]
    pub(super) open_waits: u32,
    /// A wait was resolved while the function was running: it must run again.
    #[serde(rename = "sta", default, skip_serializing_if = "is_default")]
    pub(super) stale: bool,
    /// The next lease goes on under the same attempt number.
    #[serde(rename = "re", default, skip_serializing_if = "is_default")]
    pub(super) rerun: bool,
    /// The question about an attempt whose outcome is unknown.
    #[serde(rename = "set", default, skip_serializing_if = "is_default")]
    pub(super) settle: Option<WaitId>,
    #[serde(rename = "fo", default, skip_serializing_if = "is_default")]
    pub(super) failure_of: Option<u32>,
    #[serde(rename = "co", default, skip_serializing_if = "is_default")]
    pub(super) compensates: Option<u32>,
    /// Its token went on by a failure route.
    #[serde(rename = "rf", default, skip_serializing_if = "is_default")]
    pub(super) routed_failure: bool,
    #[serde(rename = "ig", default, skip_serializing_if = "is_default")]
    pub(super) input_generation: u32,
    /// Its idempotency key in the run that a checkpoint was taken of.
    #[serde(rename = "k", default, skip_serializing_if = "is_default")]
    pub(super) kept_key: Option<Box<str>>,
    /// What the predicate of its conditional needs said.
    #[serde(rename = "j", default, skip_serializing_if = "is_default")]
    pub(super) judged: Option<bool>,
    #[serde(rename = "ju", default, skip_serializing_if = "is_default")]
    pub(super) judging: bool,
    /// The elements it waits for, once they are known.
    #[serde(rename = "fan", default, skip_serializing_if = "Option::is_none")]
    pub(super) fan: Option<Box<Fan>>,
    /// It stands for a child run that a route names, and is never attempted.
    #[serde(rename = "ch", default, skip_serializing_if = "is_default")]
    pub(super) stands_for_child: bool,
    /// Of which execution it is an element, and its place there.
    #[serde(rename = "el", default, skip_serializing_if = "is_default")]
    pub(super) element: Option<(u32, u32)>,
    #[serde(rename = "r", default, skip_serializing_if = "is_default")]
    pub(super) ready_at: Timestamp,
    #[serde(rename = "ab", default, skip_serializing_if = "is_default")]
    pub(super) attempt_started_at: Timestamp,
}

/// The elements of an execution of a step with `for_each`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Fan {
    /// The list.
    pub(super) items: Payload,
    /// The executions of the first elements, in order of the list.
    pub(super) elements: Vec<u32>,
    /// Place of the next element to begin in this epoch.
    pub(super) next: u32,
    /// Elements under way.
    pub(super) live: u32,
}

impl Fan {
    pub(super) fn of(items: Payload) -> Self {
        Self { items, elements: Vec::new(), next: 0, live: 0 }
    }

    pub(super) fn len(&self) -> u32 {
        self.items.as_array().map_or(0, |items| items.len() as u32)
    }
}

/// A failed attempt, as `data.attempts` of `TASK_RETRY_EXHAUSTED` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptNote {
    /// Which.
    pub attempt: u32,
    /// Code of its error.
    pub code: Code,
    /// Message of its error.
    pub message: String,
    /// Begin.
    pub started_at: Timestamp,
    /// End.
    pub ended_at: Timestamp,
}

/// The name of an execution that is being read, until its step gives it one.
fn unnamed() -> StepName {
    StepName::from("")
}

impl Execution {
    pub(super) fn new(step: StepName, step_ix: StepIx, ordinal: Ordinal, epoch: Epoch) -> Self {
        Self {
            step,
            ordinal,
            // Terminal until `set_status` counts it in.
            status: ExecutionStatus::Skipped,
            attempts: 0,
            payload: None,
            output: None,
            error: None,
            memos: Vec::new(),
            started_at: None,
            finished_at: None,
            due_at: None,
            session: 0,
            failed_attempts: Vec::new(),
            step_ix,
            losses: 0,
            epoch,
            has_token: false,
            lineage: Lineage::default(),
            late: Vec::new(),
            waits: Vec::new(),
            open_waits: 0,
            stale: false,
            rerun: false,
            settle: None,
            failure_of: None,
            compensates: None,
            routed_failure: false,
            input_generation: 0,
            kept_key: None,
            judged: None,
            judging: false,
            fan: None,
            stands_for_child: false,
            element: None,
            ready_at: Timestamp::default(),
            attempt_started_at: Timestamp::default(),
        }
    }

    /// Returns the number of the attempt that the next lease begins, or goes on with.
    pub fn next_attempt(&self) -> u32 {
        if self.rerun { self.attempts.max(1) } else { self.attempts + 1 }
    }

    /// Returns since when its attempt is under way, if one is.
    pub fn attempt_since(&self) -> Option<Timestamp> {
        (self.status == ExecutionStatus::Running && self.session != 0).then_some(self.attempt_started_at)
    }

    /// Returns since when its next attempt may begin, or from when on, if none is under way and nothing else is waited for.
    pub fn ready_since(&self) -> Option<Timestamp> {
        match self.status {
            ExecutionStatus::Pending | ExecutionStatus::Ready => Some(self.ready_at),
            ExecutionStatus::Retrying => self.due_at,
            ExecutionStatus::Blocked
            | ExecutionStatus::Running
            | ExecutionStatus::Waiting
            | ExecutionStatus::Completed
            | ExecutionStatus::Failed
            | ExecutionStatus::TimedOut
            | ExecutionStatus::Cancelled
            | ExecutionStatus::Skipped => None,
        }
    }

    /// Returns the life of the run that it began in, or lives again in.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns the index of its step.
    pub fn step_ix(&self) -> StepIx {
        self.step_ix
    }

    /// Returns where its token stands: one that waits for a child run can go on only by a failure route.
    pub(super) fn place(&self) -> StepIx {
        if self.stands_for_child { self.step_ix.child() } else { self.step_ix }
    }

    /// Returns whether it stands for a child run that a route names: no function is called for it.
    pub fn stands_for_child(&self) -> bool {
        self.stands_for_child
    }

    /// Returns whether someone must decide about an attempt whose outcome is unknown.
    pub fn asks_to_settle(&self) -> Option<&WaitId> {
        self.settle.as_ref()
    }
}
