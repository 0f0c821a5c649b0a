//! A run takes over how another stood: names and ordinals of a checkpoint become indices again.
//!
//! Steps that its definition does not have are left out with all that has ended of them; whoever decides sees to it
//! that nothing live stands there.

mod fit;

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use serde_json::{Map, Value, json};

use crate::context::{Context, value_bytes};
use crate::error::ErrorObject;
use crate::ids::{Epoch, StepName, Timestamp, WaitId};
use crate::run::checkpoint::{
    Awaited, Checkpoint, FailedAttempt, How, KeptBranch, KeptExecution, KeptToken, KeptWait, Memo, MemoKind,
    Place, ResolvedWait, Seconds, StateMetadata, TimerKind, TokenState, invalid,
};
use crate::run::command::TimerKey;
use crate::run::event::Payload;
use crate::run::execution::Fan;
use crate::run::needs::ANY_NEED;
use crate::run::token::{Branch, Lineage, Token};
use crate::run::wait::{ChildStart, Question, Resolution, Then, WaitKind, WaitSpec};
use crate::run::{AttemptNote, ChildNews, Execution, NeedsState, Run, Signal, Wait};
use crate::status::{ExecutionStatus, RunStatus};
use crate::workflow::{Role, StepIx};

/// Where everything is that a checkpoint names.
type Known = HashMap<Place, u32>;

impl Run {
    /// Takes over how another run stood.
    ///
    /// # Errors
    /// `CHECKPOINT_INVALID` naming what does not fit together; the run is half made then.
    pub(in crate::run) fn restore(&mut self, from: &Checkpoint, at: Timestamp) -> Result<(), ErrorObject> {
        fit::check_counts(from)?;
        fit::check_status(from)?;
        self.tick = self.tick.max(from.tick);
        self.epoch = from.epoch;
        if from.started_at.is_some() {
            self.status = RunStatus::Running;
            self.started_at = Some(at);
        }
        self.updated_at = at;
        self.routed = from.routed;
        self.context = Arc::new(Context::new(shared_state(from)?));
        let known = self.restore_executions(&from.executions)?;
        self.restore_tokens(&from.tokens, &known)?;
        fit::check_tokens(from)?;
        self.restore_waits(from, &known)?;
        fit::check_waits(from)?;
        self.restore_signals(from);
        self.restore_steps(from, at)?;
        for (i, kept) in from.executions.iter().enumerate() {
            if let Some(ix) = known.get(&Place::of(kept)) {
                self.restore_status(*ix, kept, i)?;
            }
        }
        self.failure = self.at_place(from.failed_by.as_ref(), &known, || "failed_by".into())?;
        self.ending = self.at_place(from.undoing.as_ref(), &known, || "undoing".into())?;
        Ok(())
    }

