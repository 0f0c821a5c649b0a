//! All together: a job is split, its chunks are processed side by side with retries, merged, and a person decides.
//!
//! `cargo run -p stepwell --example complete`

use std::error::Error;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use stepwell::{
    Agent, Ask, Context, END, Engine, Need, Next, Options, Priority, Registry, Retry, RunResult, State,
    StepError, Typed,
};

#[derive(Serialize, Deserialize)]
struct ProcessingJob {
    job_id: String,
    data: Vec<u32>,
    batch_size: usize,
}

impl Typed for ProcessingJob {
    const NAME: &'static str = "ProcessingJob";
}

async fn initialize_job(cx: Context) -> Result<Next, StepError> {
    let job = ProcessingJob { job_id: "job_001".into(), data: (0..100).collect(), batch_size: 10 };
    cx.set_typed("job", &job)?;
    // Each chunk is an execution of its own, with its payload.
    let chunks = job.data.chunks(job.batch_size).enumerate();
    Next::each("process_chunk", chunks.map(|(id, chunk)| json!({ "chunk_id": id, "chunk": chunk })))
}

async fn process_chunk(cx: Context) -> Result<Next, StepError> {
    let (id, chunk) = (cx.get::<u32>("chunk_id")?, cx.get::<Vec<u32>>("chunk")?);
    let (Some(id), Some(chunk)) = (id, chunk) else {
        return Err(StepError::never_again("a chunk comes with its payload"));
    };
    if id == 3 && cx.attempt() == 1 {
        return Err(StepError::new("chunk 3 is busy"));
    }
    cx.set(&format!("result_{id}"), &chunk.iter().map(|n| n * 2).collect::<Vec<_>>())?;
    Ok(Next::to("merge_results"))
}

async fn merge_results(cx: Context) -> Result<Next, StepError> {
    let mut results = Vec::new();
    for id in 0..10 {
        results.extend(cx.get::<Vec<u32>>(&format!("result_{id}"))?.unwrap_or_default());
    }
    cx.set("final_results", &results)?;
    Ok(Next::to("human_review"))
}

async fn human_review(cx: Context) -> Result<Next, StepError> {
    let job: ProcessingJob = cx.typed("job")?.ok_or_else(|| StepError::never_again("there is no job"))?;
    let ask = Ask::new(format!("Review the results of {}. Approve?", job.job_id))
        .options(["yes", "no"])?
        .deadline(Duration::from_mins(5));
    let feedback: String = cx.ask_human(ask).await?;
    Ok(Next::to(if feedback == "yes" { "finalize_job" } else { "handle_rejection" }))
}

async fn finalize_job(cx: Context) -> Result<Next, StepError> {
    cx.set("finalized", &true)?;
    Ok(Next::done())
}

async fn handle_rejection(cx: Context) -> Result<Next, StepError> {
    cx.set("finalized", &false)?;
    Ok(Next::done())
}

async fn run(agent: &Agent, answer: &str) -> Result<RunResult, Box<dyn Error>> {
    let run = agent.start(()).timeout(Duration::from_hours(1)).await?;
    run.rest().await?;
    let asked = run.questions().await?.remove(0);
    run.answer(&asked.wait, answer).await?;
    Ok(run.wait().await?)
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;

    let agent = Agent::new("complex_workflow")
        .max_concurrent(5)
        .add_state(
            State::new("initialize_job", initialize_job).next(["process_chunk"]).priority(Priority::High),
        )
        .add_state(
            State::new("process_chunk", process_chunk)
                .next(["merge_results"])
                .needs("initialize_job", Need::required())
                .retry(Retry::times(3).initial(Duration::from_millis(10))),
        )
        .add_state(State::new("merge_results", merge_results).next(["human_review"]))
        .add_state(State::new("human_review", human_review).next(["finalize_job", "handle_rejection"]))
        .add_state(State::new("finalize_job", finalize_job).next([END]))
        .add_state(State::new("handle_rejection", handle_rejection).next([END]))
        .build(&engine)?;

    let approved = run(&agent, "yes").await?;
    assert_eq!(approved.get::<Vec<u32>>("final_results")?.map(|results| results.iter().sum()), Some(9_900));
    assert_eq!(approved.get("finalized")?, Some(true));
    let rejected = run(&agent, "no").await?;
    assert_eq!(rejected.get("finalized")?, Some(false));
    assert_eq!(rejected.not_reached, ["finalize_job"]);
    engine.shutdown().await;
    Ok(())
}
