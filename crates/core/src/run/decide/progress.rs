//! What follows from a command: joins fire, needs are met, the run rests or ends.

use std::cmp::Reverse;

use serde_json::{Value, json};

use super::Turn;
use crate::error::{Code, ErrorObject};
use crate::ids::{Ordinal, StepName};
use crate::run::NeedsState;
use crate::run::command::TimerKey;
use crate::run::event::{Activation, Event, SkipReason};
use crate::run::needs::{Lost, Verdict};
use crate::status::{ExecutionStatus, PauseReason, RunStatus};
use crate::workflow::definition::{Join, NeedKind};
use crate::workflow::{Role, StepIx};

impl Turn<'_> {
    /// Lets everything happen that can happen by itself, then says whether the run is paused or over.
    pub(super) fn settle(&mut self) {
        while !self.run.status.is_terminal() && self.run.status != RunStatus::Pending {
            if self.look_at_arrivals()
                || self.look_at_moves()
                || self.look_at_fans()
                || self.fire_joins()
                || self.look_at_lost_needs()
            {
                continue;
            }
            if self.run.queue.can_move() || self.run.open_waits.asking + self.run.open_waits.moving > 0 {
                break;
            }
            if self.fire_stuck() || self.look_at_needs_quietly() {
                continue;
            }
            if self.waits_for_needs_timer() || self.asks_a_predicate() {
                break;
            }
            if self.run.blocked.is_empty() {
                self.end_run();
            } else {
                self.fail_deadlocked();
            }
        }
        self.run.fresh.clear();
        self.run.moved.clear();
        self.run.fans.clear();
        self.rest_or_move();
    }

    /// Looks at tokens that have just arrived and are not held: payloads, `each`, `any`, late ones.
    fn look_at_arrivals(&mut self) -> bool {
        let mut fresh = std::mem::take(&mut self.run.fresh);
        if fresh.is_empty() {
            return false;
        }
        let workflow = self.run.workflow.clone();
        if fresh.len() > 1 {
            let priority =
                |id: &u32| self.run.tokens.get(*id).map(|token| workflow.step(token.step).priority);
            fresh.sort_by_key(|id| Reverse(priority(id)));
        }
        for id in &fresh {
            let Some(token) = self.run.tokens.get(*id) else { continue };
            let step = token.step;
            if token.late.contains(&step) {
                let name = workflow.step(step).name.clone();
                self.emit(Event::TokenAbsorbed { step: name, token: *id });
            } else if token.payload.is_some() || workflow.step(step).join != Join::All {
                self.activate(step, Activation::Token(*id));
            }
            if self.run.status.is_terminal() {
                break;
            }
        }
        true
    }

    fn fire_joins(&mut self) -> bool {
        if self.run.ending.is_some() {
            return false;
        }
        let run = &mut *self.run;
        let Some(step) = run.tokens.next_to_fire(run.workflow.graph()) else { return false };
        self.activate(step, Activation::Held);
        true
    }

    /// Every live token is held: one step goes first.
    fn fire_stuck(&mut self) -> bool {
        let run = &*self.run;
        let Some(step) = run.tokens.first_of_stuck(run.workflow.graph()) else { return false };
        self.activate(step, Activation::Held);
        true
    }

    /// Makes an execution, or lets held tokens join a blocked one.
    pub(super) fn activate(&mut self, step: StepIx, by: Activation) {
        let workflow = self.run.workflow.clone();
        let definition = workflow.step(step);
        let joins_blocked = matches!(by, Activation::Held).then(|| self.blocked_at(step)).flatten();
        let is_routed = matches!(by, Activation::Held | Activation::Token(_)) && joins_blocked.is_none();
        if is_routed && self.refuse_endless(step) {
            return;
        }
        let ordinal = joins_blocked.unwrap_or_else(|| self.next_ordinal(step));
        let gates =
            !matches!(by, Activation::Needs(_) | Activation::Compensation(_)) && !definition.needs.is_empty();
        let judged = joins_blocked
            .and_then(|ordinal| self.run.of_step(step, ordinal))
            .and_then(|ix| self.run.exec(ix).judged);
        let verdict =
            if gates { self.run.verdict(step, judged, self.at, Lost::Nothing, 0) } else { Verdict::Met };
        let blocked = verdict != Verdict::Met;
        self.emit(Event::StepActivated { step: definition.name.clone(), execution: ordinal, by, blocked });
        let Some(ix) = self.run.of_step(step, ordinal) else { return };
        if blocked {
            self.act_on(ix, verdict);
        } else {
            self.check_condition(ix);
        }
    }

    /// Fails the run if it has made as many routed executions as it may; says whether it did.
    pub(super) fn refuse_endless(&mut self, next: StepIx) -> bool {
        let limit = self.run.workflow.definition().max_steps;
        if self.run.routed < limit {
            return false;
        }
        let message = format!(
            "run {} made {limit} routed executions; the next would be of step '{}'",
            self.run.id(),
            self.run.workflow.step(next).name
        );
        let error = ErrorObject::new(Code::MAX_STEPS, message)
            .with("max_steps", limit)
            .with_hint("end the loop, or raise max_steps");
        self.fail_run(error);
        true
    }

    fn blocked_at(&self, step: StepIx) -> Option<Ordinal> {
        let mut blocked = self.run.blocked.iter().rev().map(|ix| self.run.exec(*ix));
        blocked.find(|e| e.step_ix() == step && e.payload.is_none()).map(|e| e.ordinal)
    }

    /// Returns the ordinal of the next activation: the one that was skipped in an earlier epoch, or a new one.
    pub(super) fn next_ordinal(&self, step: StepIx) -> Ordinal {
        let state = &self.run.steps[step.at()];
        let revived = state.executions.last().map(|ix| self.run.exec(*ix)).filter(|last| {
            last.status == ExecutionStatus::Skipped
                && last.epoch < self.run.epoch
                && matches!(state.needs, NeedsState::Waiting { .. })
        });
        revived.map_or(Ordinal(state.executions.len() as u32 + 1), |last| last.ordinal)
    }

    /// Asks `when`: an execution whose condition does not hold is skipped, one whose condition cannot be
    /// asked fails.
    fn check_condition(&mut self, ix: u32) {
        if self.run.exec(ix).compensates.is_some() {
            return;
        }
        match self.run.condition_holds(ix) {
            Ok(true) => {}
            Ok(false) => self.skip(ix, SkipReason::Condition, None),
            Err(error) => self.fail_for_good(ix, &error, false),
        }
    }

    fn skip(&mut self, ix: u32, reason: SkipReason, error: Option<Box<ErrorObject>>) {
        let at = self.step_ref(ix);
        self.emit(Event::StepSkipped { step: at.step, execution: at.execution, reason, error });
    }

    /// Asks the needs again of whoever waits for a step that has just changed.
    fn look_at_moves(&mut self) -> bool {
        let moved = std::mem::take(&mut self.run.moved);
        if moved.is_empty() {
            return false;
        }
        let workflow = self.run.workflow.clone();
        for (step, execution, failed) in &moved {
            for dependent in workflow.graph().dependents(*step) {
                self.look_at_needs(*dependent, Some((*step, *execution)), *failed);
            }
        }
        for ix in self.run.blocked.iter().copied().collect::<Vec<_>>() {
            let needs = &workflow.step(self.run.exec(ix).step_ix).needs;
            let concerns = |need: &crate::workflow::definition::Need| {
                moved.iter().any(|(step, _, _)| workflow.step(*step).name == need.step)
            };
            if needs.iter().any(concerns) {
                self.look_at_blocked(ix, Lost::Nothing);
            }
        }
        true
    }

    /// Asks all that wait for their needs: what a need looks at may have changed as a whole.
    pub(super) fn look_at_all_needs(&mut self) {
        let workflow = self.run.workflow.clone();
        for step in workflow.graph().steps_of(Role::ByNeeds) {
            self.look_at_needs(step, None, true);
        }
        for ix in self.run.blocked.iter().copied().collect::<Vec<_>>() {
            self.look_at_blocked(ix, Lost::Nothing);
        }
    }

    /// Asks the needs of a step that is activated by them. `because`: the needed step that changed.
    pub(super) fn look_at_needs(
        &mut self,
        step: StepIx,
        because: Option<(StepIx, Option<u32>)>,
        failed: bool,
    ) {
        let NeedsState::Waiting { cursor } = self.run.steps[step.at()].needs else { return };
        if self.run.status.is_terminal() || self.run.ending.is_some() {
            return;
        }
        let workflow = self.run.workflow.clone();
        // The need at the cursor was found unmet. Unless its own step has changed, or one has failed, the
        // others may change as they like: so a merge of ten thousand does not ask ten thousand times as many.
        let unmet = workflow
            .step(step)
            .needs
            .get(cursor as usize)
            .filter(|_| workflow.graph().has_steady_needs(step));
        if let (Some((changed, _)), Some(unmet), false) = (because, unmet, failed)
            && workflow.step(changed).name != unmet.step
        {
            return;
        }
        let from = if unmet.is_some() && !failed { cursor } else { 0 };
        let mut verdict = self.run.verdict(step, None, self.at, Lost::Nothing, from);
        if from > 0 && !matches!(verdict, Verdict::Wait(_)) {
            verdict = self.run.verdict(step, None, self.at, Lost::Nothing, 0);
        }
        let cause = because.and_then(|(_, execution)| execution);
        self.act_on_needs(step, verdict, cause);
    }

    fn act_on_needs(&mut self, step: StepIx, verdict: Verdict, cause: Option<u32>) {
        let name = self.run.workflow.step(step).name.clone();
        match verdict {
            Verdict::Wait(cursor) => self.run.steps[step.at()].needs = NeedsState::Waiting { cursor },
            Verdict::Met => {
                let after = cause.map(|ix| self.run.reference(ix));
                self.activate(step, Activation::Needs(after));
            }
            Verdict::Judge => {
                let after = cause.map(|ix| self.run.reference(ix));
                let execution = self.next_ordinal(step);
                let by = Activation::Needs(after);
                self.emit(Event::StepActivated { step: name, execution, by, blocked: true });
                if let Some(ix) = self.run.of_step(step, execution) {
                    self.act_on(ix, Verdict::Judge);
                }
            }
            Verdict::Skip { reason, behind } => {
                let execution = self.next_ordinal(step);
                let error = skip_error(&name, reason, &behind);
                self.emit(Event::StepSkipped { step: name, execution, reason, error });
            }
        }
    }

    /// Asks the needs of a blocked execution.
    pub(super) fn look_at_blocked(&mut self, ix: u32, lost: Lost<'_>) -> bool {
        let execution = self.run.exec(ix);
        // A predicate that is being asked is waited for.
        if execution.status != ExecutionStatus::Blocked || execution.judging || self.run.status.is_terminal()
        {
            return false;
        }
        let verdict = self.run.verdict(execution.step_ix, execution.judged, self.at, lost, 0);
        let moves = !matches!(verdict, Verdict::Wait(_));
        self.act_on(ix, verdict);
        moves
    }

    fn act_on(&mut self, ix: u32, verdict: Verdict) {
        match verdict {
            Verdict::Wait(_) => {}
            Verdict::Met => {
                let at = self.step_ref(ix);
                self.emit(Event::StepUnblocked { step: at.step, execution: at.execution });
                self.check_condition(ix);
            }
            Verdict::Judge => {
                if !self.run.exec(ix).judging {
                    let at = self.step_ref(ix);
                    self.emit(Event::NeedAsked { step: at.step, execution: at.execution });
                }
            }
            Verdict::Skip { reason, behind } => {
                let error = skip_error(&self.run.exec(ix).step, reason, &behind);
                self.skip(ix, reason, error);
            }
        }
    }

    /// Asks those that wait for a step that no live token can come to any more, while others still move.
    fn look_at_lost_needs(&mut self) -> bool {
        if self.run.ending.is_some() {
            return false;
        }
        let workflow = self.run.workflow.clone();
        for step in workflow.graph().steps_with_routed_needs() {
            if !matches!(self.run.steps[step.at()].needs, NeedsState::Waiting { .. }) {
                continue;
            }
            let lost = self.lost_needs(step);
            if lost.is_empty() {
                continue;
            }
            let verdict = self.run.verdict(step, None, self.at, Lost::These(&lost), 0);
            if !matches!(verdict, Verdict::Wait(_)) {
                self.act_on_needs(step, verdict, None);
                return true;
            }
        }
        for ix in self.run.blocked.iter().copied().collect::<Vec<_>>() {
            let step = self.run.exec(ix).step_ix;
            let lost = self.lost_needs(step);
            if lost.is_empty() {
                continue;
            }
            if self.is_deadlocked(ix, Lost::These(&lost)) {
                self.fail_deadlocked();
                return true;
            }
            if self.look_at_blocked(ix, Lost::These(&lost)) {
                return true;
            }
        }
        false
    }

    /// Returns the steps that this one still waits for and that are out of reach of every live token.
    fn lost_needs(&mut self, step: StepIx) -> Vec<StepIx> {
        let workflow = self.run.workflow.clone();
        let run = &mut *self.run;
        let blocked_here =
            run.blocked.iter().filter(|ix| run.executions[**ix as usize].step_ix == step).count();
        let others_here = run.steps[step.at()].live as usize > blocked_here;
        let mut lost = Vec::new();
        for need in workflow.step(step).needs.iter().filter(|need| need.kind != NeedKind::Parallel) {
            let Some(needed) = workflow.find(need.step.as_str()) else { continue };
            let awaits_its_needs = matches!(run.steps[needed.at()].needs, NeedsState::Waiting { .. });
            if !awaits_its_needs
                && run.is_possible(step, needed, need, self.at)
                && !run.tokens.can_come(step, others_here, needed, workflow.graph())
            {
                lost.push(needed);
            }
        }
        lost
    }

    fn is_deadlocked(&self, ix: u32, lost: Lost<'_>) -> bool {
        let execution = self.run.exec(ix);
        let verdict = self.run.verdict(execution.step_ix, execution.judged, self.at, lost, 0);
        matches!(verdict, Verdict::Skip { reason: SkipReason::NeedsUnmet, .. })
            && self.run.requires_what_is_gone(execution.step_ix, self.at, lost)
    }

    /// Nothing else can move: what is not there will not come. Asks everyone who waits once more.
    fn look_at_needs_quietly(&mut self) -> bool {
        let workflow = self.run.workflow.clone();
        let waiting: Vec<StepIx> = workflow
            .graph()
            .steps_of(Role::ByNeeds)
            .filter(|step| matches!(self.run.steps[step.at()].needs, NeedsState::Waiting { .. }))
            .collect();
        for step in waiting {
            let verdict = self.run.verdict(step, None, self.at, Lost::Everything, 0);
            if !matches!(verdict, Verdict::Wait(_)) {
                self.act_on_needs(step, verdict, None);
                return true;
            }
        }
        for ix in self.run.blocked.iter().copied().collect::<Vec<_>>() {
            if !self.is_deadlocked(ix, Lost::Everything) && self.look_at_blocked(ix, Lost::Everything) {
                return true;
            }
        }
        false
    }

    fn waits_for_needs_timer(&self) -> bool {
        self.run.timers.keys().any(|key| matches!(key, TimerKey::Need(..)))
    }

    fn asks_a_predicate(&self) -> bool {
        self.run.blocked.iter().any(|ix| self.run.exec(*ix).judging)
    }

    fn fail_deadlocked(&mut self) {
        let run = &self.run;
        let stuck: Vec<_> = run
            .blocked
            .iter()
            .map(|ix| {
                let execution = run.exec(*ix);
                let needs = &run.workflow.step(execution.step_ix).needs;
                let needs: Vec<&str> = needs.iter().map(|need| need.step.as_str()).collect();
                (execution.step.clone(), needs)
            })
            .collect();
        let told: Vec<String> =
            stuck.iter().map(|(step, needs)| format!("'{step}' waits for {}", needs.join(", "))).collect();
        let message = format!("what is left of run {} can never start: {}", run.id(), told.join("; "));
        let blocked: Vec<Value> =
            stuck.iter().map(|(step, needs)| json!({ "step": step, "needs": needs })).collect();
        self.fail_run(ErrorObject::new(Code::DEADLOCK, message).with("blocked", blocked));
    }

    pub(super) fn end_run(&mut self) {
        if let Some(failed) = self.run.failure {
            let error = self.run_error(failed);
            self.emit(Event::RunFailed { error: Box::new(error) });
        } else {
            let output = self.run.final_output();
            self.emit(Event::RunCompleted { output });
        }
        self.tell_parent();
    }

    /// Says whether the run is paused because only people and signals can move it. What is blocked does not count, nor does the
    /// time at which it is blocked no more, as the deadline of a question does not.
    fn rest_or_move(&mut self) {
        let run = &self.run;
        if run.status.is_terminal() || run.status == RunStatus::Pending || run.operator_paused {
            return;
        }
        let only_input = !run.queue.can_move()
            && run.open_waits.asking > 0
            && run.open_waits.moving == 0
            && !self.asks_a_predicate();
        match (run.status, only_input) {
            (RunStatus::Running, true) => {
                self.emit(Event::RunPaused { reason: PauseReason::Input, note: None });
            }
            (RunStatus::Paused, false) => {
                self.emit(Event::RunResumed { reason: PauseReason::Input, note: None });
            }
            _ => {}
        }
    }
}

/// Returns the error of a skipped execution, if a failure is behind the skip.
fn skip_error(step: &StepName, reason: SkipReason, behind: &[StepName]) -> Option<Box<ErrorObject>> {
    if reason != SkipReason::UpstreamFailed {
        return None;
    }
    let names = behind.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let message = format!("step '{step}' was skipped: {names} did not complete");
    let error = ErrorObject::new(Code::TASK_DEPENDENCY_FAILED, message)
        .with("task_id", step.as_str())
        .with("failed_dependencies", json!(behind));
    Some(Box::new(error))
}
