//! Runs whose process is killed from outside at a moment that the test chooses: this program is started again as a process of its
//! own, says when the moment has come, and is killed as `kill -9` does it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepwell::core::ids::{Ordinal, Seq, Timestamp};
use stepwell::core::run::event::Event;
use stepwell::core::status::RunStatus;
use stepwell::{
    Agent, Ask, Checkpoint, Context, Engine, Next, Options, Registry, Resources, Retry, Run, State,
    StepError, Typed,
};
use tokio::sync::Semaphore;

use crate::support::{gated, questions, started, until};

/// Names the story that a process tells until it is killed, and its directory.
const TOLD: &str = "STEPWELL_TEST_IS_KILLED";

async fn open(dir: &Path) -> Engine {
    let store = stepwell::open_store(&format!("sqlite://{}/s.db", dir.display())).await.unwrap();
    let options = Options { pool: Resources::cpu(1), ..Options::default() };
    Engine::open(store, Registry::default(), options).await.unwrap()
}

/// Says that the moment has come, and by whom.
async fn is_ready(dir: &Path) -> ! {
    std::fs::write(dir.join("ready.new"), std::process::id().to_string()).unwrap();
    std::fs::rename(dir.join("ready.new"), dir.join("ready")).unwrap();
    std::future::pending().await
}

/// What a process that is to be killed does. Without the variable it is an empty test.
#[tokio::test]
async fn a_life_that_is_ended() {
    let Ok(told) = std::env::var(TOLD) else { return };
    let (story, dir) = told.split_once(' ').unwrap();
    let dir = Path::new(dir);
    let engine = open(dir).await;
    match story {
        "values" => drop(values(&engine, Some(dir.into())).run(()).run_id("job").await),
        "backoff" => {
            let run = backoff(&engine).start(()).run_id("job").await.unwrap();
            until(&run, |event| matches!(event, Event::AttemptFailed { .. })).await;
        }
        "paused" => {
            let gate = Arc::new(Semaphore::new(0));
            let run = gated(&engine, &gate).start(()).run_id("job").await.unwrap();
            until(&run, started("b")).await;
            run.pause().await.unwrap();
            gate.add_permits(1);
            let ended =
                |event: &Event| matches!(event, Event::StepCompleted { step, .. } if step.as_str() == "b");
            until(&run, ended).await;
        }
        "asks" => {
            let run = asks(&engine).start(()).run_id("job").await.unwrap();
            questions(&run).await;
        }
        "books" => drop(books(&engine, Some(dir.into())).run(()).run_id("job").await),
        "cancelled" => {
            let deaf = State::blocking("a", |_| {
                loop {
                    std::thread::park();
                }
            });
            let agent = Agent::new("deaf").limit("printer", 1).add_state(deaf.limit("printer", 1));
            let run = agent.build(&engine).unwrap().start(()).await.unwrap();
            until(&run, started("a")).await;
            run.cancel().await.unwrap();
        }
        "checkpoints" => {
            let run = marks(&engine, false).start(()).run_id("job").await.unwrap();
            // Ready in the middle of them: it writes on until it is killed.
            let mut written = 0;
            loop {
                until_marked(&run, written).await;
                run.latest_checkpoint().await.unwrap().unwrap().save(dir.join("job.json")).unwrap();
                written += 1;
                if written == 5 {
                    drop(tokio::spawn({
                        let dir = dir.to_owned();
                        async move { is_ready(&dir).await }
                    }));
                }
            }
        }
        "shares" => {
            let result = shares(&engine, dir.into()).run(()).run_id("job").await.unwrap();
            assert_eq!(result.get("merged").unwrap(), Some(20));
            engine.shutdown().await;
            return;
        }
        other => panic!("{other:?}"),
    }
    is_ready(dir).await;
}

