//! What becomes of failures.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use stepwell::core::error::Code;
use stepwell::core::ids::{Ordinal, Seq, Timestamp};
use stepwell::core::run::event::Event;
use stepwell::core::status::{ExecutionStatus, RunStatus};
use stepwell::{
    Agent, Context, Engine, Next, OnFailure, Options, Registry, Retry, RunError, State, StepError,
};

use crate::support::{activations, always, ends, leads, on_each_store, run_of, simulated};

/// A function that always fails, and the count of its calls.
fn broken() -> (impl Fn(Context) -> std::future::Ready<Result<Next, StepError>> + Send + Sync, Arc<AtomicU32>)
{
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let function = move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready("seven".parse::<u32>().map(|_| Next::done()).map_err(StepError::from))
    };
    (function, calls)
}

fn at_once(retries: u32) -> Retry {
    Retry::times(retries).initial(Duration::from_millis(1)).jitter(false)
}

/// Runs an agent whose only state always fails. Returns when each attempt began and ended.
async fn attempts_of(engine: &Engine, state: State) -> Vec<(Timestamp, Timestamp)> {
    let run = Agent::new("failing").add_state(state).build(engine).unwrap().start(()).await.unwrap();
    run.wait().await.unwrap_err();
    let mut attempts: Vec<(Timestamp, Timestamp)> = Vec::new();
    for recorded in engine.store().events(run.id(), Seq(0), 1_000).await.unwrap() {
        match recorded.event {
            Event::AttemptStarted(_) => attempts.push((recorded.at, recorded.at)),
            Event::AttemptFailed { .. } | Event::StepFailed { .. } => {
                attempts.last_mut().unwrap().1 = recorded.at;
            }
            _ => {}
        }
    }
    attempts
}

#[tokio::test(start_paused = true)]
async fn a21_the_wait_before_each_retry_is_twice_the_one_before() {
    let engine = simulated().await;
    let gaps = async |jitter| {
        let retry = Retry::times(2).initial(Duration::from_secs(1)).base(2.0).jitter(jitter);
        let (function, calls) = broken();
        let attempts = attempts_of(&engine, State::new("a", function).retry(retry)).await;
        assert_eq!((attempts.len(), calls.load(Ordering::SeqCst)), (3, 3));
        [1, 2].map(|next| attempts[next].0.ms_since(attempts[next - 1].1))
    };
    let [first, second] = gaps(false).await;
    assert!((1_000..=1_100).contains(&first) && (2_000..=2_100).contains(&second), "{first} {second}");
    let mut seen = Vec::new();
    for _ in 0..30 {
        let [first, second] = gaps(true).await;
        assert!((500..=1_510).contains(&first) && (1_000..=3_010).contains(&second), "{first} {second}");
        seen.push(first);
    }
    assert!(seen.iter().any(|gap| *gap < 900) && seen.iter().any(|gap| *gap > 1_100), "{seen:?}");
}

#[tokio::test]
async fn a22_a_state_that_always_fails_makes_all_its_attempts_and_fails_the_run() {
    on_each_store(async |engine| {
        let (function, calls) = broken();
        let agent = Agent::new("stubborn")
            .state("first", leads(&["a"]))
            .add_state(State::new("a", function).retry(at_once(3)))
            .build(&engine)
            .unwrap();
        let RunError { error, result } = agent.run(()).await.unwrap_err();
        assert_eq!(calls.load(Ordering::SeqCst), 4);
        assert_eq!(error.code, Code::TASK_RETRY_EXHAUSTED);
        assert_eq!(error.message, "step 'a' failed after 4 attempts: invalid digit found in string");
        assert_eq!(error.data["last_error"]["data"]["exception_type"], "core::num::error::ParseIntError");
        let result = result.unwrap();
        assert_eq!(result.status, RunStatus::Failed);
        assert_eq!((result.completed_states, result.failed_states), (vec!["first".into()], vec!["a".into()]));
    })
    .await;
}

#[tokio::test]
async fn an_error_of_a_type_that_is_named_is_tried_once() {
    on_each_store(async |engine| {
        let (function, calls) = broken();
        let retry = at_once(3).non_retryable::<std::num::ParseIntError>();
        let agent = Agent::new("once").retry(retry).state("a", function).build(&engine).unwrap();
        agent.run(()).await.unwrap_err();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    })
    .await;
}

