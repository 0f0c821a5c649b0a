//! A run becomes a checkpoint.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Awaited, Checkpoint, FailedAttempt, Failure, How, KeptBranch, KeptElement, KeptExecution, KeptSignal,
    KeptTimer, KeptToken, KeptWait, Memo, MemoKind, Place, Queued, ResolvedWait, Seconds, StateMetadata,
    TimerKind, TokenState,
};
use crate::context::typed_parts;
use crate::ids::{Seq, StepName, WaitId};
use crate::run::command::TimerKey;
use crate::run::event::Payload;
use crate::run::token::{Lineage, Token};
use crate::run::wait::{ChildStart, Resolution, WaitKind};
use crate::run::{Execution, NeedsState, Run, Wait};
use crate::status::{ExecutionStatus, StateStatus};
use crate::workflow::StepIx;

impl Run {
    /// Returns how the run stands, after the event of that number. To be asked between two commands.
    pub fn checkpoint(&self, seq: Seq) -> Checkpoint {
        let steps = &self.workflow.definition().steps;
        let named = |holds: &dyn Fn(ExecutionStatus) -> bool| {
            let has =
                |step: StepIx| self.steps[step.at()].executions.iter().any(|ix| holds(self.exec(*ix).status));
            let numbered = steps.iter().enumerate().filter(|(i, _)| has(StepIx(*i as u32)));
            numbered.map(|(_, step)| step.name.clone()).collect()
        };
        let (shared_state, types) = self.shared_state();
        Checkpoint {
            schema_version: Checkpoint::SCHEMA_VERSION,
            run_id: self.id.clone(),
            seq,
            epoch: self.epoch,
            timestamp: Seconds(self.now),
            agent_name: self.workflow.name().to_owned(),
            agent_status: self.status.into(),
            pause_reason: self.pause_reason,
            definition: self.workflow.to_json(),
            definition_hash: self.workflow.definition().version(),
            completed_states: named(&|status| status == ExecutionStatus::Completed),
            running_states: named(&|status| status == ExecutionStatus::Running),
            priority_queue: self.queued(),
            state_metadata: self.states(),
            shared_state,
            types,
            executions: (0..self.executions.len() as u32).map(|ix| self.kept_execution(ix)).collect(),
            tokens: self.kept_tokens(),
            waits: self.kept_waits(),
            timers: self.kept_timers(),
            failures: self.failures(),
            session_start: self.session_start.map(Seconds),
            metadata: self.metadata.clone(),
            input: self.input.clone(),
            entry: self.entry.clone(),
            added_states: self.workflow.added_steps().iter().map(|step| step.name.clone()).collect(),
            tick: self.tick,
            started_at: self.started_at.map(Seconds),
            routed: self.routed,
            signals: self.kept_signals(),
            failed_by: self.failure.map(|ix| self.place(ix)),
            undoing: self.ending.map(|ix| self.place(ix)),
        }
    }

    /// Returns what is known of each step, by its name.
    pub fn states(&self) -> BTreeMap<StepName, StateMetadata> {
        let steps = &self.workflow.definition().steps;
        (0..steps.len() as u32).map(|i| (steps[i as usize].name.clone(), self.state(StepIx(i)))).collect()
    }

    fn state(&self, ix: StepIx) -> StateMetadata {
        let (step, state) = (self.workflow.step(ix), &self.steps[ix.at()]);
        let latest = self.latest(ix);
        let name_of = |ix: &StepIx| self.workflow.step(*ix).name.clone();
        let has_completed = |name: &&StepName| {
            self.workflow.find(name.as_str()).is_some_and(|ix| self.steps[ix.at()].completions > 0)
        };
        let dependencies: Vec<StepName> = step.needs.iter().map(|need| need.step.clone()).collect();
        let begun = state.executions.iter().filter_map(|ix| self.exec(*ix).started_at).max();
        StateMetadata {
            state_id: step.name.clone(),
            status: latest.map_or(StateStatus::Pending, |latest| latest.status.into()),
            detail: latest.map(|latest| latest.status),
            attempts: latest.map_or(0, |latest| latest.attempts),
            max_retries: step.retry.as_ref().map_or(0, |retry| retry.max_retries),
            resources: step.resources.clone(),
            satisfied_dependencies: dependencies.iter().filter(has_completed).cloned().collect(),
            dependencies,
            last_execution: begun.map(Seconds),
            last_success: (state.completions > 0).then_some(Seconds(state.completed_at)),
            completions: state.completions,
            completed_tick: state.completed_tick,
            started_tick: state.started_tick,
            awaits_needs: matches!(state.needs, NeedsState::Waiting { .. }),
            timed_out_needs: state.timed_out_needs.iter().map(name_of).collect(),
        }
    }

