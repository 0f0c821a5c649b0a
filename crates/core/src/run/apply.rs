//! The fold: what each event does to a run. No decision is made here, so that replaying a journal is the
//! same as having lived it.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::due::Touched;
use super::event::{Activation, AttemptStarted, Event, Payload, Target};
use super::execution::{AttemptNote, Execution};
use super::needs::{ANY_NEED, Lost, Verdict};
use super::token::{self, Lineage, Token};
use super::wait::{Resolution, Then, WaitKind, WaitSpec};
use super::{ChildNews, NeedsState, Run, Signal, StepState, Wait};
use crate::context::Context;
use crate::ids::{Epoch, Ordinal, RunId, StepName, Timestamp, WaitId};
use crate::run::command::TimerKey;
use crate::status::{ExecutionStatus, PauseReason, RunStatus};
use crate::workflow::definition::{Join, Need, NeedKind, OnFailure};
use crate::workflow::{Role, StepIx, Workflow};

impl Run {
    /// Returns a run of that workflow before its first event.
    pub fn blank(id: RunId, workflow: Arc<Workflow>) -> Self {
        let steps = vec![StepState::default(); workflow.len()];
        let null: Payload = Arc::new(Value::Null);
        Self {
            id,
            workflow,
            status: RunStatus::Pending,
            pause_reason: None,
            operator_paused: false,
            epoch: Epoch(1),
            created_at: Timestamp::default(),
            started_at: None,
            finished_at: None,
            updated_at: Timestamp::default(),
            now: Timestamp::default(),
            deadline: None,
            input: null.clone(),
            first_input: null.clone(),
            first_context: Map::new(),
            input_generation: 0,
            metadata: Map::new(),
            parent: None,
            base_dir: None,
            context: Arc::default(),
            steps,
            executions: Vec::new(),
            tokens: super::Tokens::default(),
            queue: super::Queue::default(),
            waits: std::collections::HashMap::new(),
            open_waits: super::OpenWaits::default(),
            waits_opened: 0,
            turns: 0,
            signals: std::collections::HashMap::new(),
            signal_ids: std::collections::HashSet::new(),
            tick: 0,
            session_tick: 0,
            routed: 0,
            live: 0,
            blocked: std::collections::BTreeSet::new(),
            failure: None,
            ending: None,
            error: None,
            output: null,
            timers: std::collections::BTreeMap::new(),
            fresh: Vec::new(),
            moved: Vec::new(),
            touched: Touched::default(),
            value_bytes: 0,
            journaled_bytes: 0,
        }
    }

    /// Folds a journal. What it would ask the shell to arrange is taken as arranged.
    pub fn replay<'e>(
        id: RunId,
        workflow: Arc<Workflow>,
        events: impl IntoIterator<Item = (&'e Event, Timestamp)>,
    ) -> Self {
        Self::blank(id, workflow).fold(events)
    }

