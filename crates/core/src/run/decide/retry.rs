//! `Retry`: the next epoch of a run that failed, or that completed although something in it failed. What is completed
//! stays; what failed lives again.

use super::{Refusal, Turn};
use crate::ids::Epoch;
use crate::run::Run;
use crate::run::event::{Event, Payload};
use crate::status::RunStatus;

impl Turn<'_> {
    pub(super) fn retry(&mut self, input: Option<Payload>, note: Option<String>) -> Result<(), Refusal> {
        if !self.run.can_be_retried() {
            return Err(self.refuse("not_failed", self.nothing_to_retry()));
        }
        let deadline = self.run.workflow.definition().timeout_ms.map(|ms| self.at.plus_ms(ms));
        let epoch = Epoch(self.run.epoch.0 + 1);
        self.emit(Event::RunRetried { epoch, input, deadline, note });
        self.look_at_all_needs();
        Ok(())
    }

    fn nothing_to_retry(&self) -> String {
        let (run, status) = (self.run.id(), self.run.status);
        match status {
            RunStatus::Completed => {
                format!("run {run} is {status} and nothing of it is left to be tried again")
            }
            RunStatus::Pending
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Failed
            | RunStatus::Cancelled => {
                format!(
                    "run {run} is {status}; only a failed run, or a completed one with failed steps, can be retried"
                )
            }
        }
    }
}

impl Run {
    /// Returns whether `Retry` would open another epoch: it failed, or it completed although something in it failed.
    pub fn can_be_retried(&self) -> bool {
        match self.status {
            RunStatus::Failed => true,
            RunStatus::Completed => (0..self.executions.len() as u32).any(|ix| self.ended_badly(ix)),
            RunStatus::Pending | RunStatus::Running | RunStatus::Paused | RunStatus::Cancelled => false,
        }
    }
}
