//! Activation: a step becomes an execution, with the tokens that came together for it, and queues up.

use crate::ids::{Ordinal, StepName, Timestamp};
use crate::run::command::TimerKey;
use crate::run::event::Activation;
use crate::run::execution::Execution;
use crate::run::token::{self, Lineage, Token};
use crate::run::{NeedsState, Run};
use crate::status::ExecutionStatus;
use crate::workflow::StepIx;
use crate::workflow::definition::{Join, NeedKind};

impl Run {
    pub(super) fn start_need_timers(&mut self, dependent: StepIx, at: Timestamp) {
        let workflow = self.workflow.clone();
        let step = workflow.step(dependent);
        for need in &step.needs {
            if let NeedKind::Timeout { timeout_ms } = need.kind {
                let key = TimerKey::Need(step.name.clone(), need.step.clone());
                if !self.timers.contains_key(&key) {
                    self.set_timer(key, Some(at.plus_ms(timeout_ms)));
                }
                let needed = workflow.find(need.step.as_str());
                self.steps[dependent.at()].timed_out_needs.retain(|known| Some(*known) != needed);
            }
        }
    }

    pub(super) fn stop_need_timers(&mut self, dependent: StepIx) {
        let workflow = self.workflow.clone();
        let step = workflow.step(dependent);
        for need in step.needs.iter().filter(|need| matches!(need.kind, NeedKind::Timeout { .. })) {
            self.set_timer(TimerKey::Need(step.name.clone(), need.step.clone()), None);
        }
    }

    pub(super) fn step_activated(
        &mut self,
        step: &StepName,
        ordinal: Ordinal,
        by: &Activation,
        blocked: bool,
        at: Timestamp,
    ) {
        let Some(step_ix) = self.workflow.find(step.as_str()) else { return };
        let is_new = self.of_step(step_ix, ordinal).is_none();
        let ix = self.ensure_execution(step, step_ix, ordinal);
        let (lineage, late) = match by {
            Activation::Entry => (Lineage::default(), Vec::new()),
            Activation::Needs(after) => {
                self.steps[step_ix.at()].needs = NeedsState::Done;
                if !blocked {
                    self.stop_need_timers(step_ix);
                }
                let after = after.as_ref().and_then(|after| self.find(after.step.as_str(), after.ordinal));
                let lineage = after.map_or_else(Lineage::default, |after| {
                    let from = self.exec(after);
                    token::branch_off(&self.tokens.trimmed(&from.lineage), after, from.step_ix, step_ix)
                });
                (lineage, Vec::new())
            }
            Activation::Held => {
                self.routed += u32::from(is_new);
                let mut tokens = self.tokens.take_held(step_ix);
                tokens.extend(self.token_of(ix, step_ix));
                self.unite(ix, &tokens)
            }
            Activation::Token(id) => {
                self.routed += 1;
                let tokens: Vec<Token> = self.tokens.take(*id).into_iter().collect();
                self.executions[ix as usize].payload = tokens.first().and_then(|token| token.payload.clone());
                self.unite(ix, &tokens)
            }
            Activation::Compensation(of) => {
                let of = self.find(of.step.as_str(), of.ordinal);
                let execution = &mut self.executions[ix as usize];
                execution.compensates = of;
                execution.failure_of = of;
                (Lineage::default(), Vec::new())
            }
            Activation::Element { of, index } => {
                let waits = self.workflow.element_of(step_ix).map(|of| self.workflow.step(of).name.clone());
                let of = waits.and_then(|name| self.find(name.as_str(), *of));
                self.element_activated(ix, of, *index);
                (Lineage::default(), Vec::new())
            }
            Activation::Child { of } => {
                self.routed += 1;
                self.child_activated(ix, step, *of, at)
            }
        };
        let execution = &mut self.executions[ix as usize];
        execution.has_token = !matches!(by, Activation::Compensation(_) | Activation::Element { .. });
        execution.late = late;
        execution.lineage = lineage;
        if execution.has_token {
            self.tokens.occupy(execution.place(), &execution.lineage);
        }
        if matches!(by, Activation::Held | Activation::Token(_)) {
            self.mark_late(step_ix, ix);
        }
        if matches!(by, Activation::Child { .. }) {
            self.set_status(ix, ExecutionStatus::Waiting);
        } else if blocked {
            self.set_status(ix, ExecutionStatus::Blocked);
            if !matches!(by, Activation::Needs(_)) {
                self.start_need_timers(step_ix, at);
            }
        } else {
            self.queue_up(ix, at);
        }
    }

