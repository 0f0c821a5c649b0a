//! A world of some processes over one store, the clients that ask things of them, and what goes wrong.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use stepwell_core::ids::{RunId, Seq};
use stepwell_core::run::wait::{Question, WaitKind};
use stepwell_core::status::{PauseReason, RunStatus};
use stepwell_core::workflow::Workflow;
use stepwell_engine::testing::SimClock;
use stepwell_engine::{Engine, Start};
use stepwell_store::{Faults, MemoryStore, Page, RunFilter, RunRow, Store, WaitFilter, WaitRow, WaitState};

use super::dice::Dice;
use super::ledger::{Ask, Ledger, Told};
use super::process::{Common, Process};
use super::workflows;

/// How much happens before everything is healed.
const EVENTS: usize = 80;

/// After the faults every run comes to rest within so many seconds.
const HEALED_WITHIN_S: usize = 1_200;

/// So many runs are started from outside.
const RUNS: usize = 8;

pub(super) struct World {
    pub(super) common: Common,
    dice: Dice,
    processes: Vec<Process>,
    started: usize,
    starts: Vec<Start>,
    signals: Vec<(RunId, String, String, Value)>,
    numbers: u64,
}

/// Returns every run of a store.
pub(super) async fn rows(memory: &MemoryStore) -> Vec<RunRow> {
    memory
        .runs(&RunFilter::default(), &Page::first(10_000))
        .await
        .expect("a store in memory can be read")
        .items
}

/// Returns every journal, for people.
pub(super) async fn journals(memory: &MemoryStore) -> Vec<String> {
    let mut lines = Vec::new();
    for row in rows(memory).await {
        let journal = memory.events(&row.run, Seq(0), usize::MAX).await.expect("a journal can be read");
        lines.extend(journal.iter().map(|it| format!("{} {} {} {:?}", row.run, it.seq, it.at.0, it.event)));
    }
    lines
}

