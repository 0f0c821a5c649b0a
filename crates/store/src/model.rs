//! Plain data that crosses the border of a store.

use std::sync::Arc;

use foldhash::HashSet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{CommandId, Epoch, ExecutionRef, Ordinal, RunId, Seq, StepName, Timestamp, WaitId};
use stepwell_core::policy::resources::{Resources, Room};
use stepwell_core::run::command::TimerKey;
use stepwell_core::run::event::Event;
use stepwell_core::status::{PauseReason, RunStatus};
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::Priority;

use crate::error::Error;
use crate::trees::Trees;

/// Number and id of the last deciding batch of a run: what the next batch is decided on. The id keeps a
/// number that matches by accident from being taken for the same state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// 1 for the batch that created the run.
    pub number: u64,
    /// Random, made by whoever decided the batch.
    pub batch: u64,
}

/// Everything that one decision changes. It is committed whole or not at all.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The run.
    pub run: RunId,
    /// What it was decided on.
    pub base: Base,
    /// Random id of this batch; with it a commit of unknown outcome is resolved.
    pub id: u64,
    /// When it was decided; the time of its events.
    pub at: Timestamp,
    /// What is appended to the journal, in order.
    pub events: Vec<Event>,
    /// Ids of commands from outside that it carries out; unique per run, kept.
    pub commands: Vec<CommandId>,
    /// How the run stands after it.
    pub row: RowUpdate,
    /// Leases under which its outcomes were made; each must stand, its session open, and is gone afterwards.
    pub answered: Vec<LeaseRef>,
    /// Leases that it gives back because nobody answers them any more: each must stand and be lost, and is gone
    /// afterwards.
    pub lost: Vec<LeaseRef>,
    /// Work items that come, change or go.
    pub work: Vec<WorkChange>,
    /// Timers that come, change or go.
    pub timers: Vec<TimerChange>,
    /// Waits that open or close.
    pub waits: Vec<WaitChange>,
    /// Commands to other runs.
    pub outbox: Vec<OutboxMessage>,
    /// Messages to this run that it carries out.
    pub delivered: Vec<u64>,
    /// Lazy events that ride along; each is dropped if its lease does not stand at the begin of this commit.
    pub lazy: Vec<LazyEvent>,
}

/// What a batch was decided on.
#[derive(Clone, Debug)]
pub enum Base {
    /// The run does not exist yet.
    New(Box<NewRun>),
    /// The run as that batch left it. Starts and lazy events in between do not matter.
    On(Revision),
}

/// What is written once, when a run is created.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its definition; stored once per digest.
    pub workflow: Arc<Workflow>,
    /// Tags.
    pub metadata: Map<String, Value>,
    /// The run that waits for it.
    pub parent: Option<RunId>,
    /// The top of its tree; itself if it has no parent.
    pub root: RunId,
}

/// How a run stands after a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct RowUpdate {
    /// Status.
    pub status: RunStatus,
    /// Reason, if paused.
    pub pause_reason: Option<PauseReason>,
    /// Epoch.
    pub epoch: Epoch,
    /// First start.
    pub started_at: Option<Timestamp>,
    /// End, if terminal.
    pub finished_at: Option<Timestamp>,
    /// What ended it, if failed.
    pub error: Option<ErrorObject>,
}

/// A run as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    /// Id.
    pub run: RunId,
    /// Workflow name.
    pub workflow: String,
    /// Workflow version.
    pub version: String,
    /// Hash of the stored definition.
    pub digest: String,
    /// Tags.
    pub metadata: Map<String, Value>,
    /// The run that waits for it.
    pub parent: Option<RunId>,
    /// The top of its tree.
    pub root: RunId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When a status or outcome last changed.
    pub updated_at: Timestamp,
    /// How it stands.
    pub state: RowUpdate,
    /// Last deciding batch.
    pub revision: Revision,
    /// Last event, starts and lazy events included.
    pub seq: Seq,
}

