//! Answers that are checked by code (A38).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use stepwell::core::run::event::Event;
use stepwell::{Agent, Ask, Asked, Context, Engine, Next, Retry, Run, State, StepError};

use crate::support::{answer, on_each_store, open, questions, simulated};

/// Asks for a text of eleven letters or more, counts how often it is checked, and then asks for nothing but a yes.
fn review(engine: &Engine, checks: &Arc<AtomicU32>) -> Agent {
    let checks = checks.clone();
    let state = move |cx: Context| {
        let checks = checks.clone();
        async move {
            let ask =
                Ask::new("What of it?").deadline(Duration::from_hours(1)).check(move |text: &String| {
                    checks.fetch_add(1, Ordering::SeqCst);
                    if text.len() > 10 { Ok(()) } else { Err(format!("'{text}' is too short")) }
                });
            let text: String = cx.ask_human(ask).await?;
            let _: bool = cx.ask_human(Ask::new("Sure?")).await?;
            cx.set("text", &text)?;
            Ok(Next::done())
        }
    };
    Agent::new("review").state("review", state).build(engine).unwrap()
}

async fn only_question(run: &Run) -> Asked {
    run.rest().await.unwrap();
    let mut asked = run.questions().await.unwrap();
    assert_eq!(asked.len(), 1, "{asked:?}");
    asked.remove(0)
}

/// What was said about the answer before, and how often the question was asked.
fn said(asked: &Asked) -> (&str, u32) {
    let rejected = asked.question.rejected.as_ref();
    (rejected.map_or("", |rejected| rejected.message.as_str()), asked.question.tries())
}

#[tokio::test]
async fn a38_an_answer_that_its_check_rejects_is_asked_for_again_and_each_is_checked_once() {
    on_each_store(async |engine| {
        let checks = Arc::new(AtomicU32::new(0));
        let run = review(&engine, &checks).start(()).await.unwrap();
        let first = only_question(&run).await;
        assert_eq!(said(&first), ("", 1));
        run.answer(&first.wait, "short").await.unwrap();

        let second = only_question(&run).await;
        assert_ne!(second.wait, first.wait);
        assert_eq!(second.deadline, first.deadline);
        assert_eq!(said(&second), ("'short' is too short", 2));
        assert_eq!(*second.question.rejected.as_ref().unwrap().answer, json!("short"));
        assert!(run.answer(&first.wait, "I approve of it").await.is_err(), "the first is closed");
        run.answer(&second.wait, "no").await.unwrap();
        let third = only_question(&run).await;
        assert_eq!(said(&third), ("'no' is too short", 3));
        run.answer(&third.wait, "I approve of it").await.unwrap();

        answer(&run, "Sure?", json!(true)).await;
        assert_eq!(run.wait().await.unwrap().context["text"], "I approve of it");
        assert_eq!(checks.load(Ordering::SeqCst), 3);
        let journal = engine.store().events(run.id(), stepwell::core::ids::Seq(0), 1_000).await.unwrap();
        let verdicts = journal.into_iter().filter_map(|known| match known.event {
            Event::MemoRecorded { value, .. } => Some((*value).clone()),
            _ => None,
        });
        let expected = [json!("'short' is too short"), json!("'no' is too short"), Value::Null];
        assert_eq!(verdicts.collect::<Vec<_>>(), expected);
    })
    .await;
}

#[tokio::test]
async fn a38_a_verdict_is_the_same_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        async || stepwell::open_store(&format!("sqlite://{}/s.db", dir.path().display())).await.unwrap();
    let checks = Arc::new(AtomicU32::new(0));
    let before = open(&store().await).await;
    let run = review(&before, &checks).start(()).run_id("r").await.unwrap();
    run.answer(&only_question(&run).await.wait, "short").await.unwrap();
    let again = only_question(&run).await;
    before.shutdown().await;

    let after = open(&store().await).await;
    let run = review(&after, &checks).find("r").await.unwrap();
    assert_eq!(only_question(&run).await, again);
    run.answer(&again.wait, "I approve of it").await.unwrap();
    answer(&run, "Sure?", json!(true)).await;
    run.wait().await.unwrap();
    assert_eq!(checks.load(Ordering::SeqCst), 2);
    after.shutdown().await;
}

