//! Forms of answers from Rust types.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepwell::core::error::Code;
use stepwell::{Agent, Ask, Context, Next};

use crate::support::{on_each_store, questions};

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Publish,
    Revise { what: String },
}

/// Some of a text, with what is said of the parts of it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Remark {
    line: u32,
    #[serde(default)]
    stars: Option<f64>,
    verdict: Verdict,
    /// A type within itself needs a reference.
    #[serde(default)]
    replies: Vec<Remark>,
}

#[tokio::test]
async fn an_answer_of_another_shape_than_its_type_is_refused_before_it_is_taken() {
    on_each_store(async |engine| {
        let state = |cx: Context| async move {
            let remark: Remark = cx.ask_human(Ask::new("What of it?").schema_of::<Remark>()).await?;
            cx.set("remark", &remark)?;
            Ok(Next::done())
        };
        let run = Agent::new("forms").state("a", state).build(&engine).unwrap().start(()).await.unwrap();
        let (_, wait) = questions(&run).await.remove(0);
        let with = |replies: Value| json!({ "line": 1, "verdict": "publish", "replies": replies });
        let wrong = [
            json!("good"),
            json!({ "line": -1, "verdict": "publish" }),
            json!({ "line": 1, "verdict": "burn" }),
            json!({ "line": 1, "verdict": { "revise": {} } }),
            json!({ "line": 1, "verdict": "publish", "stars": "five" }),
            json!({ "line": 1, "verdict": "publish", "more": 1 }),
            with(json!([with(json!([{ "line": 1.5, "verdict": "publish" }]))])),
        ];
        for answer in wrong {
            let refused = run.answer(&wait, &answer).await.unwrap_err();
            assert_eq!(refused.code, Code::ANSWER_INVALID, "{answer}");
        }
        let revised = json!({ "line": 2, "verdict": { "revise": { "what": "all" } }, "stars": 4 });
        run.answer(&wait, with(json!([revised]))).await.unwrap();
        assert_eq!(run.wait().await.unwrap().context["remark"]["replies"][0]["line"], 2);
    })
    .await;
}