/// A session: one worker process in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionRef {
    /// Number in the store.
    pub id: u64,
    /// Which life of that number; a stale one is fenced off.
    pub generation: u64,
}

/// A lease, as its holder names it within its run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseRef {
    /// The execution.
    pub execution: ExecutionRef,
    /// Which attempt.
    pub attempt: u32,
    /// Who holds it.
    pub session: SessionRef,
}

/// Something for a worker to do.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkItem {
    /// The execution.
    pub execution: ExecutionRef,
    /// Number of the attempt that a lease of it begins.
    pub attempt: u32,
    /// Who can do it: a protocol such as `python/v1`, or `fn:<workflow>/<step>`.
    pub handler: String,
    /// Higher first.
    pub priority: Priority,
    /// Not to be leased earlier.
    pub not_before: Timestamp,
    /// What is to be done.
    pub purpose: Purpose,
    /// Named limits of the store that a lease takes units of.
    pub limits: Vec<LimitUse>,
    /// What it takes of the room of the worker that leases it.
    pub resources: Resources,
}

/// What a work item is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// An attempt; its lease writes `AttemptStarted`.
    Attempt,
    /// An attempt that goes on after a wait under its old number; its lease writes `AttemptStarted` too.
    Rerun,
    /// The predicate of a conditional need.
    Judge,
}

/// Units of a named limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitUse {
    /// Name of the limit.
    pub name: String,
    /// Units taken while the lease stands.
    pub units: u32,
    /// Units there are; the smallest of several declarations holds.
    pub capacity: u32,
}

/// A change of the work of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum WorkChange {
    /// The item is ready (from `not_before` on); replaces what stood for that execution, lease included.
    Put(WorkItem),
    /// The item is leased to that session in the same commit. Its `AttemptStarted` is among the batch's events.
    HandOver(WorkItem, SessionRef),
    /// Nothing is to be done for that execution; a lease of it is gone. Its units of named limits are given back when its
    /// worker does not hold it any more ([`Store::renew_session`](crate::Store::renew_session)), or its session is gone.
    Remove(ExecutionRef),
}

/// What a worker asks for.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// Who asks.
    pub session: SessionRef,
    /// Now, on the engine's clock: items with a later `not_before` are left alone, and events get this time.
    pub now: Timestamp,
    /// At most so many items.
    pub max: usize,
    /// Only items with one of these handlers; none: all.
    pub handlers: Option<Arc<Handlers>>,
    /// Only items of these trees of runs; none: of all.
    pub trees: Option<Trees>,
    /// Only items that fit in there together, and none past an earlier one that lacks what it asks for.
    pub room: Room,
}

impl LeaseRequest {
    /// Returns whether it asks for work of that handler.
    pub(crate) fn handles(&self, handler: &str) -> bool {
        self.handlers.as_ref().is_none_or(|known| known.contain(handler))
    }

    /// Returns whether it asks for work of the tree of that run.
    pub(crate) fn asks_for(&self, root: &RunId) -> bool {
        self.trees.as_ref().is_none_or(|trees| trees.contain(root))
    }
}

/// The handlers that a worker has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Handlers {
    exact: HashSet<String>,
    prefixes: Vec<String>,
}

impl Handlers {
    /// Returns whether that one is among them.
    pub fn contain(&self, handler: &str) -> bool {
        self.exact.contains(handler) || self.prefixes.iter().any(|prefix| handler.starts_with(prefix))
    }
}

/// A name with a `*` behind stands for all that begin like it.
impl<S: Into<String>> FromIterator<S> for Handlers {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut handlers = Self::default();
        for mut name in names.into_iter().map(Into::into) {
            if name.ends_with('*') {
                name.pop();
                handlers.prefixes.push(name);
            } else {
                handlers.exact.insert(name);
            }
        }
        handlers
    }
}

