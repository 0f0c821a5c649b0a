//! Runs of a Rust program's agents, as the command line shows and moves them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use stepwell::core::status::RunStatus;
use stepwell::{Agent, Ask, Context, Engine, Next, Options, Registry, Retry, Run, State, StepError};

use crate::sandbox::Sandbox;

async fn open(project: &Path) -> Engine {
    let dir = project.join(".stepwell");
    std::fs::create_dir_all(&dir).unwrap();
    let url = format!("sqlite://{}/stepwell.db", dir.display());
    let store = stepwell::open_store(&url).await.unwrap();
    Engine::open(store, Registry::default(), Options::default()).await.unwrap()
}

/// Waits until a run asks what was not asked before, and returns the id of the question.
async fn asks(run: &Run, but: Option<&str>) -> String {
    loop {
        run.rest().await.unwrap();
        let asked = run.questions().await.unwrap();
        if let Some(asked) = asked.iter().find(|asked| Some(asked.wait.as_str()) != but) {
            return asked.wait.to_string();
        }
        tokio::task::yield_now().await;
    }
}

/// spec/fluffy.md §12, A38.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_whose_answer_was_rejected_is_shown_with_the_reason_and_answered_again() {
    let sandbox = Sandbox::new();
    let engine = open(sandbox.path()).await;
    let agent = Agent::new("review")
        .state("review", |cx: Context| async move {
            let ask = Ask::new("What of it?").check(|text: &String| {
                if text.len() > 10 { Ok(()) } else { Err("write a little more".into()) }
            });
            cx.set("text", &cx.ask_human::<String>(ask).await?)?;
            Ok(Next::done())
        })
        .build(&engine)
        .unwrap();
    let run = agent.start(()).run_id("r1").await.unwrap();
    let first = asks(&run, None).await;
    let shown = sandbox.run(&["inbox", "--json"]).json()["waits"][0].clone();
    assert_eq!((&shown["try"], &shown["rejected"]), (&json!(1), &json!(null)));

    assert_eq!(sandbox.run(&["answer", &first, "--text", "short"]).code, 0);
    let second = asks(&run, Some(&first)).await;
    let shown = sandbox.run(&["show", "r1", "--json"]).json()["open_waits"][0].clone();
    assert_eq!(shown["try"], 2);
    assert_eq!(shown["rejected"], json!({ "answer": "short", "message": "write a little more" }));
    assert_eq!(sandbox.run(&["inbox", "--json"]).json()["waits"][0], shown);
    let told = sandbox.run(&["inbox", &second]).out;
    assert!(told.contains("rejected  \"short\": write a little more"), "{told}");

    assert_eq!(sandbox.run(&["answer", "r1", "--text", "I approve of it"]).code, 0);
    assert_eq!(run.wait().await.unwrap().context["text"], "I approve of it");
    engine.shutdown().await;
}

/// Names the project of a process that is to be killed.
const KILLED: &str = "STEPWELL_TEST_AGENT_IS_KILLED";

/// What that process does. Without the variable it is an empty test.
#[tokio::test(flavor = "multi_thread")]
async fn a_life_that_is_ended() {
    let Ok(project) = std::env::var(KILLED) else { return };
    let engine = open(Path::new(&project)).await;
    let run = waiting(&engine).start(()).run_id("r1").await.unwrap();
    run.rest().await.unwrap();
    std::fs::write(Path::new(&project).join("ready"), "").unwrap();
    std::future::pending::<()>().await;
}

/// Begins a process that runs the agent below, and returns it when the run waits.
fn life(sandbox: &Sandbox) -> Child {
    let mut life = Command::new(std::env::current_exe().unwrap());
    life.args(["agents::a_life_that_is_ended", "--exact"]).env(KILLED, sandbox.path());
    let life = life.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    sandbox.until(|sandbox| sandbox.path().join("ready").exists().then_some(()));
    life
}

fn kill(mut life: Child) {
    life.kill().unwrap();
    assert_eq!(life.wait().unwrap().code(), None, "the process was ended by a signal");
}

