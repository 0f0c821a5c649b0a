//! Checkpoints: a run as it stood at one place of its journal, as plain data that people can read and files can keep.
//!
//! ```text
//! journal ──fold──▶ Run ──take──▶ Checkpoint ──JSON──▶ Checkpoint ──restore──▶ another Run
//! ```
//!
//! A checkpoint is a projection: durability never depends on one. It names steps and executions and holds no index, so
//! that a definition can take it over that is not the one it was taken of. `take.rs` makes one of a run, `read.rs` reads
//! what others may have written, `apply/restore.rs` makes a run of it, and `decide/restore.rs` says which definition may.

mod read;
mod take;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::event::{Payload, present};
use super::snapshot::is_default;
use super::wait::{ChildStart, Question, Then};
use crate::context::value_bytes;
use crate::error::{Code, ErrorObject};
use crate::ids::{Epoch, Ordinal, RunId, Seq, StepName, Timestamp, WaitId};
use crate::policy::resources::Resources;
use crate::status::{AgentStatus, ExecutionStatus, PauseReason, StateStatus};
use crate::workflow::definition::Priority;

/// A run as it stood at one place of its journal. The members are the keys of its JSON.
///
/// ```
/// use std::sync::Arc;
/// use stepwell_core::ids::{RunId, Seq, Timestamp};
/// use stepwell_core::run::Run;
/// use stepwell_core::run::checkpoint::Checkpoint;
/// use stepwell_core::run::command::{Command, Create};
/// use stepwell_core::status::PauseReason;
/// use stepwell_core::workflow::Workflow;
/// use stepwell_core::workflow::definition::{Definition, Step};
///
/// let workflow = Workflow::new(Definition::new("essay", vec![Step::function("draft")])).unwrap();
/// let mut run = Run::blank(RunId::from("run_1"), workflow.clone());
/// let create = Create::new(run.id().clone(), workflow.clone());
/// run.handle(&Command::Create(Box::new(create)), Timestamp(5_000_000)).unwrap();
///
/// let text = run.checkpoint(Seq(3)).to_json();
/// let checkpoint = Checkpoint::from_json(&text).unwrap();
/// assert_eq!(checkpoint.agent_name, "essay");
/// assert_eq!(checkpoint.timestamp.0, Timestamp(5_000_000));
///
/// let mut again = Run::blank(RunId::from("run_2"), workflow.clone());
/// let create = Create::restored(again.id().clone(), workflow, Arc::new(checkpoint));
/// again.handle(&Command::Create(Box::new(create)), Timestamp(9_000_000)).unwrap();
/// assert_eq!(again.pause_reason(), Some(PauseReason::Operator));
/// assert_eq!(again.metadata()["restored_from"], "run_1");
///
/// let cut_off = Checkpoint::from_json(&text[..90]).unwrap_err();
/// assert_eq!(cut_off.code.name(), "CHECKPOINT_INVALID");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Checkpoint {
    /// [`Checkpoint::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The run that it was taken of.
    pub run_id: RunId,
    /// The last event that it knows of.
    pub seq: Seq,
    /// The life of the run.
    pub epoch: Epoch,
    /// When that event happened.
    pub timestamp: Seconds,
    /// The workflow.
    pub agent_name: String,
    /// How the run stood.
    pub agent_status: AgentStatus,
    /// Why it was paused, if it was.
    pub pause_reason: Option<PauseReason>,
    /// The definition that it had, with the steps that it had added.
    pub definition: Value,
    /// The version of that.
    pub definition_hash: String,
    /// Steps that had completed at least once.
    pub completed_states: Vec<StepName>,
    /// Steps of which an attempt was under way.
    pub running_states: Vec<StepName>,
    /// Executions that waited for a place or a worker, in the order in which they would have been taken.
    pub priority_queue: Vec<Queued>,
    /// Each step by its name.
    pub state_metadata: BTreeMap<StepName, StateMetadata>,
    /// The context. A value that knows its type is here as its fields.
    pub shared_state: Map<String, Value>,
    /// The types of values that know theirs, by key.
    pub types: BTreeMap<String, String>,
    /// All executions, in the order of their activation.
    pub executions: Vec<KeptExecution>,
    /// Positions: those held at a step, in the order of arrival, and those in an execution.
    pub tokens: Vec<KeptToken>,
    /// Open waits, in the order in which they were opened.
    pub waits: Vec<KeptWait>,
    /// Other times that were to pass: the limit of the run, and `timeout` needs.
    pub timers: Vec<KeptTimer>,
    /// Executions that had failed for good.
    pub failures: Vec<Failure>,
    /// When it last began, was resumed or retried.
    pub session_start: Option<Seconds>,
    /// Tags.
    pub metadata: Map<String, Value>,
    /// The input. From here on: what is there only for the run that is made of it.
    pub input: Payload,
    /// The step that it was told to begin with.
    pub entry: Option<StepName>,
    /// Steps that it had added to its definition.
    pub added_states: Vec<StepName>,
    /// How many events it had taken in, those before other checkpoints included.
    pub tick: u64,
    /// When it had begun.
    pub started_at: Option<Seconds>,
    /// Routed executions in this epoch.
    pub routed: u32,
    /// Signals that nobody had waited for yet.
    pub signals: Vec<KeptSignal>,
    /// The failure that would fail the run at its end.
    pub failed_by: Option<Place>,
    /// The failure that was being compensated before it would end the run.
    pub undoing: Option<Place>,
}

