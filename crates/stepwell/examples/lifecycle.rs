//! How a run and its states stand, while they run and afterwards.
//!
//! `cargo run -p stepwell --example lifecycle`

use std::error::Error;

use stepwell::{Agent, Context, Engine, ExecutionStatus, Next, Options, Registry, RunStatus, StepError};

fn process_data() -> Result<u32, std::num::ParseIntError> {
    "seven".parse()
}

async fn monitored_state(cx: Context) -> Result<Next, StepError> {
    match process_data() {
        Ok(_) => {
            cx.set("success", &true)?;
            Ok(Next::to("next_state"))
        }
        // A failure that is handled here is a route like any other: the state completes.
        Err(error) => {
            cx.set("error", &error.to_string())?;
            Ok(Next::to("handle_error"))
        }
    }
}

async fn ends(_: Context) -> Result<Next, StepError> {
    Ok(Next::done())
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;
    let agent = Agent::new("monitored")
        .state("monitored_state", monitored_state)
        .state("next_state", ends)
        .state("handle_error", ends)
        .build(&engine)?;

    let run = agent.start(()).await?;
    let (mut events, mut kinds) = (run.events(), Vec::new());
    loop {
        let news = events.next().await?;
        if news.is_empty() {
            break;
        }
        kinds.extend(news.iter().map(|recorded| recorded.event.kind()));
    }
    assert_eq!(kinds[..2], ["RunCreated", "RunStarted"]);
    assert_eq!(kinds[2..5], ["StepActivated", "AttemptStarted", "StepCompleted"]);
    assert_eq!(kinds.last(), Some(&"RunCompleted"));

    let (result, metrics) = (run.wait().await?, run.metrics().await?);
    assert_eq!(run.status().await?, RunStatus::Completed);
    assert_eq!(metrics.count(ExecutionStatus::Completed), 2);
    assert_eq!(result.completed_states, ["monitored_state", "handle_error"]);
    assert_eq!(result.not_reached, ["next_state"]);
    engine.shutdown().await;
    Ok(())
}
