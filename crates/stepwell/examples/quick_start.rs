//! Two functions, of which one names the other.
//!
//! `cargo run -p stepwell --example quick_start`

use std::error::Error;

use stepwell::{Agent, Context, Engine, Next, Options, Registry, StepError};

async fn process_data(cx: Context) -> Result<Next, StepError> {
    cx.set("data", "processed")?;
    Ok(Next::to("format_data"))
}

async fn format_data(cx: Context) -> Result<Next, StepError> {
    let data: String = cx.get("data")?.unwrap_or_default();
    cx.set("result", &data.to_uppercase())?;
    Ok(Next::done())
}

#[expect(clippy::print_stdout, reason = "the first example shows what came of it")]
#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;

    let agent = Agent::new("my_workflow")
        .state("process_data", process_data)
        .state("format_data", format_data)
        .build(&engine)?;
    let result = agent.run(()).await?;

    let text: String = result.get("result")?.unwrap_or_default();
    println!("run {} is {}: {text}", result.run_id, result.status);
    assert_eq!(text, "PROCESSED");
    engine.shutdown().await;
    Ok(())
}
