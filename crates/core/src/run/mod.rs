//! A run: its state, as the fold of its events.
//!
//! [`Run::handle`] decides a command on the state in memory, [`Run::apply`] is the fold, and what the shell
//! must arrange afterwards (work items, timers, waits) is a function of the state ([`Run::take_changes`],
//! [`Run::due`]). Nothing here reads a clock, invents an id or waits.
//!
//! Start reading at `decide/mod.rs` for what may be asked, at `apply.rs` for what it does.

mod apply;
pub mod checkpoint;
pub mod command;
mod decide;
mod due;
pub mod event;
mod execution;
mod idempotency;
mod needs;
mod queue;
pub(crate) mod snapshot;
mod token;
pub mod view;
pub mod wait;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use foldhash::HashMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::error::ErrorObject;
use crate::ids::{Epoch, ExecutionRef, Ordinal, RunId, StepName, Timestamp, WaitId};
use crate::status::{ExecutionStatus, PauseReason, RunStatus};
use crate::workflow::{StepIx, Workflow};
use command::TimerKey;
pub use decide::{Decision, Message, MessageBody};
pub use due::{Changes, Due, Task, Work};
use event::{AttemptStarted, Event, Parent, Payload};
pub use execution::{AttemptNote, Execution};
pub use idempotency::IdempotencyKey;
use queue::Queue;
use token::Tokens;
use wait::{Resolution, WaitKind, WaitSpec};

/// One execution of a workflow.
#[derive(Clone, Debug)]
pub struct Run {
    id: RunId,
    workflow: Arc<Workflow>,
    status: RunStatus,
    pause_reason: Option<PauseReason>,
    /// Set by `Pause`, lifted by `Resume`; wins over a pause for input.
    operator_paused: bool,
    epoch: Epoch,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    updated_at: Timestamp,
    /// The latest moment of an event; what is decided later is never dated before it.
    now: Timestamp,
    deadline: Option<Timestamp>,
    /// What it was given in place of the time limit of its definition.
    time_limit_ms: Option<u64>,
    input: Payload,
    first_input: Payload,
    first_context: Map<String, Value>,
    /// Counts replaced inputs; part of idempotency keys.
    input_generation: u32,
    metadata: Map<String, Value>,
    parent: Option<Parent>,
    base_dir: Option<String>,
    /// The step it begins with, if it is not for its definition to say.
    entry: Option<StepName>,
    context: Arc<Context>,
    steps: Vec<StepState>,
    executions: Vec<Execution>,
    tokens: Tokens,
    queue: Queue,
    waits: HashMap<WaitId, Wait>,
    open_waits: OpenWaits,
    waits_opened: u32,
    /// Counts how often it was paused for input and went on: what its parent is told bears this number.
    turns: u32,
    signals: HashMap<String, VecDeque<Signal>>,
    /// What was received: name and id, with the digest of the value.
    signal_ids: HashMap<(String, String), String>,
    /// Counts applied events; "later" in lifecycles of needs.
    tick: u64,
    /// Tick of the last start, operator resume or retry.
    session_tick: u64,
    /// Routed executions in this epoch.
    routed: u32,
    /// Executions that are not terminal.
    live: u32,
    /// Executions that wait with unmet needs.
    blocked: BTreeSet<u32>,
    /// First failure left without a policy in this epoch.
    failure: Option<u32>,
    /// A failed execution whose policy takes effect when its compensation has ended.
    ending: Option<u32>,
    error: Option<ErrorObject>,
    output: Payload,
    /// What the store's clock must wake the run for.
    timers: BTreeMap<TimerKey, Timestamp>,
    /// When it last began, was resumed or retried.
    session_start: Option<Timestamp>,
    /// Tokens that arrived and were not looked at yet.
    fresh: Vec<u32>,
    /// Steps whose state changed, for the needs of their dependents: (step, its execution, by a failure).
    moved: Vec<(StepIx, Option<u32>, bool)>,
    /// Executions of steps with `for_each` to look at: they are in line, or an element of theirs has ended.
    fans: Vec<u32>,
    touched: due::Touched,
    /// About how many bytes the values take.
    value_bytes: usize,
    /// About how many bytes of values its events held.
    journaled_bytes: u64,
}

