//! Pipelines whose process dies in the middle (F13): this program is started again as a process of its own, which a step ends
//! at once, and the test carries on what it left. And questions that outlive the process that asked (F15).

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use stepwell::{
    Ask, BranchFailure, Context, Effect, Engine, Human, Map, Parallel, Pipeline, Refine, RefinementCheck,
    Repeat, Step, StepError, Store, Workflow,
};

use crate::support::{open, questions};

/// Names the step in which a process is to die, and its directory.
const DIES: &str = "STEPWELL_TEST_PIPELINE_DIES";

async fn store(dir: &Path) -> Arc<dyn Store> {
    stepwell::open_store(&format!("sqlite://{}/s.db", dir.display())).await.unwrap()
}

/// What is really done, over all lives: each step notes its name and the key of its execution.
#[derive(Clone)]
struct Notes {
    dir: PathBuf,
    victim: Option<String>,
}

impl Notes {
    /// Returns a step that notes that it ran, dies if it is to, counts up, and adds what it was given to what it finds in
    /// the context.
    fn step(&self, name: &str) -> Step {
        let notes = self.clone();
        Step::new(name, move |cx: Context, input: Value| {
            let notes = notes.clone();
            async move {
                notes.note(&cx);
                let key = cx.step().replace('/', "_");
                cx.set(&key, &(cx.get::<u64>(&key)?.unwrap_or(0) + 1))?;
                Ok(input)
            }
        })
    }

    fn note(&self, cx: &Context) {
        let mut log = OpenOptions::new().create(true).append(true).open(self.dir.join("log")).unwrap();
        writeln!(log, "{} {}", cx.step(), cx.idempotency_key()).unwrap();
        if self.victim.as_deref() == Some(cx.step()) && cx.attempt() == 1 && cx.ordinal() == 1 {
            std::process::abort();
        }
    }

    /// Returns how often each execution ran, and of which step it was.
    fn read(dir: &Path) -> BTreeMap<String, (String, u32)> {
        let mut ran = BTreeMap::new();
        for line in std::fs::read_to_string(dir.join("log")).unwrap().lines() {
            let (step, key) = line.split_once(' ').unwrap();
            ran.entry(key.to_owned()).or_insert((step.to_owned(), 0)).1 += 1;
        }
        ran
    }
}

/// One of everything.
fn whole(engine: &Engine, notes: &Notes) -> Workflow {
    let fork = Parallel::new("fork")
        .branch("a", Pipeline::new("a").then(notes.step("x")).then(notes.step("y")))
        .branch("b", notes.step("x"))
        .branch("c", Map::each("each", notes.step("item")))
        .on_branch_failure(BranchFailure::Ignore)
        .max_concurrent(2);
    let rounds =
        Repeat::until("rounds", notes.step("x"), |_: &Value, cx| Ok(cx.get("rows_rounds_x")? == Some(3)));
    let judge = |cx: Context, _: Value| async move {
        Ok(if cx.ordinal() == 1 { RefinementCheck::again("more") } else { RefinementCheck::complete() })
    };
    Pipeline::new("whole")
        .then(notes.step("first"))
        .then(fork)
        .step("list", |_, found: Value| async move { Ok(found["c"].clone()) })
        .then(Map::each("rows", Pipeline::new("r").then(notes.step("x")).then(rounds)).max_concurrent(2))
        .then(notes.step("pay").effect(Effect::AtMostOnce))
        .then(Refine::new("essay", notes.step("draft"), Step::new("judge", judge)))
        .then(notes.step("last"))
        .build(engine)
        .unwrap()
}

const ITEMS: [u32; 3] = [7, 8, 9];

/// What a process that is to die runs. Without the variable it is an empty test.
#[tokio::test]
async fn a_life_that_ends_early() {
    let Ok(told) = std::env::var(DIES) else { return };
    let (victim, dir) = told.split_once(' ').unwrap();
    let engine = open(&store(Path::new(dir)).await).await;
    let notes = Notes { dir: dir.into(), victim: Some(victim.to_owned()) };
    let ended = whole(&engine, &notes).run(ITEMS).run_id("job").await;
    panic!("the run outlived its process: {ended:?}");
}