impl Checkpoint {
    /// The version of checkpoints that this build writes, and the newest that it reads.
    pub const SCHEMA_VERSION: u32 = 1;

    /// Returns it as JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a checkpoint holds nothing that JSON cannot hold")
    }

    /// Reads JSON text.
    ///
    /// # Errors
    /// `CHECKPOINT_INVALID` naming the member that is missing, of another type or of a newer version; or the text is no
    /// JSON at all.
    pub fn from_json(text: &str) -> Result<Self, ErrorObject> {
        let value = serde_json::from_str(text).map_err(|error| {
            let what =
                if text.trim().is_empty() { "it is empty".into() } else { format!("it is no JSON: {error}") };
            invalid(what)
        })?;
        read::of_value(value)
    }

    /// Returns about how many bytes its values take.
    pub(super) fn value_bytes(&self) -> usize {
        let executions = self.executions.iter().flat_map(|one| {
            let memos = one.memo.iter().filter_map(|memo| memo.value.as_deref());
            [&one.payload, &one.output, &one.items].into_iter().filter_map(Option::as_deref).chain(memos)
        });
        let values = executions.chain(self.shared_state.values()).chain([&self.definition, &*self.input]);
        values.map(value_bytes).sum()
    }
}

/// Returns the error of something that is no checkpoint.
pub(in crate::run) fn invalid(what: impl std::fmt::Display) -> ErrorObject {
    ErrorObject::new(Code::CHECKPOINT_INVALID, format!("this is no checkpoint that can be restored: {what}"))
        .with_hint("take another one; the run itself is in its store and can be resumed there")
}

/// A moment; in JSON: seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Timestamp);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0.0 as f64 / 1e6)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(from)?;
        // Later than every clock: the end of time, as a sum of times has it.
        Ok(Self(Timestamp((seconds * 1e6).round() as i64)))
    }
}

/// An execution by its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The step.
    pub step: StepName,
    /// Which activation of it.
    pub ordinal: Ordinal,
}

/// An execution that waited for a place or a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// The step.
    pub step: StepName,
    /// Which activation.
    pub ordinal: Ordinal,
    /// Its order among others.
    pub priority: Priority,
    /// `pending` or `ready`.
    pub status: ExecutionStatus,
}

/// What is known of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateMetadata {
    /// Its name.
    pub state_id: StepName,
    /// How its latest execution stands, in the words of agents.
    pub status: StateStatus,
    /// The same in the words of runs; none: it was never activated.
    pub detail: Option<ExecutionStatus>,
    /// Attempts that its latest execution has begun.
    pub attempts: u32,
    /// Further attempts after a failed one.
    pub max_retries: u32,
    /// What an attempt books.
    pub resources: Resources,
    /// The steps that it needs.
    pub dependencies: Vec<StepName>,
    /// Those of them that have completed.
    pub satisfied_dependencies: Vec<StepName>,
    /// When it last began.
    pub last_execution: Option<Seconds>,
    /// When it last completed.
    pub last_success: Option<Seconds>,
    /// How often it completed.
    pub completions: u32,
    /// The `tick` of the run when it last completed, for needs that are met always anew.
    #[serde(default, skip_serializing_if = "is_default")]
    pub completed_tick: u64,
    /// The same of its last start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub started_tick: u64,
    /// It is activated by its needs and waits for them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub awaits_needs: bool,
    /// Needs of kind `timeout` whose time has passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timed_out_needs: Vec<StepName>,
}