    fn restore_executions(&mut self, kept: &[KeptExecution]) -> Result<Known, ErrorObject> {
        let (mut known, mut counts) = (Known::with_capacity(kept.len()), HashMap::default());
        for (i, one) in kept.iter().enumerate() {
            let count = counts.entry(&one.step).or_insert(0);
            *count += 1;
            if one.ordinal.0 != *count {
                return Err(invalid(format!(
                    "`executions[{i}].ordinal` is not the next of step '{}'",
                    one.step
                )));
            }
            let Some(step) = self.workflow.find(one.step.as_str()) else { continue };
            let ix = self.executions.len() as u32;
            let mut execution = Execution::new(one.step.clone(), step, one.ordinal, one.epoch);
            execution.attempts = one.attempt;
            execution.payload.clone_from(&one.payload);
            execution.output.clone_from(&one.output);
            execution.error.clone_from(&one.error);
            execution.kept_key = Some(one.idempotency_key.as_str().into());
            execution.started_at = time(one.started_at);
            execution.finished_at = time(one.finished_at);
            execution.ready_at = time(one.ready_at).unwrap_or_default();
            execution.due_at = time(one.due);
            execution.failed_attempts = one.failed_attempts.iter().map(FailedAttempt::note).collect();
            execution.losses = one.losses;
            execution.rerun = one.rerun;
            execution.judging = one.judging;
            execution.judged = one.judged;
            execution.routed_failure = one.routed_failure;
            execution.stands_for_child = one.stands_for_child;
            if let Some(items) = one.items.as_ref().filter(|_| self.fans_out(step)) {
                let fan = Fan { next: one.next_item, ..Fan::of(items.clone()) };
                execution.fan = Some(Box::new(fan));
            }
            self.value_bytes += one.output.as_deref().map_or(0, value_bytes);
            self.executions.push(execution);
            self.steps[step.at()].executions.push(ix);
            known.insert(Place::of(one), ix);
        }
        for (i, one) in kept.iter().enumerate() {
            let Some(ix) = known.get(&Place::of(one)).copied() else { continue };
            let of = |member: &'static str| move || format!("executions[{i}].{member}");
            let failure_of = self.at_place(one.failure_of.as_ref(), &known, of("failure_of"))?;
            let compensates = self.at_place(one.compensates.as_ref(), &known, of("compensates"))?;
            let execution = &mut self.executions[ix as usize];
            (execution.failure_of, execution.compensates) = (failure_of, compensates);
            self.restore_element(ix, one, &known, i)?;
        }
        Ok(known)
    }

    fn restore_element(
        &mut self,
        ix: u32,
        kept: &KeptExecution,
        known: &Known,
        i: usize,
    ) -> Result<(), ErrorObject> {
        let waits =
            self.workflow.element_of(self.exec(ix).step_ix).map(|of| self.workflow.step(of).name.clone());
        let wrong = || invalid(format!("`executions[{i}].element` is none of a list of this run"));
        let (step, element) = match (waits, kept.element) {
            (None, None) => return Ok(()),
            (Some(step), Some(element)) => (step, element),
            (Some(_), None) | (None, Some(_)) => return Err(wrong()),
        };
        let of = *known.get(&Place { step, ordinal: element.of }).ok_or_else(wrong)?;
        let fan = self.executions[of as usize].fan.as_mut().ok_or_else(wrong)?;
        if fan.elements.len() != element.index as usize || element.index >= fan.len() {
            return Err(wrong());
        }
        fan.elements.push(ix);
        fan.live += u32::from(!kept.status.is_terminal());
        self.executions[ix as usize].element = Some((of, element.index));
        Ok(())
    }

    fn restore_tokens(&mut self, kept: &[KeptToken], known: &Known) -> Result<(), ErrorObject> {
        for (i, one) in kept.iter().enumerate() {
            let Some(step) = self.workflow.find(one.step.as_str()) else { continue };
            let lineage = self.lineage(&one.lineage, known, i)?;
            let late = one.late.iter().filter_map(|step| self.workflow.find(step.as_str())).collect();
            if one.state == TokenState::Held {
                let failure_of =
                    self.at_place(one.failure_of.as_ref(), known, || format!("tokens[{i}].failure_of"))?;
                let token = Token { step, lineage, late, payload: one.payload.clone(), failure_of };
                let workflow = self.workflow.clone();
                self.tokens.arrive(token, &workflow);
                continue;
            }
            let place = one.ordinal.map(|ordinal| Place { step: one.step.clone(), ordinal });
            let within = place.and_then(|place| known.get(&place));
            let execution = within.map(|ix| &mut self.executions[*ix as usize]);
            let Some(execution) = execution.filter(|execution| !execution.has_token) else {
                return Err(invalid(format!("`tokens[{i}].ordinal` names no execution that could hold it")));
            };
            execution.late = late;
            execution.lineage = lineage.clone();
            if one.state == TokenState::Active {
                execution.has_token = true;
                let place = execution.place();
                self.tokens.occupy(place, &lineage);
            }
        }
        Ok(())
    }