#[tokio::test]
async fn a24_what_a_failed_attempt_wrote_is_seen_by_nobody() {
    on_each_store(async |engine| {
        let flaky = |cx: Context| async move {
            assert!(!cx.has("draft")?, "attempt {}", cx.attempt());
            if cx.attempt() == 1 {
                cx.set("draft", "half")?;
                return Err(StepError::new("not yet"));
            }
            Ok(Next::to("b"))
        };
        let after = |cx: Context| async move {
            assert!(!cx.has("draft")?);
            Ok(Next::done())
        };
        let agent = Agent::new("clean")
            .add_state(State::new("a", flaky).retry(at_once(1)))
            .state("b", after)
            .build(&engine)
            .unwrap();
        assert!(agent.run(()).await.unwrap().context.is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a25_time_limits_of_a_state_and_of_a_run_end_them() {
    let engine = simulated().await;
    let sleepy = |_: Context| async {
        tokio::time::sleep(Duration::from_mins(1)).await;
        Ok(Next::done())
    };
    let state = State::new("a", sleepy).timeout(Duration::from_millis(500)).retry(at_once(1));
    let agent = Agent::new("slow").add_state(state).build(&engine).unwrap();
    let run = agent.start(()).await.unwrap();
    let error = run.wait().await.unwrap_err().error;
    assert_eq!(error.data["last_error"]["name"], "TASK_TIMEOUT");
    let execution = engine.inspect(run.id()).await.unwrap().execution("a", Ordinal(1)).unwrap().clone();
    assert_eq!((execution.status, execution.attempts), (ExecutionStatus::TimedOut, 2));
    assert!(run.dead_letters().await.unwrap()[0].timed_out);
    let state = State::new("a", sleepy).timeout(Duration::from_millis(500)).retry(at_once(1));
    for (began, ended) in attempts_of(&engine, state).await {
        let took = ended.ms_since(began);
        assert!((500..=600).contains(&took), "{took}");
    }

    let agent = Agent::new("slow run").state("a", sleepy).build(&engine).unwrap();
    let began = tokio::time::Instant::now();
    let error = agent.run(()).timeout(Duration::from_millis(500)).await.unwrap_err().error;
    assert_eq!(error.code, Code::WORKFLOW_TIMEOUT);
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a25_a_state_that_does_not_end_when_its_time_is_up_is_abandoned_and_its_late_result_refused() {
    let store = stepwell::open_store("memory:").await.unwrap();
    let options = Options { cleanup_ms: 50, ..Options::default() };
    let engine = Engine::open(store, Registry::default(), options).await.unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let (ended, has_ended) = tokio::sync::oneshot::channel();
    let ended = Mutex::new(Some(ended));
    let stubborn = move |cx: Context| {
        released.lock().unwrap().recv()?;
        let late = cx.set("late", &true).unwrap_err();
        ended.lock().unwrap().take().unwrap().send((cx.is_cancelled(), late)).unwrap();
        Ok(Next::done())
    };
    let state = State::blocking("a", stubborn).timeout(Duration::from_millis(50));
    let agent = Agent::new("stubborn").add_state(state).build(&engine).unwrap();
    let run = agent.start(()).await.unwrap();
    assert_eq!(run.wait().await.unwrap_err().error.code, Code::TASK_TIMEOUT);
    release.send(()).unwrap();
    let (was_cancelled, late) = has_ended.await.unwrap();
    assert!(was_cancelled && late.is(Code::STALE_CONTEXT));
    assert!(run.wait().await.unwrap_err().result.unwrap().context.is_empty());
}

#[tokio::test]
async fn a26_a_state_is_ready_then_running_then_completed() {
    on_each_store(async |engine| {
        let result = run_of(&engine, vec![always("a", &[])]).await;
        let journal = engine.store().events(&result.run_id, Seq(0), 100).await.unwrap();
        let told: Vec<_> = journal.iter().map(|recorded| recorded.event.kind()).collect();
        let of_state = ["StepActivated", "AttemptStarted", "StepCompleted"];
        let told: Vec<_> = told.into_iter().filter(|kind| of_state.contains(kind)).collect();
        assert_eq!(told, of_state);
    })
    .await;
}

#[tokio::test]
async fn a26_a_caught_failure_is_a_route_like_any_other() {
    on_each_store(async |engine| {
        let critical = |cx: Context| async move {
            let Err(error) = "seven".parse::<u32>() else { return Ok(Next::to("next_state")) };
            cx.set("error", &error.to_string())?;
            cx.set("allocated_resources", &["lock"])?;
            Ok(Next::to("cleanup_resources"))
        };
        let agent = Agent::new("critical")
            .state("critical_operation", critical)
            .state("next_state", ends)
            .state("cleanup_resources", leads(&["handle_error"]))
            .state("handle_error", |cx: Context| async move {
                assert_eq!(cx.get::<String>("error")?.unwrap(), "invalid digit found in string");
                Ok(Next::done())
            })
            .build(&engine)
            .unwrap();
        let result = agent.run(()).await.unwrap();
        let order = activations(&engine, &result).await;
        assert_eq!(order, ["critical_operation", "cleanup_resources", "handle_error"]);
    })
    .await;
}

#[tokio::test]
async fn a26_a_compensation_of_the_right_name_runs_once_before_the_run_is_failed() {
    on_each_store(async |engine| {
        let (function, _) = broken();
        let agent = Agent::new("undoing")
            .add_state(State::new("book", function).retry(at_once(1)))
            .state("book_compensation", |cx: Context| async move {
                let failure = cx.failure().unwrap();
                cx.set("undone", &json!([failure.step, failure.attempts, failure.error.message]))?;
                Ok(Next::done())
            })
            .build(&engine)
            .unwrap();
        let result = agent.run(()).await.unwrap_err().result.unwrap();
        let message = "step 'book' failed after 2 attempts: invalid digit found in string";
        assert_eq!(result.context["undone"], json!(["book", 2, message]));
        assert_eq!(activations(&engine, &result).await, ["book", "book_compensation"]);
        assert_eq!(
            (result.completed_states, result.failed_states),
            (vec!["book_compensation".into()], vec!["book".into()])
        );
    })
    .await;
}

/// Runs an agent whose first state leads to `a` and to where the test says; `b` is all that `a` may lead to.
async fn routed(engine: &Engine, next: fn() -> Next) -> (RunError, u32) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let function = move |_: Context| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok::<_, StepError>(next()))
    };
    let agent = Agent::new("routed")
        .retry(at_once(3))
        .add_state(State::new("a", function).next(["b"]))
        .state("b", ends)
        .state("elsewhere", ends)
        .build(engine)
        .unwrap();
    (agent.run(()).await.unwrap_err(), calls.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a27_a_route_that_cannot_be_taken_fails_its_state_once_and_nothing_of_it_takes_effect() {
    on_each_store(async |engine| {
        let (unknown, calls) = routed(&engine, || Next::all(["b", "bb"])).await;
        assert_eq!((unknown.error.code, calls), (Code::UNKNOWN_STEP, 1));
        assert_eq!(unknown.error.hint.as_deref(), Some("did you mean 'b', 'a'?"));
        assert_eq!(unknown.error.data["known_steps"], json!(["a", "b", "elsewhere"]));
        assert_eq!(unknown.result.unwrap().not_reached, ["b", "elsewhere"]);

        let (undeclared, calls) = routed(&engine, || Next::all(["b", "elsewhere"])).await;
        assert_eq!((undeclared.error.code, calls), (Code::TASK_RESULT_INVALID, 1));
        assert_eq!(undeclared.result.unwrap().not_reached, ["b", "elsewhere"]);

        let no_json = |_: Context| async { Ok(Next::to("b").and(Next::each("b", [f64::NAN])?)) };
        let agent = Agent::new("payload").retry(at_once(3)).state("a", no_json).state("b", ends);
        let refused = agent.build(&engine).unwrap().run(()).await.unwrap_err();
        assert_eq!(refused.error.code, Code::TASK_RESULT_INVALID);
        assert!(refused.error.message.contains("NaN"), "{refused}");
        assert_eq!(refused.result.unwrap().not_reached, ["b"]);

        let nothing = run_of(&engine, vec![State::new("a", leads(&[])), State::new("b", ends)]).await;
        assert_eq!((nothing.completed_states, nothing.not_reached), (vec!["a".into()], vec!["b".into()]));
    })
    .await;
}

#[tokio::test]
async fn a28_a_failing_branch_does_to_its_run_what_the_policy_says() {
    on_each_store(async |engine| {
        let agent = |on_failure: OnFailure| {
            let (function, _) = broken();
            Agent::new("policies")
                .add_state(always("s", &["bad", "good"]).entry())
                .add_state(State::new("bad", function).next(["m"]).on_failure(on_failure))
                .add_state(always("good", &["m"]))
                .add_state(always("m", &[]))
                .add_state(always("h", &[]))
                .build(&engine)
                .unwrap()
        };
        let continued = agent(OnFailure::Continue).run(()).await.unwrap();
        assert_eq!(continued.failed_states, ["bad"]);
        assert_eq!(continued.completed_states, ["s", "good", "m"]);

        let routed = agent(OnFailure::Route("h".into())).run(()).await.unwrap();
        assert_eq!(routed.completed_states, ["s", "good", "m", "h"]);

        let failed = agent(OnFailure::Stop).run(()).await.unwrap_err();
        assert_eq!(failed.error.message, "step 'bad': invalid digit found in string");
        assert_eq!(failed.result.unwrap().status, RunStatus::Failed);
    })
    .await;
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_on_every_kind_of_thread() {
    on_each_store(async |engine| {
        let panics = |cx: Context| async move {
            assert!(cx.attempt() > 1, "the first attempt panics");
            Ok(Next::to("blocking"))
        };
        let blocks = |cx: Context| {
            assert!(cx.attempt() > 1, "so does this one");
            cx.set("done", &true)?;
            Ok(Next::done())
        };
        let agent = Agent::new("panics")
            .retry(at_once(1))
            .state("driven", panics)
            .add_state(State::blocking("blocking", blocks))
            .build(&engine)
            .unwrap();
        let result = agent.run(()).await.unwrap();
        assert_eq!(result.get("done").unwrap(), Some(true));
        let journal = engine.store().events(&result.run_id, Seq(0), 1_000).await.unwrap();
        let types = journal.iter().filter_map(|recorded| match &recorded.event {
            Event::AttemptFailed { error, .. } => error.data.get("exception_type"),
            _ => None,
        });
        assert_eq!(types.collect::<Vec<_>>(), [&json!("panic"), &json!("panic")]);
    })
    .await;
}

#[tokio::test]
async fn an_attempt_that_is_lost_is_made_again_and_is_no_try() {
    on_each_store(async |engine| {
        let loses = |cx: Context| async move {
            if cx.attempt() < 3 {
                return Err(StepError::Lost);
            }
            Ok(Next::done())
        };
        let agent = Agent::new("loses").state("loses", loses).build(&engine).unwrap();
        let result = agent.run(()).await.expect("no retries are allowed, and none is needed");
        let journal = engine.store().events(&result.run_id, Seq(0), 1_000).await.unwrap();
        let count = |is: fn(&Event) -> bool| journal.iter().filter(|recorded| is(&recorded.event)).count();
        assert_eq!(count(|event| matches!(event, Event::AttemptLost { .. })), 2);
        assert_eq!(count(|event| matches!(event, Event::AttemptFailed { .. })), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_state_that_gives_signs_of_life_is_not_taken_for_dead() {
    let engine = simulated().await;
    let state = |beats: bool| {
        State::new("long", move |cx: Context| async move {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if beats {
                    cx.heartbeat();
                }
            }
            Ok(Next::done())
        })
        .heartbeat_timeout(Duration::from_millis(250))
    };
    let agent = |beats| Agent::new("watched").add_state(state(beats)).build(&engine).unwrap();
    agent(true).run(()).await.expect("it is alive");
    let failed = agent(false).run(()).await.unwrap_err();
    assert_eq!(failed.error.code, Code::TASK_TIMEOUT);
    assert!(failed.error.message.contains("gave no sign of life for 0.25 s"), "{}", failed.error);
}