    /// Goes on with a fold, from a blank run or one that was read from a snapshot.
    pub fn fold<'e>(mut self, events: impl IntoIterator<Item = (&'e Event, Timestamp)>) -> Self {
        for (event, at) in events {
            self.apply(event, at);
        }
        self.settle_replay();
        self
    }

    /// Forgets what only a turn that is being decided needs to know.
    fn settle_replay(&mut self) {
        self.fresh.clear();
        self.moved.clear();
        let workflow = self.workflow.clone();
        for step in workflow.graph().steps_of(Role::ByNeeds) {
            if matches!(self.steps[step.at()].needs, NeedsState::Waiting { .. }) {
                let cursor = match self.verdict(step, None, self.now, Lost::Nothing, 0) {
                    Verdict::Wait(cursor) => cursor,
                    Verdict::Met | Verdict::Judge | Verdict::Skip { .. } => ANY_NEED,
                };
                self.steps[step.at()].needs = NeedsState::Waiting { cursor };
            }
        }
        self.take_changes();
    }

    /// Applies one event of the journal.
    pub fn apply(&mut self, event: &Event, at: Timestamp) {
        self.tick += 1;
        self.now = self.now.max(at);
        self.journaled_bytes += event.value_bytes() as u64;
        let asked = self.waits_for_input();
        match event {
            Event::RunCreated { input, context, metadata, parent, base_dir, .. } => {
                self.created_at = at;
                self.updated_at = at;
                self.input = input.clone();
                self.first_input = input.clone();
                self.first_context.clone_from(context);
                self.context = Arc::new(Context::new(context.clone()));
                self.metadata.clone_from(metadata);
                self.parent.clone_from(parent);
                self.base_dir.clone_from(base_dir);
            }
            Event::RunStarted { deadline } => self.run_started(*deadline, at),
            Event::StepActivated { step, execution, by, blocked } => {
                self.step_activated(step, *execution, by, *blocked, at);
            }
            Event::StepUnblocked { step, execution } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    self.queue_up(ix, at);
                }
            }
            Event::AttemptStarted(started) => self.attempt_started(started, at),
            Event::StepCompleted { step, execution, output, writes, to, .. } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    let reference = self.reference(ix);
                    if !writes.is_empty() {
                        Arc::make_mut(&mut self.context).apply(writes, &reference);
                    }
                    self.step_completed(ix, output, to, at);
                }
            }
            Event::AttemptFailed { step, execution, attempt, error, retry_at, .. } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    let failed = &mut self.executions[ix as usize];
                    failed.failed_attempts.push(AttemptNote {
                        attempt: *attempt,
                        code: error.code,
                        message: error.message.clone(),
                        started_at: failed.attempt_started_at,
                        ended_at: at,
                    });
                    self.updated_at = at;
                    if let Some(due) = retry_at {
                        self.wait_for_retry(ix, *due);
                    }
                }
            }
            Event::AttemptLost { step, execution, given_back, .. } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    let lost = &mut self.executions[ix as usize];
                    lost.losses += u32::from(!given_back);
                    lost.rerun = false;
                    self.queue_up(ix, at);
                }
            }
            Event::AttemptSuspended { step, execution, .. } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    let suspended = &mut self.executions[ix as usize];
                    suspended.rerun = true;
                    let must_rerun = suspended.stale || suspended.open_waits == 0;
                    self.set_status(ix, ExecutionStatus::Waiting);
                    if must_rerun {
                        self.queue_up(ix, at);
                    }
                }
            }
            Event::MemoRecorded { step, execution, name, value } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    self.executions[ix as usize].memos.push((name.clone(), value.clone()));
                }
            }
            Event::StepFailed { step, execution, timed_out, error, compensating, to } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    self.executions[ix as usize].error = Some(Box::new(error.clone()));
                    let status = if *timed_out { ExecutionStatus::TimedOut } else { ExecutionStatus::Failed };
                    self.end_execution(ix, status, at);
                    let execution = self.exec(ix);
                    let stops = self.workflow.step(execution.step_ix).on_failure == OnFailure::Stop;
                    if *compensating && stops && execution.compensates.is_none() {
                        self.ending = Some(ix);
                    }
                    if !compensating {
                        self.failure_handled(ix, to.as_ref());
                    }
                }
            }
            Event::FailureHandled { step, execution, to } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    self.failure_handled(ix, to.as_ref());
                }
            }
            Event::RetryDue { step, execution } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    self.queue_up(ix, at);
                }
            }
            Event::StepSkipped { step, execution, error, .. } => {
                self.step_skipped(step, *execution, error.as_ref(), at);
            }
            Event::StepCancelled { step, execution } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    self.end_execution(ix, ExecutionStatus::Cancelled, at);
                    self.vacate(ix);
                    self.moved.push((self.exec(ix).step_ix, Some(ix), true));
                }
            }
            Event::WaitOpened { wait, step, execution, spec } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    self.wait_opened(wait, ix, spec, at);
                }
            }
            Event::WaitResolved { wait, resolution, .. } => self.wait_resolved(wait, resolution, at),
            Event::ChildPaused { wait, turn, .. } => {
                self.child_turned(wait, ChildNews { turn: *turn, paused: true });
            }
            Event::ChildResumed { wait, turn, .. } => {
                self.child_turned(wait, ChildNews { turn: *turn, paused: false });
            }
            Event::SignalReceived { name, id, value } => {
                self.signal_ids.insert((name.clone(), id.clone()));
                let signal = Signal { id: id.clone(), value: value.clone() };
                self.signals.entry(name.clone()).or_default().push_back(signal);
            }
            Event::NeedTimedOut { step, need } => {
                self.set_timer(TimerKey::Need(step.clone(), need.clone()), None);
                if let (Some(dependent), Some(need)) =
                    (self.workflow.find(step.as_str()), self.workflow.find(need.as_str()))
                {
                    self.steps[dependent.at()].timed_out_needs.push(need);
                    self.moved.push((need, None, false));
                }
            }
            Event::NeedAsked { step, execution } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    self.executions[ix as usize].judging = true;
                    self.touched.execution(ix);
                }
            }
            Event::NeedJudged { step, execution, holds } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    self.executions[ix as usize].judged = Some(*holds);
                    self.executions[ix as usize].judging = false;
                    self.touched.execution(ix);
                }
            }
            Event::TokenAbsorbed { token, .. } => {
                self.tokens.take(*token);
            }
            Event::RunPaused { reason } => {
                self.operator_paused |= *reason == PauseReason::Operator;
                self.status = RunStatus::Paused;
                self.pause_reason = Some(*reason);
                self.updated_at = at;
            }
            Event::RunResumed { reason } => {
                if *reason == PauseReason::Operator {
                    self.operator_paused = false;
                    self.session_tick = self.tick;
                }
                self.status = RunStatus::Running;
                self.pause_reason = None;
                self.updated_at = at;
            }
            Event::RunRetried { epoch, input, deadline } => {
                self.run_retried(*epoch, input.as_ref(), *deadline, at);
            }
            Event::RunCompleted { output } => {
                self.output = output.clone();
                self.run_ended(RunStatus::Completed, at);
            }
            Event::RunFailed { error } => {
                self.error = Some(error.clone());
                self.run_ended(RunStatus::Failed, at);
            }
            Event::RunCancelled { .. } => self.run_ended(RunStatus::Cancelled, at),
            Event::Conflict { .. } | Event::Emitted { .. } => {}
        }
        self.turns += u32::from(self.waits_for_input() != asked);
        self.issue(at);
    }

    /// Returns whether it is paused because only people and signals can move it.
    pub(super) fn waits_for_input(&self) -> bool {
        self.pause_reason == Some(PauseReason::Input)
    }

    fn run_started(&mut self, deadline: Option<Timestamp>, at: Timestamp) {
        self.status = RunStatus::Running;
        self.started_at = Some(at);
        self.updated_at = at;
        self.session_tick = self.tick;
        self.deadline = deadline;
        self.set_timer(TimerKey::Run, deadline);
        let workflow = self.workflow.clone();
        for step in workflow.graph().steps_of(Role::ByNeeds) {
            self.steps[step.at()].needs = NeedsState::Waiting { cursor: ANY_NEED };
            self.start_need_timers(step, at);
        }
    }

    fn start_need_timers(&mut self, dependent: StepIx, at: Timestamp) {
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

    fn stop_need_timers(&mut self, dependent: StepIx) {
        let workflow = self.workflow.clone();
        let step = workflow.step(dependent);
        for need in step.needs.iter().filter(|need| matches!(need.kind, NeedKind::Timeout { .. })) {
            self.set_timer(TimerKey::Need(step.name.clone(), need.step.clone()), None);
        }
    }

    fn step_activated(
        &mut self,
        step: &StepName,
        ordinal: Ordinal,
        by: &Activation,
        blocked: bool,
        at: Timestamp,
    ) {
        let Some(step_ix) = self.workflow.find(step.as_str()) else { return };
        let is_new = self.find(step.as_str(), ordinal).is_none();
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
        };
        let execution = &mut self.executions[ix as usize];
        execution.has_token = !matches!(by, Activation::Compensation(_));
        execution.late = late;
        execution.lineage = lineage;
        if execution.has_token {
            self.tokens.occupy(step_ix, &execution.lineage);
        }
        if matches!(by, Activation::Held | Activation::Token(_)) {
            self.mark_late(step_ix, ix);
        }
        if blocked {
            self.set_status(ix, ExecutionStatus::Blocked);
            if !matches!(by, Activation::Needs(_)) {
                self.start_need_timers(step_ix, at);
            }
        } else {
            self.queue_up(ix, at);
        }
    }

    /// Takes the token out of a blocked execution that further tokens join.
    fn token_of(&mut self, ix: u32, step: StepIx) -> Option<Token> {
        let execution = &mut self.executions[ix as usize];
        if !execution.has_token {
            return None;
        }
        execution.has_token = false;
        let (lineage, late) = (execution.lineage.clone(), std::mem::take(&mut execution.late));
        self.tokens.vacate(step, &lineage);
        Some(Token { step, lineage, late, payload: None, failure_of: None })
    }

    fn unite(&mut self, ix: u32, tokens: &[Token]) -> (Lineage, Vec<StepIx>) {
        let lineages: Vec<Lineage> = tokens.iter().map(|token| token.lineage.clone()).collect();
        let mut late = tokens.first().map(|token| token.late.clone()).unwrap_or_default();
        late.retain(|step| tokens.iter().all(|token| token.late.contains(step)));
        let failure_of = tokens.iter().find_map(|token| token.failure_of);
        if failure_of.is_some() {
            self.executions[ix as usize].failure_of = failure_of;
        }
        (self.tokens.trimmed(&token::unite(&lineages)), late)
    }

    /// For `join: any`: every other live token that can still come here is too late.
    fn mark_late(&mut self, step: StepIx, first: u32) {
        if self.workflow.step(step).join != Join::Any {
            return;
        }
        let workflow = self.workflow.clone();
        self.tokens.mark_late(step, workflow.graph());
        let sources = workflow.graph().sources(step);
        for (i, execution) in self.executions.iter_mut().enumerate() {
            let can_come = execution.has_token && sources.contains(execution.step_ix, false);
            if can_come && i as u32 != first && !execution.late.contains(&step) {
                execution.late.push(step);
            }
        }
    }

    fn ensure_execution(&mut self, step: &StepName, step_ix: StepIx, ordinal: Ordinal) -> u32 {
        if let Some(known) = self.find(step.as_str(), ordinal) {
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
    fn queue_up(&mut self, ix: u32, at: Timestamp) {
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
    }

    fn issue(&mut self, _at: Timestamp) {
        if self.status.is_terminal() {
            return;
        }
        let max = self.workflow.definition().max_concurrent;
        while let Some(ix) = self.queue.next(max) {
            self.set_status(ix, ExecutionStatus::Ready);
        }
    }

    fn attempt_started(&mut self, started: &AttemptStarted, at: Timestamp) {
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

    fn step_completed(&mut self, ix: u32, output: &Payload, to: &[Target], at: Timestamp) {
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
    fn end_execution(&mut self, ix: u32, status: ExecutionStatus, at: Timestamp) {
        let execution = &mut self.executions[ix as usize];
        execution.finished_at = Some(at);
        execution.due_at = None;
        execution.settle = None;
        execution.judging = false;
        let (before, step, ordinal) = (execution.status, execution.step.clone(), execution.ordinal);
        if before == ExecutionStatus::Retrying {
            self.set_timer(TimerKey::Retry(step, ordinal), None);
        }
        if before == ExecutionStatus::Blocked {
            self.stop_need_timers(self.exec(ix).step_ix);
        }
        self.updated_at = at;
        self.set_status(ix, status);
    }

    fn wait_for_retry(&mut self, ix: u32, due: Timestamp) {
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

    fn failure_handled(&mut self, ix: u32, to: Option<&StepName>) {
        let execution = &mut self.executions[ix as usize];
        let step = execution.step_ix;
        if self.ending == Some(ix) {
            self.ending = None;
        }
        if let Some(name) = to {
            self.executions[ix as usize].routed_failure = true;
            self.depart(ix, &[Target { step: name.clone(), payload: None }], Some(ix));
        } else {
            self.vacate(ix);
            if self.workflow.step(step).on_failure == OnFailure::Fail {
                self.failure.get_or_insert(ix);
            }
        }
        self.moved.push((step, Some(ix), true));
    }

    fn vacate(&mut self, ix: u32) {
        let execution = &mut self.executions[ix as usize];
        if execution.has_token {
            execution.has_token = false;
            let (step, lineage) = (execution.step_ix, execution.lineage.clone());
            self.tokens.vacate(step, &lineage);
        }
    }

    /// Moves the token of an execution to its targets; without targets it ends.
    fn depart(&mut self, ix: u32, to: &[Target], failure_of: Option<u32>) {
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
        let mut plain = std::collections::HashSet::new();
        let mut branches: Vec<(StepIx, Option<Payload>)> = Vec::with_capacity(to.len());
        for target in to {
            let Some(target_ix) = workflow.find(target.step.as_str()) else { continue };
            if target.payload.is_none() && !plain.insert(target_ix) {
                continue;
            }
            branches.push((target_ix, target.payload.clone()));
        }
        // A step that others need forks also when it names one target: what its completion activates by
        // needs is one more branch.
        let forks = branches.len() > 1 || !workflow.graph().dependents(step).is_empty();
        for (target, payload) in branches {
            let lineage = if forks { token::branch_off(&lineage, ix, step, target) } else { lineage.clone() };
            let holds = payload.is_none() && workflow.step(target).join == Join::All;
            let token = Token { step: target, lineage, late: late.clone(), payload, failure_of };
            let id = self.tokens.arrive(token, holds);
            self.fresh.push(id);
        }
    }

    fn step_skipped(
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

    fn wait_opened(&mut self, id: &WaitId, ix: u32, spec: &WaitSpec, at: Timestamp) {
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

    pub(super) fn count_wait(&mut self, asks: bool, by: i32) {
        let counter = if asks { &mut self.open_waits.asking } else { &mut self.open_waits.moving };
        *counter = counter.saturating_add_signed(by);
    }

    fn child_turned(&mut self, wait: &WaitId, news: ChildNews) {
        let Some(known) = self.waits.get_mut(wait) else { return };
        let before = known.asks();
        known.child = news;
        let after = known.asks();
        self.count_wait(before, -1);
        self.count_wait(after, 1);
    }

    fn wait_resolved(&mut self, id: &WaitId, resolution: &Resolution, at: Timestamp) {
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

    fn run_retried(
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
        self.ending = None;
        self.finished_at = None;
        self.updated_at = at;
        self.session_tick = self.tick;
        self.routed = 0;
        self.deadline = deadline;
        self.set_timer(TimerKey::Run, deadline);
        if let Some(input) = input {
            self.input = input.clone();
            self.input_generation += 1;
        }
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
    fn revive(&mut self, ix: u32, new_input: bool) -> bool {
        let execution = self.exec(ix);
        let (step, status) = (execution.step_ix, execution.status);
        let ended_badly = status.is_failure() || status == ExecutionStatus::Cancelled;
        if execution.compensates.is_some() || execution.routed_failure {
            return false;
        }
        if status == ExecutionStatus::Skipped && execution.error.is_some() {
            if self.steps[step.at()].needs == NeedsState::Done && !self.was_activated(ix) {
                self.steps[step.at()].needs = NeedsState::Waiting { cursor: ANY_NEED };
                return false;
            }
        } else if !ended_badly {
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
        }
        // A failure whose compensation was cut off still has its token.
        self.vacate(ix);
        let execution = &mut self.executions[ix as usize];
        execution.has_token = true;
        let lineage = execution.lineage.clone();
        self.tokens.occupy(step, &lineage);
        self.set_status(ix, ExecutionStatus::Blocked);
        true
    }

    /// Puts an execution that lives again in line, unless it must wait for its needs: because it never began, or
    /// because a step that it needs lives again too.
    fn line_up_again(&mut self, ix: u32, at: Timestamp) {
        let step = self.exec(ix).step_ix;
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
    fn was_activated(&self, ix: u32) -> bool {
        let execution = self.exec(ix);
        execution.attempts > 0 || execution.ready_at != Timestamp::default()
    }

    fn run_ended(&mut self, status: RunStatus, at: Timestamp) {
        self.status = status;
        self.pause_reason = None;
        self.operator_paused = false;
        self.finished_at = Some(at);
        self.updated_at = at;
        for key in self.timers.keys().cloned().collect::<Vec<_>>() {
            self.set_timer(key, None);
        }
    }

    fn set_timer(&mut self, key: TimerKey, at: Option<Timestamp>) {
        let before = match at {
            Some(at) => self.timers.insert(key.clone(), at),
            None => self.timers.remove(&key),
        };
        if before != at {
            self.touched.timer(key);
        }
    }
}