    fn queued(&self) -> Vec<Queued> {
        let waits = |status| matches!(status, ExecutionStatus::Pending | ExecutionStatus::Ready);
        let of = |execution: &Execution| Queued {
            step: execution.step.clone(),
            ordinal: execution.ordinal,
            priority: self.workflow.step(execution.step_ix).priority,
            status: execution.status,
        };
        let mut queued: Vec<Queued> = self.executions.iter().filter(|e| waits(e.status)).map(of).collect();
        queued.sort_by_key(|queued| Reverse(queued.priority));
        queued
    }

    fn shared_state(&self) -> (Map<String, Value>, BTreeMap<String, String>) {
        let (mut values, mut types) = (Map::new(), BTreeMap::new());
        for (key, value) in self.context.present() {
            let parts = typed_parts(value);
            if let Some((name, _)) = parts {
                types.insert(key.to_owned(), name.to_owned());
            }
            values.insert(key.to_owned(), parts.map_or(&**value, |(_, fields)| fields).clone());
        }
        (values, types)
    }

    fn kept_execution(&self, ix: u32) -> KeptExecution {
        let execution = self.exec(ix);
        let fan = execution.fan.as_deref();
        KeptExecution {
            step: execution.step.clone(),
            ordinal: execution.ordinal,
            status: execution.status,
            attempt: execution.attempts,
            payload: execution.payload.clone(),
            due: execution.due_at.map(Seconds),
            idempotency_key: self.idempotency_key(execution).to_string(),
            memo: self.memo(execution),
            epoch: execution.epoch,
            output: execution.output.clone(),
            error: execution.error.clone(),
            started_at: execution.started_at.map(Seconds),
            finished_at: execution.finished_at.map(Seconds),
            ready_at: (execution.ready_at.0 != 0).then_some(Seconds(execution.ready_at)),
            failed_attempts: execution.failed_attempts.iter().map(FailedAttempt::of).collect(),
            losses: execution.losses,
            rerun: execution.rerun,
            judging: execution.judging,
            judged: execution.judged,
            failure_of: execution.failure_of.map(|ix| self.place(ix)),
            compensates: execution.compensates.map(|ix| self.place(ix)),
            routed_failure: execution.routed_failure,
            stands_for_child: execution.stands_for_child,
            child: self.child_to_begin_again(execution),
            items: fan.map(|fan| fan.items.clone()),
            next_item: fan.map_or(0, |fan| fan.next),
            element: execution.element.map(|(of, index)| KeptElement { of: self.exec(of).ordinal, index }),
        }
    }

    fn child_to_begin_again(&self, execution: &Execution) -> Option<Box<ChildStart>> {
        let is_over = execution.status.is_terminal() && execution.status != ExecutionStatus::Completed;
        let wait = execution.waits.last().filter(|_| execution.stands_for_child && is_over)?;
        match &self.waits[wait].spec.kind {
            WaitKind::Child(child) => Some(child.clone()),
            WaitKind::Human(_) | WaitKind::Signal { .. } | WaitKind::Timer => None,
        }
    }

    fn memo(&self, execution: &Execution) -> Vec<Memo> {
        let once = |(name, value): &(String, Payload)| Memo {
            name: Some(name.clone()),
            value: Some(value.clone()),
            kind: MemoKind::Once,
        };
        let waits = execution.waits.iter().filter_map(|id| resolved(id, &self.waits[id]));
        execution.memos.iter().map(once).chain(waits).collect()
    }