/// An execution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and they combine freely")]
pub struct KeptExecution {
    /// The step.
    pub step: StepName,
    /// Which activation.
    pub ordinal: Ordinal,
    /// Status.
    pub status: ExecutionStatus,
    /// Attempts begun, over all epochs.
    pub attempt: u32,
    /// What a route gave it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub payload: Option<Payload>,
    /// When its next attempt may start, if it is retrying.
    pub due: Option<Seconds>,
    /// The key under which its effects are made only once.
    pub idempotency_key: String,
    /// What it was told and has done once: never asked and never done again.
    pub memo: Vec<Memo>,
    /// The life of the run that it began in, or lives again in.
    pub epoch: Epoch,
    /// What others see of it, if it completed.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub output: Option<Payload>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "is_default")]
    pub error: Option<Box<ErrorObject>>,
    /// First start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub started_at: Option<Seconds>,
    /// End.
    #[serde(default, skip_serializing_if = "is_default")]
    pub finished_at: Option<Seconds>,
    /// When it was last in line for a worker.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ready_at: Option<Seconds>,
    /// Failed attempts of this epoch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failed_attempts: Vec<FailedAttempt>,
    /// Attempts lost with their worker, in this epoch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub losses: u32,
    /// Its next start goes on under the same attempt number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rerun: bool,
    /// The predicate of its conditional needs is being asked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub judging: bool,
    /// What that predicate said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub judged: Option<bool>,
    /// The failure that brought its token.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failure_of: Option<Place>,
    /// The failure that it compensates.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compensates: Option<Place>,
    /// Its token went on by a failure route.
    #[serde(default, skip_serializing_if = "is_default")]
    pub routed_failure: bool,
    /// It stands for a child run that a route named.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stands_for_child: bool,
    /// The child run that it stood for, in case it lives again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<Box<ChildStart>>,
    /// The list that it is carried out for, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Payload>,
    /// Place in the list of the next element to begin.
    #[serde(default, skip_serializing_if = "is_default")]
    pub next_item: u32,
    /// Of which execution it is an element.
    #[serde(default, skip_serializing_if = "is_default")]
    pub element: Option<KeptElement>,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// Which.
    pub attempt: u32,
    /// Code of its error.
    pub code: Code,
    /// Message of its error.
    pub message: String,
    /// Begin.
    pub started_at: Seconds,
    /// End.
    pub ended_at: Seconds,
}

/// Where an execution stands among the elements of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptElement {
    /// The execution that waits for it.
    pub of: Ordinal,
    /// Place in the list, from 0.
    pub index: u32,
}

/// What an execution keeps over all its attempts: a result of `once`, or a wait that was resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memo {
    /// The name that the function gave it, if it gave one.
    pub name: Option<String>,
    /// What it brought, if it brought a value.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub value: Option<Payload>,
    /// Of what kind it is.
    #[serde(flatten)]
    pub kind: MemoKind,
}

/// A result of `once`, or a wait that was resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MemoKind {
    /// A result of `once`.
    Once,
    /// A question to a person.
    Human(ResolvedWait),
    /// A signal.
    Signal(ResolvedWait),
    /// A time to pass.
    Timer(ResolvedWait),
    /// A child run.
    Child(ResolvedWait),
}

/// A wait that was resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResolvedWait {
    /// Its id, which it keeps.
    pub wait_id: WaitId,
    /// Position among the waits of its execution.
    pub position: u32,
    /// The life of the run in which it was opened.
    pub epoch: Epoch,
    /// When it was opened.
    pub opened_at: Seconds,
    /// When it would have timed out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deadline: Option<Seconds>,
    /// How it was resolved.
    #[serde(flatten)]
    pub how: How,
    /// What was asked, or the name of the signal.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prompt: String,
}

