//! A run that is restored from a checkpoint ends as the one it was taken of (A31): the same context, the same executions
//! with the same outcomes, and nothing of it is done again.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::ids::{ExecutionRef, RunId, Seq, StepName, Timestamp};
use stepwell_core::run::checkpoint::Checkpoint;
use stepwell_core::run::command::{AttemptRef, Command, Create, TimerKey};
use stepwell_core::run::event::{AttemptStarted, Event, Payload, Target};
use stepwell_core::run::wait::WaitKind;
use stepwell_core::run::{Run, Task};
use stepwell_core::status::{ExecutionStatus, PauseReason, RunStatus};
use stepwell_core::workflow::definition::Action;

use super::History;
use crate::support::{SESSION, complete, ending_answer, fail, seeds};

/// A run that is driven to its end by what it asks for, the same way each time.
struct Drive {
    run: Run,
    now: Timestamp,
    seed: u64,
}

impl Drive {
    fn submit(&mut self, command: Command) {
        let kind = command.kind();
        let decided = self.run.handle(&command, self.now);
        decided.unwrap_or_else(|error| panic!("seed {}: {kind} is refused: {error}", self.seed));
    }

    fn end(&mut self) {
        for _ in 0..600 {
            if self.run.status().is_terminal() {
                return;
            }
            if self.run.pause_reason() == Some(PauseReason::Operator) {
                self.submit(Command::Resume { reason: None, answer: None });
            } else if !self.work() && !self.timer() && !self.wait() && !self.time() {
                panic!("seed {}: the run is {} and nothing moves it", self.seed, self.run.status());
            }
        }
        panic!("seed {}: the run does not end", self.seed);
    }

    /// Carries out the first that is ready. What an attempt does depends on nothing but its step and activation.
    fn work(&mut self) -> bool {
        let due = self.run.due().work;
        let Some(work) = due.into_iter().find(|work| work.not_before <= self.now) else { return false };
        let ExecutionRef { step, ordinal } = work.execution;
        let attempt = AttemptRef { step: step.clone(), ordinal, attempt: work.attempt, session: SESSION };
        if work.task == Task::Judge {
            self.submit(Command::Judge { attempt, holds: ordinal.0 % 3 > 0 });
            return true;
        }
        let (ordinal_no, name) = (ordinal.0, step.as_str().to_owned());
        let started = AttemptStarted { step, execution: ordinal, attempt: work.attempt, session: SESSION };
        self.run.apply(&Event::AttemptStarted(started), self.now);
        let letters: u64 = name.bytes().map(u64::from).sum();
        let dice = (self.seed + u64::from(ordinal_no) + letters) % 5;
        if dice == 0 {
            self.submit(fail(&attempt, "boom"));
            return true;
        }
        let workflow = self.run.workflow().clone();
        let definition = workflow.step(work.step);
        let names = definition.next.known().unwrap_or_default();
        let real: Vec<&str> =
            names.iter().map(StepName::as_str).filter(|name| !name.starts_with('$')).collect();
        let goes_on = definition.action == Action::Function && ordinal_no < 3;
        let to = real.iter().take(if goes_on { 2 } else { 0 }).map(|name| Target::to(name)).collect();
        let Command::Complete(mut outcome) = complete(&attempt, json!({ "result": name }), to) else {
            unreachable!()
        };
        outcome.snapshot = self.run.context_version();
        let value = Payload::new(json!([name, ordinal_no]));
        let base = self.run.context().get("last").cloned();
        outcome.writes =
            vec![stepwell_core::context::Change { key: "last".into(), value: Some(value), base }];
        self.submit(Command::Complete(outcome));
        true
    }

    fn timer(&mut self) -> bool {
        let mut due = self.run.due().timers.into_iter();
        let passed = due.find(|(key, at)| *key != TimerKey::Run && *at <= self.now);
        let Some((timer, _)) = passed.filter(|(key, _)| !matches!(key, TimerKey::Wait(_))) else {
            return false;
        };
        self.submit(Command::FireTimer { timer });
        true
    }