    fn kept_tokens(&self) -> Vec<KeptToken> {
        let held = self.tokens.arrived().0.into_iter().map(|(id, token)| self.held_token(id, token));
        let may_live_again = |execution: &&Execution| {
            execution.has_token
                || (execution.status != ExecutionStatus::Completed
                    && !(execution.lineage.is_empty() && execution.late.is_empty()))
        };
        let within = self.executions.iter().filter(may_live_again);
        held.chain(within.map(|execution| self.token_within(execution))).collect()
    }

    fn held_token(&self, id: u32, token: Token) -> KeptToken {
        KeptToken {
            id: Some(id),
            step: self.name(token.step),
            state: TokenState::Held,
            lineage: self.kept_lineage(&token.lineage),
            ordinal: None,
            late: token.late.iter().map(|step| self.name(*step)).collect(),
            payload: token.payload,
            failure_of: token.failure_of.map(|ix| self.place(ix)),
        }
    }

    fn token_within(&self, execution: &Execution) -> KeptToken {
        KeptToken {
            id: None,
            step: execution.step.clone(),
            state: if execution.has_token { TokenState::Active } else { TokenState::Ended },
            lineage: self.kept_lineage(&execution.lineage),
            ordinal: Some(execution.ordinal),
            late: execution.late.iter().map(|step| self.name(*step)).collect(),
            payload: None,
            failure_of: None,
        }
    }

    fn kept_lineage(&self, lineage: &Lineage) -> Vec<KeptBranch> {
        let kept = lineage.iter().map(|branch| {
            let steps = branch.targets.iter().filter(|target| target.named_by().is_none());
            let children = branch.targets.iter().filter_map(|target| target.named_by());
            KeptBranch {
                fork: self.place(branch.fork),
                branches: steps.map(|step| self.name(*step)).collect(),
                by_children_of: children.map(|step| self.name(step)).collect(),
            }
        });
        kept.collect()
    }

    fn kept_waits(&self) -> Vec<KeptWait> {
        let of_execution = |execution: &Execution| {
            let waits = execution.waits.iter().map(|id| (id, &self.waits[id]));
            let open = waits.filter(|(_, wait)| wait.resolution.is_none());
            let kept = open.map(|(id, wait)| KeptWait {
                wait_id: id.clone(),
                step: execution.step.clone(),
                ordinal: execution.ordinal,
                kind: Awaited::of(&wait.spec.kind),
                position: wait.spec.position,
                r#try: tries(&wait.spec.kind),
                default: wait.spec.default.clone(),
                deadline: wait.spec.deadline.map(Seconds),
                name: wait.spec.name.clone(),
                then: wait.spec.then,
                epoch: wait.epoch,
                opened_at: Seconds(wait.opened_at),
            });
            kept.collect::<Vec<_>>()
        };
        self.executions.iter().flat_map(of_execution).collect()
    }

    fn kept_timers(&self) -> Vec<KeptTimer> {
        let of = |(key, at): (&TimerKey, &crate::ids::Timestamp)| {
            let at = Seconds(*at);
            match key {
                TimerKey::Run => Some(KeptTimer { kind: TimerKind::Run, step: None, at, need: None }),
                TimerKey::Need(step, need) => {
                    let (step, need) = (Some(step.clone()), Some(need.clone()));
                    Some(KeptTimer { kind: TimerKind::Need, step, at, need })
                }
                // Executions, waits and the definition tell.
                TimerKey::Retry(..) | TimerKey::Wait(_) | TimerKey::Checkpoint => None,
            }
        };
        self.timers.iter().filter_map(of).collect()
    }