    fn lineage(&self, kept: &[KeptBranch], known: &Known, i: usize) -> Result<Lineage, ErrorObject> {
        let mut lineage = BTreeMap::new();
        for one in kept {
            let fork = self.at_place(Some(&one.fork), known, || format!("tokens[{i}].lineage"))?;
            let find = |step: &StepName| self.workflow.find(step.as_str());
            let children = one.by_children_of.iter().filter_map(find).map(StepIx::child);
            let mut targets: Vec<StepIx> = one.branches.iter().filter_map(find).chain(children).collect();
            targets.sort();
            if let Some(fork) = fork.filter(|_| !targets.is_empty()) {
                lineage.insert(fork, Branch { fork, at: self.exec(fork).step_ix, targets });
            }
        }
        Ok(lineage.into_values().collect())
    }

    fn restore_waits(&mut self, from: &Checkpoint, known: &Known) -> Result<(), ErrorObject> {
        for one in &from.executions {
            let Some(ix) = known.get(&Place::of(one)) else { continue };
            for memo in &one.memo {
                self.restore_memo(*ix, memo);
            }
            if let Some(child) = &one.child {
                self.restore_child(*ix, child, one.epoch);
            }
        }
        for (i, one) in from.waits.iter().enumerate() {
            let place = Place { step: one.step.clone(), ordinal: one.ordinal };
            match known.get(&place) {
                Some(ix) => self.restore_wait(*ix, one),
                None if self.workflow.find(one.step.as_str()).is_none() => {}
                None => return Err(invalid(format!("`waits[{i}].ordinal` names no execution of this run"))),
            }
        }
        Ok(())
    }

    fn restore_memo(&mut self, ix: u32, memo: &Memo) {
        let value = memo.value.clone().unwrap_or_default();
        let (kind, kept): (fn(&str) -> WaitKind, _) = match &memo.kind {
            MemoKind::Once => {
                let name = memo.name.clone().unwrap_or_default();
                self.executions[ix as usize].memos.push((name, value));
                return;
            }
            MemoKind::Human(kept) => (asked, kept),
            MemoKind::Signal(kept) => (|name| WaitKind::Signal { name: name.to_owned() }, kept),
            MemoKind::Timer(kept) => (|_| WaitKind::Timer, kept),
            MemoKind::Child(kept) => (ended_child, kept),
        };
        let ResolvedWait { wait_id, position, epoch, opened_at, deadline, how, prompt } = kept;
        let spec = WaitSpec {
            position: *position,
            name: memo.name.clone(),
            kind: kind(prompt),
            deadline: time(*deadline),
            default: None,
            then: Then::Rerun,
        };
        let (child, resolution) = (ChildNews::default(), Some(how.resolution(value)));
        let wait = Wait { execution: ix, epoch: *epoch, spec, opened_at: opened_at.0, child, resolution };
        self.restore_resolved(wait_id.clone(), wait);
    }

    /// A retry looks at the last wait of an execution that stands for a child run.
    fn restore_child(&mut self, ix: u32, child: &ChildStart, epoch: Epoch) {
        let spec = WaitSpec::step(WaitKind::Child(Box::new(child.clone())));
        let (opened_at, news) = (Timestamp::default(), ChildNews::default());
        let resolution = Some(Resolution::Withdrawn);
        let wait = Wait { execution: ix, epoch, spec, opened_at, child: news, resolution };
        self.restore_resolved(self.next_wait_id(), wait);
    }

    fn restore_resolved(&mut self, id: WaitId, wait: Wait) {
        self.waits_opened += 1;
        self.executions[wait.execution as usize].waits.push(id.clone());
        self.waits.insert(id, wait);
    }

    fn restore_wait(&mut self, ix: u32, kept: &KeptWait) {
        let mut kind = kept.kind.wait_kind();
        if let WaitKind::Child(child) = &mut kind {
            child.run = self.child_id(ix, kept.position);
        }
        let spec = WaitSpec {
            position: kept.position,
            name: kept.name.clone(),
            kind,
            deadline: time(kept.deadline),
            default: kept.default.clone(),
            then: kept.then,
        };
        let id = self.next_wait_id();
        self.wait_opened(&id, ix, &spec, kept.opened_at.0);
        if let Some(wait) = self.waits.get_mut(&id) {
            wait.epoch = kept.epoch;
        }
    }

