//! Waits: opened, moved by a child's news, resolved.

use crate::ids::{Timestamp, WaitId};
use crate::run::command::TimerKey;
use crate::run::wait::{Resolution, Then, WaitKind, WaitSpec};
use crate::run::{ChildNews, Run, Wait};
use crate::status::ExecutionStatus;

impl Run {
    pub(super) fn wait_opened(&mut self, id: &WaitId, ix: u32, spec: &WaitSpec, at: Timestamp) {
        self.waits_opened += 1;
        let wait = Wait {
            execution: ix,
            epoch: self.epoch,
            spec: spec.clone(),
            opened_at: at,
            child: ChildNews::default(),
            resolution: None,
        };
        self.count_wait(wait.asks(), 1);
        self.waits.insert(id.clone(), wait);
        let execution = &mut self.executions[ix as usize];
        execution.waits.push(id.clone());
        execution.open_waits += 1;
        if matches!(&spec.kind, WaitKind::Human(question) if question.settles) {
            execution.settle = Some(id.clone());
            self.set_status(ix, ExecutionStatus::Waiting);
        }
        self.set_timer(TimerKey::Wait(id.clone()), spec.deadline);
        self.touched.wait(id, true);
    }

    pub(in crate::run) fn count_wait(&mut self, asks: bool, by: i32) {
        let counter = if asks { &mut self.open_waits.asking } else { &mut self.open_waits.moving };
        *counter = counter.saturating_add_signed(by);
    }

    pub(super) fn child_turned(&mut self, wait: &WaitId, news: ChildNews) {
        let Some(known) = self.waits.get_mut(wait) else { return };
        let before = known.asks();
        known.child = news;
        let after = known.asks();
        self.count_wait(before, -1);
        self.count_wait(after, 1);
    }

    pub(super) fn wait_resolved(&mut self, id: &WaitId, resolution: &Resolution, at: Timestamp) {
        let Some(wait) = self.waits.get_mut(id) else { return };
        wait.resolution = Some(resolution.clone());
        let (ix, kind, then) = (wait.execution, wait.spec.kind.clone(), wait.spec.then);
        let asked = wait.asks();
        self.count_wait(asked, -1);
        self.set_timer(TimerKey::Wait(id.clone()), None);
        self.touched.wait(id, false);
        self.updated_at = at;
        if let (Resolution::Signalled { id, .. }, WaitKind::Signal { name }) = (resolution, &kind)
            && let Some(queue) = self.signals.get_mut(name)
        {
            queue.retain(|signal| signal.id != *id);
        }
        let execution = &mut self.executions[ix as usize];
        execution.open_waits -= 1;
        let settles = execution.settle.as_ref() == Some(id);
        if settles {
            execution.settle = None;
        }
        if settles || then == Then::Complete || matches!(resolution, Resolution::Withdrawn) {
            return;
        }
        match execution.status {
            ExecutionStatus::Waiting => self.queue_up(ix, at),
            // The function may be running on what it was told before: it runs once more when it lets go. A lease is
            // journaled without being decided, so `ready` is no proof that it has not begun.
            ExecutionStatus::Running
            | ExecutionStatus::Ready
            | ExecutionStatus::Pending
            | ExecutionStatus::Retrying => execution.stale = true,
            ExecutionStatus::Blocked
            | ExecutionStatus::Completed
            | ExecutionStatus::Failed
            | ExecutionStatus::TimedOut
            | ExecutionStatus::Cancelled
            | ExecutionStatus::Skipped => {}
        }
    }
}
