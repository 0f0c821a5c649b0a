//! Pausing, resuming, cancelling and trying again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use serde_json::json;
use stepwell::core::error::Code;
use stepwell::core::run::event::Event;
use stepwell::core::status::{ExecutionStatus, RunStatus};
use stepwell::{Agent, Ask, Context, Next, Retry, State, StepError};
use tokio::sync::Semaphore;

use crate::support::{
    activations, always, answer, ends, gated, leads, on_each_store, open, questions, simulated, started,
    until,
};

fn completed(name: &'static str) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::StepCompleted { step, .. } if step.as_str() == name)
}

#[tokio::test]
async fn a29_nothing_begins_in_a_paused_run_and_each_state_runs_once_after_it_is_resumed() {
    on_each_store(async |engine| {
        let permits = Arc::new(Semaphore::new(0));
        let run = gated(&engine, &permits).start(()).await.unwrap();
        until(&run, started("b")).await;
        run.pause().await.unwrap();
        permits.add_permits(1);
        until(&run, completed("b")).await;
        assert_eq!(run.status().await.unwrap(), RunStatus::Paused);
        let metrics = run.metrics().await.unwrap();
        assert_eq!((metrics.attempts, metrics.count(ExecutionStatus::Completed)), (2, 2));
        assert_eq!(metrics.count(ExecutionStatus::Running), 0, "{metrics:?}");

        run.resume().await.unwrap();
        let result = run.wait().await.unwrap();
        assert_eq!(activations(&engine, &result).await, ["a", "b", "c", "d", "e"]);
        assert_eq!(run.resume().await.unwrap_err().code, Code::WORKFLOW_INVALID_STATE);
    })
    .await;
}

#[tokio::test]
async fn a29_a_paused_run_stays_so_over_a_restart_and_is_resumed_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        async || stepwell::open_store(&format!("sqlite://{}/s.db", dir.path().display())).await.unwrap();
    let permits = Arc::new(Semaphore::new(0));
    let before = open(&store().await).await;
    let run = gated(&before, &permits).start(()).run_id("long").await.unwrap();
    until(&run, started("b")).await;
    run.pause().await.unwrap();
    permits.add_permits(2);
    before.shutdown().await;

    let after = open(&store().await).await;
    let agent = gated(&after, &permits);
    let run = agent.find("long").await.unwrap();
    assert_eq!(run.status().await.unwrap(), RunStatus::Paused);
    run.resume().await.unwrap();
    let result = run.wait().await.unwrap();
    assert_eq!(activations(&after, &result).await, ["a", "b", "c", "d", "e"]);
    assert_eq!(agent.find("short").await.unwrap_err().code, Code::WORKFLOW_NOT_FOUND);
    after.shutdown().await;
}