    fn restore_signals(&mut self, from: &Checkpoint) {
        for kept in &from.signals {
            let (name, id) = (kept.name.clone(), kept.id.clone());
            self.signal_ids.insert((name.clone(), id.clone()), crate::ids::digest_of(&kept.value));
            let signal = Signal { id, value: kept.value.clone() };
            self.signals.entry(name).or_default().push_back(signal);
        }
    }

    fn restore_steps(&mut self, from: &Checkpoint, at: Timestamp) -> Result<(), ErrorObject> {
        for (name, kept) in &from.state_metadata {
            if kept.completed_tick.max(kept.started_tick) > from.tick {
                return Err(invalid(format!("`state_metadata.{name}` knows of events after `tick`")));
            }
            if let Some(step) = self.workflow.find(name.as_str()) {
                self.restore_step(step, kept);
            }
        }
        for timer in &from.timers {
            match (timer.kind, &timer.step, &timer.need) {
                (TimerKind::Run, _, _) => {
                    self.deadline = Some(timer.at.0);
                    self.set_timer(TimerKey::Run, self.deadline);
                }
                (TimerKind::Need, Some(step), Some(need)) if self.needs(step, need) => {
                    self.set_timer(TimerKey::Need(step.clone(), need.clone()), Some(timer.at.0));
                }
                (TimerKind::Need, _, _) => {}
            }
        }
        if self.status == RunStatus::Pending {
            return Ok(());
        }
        // A step that was added since waits for its needs from here on.
        let workflow = self.workflow.clone();
        for step in workflow.graph().steps_of(Role::ByNeeds) {
            if !from.state_metadata.contains_key(&workflow.step(step).name) {
                self.steps[step.at()].needs = NeedsState::Waiting { cursor: ANY_NEED };
                self.start_need_timers(step, at);
            }
        }
        Ok(())
    }

    fn restore_step(&mut self, step: StepIx, kept: &StateMetadata) {
        // What was added may lead to a step that its needs were to activate before, and still do.
        let origin = self.workflow.origin();
        let graph =
            if step.at() < origin.len_with_elements() { origin.graph() } else { self.workflow.graph() };
        let is_by_needs = graph.role(step) == Role::ByNeeds;
        let timed_out = kept.timed_out_needs.iter().filter_map(|need| self.workflow.find(need.as_str()));
        let timed_out_needs = timed_out.collect();
        let begun = self.status != RunStatus::Pending;
        let state = &mut self.steps[step.at()];
        state.completions = kept.completions;
        state.completed_tick = kept.completed_tick;
        state.completed_at = time(kept.last_success).unwrap_or_default();
        state.started_tick = kept.started_tick;
        state.timed_out_needs = timed_out_needs;
        state.needs = match (is_by_needs && begun, kept.awaits_needs || state.executions.is_empty()) {
            (false, _) => NeedsState::None,
            (true, true) => NeedsState::Waiting { cursor: ANY_NEED },
            (true, false) => NeedsState::Done,
        };
    }

