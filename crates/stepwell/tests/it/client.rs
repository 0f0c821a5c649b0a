//! The people's side of a store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use stepwell::core::error::{Code, ErrorObject};
use stepwell::core::ids::{Seq, WaitId};
use stepwell::core::run::event::Event;
use stepwell::core::run::wait::Resolution;
use stepwell::core::status::{PauseReason, RunStatus};
use stepwell::{
    Agent, Ask, Asked, Client, Context, Engine, Next, Page, RunFilter, StepError, Store, WaitFilter,
};

use crate::support::{answer, ends, on_each_store, open, questions};

async fn over(store: &Arc<dyn Store>) -> Client {
    Client::over(store.clone()).await.unwrap()
}

/// Asks whether to go on, of anna, for an hour.
fn asks(engine: &Engine) -> Agent {
    let state = |cx: Context| async move {
        let ask = Ask::new("Go on?").options(["yes", "no"])?.assignee("anna");
        let ask = ask.deadline(Duration::from_hours(1)).default_answer(&"no")?;
        cx.set("answer", &cx.ask_human::<String>(ask).await?)?;
        Ok(Next::done())
    };
    Agent::new("asks").state("ask", state).build(engine).unwrap()
}

fn tags(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

async fn listed(client: &Client, filter: RunFilter) -> Vec<String> {
    let found = client.runs(&filter, &Page::first(10)).await.unwrap();
    found.items.into_iter().map(|run| run.run_id.to_string()).collect()
}

async fn inbox(client: &Client) -> Vec<Asked> {
    client.inbox(&WaitFilter::default(), &Page::first(10)).await.unwrap().items
}

#[tokio::test]
async fn runs_are_listed_newest_first_by_status_workflow_and_tags() {
    on_each_store(async |engine| {
        let client = over(engine.store()).await;
        let asks = asks(&engine);
        let ends = Agent::new("ends").state("a", ends).build(&engine).unwrap();
        ends.run(()).run_id("one").metadata(tags(&json!({ "team": "ops", "n": 1 }))).await.unwrap();
        let two = asks.start(()).run_id("two").metadata(tags(&json!({ "team": "ops" }))).await.unwrap();
        two.rest().await.unwrap();
        ends.run(()).run_id("three").await.unwrap();

        let all = RunFilter::default();
        assert_eq!(listed(&client, all.clone()).await, ["three", "two", "one"]);
        let ops = RunFilter { metadata: tags(&json!({ "team": "ops" })), ..all.clone() };
        assert_eq!(listed(&client, ops).await, ["two", "one"]);
        let of_ends = RunFilter { workflow: Some("ends".into()), ..all.clone() };
        assert_eq!(listed(&client, of_ends).await, ["three", "one"]);
        let paused = RunFilter { status: vec![RunStatus::Paused], ..all.clone() };
        let paused = client.runs(&paused, &Page::first(10)).await.unwrap().items.remove(0);
        assert_eq!((paused.run_id.as_str(), paused.workflow.as_str()), ("two", "asks"));
        assert_eq!((paused.pause_reason, paused.finished_at), (Some(PauseReason::Input), None));

        let first = client.runs(&all, &Page::first(2)).await.unwrap();
        assert_eq!(first.items.len(), 2);
        let rest = client.runs(&all, &Page { limit: 2, cursor: first.next }).await.unwrap();
        assert_eq!((rest.items[0].run_id.as_str(), rest.next), ("one", None));
        let unknown = client.run("four").await.unwrap_err();
        assert_eq!(unknown.code, Code::WORKFLOW_NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn a38_the_inbox_has_the_questions_of_all_runs_and_each_is_answered_once() {
    on_each_store(async |engine| {
        let client = over(engine.store()).await;
        let agent = asks(&engine);
        let run = agent.start(()).run_id("one").metadata(tags(&json!({ "team": "ops" }))).await.unwrap();
        run.rest().await.unwrap();
        let other = agent.start(()).run_id("two").await.unwrap();
        other.rest().await.unwrap();

        let open = inbox(&client).await;
        assert_eq!(open, agent.inbox().await.unwrap());
        let [first, second] = &open[..] else { panic!("{open:?}") };
        assert_eq!((first.run.as_str(), second.run.as_str()), ("one", "two"));
        assert_eq!((first.workflow.as_str(), first.step.as_str()), ("asks", "ask"));
        let question = &first.question;
        assert_eq!((question.prompt.as_str(), question.assignee.as_deref()), ("Go on?", Some("anna")));
        assert_eq!((&question.options, &question.schema), (&Some(json!(["yes", "no"])), &None));
        assert_eq!((question.tries(), &first.default), (1, &Some(json!("no"))));
        assert_eq!(first.metadata, tags(&json!({ "team": "ops" })));
        assert!(first.asked_at <= SystemTime::now() && first.deadline.unwrap() > SystemTime::now());
        let of_two = WaitFilter { run: Some("two".into()), ..WaitFilter::default() };
        assert_eq!(client.inbox(&of_two, &Page::first(10)).await.unwrap().items[0], *second);

        let refused = async |wait: &WaitId, value: &str| -> ErrorObject {
            client.answer(wait, value, None).await.unwrap_err()
        };
        assert_eq!(refused(&first.wait, "perhaps").await.code, Code::ANSWER_INVALID);
        client.answer(&first.wait, "yes", Some("bob")).await.unwrap();
        assert_eq!(run.wait().await.unwrap().context["answer"], "yes");
        let again = refused(&first.wait, "no").await;
        assert_eq!(
            (again.code, &again.data["reason"]),
            (Code::WORKFLOW_INVALID_STATE, &json!("wait_closed"))
        );
        assert_eq!(refused(&"wait_0".into(), "yes").await.code, Code::WORKFLOW_NOT_FOUND);

        client.run("two").await.unwrap().cancel().await.unwrap();
        let late = refused(&second.wait, "yes").await;
        assert_eq!((late.code, &late.data["state"]), (Code::WORKFLOW_INVALID_STATE, &json!("withdrawn")));
        assert!(inbox(&client).await.is_empty());
        let journal = engine.store().events(run.id(), Seq(0), 100).await.unwrap();
        assert!(journal.iter().any(|known| matches!(
            &known.event,
            Event::WaitResolved { resolution: Resolution::Answered { by: Some(by), .. }, .. } if by == "bob"
        )));
    })
    .await;
}

#[tokio::test]
async fn a39_a_thousand_runs_that_wait_for_people_are_all_in_the_inbox_after_a_restart() {
    const RUNS: usize = 1_000;
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/s.db?durability=crash", dir.path().display());
    let store = stepwell::open_store(&url).await.unwrap();
    let engine = open(&store).await;
    let agent = asks(&engine);
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(agent.start(()).await.unwrap());
    }
    for run in &runs {
        run.rest().await.unwrap();
    }
    engine.shutdown().await;
    store.close().await.unwrap();

    let client = Client::open(&url).await.unwrap();
    let (mut found, mut page) = (BTreeSet::new(), Page::first(300));
    loop {
        let part = client.inbox(&WaitFilter::default(), &page).await.unwrap();
        found.extend(part.items.into_iter().map(|asked| asked.run.to_string()));
        let Some(next) = part.next else { break };
        page.cursor = Some(next);
    }
    assert_eq!(found, runs.iter().map(|run| run.id().to_string()).collect());
    client.close().await.unwrap();
}

#[tokio::test]
async fn a29_a_run_that_others_carry_out_is_paused_resumed_signalled_and_tried_again() {
    on_each_store(async |engine| {
        let is_broken = Arc::new(AtomicBool::new(true));
        let broken = is_broken.clone();
        let state = move |cx: Context| {
            let broken = broken.clone();
            async move {
                let speed: u32 = cx.signal("go").await?;
                if broken.load(Ordering::SeqCst) {
                    return Err(StepError::never_again("broken"));
                }
                cx.set("speed", &speed)?;
                Ok(Next::done())
            }
        };
        let agent = Agent::new("steered").state("a", state).build(&engine).unwrap();
        let carried = agent.start(()).run_id("r").await.unwrap();
        carried.rest().await.unwrap();

        let client = over(engine.store()).await;
        let run = client.run("r").await.unwrap();
        run.pause().await.unwrap();
        run.signal("go", 3).await.unwrap();
        assert_eq!(run.metrics().await.unwrap().attempts, 1, "nothing begins while it is paused");
        run.resume().await.unwrap();
        assert_eq!(run.wait().await.unwrap_err().error.message, "step 'a': broken");
        assert_eq!(run.dead_letters().await.unwrap()[0].step, "a");
        is_broken.store(false, Ordering::SeqCst);
        run.retry().await.unwrap();
        assert_eq!(run.wait().await.unwrap().get("speed").unwrap(), Some(3));
        assert_eq!(run.cancel().await.unwrap_err().code, Code::WORKFLOW_INVALID_STATE);
        assert_eq!(run.signal("go", 4).await.unwrap_err().code, Code::WORKFLOW_INVALID_STATE);
        client.close().await.unwrap();
        carried.wait().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a30_what_nobody_carries_is_cancelled_with_the_runs_that_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/s.db", dir.path().display());
    let store = stepwell::open_store(&url).await.unwrap();
    let engine = open(&store).await;
    let child = asks(&engine);
    let state = move |cx: Context| {
        let child = child.clone();
        async move {
            cx.run_agent(&child, ()).await?;
            Ok(Next::done())
        }
    };
    let parent = Agent::new("parent").state("a", state).build(&engine).unwrap().start(()).await.unwrap();
    parent.rest().await.unwrap();
    engine.shutdown().await;
    store.close().await.unwrap();

    let client = Client::open(&url).await.unwrap();
    let [asked] = &inbox(&client).await[..] else { panic!("the child asks") };
    client.run(parent.id().clone()).await.unwrap().cancel().await.unwrap();
    let child = client.run(asked.run.clone()).await.unwrap();
    assert_eq!(child.status().await.unwrap(), RunStatus::Cancelled);
    client.close().await.unwrap();
    assert!(client.run("r").await.is_err(), "the store is closed");
}

#[tokio::test]
async fn a30_all_runs_of_an_agent_that_are_not_over_are_cancelled_and_counted() {
    on_each_store(async |engine| {
        let agent = asks(&engine);
        let over = agent.start(()).await.unwrap();
        answer(&over, "Go on?", json!("yes")).await;
        over.wait().await.unwrap();
        let one = agent.start(()).await.unwrap();
        let two = agent.start(()).await.unwrap();
        assert_eq!(questions(&one).await.len() + questions(&two).await.len(), 2);
        let other = Agent::new("other").state("a", ends).build(&engine).unwrap();
        assert_eq!(other.cancel_all().await.unwrap(), 0);
        assert_eq!(agent.cancel_all().await.unwrap(), 2);
        assert_eq!(agent.cancel_all().await.unwrap(), 0);
        for run in [one, two] {
            assert_eq!(run.wait().await.unwrap_err().error.code, Code::WORKFLOW_CANCELLED);
        }
        assert!(agent.inbox().await.unwrap().is_empty());
    })
    .await;
}
