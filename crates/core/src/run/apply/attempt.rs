//! Attempts and what comes of them: an execution ends, and its token goes where it leads.

use crate::ids::{Ordinal, StepName, Timestamp};
use crate::run::command::TimerKey;
use crate::run::event::{AttemptStarted, Payload, Target};
use crate::run::token::{self, Token};
use crate::run::{NeedsState, Run};
use crate::status::ExecutionStatus;
use crate::workflow::StepIx;
use crate::workflow::definition::OnFailure;

impl Run {
    pub(super) fn attempt_started(&mut self, started: &AttemptStarted, at: Timestamp) {
        let Some(ix) = self.find(started.step.as_str(), started.execution) else { return };
        let execution = &mut self.executions[ix as usize];
        if !matches!(execution.status, ExecutionStatus::Ready | ExecutionStatus::Retrying) {
            return;
        }
        execution.attempts = started.attempt;
        execution.session = started.session;
        execution.rerun = false;
        execution.due_at = None;
        execution.attempt_started_at = at;
        execution.started_at.get_or_insert(at);
        self.set_status(ix, ExecutionStatus::Running);
    }

    pub(super) fn step_completed(&mut self, ix: u32, output: &Payload, to: &[Target], at: Timestamp) {
        self.value_bytes += crate::context::value_bytes(output);
        let execution = &mut self.executions[ix as usize];
        execution.output = Some(output.clone());
        execution.error = None;
        let step = execution.step_ix;
        self.end_execution(ix, ExecutionStatus::Completed, at);
        let state = &mut self.steps[step.at()];
        state.completions += 1;
        state.completed_tick = self.tick;
        state.completed_at = at;
        self.depart(ix, to, None);
        self.moved.push((step, Some(ix), false));
    }

    /// Closes an execution; its token is still where it was.
    pub(super) fn end_execution(&mut self, ix: u32, status: ExecutionStatus, at: Timestamp) {
        let execution = &mut self.executions[ix as usize];
        execution.finished_at = Some(at);
        execution.due_at = None;
        execution.settle = None;
        execution.judging = false;
        let before = execution.status;
        if before == ExecutionStatus::Retrying {
            let key = TimerKey::Retry(execution.step.clone(), execution.ordinal);
            self.set_timer(key, None);
        }
        if before == ExecutionStatus::Blocked {
            self.stop_need_timers(self.exec(ix).step_ix);
        }
        self.updated_at = at;
        self.set_status(ix, status);
        if !before.is_terminal() {
            self.element_ended(ix);
        }
    }

    pub(super) fn wait_for_retry(&mut self, ix: u32, due: Timestamp) {
        let execution = &mut self.executions[ix as usize];
        execution.due_at = Some(due);
        execution.stale = false;
        let key = TimerKey::Retry(execution.step.clone(), execution.ordinal);
        self.set_status(ix, ExecutionStatus::Retrying);
        // Without a bound on concurrency the work item itself carries the time.
        if self.workflow.definition().max_concurrent.is_some() {
            self.set_timer(key, Some(due));
        }
    }

    pub(super) fn failure_handled(&mut self, ix: u32, to: Option<&StepName>) {
        let execution = &mut self.executions[ix as usize];
        let step = execution.step_ix;
        if self.ending == Some(ix) {
            self.ending = None;
        }
        if let Some(name) = to {
            self.executions[ix as usize].routed_failure = true;
            self.depart(ix, &[Target::to(name.as_str())], Some(ix));
        } else {
            self.vacate(ix);
            if self.workflow.step(step).on_failure == OnFailure::Fail {
                self.failure.get_or_insert(ix);
            }
        }
        self.moved.push((step, Some(ix), true));
    }

    pub(super) fn vacate(&mut self, ix: u32) {
        let execution = &mut self.executions[ix as usize];
        if execution.has_token {
            execution.has_token = false;
            let (place, lineage) = (execution.place(), execution.lineage.clone());
            self.tokens.vacate(place, &lineage);
        }
    }

    /// Moves the token of an execution to its targets; without targets it ends.
    pub(super) fn depart(&mut self, ix: u32, to: &[Target], failure_of: Option<u32>) {
        let had_token = self.exec(ix).has_token;
        self.vacate(ix);
        if to.is_empty() || !had_token {
            return;
        }
        let workflow = self.workflow.clone();
        let (step, lineage, late) = {
            let execution = self.exec(ix);
            (execution.step_ix, self.tokens.trimmed(&execution.lineage), execution.late.clone())
        };
        let mut plain = foldhash::HashSet::default();
        let mut branches: Vec<(StepIx, Option<Payload>)> = Vec::with_capacity(to.len());
        // What a child run carries out has an execution of its own (`Activation::Child`).
        for target in to.iter().filter(|target| target.workflow.is_none()) {
            let Some(target_ix) = workflow.find(target.step.as_str()) else { continue };
            let is_repeated = target.payload.is_none() && to.len() > 1 && !plain.insert(target_ix);
            if is_repeated {
                continue;
            }
            branches.push((target_ix, target.payload.clone()));
        }
        // A step that others need forks also when it names one target: what its completion activates by
        // needs is one more branch.
        let forks =
            branches.len() > 1 || to.len() > branches.len() || !workflow.graph().dependents(step).is_empty();
        for (target, payload) in branches {
            let lineage = if forks { token::branch_off(&lineage, ix, step, target) } else { lineage.clone() };
            let token = Token { step: target, lineage, late: late.clone(), payload, failure_of };
            let id = self.tokens.arrive(token, &workflow);
            self.fresh.push(id);
        }
    }

    pub(super) fn step_skipped(
        &mut self,
        step: &StepName,
        ordinal: Ordinal,
        error: Option<&crate::error::ErrorObject>,
        at: Timestamp,
    ) {
        let Some(step_ix) = self.workflow.find(step.as_str()) else { return };
        let ix = self.ensure_execution(step, step_ix, ordinal);
        if self.steps[step_ix.at()].needs != NeedsState::None {
            self.steps[step_ix.at()].needs = NeedsState::Done;
            self.stop_need_timers(step_ix);
        }
        self.executions[ix as usize].error = error.cloned().map(Box::new);
        self.end_execution(ix, ExecutionStatus::Skipped, at);
        self.vacate(ix);
        self.moved.push((step_ix, Some(ix), true));
    }
}