/// Returns the end of every journal.
pub(super) async fn ends(memory: &MemoryStore) -> HashMap<RunId, Seq> {
    rows(memory).await.into_iter().map(|row| (row.run, row.seq)).collect()
}

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        let common = Common {
            memory: Arc::new(MemoryStore::default()),
            ledger: Arc::new(Ledger::default()),
            clock: Arc::new(SimClock::new(seed)),
        };
        let mut world = Self {
            common,
            dice: Dice::new(seed),
            processes: Vec::new(),
            started: 0,
            starts: Vec::new(),
            signals: Vec::new(),
            numbers: 0,
        };
        for _ in 0..world.dice.between(2, 3) {
            world.start_process().await;
        }
        world
    }

    async fn start_process(&mut self) {
        self.started += 1;
        let faults = match self.dice.below(4) {
            0 => Faults::default(),
            1 => Faults { deaf: 1_000, ..Faults::some(self.dice.next()) },
            2 => Faults { torn_after: 150, torn_before: 100, ..Faults::some(self.dice.next()) },
            _ => Faults::some(self.dice.next()),
        };
        let process = Process::start(&self.common, self.started, &mut self.dice, faults).await;
        self.tell(&format!("process {} starts, sessions {:?}", self.started, process.sessions()));
        self.processes.push(process);
    }

    fn tell(&self, line: &str) {
        let at = stepwell_engine::Clock::now(&*self.common.clock).0 / 1_000 % 100_000_000;
        self.common.ledger.tell(format!("{at:>10} {line}"));
    }

    /// Phase 1: things happen and go wrong.
    pub(super) async fn suffer(&mut self) {
        for _ in 0..EVENTS {
            let pause = if self.dice.chance(60) { 100 } else { 2_000 };
            tokio::time::sleep(self.dice.up_to_ms(pause)).await;
            self.happen().await;
        }
    }

    async fn happen(&mut self) {
        match self.dice.below(100) {
            0..=14 => self.start_run(),
            15..=19 => self.start_again(),
            20..=42 => self.answer().await,
            43..=54 => self.signal().await,
            55..=58 => self.signal_again(),
            59..=61 => self.command(&[RunStatus::Running, RunStatus::Paused], Ask::Pause).await,
            62..=69 => self.command(&[RunStatus::Paused], Ask::Resume).await,
            70..=71 => self.command(&[RunStatus::Running, RunStatus::Paused], Ask::Cancel).await,
            72..=78 => self.command(&[RunStatus::Failed], Ask::Retry).await,
            79..=84 => self.kill().await,
            85..=89 => self.stop(),
            90..=92 => self.judge().await,
            _ => self.go_on(),
        }
    }

    /// Returns an engine to ask through: of any process, also one that stands still.
    fn engine(&mut self) -> Engine {
        let process = self.dice.pick(&self.processes).expect("there is always a process");
        process.engine.clone()
    }

    /// Lets a client ask something; some go away before they are answered.
    fn ask<T: Send + 'static>(
        &mut self,
        ask: Ask,
        asking: impl Future<Output = Result<T, stepwell_core::error::ErrorObject>> + Send + 'static,
    ) {
        let patience = self.dice.chance(30).then(|| self.dice.up_to_ms(60));
        self.tell(&format!("asked: {ask:?}, patience {patience:?}"));
        let ledger = self.common.ledger.clone();
        let number = ledger.asked(ask);
        tokio::spawn(async move {
            let told = match patience {
                None => Told::of(asking.await),
                Some(patience) => match tokio::time::timeout(patience, asking).await {
                    Ok(outcome) => Told::of(outcome),
                    Err(_) => Told::Nothing,
                },
            };
            ledger.tell(format!("           told {number}: {told:?}"));
            ledger.told(number, told);
        });
    }

    fn start_run(&mut self) {
        if self.starts.len() >= RUNS {
            return;
        }
        let number = self.starts.len();
        let definition = workflows::random(&mut self.dice, &format!("w{number}"), 1);
        let workflow = Workflow::new(definition).expect("what is made here can be run");
        let start = Start {
            run_id: Some(RunId::from(format!("run-{number}"))),
            input: json!({ "rounds": self.dice.between(1, 3) }),
            ..Start::of(workflow)
        };
        self.starts.push(start.clone());
        self.submit_start(start.clone());
        if self.dice.chance(30) {
            self.submit_start(start);
        }
    }

    fn start_again(&mut self) {
        if let Some(start) = self.dice.pick(&self.starts).cloned() {
            self.submit_start(start);
        }
    }

    fn submit_start(&mut self, start: Start) {
        let engine = self.engine();
        let run = start.run_id.clone().expect("every start of this world has an id");
        self.ask(Ask::Start(run), async move { engine.start(start).await });
    }

    async fn answer(&mut self) {
        let questions = self.questions().await;
        let Some(question) = self.dice.pick(&questions).cloned() else { return };
        for _ in 0..self.dice.between(1, 2) {
            let engine = self.engine();
            self.submit_answer(engine, &question);
        }
    }

    fn submit_answer(&mut self, engine: Engine, question: &WaitRow) {
        self.numbers += 1;
        let kind =
            serde_json::from_value(question.spec["kind"].clone()).expect("a wait is kept as journaled");
        let value = match kind {
            WaitKind::Human(Question { settles: true, .. }) => {
                json!({ "verb": "retry", "value": self.numbers })
            }
            _ => json!(self.numbers),
        };
        let (run, wait) = (question.run.clone(), question.wait.clone());
        let ask = Ask::Answer { run, wait: wait.clone(), value: value.clone() };
        self.ask(ask, async move { engine.answer(&wait, value, None).await });
    }

    async fn questions(&self) -> Vec<WaitRow> {
        self.open_waits("human").await
    }

    async fn open_waits(&self, kind: &str) -> Vec<WaitRow> {
        let filter =
            WaitFilter { state: Some(WaitState::Open), kind: Some(kind.to_owned()), ..WaitFilter::default() };
        let waits = self.common.memory.waits(&filter, &Page::first(1_000)).await;
        waits.expect("a store in memory can be read").items
    }

    async fn signal(&mut self) {
        let rows = rows(&self.common.memory).await;
        let Some(row) = self.dice.pick(&rows) else { return };
        let name = ["red", "blue"][self.dice.below(2)].to_owned();
        let engine = self.engine();
        self.submit_signal(engine, row.run.clone(), name);
    }

    fn submit_signal(&mut self, engine: Engine, run: RunId, name: String) {
        self.numbers += 1;
        let signal = (run, name, format!("signal-{}", self.numbers), json!(self.numbers));
        self.signals.push(signal.clone());
        self.resubmit_signal(engine, signal);
    }

    fn signal_again(&mut self) {
        let engine = self.engine();
        if let Some(signal) = self.dice.pick(&self.signals).cloned() {
            self.resubmit_signal(engine, signal);
        }
    }

    fn resubmit_signal(&mut self, engine: Engine, (run, name, id, value): (RunId, String, String, Value)) {
        let ask = Ask::Signal { run: run.clone(), name: name.clone(), id: id.clone() };
        self.ask(ask, async move { engine.signal(&run, &name, value, Some(id)).await });
    }

    async fn command(&mut self, of: &[RunStatus], ask: fn(RunId) -> Ask) {
        let rows: Vec<RunRow> = rows(&self.common.memory).await;
        let rows: Vec<RunRow> = rows.into_iter().filter(|row| of.contains(&row.state.status)).collect();
        let Some(row) = self.dice.pick(&rows) else { return };
        let engine = self.engine();
        self.submit_command(engine, ask(row.run.clone()));
    }

    fn submit_command(&mut self, engine: Engine, ask: Ask) {
        let asked = ask.clone();
        self.ask(asked, async move {
            match ask {
                Ask::Pause(run) => engine.pause(&run, None).await,
                Ask::Resume(run) => engine.resume(&run, None).await,
                Ask::Cancel(run) => engine.cancel(&run, None).await,
                Ask::Retry(run) => engine.retry(&run, None, None).await,
                Ask::Start(_) | Ask::Answer { .. } | Ask::Signal { .. } => {
                    unreachable!("these are submitted with what they bring")
                }
            }
        });
    }

    /// A process dies, and another takes its place.
    async fn kill(&mut self) {
        let at = self.dice.below(self.processes.len());
        let process = self.processes.swap_remove(at);
        self.tell(&format!("process {} is killed", process.number));
        process.kill(&self.common).await;
        self.start_process().await;
    }

    /// A process stands still.
    fn stop(&mut self) {
        let at = self.dice.below(self.processes.len());
        self.tell(&format!("process {} stands still", self.processes[at].number));
        self.processes[at].stop();
    }

    /// A process that stands still is judged dead, and another takes its place.
    async fn judge(&mut self) {
        let still = self.processes.iter().position(|process| process.stands && !process.is_judged);
        let Some(at) = still else { return };
        self.tell(&format!("process {} is judged dead", self.processes[at].number));
        self.processes[at].judge(&self.common).await;
        self.start_process().await;
    }

    /// A process that stood still goes on, judged dead or not.
    fn go_on(&mut self) {
        let Some(at) = self.processes.iter().position(|process| process.stands) else { return };
        self.tell(&format!("process {} goes on", self.processes[at].number));
        self.processes[at].go_on();
    }

    /// Phase 2: faults end. Of the processes either all stay, or one new one is left; beside them those go on that
    /// were judged dead and do not know it. Everything comes to rest, and to its end once nobody outside is waited for.
    /// In half of the worlds no wake-up comes from the store: the promise needs none.
    pub(super) async fn heal(&mut self) {
        let deaf = if self.dice.chance(50) { 1_000 } else { 0 };
        let healed = Faults { seed: self.dice.next(), deaf, ..Faults::default() };
        let all_stay = self.dice.chance(50);
        self.tell(&format!("healing, all stay: {all_stay}, {deaf} of 1000 wake-ups are lost"));
        for mut process in std::mem::take(&mut self.processes) {
            process.store.suffer(healed.clone());
            if all_stay || process.is_judged {
                process.go_on();
                self.processes.push(process);
            } else {
                process.kill(&self.common).await;
            }
        }
        // Who starts looks at everything; so where some are left, none starts.
        if self.processes.iter().all(|process| process.is_judged) {
            self.started += 1;
            let new = Process::start(&self.common, self.started, &mut self.dice, healed).await;
            self.processes.push(new);
        }
        let engine = self.healthy().clone();
        self.rest("at rest, or waiting for somebody outside", RunStatus::Paused).await;
        for _ in 0..200 {
            if !self.release(&engine).await {
                break;
            }
            self.rest("at rest again", RunStatus::Paused).await;
        }
        self.rest("at its end", RunStatus::Completed).await;
    }

    /// Returns an engine whose session lives.
    pub(super) fn healthy(&self) -> &Engine {
        let healthy = self.processes.iter().find(|process| !process.is_judged);
        &healthy.expect("healing leaves one").engine
    }

    /// Gives every paused run what it waits for; returns whether there was any.
    async fn release(&mut self, engine: &Engine) -> bool {
        let paused: Vec<RunRow> = rows(&self.common.memory).await;
        let paused: Vec<RunRow> =
            paused.into_iter().filter(|row| row.state.status == RunStatus::Paused).collect();
        for row in &paused {
            if row.state.pause_reason == Some(PauseReason::Operator) {
                self.submit_command(engine.clone(), Ask::Resume(row.run.clone()));
            }
        }
        for question in self.questions().await {
            self.submit_answer(engine.clone(), &question);
        }
        for wait in self.open_waits("signal").await {
            let name = wait.spec["kind"]["name"].as_str().expect("a signal has a name").to_owned();
            self.submit_signal(engine.clone(), wait.run, name);
        }
        !paused.is_empty()
    }

    /// Waits until every run is terminal or in that status.
    async fn rest(&self, what: &str, or: RunStatus) {
        // What was asked just now is taken first.
        tokio::time::sleep(Duration::from_secs(1)).await;
        for _ in 0..HEALED_WITHIN_S {
            let rows = rows(&self.common.memory).await;
            // What waits for a child rests with it.
            let children = self.open_waits("child").await;
            let rests = |row: &RunRow| {
                row.state.status.is_terminal()
                    || row.state.status == or
                    || (or == RunStatus::Paused && children.iter().any(|wait| wait.run == row.run))
            };
            let outbox = self.common.memory.outbox(1).await.expect("a store in memory can be read");
            if rows.iter().all(rests) && outbox.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let stuck: Vec<_> = rows(&self.common.memory)
            .await
            .into_iter()
            .filter(|row| !row.state.status.is_terminal())
            .collect();
        let stuck: Vec<_> = stuck.iter().map(|row| (&row.run, row.state.status)).collect();
        panic!("healed for {HEALED_WITHIN_S} s, yet not {what}: {stuck:?}");
    }
}