#[tokio::test]
async fn a30_a_cancelled_run_drops_what_is_under_way_and_takes_nothing_more() {
    struct Sees(Arc<AtomicBool>);
    impl Drop for Sees {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    on_each_store(async |engine| {
        let seen = Arc::new(AtomicBool::new(false));
        let at_drop = seen.clone();
        let sleeps = move |_: Context| {
            let guard = Sees(at_drop.clone());
            async move {
                let _guard = guard;
                std::future::pending::<()>().await;
                Ok(Next::to("after"))
            }
        };
        let asks = |cx: Context| async move {
            let _: bool = cx.ask_human(Ask::new("Sure?")).await?;
            Ok(Next::done())
        };
        let agent = Agent::new("cancelled")
            .add_state(always("s", &["sleeps", "asks"]))
            .add_state(State::new("sleeps", sleeps).next(["after"]))
            .add_state(State::new("asks", asks).next([stepwell::END]))
            .add_state(always("after", &[]))
            .build(&engine)
            .unwrap();
        let run = agent.start(()).await.unwrap();
        until(&run, started("sleeps")).await;
        until(&run, |event| matches!(event, Event::WaitOpened { .. })).await;
        let question = engine.inspect(run.id()).await.unwrap().open_waits()[0].id.clone();
        run.cancel().await.unwrap();

        let ended = run.wait().await.unwrap_err();
        assert_eq!(ended.error.code, Code::WORKFLOW_CANCELLED);
        let result = ended.result.unwrap();
        assert_eq!((result.status, result.not_reached), (RunStatus::Cancelled, vec!["after".to_owned()]));
        let late = engine.answer(&question, json!(true), None).await.unwrap_err();
        assert_eq!(late.code, Code::WORKFLOW_INVALID_STATE);
        assert!(run.resume().await.is_err() && run.pause().await.is_err() && run.retry().await.is_err());
        assert!(seen.load(Ordering::SeqCst));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a30_a_run_that_sleeps_is_over_in_less_than_a_second_when_it_is_cancelled() {
    let engine = simulated().await;
    let sleeps = |_: Context| async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok(Next::to("after"))
    };
    let agent = Agent::new("sleeps").state("a", sleeps).state("after", leads(&[])).build(&engine).unwrap();
    let run = agent.start(()).await.unwrap();
    until(&run, started("a")).await;
    let began = tokio::time::Instant::now();
    run.cancel().await.unwrap();
    let ended = run.wait().await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(ended.result.unwrap().not_reached, ["after"]);
}

#[tokio::test]
async fn a22_a_failed_run_is_tried_again_and_what_completed_does_not_run_again() {
    on_each_store(async |engine| {
        let broken = Arc::new(AtomicBool::new(true));
        let is_broken = broken.clone();
        let state = move |cx: Context| {
            let is_broken = is_broken.load(Ordering::SeqCst);
            async move {
                if is_broken {
                    return Err(StepError::never_again("broken"));
                }
                cx.set("key", &cx.idempotency_key())?;
                Ok(Next::done())
            }
        };
        let agent =
            Agent::new("again").state("first", leads(&["b"])).state("b", state).build(&engine).unwrap();
        let run = agent.start(()).await.unwrap();
        assert_eq!(run.wait().await.unwrap_err().result.unwrap().failed_states, ["b"]);
        let letter = run.dead_letters().await.unwrap().remove(0);
        assert_eq!((letter.step.as_str(), letter.ordinal, letter.attempts), ("b", 1, 1));
        assert_eq!((letter.error.message.as_str(), letter.timed_out), ("step 'b': broken", false));
        broken.store(false, Ordering::SeqCst);
        run.retry().await.unwrap();
        let result = run.wait().await.unwrap();
        assert_eq!(activations(&engine, &result).await, ["first", "b"]);
        assert!(result.failed_states.is_empty() && result.error.is_none());
        assert_eq!(run.metrics().await.unwrap().attempts, 3);
        assert_eq!(run.dead_letters().await.unwrap(), [letter], "what was mended is still told");
        assert_eq!(run.retry().await.unwrap_err().code, Code::WORKFLOW_INVALID_STATE);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn numbers_of_a_run_count_what_its_journal_holds() {
    let engine = simulated().await;
    let slow = |name| {
        State::new(name, |cx: Context| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            cx.set("who", cx.step())?;
            if cx.step() == "a" && cx.attempt() == 1 {
                return Err(StepError::new("not yet"));
            }
            Ok(Next::to("m"))
        })
        .next(["m"])
        .retry(Retry::times(1).initial(Duration::from_millis(1)).jitter(false))
    };
    let agent = Agent::new("numbers")
        .add_state(always("s", &["a", "b", "c"]))
        .add_state(slow("a"))
        .add_state(slow("b"))
        .add_state(slow("c"))
        .add_state(always("m", &[]).join(stepwell::Join::Any))
        .build(&engine)
        .unwrap();
    let run = agent.start(()).await.unwrap();
    run.wait().await.unwrap();
    let metrics = run.metrics().await.unwrap();
    assert_eq!(metrics.count(ExecutionStatus::Completed), 5);
    assert_eq!((metrics.attempts, metrics.retries, metrics.max_running), (6, 1, 3));
    assert_eq!((metrics.conflicts, metrics.absorbed), (1, 2));
    assert_eq!((metrics.total(), metrics.joins), (5, 0));
    assert!(metrics.run_time >= Duration::from_millis(40), "four attempts of 10 ms: {metrics:?}");
}

#[tokio::test(start_paused = true)]
async fn the_time_that_attempts_waited_for_a_place_is_counted_and_no_other() {
    const LONG: Duration = Duration::from_secs(100);
    let engine = simulated().await;
    let slow = |cx: Context| async move {
        if cx.attempt() == 1 {
            // Neither waiting for a person nor for the next attempt is waiting for a place.
            let _: bool = cx.ask_human(Ask::new(cx.step().to_owned())).await?;
            return Err(StepError::new("not yet"));
        }
        tokio::time::sleep(LONG).await;
        Ok(Next::done())
    };
    let retry = Retry::times(1).initial(LONG).jitter(false);
    let agent = Agent::new("queue").max_concurrent(1).retry(retry);
    let agent = agent.add_state(State::new("one", slow).entry().next([stepwell::END]));
    let agent =
        agent.add_state(State::new("other", slow).entry().next([stepwell::END])).build(&engine).unwrap();
    let run = agent.start(()).await.unwrap();
    let asked = questions(&run).await;
    tokio::time::sleep(LONG).await;
    for (_, wait) in asked {
        run.answer(&wait, true).await.unwrap();
    }
    run.wait().await.unwrap();
    let queued = run.metrics().await.unwrap().queued_time;
    assert!(queued >= LONG && queued < LONG + Duration::from_secs(1), "the second one, once: {queued:?}");
}

#[tokio::test]
async fn a_run_goes_on_when_nobody_waits_for_it_any_more() {
    on_each_store(async |engine| {
        let ran = Arc::new(AtomicU32::new(0));
        let counted = ran.clone();
        let last = move |_: Context| {
            counted.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok::<_, StepError>(Next::done()))
        };
        let asks = |cx: Context| async move {
            let _: bool = cx.ask_human(Ask::new("Sure?")).await?;
            Ok(Next::to("last"))
        };
        let agent = Agent::new("left").state("asks", asks).state("last", last).build(&engine).unwrap();
        let waiting = async { agent.run(()).run_id("left-1").await };
        let asked = async {
            loop {
                if let Ok(run) = agent.find("left-1").await {
                    return (questions(&run).await, run);
                }
                tokio::task::yield_now().await;
            }
        };
        let (asked, run) = tokio::select! {
            _ = waiting => unreachable!("nobody has answered"),
            found = asked => found,
        };
        engine.answer(&asked[0].1, json!(true), None).await.unwrap();
        run.wait().await.unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 1);
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_a_run_that_is_not_over_is_told_when_the_engine_is_shut_down() {
    on_each_store(async |engine| {
        let asks = |cx: Context| async move {
            let _: bool = cx.ask_human(Ask::new("Sure?")).await?;
            Ok(Next::done())
        };
        let agent = Agent::new("left").state("asks", asks).state("short", ends).build(&engine).unwrap();
        let over = agent.start(()).await.unwrap();
        answer(&over, "Sure?", json!(true)).await;
        over.wait().await.unwrap();
        let run = agent.start(()).run_id("left-1").await.unwrap();
        questions(&run).await;
        let watched = async {
            let mut watched = std::pin::pin!(run.watch());
            loop {
                match watched.try_next().await {
                    Ok(Some(_)) => {}
                    ended => return ended.unwrap_err(),
                }
            }
        };
        let (waited, watched, ()) = tokio::join!(run.wait(), watched, engine.shutdown());
        let told = waited.unwrap_err().error;
        assert_eq!(told.code, Code::SYSTEM_SHUTDOWN);
        assert_eq!(
            told.message,
            "the engine was shut down while run left-1 was waited for, which is not over"
        );
        assert!(told.hint.is_some_and(|hint| hint.contains("over its store")));
        assert_eq!(watched.code, Code::SYSTEM_SHUTDOWN);

        // Also who asks later; what rests by itself or is over is told as ever.
        assert_eq!(run.wait().await.unwrap_err().error.code, Code::SYSTEM_SHUTDOWN);
        assert_eq!(run.rest().await.unwrap(), RunStatus::Paused);
        assert_eq!(over.wait().await.unwrap().status, RunStatus::Completed);
    })
    .await;
}
