//! Routes that depend on the data, states that are made of data, and cleaning up after a failure.
//!
//! `cargo run -p stepwell --example patterns`

use std::error::Error;

use serde_json::json;
use stepwell::{Agent, Context, END, Engine, Next, Options, Registry, State, StepError};

async fn ends(_: Context) -> Result<Next, StepError> {
    Ok(Next::done())
}

async fn route_processing(cx: Context) -> Result<Next, StepError> {
    let data: Vec<u32> = cx.get("data")?.unwrap_or_default();
    Ok(match data.len() {
        0..=100 => Next::to("simple_process"),
        101..=1_000 => Next::to("sequential_process"),
        _ => Next::all(["process_chunk_1", "process_chunk_2"]),
    })
}

async fn conditional(engine: &Engine) -> Result<(), Box<dyn Error>> {
    let agent = Agent::new("conditional")
        .state("route_processing", route_processing)
        .state("simple_process", ends)
        .state("sequential_process", ends)
        .state("process_chunk_1", ends)
        .state("process_chunk_2", ends)
        .build(engine)?;
    let result = agent.run(json!({ "data": vec![1; 5_000] })).await?;
    assert_eq!(result.completed_states, ["route_processing", "process_chunk_1", "process_chunk_2"]);
    Ok(())
}

/// One state per chunk; nobody names them, so all begin with the run.
async fn generated(engine: &Engine) -> Result<(), Box<dyn Error>> {
    let chunks = [vec![1, 2], vec![3, 4], vec![5]];
    let mut agent = Agent::new("generated");
    for (id, chunk) in chunks.into_iter().enumerate() {
        let process = move |cx: Context| {
            let sum: u32 = chunk.iter().sum();
            async move {
                cx.set(&format!("result_{id}"), &sum)?;
                Ok(Next::to("merge_results"))
            }
        };
        agent = agent.add_state(State::new(&format!("process_chunk_{id}"), process).next(["merge_results"]));
    }
    let merge = |cx: Context| async move {
        let mut sum = 0;
        for key in cx.keys()? {
            sum += cx.get::<u32>(&key)?.unwrap_or(0);
        }
        cx.set("sum", &sum)?;
        Ok(Next::done())
    };
    let agent = agent.add_state(State::new("merge_results", merge).next([END])).build(engine)?;
    assert_eq!(agent.run(()).await?.get("sum")?, Some(15));
    Ok(())
}

async fn critical_operation(cx: Context) -> Result<Next, StepError> {
    // What a failed attempt writes is gone; that it holds something must be known afterwards.
    cx.once("allocate", || async { Ok("lock 7".to_owned()) }).await?;
    Err(StepError::never_again("the operation failed"))
}

async fn release(cx: Context) -> Result<Next, StepError> {
    let failure = cx.failure().map(|failure| failure.error.message.clone());
    cx.set("released_because", &failure)?;
    Ok(Next::done())
}

/// The state called as the one that failed, with `_compensation` behind, runs before the run is failed.
async fn compensated(engine: &Engine) -> Result<(), Box<dyn Error>> {
    let agent = Agent::new("compensated")
        .state("critical_operation", critical_operation)
        .state("critical_operation_compensation", release)
        .build(engine)?;
    let failed = agent.run(()).await.expect_err("the operation failed");
    let result = failed.result.expect("it ended");
    assert_eq!(result.context["released_because"], "step 'critical_operation': the operation failed");
    Ok(())
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    conditional(&engine).await?;
    generated(&engine).await?;
    compensated(&engine).await?;
    engine.shutdown().await;
    Ok(())
}
