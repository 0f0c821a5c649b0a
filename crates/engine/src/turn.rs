//! One turn of a run: the commands that wait are decided on the state in memory, and become one batch.

use std::sync::Arc;

use serde_json::Value;
use stepwell_core::ids::Timestamp;
use stepwell_core::policy::resources::Resources;
use stepwell_core::run::command::Command;
use stepwell_core::run::event::{AttemptStarted, Event};
use stepwell_core::run::wait::{Resolution, WaitKind};
use stepwell_core::run::{Changes, Message, Run, Task as WorkTask, Work};
use stepwell_core::status::{ExecutionStatus, RunStatus};
use stepwell_core::workflow::Workflow;
use stepwell_store::{
    Base, Batch, LeaseRef, LimitUse, NewRun, OutboxMessage, Purpose, RowUpdate, SessionRef, TimerChange,
    WaitChange, WaitRow, WaitState, WorkChange, WorkItem,
};

use crate::attempt::Assignment;
use crate::mailbox::{Cached, Refused, Submission};
use crate::provider::handler_of;
use crate::shared::Shared;
use crate::slots::Slot;

/// A turn that was decided and not yet committed.
pub(crate) struct Turn {
    /// The moment it was decided for: the time of its events.
    pub(crate) at: Timestamp,
    pub(crate) events: Vec<Event>,
    pub(crate) messages: Vec<Message>,
    pub(crate) answered: Vec<LeaseRef>,
    /// Leases of others that are given back.
    pub(crate) lost: Vec<LeaseRef>,
    /// Leases that must stand and go on.
    pub(crate) kept: Vec<LeaseRef>,
    pub(crate) results: Vec<Option<Refused>>,
}

impl Turn {
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.messages.is_empty() && self.answered.is_empty() && self.lost.is_empty()
    }
}

/// Decides the commands in turn on the state in memory.
pub(crate) fn decide(shared: &Arc<Shared>, cached: &mut Cached, waiting: &[Submission]) -> Turn {
    let now = shared.clock.now();
    let mut turn = Turn {
        at: now,
        events: Vec::new(),
        messages: Vec::new(),
        answered: Vec::new(),
        lost: Vec::new(),
        kept: Vec::new(),
        results: Vec::with_capacity(waiting.len()),
    };
    for submission in waiting {
        let Some(command) = submission.command.as_deref() else {
            turn.results.push(None);
            continue;
        };
        let asks_to_settle = submission.fence.as_ref().is_some_and(|lease| {
            let execution = cached.run.execution(lease.execution.step.as_str(), lease.execution.ordinal);
            execution.is_some_and(|execution| execution.asks_to_settle().is_some())
        });
        match cached.run.handle(command, now) {
            Ok(decision) => {
                turn.at = decision.at;
                // Most turns decide one command: its events are those of the turn.
                if turn.events.is_empty() {
                    turn.events = decision.events;
                } else {
                    turn.events.extend(decision.events);
                }
                turn.messages.extend(decision.messages);
                turn.results.push(None);
                // The late outcome of an attempt that a person is asked about has no lease any more.
                if let Some(lease) = submission.fence.as_ref().filter(|_| !asks_to_settle) {
                    match command {
                        // What this process holds it answers, also by losing it. Any other lost lease is given back.
                        Command::Lose { .. } if !shared.held.holds(cached.run.id(), lease) => {
                            turn.lost.push(lease.clone());
                        }
                        Command::Record { .. } => {
                            turn.answered.push(lease.clone());
                            turn.kept.push(lease.clone());
                        }
                        _ => turn.answered.push(lease.clone()),
                    }
                }
            }
            Err(error) => turn.results.push(Some(Refused::Rejected(error))),
        }
    }
    turn
}

