//! The promise of DESIGN §4, fault by fault: commits whose outcome is unknown, callers that go away, sessions that come
//! back from the dead, attempts that die without their worker. What random faults together do is the simulation's.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use stepwell_core::ids::{RunId, WaitId};
use stepwell_core::run::event::Event;
use stepwell_core::run::wait::{Question, Resolution, WaitKind, WaitSpec};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Effect, Step};
use stepwell_engine::testing::{ScriptedProvider, SimClock, TestEngine, completes_once, has_no_gaps};
use stepwell_engine::{Engine, Options, Outcome, Provider, Registry, Start, Task};
use stepwell_store::{
    Fault, Faults, FaultyStore, MemoryStore, Page, SessionRef, Store, WaitFilter, WaitState,
};

/// A commit whose outcome is unknown was carried out or was not.
const UNKNOWN: [Fault; 2] = [Fault::TornBefore, Fault::TornAfter];

fn step(name: &str, needs: &[&str]) -> Step {
    Step::provided(name, "test/v1", "test/do", json!({})).needs(needs)
}

fn chain() -> Definition {
    Definition::new("chain", vec![step("a", &[]), step("b", &["a"]), step("c", &["b"])])
}

fn start_of(definition: Definition, id: &str) -> Start {
    let workflow = Workflow::new(definition).expect("a test's definition can be run");
    Start { run_id: Some(RunId::from(id)), ..Start::of(workflow) }
}

/// Returns a store in memory with faults over it, and itself as the engine takes it.
fn faulty(faults: Faults) -> (FaultyStore, Arc<dyn Store>) {
    let store = FaultyStore::new(Arc::new(MemoryStore::default()), faults);
    (store.clone(), Arc::new(store))
}

fn asking() -> ScriptedProvider {
    ScriptedProvider::default().on("a", |_| {
        let question = Question { prompt: "Ship it?".into(), ..Question::default() };
        Outcome::Suspend(vec![WaitSpec::step(WaitKind::Human(question))])
    })
}

async fn open_question(store: &Arc<dyn Store>, run: &RunId) -> WaitId {
    let filter = WaitFilter { run: Some(run.clone()), state: Some(WaitState::Open), ..WaitFilter::default() };
    store.waits(&filter, &Page::first(1)).await.unwrap().items.pop().expect("a question is open").wait
}

