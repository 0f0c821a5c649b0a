//! States that are added while a run goes on.

use std::time::Duration;

use serde_json::json;
use stepwell::core::error::Code;
use stepwell::core::status::{ExecutionStatus, RunStatus};
use stepwell::{Agent, Context, Engine, Next, OnFailure, Reducer, Resources, Retry, State, StepError};

use crate::support::{always, ends, leads, on_each_store, open, simulated_with};

/// Makes twenty chunks, as states that nobody knew, each adding its number; then they meet.
fn splitter(engine: &Engine) -> Agent {
    let split = |cx: Context| async move {
        for number in 0..20 {
            let chunk = move |cx: Context| async move {
                cx.set("sum", &(cx.get::<u32>("sum")?.unwrap_or(0) + number))?;
                Ok(Next::to("merge"))
            };
            cx.add_state(State::new(&format!("chunk_{number}"), chunk).next(["merge"]))?;
        }
        Ok(Next::all((0..20).map(|number| format!("chunk_{number}"))))
    };
    let merge = |cx: Context| async move {
        cx.set("merged", &(cx.get::<u32>("merged")?.unwrap_or(0) + 1))?;
        Ok(Next::done())
    };
    Agent::new("splitter")
        .add_state(State::new("split", split).next(["chunk_*"]))
        .add_state(State::new("merge", merge).next([stepwell::END]))
        .reducer("sum", Reducer::Sum)
        .build(engine)
        .unwrap()
}

#[tokio::test]
async fn a11_twenty_chunks_that_nobody_knew_run_and_meet_once() {
    on_each_store(async |engine| {
        let result = splitter(&engine).run(()).await.unwrap();
        assert_eq!(result.get("sum").unwrap(), Some(190));
        assert_eq!(result.get("merged").unwrap(), Some(1));
        assert_eq!(result.completed_states.len(), 22, "the result knows them");
    })
    .await;
}

#[tokio::test]
async fn a_run_has_its_added_states_after_a_restart_and_waits_for_their_functions() {
    let dir = tempfile::tempdir().unwrap();
    let store = stepwell::open_store(&format!("sqlite://{}/s.db", dir.path().display())).await.unwrap();
    let build = |engine: &Engine| {
        let add = |cx: Context| async move {
            cx.add_state(State::new("added", ends).next([stepwell::END]))?;
            cx.signal::<bool>("go").await?;
            Ok(Next::to("added"))
        };
        Agent::new("adder").state("a", add).build(engine).unwrap()
    };
    let before = open(&store).await;
    let run = build(&before).start(()).run_id("job").await.unwrap();
    run.rest().await.unwrap();
    let added = || State::new("by hand", ends).next([stepwell::END]).entry();
    let agent = build(&before);
    agent.add_state(&run, added()).await.unwrap();
    before.shutdown().await;

    let store = stepwell::open_store(&format!("sqlite://{}/s.db", dir.path().display())).await.unwrap();
    let after = open(&store).await;
    let nameless = Agent::new("adder").state("a", |_: Context| async { Ok(Next::to("by hand")) });
    let agent = nameless.build(&after).unwrap();
    let run = agent.find("job").await.unwrap();
    after.signal(run.id(), "go", json!(true), None).await.unwrap();
    while run.missing_functions().await.unwrap() != ["by hand"] {
        tokio::task::yield_now().await;
    }
    agent.add_state(&run, added()).await.unwrap();
    let result = run.wait().await.unwrap();
    assert!(run.missing_functions().await.unwrap().is_empty());
    assert_eq!(result.completed_states, ["a", "by hand"]);
    after.shutdown().await;
}

