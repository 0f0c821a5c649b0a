//! Waiting in the middle of a state, and what is done once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use stepwell::core::error::Code;
use stepwell::core::status::RunStatus;
use stepwell::{
    Agent, Ask, Context, Effect, Engine, Next, Options, Resources, Retry, Run, RunError, State, StepError,
};

use crate::support::{answer, ends, on_each_store, on_each_store_with, questions, simulated};

/// Starts an agent of one state.
async fn start<F, Fut>(engine: &Engine, function: F) -> Run
where
    F: Fn(Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Next, StepError>> + Send + 'static,
{
    Agent::new("waits").state("a", function).build(engine).unwrap().start(()).await.unwrap()
}

/// The error that a run of one state ends with.
async fn fails(run: &Run) -> stepwell::core::error::ErrorObject {
    run.wait().await.unwrap_err().error
}

#[tokio::test]
async fn a38_an_answer_that_does_not_fit_leaves_the_question_open_and_only_one_is_taken() {
    on_each_store(async |engine| {
        let run = start(&engine, |cx: Context| async move {
            let ask =
                Ask::new("Approve?").schema(json!({ "type": "string", "minLength": 11 })).assignee("anna");
            let feedback: String = cx.ask_human(ask).await?;
            cx.set("feedback", &feedback)?;
            Ok(Next::done())
        })
        .await;
        let (_, wait) = questions(&run).await.remove(0);
        let short = engine.answer(&wait, json!("short"), None).await.unwrap_err();
        assert_eq!(short.code, Code::ANSWER_INVALID);
        engine.answer(&wait, json!("I approve of it"), None).await.unwrap();
        let second = engine.answer(&wait, json!("I do not, really"), None).await.unwrap_err();
        assert_eq!(second.code, Code::WORKFLOW_INVALID_STATE);
        assert_eq!(run.wait().await.unwrap().context["feedback"], "I approve of it");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a38_after_the_deadline_the_default_is_the_answer_and_without_one_the_state_can_handle_that() {
    let engine = simulated().await;
    let run = start(&engine, |cx: Context| async move {
        let ask = |prompt: &str| Ask::new(prompt).deadline(Duration::from_mins(5));
        let by_default: Value = cx.ask_human(ask("one").default_answer(&Value::Null)?).await?;
        cx.set("by_default", &by_default)?;
        match cx.ask_human::<String>(ask("two")).await {
            Err(error) if error.is(Code::HUMAN_TIMEOUT) => cx.set("late", &true)?,
            other => return Err(StepError::new(format!("{:?}", other?))),
        }
        Ok(Next::done())
    })
    .await;
    let began = tokio::time::Instant::now();
    let result = run.wait().await.unwrap();
    assert_eq!(result.context["by_default"], Value::Null);
    assert_eq!(result.context["late"], true);
    let took = began.elapsed().as_secs();
    assert!((600..610).contains(&took), "each question was open for five minutes: {took}");
}

#[tokio::test]
async fn a38_a_state_that_waits_holds_no_place_and_other_branches_go_on() {
    on_each_store(async |engine| {
        let agent = Agent::new("beside")
            .max_concurrent(1)
            .add_state(
                State::new("s", |_| async { Ok(Next::all(["asks", "works"])) }).next(["asks", "works"]),
            )
            .add_state(
                State::new("asks", |cx: Context| async move {
                    let _: bool = cx.ask_human(Ask::new("Go on?")).await?;
                    Ok(Next::done())
                })
                .next([stepwell::END]),
            )
            .add_state(State::new("works", ends).next([stepwell::END]))
            .build(&engine)
            .unwrap();
        let run = agent.start(()).await.unwrap();
        assert_eq!(questions(&run).await.len(), 1);
        let so_far = engine.inspect(run.id()).await.unwrap();
        let works = so_far.executions().iter().find(|execution| execution.step.as_str() == "works");
        assert_eq!(works.unwrap().status.as_str(), "completed");
        answer(&run, "Go on?", json!(true)).await;
        run.wait().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a38_a_state_that_waits_gives_back_what_it_had_booked() {
    let options = Options { slots: 1, pool: Resources::cpu(1), ..Options::default() };
    on_each_store_with(&options, async |engine| {
        let asks = |cx: Context| async move {
            let _: bool = cx.ask_human(Ask::new("Go on?")).await?;
            Ok(Next::done())
        };
        let agent = |name, state: State| {
            let state = state.resources(Resources::cpu(1)).limit("desk", 1);
            Agent::new(name).limit("desk", 1).add_state(state).build(&engine).unwrap()
        };
        let run = agent("asks", State::new("a", asks)).start(()).await.unwrap();
        assert_eq!(questions(&run).await.len(), 1);
        assert!(engine.booked().is_empty());
        agent("works", State::new("a", ends)).run(()).await.unwrap();
        answer(&run, "Go on?", json!(true)).await;
        run.wait().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_answer_of_another_type_to_a_question_without_a_form_is_rejected_and_asked_for_again() {
    on_each_store(async |engine| {
        let (note_begin, begins) = counter();
        let run = start(&engine, move |cx: Context| {
            note_begin();
            async move {
                cx.set("n", &cx.ask_human::<u32>(Ask::new("How many?")).await?)?;
                let _: bool = cx.ask_human(Ask::new("Sure?")).await?;
                Ok(Next::done())
            }
        })
        .await;
        answer(&run, "How many?", json!("many")).await;
        assert_eq!(questions(&run).await[0].0, "How many?");
        let asked = run.questions().await.unwrap().remove(0);
        let rejected = asked.question.rejected.unwrap();
        assert_eq!((&*rejected.answer, rejected.times), (&json!("many"), 1));
        assert_eq!(
            rejected.message,
            "the answer cannot be read as u32: invalid type: string \"many\", expected u32"
        );
        answer(&run, "How many?", json!(3)).await;
        answer(&run, "Sure?", json!(true)).await;
        assert_eq!(run.wait().await.unwrap().get("n").unwrap(), Some(3));
        assert_eq!(begins.load(Ordering::SeqCst), 4, "once from its start, and once per answer");
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_its_form_takes_and_its_type_does_not_fails_the_state_and_names_the_remedy() {
    on_each_store(async |engine| {
        let run = start(&engine, |cx: Context| async move {
            let ask = Ask::new("How many?").schema(json!({ "type": "string" })).named("count");
            cx.set("n", &cx.ask_human::<u32>(ask).await?)?;
            Ok(Next::done())
        })
        .await;
        answer(&run, "How many?", json!("many")).await;
        let error = run.wait().await.unwrap_err().error;
        assert_eq!((error.code, error.retryable), (Code::ANSWER_INVALID, false));
        assert_eq!(
            error.message,
            "step 'a': the answer to wait 'count' cannot be read as u32: invalid type: string \"many\", expected u32"
        );
        let hint = "let the form of the question refuse such an answer: `schema_of`, a `schema` or `options` that fit the \
                    type, or a `check`";
        assert_eq!(error.hint.as_deref(), Some(hint));
    })
    .await;
}

#[tokio::test]
async fn questions_asked_side_by_side_are_open_at_once_and_answered_in_any_order() {
    on_each_store(async |engine| {
        let both = |cx: Context| async move {
            let ask = |prompt: &str| cx.ask_human::<u32>(Ask::new(prompt));
            let (a, b) = tokio::join!(ask("a"), ask("b"));
            cx.set("joined", &[a?, b?])?;
            let later = |prompt: &'static str| {
                let cx = cx.clone();
                async move { cx.ask_human::<u32>(Ask::new(prompt)).await }
            };
            let tried = tokio::try_join!(later("c"), later("d"))?;
            cx.set("tried", &tried)?;
            Ok(Next::done())
        };
        let run = start(&engine, both).await;
        for (first, second) in [("b", "a"), ("d", "c")] {
            assert_eq!(questions(&run).await.len(), 2);
            answer(&run, first, json!(2)).await;
            assert_eq!(questions(&run).await.len(), 1, "what is open is not asked again");
            answer(&run, second, json!(1)).await;
        }
        let result = run.wait().await.unwrap();
        assert_eq!((&result.context["joined"], &result.context["tried"]), (&json!([1, 2]), &json!([1, 2])));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_sleep_lasts_as_long_as_it_was_to_from_its_beginning() {
    let engine = simulated().await;
    let run = start(&engine, |cx: Context| async move {
        cx.sleep(Duration::from_hours(1)).await?;
        cx.sleep(Duration::from_hours(2)).await?;
        Ok(Next::done())
    })
    .await;
    let began = tokio::time::Instant::now();
    run.wait().await.unwrap();
    let took = began.elapsed().as_secs();
    assert!((10_800..10_810).contains(&took), "{took}");
}

#[tokio::test]
async fn signals_are_taken_in_their_order_also_if_they_came_first() {
    on_each_store(async |engine| {
        let run = start(&engine, |cx: Context| async move {
            let _: bool = cx.ask_human(Ask::new("Ready?")).await?;
            let one: u32 = cx.signal("speed").await?;
            let two: u32 = cx.signal("speed").await?;
            cx.set("speeds", &[one, two])?;
            Ok(Next::done())
        })
        .await;
        engine.signal(run.id(), "speed", json!(1), None).await.unwrap();
        answer(&run, "Ready?", json!(true)).await;
        engine.signal(run.id(), "speed", json!(2), None).await.unwrap();
        assert_eq!(run.wait().await.unwrap().get("speeds").unwrap(), Some([1, 2]));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_does_not_come_in_time_is_an_error_that_says_so() {
    let engine = simulated().await;
    let run = start(&engine, |cx: Context| async move {
        cx.signal_within::<Value>("go", Duration::from_secs(5)).await?;
        Ok(Next::done())
    })
    .await;
    assert_eq!(fails(&run).await.code, Code::SIGNAL_TIMEOUT);
}

#[tokio::test]
async fn a12_another_agent_runs_as_a_child_and_its_failure_is_the_state_s() {
    on_each_store(async |engine| {
        let child = Agent::new("child")
            .state("double", |cx: Context| async move {
                let n: u32 = cx.get("n")?.unwrap();
                if n == 0 {
                    return Err(StepError::never_again("nothing to double"));
                }
                cx.set("n", &(2 * n))?;
                Ok(Next::done())
            })
            .build(&engine)
            .unwrap();
        let parent = Agent::new("parent")
            .state("a", move |cx: Context| {
                let child = child.clone();
                async move {
                    let n: u32 = cx.get("n")?.unwrap();
                    let result = cx.run_agent(&child, json!({ "n": n })).await?;
                    cx.set("doubled", &result.get::<u32>("n")?)?;
                    cx.set("child", &result.run_id)?;
                    Ok(Next::done())
                }
            })
            .build(&engine)
            .unwrap();
        let result = parent.run(json!({ "n": 21 })).await.unwrap();
        assert_eq!(result.context["doubled"], 42);
        let child = engine.store().run(&result.get("child").unwrap().unwrap()).await.unwrap();
        assert_eq!(child.parent, Some(result.run_id));

        let RunError { error, .. } = parent.run(json!({ "n": 0 })).await.unwrap_err();
        assert_eq!(error.code, Code::CHILD_FAILED);
        assert_eq!(error.data["cause"]["message"], "step 'double': nothing to double");
    })
    .await;
}

/// A function that counts how often it was really called.
fn counter() -> (impl Fn() -> u32 + Clone + Send + Sync + 'static, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    (move || counted.fetch_add(1, Ordering::SeqCst) + 1, calls)
}

#[tokio::test]
async fn what_is_done_once_is_done_once_over_retries_and_waits() {
    on_each_store(async |engine| {
        let (charge, charges) = counter();
        let function = move |cx: Context| {
            let charge = charge.clone();
            async move {
                let receipt = cx.once("charge", || async { Ok(charge()) }).await?;
                assert_eq!(cx.once("charge", || async { Ok(7) }).await?, receipt, "kept at once");
                let _: bool = cx.ask_human(Ask::new("Sure?")).await?;
                if cx.attempt() == 1 {
                    return Err(StepError::new("not yet"));
                }
                cx.set("receipt", &receipt)?;
                Ok(Next::done())
            }
        };
        let retry = Retry::times(1).initial(Duration::from_millis(1));
        let agent = Agent::new("shop").retry(retry).state("a", function).build(&engine).unwrap();
        let run = agent.start(()).await.unwrap();
        answer(&run, "Sure?", json!(true)).await;
        assert_eq!(run.wait().await.unwrap().get("receipt").unwrap(), Some(1));
        assert_eq!(charges.load(Ordering::SeqCst), 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_asked_for_twice_at_once_is_done_once() {
    on_each_store(async |engine| {
        let (charge, charges) = counter();
        let function = move |cx: Context| {
            let charge = charge.clone();
            async move {
                let slowly = || async {
                    let receipt = charge();
                    tokio::task::yield_now().await;
                    Ok(receipt)
                };
                let (one, other) = tokio::join!(cx.once("charge", slowly), cx.once("charge", slowly));
                assert_eq!((one?, other?), (1, 1));
                // One that fails leaves it to the other.
                let fails = || async { Err::<u32, _>(StepError::new("not now")) };
                let (one, other) = tokio::join!(cx.once("ship", fails), cx.once("ship", || async { Ok(3) }));
                assert_eq!((one.is_err(), other?), (true, 3));
                // One that is given up too.
                tokio::select! {
                    biased;
                    _ = cx.once("mail", std::future::pending::<Result<u32, StepError>>) => unreachable!(),
                    () = std::future::ready(()) => {}
                }
                assert_eq!(cx.once("mail", || async { Ok(4) }).await?, 4);
                Ok(Next::done())
            }
        };
        start(&engine, function).await.wait().await.unwrap();
        assert_eq!(charges.load(Ordering::SeqCst), 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_done_once_within_itself_is_an_error_that_says_so() {
    on_each_store(async |engine| {
        let function = |cx: Context| async move {
            let _: u32 = cx.once("charge", || async { cx.once("charge", || async { Ok(1) }).await }).await?;
            Ok(Next::done())
        };
        let failed = start(&engine, function).await.wait().await.unwrap_err();
        assert!(
            failed
                .error
                .message
                .ends_with("'charge' is done once within itself: it would wait for its own end")
        );
        assert!(!failed.error.retryable);
    })
    .await;
}

#[tokio::test]
async fn what_fails_is_not_kept_as_done() {
    on_each_store(async |engine| {
        let (try_it, tries) = counter();
        let function = move |cx: Context| {
            let try_it = try_it.clone();
            async move {
                let flaky = || async {
                    let n = try_it();
                    if n == 1 { Err(StepError::new("not yet")) } else { Ok(n) }
                };
                assert!(cx.once("flaky", flaky).await.is_err());
                assert_eq!(cx.once("flaky", flaky).await?, 2);
                Ok(Next::done())
            }
        };
        start(&engine, function).await.wait().await.unwrap();
        assert_eq!(tries.load(Ordering::SeqCst), 2);
    })
    .await;
}

#[tokio::test]
async fn a_state_that_goes_on_although_it_waits_is_failed() {
    on_each_store(async |engine| {
        let run = start(&engine, |cx: Context| async move {
            let answer = cx.ask_human(Ask::new("Sure?")).await.unwrap_or(false);
            cx.set("answer", &answer)?;
            Ok(Next::done())
        })
        .await;
        let error = fails(&run).await;
        assert_eq!(
            (error.code, &error.data["reason"]),
            (Code::REPLAY_MISMATCH, &json!("suspended_swallowed"))
        );

        let run = start(&engine, |_: Context| async { Err(StepError::Suspended) }).await;
        assert_eq!(fails(&run).await.code, Code::REPLAY_MISMATCH);
    })
    .await;
}

#[tokio::test]
async fn a_state_that_comes_to_other_waits_when_it_runs_again_is_failed() {
    on_each_store(async |engine| {
        let (round, _) = counter();
        let run = start(&engine, move |cx: Context| {
            let round = round();
            async move {
                if round == 1 {
                    let _: bool = cx.ask_human(Ask::new("Sure?")).await?;
                }
                cx.signal::<Value>("go").await?;
                Ok(Next::done())
            }
        })
        .await;
        answer(&run, "Sure?", json!(true)).await;
        let error = fails(&run).await;
        assert_eq!(error.code, Code::REPLAY_MISMATCH);
        assert_eq!(
            error.message,
            "step 'a': wait 1 was for a human when the state ran before, and is for a signal now"
        );
    })
    .await;
}

#[tokio::test]
async fn a_named_question_is_found_wherever_it_stands() {
    on_each_store(async |engine| {
        let (round, _) = counter();
        let run = start(&engine, move |cx: Context| {
            let round = round();
            async move {
                let first = Ask::new("first").named("first");
                let second = Ask::new("second").named("second");
                let (one, two): (u32, u32) = if round == 1 {
                    let (one, two) = tokio::join!(cx.ask_human(first), cx.ask_human(second));
                    (one?, two?)
                } else {
                    let (two, one) = tokio::join!(cx.ask_human(second), cx.ask_human(first));
                    (one?, two?)
                };
                cx.set("told", &[one, two])?;
                Ok(Next::done())
            }
        })
        .await;
        answer(&run, "first", json!(1)).await;
        answer(&run, "second", json!(2)).await;
        assert_eq!(run.wait().await.unwrap().get("told").unwrap(), Some([1, 2]));
    })
    .await;
}

#[tokio::test]
async fn a_state_that_blocks_its_thread_can_wait_too() {
    on_each_store(async |engine| {
        let blocks = |cx: Context| {
            let runtime = tokio::runtime::Handle::current();
            let name: String = runtime.block_on(cx.ask_human(Ask::new("Who?").options(["anna", "bob"])?))?;
            cx.set("name", &name)?;
            Ok(Next::done())
        };
        let agent = Agent::new("blocks").add_state(State::blocking("a", blocks)).build(&engine).unwrap();
        let run = agent.start(()).await.unwrap();
        answer(&run, "Who?", json!("bob")).await;
        assert_eq!(run.wait().await.unwrap().context["name"], "bob");
    })
    .await;
}

#[tokio::test]
async fn what_nobody_could_answer_and_what_may_be_tried_only_once_is_not_waited_for() {
    on_each_store(async |engine| {
        let run = start(&engine, |cx: Context| async move {
            let _: Value = cx.ask_human(Ask::new("?").schema(json!({ "type": "nothing" }))).await?;
            Ok(Next::done())
        })
        .await;
        assert_eq!(fails(&run).await.code, Code::INVALID_PARAMS);

        let state = State::new("a", |cx: Context| async move {
            cx.sleep(Duration::ZERO).await?;
            Ok(Next::done())
        });
        let agent =
            Agent::new("at most once").add_state(state.effect(Effect::AtMostOnce)).build(&engine).unwrap();
        let error = agent.run(()).await.unwrap_err();
        assert!(error.error.message.contains("only once"), "{error}");
        assert_eq!(error.result.unwrap().status, RunStatus::Failed);
    })
    .await;
}
