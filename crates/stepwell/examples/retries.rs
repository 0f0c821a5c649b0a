//! A service that refuses two calls, and one that refuses for good.
//!
//! `cargo run -p stepwell --example retries`

use std::error::Error;
use std::fmt;
use std::time::Duration;

use stepwell::{Agent, Context, Engine, Next, Options, Registry, Retry, State, StepError};

#[derive(Debug)]
enum Refused {
    Busy,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the service is busy"),
        }
    }
}

impl Error for Refused {}

#[derive(Debug)]
struct BadKey;

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key is not valid")
    }
}

impl Error for BadKey {}

fn call(attempt: u32) -> Result<&'static str, Refused> {
    if attempt < 3 { Err(Refused::Busy) } else { Ok("answer") }
}

async fn api_call(cx: Context) -> Result<Next, StepError> {
    cx.set("answer", call(cx.attempt())?)?;
    Ok(Next::to("with_key"))
}

async fn with_key(_: Context) -> Result<Next, StepError> {
    Err(BadKey.into())
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;

    let retry =
        Retry::times(3).initial(Duration::from_millis(10)).base(2.0).jitter(true).non_retryable::<BadKey>();
    let agent = Agent::new("calls")
        .add_state(State::new("api_call", api_call).retry(retry.clone()).timeout(Duration::from_secs(5)))
        .add_state(State::new("with_key", with_key).retry(retry))
        .build(&engine)?;
    let run = agent.start(()).await?;
    let failed = run.wait().await.expect_err("the key is not valid");

    assert_eq!(failed.to_string(), "step 'with_key': the key is not valid");
    let metrics = run.metrics().await?;
    assert_eq!((metrics.attempts, metrics.retries), (4, 2), "three calls, and one with the key");
    engine.shutdown().await;
    Ok(())
}
