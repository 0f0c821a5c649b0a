//! A sequence, a fork, and a merge that waits for both branches.
//!
//! `cargo run -p stepwell --example flow_control`

use std::error::Error;
use std::time::Duration;

use stepwell::{Agent, Context, END, Engine, Next, Options, Registry, State, StepError};

async fn collect(cx: Context) -> Result<Next, StepError> {
    cx.set("files", &["well.png", "well.txt"])?;
    Ok(Next::all(["process_images", "process_text"]))
}

async fn process_images(cx: Context) -> Result<Next, StepError> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    cx.set("images", &1)?;
    Ok(Next::to("merge_results"))
}

async fn process_text(cx: Context) -> Result<Next, StepError> {
    cx.set("words", &120)?;
    Ok(Next::to("merge_results"))
}

async fn merge_results(cx: Context) -> Result<Next, StepError> {
    // Both have ended, whoever was faster.
    let (images, words) = (cx.get::<u32>("images")?, cx.get::<u32>("words")?);
    cx.set("summary", &format!("{} image, {} words", images.unwrap_or(0), words.unwrap_or(0)))?;
    Ok(Next::done())
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;

    // What is declared is held to, and shows who can still come to a merge.
    let agent = Agent::new("media")
        .add_state(State::new("collect", collect).next(["process_images", "process_text"]))
        .add_state(State::new("process_images", process_images).next(["merge_results"]))
        .add_state(State::new("process_text", process_text).next(["merge_results"]))
        .add_state(State::new("merge_results", merge_results).next([END]))
        .build(&engine)?;
    assert!(agent.lint().is_empty());

    let result = agent.run(()).await?;
    assert_eq!(result.get::<String>("summary")?.as_deref(), Some("1 image, 120 words"));
    engine.shutdown().await;
    Ok(())
}