/// A leased work item.
#[derive(Clone, Debug, PartialEq)]
pub struct Leased {
    /// The run.
    pub run: RunId,
    /// The item.
    pub item: WorkItem,
    /// Who holds it.
    pub session: SessionRef,
}

/// A lease whose session is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostLease {
    /// The run.
    pub run: RunId,
    /// The lease as it stands in the store.
    pub lease: LeaseRef,
}

/// What a renewal found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Held by the worker but not in the store: stop these attempts.
    pub lost: Vec<(RunId, LeaseRef)>,
    /// In the store but not held by the worker: they count as lost, see [`Store::lost_leases`](crate::Store::lost_leases).
    pub strays: Vec<(RunId, LeaseRef)>,
}

/// A change of the timers of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum TimerChange {
    /// Fires at that time; replaces the timer of that key.
    Put(TimerKey, Timestamp),
    /// Does not fire.
    Remove(TimerKey),
}

/// A timer whose time has come.
#[derive(Clone, Debug, PartialEq)]
pub struct DueTimer {
    /// The run.
    pub run: RunId,
    /// What for.
    pub key: TimerKey,
    /// When it was due.
    pub at: Timestamp,
}

/// A wait as the inbox shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitRow {
    /// Id.
    pub wait: WaitId,
    /// The run.
    pub run: RunId,
    /// Workflow name.
    pub workflow: String,
    /// The step that asked.
    pub step: StepName,
    /// Which activation.
    pub ordinal: Ordinal,
    /// `human`, `signal`, `timer` or `child`.
    pub kind: String,
    /// The whole of the wait, as journaled.
    pub spec: Value,
    /// Who should answer.
    pub assignee: Option<String>,
    /// When it times out.
    pub deadline: Option<Timestamp>,
    /// Tags of the run.
    pub metadata: Map<String, Value>,
    /// Whether it can still be resolved.
    pub state: WaitState,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Who answered.
    pub closed_by: Option<String>,
}

/// Whether a wait can still be resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitState {
    /// It can.
    Open,
    /// Answered, signalled, fired, or its child ended.
    Answered,
    /// Its deadline passed.
    Expired,
    /// Its execution or run ended first.
    Withdrawn,
}

/// A change of the waits of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum WaitChange {
    /// Opens. `run`, `workflow` and `metadata` of the row are as the run has them.
    Open(Box<WaitRow>),
    /// Closes.
    Close {
        /// Which.
        wait: WaitId,
        /// How.
        state: WaitState,
        /// Who.
        by: Option<String>,
    },
}

/// A command from one run to another, written with the commit that decided it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboxMessage {
    /// The run it is for.
    pub target: RunId,
    /// Id of the command: delivering it twice has one effect.
    pub command: CommandId,
    /// What it says; the engine's affair.
    pub body: Value,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Undelivered {
    /// Number in the store, for [`Batch::delivered`].
    pub id: u64,
    /// The run that sent it.
    pub source: RunId,
    /// The message.
    pub message: OutboxMessage,
}

/// A log line, progress or message of a running attempt.
#[derive(Clone, Debug)]
pub struct LazyEvent {
    /// The run.
    pub run: RunId,
    /// The attempt it belongs to.
    pub lease: LeaseRef,
    /// When it happened.
    pub at: Timestamp,
    /// The event.
    pub event: Event,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The revision it made.
    pub revision: Revision,
    /// Number of its last event.
    pub seq: Seq,
}

/// An event of a journal with its place and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Place.
    pub seq: Seq,
    /// Time.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// A run as it is loaded to be decided on.
#[derive(Clone, Debug)]
pub struct LoadedRun {
    /// Its row.
    pub row: RunRow,
    /// Its definition, as JSON text: whoever knows its digest needs not read it.
    pub definition: Arc<str>,
    /// Newest snapshot and the last event it contains.
    pub snapshot: Option<(Seq, Vec<u8>)>,
    /// The events after the snapshot, or all.
    pub tail: Vec<Recorded>,
}