/// What a run knows of one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct StepState {
    #[serde(skip)]
    executions: Vec<u32>,
    /// Executions that are not terminal.
    #[serde(skip)]
    live: u32,
    completions: u32,
    completed_tick: u64,
    completed_at: Timestamp,
    started_tick: u64,
    needs: NeedsState,
    /// Needs of kind `timeout` whose time has passed.
    timed_out_needs: Vec<StepIx>,
}

/// Where a step that is activated by its needs stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum NeedsState {
    /// It is not activated by needs.
    #[default]
    None,
    /// Waits; needs before the cursor were found met.
    Waiting {
        #[serde(skip, default = "needs::any_need")]
        cursor: u32,
    },
    /// Activated, or skipped, in this epoch.
    Done,
}

/// A question, open or resolved.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Wait {
    execution: u32,
    /// In which it was opened.
    epoch: Epoch,
    spec: WaitSpec,
    opened_at: Timestamp,
    /// For a child run: what was last heard of it.
    #[serde(default, skip_serializing_if = "snapshot::is_default")]
    child: ChildNews,
    resolution: Option<Resolution>,
}

impl Wait {
    /// Returns whether its deadline has passed.
    fn has_expired(&self, at: Timestamp) -> bool {
        self.spec.deadline.is_some_and(|deadline| deadline <= at)
    }

    /// Returns whether only people and signals can bring it nearer to its end.
    fn asks(&self) -> bool {
        match self.spec.kind {
            WaitKind::Human(_) | WaitKind::Signal { .. } => true,
            WaitKind::Timer => false,
            WaitKind::Child(_) => self.child.paused,
        }
    }
}

/// How a child run stands, as far as its parent knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ChildNews {
    /// Its count of turns; older news than this is not taken.
    turn: u32,
    /// It is paused for input.
    paused: bool,
}

#[derive(Clone, Debug, Default)]
struct OpenWaits {
    /// Human and signal waits, and child runs that are paused for input.
    asking: u32,
    /// Timers and other child runs.
    moving: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Signal {
    id: String,
    value: Payload,
}

/// An open wait, for those who show or carry it.
#[derive(Clone, Copy, Debug)]
pub struct OpenWait<'a> {
    /// Its id.
    pub id: &'a WaitId,
    /// Who waits.
    pub execution: &'a Execution,
    /// What for.
    pub spec: &'a WaitSpec,
    /// Since when.
    pub opened_at: Timestamp,
    /// It is for a child run that is itself paused for input.
    pub child_paused: bool,
}

impl Run {
    /// Returns the id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Returns whether it has been created: whether any event has been applied.
    fn exists(&self) -> bool {
        self.tick > 0
    }

    /// Returns the definition it started with.
    pub fn workflow(&self) -> &Arc<Workflow> {
        &self.workflow
    }

    /// Returns the status.
    pub fn status(&self) -> RunStatus {
        self.status
    }

    /// Returns why it is paused, if it is.
    pub fn pause_reason(&self) -> Option<PauseReason> {
        self.pause_reason
    }

    /// Returns the epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns when it was created.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Returns when it first started.
    pub fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    /// Returns when it ended.
    pub fn finished_at(&self) -> Option<Timestamp> {
        self.finished_at
    }

    /// Returns when a status or outcome last changed.
    pub fn updated_at(&self) -> Timestamp {
        self.updated_at
    }

    /// Returns when it runs out of time.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// Returns its input.
    pub fn input(&self) -> &Payload {
        &self.input
    }