fn begin(story: &str, dir: &Path) -> Child {
    let mut life = Command::new(std::env::current_exe().unwrap());
    life.args(["killed::a_life_that_is_ended", "--exact"]).env(TOLD, format!("{story} {}", dir.display()));
    life.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until one of those processes says that the moment has come, and kills it.
async fn kill_when_ready(lives: &mut [Child], dir: &Path) -> u32 {
    let begun = Instant::now();
    let ready = loop {
        if let Ok(ready) = std::fs::read_to_string(dir.join("ready")) {
            break ready.parse().unwrap();
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "the moment does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let life = lives.iter_mut().find(|life| life.id() == ready).unwrap();
    life.kill().unwrap();
    assert_eq!(life.wait().unwrap().code(), None, "the process was ended by a signal");
    ready
}

async fn live(story: &str, dir: &Path) {
    kill_when_ready(&mut [begin(story, dir)], dir).await;
}

async fn journal(engine: &Engine, run: &Run) -> Vec<(Timestamp, Event)> {
    let journal = engine.store().events(run.id(), Seq(0), 1_000).await.unwrap();
    journal.into_iter().map(|recorded| (recorded.at, recorded.event)).collect()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct UserProfile {
    name: String,
    scores: Vec<f64>,
}

impl Typed for UserProfile {
    const NAME: &'static str = "UserProfile";
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Ticket {
    name: String,
}

impl Typed for Ticket {
    const NAME: &'static str = "Ticket";
}

fn alice() -> UserProfile {
    UserProfile { name: "Alice".into(), scores: vec![95.0, 87.5] }
}

/// Writes values of each kind and reads them in another state, in the middle of which a process with a directory is killed.
fn values(engine: &Engine, dies: Option<PathBuf>) -> Agent {
    let values = Arc::new(json!({
        "text": "Größe ✓ 大",
        "list": [95, 87.5, null, true],
        "nested": { "a": { "b": [{}, []] } },
        "nothing": null,
        "large": 1_u64 << 60,
        "long": "x".repeat(1 << 20),
    }));
    let written = values.clone();
    let write = move |cx: Context| {
        let values = written.clone();
        async move {
            for (key, value) in values.as_object().unwrap() {
                cx.set(key, value)?;
            }
            cx.set_typed("user", &alice())?;
            Ok(Next::to("read"))
        }
    };
    let read = move |cx: Context| {
        let (values, dies) = (values.clone(), dies.clone());
        async move {
            if let Some(dir) = dies {
                is_ready(&dir).await;
            }
            for (key, value) in values.as_object().unwrap() {
                assert_eq!(cx.get::<Value>(key)?.as_ref(), Some(value));
            }
            assert_eq!(cx.typed::<UserProfile>("user")?, Some(alice()));
            assert_eq!(cx.typed::<Ticket>("user")?, None);
            assert_eq!(cx.typed::<UserProfile>("text")?, None);
            Ok(Next::done())
        }
    };
    Agent::new("values").state("write", write).state("read", read).build(engine).unwrap()
}

#[tokio::test]
async fn a2_a3_values_of_every_kind_and_type_are_read_after_a_kill_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    live("values", dir.path()).await;
    let engine = open(dir.path()).await;
    let result = values(&engine, None).run(()).run_id("job").await.unwrap();
    assert_eq!(result.typed::<UserProfile>("user").unwrap(), Some(alice()));
    let run = engine.inspect(&result.run_id).await.unwrap();
    let attempts = |name| run.execution(name, Ordinal(1)).unwrap().attempts;
    assert_eq!((attempts("write"), attempts("read")), (1, 2));
    engine.shutdown().await;
}

fn backoff(engine: &Engine) -> Agent {
    let flaky = |cx: Context| async move {
        if cx.attempt() == 1 { Err(StepError::new("not yet")) } else { Ok(Next::done()) }
    };
    let retry = Retry::times(1).initial(Duration::from_millis(700)).jitter(false);
    Agent::new("backoff").add_state(State::new("a", flaky).retry(retry)).build(engine).unwrap()
}

#[tokio::test]
async fn a23_a_kill_in_a_backoff_changes_neither_the_number_nor_the_time_of_the_next_attempt() {
    let dir = tempfile::tempdir().unwrap();
    live("backoff", dir.path()).await;
    let engine = open(dir.path()).await;
    let run = backoff(&engine).find("job").await.unwrap();
    run.wait().await.unwrap();
    let journal = journal(&engine, &run).await;
    let due = journal.iter().find_map(|(_, event)| match event {
        Event::AttemptFailed { retry_at, .. } => *retry_at,
        _ => None,
    });
    let begun = journal.iter().rev().find_map(|(at, event)| match event {
        Event::AttemptStarted(started) => Some((started.attempt, *at)),
        _ => None,
    });
    let (attempt, at) = begun.unwrap();
    assert_eq!(attempt, 2);
    assert!(at >= due.unwrap(), "it begins when it was to begin before");
    let failures = journal.iter().filter(|(_, event)| matches!(event, Event::AttemptFailed { .. }));
    assert_eq!(failures.count(), 1, "the kill is no failure");
    engine.shutdown().await;
}

#[tokio::test]
async fn a29_a_paused_run_whose_process_is_killed_begins_nothing_until_it_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    live("paused", dir.path()).await;
    let engine = open(dir.path()).await;
    let agent = gated(&engine, &Arc::new(Semaphore::new(0)));
    let run = agent.find("job").await.unwrap();
    assert_eq!(run.rest().await.unwrap(), RunStatus::Paused);
    assert_eq!(run.metrics().await.unwrap().attempts, 2);
    run.resume().await.unwrap();
    run.wait().await.unwrap();
    let begun = journal(&engine, &run).await.into_iter().filter_map(|(_, event)| match event {
        Event::AttemptStarted(started) => Some(started.step.to_string()),
        _ => None,
    });
    assert_eq!(begun.collect::<Vec<_>>(), ["a", "b", "c", "d", "e"], "each of them once");
    engine.shutdown().await;
}

#[tokio::test]
async fn a16_what_a_cancelled_state_of_a_killed_process_took_of_a_limit_is_free_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    live("cancelled", dir.path()).await;
    let engine = open(dir.path()).await;
    books(&engine, None).run(()).await.unwrap();
    engine.shutdown().await;
}

/// Takes a checkpoint every millisecond; in a process that is to be killed, without end.
fn marks(engine: &Engine, ends: bool) -> Agent {
    let first = |cx: Context| async move {
        cx.set("rows", &7)?;
        Ok(Next::to("second"))
    };
    let second = move |_: Context| async move {
        if !ends {
            std::future::pending::<()>().await;
        }
        Ok(Next::done())
    };
    let agent = Agent::new("marks").checkpoint_interval(Duration::from_millis(1));
    agent.state("first", first).state("second", second).build(engine).unwrap()
}

/// Waits until a run has taken more than so many checkpoints by itself.
async fn until_marked(run: &Run, count: usize) {
    let seen = AtomicUsize::new(0);
    let is_one = |event: &Event| matches!(event, Event::CheckpointTaken);
    until(run, |event| is_one(event) && seen.fetch_add(1, Ordering::SeqCst) == count).await;
}

/// A process is killed while it writes checkpoints without a pause, into the store and to a file, so that some of the kills
/// come in the middle of a write.
#[tokio::test]
async fn a33_a_kill_in_the_middle_of_a_checkpoint_leaves_the_last_good_one() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        live("checkpoints", dir.path()).await;
        let in_file = Checkpoint::load(dir.path().join("job.json")).unwrap();
        let engine = open(dir.path()).await;
        // Read before the run can go on here: it would take others until it ends.
        let in_store = Checkpoint::from(engine.latest_checkpoint(&"job".into()).await.unwrap().unwrap());
        let agent = marks(&engine, true);
        let run = agent.find("job").await.unwrap();
        assert!(in_store.seq >= in_file.seq, "what was acknowledged is there");
        for kept in [in_file, in_store] {
            assert_eq!(kept.shared_state["rows"], json!(7));
            let again = agent.restore(&kept).await.unwrap();
            again.resume().await.unwrap();
            assert_eq!(again.wait().await.unwrap().completed_states, ["first", "second"]);
        }
        // The run itself lacks nothing either.
        run.wait().await.unwrap();
        engine.shutdown().await;
    }
}

