//! One store file, the lives that work on it, and what must be true of every run afterwards.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::ids::{RunId, Seq, Timestamp};
use stepwell_core::run::event::Event;
use stepwell_core::run::wait::{Question, WaitKind};
use stepwell_core::status::RunStatus;
use stepwell_engine::testing::{completes_once, has_no_gaps};
use stepwell_engine::{Engine, Leases, Options, Registry};
use stepwell_store::{Page, Recorded, Store, WaitFilter, WaitState};

use super::killing::Kill;
use super::life::{Goal, Life, VARIABLE};
use super::log::{Line, Log};
use super::process::Process;

/// The test that is led as a worker's life.
const WORKER: &str = "crash::worker";

/// An attempt, as the log and the journal both name it: step, ordinal, attempt.
type Attempt = (String, u32, u32);

pub(super) struct Stage {
    dir: tempfile::TempDir,
    pub(super) story: &'static str,
}

impl Stage {
    pub(super) fn new(story: &'static str) -> Self {
        Self { dir: tempfile::tempdir().expect("a directory can be made"), story }
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.dir.path().join("s.db").display())
    }

    pub(super) fn log(&self, run: &str) -> Log {
        Log::at(&self.dir.path().join(format!("{run}.log")))
    }

    /// Starts a process that starts or joins that run and works until it rests.
    pub(super) fn spawn(&self, run: &str, kill: Option<Kill>) -> Process {
        self.spawn_for(Goal::Run { story: self.story.to_owned(), run: run.to_owned() }, &self.log(run), kill)
    }

    /// Starts a process that works until no run is unfinished.
    pub(super) fn spawn_worker(&self, log: &Log) -> Process {
        self.spawn_for(Goal::All, log, None)
    }

    fn spawn_for(&self, goal: Goal, log: &Log, kill: Option<Kill>) -> Process {
        let life = Life { url: self.url(), log: log.path().to_owned(), goal, kill };
        Process::of_test(WORKER, VARIABLE, &serde_json::to_string(&life).expect("a life is plain data"))
    }

    /// Lets a run live through one kill (at most) to its end, and plays the part of the people outside whenever
    /// it pauses for them. Returns whether the kill came about, and how often somebody outside was asked.
    pub(super) async fn live(&self, run: &str, kill: Option<Kill>) -> (bool, usize) {
        let (mut armed, mut killed, mut asked) = (kill, false, 0);
        loop {
            if !self.spawn(run, armed.clone()).end() {
                killed = true;
                armed = None;
                continue;
            }
            let Some(Line::Rests { status, begun, done, .. }) = self.log(run).read().pop() else {
                panic!("run {run}: a life that ends by itself says how the run rests");
            };
            if status != "paused" {
                return (killed, asked);
            }
            asked += 1;
            assert!(asked <= 2, "run {run} asks again for what it was told");
            self.act(run).await;
            armed = match armed {
                Some(Kill::Before(n)) if n > begun => Some(Kill::Before(n - begun)),
                Some(Kill::After(n)) if n > done => Some(Kill::After(n - done)),
                other => other,
            };
        }
    }

    /// Answers the open question of a run, or sends the signal it waits for.
    async fn act(&self, run: &str) {
        let open = self.open().await;
        let filter =
            WaitFilter { run: Some(run.into()), state: Some(WaitState::Open), ..WaitFilter::default() };
        let waits = open.store.waits(&filter, &Page::first(10)).await.expect("waits can be listed").items;
        let [wait] = &waits[..] else { panic!("run {run} pauses for one thing, not {waits:?}") };
        let kind = serde_json::from_value(wait.spec["kind"].clone()).expect("a wait is kept as journaled");
        let taken = match kind {
            WaitKind::Human(Question { settles: true, .. }) => {
                open.engine.answer(&wait.wait, json!({ "verb": "complete", "value": 2 }), None).await
            }
            WaitKind::Human(_) => open.engine.answer(&wait.wait, json!("yes"), Some("ann".into())).await,
            WaitKind::Signal { name } => {
                open.engine.signal(&run.into(), &name, json!(7), Some("second".into())).await
            }
            WaitKind::Timer | WaitKind::Child(_) => panic!("run {run} pauses for a {}", wait.kind),
        };
        taken.expect("an answer is taken");
        open.close().await;
    }

    /// Opens the store in this process, with an engine that takes no work.
    pub(super) async fn open(&self) -> Open {
        let store = stepwell_store::open(&self.url()).await.expect("the store can be opened");
        let options = Options { leases: Leases::None, ..Options::default() };
        let engine = Engine::open(store.clone(), Registry::default(), options).await;
        Open { engine: engine.expect("an engine can be opened"), store }
    }
}

/// The store as this process has it open.
pub(super) struct Open {
    pub(super) engine: Engine,
    pub(super) store: Arc<dyn Store>,
}

impl Open {
    pub(super) async fn close(self) {
        self.engine.shutdown().await;
        self.store.close().await.expect("the store can be closed");
    }

    pub(super) async fn journal(&self, run: &str) -> Vec<Recorded> {
        self.store.events(&run.into(), Seq(0), usize::MAX).await.expect("a journal can be read")
    }

    /// Returns the views of a run without what is its own: ids and times.
    pub(super) async fn views(&self, run: &str) -> Value {
        let mut views = self.engine.inspect(&run.into()).await.expect("a run can be looked at").views();
        for view in views.values_mut().filter_map(Value::as_object_mut) {
            for own in ["run_id", "wait_id", "answered_at", "due_at", "fired_at"] {
                view.remove(own);
            }
        }
        Value::Object(views)
    }

