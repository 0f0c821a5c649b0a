//! Routes that name a state of another agent: a child run goes that branch.

use serde_json::json;
use stepwell::core::error::Code;
use stepwell::core::ids::{Ordinal, RunId};
use stepwell::core::run::wait::WaitKind;
use stepwell::core::status::RunStatus;
use stepwell::{Agent, Context, Engine, Next, OnFailure, State, StepError};

use crate::support::{always, answer, ends, on_each_store};

/// An agent with two states, of which only the second is to run, and that ends as it is told.
fn other(engine: &Engine) -> Agent {
    let second = |cx: Context| async move {
        if cx.get("fails")? == Some(true) {
            return Err(StepError::new("the other one failed"));
        }
        cx.set("seen", &cx.get::<String>("told")?)?;
        Ok(Next::done())
    };
    Agent::new("other")
        .add_state(always("first", &["x"]))
        .add_state(State::new("x", second).next([stepwell::END]))
        .build(engine)
        .unwrap()
}

/// An agent whose only state leads to `x` of the other.
fn naming(engine: &Engine, other: &Agent, x: &'static str, on_failure: OnFailure) -> Agent {
    let other = other.clone();
    let a = move |cx: Context| {
        let other = other.clone();
        async move {
            cx.set("told", "by a")?;
            let calls = cx.get::<u32>("calls")?.unwrap_or(0);
            cx.set("calls", &(calls + 1))?;
            Next::agent(&other, x)
        }
    };
    let handle = |cx: Context| async move {
        let failure = cx.failure().unwrap();
        cx.set("handled", &format!("{} of {}", failure.error.code.name(), failure.step))?;
        Ok(Next::done())
    };
    Agent::new("naming")
        .add_state(State::new("a", a).next([stepwell::END]).on_failure(on_failure))
        .add_state(State::new("handle", handle).next([stepwell::END]))
        .add_state(always("begin", &["a"]).entry())
        .build(engine)
        .unwrap()
}

/// Returns the child run that an execution waited for.
async fn child_of(engine: &Engine, run: &RunId, step: &str, ordinal: u32) -> RunId {
    let run = engine.inspect(run).await.unwrap();
    let execution = run.execution(step, Ordinal(ordinal)).unwrap();
    assert!(execution.stands_for_child());
    let mut waits = run.all_waits().filter(|wait| wait.execution.ordinal == execution.ordinal);
    match &waits.next().unwrap().spec.kind {
        WaitKind::Child(child) => child.run.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a12_another_agent_goes_on_from_the_named_state_in_a_run_of_its_own() {
    on_each_store(async |engine| {
        let other = other(&engine);
        let agent = naming(&engine, &other, "x", OnFailure::Stop);
        let result = agent.run(()).await.unwrap();
        assert_eq!(result.get("calls").unwrap(), Some(1), "the naming state runs once");
        assert_eq!(result.get::<String>("seen").unwrap(), None, "what the child writes stays there");
        let child = child_of(&engine, &result.run_id, "a", 2).await;
        let run = engine.inspect(&child).await.unwrap();
        assert_eq!(run.status(), RunStatus::Completed);
        assert_eq!(run.parent().unwrap().run, result.run_id);
        assert_eq!(
            **run.context().get("seen").unwrap(),
            json!("by a"),
            "it began with a copy of the context"
        );
        assert_eq!(run.executions().len(), 1, "it began there and nowhere else");
        assert_eq!(run.workflow().version(), other.workflow().version());
        let parent = engine.inspect(&result.run_id).await.unwrap();
        assert!(parent.finished_at() >= run.finished_at(), "the parent ends after it");
    })
    .await;
}

#[tokio::test]
async fn a12_a_failed_child_is_a_failure_of_the_naming_state_under_its_policy() {
    on_each_store(async |engine| {
        let other = other(&engine);
        let fails = || json!({ "fails": true });
        let failed = naming(&engine, &other, "x", OnFailure::Stop).run(fails()).await.unwrap_err();
        assert_eq!(failed.error.code, Code::CHILD_FAILED);
        assert!(failed.to_string().contains("the other one failed"), "{failed}");
        assert_eq!(failed.result.unwrap().failed_states, ["a"]);
        let result = naming(&engine, &other, "x", OnFailure::Continue).run(fails()).await.unwrap();
        assert_eq!(result.failed_states, ["a"]);
        let routed = OnFailure::Route("handle".into());
        let result = naming(&engine, &other, "x", routed).run(fails()).await.unwrap();
        assert_eq!(result.get::<String>("handled").unwrap().unwrap(), "CHILD_FAILED of a");
    })
    .await;
}

#[tokio::test]
async fn a12_a_state_that_the_other_agent_has_not_got_fails_the_naming_state_once() {
    on_each_store(async |engine| {
        let other = other(&engine);
        let agent = naming(&engine, &other, "xx", OnFailure::Stop);
        let failed = agent.run(()).await.unwrap_err();
        assert_eq!(failed.error.code, Code::UNKNOWN_STEP);
        assert_eq!(
            failed.to_string(),
            "step 'a': workflow 'other' has no step 'xx' to begin with (did you mean 'x'?)"
        );
    })
    .await;
}

#[tokio::test]
async fn the_branches_beside_a_child_do_not_wait_for_it_and_a_question_in_it_is_found() {
    on_each_store(async |engine| {
        let asking = Agent::new("asking")
            .state("ask", |cx: Context| async move {
                let sure: String = cx.ask_human(stepwell::Ask::new("Sure?")).await?;
                cx.set("sure", &sure)?;
                Ok(Next::done())
            })
            .build(&engine)
            .unwrap();
        let naming = {
            let asking = asking.clone();
            move |_: Context| {
                let asking = asking.clone();
                async move { Ok(Next::to("b").and(Next::agent(&asking, "ask")?)) }
            }
        };
        let agent = Agent::new("both")
            .add_state(State::new("a", naming).next(["b"]))
            .add_state(State::new("b", ends).next([stepwell::END]))
            .build(&engine)
            .unwrap();
        let run = agent.start(()).await.unwrap();
        assert_eq!(run.rest().await.unwrap(), RunStatus::Paused);
        let state = engine.inspect(run.id()).await.unwrap();
        assert!(state.execution("b", Ordinal(1)).unwrap().finished_at.is_some());
        let child = child_of(&engine, run.id(), "a", 2).await;
        answer(&asking.find(child).await.unwrap(), "Sure?", json!("yes")).await;
        assert_eq!(run.wait().await.unwrap().status, RunStatus::Completed);
    })
    .await;
}