    fn failures(&self) -> Vec<Failure> {
        let failed = self.executions.iter().filter(|execution| execution.status.is_failure());
        let of = |execution: &Execution| {
            let error = execution.error.as_deref()?;
            Some(Failure {
                run_id: self.id.clone(),
                agent: self.workflow.name().to_owned(),
                step: execution.step.clone(),
                ordinal: execution.ordinal,
                code: error.code,
                r#type: error.data.get("type").cloned(),
                message: error.message.clone(),
                traceback: error.data.get("traceback").cloned(),
                attempts: execution.attempts,
                failed_at: execution.finished_at.map(Seconds),
                timed_out: execution.status == ExecutionStatus::TimedOut,
            })
        };
        failed.filter_map(of).collect()
    }

    fn kept_signals(&self) -> Vec<KeptSignal> {
        let queues: BTreeMap<_, _> = self.signals.iter().collect();
        let of = |(name, queue): (&String, &std::collections::VecDeque<crate::run::Signal>)| {
            let kept = queue.iter().map(|signal| KeptSignal {
                name: name.clone(),
                id: signal.id.clone(),
                value: signal.value.clone(),
            });
            kept.collect::<Vec<_>>()
        };
        queues.into_iter().flat_map(of).collect()
    }

    fn place(&self, ix: u32) -> Place {
        let execution = self.exec(ix);
        Place { step: execution.step.clone(), ordinal: execution.ordinal }
    }

    fn name(&self, step: StepIx) -> StepName {
        self.workflow.step(step).name.clone()
    }
}

/// Returns what a function is told of a wait when it runs again; none: it is open, or was withdrawn.
fn resolved(id: &WaitId, wait: &Wait) -> Option<Memo> {
    let (how, value) = How::of(wait.resolution.as_ref()?)?;
    let with = |prompt: &str| ResolvedWait {
        wait_id: id.clone(),
        position: wait.spec.position,
        epoch: wait.epoch,
        opened_at: Seconds(wait.opened_at),
        deadline: wait.spec.deadline.map(Seconds),
        how,
        prompt: prompt.to_owned(),
    };
    let kind = match &wait.spec.kind {
        WaitKind::Human(question) => MemoKind::Human(with(&question.prompt)),
        WaitKind::Signal { name } => MemoKind::Signal(with(name)),
        WaitKind::Timer => MemoKind::Timer(with("")),
        WaitKind::Child(child) => MemoKind::Child(with(child.run.as_str())),
    };
    Some(Memo { name: wait.spec.name.clone(), value, kind })
}

impl How {
    fn of(resolution: &Resolution) -> Option<(Self, Option<Payload>)> {
        let (how, value) = match resolution {
            Resolution::Answered { value, by } => (Self::Answered { by: by.clone() }, Some(value)),
            Resolution::Signalled { id, value } => (Self::Signalled { id: id.clone() }, Some(value)),
            Resolution::Fired => (Self::Fired, None),
            Resolution::Defaulted { value } => (Self::Defaulted, Some(value)),
            Resolution::TimedOut => (Self::TimedOut, None),
            Resolution::ChildCompleted { output } => (Self::ChildCompleted, Some(output)),
            Resolution::ChildFailed { error } => (Self::ChildFailed { error: (**error).clone() }, None),
            Resolution::Withdrawn => return None,
        };
        Some((how, value.cloned()))
    }
}

impl Awaited {
    fn of(kind: &WaitKind) -> Self {
        match kind {
            WaitKind::Human(question) => Self::Human(question.clone()),
            WaitKind::Signal { name } => Self::Signal { signal: name.clone() },
            WaitKind::Timer => Self::Timer,
            WaitKind::Child(child) => Self::Child { child: child.clone() },
        }
    }
}

impl FailedAttempt {
    fn of(note: &crate::run::AttemptNote) -> Self {
        Self {
            attempt: note.attempt,
            code: note.code,
            message: note.message.clone(),
            started_at: Seconds(note.started_at),
            ended_at: Seconds(note.ended_at),
        }
    }
}

/// Returns how often it has been asked, with this time.
fn tries(kind: &WaitKind) -> u32 {
    match kind {
        WaitKind::Human(question) => question.tries(),
        WaitKind::Signal { .. } | WaitKind::Timer | WaitKind::Child(_) => 1,
    }
}