    /// Checks what holds for every run that has come to its end, whatever happened to its workers, and returns its
    /// journal.
    pub(super) async fn check(&self, run: &str, lines: &[Line], calm: &Value) -> Past {
        let row = self.store.run(&run.into()).await.expect("a run can be read");
        assert_eq!(row.state.status, RunStatus::Completed, "run {run}: {:?}", row.state.error);
        let past = Past { run: run.to_owned(), journal: self.journal(run).await };
        assert!(has_no_gaps(&past.journal), "run {run} has a gap in its journal");
        assert!(completes_once(&past.journal), "run {run} completed something twice");
        past.check_attempts(lines);
        past.check_finished_steps(lines);
        assert_eq!(&self.views(run).await, calm, "run {run} has another result than the undisturbed one");
        past
    }
}

/// The journal of a run that is over.
pub(super) struct Past {
    run: String,
    pub(super) journal: Vec<Recorded>,
}

impl Past {
    pub(super) fn count(&self, kind: &str) -> usize {
        self.journal.iter().filter(|recorded| recorded.event.kind() == kind).count()
    }

    /// Returns the attempts that were lost, and when that was noticed.
    pub(super) fn lost(&self) -> HashMap<Attempt, Timestamp> {
        let lost = self.journal.iter().filter_map(|recorded| match &recorded.event {
            Event::AttemptLost { step, execution, attempt, .. } => {
                Some(((step.to_string(), execution.0, *attempt), recorded.at))
            }
            _ => None,
        });
        lost.collect()
    }

    /// Returns the most attempts that any one execution lost.
    pub(super) fn most_losses(&self) -> usize {
        let mut losses: BTreeMap<(String, u32), usize> = BTreeMap::new();
        for (step, ordinal, _) in self.lost().into_keys() {
            *losses.entry((step, ordinal)).or_default() += 1;
        }
        losses.into_values().max().unwrap_or(0)
    }

    /// Each attempt was carried out once at most, had begun in the journal, and was made only because all earlier
    /// ones of its execution were lost or failed; a lost one is followed by the next number.
    fn check_attempts(&self, lines: &[Line]) {
        let run = &self.run;
        let lost = self.lost();
        let mut started = HashSet::new();
        let mut ended: HashSet<Attempt> = lost.keys().cloned().collect();
        for recorded in &self.journal {
            match &recorded.event {
                Event::AttemptStarted(start) => {
                    let is_next = (1..start.attempt)
                        .all(|earlier| ended.contains(&(start.step.to_string(), start.execution.0, earlier)));
                    assert!(is_next, "run {run}: {start:?} began though an earlier attempt had not ended");
                    let attempt = (start.step.to_string(), start.execution.0, start.attempt);
                    assert!(started.insert(attempt), "run {run}: {start:?} twice");
                }
                Event::AttemptFailed { step, execution, attempt, .. } => {
                    ended.insert((step.to_string(), execution.0, *attempt));
                }
                _ => {}
            }
        }
        for (step, ordinal, attempt) in lost.keys() {
            let settled = self.journal.iter().any(|recorded| {
                matches!(&recorded.event, Event::StepCompleted { step: done, execution, attempt: 0, .. }
                    if done.as_str() == step && execution.0 == *ordinal)
            });
            let next = started.contains(&(step.clone(), *ordinal, attempt + 1));
            assert!(
                next || settled,
                "run {run}: attempt {attempt} of {step} was lost and nothing came after it"
            );
        }
        let mut carried_out = HashSet::new();
        for line in lines {
            let Line::Did { run: of, step, ordinal, attempt, .. } = line else { continue };
            if of != run {
                continue;
            }
            let attempt = (step.clone(), *ordinal, *attempt);
            assert!(
                started.contains(&attempt),
                "run {run}: {attempt:?} was carried out, but had never begun"
            );
            assert!(carried_out.insert(attempt.clone()), "run {run}: {attempt:?} was carried out twice");
        }
    }

    /// What was completed when a life began is not carried out in it.
    fn check_finished_steps(&self, lines: &[Line]) {
        let completed: HashMap<(String, u32), u64> = self
            .journal
            .iter()
            .filter_map(|recorded| match &recorded.event {
                Event::StepCompleted { step, execution, .. } => {
                    Some(((step.to_string(), execution.0), recorded.seq.0))
                }
                _ => None,
            })
            .collect();
        let mut found = 0;
        for line in lines {
            match line {
                Line::Life { ends, .. } => found = found.max(ends.get(&self.run).copied().unwrap_or(0)),
                Line::Did { run, step, ordinal, .. } if *run == self.run => {
                    let at = completed.get(&(step.clone(), *ordinal)).copied().unwrap_or(u64::MAX);
                    assert!(
                        at > found,
                        "run {run}: {step}#{ordinal} was completed at {at} and ran again after {found}"
                    );
                }
                _ => {}
            }
        }
    }

    /// Returns the process of each session that carried something out.
    pub(super) fn processes(&self, lines: &[Line]) -> HashMap<Attempt, u32> {
        let done = lines.iter().filter_map(|line| match line {
            Line::Did { run, step, ordinal, attempt, pid } if *run == self.run => {
                Some(((step.clone(), *ordinal, *attempt), *pid))
            }
            _ => None,
        });
        done.collect()
    }

    /// Returns the ids of the runs this one started.
    pub(super) fn children(&self) -> Vec<RunId> {
        let children = self.journal.iter().filter_map(|recorded| match &recorded.event {
            Event::WaitOpened { spec, .. } => match &spec.kind {
                WaitKind::Child(start) => Some(start.run.clone()),
                WaitKind::Human(_) | WaitKind::Signal { .. } | WaitKind::Timer => None,
            },
            _ => None,
        });
        children.collect()
    }
}
