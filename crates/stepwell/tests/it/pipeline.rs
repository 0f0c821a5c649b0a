//! Pipelines, part by part: what comes out, what ran, and what a restart leaves alone. Tests bear the number of what they prove in
//! the list of what pipelines promise (F13, F17, F24).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepwell::{Context, Engine, Pipeline, Retry, Step, StepError};

use crate::support::{on_each_store, open, told};

async fn add_one(_: Context, n: i64) -> Result<i64, StepError> {
    Ok(n + 1)
}

async fn double(_: Context, n: i64) -> Result<i64, StepError> {
    Ok(n * 2)
}

/// Counts calls.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicU32>);

impl Calls {
    fn add(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Deserialize, Serialize, PartialEq)]
struct Draft {
    title: String,
    words: u32,
}

#[tokio::test]
async fn f24_each_step_is_given_what_the_one_before_returned() {
    on_each_store(async |engine| {
        let chain = Pipeline::new("chain")
            .step("add", add_one)
            .step("double", double)
            .step("draft", |_, n: i64| async move { Ok(Draft { title: format!("{n} wells"), words: 2 }) })
            .build(&engine)
            .unwrap();
        let result = chain.run(4).run_id("chain-1").await.unwrap();
        assert_eq!(result.output::<Draft>().unwrap(), Draft { title: "10 wells".into(), words: 2 });
        assert_eq!(told(&engine, &result).await, "add 1 double 1 draft 1");
        assert_eq!(result.completed_states, ["add", "double", "draft"]);
        assert_eq!(result.context, serde_json::Map::new());
        // The same again is the same run.
        assert_eq!(chain.run(4).run_id("chain-1").await.unwrap(), result);
        assert_eq!(chain.find("chain-1").await.unwrap().id(), &result.run_id);
    })
    .await;
}

#[tokio::test]
async fn any_json_comes_in_and_out_unchanged() {
    on_each_store(async |engine| {
        let same = |_: Context, value: Value| async move { Ok(value) };
        let twice = Pipeline::new("same").step("a", same).step("b", same).build(&engine).unwrap();
        for value in
            [json!(null), json!("é"), json!([1, [2]]), json!({ "result": 5, "status": "x" }), json!({})]
        {
            let result = twice.run(&value).await.unwrap();
            assert_eq!(result.output, value);
        }
    })
    .await;
}

#[tokio::test]
async fn outputs_are_kept_in_the_context_where_steps_say_so() {
    on_each_store(async |engine| {
        let pipeline = Pipeline::new("sinks")
            .then(
                Step::new("load", |_, ()| async { Ok(json!({ "rows": [1], "name": "x" })) })
                    .updates_context(),
            )
            .then(Step::new("title", |_, _: Value| async { Ok("On wells") }).sink_to("report.head.title"))
            .then(Step::new("note", |_, _: Value| async { Ok("deep") }).sink_to("report.note"))
            .build(&engine)
            .unwrap();
        let result = pipeline.run(()).await.unwrap();
        let report = json!({ "head": { "title": "On wells" }, "note": "deep" });
        assert_eq!(Value::Object(result.context), json!({ "rows": [1], "name": "x", "report": report }));
        assert_eq!(result.output, json!("deep"));
    })
    .await;
}

#[tokio::test]
async fn an_output_that_fits_no_sink_fails_the_step_and_says_so() {
    let engine = open(&stepwell::open_store("memory:").await.unwrap()).await;
    let number = |_: Context, (): ()| async { Ok(5) };
    let updates = Pipeline::new("a").then(Step::new("n", number).updates_context()).build(&engine).unwrap();
    let failed = updates.run(()).await.unwrap_err();
    assert_eq!(failed.to_string(), "step 'n': it updates the context, but returned no object");
    let text = Step::new("text", |_, ()| async { Ok("t") }).sink_to("report");
    let within = Step::new("within", |_, _: String| async { Ok(1) }).sink_to("report.n");
    let failed =
        Pipeline::new("b").then(text).then(within).build(&engine).unwrap().run(()).await.unwrap_err();
    assert_eq!(
        failed.to_string(),
        "step 'within': its output cannot be kept at 'report.n': what is around 'n' there is no object"
    );
    let wrong = Pipeline::new("c").step("add", add_one).build(&engine).unwrap();
    let failed = wrong.run("four").await.unwrap_err();
    assert!(failed.to_string().starts_with("step 'add': the input cannot be read as i64"), "{failed}");
}