/// Makes one batch of a turn: what the store keeps, who is handed over to, what is arranged.
pub(crate) fn compose(
    shared: &Arc<Shared>,
    cached: &mut Cached,
    waiting: &mut [Submission],
    turn: &mut Turn,
) -> (Batch, Vec<Assignment>, Changes) {
    let now = turn.at;
    let mut events = std::mem::take(&mut turn.events);
    let (answered, lost) = (std::mem::take(&mut turn.answered), std::mem::take(&mut turn.lost));
    let workflow = cached.run.workflow().clone();
    let mut changes = cached.run.take_changes();
    let mut work = Vec::with_capacity(changes.no_work.len() + changes.work.len());
    work.extend(changes.no_work.iter().cloned().map(WorkChange::Remove));
    let mut assigned = Vec::with_capacity(changes.work.len());
    let mut slots: Vec<Slot> = waiting.iter_mut().filter_map(|s| s.slot.take()).collect();
    // The attempts have ended: what they booked is there for those who follow.
    for slot in &mut slots {
        slot.booking = None;
    }
    changes.work.sort_by_key(|item| std::cmp::Reverse(item.priority));
    for item in &changes.work {
        let stored = work_item(&workflow, item);
        match hand_over(shared, cached, item, &stored, &mut slots, now, &mut events) {
            Some((session, assignment)) => {
                work.push(WorkChange::HandOver(stored, session));
                assigned.push(assignment);
            }
            None => work.push(WorkChange::Put(stored)),
        }
    }
    for lease in &turn.kept {
        if let Some(item) = running_item(&cached.run, lease) {
            work.push(WorkChange::HandOver(item, lease.session));
        }
    }
    let base = if cached.exists {
        Base::On(cached.revision)
    } else {
        Base::New(Box::new(NewRun {
            workflow: cached.run.workflow().origin().clone(),
            metadata: cached.run.metadata().clone(),
            parent: cached.run.parent().map(|parent| parent.run.clone()),
            root: cached.root.clone(),
        }))
    };
    let lazy = answered.iter().flat_map(|lease| shared.lazy.take(cached.run.id(), lease)).collect();
    let commands = waiting.iter().zip(&turn.results).filter(|(_, refused)| refused.is_none());
    let batch = Batch {
        run: cached.run.id().clone(),
        base,
        id: shared.clock.random(),
        at: now,
        events,
        commands: commands.filter_map(|(s, _)| s.id.clone()).collect(),
        row: row_update(&cached.run),
        answered,
        lost,
        work,
        timers: timer_changes(&changes),
        waits: wait_changes(&cached.run, &changes, now),
        outbox: turn.messages.iter().map(outbox_message).collect(),
        delivered: waiting.iter().filter_map(|s| s.delivered).collect(),
        lazy,
    };
    (batch, assigned, changes)
}

/// Hands an item to this process's own worker, leased and started in the same commit, if it has the handler
/// and a slot and resources that nobody else should have.
fn hand_over(
    shared: &Arc<Shared>,
    cached: &mut Cached,
    item: &Work,
    stored: &WorkItem,
    slots: &mut Vec<Slot>,
    now: Timestamp,
    events: &mut Vec<Event>,
) -> Option<(SessionRef, Assignment)> {
    let is_due = item.not_before <= now && item.task != WorkTask::Judge;
    if !is_due || cached.run.status() != RunStatus::Running || !stored.limits.is_empty() {
        return None;
    }
    let (session, provider) = shared.hands_over_to(&cached.root, &stored.handler)?;
    let booking = shared.pool.book(&stored.resources).ok()?;
    let slot = shared.slots.for_successor(slots, item.priority, now)?.with(booking);
    let started = AttemptStarted {
        step: item.execution.step.clone(),
        execution: item.execution.ordinal,
        attempt: item.attempt,
        session: session.id,
    };
    let event = Event::AttemptStarted(started);
    cached.run.apply(&event, now);
    events.push(event);
    let lease = LeaseRef { execution: item.execution.clone(), attempt: item.attempt, session };
    Some((session, Assignment { lease, provider, slot }))
}

