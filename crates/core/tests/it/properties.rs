//! The ten invariants of DESIGN §3, over random definitions and random histories of commands, stale and
//! repeated ones among them.

mod definitions;
mod restored;
mod watch;

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::context::Change;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{ExecutionRef, Ordinal, StepName, WaitId};
use stepwell_core::run::command::{AttemptRef, Command, Complete, Fail, SettleVerb, Suspend, TimerKey};
use stepwell_core::run::event::{AttemptStarted, Event, Target};
use stepwell_core::run::wait::{Question, Then, WaitKind, WaitSpec};
use stepwell_core::run::{Run, Task, Work};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::definition::{Action, Definition, Step};

use crate::support::{Rng, SESSION, World, child_start, ending_answer, seeds};
use watch::Watch;

/// One random history.
struct History {
    seed: u64,
    rng: Rng,
    world: World,
    watch: Watch,
    /// Folded from the journal at some moment; since then it decides the same commands.
    shadow: Option<Run>,
    /// How the run stood after so many events.
    snapshot: Option<(usize, Vec<u8>)>,
    /// Leases reach the state in memory only with the outcome of their attempt.
    lazy: bool,
    taken: Vec<(AttemptRef, Task)>,
    /// Attempts that have had their outcome, and questions that were asked: for stale commands.
    old: Vec<AttemptRef>,
    waits: Vec<WaitId>,
    timers: Vec<TimerKey>,
    signals: u32,
    /// Functions end their branches from now on.
    winding_up: bool,
}

impl History {
    fn begin(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let definition = definitions::random(&mut rng);
        let lazy = rng.chance(25);
        let mut history = Self {
            seed,
            rng,
            world: World::blank(definition),
            watch: Watch::default(),
            shadow: None,
            snapshot: None,
            lazy,
            taken: Vec::new(),
            old: Vec::new(),
            waits: Vec::new(),
            timers: Vec::new(),
            signals: 0,
            winding_up: false,
        };
        let mut create = stepwell_core::run::command::Create::new(
            history.world.run.id().clone(),
            history.world.run.workflow().clone(),
        );
        create.hold = history.rng.chance(10);
        history.submit(&Command::Create(Box::new(create)));
        history
    }

    fn definition(&self) -> Definition {
        self.world.run.workflow().definition().clone()
    }

    /// Submits a command and looks at everything that must hold afterwards.
    fn submit(&mut self, command: &Command) -> bool {
        let before = self.world.run.clone();
        let outcome = self.world.submit(command);
        let context = format!("seed {}, after {command:?}", self.seed);
        if std::env::var_os("STEPWELL_TRACE").is_some() {
            eprintln!("  {command:?} -> {outcome:?}");
        }
        if let Some(shadow) = &mut self.shadow {
            let theirs = shadow.handle(command, self.world.now);
            assert_eq!(theirs, outcome, "a replayed run decides otherwise: {context}");
        }
        match &outcome {
            Err(_) => {
                assert_eq!(
                    format!("{before:?}"),
                    format!("{:?}", self.world.run),
                    "refused, but changed: {context}"
                );
            }
            Ok(decision) => {
                for event in &decision.events {
                    if let Event::WaitOpened { wait, .. } = event {
                        self.waits.push(wait.clone());
                    }
                }
                self.watch.journaled(&decision.events, &self.world.run, &context);
            }
        }
        let changes = self.world.run.take_changes();
        self.watch.changed(changes, &self.world.run, &context);
        if let Some(shadow) = &mut self.shadow {
            shadow.take_changes();
        }
        self.timers.extend(self.world.run.due().timers.into_iter().map(|(key, _)| key));
        self.watch.stands(&self.world.run, &context);
        outcome.is_ok()
    }

    fn compare_with_replay(&mut self) {
        let replayed = self.world.replayed();
        let context = format!("seed {}: replayed after {} events", self.seed, self.world.journal.len());
        watch::assert_same(&self.world.run, &replayed, !self.lazy, &context);
        let restored = self.snapshot.as_ref().map(|(seq, bytes)| self.world.restored(*seq, bytes));
        if let Some(restored) = &restored {
            watch::assert_same(&replayed, restored, true, &format!("{context}, from a snapshot"));
            let bytes = |run: &Run| String::from_utf8(run.to_snapshot()).expect("it is text");
            assert_eq!(bytes(&replayed), bytes(restored), "{context}, from a snapshot");
        }
        if self.snapshot.is_none() || self.rng.chance(40) {
            self.snapshot = Some((self.world.journal.len(), replayed.to_snapshot()));
        }
        if !self.lazy {
            self.shadow = Some(restored.unwrap_or(replayed));
        }
    }

