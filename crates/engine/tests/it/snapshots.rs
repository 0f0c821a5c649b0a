//! Runs with long journals are loaded from a snapshot and a short tail, and nobody sees a difference.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use stepwell_core::ids::{RunId, Seq};
use stepwell_core::run::Run;
use stepwell_core::run::event::Target;
use stepwell_core::run::wait::{Question, Then, WaitKind, WaitSpec};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_engine::testing::{ScriptedProvider, TestEngine, completes_once, has_no_gaps};
use stepwell_engine::{Completion, Outcome, Start, Task};
use stepwell_store::{Error, MemoryStore, Page, Store, WaitFilter};

use crate::hooked::{HookedStore, Hooks};

/// Goes round as often as the input says, and asks in the middle.
fn rounds() -> Definition {
    let steps = vec![
        Step::function("round").next(&["round", "ask"]),
        Step::function("ask").next(&["rest"]),
        Step::function("rest").next(&["rest", "$end"]),
    ];
    Definition::new("rounds", steps)
}

fn script() -> ScriptedProvider {
    let round = |then: &'static str| {
        move |task: &Task| {
            let left = task.payload.as_deref().or(Some(&task.run.input)).and_then(Value::as_u64).unwrap();
            let to = match left {
                1 if then == "$end" => vec![],
                1 => vec![Target::to(then)],
                _ => vec![Target::with_payload(task.step.as_str(), left - 1)],
            };
            Outcome::Complete(Completion {
                output: Arc::new(json!({ "result": left })),
                to,
                ..Completion::default()
            })
        }
    };
    let ask = |task: &Task| match task.resolutions.first() {
        Some(_) => Outcome::Complete(Completion {
            output: Arc::new(json!({ "result": "asked" })),
            writes: vec![],
            to: vec![Target::with_payload("rest", task.run.input.as_u64().unwrap())],
            ..Completion::default()
        }),
        None => Outcome::Suspend(vec![WaitSpec {
            position: 0,
            name: None,
            kind: WaitKind::Human(Question { prompt: "Go on?".into(), ..Question::default() }),
            deadline: None,
            default: None,
            then: Then::Rerun,
        }]),
    };
    ScriptedProvider::default().on("round", round("ask")).on("rest", round("$end")).on("ask", ask)
}

async fn start(engine: &TestEngine, rounds_before: u32) -> RunId {
    let workflow = Workflow::new(rounds()).unwrap();
    engine.engine.start(Start { input: json!(rounds_before), ..Start::of(workflow) }).await.unwrap().run
}

async fn answer(engine: &TestEngine, run: &RunId) {
    let filter = WaitFilter { run: Some(run.clone()), ..WaitFilter::default() };
    let open = engine.store.waits(&filter, &Page::first(1)).await.unwrap().items.pop().unwrap();
    engine.engine.answer(&open.wait, json!("yes"), None).await.unwrap();
}

/// What is loaded is what the whole journal tells.
async fn is_as_the_journal_tells(engine: &TestEngine, run: &RunId) {
    let loaded = engine.engine.inspect(run).await.unwrap();
    let journal = engine.journal(run).await;
    let events = journal.iter().map(|recorded| (&recorded.event, recorded.at));
    let folded = Run::replay(run.clone(), loaded.workflow().clone(), events);
    assert_eq!(String::from_utf8(loaded.to_snapshot()), String::from_utf8(folded.to_snapshot()));
}

/// Remembers the longest tail that was loaded.
#[derive(Debug, Default)]
struct Longest(AtomicUsize);