/// Asks, and then does two things, each of which is to be done once.
fn waiting(engine: &Engine) -> Agent {
    async fn counts(cx: Context) -> Result<Next, StepError> {
        cx.set(cx.step(), &(cx.get::<u32>(cx.step())?.unwrap_or(0) + 1))?;
        Ok(if cx.step() == "last" { Next::done() } else { Next::to("last") })
    }
    let asks = |cx: Context| async move {
        cx.set("name", &cx.ask_human::<String>(Ask::new("Who?")).await?)?;
        Ok(Next::to("second"))
    };
    Agent::new("waiting")
        .state("asks", asks)
        .state("second", counts)
        .state("last", counts)
        .build(engine)
        .unwrap()
}

async fn ended(run: &Run) {
    let context = json!({ "name": "Alice", "second": 1, "last": 1 });
    assert_eq!(serde_json::Value::from(run.wait().await.unwrap().context), context);
}

/// spec/fluffy.md §12, A38.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_whose_process_was_killed_is_answered_here_and_its_state_goes_on_in_the_next() {
    let sandbox = Sandbox::new();
    kill(life(&sandbox));
    assert_eq!(sandbox.run(&["answer", "r1", "--text", "Alice"]).code, 0);
    let again = sandbox.run(&["answer", "r1", "--text", "Bob"]);
    assert_ne!(again.code, 0, "{again:?}");

    let engine = open(sandbox.path()).await;
    ended(&waiting(&engine).find("r1").await.unwrap()).await;
    engine.shutdown().await;
}

/// spec/fluffy.md §12, A29.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_paused_here_stays_so_over_a_kill_and_is_resumed_here() {
    let sandbox = Sandbox::new();
    let life = life(&sandbox);
    assert_eq!(sandbox.run(&["pause", "r1"]).code, 0);
    assert_eq!(sandbox.run(&["answer", "r1", "--text", "Alice"]).code, 0);
    kill(life);

    let engine = open(sandbox.path()).await;
    let run = waiting(&engine).find("r1").await.unwrap();
    assert_eq!(run.status().await.unwrap(), RunStatus::Paused);
    assert_eq!(run.metrics().await.unwrap().attempts, 1, "nothing begins in it");
    let resumed = sandbox.run(&["resume", "r1"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    ended(&run).await;
    engine.shutdown().await;
}

/// spec/fluffy.md §12, A22.
#[tokio::test(flavor = "multi_thread")]
async fn what_failed_for_good_is_told_with_its_attempts_and_what_it_said() {
    let sandbox = Sandbox::new();
    let engine = open(sandbox.path()).await;
    let fails = |_: Context| async { Ok(Next::to("seven".parse::<u32>()?.to_string())) };
    let retry = Retry::times(3).initial(Duration::from_millis(1));
    let agent = Agent::new("failing").add_state(State::new("parse", fails).retry(retry));
    agent.build(&engine).unwrap().run(()).run_id("r1").await.unwrap_err();
    engine.shutdown().await;
    let shown = sandbox.run(&["show", "r1", "--json"]).json();
    let step = &shown["steps"][0];
    assert_eq!((&step["name"], &step["attempts"]), (&json!("parse"), &json!(4)), "{shown}");
    let last = &step["error"]["data"]["last_error"];
    assert_eq!(last["message"], "step 'parse': invalid digit found in string");
    assert_eq!(last["data"]["exception_type"], "core::num::error::ParseIntError");
    let told = sandbox.run(&["show", "r1"]);
    assert!(told.out.contains("invalid digit found in string"), "{told:?}");
}

#[test]
fn a_worker_that_cannot_import_modules_says_who_can() {
    let sandbox = Sandbox::new();
    let told = sandbox.run(&["worker", "shop:agent", "--json"]);
    assert_eq!((told.code, told.out.as_str()), (2, ""), "{told:?}");
    let error = told.error();
    assert!(error["hint"].as_str().unwrap().contains("`python -m stepwell worker shop:agent`"), "{error}");
    assert!(!sandbox.path().join(".stepwell").exists(), "nothing is opened");
}
