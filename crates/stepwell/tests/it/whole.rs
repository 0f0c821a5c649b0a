//! All together (A40): a job is split into ten chunks, which are processed side by side, merged and looked at by a person. The other
//! whole programs are the examples.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stepwell::{
    Agent, AgentBuilder, Ask, Context, END, Engine, Need, Next, Options, Priority, Resources, Retry, State,
    StepError, Typed,
};

use crate::support::{answer, counts, ends, on_each_store_with};

const CHUNKS: u32 = 10;

#[derive(Serialize, Deserialize)]
struct ProcessingJob {
    job_id: String,
    data: Vec<Value>,
    batch_size: usize,
}

impl Typed for ProcessingJob {
    const NAME: &'static str = "ProcessingJob";
}

/// How the chunks get to who processes them.
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// One state, an execution for each payload.
    Payload,
    /// A state for each.
    Name,
}

fn initialize_job(by: By) -> State {
    let function = move |cx: Context| async move {
        let data: Vec<Value> = (0..100).map(|id| json!({ "id": id })).collect();
        let job = ProcessingJob { job_id: "job_001".into(), data, batch_size: 10 };
        cx.set_typed("job", &job)?;
        for (i, chunk) in job.data.chunks(job.batch_size).enumerate() {
            cx.set(&format!("chunk_{i}"), chunk)?;
        }
        match by {
            By::Payload => Next::each("process_chunk", (0..CHUNKS).map(|id| json!({ "chunk_id": id }))),
            By::Name => Ok(Next::all((0..CHUNKS).map(|id| format!("process_chunk_{id}")))),
        }
    };
    State::new("initialize_job", function)
        .next(["process_chunk*"])
        .resources(Resources::cpu(1).memory_mb(512))
        .priority(Priority::High)
}

/// The chunk is that of its payload, or always the same.
fn process_chunk(name: &str, id: Option<u32>) -> State {
    let function = move |cx: Context| async move {
        let id = match id {
            Some(id) => id,
            None => cx.get("chunk_id")?.ok_or_else(|| StepError::never_again("no chunk"))?,
        };
        if id == 3 && cx.attempt() == 1 {
            return Err(StepError::new("chunk 3 is busy"));
        }
        let chunk: Vec<Value> = cx.get(&format!("chunk_{id}"))?.unwrap_or_default();
        cx.set(&format!("result_{id}"), &chunk)?;
        Ok(Next::to("merge_results"))
    };
    State::new(name, function)
        .next(["merge_results", "handle_error"])
        .needs("initialize_job", Need::required())
        .resources(Resources::cpu(2).memory_mb(1024))
        .retry(Retry::times(3).initial(Duration::from_millis(1)))
}

async fn merge_results(cx: Context) -> Result<Next, StepError> {
    let job: Option<ProcessingJob> = cx.typed("job")?;
    assert_eq!(job.unwrap().job_id, "job_001");
    let mut results: Vec<Value> = Vec::new();
    for id in 0..CHUNKS {
        results.extend(cx.get::<Vec<Value>>(&format!("result_{id}"))?.unwrap_or_default());
    }
    cx.set("final_results", &results)?;
    Ok(Next::to("human_review"))
}

async fn human_review(cx: Context) -> Result<Next, StepError> {
    let ask = Ask::new("Review results. Approve? (yes/no):").deadline(Duration::from_mins(5));
    let feedback: String = cx.ask_human(ask).await?;
    Ok(Next::to(if feedback.to_lowercase().contains("yes") { "finalize_job" } else { "handle_rejection" }))
}

fn agent(engine: &Engine, by: By) -> Agent {
    let chunks: Vec<State> = match by {
        By::Payload => vec![process_chunk("process_chunk", None)],
        By::Name => (0..CHUNKS).map(|id| process_chunk(&format!("process_chunk_{id}"), Some(id))).collect(),
    };
    let merge = State::new("merge_results", merge_results)
        .next(["human_review"])
        .resources(Resources::cpu(2).memory_mb(2048));
    let merge = match by {
        By::Payload => merge.needs("process_chunk", Need::required()),
        By::Name => {
            (0..CHUNKS).fold(merge, |merge, id| merge.needs(&format!("process_chunk_{id}"), Need::required()))
        }
    };
    let agent = Agent::new("complex_workflow").max_concurrent(5).add_state(initialize_job(by));
    chunks
        .into_iter()
        .fold(agent, AgentBuilder::add_state)
        .add_state(merge)
        .add_state(State::new("human_review", human_review).next(["finalize_job", "handle_rejection"]))
        .add_state(State::new("finalize_job", ends).next([END]))
        .add_state(State::new("handle_rejection", ends).next([END]))
        .add_state(State::new("handle_error", ends).next([END]))
        .build(engine)
        .unwrap()
}

#[tokio::test]
async fn a40_the_complete_example_mended_both_ways_is_approved_and_rejected() {
    let pool = Resources::cpu(4).memory_mb(4096);
    on_each_store_with(&Options { pool, ..Options::default() }, async |engine| {
        for by in [By::Payload, By::Name] {
            let agent = agent(&engine, by);
            for (feedback, taken, other) in [
                ("Yes, of course", "finalize_job", "handle_rejection"),
                ("no", "handle_rejection", "finalize_job"),
            ] {
                let run = agent.start(()).await.unwrap();
                answer(&run, "Review results. Approve? (yes/no):", json!(feedback)).await;
                let result = run.wait().await.unwrap();
                let ids: Vec<Value> = result.get("final_results").unwrap().unwrap();
                assert_eq!(ids, (0..100).map(|id| json!({ "id": id })).collect::<Vec<_>>());
                let mut not_reached = result.not_reached.clone();
                not_reached.sort();
                assert_eq!(
                    not_reached,
                    if other < "handle_error" { [other, "handle_error"] } else { ["handle_error", other] }
                );
                let counts = counts(&engine, &result).await;
                let chunks = counts.iter().filter(|(name, _)| name.starts_with("process_chunk"));
                assert_eq!(chunks.map(|(_, count)| count).sum::<usize>(), 10);
                assert_eq!((counts["merge_results"], counts["human_review"], counts[taken]), (1, 1, 1));
                assert_eq!(run.metrics().await.unwrap().retries, 1, "chunk 3 was busy");
                assert!(engine.booked().is_empty());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a40_as_it_was_printed_it_fails_with_the_name_that_was_meant() {
    on_each_store_with(&Options::default(), async |engine| {
        let split =
            |_: Context| async { Ok(Next::all(["process_chunk_0", "process_chunk_1", "process_chunk_2"])) };
        let agent = Agent::new("complex_workflow")
            .state("initialize_job", split)
            .add_state(process_chunk("process_chunk", None).next(["merge_results"]))
            .add_state(State::new("merge_results", ends).next([END]))
            .build(&engine)
            .unwrap();
        let error = agent.run(()).await.unwrap_err().error;
        assert_eq!(error.code, stepwell::core::error::Code::UNKNOWN_STEP);
        assert!(error.hint.unwrap().starts_with("did you mean 'process_chunk'"));
    })
    .await;
}