/// How a wait was resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum How {
    /// A person answered.
    Answered {
        /// Who.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// A signal came.
    Signalled {
        /// Its id.
        id: String,
    },
    /// The timer fired.
    Fired,
    /// The deadline passed and the default stands in.
    Defaulted,
    /// The deadline passed and there is no default.
    TimedOut,
    /// The child run completed.
    ChildCompleted,
    /// The child run failed or was cancelled.
    ChildFailed {
        /// What went wrong.
        error: ErrorObject,
    },
}

/// A position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptToken {
    /// Its number while it is held.
    pub id: Option<u32>,
    /// Where it is.
    pub step: StepName,
    /// Whether it is held there, or in an execution.
    pub state: TokenState,
    /// The forks that separated it from others, outermost first.
    pub lineage: Vec<KeptBranch>,
    /// The execution that it is in.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ordinal: Option<Ordinal>,
    /// Steps with `join: any` that have gone without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<StepName>,
    /// What a route gave it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub payload: Option<Payload>,
    /// The failure that sent it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failure_of: Option<Place>,
}

/// Where a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// At a step, until those have come that it waits for.
    Held,
    /// In an execution.
    Active,
    /// Ended with an execution that a retry lets live again.
    Ended,
}

/// The branches of one fork that a token stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBranch {
    /// The execution that forked.
    pub fork: Place,
    /// First steps of the branches.
    pub branches: Vec<StepName>,
    /// Steps that named child runs, which go branches too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_children_of: Vec<StepName>,
}

/// An open wait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptWait {
    /// Its id in the run that the checkpoint was taken of. The restored run asks under another.
    pub wait_id: WaitId,
    /// The step that waits.
    pub step: StepName,
    /// Which activation.
    pub ordinal: Ordinal,
    /// What for, with its own members.
    #[serde(flatten)]
    pub kind: Awaited,
    /// Position among the waits of its execution.
    pub position: u32,
    /// How often the question was asked, with this time.
    pub r#try: u32,
    /// What stands in for an answer after the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub default: Option<Payload>,
    /// When it times out, or fires.
    pub deadline: Option<Seconds>,
    /// The name that the function gave it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name: Option<String>,
    /// What its resolution does.
    #[serde(default)]
    pub then: Then,
    /// The life of the run in which it was opened.
    pub epoch: Epoch,
    /// When it was opened.
    pub opened_at: Seconds,
}

/// What an open wait is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Awaited {
    /// A person's answer.
    Human(Question),
    /// The next signal of that name.
    Signal {
        /// Name of the queue.
        signal: String,
    },
    /// The deadline.
    Timer,
    /// The end of a child run. The restored run starts one of its own.
    Child {
        /// The child run.
        child: Box<ChildStart>,
    },
}

/// A time that was to pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptTimer {
    /// Of what kind it is.
    pub kind: TimerKind,
    /// The step that waits for it; none: the run.
    pub step: Option<StepName>,
    /// When.
    pub at: Seconds,
    /// The need whose time it is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub need: Option<StepName>,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerKind {
    /// The time limit of the run.
    Run,
    /// The time of a `timeout` need.
    Need,
}

/// An execution that had failed for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The run.
    pub run_id: RunId,
    /// Its workflow.
    pub agent: String,
    /// The step.
    pub step: StepName,
    /// Which activation.
    pub ordinal: Ordinal,
    /// What went wrong.
    pub code: Code,
    /// The type of the error, if its language has one.
    pub r#type: Option<Value>,
    /// What happened.
    pub message: String,
    /// Where in the function, if that is known.
    pub traceback: Option<Value>,
    /// Attempts that were made.
    pub attempts: u32,
    /// When it failed.
    pub failed_at: Option<Seconds>,
    /// Its last attempt ran out of time.
    pub timed_out: bool,
}

/// A signal that nobody had waited for yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptSignal {
    /// Name of the queue.
    pub name: String,
    /// Id given by the sender.
    pub id: String,
    /// What was sent.
    pub value: Payload,
}
