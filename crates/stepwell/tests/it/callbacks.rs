//! Functions that a pipeline asks and waits for (F24): in every place where a closure can stand.

use std::time::{Duration, SystemTime};

use serde_json::{Map as Object, Value, json};
use stepwell::{
    Ask, Branch, Callback, Code, Context, Human, Parallel, Pipeline, Refine, RefinementCheck, Repeat, Step,
    StepError,
};

use crate::support::on_each_store;

/// Waits a little, so that nobody mistakes it for a closure.
async fn later<T>(value: T) -> Result<T, StepError> {
    tokio::time::sleep(Duration::from_millis(1)).await;
    Ok(value)
}

fn add(name: &str, n: i64) -> Step {
    Step::cooperative(name, move |_: Context, value: i64| async move { Ok(value + n) })
}

#[tokio::test]
async fn f24_what_is_asked_may_wait() {
    on_each_store(async |engine| {
        let grow = Repeat::until_called(
            "grow",
            add("body", 1),
            Callback::new(|_: Context, (n,): (i64,)| later(n >= 10)),
        )
        .first_input_called(Callback::new(|_: Context, (n,): (i64,)| later(n + 1)))
        .next_input_called(Callback::new(|_: Context, (n, rounds): (i64, u32)| later(n + i64::from(rounds))))
        .output_called(Callback::new(|_: Context, (n,): (i64,)| later(n * 10)));
        let way =
            Branch::on_called("way", Callback::new(|_: Context, (n,): (i64,)| later((n % 7).to_string())))
                .case("0", add("never", 0))
                .otherwise(add("other", 1))
                .input_called(Callback::new(|_: Context, (n, key): (i64, String)| {
                    later(n + key.parse::<i64>().unwrap())
                }))
                .output_called(Callback::new(|_: Context, (n, key): (i64, String)| later(json!([n, key]))));
        let both = Parallel::new("both")
            .branch("x", Step::new("first", |_: Context, pair: Value| async move { Ok(pair[0].clone()) }))
            .branch("y", Step::new("second", |_: Context, pair: Value| async move { Ok(pair[1].clone()) }))
            .reduce_called(Callback::new(|_: Context, (outs,): (Value,)| later(outs["x"].clone())));
        let critic = Step::new("judge", |_: Context, n: i64| async move {
            Ok(if n > 200 { RefinementCheck::complete() } else { RefinementCheck::again(100) })
        });
        let refine = Refine::new("refine", add("draft", 0), critic).next_input_called(Callback::new(
            |_: Context, (n, _, check): (i64, i64, RefinementCheck)| {
                later(n + check.feedback.as_i64().unwrap())
            },
        ));
        let pipeline =
            Pipeline::new("all").then(grow).then(way).then(both).then(refine).build(&engine).unwrap();
        // 2 -> 3, 4 -> 5, 7 -> 8, 11 -> 12, and so 120; 120 % 7 is 1: 121 -> 122; 122 + 100.
        assert_eq!(pipeline.run(1).await.unwrap().output::<i64>().unwrap(), 222);
    })
    .await;
}

#[tokio::test]
async fn f24_what_fails_while_it_is_asked_fails_the_step() {
    on_each_store(async |engine| {
        let fails =
            Callback::new(|_: Context, (_,): (Value,)| async { Err::<bool, _>(StepError::new("no answer")) });
        let pipeline =
            Pipeline::new("p").then(Repeat::until_called("loop", add("a", 1), fails)).build(&engine).unwrap();
        let failed = pipeline.run(1).await.unwrap_err();
        assert_eq!(failed.error.message, "step 'loop/check': no answer");

        let no_truth = Callback::new(|_: Context, (_,): (Value,)| later("yes"));
        let pipeline = Pipeline::new("q")
            .then(Repeat::until_called("loop", add("a", 1), no_truth))
            .build(&engine)
            .unwrap();
        let failed = pipeline.run(1).await.unwrap_err();
        assert!(failed.error.message.contains("what it decided cannot be read as bool"), "{failed}");
    })
    .await;
}

#[tokio::test]
async fn a_run_begins_with_the_context_that_it_is_given() {
    on_each_store(async |engine| {
        let read = Step::new("read", |cx: Context, _: Value| async move { cx.get::<i64>("n") });
        let pipeline = Pipeline::new("p").then(read).build(&engine).unwrap();
        let given = |n: i64| Object::from_iter([("n".to_owned(), n.into())]);
        let result = pipeline.run(()).run_id("r").context(given(7)).await.unwrap();
        assert_eq!(result.output, 7);
        let other = pipeline.run(()).run_id("r").context(given(8)).await.unwrap_err();
        assert_eq!(other.error.code, Code::RUN_EXISTS);
        let reserved = Object::from_iter([("$pipeline/x".to_owned(), Value::Null)]);
        let refused = pipeline.run(()).context(reserved).await.unwrap_err();
        assert_eq!(refused.error.code, Code::INVALID_PARAMS);
    })
    .await;
}

#[tokio::test]
async fn a_question_may_be_open_until_a_moment() {
    on_each_store(async |engine| {
        let moment = SystemTime::now() + Duration::from_millis(20);
        let ask = Ask::new("Sure?").until(moment).default_answer(&"late").unwrap();
        let pipeline = Pipeline::new("p").then(Human::ask("ask", ask)).build(&engine).unwrap();
        assert_eq!(pipeline.run(()).await.unwrap().output, "late");
    })
    .await;
}

#[tokio::test]
async fn f18_a_run_of_another_version_is_left_alone() {
    on_each_store(async |engine| {
        let question = || Human::ask("ask", Ask::new("?"));
        let begun =
            Pipeline::new("p").then(question()).then(add("a", 1)).prepare().unwrap().register(&engine);
        let run = begun.start(()).await.unwrap();
        run.rest().await.unwrap();
        let changed =
            Pipeline::new("p").then(question()).then(add("a", 1)).then(add("b", 10)).build(&engine).unwrap();
        let other = changed.start(()).await.unwrap();
        other.rest().await.unwrap();
        // Both are carried out here, each by its own functions.
        for (run, output) in [(&run, 2), (&other, 12)] {
            run.answer(&run.questions().await.unwrap()[0].wait, 1).await.unwrap();
            assert_eq!(run.wait().await.unwrap().output, output);
        }
    })
    .await;
}