impl Hooks for Longest {
    fn after_load(&self, tail: usize) {
        self.0.fetch_max(tail, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_run_is_loaded_from_a_snapshot_and_its_tail() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let first = TestEngine::over(store.clone(), script()).await;
    let run = start(&first, 5_000).await;
    assert_eq!(first.rest(&run).await.state.status, RunStatus::Paused);
    first.engine.shutdown().await;
    let journaled = first.journal(&run).await.len();
    assert!(journaled > 15_000, "{journaled} events");

    let hooked = Arc::new(HookedStore { inner: store.clone(), hooks: Longest::default() });
    let second = TestEngine::over(hooked.clone(), script()).await;
    is_as_the_journal_tells(&second, &run).await;
    answer(&second, &run).await;
    assert_eq!(second.end(&run).await.state.status, RunStatus::Completed);
    let longest = hooked.hooks.0.load(Ordering::SeqCst);
    assert!((1..journaled).contains(&longest), "a tail of {longest} of {journaled} events was loaded");
    is_as_the_journal_tells(&second, &run).await;

    let journal = second.journal(&run).await;
    assert!(has_no_gaps(&journal) && completes_once(&journal));
    let mut follow = second.engine.follow(&run, Seq(0));
    let mut followed = Vec::new();
    loop {
        let events = follow.next().await.unwrap();
        if events.is_empty() {
            break;
        }
        followed.extend(events);
    }
    assert_eq!(followed, journal, "who follows sees the whole journal");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_snapshot_is_ignored_and_replaced() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let first = TestEngine::over(store.clone(), script()).await;
    let run = start(&first, 1_200).await;
    let row = first.rest(&run).await;
    first.engine.shutdown().await;
    store.put_snapshot(&run, row.seq, b"run 1 nothing of ours".to_vec()).await.unwrap();

    let second = TestEngine::over(store.clone(), script()).await;
    is_as_the_journal_tells(&second, &run).await;
    answer(&second, &run).await;
    assert_eq!(second.end(&run).await.state.status, RunStatus::Completed);
    second.engine.shutdown().await;
    assert!(completes_once(&second.journal(&run).await));
    let (seq, bytes) = store.load(&run).await.unwrap().snapshot.unwrap();
    let workflow = Workflow::new(rounds()).unwrap();
    assert!(seq > row.seq && Run::from_snapshot(run, workflow, &bytes).is_some());
}

#[derive(Debug)]
struct NoSnapshots(AtomicUsize);

impl Hooks for NoSnapshots {
    fn refuses_snapshot(&self) -> Option<Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Some(Error::WriteFailed { what: "writing a snapshot".into(), source: "disk full".into() })
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_cannot_be_written_harms_nobody() {
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let hooked = Arc::new(HookedStore { inner, hooks: NoSnapshots(AtomicUsize::new(0)) });
    let engine = TestEngine::over(hooked.clone(), script()).await;
    let run = start(&engine, 1_500).await;
    assert_eq!(engine.rest(&run).await.state.status, RunStatus::Paused);
    answer(&engine, &run).await;
    assert_eq!(engine.end(&run).await.state.status, RunStatus::Completed);
    assert!(engine.engine.fault().borrow().is_none());
    engine.engine.shutdown().await;
    let tries = hooked.hooks.0.load(Ordering::SeqCst);
    assert!((1..10).contains(&tries), "tried {tries} times: once per length of a tail, not once per commit");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_knows_what_other_processes_have_leased() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let one = TestEngine::over(store.clone(), ScriptedProvider::default()).await;
    let other = TestEngine::over(store.clone(), ScriptedProvider::default()).await;
    let step = |name: &str| Step::provided(name, "test/v1", "test/do", json!({}));
    let names: Vec<String> = (0..3_000).map(|i| format!("b{i}")).collect();
    let mut steps = vec![step("first")];
    steps.extend(names.iter().map(|name| step(name).needs(&["first"])));
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    steps.push(step("merge").needs(&all));
    let run = one.start(Definition::new("wide", steps)).await;
    assert_eq!(one.end(&run).await.state.status, RunStatus::Completed);
    one.engine.shutdown().await;
    other.engine.shutdown().await;
    assert!(store.load(&run).await.unwrap().snapshot.is_some());
    is_as_the_journal_tells(&one, &run).await;
}
