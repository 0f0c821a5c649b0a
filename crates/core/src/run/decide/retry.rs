//! `Retry`: the next epoch of a run that failed, or that completed although something in it failed. What is completed
//! stays; what failed lives again.

use super::{Refusal, Turn};
use crate::ids::Epoch;
use crate::run::event::{Event, Payload};
use crate::run::{Execution, Run};
use crate::status::{ExecutionStatus, RunStatus};

impl Turn<'_> {
    pub(super) fn retry(&mut self, input: Option<Payload>, note: Option<String>) -> Result<(), Refusal> {
        if !self.run.can_be_retried() {
            return Err(self.refuse("not_failed", self.nothing_to_retry()));
        }
        self.open_epoch(input, note);
        Ok(())
    }

    /// Lets what failed live again.
    pub(super) fn open_epoch(&mut self, input: Option<Payload>, note: Option<String>) {
        let deadline = self.run.workflow.definition().timeout_ms.map(|ms| self.at.plus_ms(ms));
        let epoch = Epoch(self.run.epoch.0 + 1);
        self.emit(Event::RunRetried { epoch, input, deadline, note });
        self.begin_children_again();
        self.look_at_all_needs();
    }

    /// Lets new child runs go the branches whose child runs did not complete.
    fn begin_children_again(&mut self) {
        let lives_again =
            |e: &Execution| e.stands_for_child && e.status == ExecutionStatus::Waiting && e.open_waits == 0;
        let all = self.run.executions.iter().enumerate();
        let again: Vec<u32> = all.filter(|(_, e)| lives_again(e)).map(|(ix, _)| ix as u32).collect();
        for ix in again {
            let known = self.run.exec(ix).waits.last().and_then(|wait| self.run.waits.get(wait));
            if let Some(spec) = known.map(|wait| wait.spec.clone()) {
                self.open_wait(ix, spec);
            }
        }
    }

    fn nothing_to_retry(&self) -> String {
        let (run, status) = (self.run.id(), self.run.status);
        match status {
            RunStatus::Completed => {
                let but = self.failed_elements().map_or_else(String::new, |but| format!(": {but}"));
                format!("run {run} is {status} and nothing of it is left to be tried again{but}")
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

    /// Says which elements failed whose step is completed all the same: the first, and how many others.
    fn failed_elements(&self) -> Option<String> {
        let has_failed =
            |execution: &&Execution| execution.element.is_some() && execution.status.is_failure();
        let mut failed = self.run.executions.iter().filter(has_failed);
        let first = failed.next()?;
        let step = &self.run.element_of(first)?.step;
        let others = match failed.count() {
            0 => String::new(),
            1 => " and 1 other".to_owned(),
            others => format!(" and {others} others"),
        };
        Some(format!(
            "{}#{}{others} failed, but {step} is completed, as on_failure: continue wants it",
            first.step, first.ordinal
        ))
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
