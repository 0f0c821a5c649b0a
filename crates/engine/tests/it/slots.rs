//! Who gets a slot when there are too few, and what becomes of attempts when a worker is shut down.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stepwell_core::ids::{RunId, Timestamp};
use stepwell_core::run::event::Event;
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::definition::{Definition, Priority, Step};
use stepwell_engine::testing::{ScriptedProvider, TestEngine};
use stepwell_engine::{Engine, Leases, Options, Outcome, Registry};
use stepwell_store::{MemoryStore, Recorded, Store};

const NAP: Duration = Duration::from_millis(40);

/// A chain of steps that take a while each.
fn chain(name: &str, length: usize, priority: Priority) -> (Definition, ScriptedProvider) {
    let step = |i: usize| {
        let step = Step { priority, ..Step::provided(&format!("s{i}"), "test/v1", "test/do", json!({})) };
        if i == 0 { step } else { step.needs(&[&format!("s{}", i - 1)]) }
    };
    let script = (0..length).fold(ScriptedProvider::default(), |script, i| {
        script.on_after(&format!("s{i}"), NAP, |_| Outcome::output(json!({})))
    });
    (Definition::new(name, (0..length).map(step).collect()), script)
}

async fn with_one_slot(script: ScriptedProvider) -> TestEngine {
    let options = Options { slots: 1, ..Options::default() };
    TestEngine::with(Arc::new(MemoryStore::default()), script, options).await
}

fn starts(journal: &[Recorded]) -> Vec<Timestamp> {
    let is_start = |recorded: &&Recorded| matches!(recorded.event, Event::AttemptStarted(_));
    journal.iter().filter(is_start).map(|recorded| recorded.at).collect()
}

fn ms_between(earlier: Timestamp, later: Timestamp) -> i64 {
    (later.0 - earlier.0) / 1_000
}

#[tokio::test(start_paused = true)]
async fn a_chain_gives_way_to_higher_priority_before_its_next_step() {
    let (long, script) = chain("long", 100, Priority::Normal);
    let (urgent, _) = chain("urgent", 2, Priority::Critical);
    let test = with_one_slot(script).await;
    let long = test.start(long).await;
    tokio::time::sleep(NAP * 5).await;
    let asked = test.engine.clock().now();
    let urgent = test.start(urgent).await;
    assert_eq!(test.end(&urgent).await.state.status, RunStatus::Completed);
    let first = starts(&test.journal(&urgent).await)[0];
    // One step of the chain is under way, and the worker looks a moment later.
    assert!(ms_between(asked, first) <= 2 * 40 + 10, "waited {} ms", ms_between(asked, first));
    let (began, ended) = (first, test.engine.clock().now());
    let between = starts(&test.journal(&long).await).into_iter().filter(|at| *at > began && *at < ended);
    assert_eq!(between.count(), 0, "the chain does not go on while higher priority has work");
    assert_eq!(test.end(&long).await.state.status, RunStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn chains_of_one_priority_take_turns() {
    let (first, script) = chain("first", 50, Priority::Normal);
    let (second, _) = chain("second", 50, Priority::Normal);
    let test = with_one_slot(script).await;
    let runs: [RunId; 2] = [test.start(first).await, test.start(second).await];
    for run in &runs {
        assert_eq!(test.end(run).await.state.status, RunStatus::Completed);
    }
    for run in &runs {
        let starts = starts(&test.journal(run).await);
        let longest = starts.windows(2).map(|pair| ms_between(pair[0], pair[1])).max().unwrap();
        // A turn is 100 ms and ends with the step that passes it.
        assert!(longest <= 40 + 140 + 20, "{run} had to wait {longest} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_a_shutdown_cuts_short_is_given_back_and_not_held_against_the_step() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let hour = Duration::from_hours(1);
    let starter = TestEngine::idle(store.clone()).await;
    let run = starter.start(Definition::new("long", vec![Step::function("long")])).await;
    for life in 1..=8 {
        let script = ScriptedProvider::default().on_after("long", hour, |_| Outcome::output(json!("done")));
        let options = Options { cleanup_ms: 100, ..Options::default() };
        let worker = TestEngine::with(store.clone(), script.clone(), options).await;
        while script.calls("long") == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        worker.engine.shutdown().await;
        assert_eq!(worker.count(&run, "AttemptLost").await, life, "given back before the session is closed");
    }
    let heir = TestEngine::over(store, ScriptedProvider::default()).await;
    assert_eq!(heir.end(&run).await.state.status, RunStatus::Completed);
    let lost = heir.journal(&run).await.into_iter().filter_map(|recorded| match recorded.event {
        Event::AttemptLost { given_back, .. } => Some(given_back),
        _ => None,
    });
    assert_eq!(lost.collect::<Vec<_>>(), [true; 8]);
}

#[tokio::test(start_paused = true)]
async fn what_a_step_completes_although_its_worker_is_shut_down_counts() {
    let script = ScriptedProvider::default().on("stubborn", |task| {
        assert!(task.cancel.is_cancelled());
        Outcome::output(json!({ "result": "done" }))
    });
    let test = TestEngine::new(script).await;
    test.engine.abort();
    let row = test.run(Definition::new("stubborn", vec![Step::function("stubborn")])).await;
    assert_eq!(row.state.status, RunStatus::Completed);
    assert_eq!(test.view(&row.run, "stubborn").await["result"], json!("done"));
}

#[tokio::test]
async fn an_engine_that_takes_work_without_a_slot_for_it_is_refused() {
    let open = |leases| {
        let options = Options { slots: 0, leases, ..Options::default() };
        Engine::open(Arc::new(MemoryStore::default()), Registry::default(), options)
    };
    let error = open(Leases::All).await.expect_err("its runs would stand still for ever");
    assert_eq!(error.code.name(), "CONFIGURATION_ERROR");
    open(Leases::None).await.unwrap().shutdown().await;
}
