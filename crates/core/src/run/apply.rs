//! The fold: what each event does to a run. No decision is made here, so that replaying a journal is the
//! same as having lived it.

mod activate;
mod attempt;
mod element;
mod restore;
mod retry;
mod wait;

use std::sync::Arc;

use serde_json::{Map, Value};

use super::due::Touched;
use super::event::{Event, Payload, RunCreated};
use super::execution::AttemptNote;
use super::needs::{ANY_NEED, Lost, Verdict};
use super::{ChildNews, NeedsState, Run, Signal, StepState};
use crate::context::Context;
use crate::error::{Code, ErrorObject};
use crate::ids::{Epoch, RunId, Timestamp, digest_of};
use crate::run::command::TimerKey;
use crate::status::{ExecutionStatus, PauseReason, RunStatus};
use crate::workflow::definition::{OnFailure, Step};
use crate::workflow::{Role, Workflow};

impl Run {
    /// Returns a run of that workflow before its first event.
    pub fn blank(id: RunId, workflow: Arc<Workflow>) -> Self {
        let steps = vec![StepState::default(); workflow.len_with_elements()];
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
            time_limit_ms: None,
            input: null.clone(),
            first_input: null.clone(),
            first_context: Map::new(),
            input_generation: 0,
            metadata: Map::new(),
            parent: None,
            base_dir: None,
            entry: None,
            context: Arc::default(),
            steps,
            executions: Vec::new(),
            tokens: super::Tokens::default(),
            queue: super::Queue::default(),
            waits: foldhash::HashMap::default(),
            open_waits: super::OpenWaits::default(),
            waits_opened: 0,
            turns: 0,
            signals: foldhash::HashMap::default(),
            signal_ids: foldhash::HashMap::default(),
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
            session_start: None,
            fresh: Vec::new(),
            moved: Vec::new(),
            fans: Vec::new(),
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
        self.fans.clear();
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
            Event::RunCreated(created) => {
                let RunCreated { input, context, metadata, parent, base_dir, entry, .. } = &**created;
                self.created_at = at;
                self.updated_at = at;
                self.input = input.clone();
                self.first_input = input.clone();
                self.first_context.clone_from(context);
                self.context = Arc::new(Context::new(context.clone()));
                self.metadata.clone_from(metadata);
                self.parent.clone_from(parent);
                self.base_dir.clone_from(base_dir);
                self.entry.clone_from(entry);
            }
            // It was checked before it was journaled.
            Event::RunRestored { checkpoint } => drop(self.restore(checkpoint, at)),
            Event::RunStarted { deadline } => self.run_started(*deadline, at),
            Event::StepsDefined { steps } => self.steps_defined(steps, at),
            Event::StepActivated { step, execution, by, blocked } => {
                self.step_activated(step, *execution, by, *blocked, at);
            }
            Event::StepUnblocked { step, execution } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    self.queue_up(ix, at);
                }
            }
            Event::StepFannedOut { step, execution, items } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    self.fanned_out(ix, items.as_ref(), at);
                }
            }
            Event::AttemptStarted(started) => self.attempt_started(started, at),
            Event::StepCompleted { step, execution, output, writes, to, .. } => {
                if let Some(ix) = self.find(step.as_str(), *execution) {
                    if !writes.is_empty() {
                        let reference = self.reference(ix);
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
                    self.executions[ix as usize].error = Some(error.clone());
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
                self.step_skipped(step, *execution, error.as_deref(), at);
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
                self.signal_ids.insert((name.clone(), id.clone()), digest_of(value));
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
            Event::RunPaused { reason, .. } => {
                self.operator_paused |= *reason == PauseReason::Operator;
                self.status = RunStatus::Paused;
                self.pause_reason = Some(*reason);
                self.updated_at = at;
                self.set_timer(TimerKey::Checkpoint, None);
            }
            Event::RunResumed { reason, .. } => {
                if *reason == PauseReason::Operator {
                    self.operator_paused = false;
                    self.begin_session(at);
                }
                self.status = RunStatus::Running;
                self.pause_reason = None;
                self.updated_at = at;
                self.await_checkpoint(at);
            }
            Event::TimeLimited { timeout_ms, deadline } => {
                self.time_limit_ms = Some(*timeout_ms);
                self.deadline = Some(*deadline);
                self.set_timer(TimerKey::Run, self.deadline);
                self.updated_at = at;
            }
            Event::RunRetried { epoch, input, deadline, .. } => {
                self.run_retried(*epoch, input.as_ref(), *deadline, at);
            }
            Event::RunCompleted { output } => {
                self.output = output.clone();
                self.run_ended(RunStatus::Completed, at);
            }
            Event::RunFailed { error } => {
                self.error = Some((**error).clone());
                self.run_ended(RunStatus::Failed, at);
            }
            Event::RunCancelled { reason } => {
                self.error = Some(cancelled(reason.as_deref()));
                self.run_ended(RunStatus::Cancelled, at);
            }
            Event::CheckpointTaken => self.await_checkpoint(at),
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
        self.begin_session(at);
        self.await_checkpoint(at);
        self.deadline = deadline;
        self.set_timer(TimerKey::Run, deadline);
        let workflow = self.workflow.clone();
        for step in workflow.graph().steps_of(Role::ByNeeds) {
            self.steps[step.at()].needs = NeedsState::Waiting { cursor: ANY_NEED };
            self.start_need_timers(step, at);
        }
    }

    /// From here on counts what needs with lifecycle `session` look at.
    fn begin_session(&mut self, at: Timestamp) {
        self.session_tick = self.tick;
        self.session_start = Some(at);
    }

    fn await_checkpoint(&mut self, at: Timestamp) {
        let interval = self.workflow.definition().checkpoint_interval_ms;
        self.set_timer(TimerKey::Checkpoint, interval.map(|ms| at.plus_ms(ms)));
    }

    fn steps_defined(&mut self, steps: &[Step], at: Timestamp) {
        let known = self.workflow.len();
        let Ok(extended) = self.workflow.with_steps(steps) else { return };
        self.workflow = extended.clone();
        self.steps.resize_with(extended.len_with_elements(), StepState::default);
        self.tokens.forget_ways(extended.graph());
        if self.status == RunStatus::Pending {
            return;
        }
        for step in extended.graph().steps_of(Role::ByNeeds).filter(|step| step.at() >= known) {
            self.steps[step.at()].needs = NeedsState::Waiting { cursor: ANY_NEED };
            self.start_need_timers(step, at);
        }
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

/// Returns what whoever waits for a cancelled run is told.
fn cancelled(reason: Option<&str>) -> ErrorObject {
    let because = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    ErrorObject::new(Code::WORKFLOW_CANCELLED, format!("the run was cancelled{because}"))
}
