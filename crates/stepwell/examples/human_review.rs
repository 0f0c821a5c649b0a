//! A person decides in the middle of a function. It holds nothing while it waits, and survives every restart.
//!
//! `cargo run -p stepwell --example human_review`

use std::error::Error;
use std::time::Duration;

use serde_json::json;
use stepwell::{Agent, Ask, Client, Context, Engine, Next, Options, Page, Registry, StepError, WaitFilter};

async fn review_content(cx: Context) -> Result<Next, StepError> {
    // The function runs again from its start after the answer; what is done once is not done again.
    let draft = cx.once("print", || async { Ok("draft 1 on the desk".to_owned()) }).await?;
    let ask = Ask::new(format!("Review this content: {draft}"))
        .schema(json!({ "type": "string" }))
        .check(|feedback: &String| if feedback.len() > 10 { Ok(()) } else { Err("say a little more".into()) })
        .deadline(Duration::from_mins(5));
    let feedback: String = cx.ask_human(ask).await?;
    Ok(Next::to(if feedback.to_lowercase().contains("approve") { "publish" } else { "revise" }))
}

async fn publish(cx: Context) -> Result<Next, StepError> {
    cx.set("published", &true)?;
    Ok(Next::done())
}

async fn revise(_: Context) -> Result<Next, StepError> {
    Ok(Next::to("review_content"))
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;

    let agent = Agent::new("review")
        .state("review_content", review_content)
        .state("publish", publish)
        .state("revise", revise)
        .build(&engine)?;
    let run = agent.start(()).await?;

    // What a page or a chat would do, in a process of its own: look what is asked, and answer.
    let client = Client::over(engine.store().clone()).await?;
    let answers = [
        ("too short", None),
        ("not quite there yet", Some("say a little more")),
        ("I approve of this", None),
    ];
    for (answer, wrong_before) in answers {
        run.rest().await?;
        let asked = client.inbox(&WaitFilter::default(), &Page::first(1)).await?.items.remove(0);
        assert!(asked.question.prompt.ends_with("draft 1 on the desk"));
        assert_eq!(asked.question.rejected.map(|rejected| rejected.message).as_deref(), wrong_before);
        client.answer(&asked.wait, answer, Some("anna")).await?;
    }

    let result = run.wait().await?;
    assert_eq!(result.completed_states, ["review_content", "publish", "revise"]);
    client.close().await?;
    engine.shutdown().await;
    Ok(())
}
