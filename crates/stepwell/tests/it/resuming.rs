//! How a run that rests goes on, by what it rests for (spec/flujo.md §3.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use stepwell::core::error::{Code, ErrorObject};
use stepwell::core::status::{PauseReason, RunStatus};
use stepwell::{
    Agent, Ask, Client, Context, Engine, Human, Map, Next, Options, Parallel, Pipeline, RunFilter, Step,
    StepError, Workflow, load,
};

use crate::support::{on_each_store, open};

/// Asks, and says thanks.
fn asks(engine: &Engine) -> Workflow {
    let ask = Ask::new("Shall we?").schema(json!({ "type": "boolean" }));
    let thank = |_: Context, sure: bool| async move { Ok(format!("thanks for {sure}")) };
    Pipeline::new("asks").then(Human::ask("ask", ask)).step("thank", thank).build(engine).unwrap()
}

async fn paused(workflow: &Workflow, id: &str) {
    let run = workflow.start(()).run_id(id).await.unwrap();
    assert_eq!(run.rest().await.unwrap(), RunStatus::Paused);
}

fn reason(error: &ErrorObject) -> &str {
    error.data["reason"].as_str().unwrap_or_default()
}

/// Acceptance F10.
#[tokio::test]
async fn an_answer_lets_a_run_go_on_and_one_that_is_over_is_refused() {
    on_each_store(async |engine| {
        let (client, asks) = (Client::of(&engine), asks(&engine));
        paused(&asks, "r").await;
        let invalid = client.resume("r").input("maybe").await.unwrap_err();
        assert_eq!(invalid.code, Code::ANSWER_INVALID);
        assert_eq!(client.resume("r").await.unwrap_err().code, Code::ANSWER_INVALID, "nothing is no answer");
        assert_eq!(reason(&client.retry("r").await.unwrap_err()), "not_resumable");

        let run = client.resume("r").input(true).answered_by("anna").await.unwrap();
        assert_eq!(run.wait().await.unwrap().output, json!("thanks for true"));
        let over = client.resume("r").input(true).await.unwrap_err();
        assert_eq!((reason(&over), &over.data["status"]), ("not_resumable", &json!("completed")));
        assert_eq!(reason(&client.cancel("r", None).await.unwrap_err()), "not_resumable");
        assert_eq!(client.resume("none").await.unwrap_err().code, Code::WORKFLOW_NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn the_pause_of_an_operator_is_lifted_with_an_answer_or_without() {
    on_each_store(async |engine| {
        let (client, asks) = (Client::of(&engine), asks(&engine));
        paused(&asks, "r").await;
        engine.pause(&"r".into(), None).await.unwrap();
        client.resume("r").await.unwrap();
        assert_eq!(client.summary("r").await.unwrap().pause_reason, Some(PauseReason::Input));
        engine.pause(&"r".into(), None).await.unwrap();
        assert_eq!(client.resume("r").input("maybe").await.unwrap_err().code, Code::ANSWER_INVALID);
        assert_eq!(client.summary("r").await.unwrap().pause_reason, Some(PauseReason::Operator));
        let run = client.resume("r").input(false).await.unwrap();
        assert_eq!(run.wait().await.unwrap().output, json!("thanks for false"));
    })
    .await;
}

/// Acceptance F17.
#[tokio::test]
async fn of_several_questions_one_must_be_named() {
    on_each_store(async |engine| {
        let question = |name: &str| Human::ask(name, Ask::new(name));
        let both = Parallel::new("both").branch("a", question("ask")).branch("b", question("ask"));
        let workflow = Pipeline::new("two").then(both).build(&engine).unwrap();
        paused(&workflow, "r").await;
        let client = Client::of(&engine);
        let refused = client.resume("r").input(1).await.unwrap_err();
        assert_eq!(reason(&refused), "wait_ambiguous");
        let asked = client.questions("r").await.unwrap();
        let ids: Vec<Value> = asked.iter().map(|asked| json!(asked.wait.as_str())).collect();
        assert_eq!(refused.data["wait_ids"], json!(ids));
        let run = client.resume("r").input(2).wait_id(asked[1].wait.clone()).await.unwrap();
        assert_eq!(run.rest().await.unwrap(), RunStatus::Paused);
        let late = client.resume("r").input(2).wait_id(asked[1].wait.clone()).await.unwrap_err();
        assert_eq!(reason(&late), "wait_closed");
        let unknown = client.resume("r").input(2).wait_id("wait_unknown").await.unwrap_err();
        assert_eq!(reason(&unknown), "no_open_wait");
        let run = client.resume("r").input(1).await.unwrap();
        assert_eq!(run.wait().await.unwrap().output.as_object().unwrap().len(), 2);
    })
    .await;
}

/// Acceptance F17, where what asks is a run of its own: items of a map whose body forks.
#[tokio::test]
async fn a_question_of_a_run_below_is_one_of_the_run_and_its_answer_is_heard_before_anybody_waits() {
    on_each_store(async |engine| {
        let question = |name: &str| Human::ask(name, Ask::new(name));
        let body = Parallel::new("both").branch("a", question("ask")).branch("b", question("ask"));
        let workflow = Pipeline::new("below").then(Map::each("items", body)).build(&engine).unwrap();
        let run = workflow.start(json!([1])).run_id("r").await.unwrap();
        let client = Client::of(&engine);
        assert_eq!(run.rest().await.unwrap(), RunStatus::Paused);
        assert!(run.questions().await.unwrap().is_empty(), "it asks nothing by itself");
        for left in [2, 1] {
            let asked = client.questions("r").await.unwrap();
            assert_eq!(asked.len(), left);
            let run = client.resume("r").input(left).wait_id(asked[0].wait.clone()).await.unwrap();
            let rests = if left == 1 { RunStatus::Completed } else { RunStatus::Paused };
            assert_eq!(run.rest().await.unwrap(), rests);
        }
    })
    .await;
}

/// Acceptance F9, the part about the input.
#[tokio::test]
async fn what_failed_is_tried_again_and_a_new_input_reaches_the_first_step_only_if_that_failed() {
    on_each_store(async |engine| {
        let client = Client::of(&engine);
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let first = move |_: Context, n: i64| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move { if n < 0 { Err(StepError::new("below zero")) } else { Ok(n + 1) } }
        };
        let second = |cx: Context, n: i64| async move {
            if cx.attempt() == 1 { Err(StepError::new("not yet")) } else { Ok(10 * n) }
        };
        let workflow = Pipeline::new("retried")
            .then(Step::new("first", first))
            .then(Step::new("second", second))
            .build(&engine)
            .unwrap();
        workflow.run(-1).run_id("r").await.unwrap_err();
        let again = client.retry("r").input(4).of_version(workflow.definition(), workflow.version());
        let again = again.await.unwrap();
        assert!(again.wait().await.is_err(), "the second step fails once");
        let done = client.resume("r").input(7).await.unwrap().wait().await.unwrap();
        assert_eq!((done.output, calls.load(Ordering::SeqCst)), (json!(50), 2));
    })
    .await;
}

#[tokio::test]
async fn a_run_that_was_begun_with_a_limit_of_time_is_of_the_definition_without_one() {
    on_each_store(async |engine| {
        let asks = asks(&engine);
        let run = asks.start(()).run_id("r").timeout(Duration::from_hours(1)).await.unwrap();
        run.rest().await.unwrap();
        let client = Client::of(&engine);
        client.resume("r").input(true).of_version(asks.definition(), asks.version()).await.unwrap();
        assert_eq!(run.wait().await.unwrap().output, json!("thanks for true"));
    })
    .await;
}

/// Acceptance F3 and F18, the refusals.
#[tokio::test]
async fn another_definition_or_nobody_to_carry_it_out_is_refused_and_nothing_is_taken() {
    on_each_store(async |engine| {
        let asks = asks(&engine);
        paused(&asks, "r").await;
        let client = Client::of(&engine);
        let other =
            Pipeline::new("asks").then(Human::ask("ask", Ask::new("Shall we?"))).build(&engine).unwrap();
        let mismatch = client.resume("r").input(true).of_version(other.definition(), other.version());
        let mismatch = mismatch.await.unwrap_err();
        assert_eq!(mismatch.code, Code::DEFINITION_MISMATCH);
        assert_eq!(
            (&mismatch.data["stored"], &mismatch.data["given"]),
            (&json!(asks.version()), &json!(other.version()))
        );
        assert_eq!(
            mismatch.data["differs"],
            json!(["step 'ask' has another next, metadata", "step 'thank' is missing"])
        );
        assert!(
            mismatch.message.ends_with("step 'ask' has another next, metadata; step 'thank' is missing"),
            "{mismatch}"
        );
        assert_eq!(client.summary("r").await.unwrap().status, RunStatus::Paused);
        // Others that have the store open and not the steps.
        engine.shutdown().await;
        let stranger = open(engine.store()).await;
        let unserved = Client::of(&stranger).resume("r").input(true).await.unwrap_err();
        assert_eq!(unserved.code, Code::HANDLER_UNAVAILABLE);
        assert_eq!(unserved.data["steps"], json!(["ask", "thank"]));
        assert_eq!(client.questions("r").await.unwrap().len(), 1);
        // Who carries nothing out leaves it to whoever comes.
        let inbox = Client::over(engine.store().clone()).await.unwrap();
        inbox.resume("r").input(true).await.unwrap();
        stranger.shutdown().await;
    })
    .await;
}

/// An agent that asks for one name, and then has so many steps more.
fn greets(engine: &Engine, more: &[&str]) -> Agent {
    let ask = |cx: Context| async move {
        cx.set("name", &cx.ask_human::<String>(Ask::new("Who?")).await?)?;
        Ok(Next::done())
    };
    let nothing = |_: Context| async { Ok(Next::done()) };
    let agent = Agent::new("greets").state("ask", ask);
    more.iter().fold(agent, |agent, step| agent.state(step, nothing)).build(engine).unwrap()
}

#[tokio::test]
async fn the_answer_to_an_agent_whose_functions_nobody_has_is_kept_until_somebody_does() {
    on_each_store(async |engine| {
        let run = greets(&engine, &[]).start(()).run_id("r").await.unwrap();
        run.rest().await.unwrap();
        assert!(!Client::of(&engine).is_left("r").await.unwrap(), "it is carried here");
        engine.shutdown().await;

        let stranger = open(engine.store()).await;
        let client = Client::of(&stranger);
        let answered = client.resume("r").input("Alice").await.unwrap();
        assert!(client.is_left("r").await.unwrap());
        assert_eq!(answered.status().await.unwrap(), RunStatus::Running);
        let again = client.resume("r").input("Bob").await.unwrap_err();
        assert_eq!(reason(&again), "not_resumable");

        // Who has the functions may come at any time.
        let run = greets(&stranger, &[]).find("r").await.unwrap();
        assert_eq!(run.wait().await.unwrap().context["name"], "Alice");
        assert!(!client.is_left("r").await.unwrap(), "it is over");
        stranger.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn an_id_that_a_run_of_another_definition_has_is_refused_with_what_has_changed() {
    on_each_store(async |engine| {
        greets(&engine, &["left"]).start(()).run_id("r").await.unwrap().rest().await.unwrap();
        let refused = greets(&engine, &["added"]).start(()).run_id("r").await.unwrap_err().error;
        assert_eq!((refused.code, &refused.data["differs"]), (Code::RUN_EXISTS, &json!(["definition"])));
        assert_eq!(refused.data["changes"], json!(["step 'left' is missing", "step 'added' is new"]));
        let told = "run r exists with another definition: step 'left' is missing; step 'added' is new";
        assert_eq!(refused.message, told);
        assert!(refused.hint.unwrap().contains("the definition that the run began with"));

        let other = Agent::new("other").state("ask", |_: Context| async { Ok(Next::done()) });
        let refused = other.build(&engine).unwrap().start(()).run_id("r").await.unwrap_err().error;
        assert_eq!(refused.data["changes"], json!(["it is of workflow 'greets', not of 'other'"]));
        let same = greets(&engine, &["left"]);
        let limited = same.start(()).run_id("r").timeout(Duration::from_hours(1)).await.unwrap_err().error;
        assert_eq!(limited.data["changes"], json!(["timeout_ms is another"]));
    })
    .await;
}

/// Spec flujo.md §3.2: a workflow of built-in providers alone needs no handlers of its own.
#[tokio::test]
async fn a_run_of_built_in_providers_is_carried_by_whoever_resumes_it() {
    const FILE: &str = "
steps:
  - {name: Ask, method: human/ask, params: {prompt: 'Go on?'}}
  - {name: Nap, method: timer/sleep, params: {seconds: 0}, needs: [Ask]}
";
    let dir = tempfile::tempdir().unwrap();
    for url in ["memory:".to_owned(), format!("sqlite://{}/s.db", dir.path().display())] {
        let store = stepwell::open_store(&url).await.unwrap();
        let first = Engine::open(store.clone(), stepwell::registry(Vec::new()), Options::default());
        let first = first.await.unwrap();
        let asks = Workflow::from_text(FILE, load::Format::Yaml, &first).unwrap();
        paused(&asks, "r").await;
        first.shutdown().await;

        let engine = open(&store).await;
        let client = Client::of(&engine);
        assert_eq!(client.resume("r").await.unwrap_err().code, Code::ANSWER_INVALID);
        let run = client.resume("r").input("yes").await.unwrap();
        assert_eq!(run.rest().await.unwrap(), RunStatus::Completed);
        engine.shutdown().await;
    }
}

/// Acceptance F6, the pages by offset.
#[tokio::test]
async fn pages_by_offset_have_no_gap_and_no_repeat() {
    on_each_store(async |engine| {
        let (client, asks) = (Client::of(&engine), asks(&engine));
        for n in 0..7 {
            asks.start(()).run_id(format!("r{n}")).await.unwrap();
        }
        let all = RunFilter::default();
        let ids = async |offset, limit| -> Vec<String> {
            let listed = client.runs_from(&all, offset, limit).await.unwrap();
            listed.into_iter().map(|run| run.run_id.to_string()).collect()
        };
        let whole = ids(0, None).await;
        assert_eq!(whole, ["r6", "r5", "r4", "r3", "r2", "r1", "r0"]);
        let mut pages = Vec::new();
        for offset in [0, 3, 6, 9] {
            pages.extend(ids(offset, Some(3)).await);
        }
        assert_eq!(pages, whole);
        assert_eq!(ids(5, None).await, ["r1", "r0"]);
        assert!(ids(0, Some(0)).await.is_empty());
    })
    .await;
}