    fn turn(&mut self) {
        if self.rng.chance(12) {
            self.compare_with_replay();
        }
        match self.rng.below(100) {
            0..=29 => self.lease(),
            30..=64 => self.finish_attempt(),
            65..=67 => self.stale(),
            68..=73 => self.answer(),
            74..=77 => self.signal(),
            78..=82 => self.fire(),
            84..=85 => self.end_child(),
            83 | 86 => self.note_child(),
            87 => {
                self.submit(&Command::Pause { reason: None });
            }
            88..=90 => {
                self.submit(&Command::Resume { reason: None, answer: None });
            }
            91 => {
                self.submit(&Command::Start);
            }
            92 => {
                let command = Command::CancelStep { step: self.any_step() };
                self.submit(&command);
            }
            93 => {
                if self.rng.chance(20) {
                    self.submit(&Command::Cancel { reason: None });
                }
            }
            94 => self.retry(),
            95 => {
                self.submit(&Command::LimitTime { timeout_ms: 1_000_000 });
            }
            96..=97 => self.settle(),
            _ => self.world.wait_ms([1, 40, 150, 1_000][self.rng.below(4)]),
        }
    }

    fn any_step(&mut self) -> StepName {
        let steps = &self.world.run.workflow().definition().steps;
        steps[self.rng.below(steps.len())].name.clone()
    }

    fn lease(&mut self) {
        if self.world.status() == RunStatus::Paused && !self.taken.is_empty() {
            return;
        }
        let is_taken = |work: &Work| {
            self.taken.iter().any(|(attempt, _)| {
                attempt.step == work.execution.step && attempt.ordinal == work.execution.ordinal
            })
        };
        let ready: Vec<Work> = self.world.ready().into_iter().filter(|work| !is_taken(work)).collect();
        if ready.is_empty() {
            return;
        }
        let work = self.rng.pick(&ready).clone();
        if work.task == Task::Judge {
            let ExecutionRef { step, ordinal } = work.execution;
            self.taken
                .push((AttemptRef { step, ordinal, attempt: work.attempt, session: SESSION }, work.task));
            return;
        }
        self.watch.leases(&work, &self.world.run, &format!("seed {}", self.seed));
        let started = Event::AttemptStarted(AttemptStarted {
            step: work.execution.step.clone(),
            execution: work.execution.ordinal,
            attempt: work.attempt,
            session: SESSION,
        });
        if !self.lazy {
            self.world.run.apply(&started, self.world.now);
            if let Some(shadow) = &mut self.shadow {
                shadow.apply(&started, self.world.now);
            }
        }
        self.world.journal.push((started, self.world.now));
        let ExecutionRef { step, ordinal } = work.execution;
        self.taken.push((AttemptRef { step, ordinal, attempt: work.attempt, session: SESSION }, work.task));
        let changes = self.world.run.take_changes();
        self.watch.changed(changes, &self.world.run, "a lease");
    }

    fn finish_attempt(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let at = self.rng.below(self.taken.len());
        let (attempt, task) = self.taken[at].clone();
        let command = match (task, self.rng.below(100)) {
            (Task::Judge, 0..=9) => self.fail(&attempt),
            (Task::Judge, _) => Command::Judge { attempt: attempt.clone(), holds: self.rng.chance(70) },
            (_, 0..=59) => self.complete(&attempt),
            (_, 60..=78) => self.fail(&attempt),
            (_, 79..=90) => self.suspend(&attempt),
            (_, 91..=94) => {
                let name = format!("once{}", self.rng.below(2));
                Command::Record { attempt: attempt.clone(), name, value: Arc::new(json!(1)) }
            }
            _ => Command::Lose { attempt: attempt.clone(), given_back: false },
        };
        let ends = !matches!(command, Command::Record { .. });
        self.submit(&command);
        if ends {
            self.taken.remove(at);
            self.old.push(attempt);
        }
    }