    /// Gives an execution its status back. What is in line stays in line, what was under way is still taken for that.
    fn restore_status(&mut self, ix: u32, kept: &KeptExecution, i: usize) -> Result<(), ErrorObject> {
        let execution = self.exec(ix);
        let (step, due) = (execution.step_ix, execution.due_at);
        match kept.status {
            ExecutionStatus::Waiting if execution.open_waits == 0 && execution.fan.is_none() => {
                return Err(invalid(format!("`executions[{i}]` waits, but for nothing in `waits`")));
            }
            ExecutionStatus::Retrying if due.is_none() => {
                return Err(invalid(format!("`executions[{i}].due` is missing")));
            }
            ExecutionStatus::Retrying => self.wait_for_retry(ix, due.unwrap_or_default()),
            ExecutionStatus::Pending
            | ExecutionStatus::Blocked
            | ExecutionStatus::Ready
            | ExecutionStatus::Running
            | ExecutionStatus::Waiting
            | ExecutionStatus::Completed
            | ExecutionStatus::Failed
            | ExecutionStatus::TimedOut
            | ExecutionStatus::Cancelled
            | ExecutionStatus::Skipped => self.set_status(ix, kept.status),
        }
        if !kept.status.is_terminal() && self.fans_out(step) {
            self.fans.push(ix);
        }
        Ok(())
    }

    /// Returns the execution that a checkpoint names; none: it names none, or one of a step that is no more.
    fn at_place(
        &self,
        place: Option<&Place>,
        known: &Known,
        member: impl Fn() -> String,
    ) -> Result<Option<u32>, ErrorObject> {
        let Some(place) = place else { return Ok(None) };
        let found = known.get(place).copied();
        if found.is_none() && self.workflow.find(place.step.as_str()).is_some() {
            let told = format!(
                "`{}` names {}#{}, which is not among the executions",
                member(),
                place.step,
                place.ordinal
            );
            return Err(invalid(told));
        }
        Ok(found)
    }

    fn needs(&self, step: &StepName, need: &StepName) -> bool {
        let step = self.workflow.find(step.as_str());
        step.is_some_and(|step| self.workflow.step(step).needs.iter().any(|known| known.step == *need))
    }
}

/// Returns the context, with the types that values know put to them.
fn shared_state(from: &Checkpoint) -> Result<Map<String, Value>, ErrorObject> {
    let mut values = from.shared_state.clone();
    for (key, name) in &from.types {
        let missing = || invalid(format!("`types.{key}` has no value in `shared_state`"));
        let value = values.get_mut(key).ok_or_else(missing)?;
        *value = json!({ "$type": name, "$value": value.take() });
    }
    Ok(values)
}

fn time(kept: Option<Seconds>) -> Option<Timestamp> {
    kept.map(|seconds| seconds.0)
}

fn asked(prompt: &str) -> WaitKind {
    WaitKind::Human(Question { prompt: prompt.to_owned(), ..Question::default() })
}

fn ended_child(run: &str) -> WaitKind {
    WaitKind::Child(Box::new(ChildStart {
        run: run.into(),
        definition: Value::Null,
        input: Payload::default(),
        context: Map::new(),
        metadata: Map::new(),
        entry: None,
    }))
}

impl Place {
    fn of(kept: &KeptExecution) -> Self {
        Self { step: kept.step.clone(), ordinal: kept.ordinal }
    }
}

impl Awaited {
    fn wait_kind(&self) -> WaitKind {
        match self {
            Self::Human(question) => WaitKind::Human(question.clone()),
            Self::Signal { signal } => WaitKind::Signal { name: signal.clone() },
            Self::Timer => WaitKind::Timer,
            Self::Child { child } => WaitKind::Child(child.clone()),
        }
    }
}

impl How {
    fn resolution(&self, value: Payload) -> Resolution {
        match self {
            Self::Answered { by } => Resolution::Answered { value, by: by.clone() },
            Self::Signalled { id } => Resolution::Signalled { id: id.clone(), value },
            Self::Fired => Resolution::Fired,
            Self::Defaulted => Resolution::Defaulted { value },
            Self::TimedOut => Resolution::TimedOut,
            Self::ChildCompleted => Resolution::ChildCompleted { output: value },
            Self::ChildFailed { error } => Resolution::ChildFailed { error: Box::new(error.clone()) },
        }
    }
}

impl FailedAttempt {
    fn note(&self) -> AttemptNote {
        AttemptNote {
            attempt: self.attempt,
            code: self.code,
            message: self.message.clone(),
            started_at: self.started_at.0,
            ended_at: self.ended_at.0,
        }
    }
}
