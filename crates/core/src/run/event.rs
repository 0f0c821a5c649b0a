//! What can be true of a run: facts in the past tense, appended to its journal and never changed.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::context::{Write, value_bytes};
use crate::error::ErrorObject;
use crate::ids::{Epoch, ExecutionRef, Ordinal, RunId, StepName, Timestamp, WaitId};
use crate::run::checkpoint::Checkpoint;
use crate::run::wait::{Resolution, WaitSpec};
use crate::status::PauseReason;
use crate::workflow::definition::Step;

/// A JSON value that is shared, not copied, on its way through the engine.
pub type Payload = Arc<Value>;

/// Reads a value that is there: JSON's `null` is a payload of its own, and none is a key that is missing.
pub(crate) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Payload>, D::Error> {
    Payload::deserialize(from).map(Some)
}

/// A fact in a run's journal. In JSON: `{"type": "StepCompleted", "step": …, "execution": …, …}`.
///
/// A run has thousands of them, which are moved some times each: what is large and rare is boxed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// The run exists. First event of every journal.
    RunCreated(Box<RunCreated>),
    /// It stands where another run stood. Second event of the journal of a run that was made of a checkpoint.
    RunRestored {
        /// How the other run stood.
        checkpoint: Arc<Checkpoint>,
    },
    /// Its entries have tokens.
    RunStarted {
        /// When the run fails with `WORKFLOW_TIMEOUT`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
    },
    /// The run's own definition has further steps from here on.
    StepsDefined {
        /// What was added.
        steps: Vec<Step>,
    },
    /// An execution exists.
    StepActivated {
        /// The step.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// What brought it about.
        by: Activation,
        /// Its needs are not met yet.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        blocked: bool,
    },
    /// The needs of a blocked execution are met.
    StepUnblocked {
        /// The step.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
    },
    /// The elements of an execution of a step with `for_each` are known; from here on it waits for them.
    StepFannedOut {
        /// The step.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// A list; none: the one of an earlier epoch.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
        items: Option<Payload>,
    },
    /// A worker took the work item; written by the store with the lease, or with the commit that handed it over.
    AttemptStarted(AttemptStarted),
    /// The outcome of an execution, its context writes and its route.
    StepCompleted {
        /// The step.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// Which attempt brought it; 0 if it was settled by hand or resolved by a wait.
        attempt: u32,
        /// What others see of it.
        output: Payload,
        /// Changes to the context.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        writes: Vec<Write>,
        /// Where its token goes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        to: Vec<Target>,
    },
    /// An attempt ended with an error.
    AttemptFailed {
        /// The step.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// Which attempt.
        attempt: u32,
        /// What went wrong.
        error: Box<ErrorObject>,
        /// It ran out of time.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        timed_out: bool,
        /// When the next attempt may start; none: it was the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
    },
    /// An attempt vanished with its worker. It counts as no failure.
    AttemptLost {
        /// The step.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// Which attempt.
        attempt: u32,
        /// The worker was shut down and gave it back; it does not count as a loss either.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        given_back: bool,
    },
    /// An attempt let go because it waits; the function runs again when its waits allow.
    AttemptSuspended {
        /// The step.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// Which attempt; the re-run keeps the number.
        attempt: u32,
    },
    /// A result of `once`, kept over retries and restarts.
    MemoRecorded {
        /// The step.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// Name given by the function.
        name: String,
        /// What the function returned.
        value: Payload,
    },
    /// An execution ended with an error after its last attempt.
    StepFailed {
        /// The step.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// The last attempt ran out of time.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        timed_out: bool,
        /// What went wrong, over all attempts.
        error: Box<ErrorObject>,
        /// Its compensation runs first; `FailureHandled` follows.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        compensating: bool,
        /// Where a `route:` policy sends its token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<StepName>,
    },
    /// The compensation of a failed execution has ended; its policy takes effect.
    FailureHandled {
        /// The step.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// Where a `route:` policy sends its token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<StepName>,
    },
    /// The time of the next attempt has come (only for runs with `max_concurrent`, where it must queue).
    RetryDue {
        /// The step.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
    },
    /// An execution was never attempted, or a step will not be activated in this epoch.
    StepSkipped {
        /// The step.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// Why.
        reason: SkipReason,
        /// The failure behind it, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Box<ErrorObject>>,
    },
    /// An execution ended by request or by the end of its run.
    StepCancelled {
        /// The step.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
    },
    /// A question is open.
    WaitOpened {
        /// Its id.
        wait: WaitId,
        /// The step that asked.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// What is asked.
        spec: Box<WaitSpec>,
    },
    /// A question is closed, once and for all.
    WaitResolved {
        /// Its id.
        wait: WaitId,
        /// The step that asked.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// How.
        resolution: Resolution,
    },
    /// A child run that is waited for is paused for input.
    ChildPaused {
        /// The wait for it.
        wait: WaitId,
        /// The step that waits.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// The child's count of turns; older news of it is not taken.
        turn: u32,
    },
    /// A child run that was paused for input goes on.
    ChildResumed {
        /// The wait for it.
        wait: WaitId,
        /// The step that waits.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// The child's count of turns; older news of it is not taken.
        turn: u32,
    },
    /// A signal came in and waits in its queue.
    SignalReceived {
        /// Name of the queue.
        name: String,
        /// Id given by the sender; the same id is taken once.
        id: String,
        /// What was sent.
        value: Payload,
    },
    /// The time of a `timeout` need has passed.
    NeedTimedOut {
        /// The dependent.
        step: StepName,
        /// The step it need not wait for any longer.
        need: StepName,
    },
    /// All other needs of a blocked execution are met: its predicate is to be run.
    NeedAsked {
        /// The dependent.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
    },
    /// The predicate of a `conditional` need has spoken.
    NeedJudged {
        /// The dependent.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// What it said.
        holds: bool,
    },
    /// Two executions wrote one key; the later one won.
    Conflict {
        /// The key.
        key: String,
        /// Whose write stands.
        winner: ExecutionRef,
        /// Whose write was overwritten.
        loser: ExecutionRef,
    },
    /// A token came too late for a `join: any`.
    TokenAbsorbed {
        /// Where it arrived.
        step: StepName,
        /// Which token.
        token: u32,
    },
    /// Nothing starts until it is resumed (`operator`), or nothing can move until someone answers (`input`).
    RunPaused {
        /// Why.
        reason: PauseReason,
        /// What the caller said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// It goes on.
    RunResumed {
        /// Which pause ended.
        reason: PauseReason,
        /// What the caller said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// It has another time limit.
    TimeLimited {
        /// How long it may take from here on.
        timeout_ms: u64,
        /// When it runs out of time.
        deadline: Timestamp,
    },
    /// A new epoch of a run that failed, or that completed although something in it failed.
    RunRetried {
        /// The epoch that begins.
        epoch: Epoch,
        /// Replaces the input of executions that take it.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
        input: Option<Payload>,
        /// When the epoch runs out of time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
        /// What the caller said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// It ended well.
    RunCompleted {
        /// Result of its last step, if there is exactly one.
        output: Payload,
    },
    /// It ended with an error.
    RunFailed {
        /// What ended it.
        error: Box<ErrorObject>,
    },
    /// It ended by request.
    RunCancelled {
        /// What the caller said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A checkpoint is taken here: how the run stands with this event.
    CheckpointTaken,
    /// A log line, progress or message of an attempt; lazy, without effect on the run.
    Emitted {
        /// The step.
        step: StepName,
        /// Which activation.
        execution: Ordinal,
        /// Which attempt.
        attempt: u32,
        /// `log`, `progress` or `message`.
        kind: String,
        /// What was said.
        data: Payload,
    },
}

/// What a run begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunCreated {
    /// Workflow name.
    pub workflow: String,
    /// Workflow version.
    pub version: String,
    /// What the caller gave.
    pub input: Payload,
    /// First context.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub context: Map<String, Value>,
    /// Tags; fixed from here on.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// The run that waits for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Directory that relative paths of the run start at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_dir: Option<String>,
    /// The step it begins with; none: the entries of its definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<StepName>,
}

/// An attempt began under a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptStarted {
    /// The step.
    pub step: StepName,
    /// Which activation.
    pub execution: Ordinal,
    /// Which attempt: 1, 2, 3 …
    pub attempt: u32,
    /// The session that leased it.
    pub session: u64,
}

/// What brought an execution about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// The start of the run.
    Entry,
    /// Its needs are met; its token descends from that execution.
    Needs(Option<ExecutionRef>),
    /// All tokens held at the step, united.
    Held,
    /// That one token.
    Token(u32),
    /// The failure of that execution (a compensation step); it has no token of its own.
    Compensation(ExecutionRef),
    /// An element of that execution of the step with `for_each`; it has no token of its own.
    Element {
        /// The execution that waits for it.
        of: Ordinal,
        /// Place in the list, from 0.
        index: u32,
    },
    /// A target of that execution's route that another workflow carries out: this execution waits for the child run.
    Child {
        /// The execution of the same step whose route it is.
        of: Ordinal,
    },
}

