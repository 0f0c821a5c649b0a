//! What a function leaves in the air when it ends: it changes nothing of what comes after.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use stepwell::core::error::Code;
use stepwell::{Agent, AgentBuilder, Context, END, Next, Retry, State, StepError};

use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::Instant;

use crate::support::{ends, on_each_store, run_of, simulated, until};

/// Begins to do something once, and does not wait until it is kept. Returns whether that is on its way.
fn forgets(cx: &Context) -> bool {
    cx.once("mark", || async { Ok(1) }).now_or_never().is_none()
}

/// Runs it twice, so that the second run needs what the first had taken.
async fn twice(agent: AgentBuilder, engine: &stepwell::Engine) {
    let agent = agent.limit("printer", 1).build(engine).unwrap();
    for _ in 0..2 {
        let result = tokio::time::timeout(Duration::from_mins(1), agent.run(()));
        result.await.expect("it ends").unwrap();
    }
}

#[tokio::test]
async fn an_attempt_that_completes_while_something_is_being_kept_takes_nothing_any_more() {
    on_each_store(async |engine| {
        let forgetful = |cx: Context| async move {
            assert!(forgets(&cx));
            Ok(Next::to("b"))
        };
        let a = State::new("a", forgetful).next(["b"]).limit("printer", 1);
        twice(Agent::new("completes").add_state(a).state("b", ends), &engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_while_something_is_being_kept_is_tried_again() {
    let engine = simulated().await;
    let forgetful = |cx: Context| async move {
        if cx.attempt() == 1 {
            assert!(forgets(&cx));
            return Err(StepError::new("not yet"));
        }
        Ok(Next::done())
    };
    let a = State::new("a", forgetful).next([END]).limit("printer", 1).retry(Retry::times(1));
    twice(Agent::new("fails").add_state(a), &engine).await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_waits_while_something_is_being_kept_takes_nothing_meanwhile() {
    let engine = simulated().await;
    let forgetful = |cx: Context| async move {
        forgets(&cx);
        cx.sleep(Duration::from_hours(1)).await?;
        Ok(Next::done())
    };
    let waits = State::new("a", forgetful).next([END]).limit("printer", 1);
    let quick = State::new("a", ends).next([END]).limit("printer", 1);
    let [waits, quick] = [("waits", waits), ("quick", quick)]
        .map(|(name, state)| Agent::new(name).limit("printer", 1).add_state(state).build(&engine).unwrap());
    let waiting = waits.start(()).await.unwrap();
    until(&waiting, |event| event.kind() == "AttemptSuspended").await;
    tokio::time::timeout(Duration::from_mins(1), quick.run(())).await.expect("it ends").unwrap();
    waiting.wait().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_beside_a_function_that_waits_keeps_nothing_in_its_next_run() {
    let engine = simulated().await;
    let release = Arc::new(Notify::new());
    let (tell, told) = mpsc::unbounded_channel();
    let told = Arc::new(Mutex::new(told));
    let first_run = AtomicBool::new(true);
    let a = move |cx: Context| {
        let (release, tell, told) = (release.clone(), tell.clone(), told.clone());
        let is_first = first_run.swap(false, Ordering::SeqCst);
        async move {
            if is_first {
                let (beside, release) = (cx.clone(), release.clone());
                tokio::spawn(async move {
                    let waits = || async {
                        release.notified().await;
                        Ok(1)
                    };
                    tell.send(beside.once("mark", waits).await).unwrap();
                });
                tokio::task::yield_now().await;
            }
            cx.sleep(Duration::from_secs(1)).await?;
            release.notify_one();
            let late = told.lock().await.recv().await.expect("it is told");
            assert!(late.unwrap_err().is(Code::STALE_CONTEXT));
            cx.set("mark", &cx.once("mark", || async { Ok(2) }).await?)?;
            Ok(Next::done())
        }
    };
    let result = run_of(&engine, vec![State::new("a", a).next([END])]).await;
    assert_eq!(result.get("mark").unwrap(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_whose_end_comes_too_late_gives_back_at_once_what_it_took() {
    let engine = simulated().await;
    let cancels = engine.clone();
    let a = move |cx: Context| {
        let engine = cancels.clone();
        async move {
            // It is on its way, and before what this function comes to.
            assert!(engine.cancel(cx.run_id(), None).now_or_never().is_none());
            Ok(Next::done())
        }
    };
    let late = State::new("a", a).next([END]).limit("printer", 1);
    let next = State::new("a", ends).next([END]).limit("printer", 1);
    let [late, next] = [("late", late), ("next", next)]
        .map(|(name, state)| Agent::new(name).limit("printer", 1).add_state(state).build(&engine).unwrap());
    assert!(late.run(()).await.unwrap_err().error.code == Code::WORKFLOW_CANCELLED);
    let begun = Instant::now();
    next.run(()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
}
