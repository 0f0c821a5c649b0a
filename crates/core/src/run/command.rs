//! What may be asked of a run, in the imperative. Ids, time and randomness come in with the command.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::context::Change;
use crate::error::ErrorObject;
use crate::ids::{CommandId, Ordinal, RunId, StepName, Timestamp, WaitId};
use crate::run::checkpoint::Checkpoint;
use crate::run::event::{Parent, Payload, Target};
use crate::run::wait::{ChildStart, WaitSpec};
use crate::workflow::Workflow;
use crate::workflow::definition::Step;

/// A command with its id and its moment.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Unique per run: submitting it again returns the first outcome.
    pub id: CommandId,
    /// When it is decided.
    pub at: Timestamp,
    /// What is asked.
    pub command: Command,
}

/// A request to a run.
#[derive(Clone, Debug)]
pub enum Command {
    /// Makes the run exist.
    Create(Box<Create>),
    /// Starts a run that was created held.
    Start,
    /// An attempt ended well.
    Complete(Complete),
    /// An attempt ended with an error.
    Fail(Fail),
    /// An attempt waits for something.
    Suspend(Suspend),
    /// A result of `once`.
    Record {
        /// The attempt.
        attempt: AttemptRef,
        /// Name given by the function.
        name: String,
        /// What the function returned.
        value: Payload,
    },
    /// The worker of an attempt is gone, or lets it go because it is being shut down.
    Lose {
        /// The attempt.
        attempt: AttemptRef,
        /// Its worker gave it back: no sign that the step kills its workers.
        given_back: bool,
    },
    /// The predicate of a conditional need has been run.
    Judge {
        /// The attempt that ran it.
        attempt: AttemptRef,
        /// What it said.
        holds: bool,
    },
    /// A person answers a question.
    Answer {
        /// Which.
        wait: WaitId,
        /// The answer, already checked against its schema.
        value: Payload,
        /// Who.
        by: Option<String>,
    },
    /// Something happened outside.
    Signal {
        /// Name of the queue.
        name: String,
        /// Sender's id; the same id is taken once.
        id: String,
        /// What is sent.
        value: Payload,
    },
    /// A timer of the store is due.
    FireTimer {
        /// Which.
        timer: TimerKey,
    },
    /// A child run has ended.
    EndChild {
        /// The wait for it.
        wait: WaitId,
        /// What became of it.
        outcome: Result<Payload, ErrorObject>,
    },
    /// A child run was paused for input, or goes on. Older news than what is known changes nothing, so it may come
    /// late, twice and out of order.
    NoteChild {
        /// The wait for it.
        wait: WaitId,
        /// The child's count of turns.
        turn: u32,
        /// Which of the two.
        paused: bool,
    },
    /// No attempt starts from now on.
    Pause {
        /// What the caller says.
        reason: Option<String>,
    },
    /// Lifts the pause, and answers a question with it.
    Resume {
        /// What the caller says.
        reason: Option<String>,
        /// The answer, if one is given with it: both or none.
        answer: Option<Answer>,
    },
    /// Gives the run another time limit, from now on.
    LimitTime {
        /// How long it may take still.
        timeout_ms: u64,
    },
    /// Ends the run.
    Cancel {
        /// What the caller says.
        reason: Option<String>,
    },
    /// Ends the live executions of one step.
    CancelStep {
        /// Which.
        step: StepName,
    },
    /// Opens the next epoch of a failed run.
    Retry {
        /// Replaces the input.
        input: Option<Payload>,
        /// What the caller says.
        reason: Option<String>,
    },
    /// Adds steps to the run's definition. Those that it has already, the same in everything, are left as they are.
    Define {
        /// What is added.
        steps: Vec<Step>,
    },
    /// Decides by hand about a stuck execution.
    Settle {
        /// Which step.
        step: StepName,
        /// Which activation; none: the stuck one, if there is exactly one.
        ordinal: Option<Ordinal>,
        /// What to do.
        verb: SettleVerb,
        /// The result, for `complete`; the reason, for `fail`.
        value: Option<Payload>,
    },
}

/// What a person answers, to which question.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Which.
    pub wait: WaitId,
    /// The answer, already checked against its schema.
    pub value: Payload,
    /// Who.
    pub by: Option<String>,
}