#[tokio::test]
async fn a_check_that_panics_and_an_answer_of_another_type_are_rejections_too() {
    on_each_store(async |engine| {
        let state = |cx: Context| async move {
            let ask = Ask::new("Half of what?").check(|n: &u32| {
                assert!(n.is_multiple_of(2), "{n} is odd");
                Ok(())
            });
            cx.set("half", &(cx.ask_human::<u32>(ask).await? / 2))?;
            Ok(Next::done())
        };
        let run = Agent::new("half").state("a", state).build(&engine).unwrap().start(()).await.unwrap();
        run.answer(&only_question(&run).await.wait, "a lot").await.unwrap();
        let again = only_question(&run).await;
        let message = "the answer cannot be read as u32: invalid type: string \"a lot\", expected u32";
        assert_eq!(said(&again), (message, 2));
        run.answer(&again.wait, 3).await.unwrap();
        let again = only_question(&run).await;
        assert_eq!(said(&again), ("its check panicked: 3 is odd", 3));
        run.answer(&again.wait, 4).await.unwrap();
        assert_eq!(run.wait().await.unwrap().get("half").unwrap(), Some(2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a38_what_is_asked_again_is_open_until_the_same_time() {
    let engine = simulated().await;
    let state = |cx: Context| async move {
        let ask = Ask::new("Good?").deadline(Duration::from_mins(5)).default_answer(&"default")?;
        let answer: String = cx.ask_human(ask.check(|_: &String| Err("never".into()))).await?;
        cx.set("answer", &answer)?;
        Ok(Next::done())
    };
    let began = tokio::time::Instant::now();
    let run = Agent::new("late").state("a", state).build(&engine).unwrap().start(()).await.unwrap();
    let first = only_question(&run).await;
    tokio::time::sleep(Duration::from_mins(4)).await;
    run.answer(&first.wait, "bad").await.unwrap();
    assert_eq!(only_question(&run).await.deadline, first.deadline);
    assert_eq!(run.wait().await.unwrap().context["answer"], "default");
    let took = began.elapsed().as_secs();
    assert!((300..305).contains(&took), "{took}");
}

#[tokio::test]
async fn a_question_asked_again_leaves_others_beside_it_open() {
    on_each_store(async |engine| {
        let state = |cx: Context| async move {
            let even = |prompt| {
                let ask = Ask::new(prompt);
                cx.ask_human::<u32>(
                    ask.check(|n: &u32| if n.is_multiple_of(2) { Ok(()) } else { Err("odd".into()) }),
                )
            };
            let both = tokio::try_join!(even("a"), even("b"))?;
            cx.set("both", &both)?;
            Ok(Next::done())
        };
        let run = Agent::new("both").state("a", state).build(&engine).unwrap().start(()).await.unwrap();
        assert_eq!(questions(&run).await.len(), 2);
        answer(&run, "b", json!(3)).await;
        let open = questions(&run).await;
        assert_eq!(open.iter().map(|(prompt, _)| prompt.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        answer(&run, "b", json!(4)).await;
        answer(&run, "a", json!(1)).await;
        answer(&run, "a", json!(2)).await;
        assert_eq!(run.wait().await.unwrap().context["both"], json!([2, 4]));
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_was_taken_is_not_checked_again_by_another_attempt() {
    on_each_store(async |engine| {
        let checks = Arc::new(AtomicU32::new(0));
        let counted = checks.clone();
        let state = State::new("a", move |cx: Context| {
            let checks = counted.clone();
            async move {
                let ask = Ask::new("Good?").check(move |_: &bool| {
                    checks.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                });
                let _: bool = cx.ask_human(ask).await?;
                if cx.attempt() == 1 { Err(StepError::new("not yet")) } else { Ok(Next::done()) }
            }
        });
        let state = state.retry(Retry::times(1).initial(Duration::from_millis(1)));
        let run = Agent::new("twice").add_state(state).build(&engine).unwrap().start(()).await.unwrap();
        answer(&run, "Good?", json!(true)).await;
        run.wait().await.unwrap();
        assert_eq!(checks.load(Ordering::SeqCst), 1);

        let taken = |cx: Context| async move {
            cx.once("$mine", || async { Ok(1) }).await?;
            Ok(Next::done())
        };
        let agent = Agent::new("name").state("a", taken).build(&engine).unwrap();
        assert!(agent.run(()).await.unwrap_err().error.message.contains("'$mine'"));
    })
    .await;
}