fn work_item(workflow: &Workflow, item: &Work) -> WorkItem {
    let step = workflow.step(item.step);
    let declared = &workflow.definition().limits;
    let limits = step.limits.iter().map(|(name, units)| LimitUse {
        name: name.clone(),
        units: *units,
        capacity: declared.get(name).copied().unwrap_or(*units),
    });
    WorkItem {
        execution: item.execution.clone(),
        attempt: item.attempt,
        handler: handler_of(workflow, item.step),
        priority: item.priority,
        not_before: item.not_before,
        purpose: match item.task {
            WorkTask::Attempt => Purpose::Attempt,
            WorkTask::Rerun => Purpose::Rerun,
            WorkTask::Judge => Purpose::Judge,
        },
        limits: limits.collect(),
        resources: match item.task {
            WorkTask::Attempt | WorkTask::Rerun => step.resources.clone(),
            WorkTask::Judge => Resources::default(),
        },
    }
}

/// Returns the item of an attempt that goes on, as it was leased. None: what was decided later in the same turn has ended it.
fn running_item(run: &Run, lease: &LeaseRef) -> Option<WorkItem> {
    let execution = run.execution(lease.execution.step.as_str(), lease.execution.ordinal)?;
    let goes_on = execution.status == ExecutionStatus::Running && execution.attempts == lease.attempt;
    if !goes_on || run.status().is_terminal() {
        return None;
    }
    let step = execution.step_ix();
    let work = Work {
        execution: lease.execution.clone(),
        step,
        attempt: lease.attempt,
        task: WorkTask::Attempt,
        priority: run.workflow().step(step).priority,
        not_before: Timestamp::default(),
        taken: true,
    };
    Some(work_item(run.workflow(), &work))
}

fn row_update(run: &Run) -> RowUpdate {
    RowUpdate {
        status: run.status(),
        pause_reason: run.pause_reason(),
        epoch: run.epoch(),
        started_at: run.started_at(),
        finished_at: run.finished_at(),
        error: run.error().cloned(),
    }
}

fn timer_changes(changes: &Changes) -> Vec<TimerChange> {
    let of = |(key, at): &(_, Option<Timestamp>)| match at {
        Some(at) => TimerChange::Put(Clone::clone(key), *at),
        None => TimerChange::Remove(Clone::clone(key)),
    };
    changes.timers.iter().map(of).collect()
}

fn wait_changes(run: &Run, changes: &Changes, now: Timestamp) -> Vec<WaitChange> {
    let mut list = Vec::new();
    for (id, opened) in &changes.waits {
        if let Some(wait) = run.opened_wait(id).filter(|_| *opened) {
            let assignee = match &wait.spec.kind {
                WaitKind::Human(question) => question.assignee.clone(),
                WaitKind::Signal { .. } | WaitKind::Timer | WaitKind::Child(_) => None,
            };
            list.push(WaitChange::Open(Box::new(WaitRow {
                wait: id.clone(),
                run: run.id().clone(),
                workflow: run.workflow().name().to_owned(),
                step: wait.execution.step.clone(),
                ordinal: wait.execution.ordinal,
                kind: wait.spec.kind.as_str().to_owned(),
                spec: serde_json::to_value(wait.spec).unwrap_or(Value::Null),
                assignee,
                deadline: wait.spec.deadline,
                metadata: run.metadata().clone(),
                state: WaitState::Open,
                opened_at: now,
                closed_at: None,
                closed_by: None,
            })));
        }
        if let Some((_, Some(resolution))) = run.wait(id) {
            let (state, by) = match resolution {
                Resolution::Answered { by, .. } => (WaitState::Answered, by.clone()),
                Resolution::Signalled { .. }
                | Resolution::Fired
                | Resolution::ChildCompleted { .. }
                | Resolution::ChildFailed { .. } => (WaitState::Answered, None),
                Resolution::Defaulted { .. } | Resolution::TimedOut => (WaitState::Expired, None),
                Resolution::Withdrawn => (WaitState::Withdrawn, None),
            };
            list.push(WaitChange::Close { wait: id.clone(), state, by });
        }
    }
    list
}

fn outbox_message(message: &Message) -> OutboxMessage {
    OutboxMessage {
        target: message.target.clone(),
        command: message.command.clone(),
        body: serde_json::to_value(&message.body).expect("a message holds nothing that JSON cannot hold"),
    }
}
