//! One activation of a step: its attempts, what it was given, what came of it.

use crate::error::{Code, ErrorObject};
use crate::ids::{Epoch, Ordinal, StepName, Timestamp, WaitId};
use crate::run::event::Payload;
use crate::run::token::Lineage;
use crate::status::ExecutionStatus;
use crate::workflow::StepIx;

/// An execution as the fold of its events.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and they combine freely")]
pub struct Execution {
    /// The step.
    pub step: StepName,
    /// Which activation.
    pub ordinal: Ordinal,
    /// Status.
    pub status: ExecutionStatus,
    /// Attempts begun, over all epochs.
    pub attempts: u32,
    /// What a route gave it.
    pub payload: Option<Payload>,
    /// What others see of it, if it completed.
    pub output: Option<Payload>,
    /// What went wrong, if it failed or was skipped because of a failure.
    pub error: Option<Box<ErrorObject>>,
    /// Results of `once`, by name, in order.
    pub memos: Vec<(String, Payload)>,
    /// First start.
    pub started_at: Option<Timestamp>,
    /// End.
    pub finished_at: Option<Timestamp>,
    /// When the next attempt may start, if it is retrying.
    pub due_at: Option<Timestamp>,
    /// Session of the running attempt.
    pub session: u64,
    /// Failed attempts of this epoch.
    pub failed_attempts: Vec<AttemptNote>,
    pub(super) step_ix: StepIx,
    /// Attempts lost with their worker, in this epoch.
    pub(super) losses: u32,
    pub(super) epoch: Epoch,
    /// Whether a token of the run is in it.
    pub(super) has_token: bool,
    pub(super) lineage: Lineage,
    pub(super) late: Vec<StepIx>,
    pub(super) waits: Vec<WaitId>,
    pub(super) open_waits: u32,
    /// A wait was resolved while the function was running: it must run again.
    pub(super) stale: bool,
    /// The next lease goes on under the same attempt number.
    pub(super) rerun: bool,
    /// The question about an attempt whose outcome is unknown.
    pub(super) settle: Option<WaitId>,
    pub(super) failure_of: Option<u32>,
    pub(super) compensates: Option<u32>,
    /// Its token went on by a failure route.
    pub(super) routed_failure: bool,
    pub(super) input_generation: u32,
    /// What the predicate of its conditional needs said.
    pub(super) judged: Option<bool>,
    pub(super) judging: bool,
    pub(super) ready_at: Timestamp,
    pub(super) attempt_started_at: Timestamp,
}

/// A failed attempt, as `data.attempts` of `TASK_RETRY_EXHAUSTED` shows it.
#[derive(Clone, Debug, PartialEq)]
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
            judged: None,
            judging: false,
            ready_at: Timestamp::default(),
            attempt_started_at: Timestamp::default(),
        }
    }

    /// Returns the number of the attempt that the next lease begins, or goes on with.
    pub fn next_attempt(&self) -> u32 {
        if self.rerun { self.attempts.max(1) } else { self.attempts + 1 }
    }

    /// Returns the index of its step.
    pub fn step_ix(&self) -> StepIx {
        self.step_ix
    }

    /// Returns whether someone must decide about an attempt whose outcome is unknown.
    pub fn asks_to_settle(&self) -> Option<&WaitId> {
        self.settle.as_ref()
    }
}