/// Twenty chunks, four at once; the process that begins the fourth of them first is stuck there. Each notes that it ran.
fn shares(engine: &Engine, dir: PathBuf) -> Agent {
    let chunk = move |cx: Context| {
        let dir = dir.clone();
        async move {
            let number: u32 = cx.payload()?.unwrap();
            std::fs::write(dir.join(format!("{number}-{}", cx.attempt())), "")?;
            if number == 3 && cx.attempt() == 1 {
                is_ready(&dir).await;
            }
            cx.set(&format!("result_{number}"), &number)?;
            Ok(Next::to("merge"))
        }
    };
    let merge = |cx: Context| async move {
        cx.set("merged", &cx.keys()?.len())?;
        Ok(Next::done())
    };
    Agent::new("shares")
        .max_concurrent(4)
        .state("split", |_: Context| async { Next::each("chunk", 0..20) })
        .add_state(State::new("chunk", chunk).next(["merge"]))
        .state("merge", merge)
        .build(engine)
        .unwrap()
}

#[tokio::test]
async fn a37_of_two_processes_that_run_one_id_at_once_one_is_killed_and_the_other_ends_with_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let mut lives = [begin("shares", dir.path()), begin("shares", dir.path())];
    let killed = kill_when_ready(&mut lives, dir.path()).await;
    let other = lives.iter_mut().find(|life| life.id() != killed).unwrap();
    assert!(other.wait().unwrap().success());

    let engine = open(dir.path()).await;
    let run = shares(&engine, dir.path().into()).find("job").await.unwrap();
    assert_eq!(run.wait().await.unwrap().get("merged").unwrap(), Some(20));
    let state = engine.inspect(run.id()).await.unwrap();
    let mut again = 0;
    for ordinal in 1..=20 {
        let execution = state.execution("chunk", Ordinal(ordinal)).unwrap();
        let ran = |attempt| dir.path().join(format!("{}-{attempt}", ordinal - 1)).exists();
        assert!(ran(execution.attempts) && !ran(execution.attempts + 1));
        again += execution.attempts - 1;
    }
    assert!(
        (1..=4).contains(&again),
        "what the killed one had in its hands is done again, and nothing else: {again}"
    );
    assert_eq!(state.execution("chunk", Ordinal(4)).unwrap().attempts, 2);
    engine.shutdown().await;
}