/// Which runs to list, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFilter {
    /// Any of these; empty: all.
    pub status: Vec<RunStatus>,
    /// Of the paused ones only those paused for that reason.
    pub pause_reason: Option<PauseReason>,
    /// Of that workflow name.
    pub workflow: Option<String>,
    /// Whose metadata contains this: each of its keys, objects by containment, all else by equality.
    pub metadata: Map<String, Value>,
    /// Created then or later.
    pub since: Option<Timestamp>,
    /// Created earlier.
    pub until: Option<Timestamp>,
    /// Whether somebody started them, or a run.
    pub among: Among,
}

/// Which runs are looked at, by who started them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Among {
    /// All.
    #[default]
    All,
    /// Those that no other run started.
    Roots,
    /// Those that this run started.
    ChildrenOf(RunId),
}

/// Which waits to list, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WaitFilter {
    /// In that state; none: all.
    pub state: Option<WaitState>,
    /// Of that kind (`human`, …).
    pub kind: Option<String>,
    /// For that person.
    pub assignee: Option<String>,
    /// Of that workflow name.
    pub workflow: Option<String>,
    /// Of that run.
    pub run: Option<RunId>,
    /// Of the run that was started as this one, or of a child run below it.
    pub root: Option<RunId>,
    /// Whose run's metadata contains this.
    pub metadata: Map<String, Value>,
    /// With a deadline before that.
    pub due_before: Option<Timestamp>,
}

impl WaitFilter {
    /// Returns what an inbox shows: questions to people that are open.
    pub fn open_questions() -> Self {
        Self { state: Some(WaitState::Open), kind: Some("human".into()), ..Self::default() }
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// At most so many.
    pub limit: usize,
    /// Where the last page ended, as [`Paged::next`] gave it.
    pub cursor: Option<String>,
}

impl Page {
    /// Returns the first page of that size.
    pub fn first(limit: usize) -> Self {
        Self { limit, cursor: None }
    }
}

/// A page and where the next begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Paged<T> {
    /// What the page holds.
    pub items: Vec<T>,
    /// Cursor of the next page; none: this was the last.
    pub next: Option<String>,
}

/// Which runs to delete.
#[derive(Clone, Debug, PartialEq)]
pub struct Prune {
    /// Those that ended before that.
    pub before: Timestamp,
    /// Those of one of these; empty: of any that ends a run. Of a tree the status of its root counts.
    pub status: Vec<RunStatus>,
    /// Only that run, which has no parent, and its child runs, however deep: all in one step or not at all.
    pub tree: Option<RunId>,
    /// Only says what would be deleted.
    pub dry_run: bool,
}

impl Prune {
    /// Returns the deletion of all that ended before then.
    pub fn before(before: Timestamp) -> Self {
        Self { before, status: Vec::new(), tree: None, dry_run: false }
    }

    /// Returns the deletion of one run that has ended, whenever that was, with its child runs.
    pub fn tree(root: RunId) -> Self {
        Self { tree: Some(root), ..Self::before(Timestamp(i64::MAX)) }
    }

    /// Returns the statuses whose runs go.
    pub(crate) fn statuses(&self) -> Result<Vec<RunStatus>, Error> {
        if let Some(live) = self.status.iter().find(|status| !status.is_terminal()) {
            return Err(Error::Invalid(format!("a run that is {live} has not ended and is never deleted")));
        }
        Ok(if self.status.is_empty() { RunStatus::TERMINAL.to_vec() } else { self.status.clone() })
    }
}

/// What a deletion came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Runs.
    pub runs: u64,
    /// Bytes of their journals, snapshots and large values.
    pub bytes: u64,
}

/// A value of system state.
#[derive(Clone, Debug, PartialEq)]
pub struct StateRow {
    /// Key.
    pub key: String,
    /// Value.
    pub value: Value,
    /// Counts writes: 1, 2, …
    pub version: u64,
    /// Last write.
    pub updated_at: Timestamp,
}