    /// Returns lineage and lateness of an execution that stands for one more branch of a route, which a child run goes.
    fn child_activated(
        &mut self,
        ix: u32,
        step: &StepName,
        of: Ordinal,
        at: Timestamp,
    ) -> (Lineage, Vec<StepIx>) {
        let execution = &mut self.executions[ix as usize];
        execution.stands_for_child = true;
        execution.ready_at = at;
        execution.started_at = Some(at);
        let place = execution.place();
        let Some(named) = self.find(step.as_str(), of) else { return (Lineage::default(), Vec::new()) };
        let from = self.exec(named);
        let lineage = token::branch_off(&self.tokens.trimmed(&from.lineage), named, from.step_ix, place);
        (lineage, from.late.clone())
    }

    /// Takes the token out of a blocked execution that further tokens join.
    pub(super) fn token_of(&mut self, ix: u32, step: StepIx) -> Option<Token> {
        let execution = &mut self.executions[ix as usize];
        if !execution.has_token {
            return None;
        }
        execution.has_token = false;
        let (lineage, late) = (execution.lineage.clone(), std::mem::take(&mut execution.late));
        self.tokens.vacate(step, &lineage);
        Some(Token { step, lineage, late, payload: None, failure_of: None })
    }

    pub(super) fn unite(&mut self, ix: u32, tokens: &[Token]) -> (Lineage, Vec<StepIx>) {
        let mut late = tokens.first().map(|token| token.late.clone()).unwrap_or_default();
        late.retain(|step| tokens.iter().all(|token| token.late.contains(step)));
        let failure_of = tokens.iter().find_map(|token| token.failure_of);
        if failure_of.is_some() {
            self.executions[ix as usize].failure_of = failure_of;
        }
        (self.tokens.trimmed(&token::unite(tokens)), late)
    }

    /// For `join: any`: every other live token that can still come here is too late.
    pub(super) fn mark_late(&mut self, step: StepIx, first: u32) {
        if self.workflow.step(step).join != Join::Any {
            return;
        }
        let workflow = self.workflow.clone();
        self.tokens.mark_late(step, workflow.graph());
        let sources = workflow.graph().sources(step);
        for (i, execution) in self.executions.iter_mut().enumerate() {
            let can_come = execution.has_token && sources.contains(execution.place(), false);
            if can_come && i as u32 != first && !execution.late.contains(&step) {
                execution.late.push(step);
            }
        }
    }

    pub(super) fn ensure_execution(&mut self, step: &StepName, step_ix: StepIx, ordinal: Ordinal) -> u32 {
        if let Some(known) = self.of_step(step_ix, ordinal) {
            let execution = &mut self.executions[known as usize];
            if execution.status == ExecutionStatus::Skipped {
                execution.error = None;
                execution.finished_at = None;
            }
            execution.epoch = self.epoch;
            return known;
        }
        let ix = self.executions.len() as u32;
        let mut execution = Execution::new(step.clone(), step_ix, ordinal, self.epoch);
        execution.input_generation = self.input_generation;
        self.executions.push(execution);
        self.steps[step_ix.at()].executions.push(ix);
        ix
    }

    /// Puts an execution in line for a worker.
    pub(super) fn queue_up(&mut self, ix: u32, at: Timestamp) {
        let execution = &mut self.executions[ix as usize];
        if execution.status == ExecutionStatus::Retrying {
            let key = TimerKey::Retry(execution.step.clone(), execution.ordinal);
            execution.due_at = None;
            self.set_timer(key, None);
        }
        let execution = &mut self.executions[ix as usize];
        execution.ready_at = at;
        execution.stale = false;
        let step = execution.step_ix;
        if execution.status == ExecutionStatus::Blocked {
            self.stop_need_timers(step);
        }
        self.steps[step.at()].started_tick = self.tick;
        self.set_status(ix, ExecutionStatus::Pending);
        if self.fans_out(step) {
            self.fans.push(ix);
        }
    }

    pub(super) fn issue(&mut self, _at: Timestamp) {
        if self.status.is_terminal() {
            return;
        }
        let max = self.workflow.definition().max_concurrent;
        while let Some(ix) = self.queue.next(max) {
            self.set_status(ix, ExecutionStatus::Ready);
        }
    }
}