    /// Returns its tags.
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.metadata
    }

    /// Returns the run that waits for it.
    pub fn parent(&self) -> Option<&Parent> {
        self.parent.as_ref()
    }

    /// Returns the directory that its relative paths start at.
    pub fn base_dir(&self) -> Option<&str> {
        self.base_dir.as_deref()
    }

    /// Returns the step it begins with, if it was told one.
    pub fn entry(&self) -> Option<&StepName> {
        self.entry.as_ref()
    }

    /// Returns the input it was created with, which a retry may have replaced since.
    pub fn first_input(&self) -> &Payload {
        &self.first_input
    }

    /// Returns the context it was created with.
    pub fn first_context(&self) -> &Map<String, Value> {
        &self.first_context
    }

    /// Takes note of an attempt that the store has leased and journaled as started. Knowing it already, or not
    /// being ready for it, changes nothing.
    pub fn note_start(&mut self, execution: &ExecutionRef, attempt: u32, session: u64, at: Timestamp) {
        let is_next = self.find(execution.step.as_str(), execution.ordinal).is_some_and(|ix| {
            let known = self.exec(ix);
            matches!(known.status, ExecutionStatus::Ready | ExecutionStatus::Retrying)
                && known.next_attempt() == attempt
        });
        if is_next {
            let (step, ordinal) = (execution.step.clone(), execution.ordinal);
            self.apply(
                &Event::AttemptStarted(AttemptStarted { step, execution: ordinal, attempt, session }),
                at,
            );
        }
    }

    /// Returns its context. A clone of the `Arc` is a snapshot; the run copies the keys (not the values) when it
    /// writes while a snapshot is held.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Returns the version of the context that an attempt starting now sees.
    pub fn context_version(&self) -> u64 {
        self.context.version()
    }

    /// Returns what ended it, if it failed or was cancelled.
    pub fn error(&self) -> Option<&ErrorObject> {
        self.error.as_ref()
    }

    /// Returns the result of its last step, if it completed and there is exactly one.
    pub fn output(&self) -> &Payload {
        &self.output
    }

    /// Returns all executions in the order of their activation.
    pub fn executions(&self) -> &[Execution] {
        &self.executions
    }

    /// Returns an execution by step and ordinal.
    pub fn execution(&self, step: &str, ordinal: Ordinal) -> Option<&Execution> {
        self.find(step, ordinal).map(|ix| &self.executions[ix as usize])
    }

    /// Returns how many elements an execution of a step with `for_each` has, once they are known.
    pub fn elements(&self, execution: &Execution) -> Option<u32> {
        execution.fan.as_ref().map(|fan| fan.len())
    }

    /// Returns the execution that this one is an element of.
    pub fn element_of(&self, execution: &Execution) -> Option<&Execution> {
        execution.element.map(|(of, _)| self.exec(of))
    }

    /// Returns the latest execution of a step.
    pub fn latest(&self, step: StepIx) -> Option<&Execution> {
        self.steps[step.at()].executions.last().map(|ix| &self.executions[*ix as usize])
    }

    /// Returns the open waits, oldest first.
    pub fn open_waits(&self) -> Vec<OpenWait<'_>> {
        let mut open: Vec<_> = self
            .waits
            .iter()
            .filter(|(_, wait)| wait.resolution.is_none())
            .map(|(id, wait)| self.shown(id, wait))
            .collect();
        open.sort_by_key(|wait| (wait.opened_at, wait.id.clone()));
        open
    }

    /// Returns a wait's question and whether it is still open.
    pub fn wait(&self, id: &WaitId) -> Option<(&WaitSpec, Option<&Resolution>)> {
        self.waits.get(id).map(|wait| (&wait.spec, wait.resolution.as_ref()))
    }

    /// Returns in which epoch a wait was opened.
    pub fn opened_in(&self, id: &WaitId) -> Option<Epoch> {
        self.waits.get(id).map(|wait| wait.epoch)
    }

    /// Returns the resolved waits of an execution, in the order in which they were opened: what a function that
    /// runs again is told. A failed child and a question that timed out are told in their own epoch only: a retry
    /// of the run asks anew.
    pub fn resolutions<'r>(
        &'r self,
        execution: &'r Execution,
    ) -> Vec<(&'r WaitId, &'r WaitSpec, &'r Resolution)> {
        let of = execution.waits.iter().filter_map(|id| {
            let wait = self.waits.get(id)?;
            let resolution = wait.resolution.as_ref()?;
            let is_told = match resolution {
                Resolution::Withdrawn => false,
                Resolution::TimedOut | Resolution::ChildFailed { .. } => wait.epoch == self.epoch,
                Resolution::Answered { .. }
                | Resolution::Signalled { .. }
                | Resolution::Fired
                | Resolution::Defaulted { .. }
                | Resolution::ChildCompleted { .. } => true,
            };
            is_told.then_some((id, &wait.spec, resolution))
        });
        of.collect()
    }

    /// Returns the waits of an execution that are open: what a function that runs again does not open anew.
    pub fn waits_open_for<'r>(&'r self, execution: &'r Execution) -> impl Iterator<Item = &'r WaitSpec> {
        let waits = execution.waits.iter().filter_map(|id| self.waits.get(id));
        waits.filter(|wait| wait.resolution.is_none()).map(|wait| &wait.spec)
    }

    /// Returns the failure that brought a token to this execution, for a failure route or a compensation.
    pub fn failure_behind(&self, execution: &Execution) -> Option<&Execution> {
        execution.failure_of.map(|ix| &self.executions[ix as usize])
    }

    /// Returns the key under which a step's effects are made only once: stable over attempts, restarts, epochs and
    /// checkpoints, new when a retry replaces the input.
    pub fn idempotency_key(&self, execution: &Execution) -> IdempotencyKey {
        if let Some(kept) = &execution.kept_key {
            return IdempotencyKey::Kept(kept.clone());
        }
        IdempotencyKey::Of {
            run: self.id.clone(),
            step: execution.step.clone(),
            ordinal: execution.ordinal,
            generation: execution.input_generation,
        }
    }

    /// Returns about how many bytes the run takes in memory, from counts kept on the way.
    pub fn size_bytes_hint(&self) -> usize {
        4_096
            + self.value_bytes
            + self.steps.len() * size_of::<StepState>()
            + self.executions.len() * size_of::<Execution>()
            + self.waits.len() * 512
    }

    /// Returns about how many bytes of values the events held that made the run what it is.
    pub fn journaled_bytes_hint(&self) -> u64 {
        self.journaled_bytes
    }

    /// Returns every wait, open or resolved, in no order.
    pub fn all_waits(&self) -> impl Iterator<Item = OpenWait<'_>> {
        self.waits.iter().map(|(id, wait)| self.shown(id, wait))
    }

    /// Returns a wait as it was opened, whatever has become of it.
    pub fn opened_wait(&self, id: &WaitId) -> Option<OpenWait<'_>> {
        self.waits.get_key_value(id).map(|(id, wait)| self.shown(id, wait))
    }

    fn shown<'r>(&'r self, id: &'r WaitId, wait: &'r Wait) -> OpenWait<'r> {
        OpenWait {
            id,
            execution: &self.executions[wait.execution as usize],
            spec: &wait.spec,
            opened_at: wait.opened_at,
            child_paused: wait.child.paused,
        }
    }

    /// Returns the tokens held at steps, with how many: what waits for a join.
    pub fn held(&self) -> BTreeMap<&str, usize> {
        self.tokens.held().map(|(step, count)| (self.workflow.step(step).name.as_str(), count)).collect()
    }

    fn find(&self, step: &str, ordinal: Ordinal) -> Option<u32> {
        self.of_step(self.workflow.find(step)?, ordinal)
    }

    fn of_step(&self, step: StepIx, ordinal: Ordinal) -> Option<u32> {
        self.steps[step.at()].executions.get((ordinal.0 as usize).checked_sub(1)?).copied()
    }

    fn exec(&self, ix: u32) -> &Execution {
        &self.executions[ix as usize]
    }

    fn reference(&self, ix: u32) -> ExecutionRef {
        let execution = self.exec(ix);
        ExecutionRef { step: execution.step.clone(), ordinal: execution.ordinal }
    }

    /// Sets the status of an execution and keeps every count that depends on it.
    fn set_status(&mut self, ix: u32, status: ExecutionStatus) {
        let execution = &mut self.executions[ix as usize];
        let (before, step) = (execution.status, execution.step_ix);
        execution.status = status;
        self.touched.execution(ix);
        self.queue.moved(ix, before, status, self.workflow.step(step).priority);
        if before == ExecutionStatus::Blocked {
            self.blocked.remove(&ix);
        }
        if status == ExecutionStatus::Blocked {
            self.blocked.insert(ix);
        }
        if before.is_terminal() && !status.is_terminal() {
            self.live += 1;
            self.steps[step.at()].live += 1;
        }
        if !before.is_terminal() && status.is_terminal() {
            self.live -= 1;
            self.steps[step.at()].live -= 1;
        }
    }
}
