//! Runs of a Rust program's agents, as the command line shows and moves them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use stepwell::core::status::RunStatus;
use stepwell::{
    Agent, Ask, Context, Engine, Human, Next, Options, Pipeline, Registry, Retry, Run, State, StepError,
};

use crate::sandbox::{Sandbox, Told};

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

/// Says who goes on with the run of the agent above.
const PROGRAM: &str = "the program of 'waiting', or `stepwell worker MODULE:AGENT` if that is Python,";

/// Leaves a run of the agent above with its question open, and nobody who has its functions.
async fn left(sandbox: &Sandbox) {
    let engine = open(sandbox.path()).await;
    waiting(&engine).start(()).run_id("r1").await.unwrap().rest().await.unwrap();
    engine.shutdown().await;
}

/// Checks that a command refused to wait for these functions, and said who has them.
fn is_unavailable(told: &Told, done: &str, steps: &[&str]) {
    let error = told.error();
    assert_eq!((told.code, error["name"].as_str()), (1, Some("HANDLER_UNAVAILABLE")), "{told:?}");
    assert_eq!(error["data"]["steps"], json!(steps));
    assert!(error["message"].as_str().unwrap().starts_with(done), "{error}");
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains("`stepwell worker MODULE:AGENT`") && !hint.contains("resume"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_a_run_that_nobody_carries_is_told_what_goes_on_with_it() {
    let sandbox = Sandbox::new();
    left(&sandbox).await;
    let shown = sandbox.run(&["show", "r1"]).out;
    assert!(
        shown.contains(&format!("why: nobody carries this run now: {PROGRAM} goes on with it")),
        "{shown}"
    );
    // That is none who could.
    let mut worker = sandbox.spawn(&["worker"]);
    sandbox.until(|sandbox| sandbox.run(&["doctor"]).out.contains("(worker)").then_some(()));
    let told = sandbox.run(&["answer", "r1", "--text", "Alice"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.err.contains(&format!("nobody is carrying the run: {PROGRAM} goes on with it")), "{told:?}");
    assert!(!told.err.contains("resume"), "{told:?}");
    is_unavailable(&sandbox.run(&["resume", "r1", "--json"]), "run r1 is running, but nobody", &["asks"]);
    worker.kill().unwrap();
    worker.wait().unwrap();
    is_unavailable(&sandbox.run(&["resume", "r1", "--json"]), "run r1 is running, but nobody", &["asks"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pause_of_a_run_that_nobody_carries_is_lifted_and_what_has_to_be_started_is_said() {
    let sandbox = Sandbox::new();
    left(&sandbox).await;
    assert_eq!(sandbox.run(&["pause", "r1"]).code, 0);
    assert_eq!(sandbox.run(&["answer", "r1", "--text", "Alice"]).code, 0);
    is_unavailable(&sandbox.run(&["resume", "r1", "--json"]), "run r1 is resumed, but nobody", &["asks"]);

    let engine = open(sandbox.path()).await;
    ended(&waiting(&engine).find("r1").await.unwrap()).await;
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_functions_that_failed_is_retried_and_who_goes_on_with_it_is_said() {
    let sandbox = Sandbox::new();
    let failing = |engine: &Engine| {
        let fails = |_: Context| async { Err::<Next, _>(StepError::new("no")) };
        Agent::new("failing").state("fails", fails).build(engine).unwrap()
    };
    let engine = open(sandbox.path()).await;
    failing(&engine).run(()).run_id("r1").await.unwrap_err();
    let told = sandbox.run(&["resume", "r1"]);
    assert!(told.err.contains("hint: `stepwell retry r1` tries again what failed"), "{told:?}");
    // Somebody has its functions: it is followed.
    let told = sandbox.run(&["retry", "r1"]);
    let hint = "hint: repair the cause, then `stepwell retry r1`: the program of 'failing', or `stepwell worker \
                MODULE:AGENT` if that is Python, goes on with it; what is completed stays";
    assert!(told.code == 1 && told.err.contains(hint), "{told:?}");
    engine.shutdown().await;
    let told = sandbox.run(&["retry", "r1", "--json"]);
    is_unavailable(&told, "run r1 is tried again, but nobody", &["fails"]);
    assert_eq!(sandbox.run(&["show", "r1", "--json"]).json()["status"], "running", "that stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_something_else_can_move_is_followed_and_the_functions_it_will_need_are_named() {
    let sandbox = Sandbox::new();
    let engine = open(sandbox.path()).await;
    let send = |_: Context, _: bool| async { Ok::<_, StepError>("sent") };
    let mail = Pipeline::new("mail").then(Human::ask("approve", Ask::new("Send it?"))).step("send", send);
    mail.build(&engine).unwrap().start(()).run_id("r1").await.unwrap().rest().await.unwrap();
    engine.shutdown().await;

    let mut resumed = sandbox.spawn(&["resume", "r1"]);
    let mut said = BufReader::new(resumed.stderr.take().unwrap()).lines().map(Result::unwrap);
    let told = said.find(|line| line.contains("no process is alive") || line.contains("waits"));
    assert_eq!(
        told.unwrap(),
        "no process is alive that has the functions of 'approve', 'send': the program of pipeline 'mail' goes on there"
    );
    resumed.kill().unwrap();
    resumed.wait().unwrap();
}
