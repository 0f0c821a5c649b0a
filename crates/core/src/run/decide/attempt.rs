//! What every outcome of an attempt has in common: it must come from the attempt that is under way.

use super::{Refusal, Turn};
use crate::error::ErrorObject;
use crate::ids::StepName;
use crate::run::command::AttemptRef;
use crate::run::event::{AttemptStarted, Event, Payload};
use crate::status::ExecutionStatus;

impl Turn<'_> {
    /// Returns the execution whose attempt this is, if the attempt is under way.
    ///
    /// A lease is no decision, so the state in memory may not know yet that the attempt has begun; the store
    /// has journaled it, and here it is made up for.
    pub(super) fn under_way(&mut self, attempt: &AttemptRef) -> Result<u32, Refusal> {
        self.refuse_terminal("given an outcome")?;
        let Some(ix) = self.run.find(attempt.step.as_str(), attempt.ordinal) else {
            return Err(
                self.refuse("stale_attempt", format!("step '{}' has no such execution", attempt.step))
            );
        };
        let execution = self.run.exec(ix);
        let is_current = match execution.status {
            ExecutionStatus::Running => execution.attempts == attempt.attempt,
            ExecutionStatus::Ready => execution.next_attempt() == attempt.attempt,
            // With a bound on concurrency the next attempt must queue for its place first.
            ExecutionStatus::Retrying => {
                self.run.workflow.definition().max_concurrent.is_none()
                    && execution.next_attempt() == attempt.attempt
            }
            // An attempt that a person is asked about is still its owner's while the question is open.
            ExecutionStatus::Waiting => {
                execution.settle.is_some()
                    && execution.attempts == attempt.attempt
                    && execution.session == attempt.session
            }
            ExecutionStatus::Pending
            | ExecutionStatus::Blocked
            | ExecutionStatus::Completed
            | ExecutionStatus::Failed
            | ExecutionStatus::TimedOut
            | ExecutionStatus::Cancelled
            | ExecutionStatus::Skipped => false,
        };
        if !is_current {
            let message = format!(
                "attempt {} of step '{}' is not under way: the execution is {}",
                attempt.attempt, attempt.step, execution.status
            );
            return Err(self.refuse("stale_attempt", message));
        }
        if matches!(execution.status, ExecutionStatus::Ready | ExecutionStatus::Retrying) {
            let started = AttemptStarted {
                step: attempt.step.clone(),
                execution: attempt.ordinal,
                attempt: attempt.attempt,
                session: attempt.session,
            };
            self.run.apply(&Event::AttemptStarted(started), self.at);
        }
        Ok(ix)
    }

    /// The owner of an attempt that a person is asked about has come back: the question is withdrawn.
    pub(super) fn withdraw_settle_question(&mut self, ix: u32) {
        if let Some(wait) = self.run.exec(ix).settle.clone() {
            self.resolve(&wait, crate::run::wait::Resolution::Withdrawn);
        }
    }

    /// Ends an attempt, and its execution with it, for a reason that another attempt would only meet again.
    pub(super) fn fail_attempt(&mut self, ix: u32, attempt: &AttemptRef, error: &ErrorObject) {
        let StepRef { step, execution } = self.step_ref(ix);
        self.emit(Event::AttemptFailed {
            step,
            execution,
            attempt: attempt.attempt,
            error: Box::new(error.clone()),
            timed_out: false,
            retry_at: None,
        });
        self.fail_for_good(ix, error, false);
    }

    pub(super) fn record(
        &mut self,
        attempt: &AttemptRef,
        name: &str,
        value: &Payload,
    ) -> Result<(), Refusal> {
        let known = self.run.find(attempt.step.as_str(), attempt.ordinal);
        let is_recorded = |ix: u32| self.run.exec(ix).memos.iter().any(|(known, _)| known == name);
        if known.is_some_and(is_recorded) {
            return Err(self.refuse("recorded", format!("'{name}' of step '{}' is recorded", attempt.step)));
        }
        self.under_way(attempt)?;
        self.emit(Event::MemoRecorded {
            step: attempt.step.clone(),
            execution: attempt.ordinal,
            name: name.to_owned(),
            value: value.clone(),
        });
        Ok(())
    }

    pub(super) fn judge(&mut self, attempt: &AttemptRef, holds: bool) -> Result<(), Refusal> {
        self.refuse_terminal("judged")?;
        let Some(ix) = self.judging(attempt) else {
            return Err(self.refuse("not_judging", format!("step '{}' asks for no verdict", attempt.step)));
        };
        let StepRef { step, execution } = self.step_ref(ix);
        self.emit(Event::NeedJudged { step, execution, holds });
        self.look_at_blocked(ix, crate::run::needs::Lost::Nothing);
        Ok(())
    }

    /// Returns the execution whose predicate that attempt runs.
    pub(super) fn judging(&self, attempt: &AttemptRef) -> Option<u32> {
        let known = self.run.find(attempt.step.as_str(), attempt.ordinal);
        known.filter(|ix| self.run.exec(*ix).judging && !self.run.status.is_terminal())
    }

    pub(super) fn step_ref(&self, ix: u32) -> StepRef {
        let at = self.run.reference(ix);
        StepRef { step: at.step, execution: at.ordinal }
    }
}

/// The head that most events share.
pub(super) struct StepRef {
    pub(super) step: StepName,
    pub(super) execution: crate::ids::Ordinal,
}