fn asks(engine: &Engine) -> Agent {
    let asks = |cx: Context| async move {
        cx.set("name", &cx.ask_human::<String>(Ask::new("Who?")).await?)?;
        Ok(Next::done())
    };
    Agent::new("asks").state("a", asks).build(engine).unwrap()
}

#[tokio::test]
async fn a38_a_question_whose_process_was_killed_is_answered_and_its_state_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    live("asks", dir.path()).await;
    let engine = open(dir.path()).await;
    let run = asks(&engine).find("job").await.unwrap();
    let (_, wait) = questions(&run).await.remove(0);
    run.answer(&wait, "Alice").await.unwrap();
    assert_eq!(run.wait().await.unwrap().context["name"], "Alice");
    engine.shutdown().await;
}

/// Takes all that there is; a process with a directory is killed meanwhile.
fn books(engine: &Engine, dies: Option<PathBuf>) -> Agent {
    let takes = move |_: Context| {
        let dies = dies.clone();
        async move {
            if let Some(dir) = dies {
                is_ready(&dir).await;
            }
            Ok(Next::done())
        }
    };
    let state = State::new("a", takes).resources(Resources::cpu(1)).limit("printer", 1);
    Agent::new("books").limit("printer", 1).add_state(state).build(engine).unwrap()
}

#[tokio::test]
async fn a14_what_a_killed_process_had_booked_is_free_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    live("books", dir.path()).await;
    let engine = open(dir.path()).await;
    assert!(engine.booked().is_empty());
    books(&engine, None).run(()).run_id("job").await.unwrap();
    books(&engine, None).run(()).run_id("another").await.unwrap();
    assert!(engine.booked().is_empty());
    engine.shutdown().await;
}