    fn complete(&mut self, attempt: &AttemptRef) -> Command {
        let definition = self.definition();
        let workflow = self.world.run.workflow().clone();
        let step = workflow.step(workflow.find(attempt.step.as_str()).expect("it exists"));
        let mut to = Vec::new();
        if step.action == Action::Function && !self.winding_up && !self.rng.chance(20) {
            let all: Vec<StepName> = definition.steps.iter().map(|step| step.name.clone()).collect();
            let names = step.next.known().map_or(all, <[StepName]>::to_vec);
            let real: Vec<&StepName> = names.iter().filter(|name| !name.as_str().starts_with('$')).collect();
            for _ in 0..(1 + self.rng.below(3)).min(real.len()) {
                let name = self.rng.pick(&real).as_str();
                let target =
                    if self.rng.chance(10) { Target::with_payload(name, 7) } else { Target::to(name) };
                to.push(target);
            }
            if self.rng.chance(2) {
                to.push(Target::to("nowhere"));
            }
        }
        let writes = if self.rng.chance(30) {
            let key = (*self.rng.pick(&["sum", "list", "plain"])).to_owned();
            let base = self.world.run.context().get(&key).cloned();
            let value = match (key.as_str(), base.as_deref()) {
                ("sum", base) => json!(base.and_then(Value::as_i64).unwrap_or(0) + 1),
                ("list", base) => {
                    let mut list = base.and_then(Value::as_array).cloned().unwrap_or_default();
                    list.push(json!(1));
                    json!(list)
                }
                _ => json!(self.rng.below(3)),
            };
            vec![Change { key, value: Some(Arc::new(value)), base }]
        } else {
            Vec::new()
        };
        let snapshot = self.world.run.context_version().saturating_sub(self.rng.below(2) as u64);
        let defines = if self.rng.chance(4) { vec![self.further_step()] } else { Vec::new() };
        if let Some(step) = defines.first().filter(|_| self.rng.chance(70)) {
            to.push(Target::to(step.name.as_str()));
        }
        let begins = !self.winding_up && self.rng.chance(8);
        let children = vec![child_start(); if begins { 1 + self.rng.below(2) } else { 0 }];
        Command::Complete(Complete {
            attempt: attempt.clone(),
            output: Arc::new(json!({ "result": 1,
            })),
            writes,
            snapshot,
            to,
            children,
            defines,
        })
    }

    /// A step that the run has not got yet; now and then one that it has.
    fn further_step(&mut self) -> Step {
        let steps = &self.world.run.workflow().definition().steps;
        let name = format!("further {}", self.rng.below(6));
        let after = steps[self.rng.below(steps.len())].name.to_string();
        let mut step = Step::function(&name).next(&[]);
        match self.rng.below(4) {
            0 => step = step.next(&[&after]),
            1 => step = step.needs(&[&after]),
            2 => step.entry = true,
            _ => {}
        }
        step
    }

    fn fail(&mut self, attempt: &AttemptRef) -> Command {
        let mut error = ErrorObject::new(Code::TASK_EXECUTION_FAILED, "boom");
        error.retryable = self.rng.chance(80);
        let timed_out = self.rng.chance(20);
        Command::Fail(Fail { attempt: attempt.clone(), error, timed_out, jitter: 0.5, retry_after_ms: None })
    }

    fn suspend(&mut self, attempt: &AttemptRef) -> Command {
        let position = self.waits.len() as u32;
        let count = if self.rng.chance(10) { 0 } else { 1 + self.rng.below(2) };
        let waits = (0..count).map(|i| self.wait(position + i as u32)).collect();
        Command::Suspend(Suspend { attempt: attempt.clone(), waits })
    }

    fn wait(&mut self, position: u32) -> WaitSpec {
        let kind = match self.rng.below(4) {
            0 => WaitKind::Human(Question { prompt: "?".into(), ..Question::default() }),
            1 => WaitKind::Signal { name: (*self.rng.pick(&["x", "y"])).into() },
            2 => WaitKind::Timer,
            _ => WaitKind::Child(Box::new(child_start())),
        };
        let needs_deadline = kind == WaitKind::Timer;
        let deadline = (needs_deadline || self.rng.chance(40))
            .then(|| self.world.now.plus_ms(self.rng.below(3) as u64 * 100));
        let default = self.rng.chance(50).then(|| Arc::new(json!("default")));
        let then = if self.rng.chance(40) { Then::Complete } else { Then::Rerun };
        WaitSpec { position, name: None, kind, deadline, default, then }
    }

