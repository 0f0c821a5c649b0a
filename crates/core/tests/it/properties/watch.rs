//! What is looked at after every command.

use std::collections::{BTreeMap, HashMap, HashSet};

use stepwell_core::ids::{ExecutionRef, Ordinal, StepName, Timestamp, WaitId};
use stepwell_core::run::command::TimerKey;
use stepwell_core::run::event::{Activation, Event, Target};
use stepwell_core::run::wait::WaitKind;
use stepwell_core::run::{Changes, Execution, OpenWait, Run, Task, Work};
use stepwell_core::status::{ExecutionStatus, PauseReason, RunStatus};
use stepwell_core::workflow::definition::{END, HandsOn, Lifecycle, NeedKind, OnFailure};

/// What the journal has said so far, and what the shell would have arranged.
#[derive(Default)]
pub(super) struct Watch {
    epoch: u32,
    is_over: bool,
    ended_attempts: HashSet<(StepName, Ordinal, u32)>,
    /// Executions about whose attempt a person was asked, with how often in this epoch.
    asked: HashMap<(StepName, Ordinal), u32>,
    ended_executions: HashSet<(StepName, Ordinal, u32)>,
    /// Executions that were completed, in any epoch.
    completed: HashSet<(StepName, Ordinal)>,
    /// Executions that undo a failure.
    undoing: HashSet<(StepName, Ordinal)>,
    resolved: HashSet<WaitId>,
    failed: HashMap<(StepName, Ordinal), u32>,
    lost: HashMap<(StepName, Ordinal), u32>,
    started: HashMap<(StepName, Ordinal), HashSet<u32>>,
    work: BTreeMap<(StepName, Ordinal), Work>,
    timers: BTreeMap<TimerKey, Timestamp>,
    waits: HashSet<WaitId>,
    /// The newest news of each child run: its turn, and whether it is paused for input.
    children: HashMap<WaitId, (u32, bool)>,
}

impl Watch {
    /// Looks at what one command appended.
    pub(super) fn journaled(&mut self, events: &[Event], run: &Run, context: &str) {
        for event in events {
            if let Event::RunRetried { epoch, .. } = event {
                assert!(self.is_over, "retried before its end: {context}");
                self.is_over = false;
                self.epoch = epoch.0;
                self.failed.clear();
                self.lost.clear();
                self.started.clear();
                self.asked.clear();
            }
            assert!(!self.is_over, "{} after the end of the run: {context}", event.kind());
            self.one(event, run, context);
            self.is_over |= event.ends_run();
        }
    }

    fn one(&mut self, event: &Event, run: &Run, context: &str) {
        match event {
            Event::StepCompleted { step, execution, attempt, output, to, .. } => {
                if *attempt == 0 && output["settled"] == true {
                    let undoes = self.undoing.contains(&(step.clone(), *execution));
                    by_hand_as_declared(run, step, undoes, to, context);
                }
                self.completed.insert((step.clone(), *execution));
                self.end_execution(step, *execution, context);
                if *attempt > 0 {
                    self.end_attempt(step, *execution, *attempt, context);
                }
            }
            Event::StepActivated { step, execution, by: Activation::Compensation(_), .. } => {
                self.undoing.insert((step.clone(), *execution));
            }
            Event::AttemptFailed { step, execution, attempt, retry_at, .. } => {
                self.end_attempt(step, *execution, *attempt, context);
                let failures = self.failed.entry((step.clone(), *execution)).or_default();
                *failures += 1;
                let ix = run.workflow().find(step.as_str()).expect("it exists");
                let retries = run.workflow().step(ix).retry.as_ref().map_or(0, |policy| policy.max_retries);
                assert!(retry_at.is_none() || *failures <= retries, "retried too often: {context}");
            }
            Event::AttemptLost { step, execution, attempt, .. } => {
                self.end_attempt(step, *execution, *attempt, context);
                let losses = self.lost.entry((step.clone(), *execution)).or_default();
                *losses += 1;
                assert!(*losses <= 5, "lost more than five times: {context}");
            }
            Event::StepFailed { step, execution, .. }
            | Event::StepSkipped { step, execution, .. }
            | Event::StepCancelled { step, execution } => self.end_execution(step, *execution, context),
            Event::WaitOpened { step, execution, spec, .. } => {
                if matches!(&spec.kind, WaitKind::Human(question) if question.settles) {
                    *self.asked.entry((step.clone(), *execution)).or_default() += 1;
                }
            }
            Event::WaitResolved { wait, .. } => {
                assert!(self.resolved.insert(wait.clone()), "{wait} is resolved twice: {context}");
            }
            _ => {}
        }
    }

