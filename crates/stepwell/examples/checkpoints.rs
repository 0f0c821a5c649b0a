//! How a run stands, saved as a file, and another run that goes on from it under another name.
//!
//! `cargo run -p stepwell --example checkpoints`

use std::error::Error;
use std::time::Duration;

use serde_json::json;
use stepwell::{
    Agent, AgentBuilder, AgentStatus, Checkpoint, Context, Engine, Next, Options, Registry, RunStatus,
    StepError,
};

async fn collect(cx: Context) -> Result<Next, StepError> {
    cx.set("rows", &cx.once("download", || async { Ok(1_000) }).await?)?;
    Ok(Next::to("wait"))
}

async fn wait(cx: Context) -> Result<Next, StepError> {
    let sure: bool = cx.signal("go").await?;
    cx.set("sure", &sure)?;
    Ok(Next::done())
}

fn workflow(name: &str) -> AgentBuilder {
    // Marks a checkpoint every five minutes while a run runs.
    Agent::new(name).checkpoint_interval(Duration::from_mins(5)).state("collect", collect).state("wait", wait)
}

async fn engine() -> Result<Engine, Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    Ok(Engine::open(store, Registry::default(), Options::default()).await?)
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("workflow_state.json");

    let first = engine().await?;
    let run = workflow("my_workflow").build(&first)?.start(()).await?;
    run.rest().await?;
    let checkpoint = run.pause().await?; // or run.checkpoint(), which changes nothing
    checkpoint.save(&path)?;
    assert_eq!(checkpoint.agent_status, AgentStatus::Paused);
    first.shutdown().await;

    // Nothing of the run is in this store: the file has all of it.
    let second = engine().await?;
    let agent = workflow("restored_workflow").build(&second)?;
    let checkpoint = Checkpoint::load(&path)?;
    assert_eq!(checkpoint.agent_name, "my_workflow");
    assert_eq!(checkpoint.completed_states[0].as_str(), "collect");
    assert_eq!(checkpoint.shared_state["rows"], 1_000);

    let run = agent.restore(&checkpoint).await?;
    assert_eq!(run.status().await?, RunStatus::Paused);
    run.resume().await?;
    second.signal(run.id(), "go", json!(true), None).await?;
    let result = run.wait().await?;
    assert_eq!((result.get("rows")?, result.get("sure")?), (Some(1_000), Some(true)));
    assert_eq!(run.latest_checkpoint().await?.map(|end| end.agent_status), Some(AgentStatus::Completed));
    second.shutdown().await;
    Ok(())
}
