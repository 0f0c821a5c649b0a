//! States that begin when others have ended, instead of being named by them.
//!
//! `cargo run -p stepwell --example needs`

use std::error::Error;
use std::time::Duration;

use stepwell::{Agent, Context, END, Engine, Need, Next, Options, Registry, State, StepError};

async fn prepare_data(cx: Context) -> Result<Next, StepError> {
    cx.set("rows", &[3, 1, 2])?;
    Ok(Next::done())
}

async fn validate_data(cx: Context) -> Result<Next, StepError> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    cx.set("valid", &true)?;
    Ok(Next::done())
}

async fn background_task(_: Context) -> Result<Next, StepError> {
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(Next::done())
}

async fn final_step(cx: Context) -> Result<Next, StepError> {
    let mut rows: Vec<u32> = cx.get("rows")?.unwrap_or_default();
    rows.sort_unstable();
    cx.set("sorted", &rows)?;
    cx.set("was_valid", &cx.get::<bool>("valid")?)?;
    Ok(Next::done())
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;

    let agent = Agent::new("dependencies")
        .add_state(State::new("prepare_data", prepare_data).next([END]))
        .add_state(State::new("validate_data", validate_data).next([END]))
        .add_state(State::new("background_task", background_task).next([END]))
        .add_state(
            State::new("final_step", final_step)
                .next([END])
                .needs("prepare_data", Need::required())
                // Waited for, since it is under way.
                .needs("validate_data", Need::optional())
                // Not waited for.
                .needs("background_task", Need::parallel()),
        )
        .build(&engine)?;
    let result = agent.run(()).await?;

    assert_eq!(result.get("sorted")?, Some([1, 2, 3]));
    assert_eq!(result.get("was_valid")?, Some(true));
    engine.shutdown().await;
    Ok(())
}