fn live_until(victim: &str, dir: &Path) {
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["pipeline_durable::a_life_that_ends_early", "--exact"])
        .env(DIES, format!("{victim} {}", dir.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(ended.code(), None, "the process was ended by a signal");
}

#[tokio::test]
async fn f13_a_pipeline_that_is_killed_in_any_step_goes_on_there() {
    // "each/item" is that of the child run which a branch that forks is.
    let undisturbed = tempfile::tempdir().unwrap();
    let engine = open(&store(undisturbed.path()).await).await;
    let notes = Notes { dir: undisturbed.path().into(), victim: None };
    let expected = whole(&engine, &notes).run(ITEMS).run_id("job").await.unwrap();
    engine.shutdown().await;
    let executions = Notes::read(undisturbed.path()).len();
    for victim in
        ["first", "fork/a/y", "each/item", "rows/x", "rows/rounds/x", "essay/generator/draft", "last"]
    {
        let dir = tempfile::tempdir().unwrap();
        live_until(victim, dir.path());
        let engine = open(&store(dir.path()).await).await;
        let notes = Notes { dir: dir.path().into(), victim: None };
        let result = whole(&engine, &notes).run(ITEMS).run_id("job").await.unwrap();
        assert_eq!((&result.output, &result.context), (&expected.output, &expected.context), "{victim}");
        let ran = Notes::read(dir.path());
        assert_eq!(ran.len(), executions, "{victim}: {ran:?}");
        assert!(ran.values().any(|(step, times)| step == victim && *times == 2), "{victim}: {ran:?}");
        // What was under way beside it died with it.
        assert!(ran.values().all(|(_, times)| *times <= 2), "{victim}: {ran:?}");
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn g36_a_person_says_whether_a_step_that_may_be_attempted_once_is_attempted_again() {
    let dir = tempfile::tempdir().unwrap();
    live_until("pay", dir.path());
    let engine = open(&store(dir.path()).await).await;
    let notes = Notes { dir: dir.path().into(), victim: None };
    let run = whole(&engine, &notes).start(ITEMS).run_id("job").await.unwrap();
    let asked = questions(&run).await;
    assert_eq!(asked.len(), 1, "{asked:?}");
    let paid = || Notes::read(dir.path()).into_values().find(|(step, _)| step == "pay").unwrap().1;
    assert_eq!(paid(), 1);
    run.answer(&asked[0].1, json!({ "verb": "retry" })).await.unwrap();
    assert_eq!(run.wait().await.unwrap().output, json!(ITEMS));
    assert_eq!(paid(), 2);
    engine.shutdown().await;
}

#[tokio::test]
async fn f15_a_question_outlives_the_process_that_asked() {
    let dir = tempfile::tempdir().unwrap();
    let notes = Notes { dir: dir.path().into(), victim: None };
    let build = |engine: &Engine| {
        let fork = Parallel::new("fork")
            .branch("ask", Human::ask("sure", Ask::new("Sure?")).sink_to("sure"))
            .branch("work", notes.step("x"));
        let pipeline = Pipeline::new("asks").then(notes.step("first")).then(fork).then(notes.step("last"));
        pipeline.build(engine).unwrap()
    };
    let first = open(&store(dir.path()).await).await;
    let run = build(&first).start(1).run_id("job").await.unwrap();
    let asked = questions(&run).await;
    first.shutdown().await;

    let second = open(&store(dir.path()).await).await;
    let run = build(&second).find("job").await.unwrap();
    assert_eq!(questions(&run).await, asked);
    run.answer(&asked[0].1, true).await.unwrap();
    let result = run.wait().await.unwrap();
    assert_eq!(result.output, json!({ "ask": true, "work": 1 }));
    assert_eq!(result.get("sure").unwrap(), Some(true));
    assert!(Notes::read(dir.path()).values().all(|(_, times)| *times == 1));
    second.shutdown().await;
}

#[tokio::test]
async fn a_retry_takes_a_pipeline_up_where_it_failed() {
    let dir = tempfile::tempdir().unwrap();
    let notes = Notes { dir: dir.path().into(), victim: None };
    let engine = open(&store(dir.path()).await).await;
    let build = |mended: bool| {
        let shaky = Step::new("shaky", move |_: Context, n: u32| async move {
            if mended || n != 8 { Ok(n) } else { Err(StepError::never_again("not eight")) }
        });
        let body = Pipeline::new("r").then(notes.step("x")).then(shaky).then(notes.step("y"));
        let map = Map::each("rows", body).max_concurrent(2);
        Pipeline::new("mends").max_concurrent(1).then(map).build(&engine).unwrap()
    };
    let failed = build(false).run(ITEMS).run_id("job").await.unwrap_err();
    assert_eq!(failed.to_string(), "step 'rows/shaky': not eight");
    let run = build(true).find("job").await.unwrap();
    run.retry().await.unwrap();
    assert_eq!(run.wait().await.unwrap().output, json!(ITEMS));
    assert!(Notes::read(dir.path()).values().all(|(_, times)| *times == 1));
    engine.shutdown().await;
}
