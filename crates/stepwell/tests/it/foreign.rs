//! What is there for functions that are not written in Rust, and for those who look at runs for them.

use serde::{Deserialize, Serialize};
use serde_json::json;
use stepwell::core::ids::Seq;
use stepwell::{Agent, Code, Context, Next, PauseReason, Run, RunStatus, StepError, Typed};

use crate::support::on_each_store;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
}

impl Typed for User {
    const NAME: &str = "User";
}

#[tokio::test]
async fn a3_a_typed_value_is_one_to_those_who_have_its_fields_only() {
    on_each_store(async |engine| {
        let agent = Agent::new("foreign")
            .state("write", |cx: Context| async move {
                cx.set_typed_value("user", "User", json!({ "name": "Ada" }))?;
                cx.set("plain", &1)?;
                Ok(Next::to("read"))
            })
            .state("read", |cx: Context| async move {
                assert_eq!(cx.typed::<User>("user")?, Some(User { name: "Ada".into() }));
                let read = cx.typed_value("user")?.unwrap();
                assert_eq!(read, ("User".to_owned(), json!({ "name": "Ada" })));
                assert_eq!(cx.typed_value("plain")?, None);
                assert_eq!(cx.typed_value("missing")?, None);
                for refused in [
                    cx.set_typed_value("plain", "User", json!({})).unwrap_err(),
                    cx.set("user", &1).unwrap_err(),
                    cx.get::<String>("user").unwrap_err(),
                ] {
                    assert_eq!(refused.error().unwrap().data["reason"], "typed_key");
                }
                Ok(Next::done())
            })
            .build(&engine)
            .unwrap();
        agent.run(()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a12_a_child_begins_with_the_state_that_is_named() {
    on_each_store(async |engine| {
        let child = Agent::new("child")
            .state("first", |_: Context| async { Err(StepError::new("it never begins")) })
            .state("second", |cx: Context| async move {
                cx.set("n", &(cx.get::<u32>("n")?.unwrap_or(0) + 1))?;
                Ok(Next::done())
            })
            .build(&engine)
            .unwrap();
        let parent = |entry: &'static str| {
            let child = child.clone();
            let call = move |cx: Context| {
                let child = child.clone();
                async move {
                    let result = cx.run_agent_from(&child, Some(entry), json!({ "n": 1 })).await?;
                    cx.set("n", &result.context["n"])?;
                    Ok(Next::done())
                }
            };
            Agent::new("parent").state("call", call).build(&engine).unwrap()
        };
        assert_eq!(parent("second").run(()).await.unwrap().context["n"], 2);
        let refused = parent("secnd").run(()).await.unwrap_err();
        assert_eq!(refused.error.code, Code::UNKNOWN_STEP);
    })
    .await;
}

#[tokio::test]
async fn a_run_is_found_and_followed_by_its_id() {
    on_each_store(async |engine| {
        let waits = |cx: Context| async move { cx.signal::<u32>("go").await.map(|_| Next::done()) };
        let agent = Agent::new("waits").state("wait", waits).build(&engine).unwrap();
        let started = agent.start(()).await.unwrap();
        started.rest().await.unwrap();

        let other = Run::find(&engine, "other", started.id().clone()).await.unwrap_err();
        assert_eq!(other.code, Code::WORKFLOW_NOT_FOUND);
        let run = Run::find(&engine, "waits", started.id().clone()).await.unwrap();
        let summary = run.summary().await.unwrap();
        assert_eq!((summary.status, summary.pause_reason), (RunStatus::Paused, Some(PauseReason::Input)));
        let seen = run.events_after(Seq(0)).await.unwrap();
        let mut later = run.follow(Seq(seen.len() as u64));
        run.signal("go", 1).await.unwrap();
        assert_eq!(later.next().await.unwrap()[0].seq.0, seen.len() as u64 + 1);

        // One execution is cancelled with its run, and none the second time.
        let again = agent.start(()).await.unwrap();
        again.rest().await.unwrap();
        assert_eq!((again.cancel().await.unwrap(), again.cancel().await.unwrap()), (1, 0));
        let checkpoint = again.checkpoint().await.unwrap();
        let restored = agent.restore(&checkpoint).run_id("restored").await.unwrap();
        assert_eq!(restored.id().as_str(), "restored");
        let taken = agent.restore(&checkpoint).run_id("restored").await.unwrap_err();
        assert_eq!(taken.code, Code::RUN_EXISTS);
    })
    .await;
}
