//! Runs whose process dies in the middle: this program is started again as a process of its own, which a state ends at once,
//! and the test carries on what it left.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stepwell::core::ids::{Ordinal, Seq};
use stepwell::core::run::event::Event;
use stepwell::{Agent, Ask, Context, Engine, Next, Retry, State, StepError, Store};

use crate::support::{always, ends, leads, open, questions, started, until};

/// Names what a process that is to die runs, the state that ends it, and its directory.
const DIES: &str = "STEPWELL_TEST_DIES";

async fn store(dir: &Path) -> Arc<dyn Store> {
    stepwell::open_store(&format!("sqlite://{}/s.db", dir.display())).await.unwrap()
}

/// Appends a line to the log of a directory: what was really done, over all lives.
fn note(dir: &Path, line: &str) {
    let mut log = OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
    writeln!(log, "{line}").unwrap();
}

fn noted(dir: &Path) -> Vec<String> {
    std::fs::read_to_string(dir.join("log")).unwrap().lines().map(str::to_owned).collect()
}

/// Ends the process in the first attempt of the victim, as `kill -9` does: nothing is told to anybody.
fn dies_at(cx: &Context, victim: Option<&str>) {
    if victim == Some(cx.step()) && cx.attempt() == 1 {
        std::process::abort();
    }
}

/// Six states in a row; each notes that it ran and hands a sum on. The fourth charges somebody, once.
fn chain(engine: &Engine, dir: PathBuf, victim: Option<String>) -> Agent {
    let state = move |cx: Context| {
        let (dir, victim) = (dir.clone(), victim.clone());
        async move {
            let number: u32 = cx.step().parse()?;
            note(&dir, cx.step());
            if number == 4 {
                let charge = || async {
                    note(&dir, "charge");
                    Ok(cx.idempotency_key())
                };
                let key = cx.once("charge", charge).await?;
                assert_eq!(key, cx.idempotency_key(), "the key outlives the process");
            }
            dies_at(&cx, victim.as_deref());
            cx.set("sum", &(cx.get::<u32>("sum")?.unwrap_or(0) + number))?;
            Ok(if number < 6 { Next::to((number + 1).to_string()) } else { Next::done() })
        }
    };
    let states = (1..=6).map(|number| number.to_string());
    let agent = states.fold(Agent::new("chain"), |agent, name| agent.state(&name, state.clone()));
    agent.build(engine).unwrap()
}

/// Twenty chunks, one after the other, that note their numbers, and a merge.
fn fan(engine: &Engine, dir: PathBuf, victim: Option<String>) -> Agent {
    let chunk = move |cx: Context| {
        let (dir, victim) = (dir.clone(), victim.clone());
        async move {
            let number: u32 = cx.payload()?.unwrap();
            note(&dir, &number.to_string());
            if victim == Some(number.to_string()) && cx.attempt() == 1 {
                std::process::abort();
            }
            cx.set(&format!("result_{number}"), &number)?;
            Ok(Next::to("merge"))
        }
    };
    let merge = |cx: Context| async move {
        cx.set("merged", &cx.keys()?.len())?;
        Ok(Next::done())
    };
    Agent::new("fan")
        .max_concurrent(1)
        .state("split", |_: Context| async { Next::each("chunk", 0..20) })
        .add_state(State::new("chunk", chunk).next(["merge"]))
        .state("merge", merge)
        .build(engine)
        .unwrap()
}

/// What a process that is to die does. Without the variable it is an empty test.
#[tokio::test]
async fn a_life_that_ends_early() {
    let Ok(told) = std::env::var(DIES) else { return };
    let [what, victim, dir] = told.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{told:?}") };
    let engine = open(&store(Path::new(dir)).await).await;
    let agent = if what == "fan" { fan } else { chain };
    let agent = agent(&engine, dir.into(), Some(victim.to_owned()));
    let ended = agent.run(()).run_id("job").await;
    panic!("the run outlived its process: {ended:?}");
}