    /// Resolves the first open wait, by the order of executions: its id is another in a restored run.
    fn wait(&mut self) -> bool {
        let open = self.run.open_waits();
        let place = |wait: &stepwell_core::run::OpenWait<'_>| {
            let executions = self.run.executions().iter();
            let at = executions.enumerate().find(|(_, e)| std::ptr::eq(*e, wait.execution)).map(|(at, _)| at);
            (at, wait.spec.position)
        };
        let Some(first) = open.iter().min_by_key(|wait| place(wait)) else { return false };
        let (wait, kind) = (first.id.clone(), first.spec.kind.clone());
        let passed = first.spec.deadline.is_some_and(|deadline| deadline <= self.now);
        let command = match kind {
            _ if passed => Command::FireTimer { timer: TimerKey::Wait(wait) },
            WaitKind::Human(question) => {
                Command::Answer { wait, value: Arc::new(ending_answer(&question)), by: None }
            }
            WaitKind::Signal { name } => {
                Command::Signal { name, id: format!("to {}", first.spec.position), value: Payload::default() }
            }
            WaitKind::Child(_) => Command::EndChild { wait, outcome: Ok(Payload::default()) },
            WaitKind::Timer => {
                self.now = first.spec.deadline.unwrap_or(self.now);
                Command::FireTimer { timer: TimerKey::Wait(wait) }
            }
        };
        self.submit(command);
        true
    }

    fn time(&mut self) -> bool {
        let due = self.run.due();
        let timers = due.timers.iter().filter(|(key, _)| *key != TimerKey::Run).map(|(_, at)| *at);
        let work = due.work.iter().map(|work| work.not_before);
        let Some(next) = timers.chain(work).filter(|at| *at > self.now).min() else { return false };
        self.now = next;
        true
    }
}

/// The other run, as restoring leaves one: paused, and nothing under way.
fn at_rest(run: &Run, now: Timestamp, seed: u64) -> Drive {
    let mut drive = Drive { run: run.clone(), now, seed };
    match run.status() {
        RunStatus::Pending => drive.submit(Command::Start),
        RunStatus::Failed => drive.submit(Command::Retry { input: None, reason: None }),
        RunStatus::Running | RunStatus::Paused => lose_all(&mut drive),
        RunStatus::Completed | RunStatus::Cancelled => return drive,
    }
    if !drive.run.status().is_terminal() {
        drive.submit(Command::Pause { reason: None });
    }
    drive
}

fn lose_all(drive: &mut Drive) {
    for work in drive.run.due().work.into_iter().filter(|work| work.taken) {
        let ExecutionRef { step, ordinal } = work.execution;
        let attempt = AttemptRef { step, ordinal, attempt: work.attempt, session: SESSION };
        drive.submit(Command::Lose { attempt, given_back: true });
    }
}

type Outcome = (RunStatus, BTreeMap<String, Value>, Vec<(String, u32, ExecutionStatus, u32, Option<Value>)>);

fn outcome(run: &Run) -> Outcome {
    let context = run.context().values().into_iter().map(|(key, value)| (key.to_owned(), (**value).clone()));
    let executions = run.executions().iter().map(|e| {
        // Waits have other ids.
        let output = e.output.as_deref().map(|output| output.get("result").cloned().unwrap_or_default());
        (e.step.to_string(), e.ordinal.0, e.status, e.attempts, output)
    });
    (run.status(), context.collect(), executions.collect())
}

fn play(seed: u64) {
    let mut history = History::begin(seed);
    let turns = history.rng.below(60);
    for _ in 0..turns {
        history.turn();
    }
    // What a checkpoint is taken of is folded from the journal.
    let (run, now) = (history.world.replayed(), history.world.now);
    let seq = Seq(history.world.journal.len() as u64);
    let keys: BTreeMap<_, _> =
        run.executions().iter().map(|e| ((e.step.clone(), e.ordinal), run.idempotency_key(e))).collect();
    let mut restored = Drive { run: restored(&run, seq, now, seed), now, seed };
    if seed.is_multiple_of(3) && !restored.run.status().is_terminal() {
        restored.run = self::restored(&restored.run, Seq(5), now, seed);
    }

    for execution in restored.run.executions() {
        let place = (execution.step.clone(), execution.ordinal);
        if let Some(key) = keys.get(&place) {
            assert_eq!(restored.run.idempotency_key(execution), *key, "seed {seed}: {place:?}");
        }
    }
    if run.status() == RunStatus::Cancelled {
        restored.end();
        return;
    }
    let mut undisturbed = at_rest(&run, now, seed);
    assert_eq!(outcome(&restored.run), outcome(&undisturbed.run), "seed {seed}: restored, before it goes on");
    for drive in [&mut undisturbed, &mut restored] {
        drive.end();
    }
    assert_eq!(outcome(&restored.run), outcome(&undisturbed.run), "seed {seed}");
}