    fn end_attempt(&mut self, step: &StepName, ordinal: Ordinal, attempt: u32, context: &str) {
        let is_first = self.ended_attempts.insert((step.clone(), ordinal, attempt));
        let was_asked = self.asked.contains_key(&(step.clone(), ordinal));
        assert!(is_first || was_asked, "attempt {attempt} of {step}#{ordinal} ends twice: {context}");
    }

    fn end_execution(&mut self, step: &StepName, ordinal: Ordinal, context: &str) {
        let is_first = self.ended_executions.insert((step.clone(), ordinal, self.epoch));
        assert!(is_first, "{step}#{ordinal} ends twice in epoch {}: {context}", self.epoch);
    }

    /// Looks at an attempt that is about to start.
    pub(super) fn leases(&mut self, work: &Work, run: &Run, context: &str) {
        let ExecutionRef { step, ordinal } = work.execution.clone();
        let known = &self.ended_executions;
        assert!(!known.contains(&(step.clone(), ordinal, self.epoch)), "{step} has ended: {context}");
        assert!(!self.completed.contains(&(step.clone(), ordinal)), "{step} was completed: {context}");
        let attempts = self.started.entry((step.clone(), ordinal)).or_default();
        attempts.insert(work.attempt);
        let policy = run.workflow().step(work.step).retry.as_ref().map_or(0, |policy| policy.max_retries);
        let count =
            |map: &HashMap<(StepName, Ordinal), u32>| map.get(&(step.clone(), ordinal)).copied().unwrap_or(0);
        let bound = 1 + policy + count(&self.lost) + count(&self.asked);
        assert!(attempts.len() as u32 <= bound, "{step}#{ordinal} is attempted {attempts:?}: {context}");
        let definition = run.workflow().step(work.step);
        let strict = definition.needs.iter().filter(|need| {
            matches!(need.kind, NeedKind::Required | NeedKind::And) && need.lifecycle == Lifecycle::Once
        });
        for need in strict {
            let of = run.workflow().find(need.step.as_str()).expect("it exists");
            let accepts = run.workflow().step(of).on_failure == OnFailure::Continue;
            let is_met = run
                .executions()
                .iter()
                .filter(|e| e.step == need.step)
                .any(|e| e.status == ExecutionStatus::Completed || (accepts && e.status.is_failure()));
            assert!(is_met, "{step}#{ordinal} starts before {}: {context}", need.step);
        }
    }

    /// Applies what the shell is told to arrange, and compares with all that must be arranged.
    pub(super) fn changed(&mut self, changes: Changes, run: &Run, context: &str) {
        for work in changes.work {
            self.work.insert((work.execution.step.clone(), work.execution.ordinal), work);
        }
        for gone in changes.no_work {
            assert!(self.work.remove(&(gone.step, gone.ordinal)).is_some(), "no such work: {context}");
        }
        for (key, at) in changes.timers {
            match at {
                Some(at) => self.timers.insert(key, at),
                None => self.timers.remove(&key),
            };
        }
        for (wait, _) in changes.waits {
            if run.wait(&wait).is_some_and(|(_, resolution)| resolution.is_none()) {
                self.waits.insert(wait);
            } else {
                self.waits.remove(&wait);
            }
        }
        let due = run.due();
        let mut arranged: Vec<Work> = self.work.values().cloned().collect();
        let mut wanted = due.work;
        for work in &mut wanted {
            // What a worker has taken is left as it was.
            if work.taken
                && let Some(known) = self.work.get(&(work.execution.step.clone(), work.execution.ordinal))
            {
                *work = known.clone();
            }
        }
        let by_name = |work: &Work| (work.execution.step.clone(), work.execution.ordinal);
        arranged.sort_by_key(by_name);
        wanted.sort_by_key(by_name);
        assert_eq!(arranged, wanted, "work: {context}");
        let timers: Vec<_> = self.timers.clone().into_iter().collect();
        assert_eq!(timers, due.timers, "timers: {context}");
        let waits: HashSet<WaitId> = due.waits.into_iter().collect();
        assert_eq!(self.waits, waits, "waits: {context}");
    }

    /// Takes note of news that is about to be delivered.
    pub(super) fn hears(&mut self, wait: &WaitId, turn: u32, paused: bool) {
        let newest = self.children.entry(wait.clone()).or_default();
        *newest = (*newest).max((turn, paused));
    }

