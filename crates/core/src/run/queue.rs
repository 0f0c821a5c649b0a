//! Who may be given to workers: executions that wait for a place under `max_concurrent`, in order.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::status::ExecutionStatus;
use crate::workflow::definition::Priority;

/// The executions of a run that are pending, and how many are issued.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pending: BTreeSet<(Reverse<Priority>, u32)>,
    /// Ready or running: what `max_concurrent` bounds.
    issued: u32,
    /// Waiting for the time of their next attempt.
    retrying: u32,
}

impl Queue {
    /// Takes note that an execution changed its status.
    pub(super) fn moved(
        &mut self,
        ix: u32,
        before: ExecutionStatus,
        after: ExecutionStatus,
        priority: Priority,
    ) {
        let is_issued = |s| matches!(s, ExecutionStatus::Ready | ExecutionStatus::Running);
        if before == ExecutionStatus::Pending {
            self.pending.remove(&(Reverse(priority), ix));
        }
        if after == ExecutionStatus::Pending {
            self.pending.insert((Reverse(priority), ix));
        }
        self.issued = self.issued + u32::from(is_issued(after)) - u32::from(is_issued(before));
        self.retrying = self.retrying + u32::from(after == ExecutionStatus::Retrying)
            - u32::from(before == ExecutionStatus::Retrying);
    }

    /// Returns the next execution to issue, if there is a place for it.
    pub(super) fn next(&self, max_concurrent: Option<u32>) -> Option<u32> {
        if max_concurrent.is_some_and(|max| self.issued >= max) {
            return None;
        }
        self.pending.first().map(|(_, ix)| *ix)
    }

    /// Returns whether any execution is pending, issued or retrying.
    pub(super) fn can_move(&self) -> bool {
        self.issued > 0 || self.retrying > 0 || !self.pending.is_empty()
    }
}