impl Command {
    /// Returns the name of the variant.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Create(_) => "Create",
            Self::Start => "Start",
            Self::Complete(_) => "Complete",
            Self::Fail(_) => "Fail",
            Self::Suspend(_) => "Suspend",
            Self::Record { .. } => "Record",
            Self::Lose { .. } => "Lose",
            Self::Judge { .. } => "Judge",
            Self::Answer { .. } => "Answer",
            Self::Signal { .. } => "Signal",
            Self::FireTimer { .. } => "FireTimer",
            Self::EndChild { .. } => "EndChild",
            Self::NoteChild { .. } => "NoteChild",
            Self::Pause { .. } => "Pause",
            Self::Resume { .. } => "Resume",
            Self::LimitTime { .. } => "LimitTime",
            Self::Cancel { .. } => "Cancel",
            Self::CancelStep { .. } => "CancelStep",
            Self::Retry { .. } => "Retry",
            Self::Define { .. } => "Define",
            Self::Settle { .. } => "Settle",
        }
    }
}

/// What a new run is given.
#[derive(Clone, Debug)]
pub struct Create {
    /// Its id.
    pub run: RunId,
    /// Its definition.
    pub workflow: Arc<Workflow>,
    /// Its input.
    pub input: Payload,
    /// Its first context.
    pub context: Map<String, Value>,
    /// Tags, over those of the definition.
    pub metadata: Map<String, Value>,
    /// The run that waits for it.
    pub parent: Option<Parent>,
    /// Directory that relative paths start at.
    pub base_dir: Option<String>,
    /// The step it begins with; none: the entries of its definition.
    pub entry: Option<StepName>,
    /// Stays `pending` until `Start`.
    pub hold: bool,
    /// Where it goes on from; it is paused until `Resume` then, and takes its context and input from there.
    pub restore: Option<Restore>,
}

/// Where a new run goes on from.
#[derive(Clone, Debug)]
pub struct Restore {
    /// How another run stood.
    pub checkpoint: Arc<Checkpoint>,
    /// The definition may be another, as long as steps with something live are in it.
    pub allow_changes: bool,
}

impl Create {
    /// Returns a run of that workflow with null input and nothing else.
    pub fn new(run: RunId, workflow: Arc<Workflow>) -> Self {
        Self {
            run,
            workflow,
            input: Arc::new(Value::Null),
            context: Map::new(),
            metadata: Map::new(),
            parent: None,
            base_dir: None,
            entry: None,
            hold: false,
            restore: None,
        }
    }

    /// Returns a run of that workflow that goes on from a checkpoint.
    pub fn restored(run: RunId, workflow: Arc<Workflow>, checkpoint: Arc<Checkpoint>) -> Self {
        let restore = Some(Restore { checkpoint, allow_changes: false });
        Self { restore, ..Self::new(run, workflow) }
    }
}

/// An attempt, as its worker names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AttemptRef {
    /// The step.
    pub step: StepName,
    /// Which activation.
    pub ordinal: Ordinal,
    /// Which attempt: 1, 2, 3 …
    pub attempt: u32,
    /// The session that holds the lease.
    pub session: u64,
}

/// The outcome of an attempt that ended well.
#[derive(Clone, Debug)]
pub struct Complete {
    /// The attempt.
    pub attempt: AttemptRef,
    /// What others see of it.
    pub output: Payload,
    /// Changes to the context, against the snapshot it saw.
    pub writes: Vec<Change>,
    /// Context version it saw ([`Run::context_version`](crate::run::Run::context_version)).
    pub snapshot: u64,
    /// Where it leads.
    pub to: Vec<Target>,
    /// Branches of its route that other workflows carry out, each as a child run. They find the context as this attempt
    /// leaves it, under what is given here.
    pub children: Vec<ChildStart>,
    /// Steps that it adds to the run's definition, for this route and what comes after.
    pub defines: Vec<Step>,
}

/// The outcome of an attempt that ended with an error.
#[derive(Clone, Debug)]
pub struct Fail {
    /// The attempt.
    pub attempt: AttemptRef,
    /// What went wrong; `retryable` decides whether another attempt is made.
    pub error: ErrorObject,
    /// It ran out of time.
    pub timed_out: bool,
    /// Random number in [0, 1) for the jitter of the delay.
    pub jitter: f64,
    /// What the failed party asked for.
    pub retry_after_ms: Option<u64>,
}

/// An attempt that let go because it waits.
#[derive(Clone, Debug)]
pub struct Suspend {
    /// The attempt.
    pub attempt: AttemptRef,
    /// Questions that are not open yet.
    pub waits: Vec<WaitSpec>,
}

/// What a person decides about an attempt whose outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettleVerb {
    /// Make another attempt.
    Retry,
    /// Take this result.
    Complete,
    /// Take it as failed.
    Fail,
}

/// A timer of the store, by what it is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerKey {
    /// The time limit of the run.
    Run,
    /// The deadline of a wait.
    Wait(WaitId),
    /// The time of a `timeout` need: dependent, needed step.
    Need(StepName, StepName),
    /// The time of the next attempt, where it must queue for a place.
    Retry(StepName, Ordinal),
    /// The next checkpoint.
    Checkpoint,
}