    /// A run is paused for input when only people and signals can move it, or child runs that stand so themselves
    /// (DESIGN §3, Waits), and at no other time.
    fn pauses_for_input(&self, run: &Run, context: &str) {
        if run.status().is_terminal() || run.pause_reason() == Some(PauseReason::Operator) {
            return;
        }
        let open = run.open_waits();
        for wait in &open {
            let known = self.children.get(wait.id).is_some_and(|(_, paused)| *paused);
            assert_eq!(wait.child_paused, known, "an old word of child {}: {context}", wait.id);
        }
        let asks = |wait: &OpenWait<'_>| match wait.spec.kind {
            WaitKind::Human(_) | WaitKind::Signal { .. } => true,
            WaitKind::Timer => false,
            WaitKind::Child(_) => wait.child_paused,
        };
        let due = run.due();
        let is_retrying = |(key, _): &(TimerKey, Timestamp)| matches!(key, TimerKey::Retry(..));
        let only_input = due.work.is_empty()
            && !due.timers.iter().any(is_retrying)
            && !open.is_empty()
            && open.iter().all(asks);
        assert_eq!(run.pause_reason() == Some(PauseReason::Input), only_input, "{due:?}: {context}");
    }

    /// A step with `for_each` waits as long as an element of it is live, and lets no more live than it may.
    fn waits_for_elements(run: &Run, context: &str) {
        let workflow = run.workflow();
        for step in workflow.definition().steps.iter().filter(|step| step.for_each.is_some()) {
            let each = step.for_each.as_ref().expect("it has one");
            let elements = format!("{}[]", step.name);
            let is_waiting = |e: &&Execution| e.step == step.name && e.status == ExecutionStatus::Waiting;
            let is_live = |e: &&Execution| e.step.as_str() == elements && !e.status.is_terminal();
            let waiting = run.executions().iter().filter(is_waiting).count();
            let live = run.executions().iter().filter(is_live).count();
            assert_eq!(waiting > 0, live > 0, "'{}' has {live} live elements: {context}", step.name);
            let most = each.max_concurrent.map_or(usize::MAX, |max| max as usize * waiting);
            assert!(live <= most, "{live} elements of '{}' are live: {context}", step.name);
        }
    }

    /// Looks at the state as it stands.
    pub(super) fn stands(&self, run: &Run, context: &str) {
        self.pauses_for_input(run, context);
        Self::waits_for_elements(run, context);
        let due = run.due();
        let live = run.executions().iter().filter(|e| !e.status.is_terminal()).count();
        if run.status().is_terminal() {
            assert_eq!(live, 0, "something is live: {context}");
            assert!(
                due.work.is_empty() && due.timers.is_empty() && due.waits.is_empty(),
                "{due:?}: {context}"
            );
            if run.status() == RunStatus::Completed {
                assert!(run.held().is_empty(), "held tokens: {context}");
            }
        } else if run.status() != RunStatus::Pending && run.started_at().is_some() {
            let timers = due.timers.iter().filter(|(key, _)| *key != TimerKey::Run).count();
            assert!(due.work.len() + due.waits.len() + timers > 0, "nothing can move: {context}");
        }
        if let Some(max) = run.workflow().definition().max_concurrent {
            let issued = due.work.iter().filter(|work| work.task != Task::Judge).count();
            assert!(issued <= max as usize, "{issued} issued of {max}: {context}");
        }
    }
}

/// Compares a run with one folded from its journal. `exactly`: it knows of every lease.
pub(super) fn assert_same(live: &Run, replayed: &Run, exactly: bool, context: &str) {
    let seen = |run: &Run| {
        let mut due = run.due();
        if !exactly {
            for work in &mut due.work {
                work.taken = false;
                work.not_before = Timestamp::default();
                work.task = Task::Attempt;
            }
        }
        (run.status(), run.pause_reason(), due, run.views(), format!("{:?}", run.held()), run.epoch())
    };
    assert_eq!(seen(live), seen(replayed), "{context}");
    assert_eq!(live.error(), replayed.error(), "{context}");
    assert_eq!(live.output(), replayed.output(), "{context}");
    assert_eq!(live.context(), replayed.context(), "{context}");
    if exactly {
        assert_eq!(format!("{:?}", live.executions()), format!("{:?}", replayed.executions()), "{context}");
    }
}

/// What a person completes goes on where its definition says that it must go on, or nowhere if it says that it ends.
fn by_hand_as_declared(run: &Run, step: &StepName, undoes: bool, to: &[Target], context: &str) {
    if undoes {
        assert!(to.is_empty(), "a compensation leads on: {context}");
        return;
    }
    let ix = run.workflow().find(step.as_str()).expect("it exists");
    let declared = run.workflow().step(ix);
    let names: HashSet<&str> =
        declared.next.known().expect("it is known").iter().map(StepName::as_str).collect();
    let gone_to: HashSet<&str> = to.iter().map(|target| target.step.as_str()).collect();
    let is_end = names.is_empty() || names == HashSet::from([END]);
    assert!(
        if is_end { to.is_empty() } else { to.len() == 1 && gone_to == names },
        "leads elsewhere: {context}"
    );
    let handed_on = to.iter().filter(|target| target.payload.is_some()).count();
    let expected = if declared.hands_on == HandsOn::Value { to.len() } else { 0 };
    assert_eq!(handed_on, expected, "hands on something else: {context}");
    assert_ne!(declared.hands_on, HandsOn::Unknown, "{context}");
}