#[tokio::test]
async fn f24_a_step_is_tried_again_timed_and_replaced_by_its_fallback() {
    on_each_store(async |engine| {
        let calls = Calls::default();
        let counted = calls.clone();
        let shaky = move |_: Context, n: i64| {
            let call = counted.add();
            async move { if call < 3 { Err(StepError::new("not yet")) } else { Ok(n) } }
        };
        let soon = Retry::times(2).initial(Duration::from_millis(1)).jitter(false);
        let slow = |_: Context, _: i64| std::future::pending::<Result<i64, StepError>>();
        let stands_in = |cx: Context, n: i64| async move {
            let failed = cx.failure().expect("it stands in for a failure");
            Ok(json!([n, failed.error.code.name()]))
        };
        let pipeline = Pipeline::new("shaky")
            .then(Step::new("shaky", shaky).retry(soon))
            .then(Step::new("slow", slow).timeout(Duration::from_millis(5)).fallback(stands_in))
            .build(&engine)
            .unwrap();
        let result = pipeline.run(7).await.unwrap();
        assert_eq!(result.output, json!([7, "TASK_TIMEOUT"]));
        assert_eq!(calls.count(), 3);
        assert_eq!(told(&engine, &result).await, "shaky 1 slow 1 slow/fallback 1 slow/output 1");
        assert_eq!(result.failed_states, ["slow"]);
    })
    .await;
}

#[tokio::test]
async fn f24_a_cached_step_is_called_once_for_an_input() {
    on_each_store(async |engine| {
        let calls = Calls::default();
        let counted = calls.clone();
        let look_up = move |_: Context, key: Value| {
            let call = counted.add();
            async move { if key == json!("bad") { Err(StepError::never_again("bad")) } else { Ok(call) } }
        };
        let cached =
            Pipeline::new("cached").then(Step::new("look_up", look_up).cached()).build(&engine).unwrap();
        for (key, expected, is_known) in [
            (json!({ "a": 1, "b": 2 }), 1, None),
            (json!("other"), 2, None),
            (json!({ "b": 2, "a": 1 }), 1, Some(&json!(true))),
        ] {
            let result = cached.run(key).await.unwrap();
            assert_eq!(result.output::<u32>().unwrap(), expected);
            let run = engine.inspect(&result.run_id).await.unwrap();
            assert_eq!(run.views()["look_up"].get("cached"), is_known);
        }
        for _ in 0..2 {
            cached.run("bad").await.unwrap_err();
        }
        assert_eq!(calls.count(), 4, "failures are not kept");
    })
    .await;
}

#[tokio::test]
async fn a_failed_step_fails_the_run_and_a_retry_takes_the_new_input() {
    on_each_store(async |engine: Engine| {
        let steps = Calls::default();
        let counted = steps.clone();
        let parse = move |_: Context, text: String| {
            counted.add();
            async move { Ok(text.parse::<i64>()?) }
        };
        let pipeline =
            Pipeline::new("parse").step("parse", parse).step("add", add_one).build(&engine).unwrap();
        let failed = pipeline.run("seven").run_id("p").await.unwrap_err();
        assert_eq!(failed.to_string(), "step 'parse': invalid digit found in string");
        let run = pipeline.find("p").await.unwrap();
        engine.retry(run.id(), Some(json!("7")), None).await.unwrap();
        assert_eq!(run.wait().await.unwrap().output, json!(8));
        assert_eq!(steps.count(), 2);
    })
    .await;
}