async fn answers(test: &TestEngine, run: &RunId) -> Vec<Value> {
    let answers = test.journal(run).await.into_iter().filter_map(|recorded| match recorded.event {
        Event::WaitResolved { resolution: Resolution::Answered { value, .. }, .. } => Some((*value).clone()),
        _ => None,
    });
    answers.collect()
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_commit_has_an_unknown_outcome_counts_once() {
    for fault in UNKNOWN {
        let (faults, store) = faulty(Faults::default());
        let test = TestEngine::over(store, ScriptedProvider::default()).await;
        faults.order(fault);
        let started = test.engine.start(start_of(chain(), "r")).await;
        let started = started.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        assert!(!started.existed, "{fault:?}: it was this call that started the run");
        let again = test.engine.start(start_of(chain(), "r")).await.unwrap();
        assert!(again.existed, "{fault:?}");
        assert_eq!(test.end(&started.run).await.state.status, RunStatus::Completed, "{fault:?}");
        assert_eq!(test.count(&started.run, "RunCreated").await, 1, "{fault:?}");
        assert_eq!(faults.thrown(), 0, "{fault:?}: nothing but what was ordered");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_whose_commit_has_an_unknown_outcome_is_committed_once() {
    for fault in UNKNOWN {
        let (faults, store) = faulty(Faults::default());
        let script = ScriptedProvider::default().on("a", move |_| {
            // The next commit is that of this very outcome.
            faults.order(fault);
            Outcome::output(json!({ "result": 1 }))
        });
        let test = TestEngine::over(store, script).await;
        let row = test.run(chain()).await;
        assert_eq!(row.state.status, RunStatus::Completed, "{fault:?}");
        let journal = test.journal(&row.run).await;
        assert!(has_no_gaps(&journal) && completes_once(&journal), "{fault:?}");
        for name in ["a", "b", "c"] {
            assert_eq!(test.script.calls(name), 1, "{fault:?}: {name}");
        }
        // Whom the commit handed over to was not begun: that lease is found again as lost.
        let lost = usize::from(fault == Fault::TornAfter);
        assert_eq!(test.count(&row.run, "AttemptLost").await, lost, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_answers_one_is_taken_also_if_the_outcome_of_its_commit_is_unknown() {
    for fault in UNKNOWN {
        let (faults, store) = faulty(Faults::default());
        let test = TestEngine::over(store.clone(), asking()).await;
        let run = test.start(chain()).await;
        test.rest(&run).await;
        let wait = open_question(&store, &run).await;
        faults.order(fault);
        let (first, second) = tokio::join!(
            test.engine.answer(&wait, json!(1), None),
            test.engine.answer(&wait, json!(2), None),
        );
        let taken = match (&first, &second) {
            (Ok(_), Err(refused)) => (1, refused),
            (Err(refused), Ok(_)) => (2, refused),
            both => panic!("{fault:?}: one of two answers is taken, not {both:?}"),
        };
        assert_eq!(taken.1.data["reason"], json!("wait_closed"), "{fault:?}");
        assert_eq!(answers(&test, &run).await, [json!(taken.0)], "{fault:?}: what was told is what counts");
        assert_eq!(test.end(&run).await.state.status, RunStatus::Completed, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_is_taken_once_however_often_its_outcome_is_unknown() {
    for fault in UNKNOWN {
        let (faults, store) = faulty(Faults::default());
        let test = TestEngine::over(store, asking()).await;
        let run = test.start(chain()).await;
        test.rest(&run).await;
        for _ in 0..3 {
            faults.order(fault);
            test.engine.signal(&run, "go", json!(1), Some("s".into())).await.expect("it fits the run");
        }
        assert_eq!(test.count(&run, "SignalReceived").await, 1, "{fault:?}");
    }
}

/// Polls a future so many times and drops it; returns what it ended with, if it did.
async fn dropped_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A store each of whose calls is an await of its own.
fn slow() -> Arc<dyn Store> {
    faulty(Faults { seed: 7, delayed: 1_000, delay: Duration::from_millis(5), ..Faults::default() }).1
}

/// Lets everything that is under way come to its end.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_caller_goes_away_at_any_await_counts_wholly_or_not_at_all() {
    let mut counted = Vec::new();
    for polls in 0.. {
        let store = slow();
        let test = TestEngine::over(store.clone(), ScriptedProvider::default()).await;
        let ended = dropped_after(polls, test.engine.start(start_of(chain(), "r"))).await;
        settle().await;
        let run = RunId::from("r");
        let began = store.run(&run).await.is_ok();
        counted.push(began);
        if began {
            assert_eq!(test.end(&run).await.state.status, RunStatus::Completed, "dropped after {polls}");
        }
        let again = test.engine.start(start_of(chain(), "r")).await.expect("the mailbox is not stuck");
        assert_eq!(again.existed, began, "dropped after {polls}");
        assert_eq!(test.end(&run).await.state.status, RunStatus::Completed, "dropped after {polls}");
        assert_eq!(test.count(&run, "RunCreated").await, 1, "dropped after {polls}");
        if let Some(ended) = ended {
            ended.expect("nothing is wrong with it");
            break;
        }
    }
    both_ways(&counted);
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_caller_goes_away_at_any_await_counts_wholly_or_not_at_all() {
    let mut counted = Vec::new();
    for polls in 0.. {
        let store = slow();
        let test = TestEngine::over(store.clone(), asking()).await;
        let run = test.start(chain()).await;
        test.rest(&run).await;
        let wait = open_question(&store, &run).await;
        let ended = dropped_after(polls, test.engine.answer(&wait, json!("first"), None)).await;
        settle().await;
        let taken = answers(&test, &run).await;
        counted.push(!taken.is_empty());
        let second = test.engine.answer(&wait, json!("second"), None).await;
        match second {
            Ok(_) => assert!(taken.is_empty(), "dropped after {polls}: an answer is taken once"),
            Err(error) => {
                assert_eq!(error.data["reason"], json!("wait_closed"), "dropped after {polls}");
                assert_eq!(taken, [json!("first")], "dropped after {polls}");
            }
        }
        assert_eq!(test.end(&run).await.state.status, RunStatus::Completed, "dropped after {polls}");
        assert_eq!(answers(&test, &run).await.len(), 1, "dropped after {polls}");
        if let Some(ended) = ended {
            ended.expect("nothing is wrong with it");
            break;
        }
    }
    both_ways(&counted);
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_caller_goes_away_at_any_await_counts_wholly_or_not_at_all() {
    let mut counted = Vec::new();
    for polls in 0.. {
        let test = TestEngine::over(slow(), asking()).await;
        let run = test.start(chain()).await;
        test.rest(&run).await;
        let ended = dropped_after(polls, test.engine.signal(&run, "go", json!(1), Some("s".into()))).await;
        settle().await;
        let taken = test.count(&run, "SignalReceived").await;
        counted.push(taken == 1);
        test.engine.signal(&run, "go", json!(1), Some("s".into())).await.expect("the mailbox is not stuck");
        assert_eq!(test.count(&run, "SignalReceived").await, 1, "dropped after {polls}");
        if let Some(ended) = ended {
            ended.expect("nothing is wrong with it");
            break;
        }
    }
    both_ways(&counted);
}

/// The caller was dropped before its request counted, and after.
fn both_ways(counted: &[bool]) {
    assert!(counted.len() > 2, "there is an await to be dropped at: {counted:?}");
    assert!(counted.is_sorted(), "what counted once counts also for a more patient caller: {counted:?}");
    assert!(!counted[0] && counted[counted.len() - 2], "{counted:?}");
}

/// Works until it is told to end, and brings an outcome nevertheless.
#[derive(Default)]
struct Stubborn {
    began: AtomicBool,
    was_cancelled: AtomicBool,
}

#[async_trait]
impl Provider for Stubborn {
    async fn execute(&self, task: Task) -> Outcome {
        self.began.store(true, Ordering::SeqCst);
        task.cancel.cancelled().await;
        self.was_cancelled.store(true, Ordering::SeqCst);
        Outcome::output(json!({ "result": "late" }))
    }
}

const FIRST: SessionRef = SessionRef { id: 1, generation: 1 };

#[tokio::test(start_paused = true)]
async fn a_stalled_session_that_comes_back_changes_nothing_and_its_attempt_is_cancelled() {
    let memory = Arc::new(MemoryStore::default());
    let stalling = FaultyStore::new(memory.clone(), Faults::default());
    let stubborn = Arc::new(Stubborn::default());
    let registry = Registry::default().provide("test/v1", stubborn.clone());
    let clock = Arc::new(SimClock::new(99));
    let stalled = Engine::open_with_clock(Arc::new(stalling.clone()), registry, Options::default(), clock)
        .await
        .unwrap();
    let run = stalled.start(start_of(chain(), "r")).await.unwrap().run;
    while !stubborn.began.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stalling.stop();
    memory.kill_session(FIRST);
    let other = TestEngine::over(memory.clone(), ScriptedProvider::default()).await;
    let ended = other.end(&run).await;
    assert_eq!(ended.state.status, RunStatus::Completed);
    assert_eq!(other.view(&run, "a").await["result"], json!("a"), "the result of who lives");
    assert!(!stubborn.was_cancelled.load(Ordering::SeqCst), "it stands still");

    stalling.go_on();
    settle().await;
    assert!(stubborn.was_cancelled.load(Ordering::SeqCst), "its attempt is told to end");
    assert_eq!(memory.run(&run).await.unwrap(), ended, "what it brings changes nothing");
    assert_eq!(other.count(&run, "AttemptLost").await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_was_on_its_way_when_its_session_died_is_refused() {
    let memory = Arc::new(MemoryStore::default());
    let stalling = FaultyStore::new(memory.clone(), Faults::default());
    let stops = stalling.clone();
    let script = ScriptedProvider::default().on("b", move |_| {
        stops.stop();
        Outcome::output(json!({ "result": "late" }))
    });
    let stalled = TestEngine::over(Arc::new(stalling.clone()), script).await;
    let run = stalled.start(chain()).await;
    while stalled.script.calls("b") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    memory.kill_session(FIRST);
    let other = TestEngine::over(memory.clone(), ScriptedProvider::default()).await;
    let ended = other.end(&run).await;
    stalling.go_on();
    settle().await;
    assert_eq!(memory.run(&run).await.unwrap(), ended, "its commit was refused");
    assert_eq!(other.view(&run, "b").await["result"], json!("b"), "the result of who lives");
    assert!(completes_once(&other.journal(&run).await));
    assert_eq!((other.script.calls("a"), other.script.calls("b"), stalled.script.calls("c")), (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_process_whose_session_was_judged_dead_hands_itself_nothing() {
    let memory = Arc::new(MemoryStore::default());
    let dead = TestEngine::over(memory.clone(), ScriptedProvider::default()).await;
    memory.kill_session(FIRST);
    let other = TestEngine::over(memory, ScriptedProvider::default()).await;
    // It does not know yet: its next renewal is two seconds away.
    let run = dead.start(chain()).await;
    assert_eq!(other.end(&run).await.state.status, RunStatus::Completed);
    assert_eq!(other.count(&run, "AttemptLost").await, 0);
    assert_eq!(["a", "b", "c"].map(|name| (dead.script.calls(name), other.script.calls(name))), [(0, 1); 3]);
}

fn lost() -> Outcome {
    Outcome::Lost { reason: "what it ran in died".into() }
}

async fn losses(test: &TestEngine, run: &RunId) -> Vec<bool> {
    let lost = test.journal(run).await.into_iter().filter_map(|recorded| match recorded.event {
        Event::AttemptLost { given_back, .. } => Some(given_back),
        _ => None,
    });
    lost.collect()
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_died_without_its_worker_is_made_again_at_once_and_does_not_count() {
    let script = ScriptedProvider::default()
        .on("b", |task| if task.attempt <= 4 { lost() } else { Outcome::output(json!({ "result": 1 })) });
    let test = TestEngine::new(script).await;
    let row = test.run(chain()).await;
    assert_eq!(row.state.status, RunStatus::Completed, "{:?}", row.state.error);
    assert_eq!(["a", "b", "c"].map(|name| test.script.calls(name)), [1, 5, 1], "it declares no retries");
    assert_eq!(losses(&test, &row.run).await, [false; 4]);
    let journal = test.journal(&row.run).await;
    assert!(has_no_gaps(&journal) && completes_once(&journal));
    let took = row.state.finished_at.unwrap().ms_since(row.created_at);
    assert!(took < 100, "no waiting between attempts, but {took} ms");
}

#[tokio::test(start_paused = true)]
async fn an_execution_whose_attempts_die_again_and_again_fails() {
    let test = TestEngine::new(ScriptedProvider::default().on("b", |_| lost())).await;
    let row = test.run(chain()).await;
    assert_eq!(row.state.status, RunStatus::Failed);
    assert_eq!(test.view(&row.run, "b").await["error"]["name"], json!("WORKER_LOST"));
    assert_eq!((test.script.calls("b"), losses(&test, &row.run).await), (5, vec![false; 5]));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_died_and_may_not_be_made_twice_asks_a_person() {
    let test = TestEngine::new(ScriptedProvider::default().on("b", |_| lost())).await;
    let mut definition = chain();
    definition.steps[1].effect = Effect::AtMostOnce;
    let run = test.start(definition).await;
    assert_eq!(test.rest(&run).await.state.status, RunStatus::Paused);
    assert_eq!((test.script.calls("b"), losses(&test, &run).await), (1, vec![false]));
    let wait = open_question(&test.store, &run).await;
    test.engine.answer(&wait, json!({ "verb": "complete", "value": 2 }), None).await.unwrap();
    assert_eq!(test.end(&run).await.state.status, RunStatus::Completed);
}

/// Dies when it is told to end.
#[derive(Default)]
struct Frail {
    began: AtomicBool,
}

#[async_trait]
impl Provider for Frail {
    async fn execute(&self, task: Task) -> Outcome {
        self.began.store(true, Ordering::SeqCst);
        task.cancel.cancelled().await;
        lost()
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_dies_in_a_shutdown_is_given_back() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let frail = Arc::new(Frail::default());
    let registry = Registry::default().provide("test/v1", frail.clone());
    let clock = Arc::new(SimClock::new(98));
    let engine = Engine::open_with_clock(store.clone(), registry, Options::default(), clock).await.unwrap();
    let run = engine.start(start_of(chain(), "r")).await.unwrap().run;
    while !frail.began.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    engine.shutdown().await;
    let heir = TestEngine::over(store, ScriptedProvider::default()).await;
    assert_eq!(heir.end(&run).await.state.status, RunStatus::Completed);
    assert_eq!(losses(&heir, &run).await, [true]);
}
