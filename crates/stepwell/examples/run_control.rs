//! Time limits, how much at once, pause, resume and cancel.
//!
//! `cargo run -p stepwell --example run_control`

use std::error::Error;
use std::time::Duration;

use serde_json::json;
use stepwell::{Agent, Code, Context, END, Engine, Next, Options, Registry, RunStatus, State, StepError};

async fn wait_for_go(cx: Context) -> Result<Next, StepError> {
    let speed: u32 = cx.signal("go").await?;
    cx.set("speed", &speed)?;
    Ok(Next::done())
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    let agent = Agent::new("my_workflow")
        .max_concurrent(5)
        .add_state(State::new("wait_for_go", wait_for_go).next([END]))
        .build(&engine)?;

    let run = agent.start(()).await?;
    run.pause().await?;
    engine.signal(run.id(), "go", json!(3), None).await?;
    assert_eq!(run.status().await?, RunStatus::Paused);
    run.resume().await?;
    assert_eq!(run.wait().await?.get("speed")?, Some(3));

    let cancelled = agent.start(()).await?;
    cancelled.cancel().await?;
    let ended = cancelled.wait().await.expect_err("it was cancelled");
    assert_eq!(ended.error.code, Code::WORKFLOW_CANCELLED);

    let late = agent.run(()).timeout(Duration::from_millis(50)).await.expect_err("nobody says go");
    assert_eq!(late.error.code, Code::WORKFLOW_TIMEOUT);
    assert_eq!(late.result.map(|result| result.status), Some(RunStatus::Failed));
    engine.shutdown().await;
    Ok(())
}
