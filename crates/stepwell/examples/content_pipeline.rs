//! Content is written, checked and illustrated side by side, written again if it is too thin, and published once.
//!
//! `cargo run -p stepwell --example content_pipeline`

use std::error::Error;

use serde::{Deserialize, Serialize};
use stepwell::{Agent, Context, END, Engine, Next, Options, Registry, State, StepError, Typed};

#[derive(Serialize, Deserialize)]
struct Article {
    title: String,
    content: String,
    keywords: Vec<String>,
}

impl Typed for Article {
    const NAME: &'static str = "Article";
}

async fn generate_content(cx: Context) -> Result<Next, StepError> {
    let article = Article {
        title: "Wells".into(),
        content: "Generated content…".into(),
        keywords: vec!["water".into(), "stone".into()],
    };
    cx.set_typed("article", &article)?;
    Ok(Next::all(["check_quality", "generate_images"]))
}

async fn check_quality(cx: Context) -> Result<Next, StepError> {
    let article: Article = cx.typed("article")?.ok_or_else(|| StepError::never_again("no article"))?;
    Ok(Next::to(if article.content.len() < 60 { "regenerate_content" } else { "await_completion" }))
}

async fn regenerate_content(cx: Context) -> Result<Next, StepError> {
    cx.update_typed("article", |article: &mut Article| article.content += " And some more.")?;
    Ok(Next::to("check_quality"))
}

async fn generate_images(cx: Context) -> Result<Next, StepError> {
    cx.set("images", &["well.png"])?;
    Ok(Next::to("await_completion"))
}

async fn await_completion(cx: Context) -> Result<Next, StepError> {
    // Once, after the last check and the images.
    assert_eq!(cx.ordinal(), 1);
    Ok(Next::done())
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;

    let agent = Agent::new("content_generator")
        .add_state(
            State::new("generate_content", generate_content).next(["check_quality", "generate_images"]),
        )
        .add_state(
            State::new("check_quality", check_quality).next(["regenerate_content", "await_completion"]),
        )
        .add_state(State::new("regenerate_content", regenerate_content).next(["check_quality"]))
        .add_state(State::new("generate_images", generate_images).next(["await_completion"]))
        .add_state(State::new("await_completion", await_completion).next([END]))
        .build(&engine)?;
    let result = agent.run(()).await?;

    let article: Article = result.typed("article")?.ok_or("no article")?;
    assert_eq!(article.content, "Generated content… And some more. And some more. And some more.");
    assert_eq!((article.title.as_str(), article.keywords.len()), ("Wells", 2));
    engine.shutdown().await;
    Ok(())
}
