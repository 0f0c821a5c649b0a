//! A batch of records is split into chunks that are processed side by side, and merged when all of them are done. How
//! many chunks there are is known only when the batch is there.
//!
//! `cargo run -p stepwell --example data_pipeline`

use std::error::Error;

use serde::{Deserialize, Serialize};
use serde_json::json;
use stepwell::{Agent, Context, END, Engine, Next, Options, Reducer, Registry, State, StepError, Typed};

#[derive(Serialize, Deserialize)]
struct DataBatch {
    records: Vec<u32>,
    batch_id: String,
}

impl Typed for DataBatch {
    const NAME: &'static str = "DataBatch";
}

#[derive(Serialize, Deserialize)]
struct Chunk {
    chunk_id: usize,
    records: Vec<u32>,
}

async fn load(cx: Context) -> Result<Next, StepError> {
    let count: u32 = cx.get("count")?.unwrap_or(0);
    cx.set_typed("batch", &DataBatch { records: (1..=count).collect(), batch_id: "b-17".into() })?;
    Ok(Next::to("process_batch"))
}

/// Each chunk travels with the route, as the payload of an execution of its own.
async fn process_batch(cx: Context) -> Result<Next, StepError> {
    let batch: DataBatch = cx.typed("batch")?.ok_or_else(|| StepError::never_again("there is no batch"))?;
    let chunks = batch.records.chunks(3).map(<[u32]>::to_vec).enumerate();
    Next::each("process_chunk", chunks.map(|(chunk_id, records)| Chunk { chunk_id, records }))
}

async fn process_chunk(cx: Context) -> Result<Next, StepError> {
    let Chunk { chunk_id, records } = cx.payload()?.ok_or_else(|| StepError::never_again("no chunk"))?;
    // Both keys are written by every chunk: their reducers unite what they write.
    cx.set("total", &(cx.get::<u32>("total")?.unwrap_or(0) + records.iter().sum::<u32>()))?;
    let mut done: Vec<usize> = cx.get("done")?.unwrap_or_default();
    done.push(chunk_id);
    cx.set("done", &done)?;
    Ok(Next::to("merge_results"))
}

async fn merge_results(cx: Context) -> Result<Next, StepError> {
    let done: Vec<usize> = cx.get("done")?.unwrap_or_default();
    cx.set("merged", &done.len())?;
    Ok(Next::done())
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;

    let agent = Agent::new("data_pipeline")
        .add_state(State::new("load", load).next(["process_batch"]))
        .add_state(State::new("process_batch", process_batch).next(["process_chunk"]))
        .add_state(State::new("process_chunk", process_chunk).next(["merge_results"]))
        .add_state(State::new("merge_results", merge_results).next([END]))
        .reducer("total", Reducer::Sum)
        .reducer("done", Reducer::Extend)
        .build(&engine)?;
    let result = agent.run(json!({ "count": 10 })).await?;

    assert_eq!(result.get("total")?, Some(55));
    assert_eq!(result.get("merged")?, Some(4));
    let batch: DataBatch = result.typed("batch")?.ok_or("no batch")?;
    assert_eq!(batch.batch_id, "b-17");
    engine.shutdown().await;
    Ok(())
}
