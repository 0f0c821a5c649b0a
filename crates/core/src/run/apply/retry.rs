//! A new epoch: what failed, was cancelled or skipped for a failure lives again.

use crate::ids::{Epoch, Timestamp};
use crate::run::command::TimerKey;
use crate::run::event::Payload;
use crate::run::needs::ANY_NEED;
use crate::run::{NeedsState, Run};
use crate::status::{ExecutionStatus, RunStatus};
use crate::workflow::Role;
use crate::workflow::definition::{Need, NeedKind};

impl Run {
    pub(super) fn run_retried(
        &mut self,
        epoch: Epoch,
        input: Option<&Payload>,
        deadline: Option<Timestamp>,
        at: Timestamp,
    ) {
        self.epoch = epoch;
        self.status = RunStatus::Running;
        self.pause_reason = None;
        self.error = None;
        self.failure = None;
        self.output = Payload::default();
        self.ending = None;
        self.finished_at = None;
        self.updated_at = at;
        self.begin_session(at);
        self.await_checkpoint(at);
        self.routed = 0;
        self.deadline = deadline;
        self.time_limit_ms = None;
        self.set_timer(TimerKey::Run, deadline);
        if let Some(input) = input {
            self.input = input.clone();
            self.input_generation += 1;
        }
        // The run ended before these could begin.
        self.fresh.extend(self.tokens.not_held(&self.workflow));
        let all = 0..self.executions.len() as u32;
        let revived: Vec<u32> = all.filter(|ix| self.revive(*ix, input.is_some())).collect();
        for ix in revived {
            self.line_up_again(ix, at);
        }
        let workflow = self.workflow.clone();
        for step in workflow.graph().steps_of(Role::ByNeeds) {
            if matches!(self.steps[step.at()].needs, NeedsState::Waiting { .. }) {
                self.start_need_timers(step, at);
            }
        }
    }

    /// Lets a failed, cancelled or failure-skipped execution live again in a new epoch; says whether it does.
    pub(super) fn revive(&mut self, ix: u32, new_input: bool) -> bool {
        let step = self.exec(ix).step_ix;
        if self.was_skipped_for_a_failure(ix) {
            if self.steps[step.at()].needs == NeedsState::Done && !self.was_activated(ix) {
                self.steps[step.at()].needs = NeedsState::Waiting { cursor: ANY_NEED };
                return false;
            }
        } else if !self.ended_badly(ix) {
            return false;
        }
        let generation = self.input_generation;
        let execution = &mut self.executions[ix as usize];
        execution.epoch = self.epoch;
        execution.losses = 0;
        execution.failed_attempts.clear();
        execution.error = None;
        execution.finished_at = None;
        execution.stale = false;
        execution.rerun = false;
        execution.judged = None;
        if new_input {
            execution.input_generation = generation;
            execution.kept_key = None;
        }
        // A failure whose compensation was cut off still has its token.
        self.vacate(ix);
        let execution = &mut self.executions[ix as usize];
        execution.has_token = true;
        let lineage = execution.lineage.clone();
        let place = execution.place();
        self.tokens.occupy(place, &lineage);
        self.set_status(ix, ExecutionStatus::Blocked);
        true
    }

    /// Returns whether an execution failed or was cancelled, and is tried again by a retry of the run.
    pub(in crate::run) fn ended_badly(&self, ix: u32) -> bool {
        let status = self.exec(ix).status;
        (status.is_failure() || status == ExecutionStatus::Cancelled) && self.stands_for_itself(ix)
    }

    fn was_skipped_for_a_failure(&self, ix: u32) -> bool {
        let execution = self.exec(ix);
        execution.status == ExecutionStatus::Skipped
            && execution.error.is_some()
            && self.stands_for_itself(ix)
    }

    /// Returns whether an execution lives again by itself. A compensation does not; nor does a failure that another step
    /// took over, nor an element, which begins again when the execution that waits for it does.
    fn stands_for_itself(&self, ix: u32) -> bool {
        let execution = self.exec(ix);
        execution.compensates.is_none() && !execution.routed_failure && execution.element.is_none()
    }

    /// Puts an execution that lives again in line, unless it must wait for its needs: because it never began, or
    /// because a step that it needs lives again too.
    pub(super) fn line_up_again(&mut self, ix: u32, at: Timestamp) {
        let step = self.exec(ix).step_ix;
        if self.exec(ix).stands_for_child {
            self.set_status(ix, ExecutionStatus::Waiting);
            return;
        }
        let workflow = self.workflow.clone();
        let needs = &workflow.step(step).needs;
        let mut needed = needs.iter().filter(|need| need.kind != NeedKind::Parallel);
        let is_live =
            |need: &Need| workflow.find(need.step.as_str()).is_some_and(|d| self.steps[d.at()].live > 0);
        if needs.is_empty() || (self.was_activated(ix) && !needed.any(is_live)) {
            self.queue_up(ix, at);
        } else {
            self.start_need_timers(step, at);
        }
    }

    /// Returns whether an execution ever had a token: one that was skipped before its activation had none.
    pub(super) fn was_activated(&self, ix: u32) -> bool {
        let execution = self.exec(ix);
        execution.attempts > 0 || execution.ready_at != Timestamp::default()
    }
}