/// Makes another run of it by way of text, folded from its own journal.
fn restored(run: &Run, seq: Seq, now: Timestamp, seed: u64) -> Run {
    let taken = run.checkpoint(seq);
    let read = Checkpoint::from_json(&taken.to_json()).unwrap();
    assert_eq!(read, taken, "seed {seed}");
    let workflow = run.workflow().origin().clone();
    let mut made = Run::blank(RunId::from(format!("{} again", run.id())), workflow.clone());
    let create = Create::restored(made.id().clone(), workflow.clone(), Arc::new(read));
    let decision = made.handle(&Command::Create(Box::new(create)), now);
    let decision = decision.unwrap_or_else(|error| panic!("seed {seed}: not restored: {error}"));
    let journal: Vec<Event> = decision.events.iter().map(round_trip).collect();
    let events = journal.iter().map(|event| (event, decision.at));
    let replayed = Run::replay(made.id().clone(), workflow, events);
    super::watch::assert_same(&made, &replayed, true, &format!("seed {seed}: the journal tells"));
    replayed
}

fn round_trip(event: &Event) -> Event {
    let read = serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
    assert_eq!(&read, event);
    read
}

#[test]
fn a_restored_run_ends_as_the_one_it_was_taken_of() {
    for seed in seeds(800) {
        play(seed);
    }
}

/// Replaces one value somewhere in it.
fn spoil(value: &mut Value, rng: &mut crate::support::Rng) {
    let inner = match value {
        Value::Array(items) if !items.is_empty() => {
            let at = rng.below(items.len());
            items.get_mut(at)
        }
        Value::Object(members) if !members.is_empty() => {
            let at = rng.below(members.len());
            members.values_mut().nth(at)
        }
        _ => None,
    };
    match inner {
        Some(inner) if !rng.chance(15) => spoil(inner, rng),
        Some(inner) => *inner = other_value(rng),
        None => *value = other_value(rng),
    }
}

fn other_value(rng: &mut crate::support::Rng) -> Value {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(2),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(-1),
        json!(1e300),
        json!("s0"),
        json!("s1"),
        json!("s2[]"),
        json!("waiting"),
        json!("running"),
        json!("completed"),
        json!("failed"),
        json!("retrying"),
        json!("ready"),
        json!("active"),
        json!("held"),
        json!([]),
        json!({}),
    ];
    rng.pick(&values).clone()
}

/// Restores what may be nonsense and lets it go on a little: it is refused, or does what it can.
fn survives(text: &str, run: &Run, now: Timestamp) -> bool {
    let Ok(read) = Checkpoint::from_json(text) else { return false };
    let workflow = run.workflow().origin().clone();
    let mut restored = Run::blank(RunId::from("run_spoiled"), workflow.clone());
    let mut create = Create::restored(restored.id().clone(), workflow, Arc::new(read));
    if let Some(restore) = &mut create.restore {
        restore.allow_changes = true;
    }
    if restored.handle(&Command::Create(Box::new(create)), now).is_err() {
        return false;
    }
    let _ = restored.handle(&Command::Resume { reason: None, answer: None }, now);
    for _ in 0..20 {
        let Some(work) = restored.due().work.into_iter().next() else { break };
        let ExecutionRef { step, ordinal } = work.execution;
        let attempt = AttemptRef { step, ordinal, attempt: work.attempt, session: SESSION };
        if restored.handle(&complete(&attempt, json!(1), Vec::new()), now).is_err() {
            break;
        }
    }
    restored.take_changes();
    let again = restored.checkpoint(Seq(1_000));
    assert_eq!(Checkpoint::from_json(&again.to_json()).unwrap(), again);
    true
}

#[test]
fn a_spoiled_checkpoint_is_refused_or_restored_and_nothing_breaks() {
    let mut accepted = 0;
    for seed in seeds(200) {
        let mut history = History::begin(seed);
        for _ in 0..history.rng.below(40) {
            history.turn();
        }
        let (run, now) = (history.world.replayed(), history.world.now);
        let taken: Value =
            serde_json::from_str(&run.checkpoint(Seq(history.world.journal.len() as u64)).to_json()).unwrap();
        for _ in 0..5 {
            let mut spoiled = taken.clone();
            spoil(&mut spoiled, &mut history.rng);
            accepted += u32::from(survives(&spoiled.to_string(), &run, now));
        }
    }
    assert!(accepted > 0, "some changes are harmless");
}
