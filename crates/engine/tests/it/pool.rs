//! Resources of a process: who may book them, who waits, and that all are given back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stepwell_core::error::Code;
use stepwell_core::ids::{Ordinal, RunId, StepName, Timestamp};
use stepwell_core::policy::resources::Resources;
use stepwell_core::run::event::Event;
use stepwell_core::status::{ExecutionStatus, RunStatus};
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, OnFailure, Priority, Step};
use stepwell_engine::testing::{ScriptedProvider, TestEngine, flaky};
use stepwell_engine::{Engine, Options, Outcome, Registry, Start};
use stepwell_store::{MemoryStore, Recorded, SqliteOptions, SqliteStore, Store};

const NAP: Duration = Duration::from_millis(300);

fn asking(name: &str, resources: Resources) -> Step {
    Step { resources, ..Step::provided(name, "test/v1", "test/do", json!({})) }
}

fn flow(steps: Vec<Step>) -> Definition {
    Definition::new("flow", steps)
}

/// Four steps that ask for the same.
fn four(resources: &Resources) -> Definition {
    flow(["a", "b", "c", "d"].map(|name| asking(name, resources.clone())).to_vec())
}

fn done(_: &stepwell_engine::Task) -> Outcome {
    Outcome::output(json!({}))
}

/// Returns a script with steps that take a nap each.
fn napping(steps: &[&str]) -> ScriptedProvider {
    steps.iter().fold(ScriptedProvider::default(), |script, step| script.on_after(step, NAP, done))
}

async fn with_pool(pool: Resources, script: ScriptedProvider) -> TestEngine {
    over(Arc::new(MemoryStore::default()), pool, script).await
}

async fn over(store: Arc<dyn Store>, pool: Resources, script: ScriptedProvider) -> TestEngine {
    TestEngine::with(store, script, Options { slots: 8, pool, ..Options::default() }).await
}

/// Returns how many attempts were under way at once, at most.
fn most_at_once(journal: &[Recorded]) -> i32 {
    let (mut now, mut most) = (0, 0);
    for recorded in journal {
        match recorded.event {
            Event::AttemptStarted(_) => now += 1,
            Event::StepCompleted { .. } | Event::AttemptFailed { .. } => now -= 1,
            _ => {}
        }
        most = most.max(now);
    }
    most
}

/// Returns the steps in the order in which their attempts began.
fn order(journal: &[Recorded]) -> Vec<StepName> {
    let started = journal.iter().filter_map(|recorded| match &recorded.event {
        Event::AttemptStarted(started) => Some(started.step.clone()),
        _ => None,
    });
    started.collect()
}