/// One target of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Where the token goes.
    pub step: StepName,
    /// Gives the target an execution of its own.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub payload: Option<Payload>,
    /// The workflow that the step is of, if it is of another: a child run of it begins there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
}

impl Target {
    /// Returns a plain target.
    pub fn to(step: &str) -> Self {
        Self { step: step.into(), payload: None, workflow: None }
    }

    /// Returns a target with its own execution.
    pub fn with_payload(step: &str, payload: impl Into<Value>) -> Self {
        Self { payload: Some(Arc::new(payload.into())), ..Self::to(step) }
    }
}

/// The run that waits for a child run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The waiting run.
    pub run: RunId,
    /// Its wait.
    pub wait: WaitId,
    /// How many ancestors the child has.
    pub depth: u32,
}

/// Why an execution was never attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// A step it needs failed, or was skipped because of a failure.
    UpstreamFailed,
    /// A step it needs was skipped without a failure.
    NeedSkipped,
    /// Nothing can activate what it needs any more.
    NeedsUnmet,
    /// Its `when` does not hold.
    Condition,
    /// The predicate of a `conditional` need said no.
    ConditionFalse,
}

impl Event {
    /// Returns about how many bytes the values take that it holds.
    pub(crate) fn value_bytes(&self) -> usize {
        match self {
            Self::RunCreated(created) => value_bytes(&created.input),
            Self::RunRestored { checkpoint } => checkpoint.value_bytes(),
            Self::StepCompleted { output, writes, to, .. } => {
                let payloads = to.iter().filter_map(|target| target.payload.as_deref());
                value_bytes(output)
                    + writes.iter().map(Write::value_bytes).sum::<usize>()
                    + payloads.map(value_bytes).sum::<usize>()
            }
            Self::StepFannedOut { items, .. } => items.as_deref().map_or(0, value_bytes),
            Self::MemoRecorded { value, .. } | Self::SignalReceived { value, .. } => value_bytes(value),
            Self::Emitted { data, .. } => value_bytes(data),
            Self::WaitResolved { resolution, .. } => resolution.value().map_or(0, value_bytes),
            _ => 0,
        }
    }