#[tokio::test]
async fn what_a_failed_attempt_adds_is_not_there_and_the_next_one_may_add_it() {
    on_each_store(async |engine| {
        let add = |cx: Context| async move {
            let next = if cx.attempt() == 1 { "first" } else { "second" };
            cx.add_state(State::new(next, ends).next([stepwell::END]))?;
            if cx.attempt() == 1 { Err(StepError::new("not yet")) } else { Ok(Next::to(next)) }
        };
        let retry = Retry::times(1).initial(Duration::ZERO);
        let agent = Agent::new("adder").add_state(State::new("a", add).retry(retry)).build(&engine).unwrap();
        let result = agent.run(()).await.unwrap();
        assert_eq!(result.completed_states, ["a", "second"]);
        assert!(result.not_reached.is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_an_added_state_fails_the_one_that_adds_it() {
    on_each_store(async |engine| {
        let adds = |added: fn() -> State| {
            let add = move |cx: Context| async move {
                cx.add_state(added())?;
                Ok(Next::done())
            };
            Agent::new("adder").state("a", add).add_state(always("b", &[])).build(&engine).unwrap()
        };
        for (added, message) in [
            ((|| State::new("b*", ends)) as fn() -> State, "holds a '*'"),
            (|| State::new("c", leads(&["d"])).next(["d"]), "leads to 'd', which no step is named"),
            (|| State::new("b", leads(&["a"])).next(["a"]), "another of that name is there"),
        ] {
            let failed = adds(added).run(()).await.unwrap_err();
            assert_eq!(failed.error.code, Code::WORKFLOW_VALIDATION_FAILED, "{failed}");
            assert!(failed.to_string().contains(message), "{failed}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_added_state_is_held_to_the_pool_and_to_what_the_agent_says() {
    let engine = simulated_with(Resources::cpu(2)).await;
    let add = |cx: Context| async move {
        cx.add_state(State::new("large", ends).resources(Resources::cpu(3)))?;
        Ok(Next::to("large"))
    };
    let failed = Agent::new("large").state("a", add).build(&engine).unwrap().run(()).await.unwrap_err();
    assert_eq!(failed.error.code, Code::RESOURCE_EXHAUSTED);

    let fails = |_: Context| async { Err(StepError::new("always")) };
    let add = move |cx: Context| async move {
        cx.add_state(State::new("b", fails))?;
        cx.add_state(State::new("b_compensation", ends).next([stepwell::END]))?;
        Ok(Next::to("b"))
    };
    let retry = Retry::times(2).initial(Duration::ZERO);
    let agent = Agent::new("lenient").retry(retry).on_failure(OnFailure::Continue).state("a", add);
    let run = agent.build(&engine).unwrap().start(()).await.unwrap();
    let result = run.wait().await.unwrap();
    assert_eq!((result.status, &result.failed_states[..]), (RunStatus::Completed, &["b".to_owned()][..]));
    assert_eq!(run.metrics().await.unwrap().retries, 2);
    assert_eq!(result.completed_states, ["a", "b_compensation"]);
    let state = engine.inspect(run.id()).await.unwrap();
    assert!(state.executions().iter().all(|e| e.status != ExecutionStatus::Cancelled));
    engine.shutdown().await;
}

#[tokio::test]
async fn adding_a_state_that_the_agent_has_leaves_its_function_to_all_runs() {
    on_each_store(async |engine| {
        let add = |cx: Context| async move {
            let other = |_: Context| async { Err(StepError::never_again("another function")) };
            match cx.get::<String>("adds")?.as_deref() {
                Some("the same") => cx.add_state(State::new("end", other))?,
                Some("another") => cx.add_state(State::new("end", other).next(["begin"]))?,
                _ => {}
            }
            Ok(Next::to("end"))
        };
        let agent = Agent::new("adder").state("begin", add).state("end", ends).build(&engine).unwrap();
        let refused = agent.run(json!({ "adds": "another" })).await.unwrap_err();
        assert_eq!(refused.error.message, "step 'end' cannot be added: another of that name is there");
        agent.run(json!({ "adds": "the same" })).await.unwrap();
        agent.run(()).await.unwrap();
    })
    .await;
}
