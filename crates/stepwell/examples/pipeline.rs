//! A newsletter: articles are read and summed up side by side, facts are looked up while the text is polished by a critic, and an
//! editor has the last word.
//!
//! `cargo run -p stepwell --example pipeline`

use std::error::Error;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepwell::{
    Ask, Branch, BranchFailure, Context, Engine, Human, Map, Options, Parallel, Pipeline, Refine,
    RefinementCheck, Registry, Retry, Step, StepError,
};

#[derive(Serialize, Deserialize)]
struct Request {
    topic: String,
    articles: Vec<String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Letter {
    topic: String,
    summaries: Vec<String>,
    text: String,
}

async fn plan(cx: Context, request: Request) -> Result<Vec<String>, StepError> {
    cx.set("topic", &request.topic)?;
    Ok(request.articles)
}

/// Fails now and then, as services do.
async fn read(cx: Context, article: String) -> Result<String, StepError> {
    if article == "rust" && cx.attempt() == 1 {
        return Err(StepError::new("the archive is busy"));
    }
    Ok(format!("All about {article}. And more."))
}

async fn sum_up(_: Context, text: String) -> Result<String, StepError> {
    Ok(text.split_inclusive('.').next().unwrap_or_default().to_owned())
}

async fn count_words(_: Context, summaries: Vec<String>) -> Result<usize, StepError> {
    Ok(summaries.iter().map(|summary| summary.split_whitespace().count()).sum())
}

async fn look_up_weather(_: Context, _: Value) -> Result<String, StepError> {
    Err(StepError::never_again("there is no weather here"))
}

async fn put_together(cx: Context, found: Value) -> Result<Letter, StepError> {
    // What failed is null, and nobody minds.
    assert_eq!(found["weather"], Value::Null);
    let summaries = serde_json::from_value(found["summaries"].clone())?;
    Ok(Letter { topic: cx.get("topic")?.unwrap_or_default(), summaries, text: String::new() })
}

async fn write(_: Context, mut letter: Letter) -> Result<Letter, StepError> {
    letter.text = format!("{}{}: {}", letter.text, letter.topic, letter.summaries.join(" "));
    Ok(letter)
}

async fn criticize(_: Context, letter: Letter) -> Result<RefinementCheck, StepError> {
    let is_kind = letter.text.starts_with("Dear reader");
    Ok(if is_kind { RefinementCheck::complete() } else { RefinementCheck::again("Dear reader, on ") })
}

async fn send(cx: Context, _: String) -> Result<&'static str, StepError> {
    // The key is the same for every attempt, so that nobody gets the letter twice.
    assert!(!cx.idempotency_key().is_empty());
    Ok("sent")
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;

    let soon = Retry::times(2).initial(Duration::from_millis(5));
    let article = Pipeline::new("article").then(Step::new("read", read).retry(soon)).step("sum_up", sum_up);
    let facts = Parallel::new("facts")
        .branch("summaries", Step::new("keep", |_, summaries: Vec<String>| async move { Ok(summaries) }))
        .branch("words", Step::new("count", count_words).sink_to("words"))
        .branch("weather", Step::new("look_up", look_up_weather))
        .on_branch_failure(BranchFailure::Ignore);
    let letter = Refine::new("letter", Step::new("write", write), Step::new("criticize", criticize))
        .next_input(
            // The next draft begins as the critic wants it to.
            |letter: &Letter, _: &Letter, check| {
                Ok(Letter { text: check.feedback.as_str().unwrap_or_default().to_owned(), ..letter.clone() })
            },
        );
    let approve = Human::ask_about("approve", |letter: &Letter, _| {
        let ask = Ask::new(format!("Send this? {}", letter.text)).assignee("editor");
        ask.options(["yes", "no"])
    });
    let newsletter = Pipeline::new("newsletter")
        .step("plan", plan)
        .then(Map::each("articles", article))
        .then(facts)
        .step("put_together", put_together)
        .then(letter)
        .then(approve)
        .then(
            Branch::on("decide", |answer: &String, _| Ok(answer.clone()))
                .case("yes", Step::new("send", send))
                .case("no", Step::new("archive", |_, _: String| async { Ok("kept") })),
        )
        .build(&engine)?;

    let request = Request { topic: "wells".into(), articles: vec!["rust".into(), "stone".into()] };
    let run = newsletter.start(&request).run_id("newsletter-1").await?;
    run.rest().await?; // until it waits for the editor, perhaps for days and in another process
    let asked = run.questions().await?.remove(0);
    assert_eq!(asked.question.prompt, "Send this? Dear reader, on wells: All about rust. All about stone.");
    run.answer(&asked.wait, "yes").await?;

    let result = run.wait().await?;
    assert_eq!(result.output::<String>()?, "sent");
    assert_eq!(Value::Object(result.context), json!({ "topic": "wells", "words": 6 }));
    assert_eq!(result.failed_states, ["facts/weather/look_up"]);
    engine.shutdown().await;
    Ok(())
}
