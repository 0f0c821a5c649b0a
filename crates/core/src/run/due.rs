//! What the shell must have arranged for a run: work items, timers, open waits. A function of the state, so
//! that anything that was forgotten is found again.

use std::collections::BTreeSet;

use foldhash::HashSet;

use super::Run;
use super::command::TimerKey;
use crate::ids::{ExecutionRef, Timestamp, WaitId};
use crate::status::ExecutionStatus;
use crate::workflow::StepIx;
use crate::workflow::definition::Priority;

/// Everything that must be arranged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Due {
    /// What workers may take, and what they have taken.
    pub work: Vec<Work>,
    /// What the clock must wake the run for.
    pub timers: Vec<(TimerKey, Timestamp)>,
    /// Open waits.
    pub waits: Vec<WaitId>,
}

/// Something for a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// Whose.
    pub execution: ExecutionRef,
    /// Its step.
    pub step: StepIx,
    /// Number of the attempt that begins with it, or goes on.
    pub attempt: u32,
    /// What is to be done.
    pub task: Task,
    /// Order among others.
    pub priority: Priority,
    /// Not earlier.
    pub not_before: Timestamp,
    /// It has been taken.
    pub taken: bool,
}

/// What a worker is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Begin an attempt.
    Attempt,
    /// Go on with an attempt after a wait.
    Rerun,
    /// Run the predicate of a conditional need.
    Judge,
}

/// What changed since the shell last looked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Work that is there now, new or changed.
    pub work: Vec<Work>,
    /// Executions that nothing is to be done for any more.
    pub no_work: Vec<ExecutionRef>,
    /// Timers that are set, or gone.
    pub timers: Vec<(TimerKey, Option<Timestamp>)>,
    /// Waits that opened or closed; true: opened since the last look.
    pub waits: Vec<(WaitId, bool)>,
}

/// What was touched since the shell last looked.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched {
    /// In any order, and perhaps more than once.
    executions: Vec<u32>,
    timers: BTreeSet<TimerKey>,
    waits: Vec<(WaitId, bool)>,
    /// Executions that the shell knows a work item of.
    arranged: HashSet<u32>,
}

impl Touched {
    pub(super) fn execution(&mut self, ix: u32) {
        if self.executions.last() != Some(&ix) {
            self.executions.push(ix);
        }
    }

    pub(super) fn timer(&mut self, key: TimerKey) {
        self.timers.insert(key);
    }

    pub(super) fn wait(&mut self, id: &WaitId, opened: bool) {
        if !self.waits.iter().any(|(known, _)| known == id) {
            self.waits.push((id.clone(), opened));
        }
    }
}

impl Run {
    /// Returns everything that must be arranged for the run as it stands.
    pub fn due(&self) -> Due {
        let mut waits: Vec<WaitId> = self
            .waits
            .iter()
            .filter(|(_, wait)| wait.resolution.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        waits.sort();
        Due {
            work: (0..self.executions.len() as u32).filter_map(|ix| self.work(ix)).collect(),
            timers: self.timers.iter().map(|(key, at)| (key.clone(), *at)).collect(),
            waits,
        }
    }

    /// Returns what changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        let mut touched = std::mem::take(&mut self.touched.executions);
        touched.sort_unstable();
        touched.dedup();
        for ix in &touched {
            let ix = *ix;
            match self.work(ix) {
                Some(work) => {
                    self.touched.arranged.insert(ix);
                    // What is taken stands as the lease left it.
                    if !work.taken {
                        changes.work.push(work);
                    }
                }
                None if self.touched.arranged.remove(&ix) => changes.no_work.push(self.reference(ix)),
                None => {}
            }
        }
        touched.clear();
        self.touched.executions = touched;
        let timers = std::mem::take(&mut self.touched.timers);
        changes.timers =
            timers.into_iter().map(|key| (key.clone(), self.timers.get(&key).copied())).collect();
        changes.waits = std::mem::take(&mut self.touched.waits);
        changes
    }

    fn work(&self, ix: u32) -> Option<Work> {
        if self.status.is_terminal() {
            return None;
        }
        let execution = self.exec(ix);
        let queues_for_retry = self.workflow.definition().max_concurrent.is_some();
        let (task, taken, not_before) = match execution.status {
            ExecutionStatus::Ready if execution.rerun => (Task::Rerun, false, execution.ready_at),
            ExecutionStatus::Ready => (Task::Attempt, false, execution.ready_at),
            ExecutionStatus::Running => (Task::Attempt, true, execution.ready_at),
            ExecutionStatus::Retrying if !queues_for_retry => {
                (Task::Attempt, false, execution.due_at.unwrap_or_default())
            }
            ExecutionStatus::Blocked if execution.judging => (Task::Judge, false, execution.ready_at),
            ExecutionStatus::Retrying
            | ExecutionStatus::Blocked
            | ExecutionStatus::Pending
            | ExecutionStatus::Waiting
            | ExecutionStatus::Completed
            | ExecutionStatus::Failed
            | ExecutionStatus::TimedOut
            | ExecutionStatus::Cancelled
            | ExecutionStatus::Skipped => return None,
        };
        let attempt = if taken { execution.attempts } else { execution.next_attempt() };
        Some(Work {
            execution: self.reference(ix),
            step: execution.step_ix,
            attempt,
            task,
            priority: self.workflow.step(execution.step_ix).priority,
            not_before,
            taken,
        })
    }
}
