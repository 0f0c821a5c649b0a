//! A run that outlives the program that began it: nothing is saved by hand, for everything is in the store already.
//!
//! `cargo run -p stepwell --example recovery`

use std::error::Error;

use serde_json::json;
use stepwell::{Agent, Context, Engine, Next, Options, Registry, StepError};

async fn collect(cx: Context) -> Result<Next, StepError> {
    cx.set("rows", &cx.once("download", || async { Ok(1_000) }).await?)?;
    Ok(Next::to("wait"))
}

async fn wait(cx: Context) -> Result<Next, StepError> {
    let sure: bool = cx.signal("go").await?;
    cx.set("sure", &sure)?;
    Ok(Next::done())
}

/// What every start of the program does.
async fn begin(url: &str) -> Result<(Engine, Agent), Box<dyn Error>> {
    let store = stepwell::open_store(url).await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    let agent = Agent::new("nightly").state("collect", collect).state("wait", wait).build(&engine)?;
    Ok((engine, agent))
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let url = format!("sqlite://{}/nightly.db", dir.path().display());

    let (engine, agent) = begin(&url).await?;
    let run = agent.start(()).run_id("night-1").await?;
    run.rest().await?;
    engine.shutdown().await;

    // The next day, another process. It would be the same after `kill -9`.
    let (engine, agent) = begin(&url).await?;
    let run = agent.find("night-1").await?;
    engine.signal(run.id(), "go", json!(true), None).await?;
    let result = run.wait().await?;
    assert_eq!((result.get("rows")?, result.get("sure")?), (Some(1_000), Some(true)));
    assert_eq!(result.completed_states, ["collect", "wait"]);
    engine.shutdown().await;
    Ok(())
}