    fn stale(&mut self) {
        if self.old.is_empty() {
            return;
        }
        let attempt = self.rng.pick(&self.old).clone();
        let is_under_way = self.taken.iter().any(|(taken, _)| *taken == attempt);
        if is_under_way {
            return;
        }
        // What the store's fence lets through in a lazy run is only what holds a lease.
        if self.lazy {
            return;
        }
        let status = self.world.run.execution(attempt.step.as_str(), attempt.ordinal).map(|e| e.status);
        if status.is_some_and(|status| matches!(status.as_str(), "ready" | "retrying")) {
            return;
        }
        let command = match self.rng.below(4) {
            0 => self.complete(&attempt),
            1 => self.fail(&attempt),
            2 => self.suspend(&attempt),
            _ => Command::Lose { attempt, given_back: false },
        };
        self.submit(&command);
    }

    fn answer(&mut self) {
        if self.waits.is_empty() {
            return;
        }
        let open: Vec<WaitId> = self.world.run.open_waits().iter().map(|wait| wait.id.clone()).collect();
        let wait = if open.is_empty() || self.rng.chance(20) {
            self.rng.pick(&self.waits)
        } else {
            self.rng.pick(&open)
        };
        let value = match self.rng.below(4) {
            0 => json!({ "verb": "retry" }),
            1 => json!({ "verb": "complete", "value": 3 }),
            2 => json!({ "verb": "fail", "reason": "no" }),
            _ => json!("yes"),
        };
        let command = Command::Answer { wait: wait.clone(), value: Arc::new(value), by: None };
        self.submit(&command);
    }

    fn signal(&mut self) {
        if self.rng.chance(70) {
            self.signals += 1;
        }
        let name = (*self.rng.pick(&["x", "y"])).to_owned();
        let command = Command::Signal { name, id: format!("s{}", self.signals), value: Arc::new(json!(1)) };
        self.submit(&command);
    }

    fn fire(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let due: Vec<TimerKey> = self.world.run.due().timers.into_iter().map(|(key, _)| key).collect();
        let timer = if due.is_empty() || self.rng.chance(15) {
            self.rng.pick(&self.timers)
        } else {
            self.rng.pick(&due)
        };
        let command = Command::FireTimer { timer: timer.clone() };
        self.submit(&command);
    }

    fn any_child(&mut self) -> Option<WaitId> {
        let is_child = |wait: &&WaitId| {
            self.world.run.wait(wait).is_some_and(|(spec, _)| matches!(spec.kind, WaitKind::Child(_)))
        };
        let children: Vec<WaitId> = self.waits.iter().filter(is_child).cloned().collect();
        (!children.is_empty()).then(|| self.rng.pick(&children).clone())
    }

    /// News of a child comes in any order, also twice.
    fn note_child(&mut self) {
        let Some(wait) = self.any_child() else { return };
        let turn = 1 + self.rng.below(5) as u32;
        let paused = turn % 2 == 1;
        self.watch.hears(&wait, turn, paused);
        self.submit(&Command::NoteChild { wait, turn, paused });
    }

    fn end_child(&mut self) {
        let Some(wait) = self.any_child() else { return };
        let outcome = if self.rng.chance(70) {
            Ok(Arc::new(json!({ "result": 1 })))
        } else {
            Err(ErrorObject::new(Code::CHILD_FAILED, "child failed"))
        };
        self.submit(&Command::EndChild { wait, outcome });
    }

    fn retry(&mut self) {
        // The numbers of attempts go on from the last epoch, so a shell loads a failed run anew before it retries it.
        if self.lazy {
            return;
        }
        let input = self.rng.chance(30).then(|| Arc::new(json!("again")));
        if self.submit(&Command::Retry { input, reason: None }) {
            self.taken.clear();
        }
    }

    fn settle(&mut self) {
        let step = self.any_step();
        let verb = [SettleVerb::Retry, SettleVerb::Complete, SettleVerb::Fail][self.rng.below(3)];
        let value = self.rng.chance(50).then(|| Arc::new(json!("v")));
        let ordinal = self.rng.chance(30).then(|| Ordinal(1 + self.rng.below(2) as u32));
        // In a lazy run a lease may have been taken that the state does not know; its outcome is then stale.
        self.submit(&Command::Settle { step, ordinal, verb, value });
    }