/// Waits until nothing is booked; attempts that are cancelled end a moment after their run.
async fn all_is_given_back(test: &TestEngine) {
    while !test.engine.booked().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn ms(from: Timestamp, to: Timestamp) -> i64 {
    (to.0 - from.0) / 1_000
}

#[tokio::test(start_paused = true)]
async fn a14_never_more_at_once_than_the_pool_has_room_for() {
    let pool = Resources::cpu(4).memory_mb(1000).custom("licences", 4);
    let dimensions =
        [Resources::cpu(2), Resources::default().memory_mb(500), Resources::cpu(0).custom("licences", 2)];
    for asked in dimensions {
        let test = with_pool(pool.clone(), napping(&["a", "b", "c", "d"])).await;
        let row = test.run(four(&asked)).await;
        assert_eq!(row.state.status, RunStatus::Completed);
        assert_eq!(most_at_once(&test.journal(&row.run).await), 2, "{asked:?}");
        let took = ms(row.created_at, row.state.finished_at.unwrap());
        assert!((600..=800).contains(&took), "{asked:?} took {took} ms");
        assert!(test.engine.booked().is_empty());
    }
}

#[tokio::test]
async fn a14_on_a_file_as_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("store.db"), SqliteOptions::default()).await.unwrap();
    let script = ["a", "b", "c", "d"].iter().fold(ScriptedProvider::default(), |script, step| {
        script.on_after(step, Duration::from_millis(5), done)
    });
    let test = over(Arc::new(store), Resources::cpu(4), script).await;
    let row = test.run(four(&Resources::cpu(2))).await;
    assert_eq!(row.state.status, RunStatus::Completed);
    assert_eq!(most_at_once(&test.journal(&row.run).await), 2);
    assert!(test.engine.booked().is_empty());
    test.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a14_everything_is_given_back_however_an_attempt_ends() {
    let script = napping(&["slow", "endless"])
        .on("fails", |_| flaky("no"))
        .on_after("endless", Duration::from_hours(1), done)
        .on("panics", |_| panic!("on purpose"));
    let test = with_pool(Resources::cpu(4), script).await;
    let step = |name: &str| Step { on_failure: OnFailure::Continue, ..asking(name, Resources::cpu(3)) };
    let timed = Step { timeout_ms: Some(100), ..step("slow") };
    let row = test.run(flow(vec![step("fails"), step("panics"), timed, step("last")])).await;
    assert_eq!(row.state.status, RunStatus::Completed);
    assert_eq!(test.view(&row.run, "slow").await["status"], json!("timed_out"));
    all_is_given_back(&test).await;

    let endless = test.start(flow(vec![step("endless")])).await;
    while test.script.calls("endless") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(test.engine.booked(), Resources::cpu(3));
    test.engine.cancel(&endless, None).await.unwrap();
    all_is_given_back(&test).await;
    let next = test.run(flow(vec![asking("next", Resources::cpu(4))])).await;
    assert_eq!(next.state.status, RunStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_next_attempt_or_for_an_answer_books_nothing() {
    use stepwell_core::policy::retry::RetryPolicy;
    use stepwell_core::run::wait::{Question, WaitKind, WaitSpec};
    let question = Question { prompt: "Go on?".into(), ..Question::default() };
    let script = ScriptedProvider::default()
        .on("asks", move |_| Outcome::Suspend(vec![WaitSpec::step(WaitKind::Human(question.clone()))]))
        .on("fails", |_| flaky("not yet"));
    let test = with_pool(Resources::cpu(2), script).await;
    let retry = Some(RetryPolicy::fixed(1, 60_000));
    let steps = vec![
        asking("asks", Resources::cpu(2)),
        Step { retry, ..asking("fails", Resources::cpu(2)) },
        asking("last", Resources::cpu(2)),
    ];
    let run = test.start(flow(steps)).await;
    while test.script.calls("last") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    all_is_given_back(&test).await;
    let run = test.engine.inspect(&run).await.unwrap();
    let status = |step: &str| run.execution(step, Ordinal(1)).unwrap().status;
    assert_eq!((status("fails"), status("asks")), (ExecutionStatus::Retrying, ExecutionStatus::Waiting));
}

#[tokio::test(start_paused = true)]
async fn a14_what_a_worker_had_booked_is_free_for_the_next() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let script = ScriptedProvider::default().on_after("a", Duration::from_hours(1), done);
    let first = over(store.clone(), Resources::cpu(2), script).await;
    let run = first.start(flow(vec![asking("a", Resources::cpu(2))])).await;
    while first.script.calls("a") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    first.engine.abort();
    first.engine.shutdown().await;
    assert!(first.engine.booked().is_empty());
    let second = over(store, Resources::cpu(2), ScriptedProvider::default()).await;
    assert!(second.engine.booked().is_empty());
    assert_eq!(second.end(&run).await.state.status, RunStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn a15_more_than_the_pool_has_is_refused_when_the_run_starts() {
    let test = with_pool(Resources::cpu(4).gpu(1), ScriptedProvider::default()).await;
    let workflow = Workflow::new(flow(vec![asking("large", Resources::cpu(1).gpu(2))])).unwrap();
    let start = Start { run_id: Some("r".into()), ..Start::of(workflow) };
    let error = test.engine.start(start).await.unwrap_err();
    assert_eq!(error.code, Code::RESOURCE_EXHAUSTED);
    assert_eq!(
        (&error.data["dimension"], &error.data["asked"], &error.data["total"]),
        (&json!("gpu_units"), &json!(2.0), &json!(1.0))
    );
    assert!(!error.retryable);
    let none = test.engine.inspect(&RunId::from("r")).await.unwrap_err();
    assert_eq!(none.code, Code::WORKFLOW_NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn a15_what_nobody_counts_is_not_waited_for() {
    let test = with_pool(Resources::cpu(4), napping(&["a", "b", "c", "d"])).await;
    let row = test.run(four(&Resources::cpu(1).gpu(1))).await;
    assert_eq!(row.state.status, RunStatus::Completed);
    assert_eq!(most_at_once(&test.journal(&row.run).await), 4);
}

/// Small steps of a chain that go from hand to hand, and others that are always ready, do not keep a big one waiting.
#[tokio::test(start_paused = true)]
async fn a15_a_big_step_is_not_starved_by_a_stream_of_small_ones() {
    let names: Vec<String> = (0..60).map(|i| format!("small {i}")).collect();
    let script =
        names.iter().fold(ScriptedProvider::default(), |script, name| script.on_after(name, NAP, done));
    let test = with_pool(Resources::cpu(4), script).await;
    let small = |i: usize| {
        let step = asking(&names[i], Resources::cpu(1));
        // Three chains, never in step.
        if i < 3 { step } else { step.needs(&[&names[i - 3]]) }
    };
    let stream = test.start(flow((0..60).map(small).collect())).await;
    tokio::time::sleep(NAP / 2).await;
    let big = test.run(Definition::new("big", vec![asking("big", Resources::cpu(4))])).await;
    let waited = ms(big.created_at, big.state.finished_at.unwrap());
    assert!(waited <= 300, "waited {waited} ms for what was under way");
    assert_eq!(test.end(&stream).await.state.status, RunStatus::Completed);
}

/// The one that waits holds back only those who ask for what it lacks.
#[tokio::test(start_paused = true)]
async fn ready_steps_go_by_priority_and_pass_only_who_lacks_nothing_of_theirs() {
    let steps = ["first", "big", "small", "disk", "urgent"];
    let test = with_pool(Resources::cpu(4).io(2), napping(&steps)).await;
    let first = asking("first", Resources::cpu(3));
    let run = test
        .start(flow(vec![
            Step { priority: Priority::Critical, ..first },
            asking("small", Resources::cpu(1)),
            Step { priority: Priority::High, ..asking("big", Resources::cpu(4)) },
            asking("disk", Resources::default().io(2)),
            asking("free", Resources::default()),
        ]))
        .await;
    assert_eq!(test.end(&run).await.state.status, RunStatus::Completed);
    assert_eq!(
        order(&test.journal(&run).await),
        ["first", "disk", "free", "big", "small"].map(StepName::from)
    );
}

/// Each of a chain follows the last at once, and books anew what that gave back.
#[tokio::test(start_paused = true)]
async fn a_step_that_follows_at_once_books_what_the_one_before_gave_back() {
    let test = with_pool(Resources::cpu(2), napping(&["a", "b"])).await;
    let resources = Resources::cpu(2);
    let row =
        test.run(flow(vec![asking("a", resources.clone()), asking("b", resources).needs(&["a"])])).await;
    assert_eq!(row.state.status, RunStatus::Completed);
    assert_eq!(ms(row.created_at, row.state.finished_at.unwrap()), 600);
    assert!(test.engine.booked().is_empty());
}

/// A worker leaves alone what it has no room for at any time, and another one carries it out.
#[tokio::test(start_paused = true)]
async fn what_is_too_large_for_one_worker_is_left_to_another() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let starter = TestEngine::idle(store.clone()).await;
    let small = over(store.clone(), Resources::cpu(1), ScriptedProvider::default()).await;
    let run = starter
        .start(flow(vec![asking("large", Resources::cpu(2)), asking("fits", Resources::cpu(1))]))
        .await;
    while small.script.calls("fits") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let large = over(store, Resources::cpu(2), ScriptedProvider::default()).await;
    assert_eq!(large.end(&run).await.state.status, RunStatus::Completed);
    assert_eq!((small.script.calls("large"), large.script.calls("large")), (0, 1));
}

#[tokio::test]
async fn an_engine_with_a_pool_of_nonsense_does_not_open() {
    let options = Options { pool: Resources::cpu(f64::NAN), ..Options::default() };
    let opened = Engine::open(Arc::new(MemoryStore::default()), Registry::default(), options).await;
    assert_eq!(opened.unwrap_err().code, Code::CONFIGURATION_ERROR);
}

/// Chains of many runs, handed over and leased, on several threads. A pool that is short panics, and the run never ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_runs_on_many_threads_never_book_more_than_there_is() {
    let test = with_pool(Resources::cpu(2).memory_mb(3), ScriptedProvider::default()).await;
    let step = |run: u32, i: u32| {
        let step = asking(&format!("s{i}"), Resources::cpu(1 + (run + i) % 2).memory_mb(i % 3));
        if i == 0 { step } else { step.needs(&[&format!("s{}", i - 1)]) }
    };
    let mut runs = Vec::new();
    for run in 0..20 {
        runs.push(test.start(flow((0..20).map(|i| step(run, i)).collect())).await);
    }
    for run in &runs {
        assert_eq!(test.end(run).await.state.status, RunStatus::Completed);
    }
    assert!(test.engine.booked().is_empty());
}
