//! Several engines over one store, each with its own memory of the same runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use stepwell_core::ids::Timestamp;
use stepwell_core::run::wait::{Question, WaitKind, WaitSpec};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_engine::testing::{ScriptedProvider, SimClock, TestEngine};
use stepwell_engine::{Engine, Options, Outcome, Registry, Start, Task};
use stepwell_store::{Error, MemoryStore, Page, Store, WaitFilter, WaitRow};

use crate::hooked::{HookedStore, Hooks};

fn step(name: &str, protocol: &str, needs: &[&str]) -> Step {
    Step::provided(name, protocol, "test/do", json!({})).needs(needs)
}

fn wait(kind: WaitKind, deadline: Option<Timestamp>) -> Outcome {
    Outcome::Suspend(vec![WaitSpec { deadline, ..WaitSpec::step(kind) }])
}

fn ask(_: &Task) -> Outcome {
    wait(WaitKind::Human(Question { prompt: "Ship it?".into(), ..Question::default() }), None)
}

fn nap(task: &Task) -> Outcome {
    wait(WaitKind::Timer, Some(task.report.now().plus_ms(10_000)))
}

/// Waits until a question is open.
async fn opened(store: &Arc<dyn Store>) -> WaitRow {
    loop {
        let open = store.waits(&WaitFilter::default(), &Page::first(1)).await.unwrap().items.pop();
        if let Some(open) = open {
            return open;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_is_not_refused_by_a_state_that_another_process_has_moved_on() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let idle = TestEngine::idle(store.clone()).await;
    let run = idle.start(Definition::new("approval", vec![step("ask", "test/v1", &[])])).await;
    let worker = TestEngine::over(store.clone(), ScriptedProvider::default().on("ask", ask)).await;
    assert_eq!(worker.rest(&run).await.state.status, RunStatus::Paused);
    let open = opened(&store).await;
    idle.engine.answer(&open.wait, json!(true), None).await.expect("the question is open");
    assert_eq!(worker.end(&run).await.state.status, RunStatus::Completed);
}

/// Opens an engine that carries out steps of one protocol only.
async fn of_protocol(store: &Arc<dyn Store>, protocol: &str, script: &ScriptedProvider) -> Engine {
    let registry = Registry::default().provide(protocol, Arc::new(script.clone()));
    let opened =
        Engine::open_with_clock(store.clone(), registry, Options::default(), Arc::new(SimClock::new(1)));
    opened.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_step_that_another_process_made_ready_begins_where_it_is_leased() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let script = ScriptedProvider::default()
        .on_after("other", Duration::from_millis(100), |_| Outcome::output(json!({ "result": 1 })));
    let first = of_protocol(&store, "first/v1", &script).await;
    let _second = of_protocol(&store, "second/v1", &script).await;
    let steps = vec![
        step("before", "first/v1", &[]),
        step("other", "second/v1", &["before"]),
        step("after", "first/v1", &["other"]),
    ];
    let workflow = Workflow::new(Definition::new("turns", steps)).unwrap();
    let run = first.start(Start::of(workflow)).await.unwrap().run;
    let row = first.rest(&run, false).await.unwrap();
    assert_eq!(row.state.status, RunStatus::Completed);
    let told = TestEngine::idle(store).await;
    assert_eq!(told.count(&run, "AttemptLost").await, 0, "a lease that is taken is begun");
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_another_process_set_is_fired_by_who_is_left() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let script = ScriptedProvider::default().on("nap", nap);
    let first = of_protocol(&store, "first/v1", &script).await;
    let second = of_protocol(&store, "second/v1", &script).await;
    let steps = vec![step("before", "first/v1", &[]), step("nap", "second/v1", &["before"])];
    let workflow = Workflow::new(Definition::new("nap", steps)).unwrap();
    let run = first.start(Start::of(workflow)).await.unwrap().run;
    opened(&store).await;
    second.shutdown().await;
    assert_eq!(first.rest(&run, false).await.unwrap().state.status, RunStatus::Completed);
}

/// Takes no commit while it is full.
#[derive(Debug, Default)]
struct Full {
    is_full: AtomicBool,
    refused: AtomicU32,
}

impl Hooks for Full {
    fn refuses(&self) -> Option<Error> {
        self.is_full.load(Ordering::SeqCst).then(|| {
            let tries = self.refused.fetch_add(1, Ordering::SeqCst);
            assert!(tries < 100, "somebody tries without a pause");
            Error::WriteFailed { what: "writing".into(), source: "the disk is full".into() }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_cannot_be_fired_now_is_tried_again_without_haste() {
    let full = Arc::new(HookedStore { inner: Arc::new(MemoryStore::default()), hooks: Full::default() });
    let store: Arc<dyn Store> = full.clone();
    let test = TestEngine::over(store.clone(), ScriptedProvider::default().on("nap", nap)).await;
    let run = test.start(Definition::new("nap", vec![step("nap", "test/v1", &[])])).await;
    opened(&store).await;
    full.hooks.is_full.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let tries = full.hooks.refused.load(Ordering::SeqCst);
    assert!((2..=20).contains(&tries), "about one try a second, not {tries} in ten seconds");
    full.hooks.is_full.store(false, Ordering::SeqCst);
    assert_eq!(test.end(&run).await.state.status, RunStatus::Completed);
}

/// Answers late: what it wrote stands for seconds before the engine hears of it.
#[derive(Debug)]
struct Slow;

#[async_trait]
impl Hooks for Slow {
    async fn after_commit(&self) {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }

    async fn after_lease(&self) {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_on_its_way_to_its_worker_is_no_stray() {
    let store: Arc<dyn Store> =
        Arc::new(HookedStore { inner: Arc::new(MemoryStore::default()), hooks: Slow });
    let idle = TestEngine::idle(store.clone()).await;
    let worker = TestEngine::over(store, ScriptedProvider::default()).await;
    // One step by lease, the other by hand-over.
    let steps = vec![step("a", "test/v1", &[]), step("b", "test/v1", &["a"])];
    let run = idle.start(Definition::new("slow", steps)).await;
    assert_eq!(worker.end(&run).await.state.status, RunStatus::Completed);
    assert_eq!(worker.count(&run, "AttemptLost").await, 0);
    assert_eq!((worker.script.calls("a"), worker.script.calls("b")), (1, 1));
}

/// Lets a worker carry out a step of a minute, and somebody else cancel the run.
async fn cancelled_elsewhere() -> (TestEngine, stepwell_core::ids::RunId) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let script = ScriptedProvider::default()
        .on_after("long", Duration::from_mins(1), |_| Outcome::output(json!({ "result": 1 })));
    let worker = TestEngine::over(store.clone(), script).await;
    let run = worker.start(Definition::new("long", vec![step("long", "test/v1", &[])])).await;
    while worker.script.calls("long") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    TestEngine::idle(store).await.engine.cancel(&run, None).await.expect("it is running");
    (worker, run)
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_within_a_second_after_another_process_has_cancelled_its_run() {
    let (worker, run) = cancelled_elsewhere().await;
    assert_eq!(worker.end(&run).await.state.status, RunStatus::Cancelled);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = tokio::time::Instant::now();
    worker.engine.shutdown().await;
    assert!(begun.elapsed() < Duration::from_millis(1), "the attempt had ended");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_what_nobody_wants_any_more() {
    let (worker, _) = cancelled_elsewhere().await;
    let begun = tokio::time::Instant::now();
    worker.engine.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}