    /// From here on everybody does what is asked of them, and the run must end.
    fn drive_to_the_end(&mut self) {
        self.winding_up = true;
        self.submit(&Command::Start);
        for _ in 0..400 {
            if self.world.status().is_terminal() {
                return;
            }
            if self.world.run.pause_reason() == Some(stepwell_core::status::PauseReason::Operator) {
                self.submit(&Command::Resume { reason: None, answer: None });
                continue;
            }
            self.taken.retain(|(attempt, _)| {
                self.world
                    .run
                    .execution(attempt.step.as_str(), attempt.ordinal)
                    .is_some_and(|e| !e.status.is_terminal())
            });
            let taken: HashSet<_> = self.taken.iter().map(|(a, _)| (a.step.clone(), a.ordinal)).collect();
            if let Some((attempt, task)) = self.taken.pop() {
                let command = match task {
                    Task::Judge => Command::Judge { attempt, holds: true },
                    Task::Attempt | Task::Rerun => self.complete(&attempt),
                };
                self.submit(&command);
                continue;
            }
            let free = |work: &Work| !taken.contains(&(work.execution.step.clone(), work.execution.ordinal));
            if self.world.ready().iter().any(free) {
                self.lease();
                continue;
            }
            // What comes after a deadline is refused.
            let mut due = self.world.run.due().timers.into_iter();
            let passed = due.find(|(key, at)| *key != TimerKey::Run && *at <= self.world.now);
            if let Some((timer, _)) = passed {
                self.submit(&Command::FireTimer { timer });
                continue;
            }
            let open: Vec<(WaitId, WaitKind)> = self
                .world
                .run
                .open_waits()
                .iter()
                .map(|wait| (wait.id.clone(), wait.spec.kind.clone()))
                .collect();
            if let Some((wait, kind)) = open.into_iter().find(|(_, kind)| *kind != WaitKind::Timer) {
                let command = match kind {
                    WaitKind::Human(question) => {
                        Command::Answer { wait, value: Arc::new(ending_answer(&question)), by: None }
                    }
                    WaitKind::Signal { name } => {
                        self.signals += 1;
                        Command::Signal { name, id: format!("s{}", self.signals), value: Arc::new(json!(1)) }
                    }
                    WaitKind::Timer | WaitKind::Child(_) => {
                        Command::EndChild { wait, outcome: Ok(Arc::new(json!({ "result": 1 }))) }
                    }
                };
                self.submit(&command);
                continue;
            }
            let timers = self.world.run.due().timers;
            let next =
                timers.iter().filter(|(key, _)| *key != TimerKey::Run).min_by_key(|(_, at)| *at).cloned();
            if let Some((timer, at)) = next {
                self.world.now = self.world.now.max(at);
                self.submit(&Command::FireTimer { timer });
                continue;
            }
            let later = self
                .world
                .run
                .due()
                .work
                .iter()
                .map(|work| work.not_before)
                .filter(|at| *at > self.world.now)
                .min();
            if let Some(at) = later {
                self.world.now = at;
                continue;
            }
            let work = self.world.run.due().work;
            if work.iter().any(|work| work.taken) {
                // Taken before a retry cleared the list: its worker is gone.
                let work = work.iter().find(|work| work.taken).expect("there is one");
                let ExecutionRef { step, ordinal } = work.execution.clone();
                let attempt = AttemptRef { step, ordinal, attempt: work.attempt, session: SESSION };
                self.submit(&Command::Lose { attempt, given_back: false });
                continue;
            }
            panic!(
                "seed {}: the run is {} and nothing can move it; held {:?}; executions {:#?}; definition {:#?}",
                self.seed,
                self.world.status(),
                self.world.run.held(),
                self.world.run.executions(),
                self.definition()
            );
        }
        panic!("seed {}: the run does not end: {:?}", self.seed, self.world.run.due());
    }
}

fn play(seed: u64) {
    let mut history = History::begin(seed);
    let turns = 10 + history.rng.below(60);
    for _ in 0..turns {
        history.turn();
    }
    history.drive_to_the_end();
    // Whatever is left of it to be tried again comes to an end too.
    history.retry();
    history.drive_to_the_end();
    history.compare_with_replay();
    // What has ended stays as it is.
    for _ in 0..5 {
        let events = history.world.journal.len();
        let before = history.world.status();
        history.stale();
        history.answer();
        history.fire();
        assert_eq!(
            (events, before),
            (history.world.journal.len(), history.world.status()),
            "seed {seed}: journaled after its end"
        );
    }
}

#[test]
fn every_invariant_holds_over_random_histories() {
    for seed in seeds(2_000) {
        if std::env::var_os("STEPWELL_TRACE").is_some() {
            eprintln!("seed {seed}");
        }
        play(seed);
    }
}