    /// Returns the name of the variant, as in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RunCreated(_) => "RunCreated",
            Self::RunRestored { .. } => "RunRestored",
            Self::RunStarted { .. } => "RunStarted",
            Self::StepsDefined { .. } => "StepsDefined",
            Self::StepActivated { .. } => "StepActivated",
            Self::StepUnblocked { .. } => "StepUnblocked",
            Self::StepFannedOut { .. } => "StepFannedOut",
            Self::AttemptStarted(_) => "AttemptStarted",
            Self::StepCompleted { .. } => "StepCompleted",
            Self::AttemptFailed { .. } => "AttemptFailed",
            Self::AttemptLost { .. } => "AttemptLost",
            Self::AttemptSuspended { .. } => "AttemptSuspended",
            Self::MemoRecorded { .. } => "MemoRecorded",
            Self::StepFailed { .. } => "StepFailed",
            Self::FailureHandled { .. } => "FailureHandled",
            Self::RetryDue { .. } => "RetryDue",
            Self::StepSkipped { .. } => "StepSkipped",
            Self::StepCancelled { .. } => "StepCancelled",
            Self::WaitOpened { .. } => "WaitOpened",
            Self::WaitResolved { .. } => "WaitResolved",
            Self::ChildPaused { .. } => "ChildPaused",
            Self::ChildResumed { .. } => "ChildResumed",
            Self::SignalReceived { .. } => "SignalReceived",
            Self::NeedTimedOut { .. } => "NeedTimedOut",
            Self::NeedAsked { .. } => "NeedAsked",
            Self::NeedJudged { .. } => "NeedJudged",
            Self::Conflict { .. } => "Conflict",
            Self::TokenAbsorbed { .. } => "TokenAbsorbed",
            Self::RunPaused { .. } => "RunPaused",
            Self::RunResumed { .. } => "RunResumed",
            Self::TimeLimited { .. } => "TimeLimited",
            Self::RunRetried { .. } => "RunRetried",
            Self::RunCompleted { .. } => "RunCompleted",
            Self::RunFailed { .. } => "RunFailed",
            Self::RunCancelled { .. } => "RunCancelled",
            Self::CheckpointTaken => "CheckpointTaken",
            Self::Emitted { .. } => "Emitted",
        }
    }

    /// True for `RunCompleted`, `RunFailed` and `RunCancelled`.
    pub fn ends_run(&self) -> bool {
        matches!(self, Self::RunCompleted { .. } | Self::RunFailed { .. } | Self::RunCancelled { .. })
    }
}