fn live_until(what: &str, victim: &str, dir: &Path) {
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["durable::a_life_that_ends_early", "--exact"])
        .env(DIES, format!("{what} {victim} {}", dir.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(ended.code(), None, "the process was ended by a signal");
}

#[tokio::test]
async fn a35_a_chain_that_is_killed_in_any_state_goes_on_there() {
    for victim in ["1", "2", "3", "4", "5", "6"] {
        let dir = tempfile::tempdir().unwrap();
        live_until("chain", victim, dir.path());
        let engine = open(&store(dir.path()).await).await;
        let result = chain(&engine, dir.path().into(), None).run(()).run_id("job").await.unwrap();
        assert_eq!(result.get("sum").unwrap(), Some(21));
        let mut expected: Vec<String> = (1..=6).map(|number| number.to_string()).collect();
        expected.insert(victim.parse().unwrap(), victim.to_owned());
        let mut states = noted(dir.path());
        states.retain(|line| line != "charge");
        assert_eq!(states, expected);
        let run = engine.inspect(&result.run_id).await.unwrap();
        assert_eq!(run.execution(victim, Ordinal(1)).unwrap().attempts, 2);
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn a35_of_a_fan_that_is_killed_what_was_done_does_not_run_again() {
    let dir = tempfile::tempdir().unwrap();
    live_until("fan", "10", dir.path());
    assert_eq!(noted(dir.path()).len(), 11);
    let engine = open(&store(dir.path()).await).await;
    let result = fan(&engine, dir.path().into(), None).run(()).run_id("job").await.unwrap();
    assert_eq!(result.get("merged").unwrap(), Some(20));
    let mut expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    expected.insert(10, "10".into());
    assert_eq!(noted(dir.path()), expected);
    engine.shutdown().await;
}

#[tokio::test]
async fn a23_a_restart_changes_neither_the_number_nor_the_time_of_the_next_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let build = |engine: &Engine| {
        let flaky = |cx: Context| async move {
            if cx.attempt() == 1 { Err(StepError::new("not yet")) } else { Ok(Next::done()) }
        };
        let retry = Retry::times(1).initial(Duration::from_millis(300)).jitter(false);
        Agent::new("backoff").add_state(State::new("a", flaky).retry(retry)).build(engine).unwrap()
    };
    let before = open(&store(dir.path()).await).await;
    let run = build(&before).start(()).run_id("job").await.unwrap();
    let mut events = run.events();
    let due = loop {
        let news = events.next().await.unwrap();
        let failed = news.into_iter().find_map(|recorded| match recorded.event {
            Event::AttemptFailed { retry_at, .. } => retry_at,
            _ => None,
        });
        if let Some(due) = failed {
            break due;
        }
    };
    before.shutdown().await;

    let after = open(&store(dir.path()).await).await;
    let run = build(&after).find("job").await.unwrap();
    run.wait().await.unwrap();
    let journal = after.store().events(run.id(), Seq(0), 100).await.unwrap();
    let begun = journal.iter().rev().find_map(|recorded| match &recorded.event {
        Event::AttemptStarted(started) => Some((started.attempt, recorded.at)),
        _ => None,
    });
    assert!(begun.is_some_and(|(attempt, at)| attempt == 2 && at >= due), "{begun:?}, due {due:?}");
    after.shutdown().await;
}

#[tokio::test]
async fn a36_what_was_done_once_before_a_kill_is_not_done_again() {
    let dir = tempfile::tempdir().unwrap();
    live_until("chain", "4", dir.path());
    let engine = open(&store(dir.path()).await).await;
    chain(&engine, dir.path().into(), None).run(()).run_id("job").await.unwrap();
    assert_eq!(noted(dir.path()).iter().filter(|line| *line == "charge").count(), 1);
    engine.shutdown().await;
}

#[tokio::test]
async fn a38_a_question_outlives_the_process_that_asked_and_the_one_that_answers() {
    let dir = tempfile::tempdir().unwrap();
    let build = |engine: &Engine| {
        let asks = |cx: Context| async move {
            cx.set("name", &cx.ask_human::<String>(Ask::new("Who?")).await?)?;
            Ok(Next::done())
        };
        Agent::new("asks").state("a", asks).build(engine).unwrap()
    };
    let asking = open(&store(dir.path()).await).await;
    let run = build(&asking).start(()).run_id("ask-1").await.unwrap();
    let (_, wait) = questions(&run).await.remove(0);
    asking.shutdown().await;

    // Who answers has no functions at all.
    let answering = open(&store(dir.path()).await).await;
    answering.answer(&wait, json!("Alice"), Some("anna".into())).await.unwrap();
    answering.shutdown().await;

    let again = open(&store(dir.path()).await).await;
    let result = build(&again).run(()).run_id("ask-1").await.unwrap();
    assert_eq!(result.context["name"], "Alice");
    again.shutdown().await;
}

#[tokio::test]
async fn a37_two_engines_that_run_one_id_at_once_end_with_its_result_and_do_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(&store(dir.path()).await).await, open(&store(dir.path()).await).await);
    let build = |engine| chain(engine, dir.path().into(), None);
    let (agent_one, agent_other) = (build(&one), build(&other));
    let (first, second) = tokio::join!(async { agent_one.run(()).run_id("job").await.unwrap() }, async {
        agent_other.run(()).run_id("job").await.unwrap()
    },);
    assert_eq!(first, second);
    assert_eq!(noted(dir.path()).len(), 7, "six states and a charge");
    one.shutdown().await;
    other.shutdown().await;
}

#[tokio::test]
async fn a_run_of_an_id_that_is_taken_by_another_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&store(dir.path()).await).await;
    let agent = Agent::new("one").add_state(always("a", &["b"])).state("b", ends).build(&engine).unwrap();
    let first = agent.run(json!({ "n": 1 })).run_id("taken").await.unwrap();
    assert_eq!(agent.run(json!({ "n": 1 })).run_id("taken").await.unwrap(), first);
    let other = agent.run(json!({ "n": 2 })).run_id("taken").await.unwrap_err();
    assert_eq!(other.error.data["differs"], json!(["input", "context"]));
    let changed = Agent::new("one").state("a", leads(&["c"])).state("c", ends).build(&engine).unwrap();
    let other = changed.run(json!({ "n": 1 })).run_id("taken").await.unwrap_err();
    assert_eq!(other.error.data["differs"], json!(["definition"]));
    engine.shutdown().await;
}

#[test]
fn a_function_that_outlives_its_runtime_does_not_fail_its_run() {
    let agent = |engine: &Engine, time| {
        let sleeps = move |_: Context| async move {
            tokio::time::sleep(time).await;
            Ok(Next::done())
        };
        Agent::new("sleeps").state("a", sleeps).build(engine).unwrap()
    };
    let several =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let runtime = several();
    let store = runtime.block_on(async {
        let store = store(dir.path()).await;
        let engine = open(&store).await;
        let run = agent(&engine, Duration::from_hours(1)).start(()).run_id("job").await.unwrap();
        until(&run, started("a")).await;
        store
    });
    // As at the end of a program that did not have its engine end.
    drop(runtime);
    while Arc::strong_count(&store) > 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(store);
    several().block_on(async {
        let run =
            agent(&open(&self::store(dir.path()).await).await, Duration::ZERO).find("job").await.unwrap();
        assert!(!run.status().await.unwrap().is_terminal());
    });
}
