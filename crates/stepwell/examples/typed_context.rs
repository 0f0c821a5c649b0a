//! What states share: values by key, and values that know their type.
//!
//! `cargo run -p stepwell --example typed_context`

use std::error::Error;

use serde::{Deserialize, Serialize};
use stepwell::{Agent, Context, Engine, Next, Options, Registry, StepError, Typed};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct UserProfile {
    name: String,
    age: u32,
    scores: Vec<f64>,
}

impl Typed for UserProfile {
    const NAME: &'static str = "UserProfile";
}

async fn store_data(cx: Context) -> Result<Next, StepError> {
    cx.set("user_name", "Alice")?;
    cx.set("scores", &[95.0, 87.5])?;
    Ok(Next::to("handle_user"))
}

async fn handle_user(cx: Context) -> Result<Next, StepError> {
    let (Some(name), Some(scores)) = (cx.get("user_name")?, cx.get("scores")?) else {
        return Err(StepError::never_again("nobody has stored the data"));
    };
    cx.set_typed("user", &UserProfile { name, age: 28, scores })?;
    cx.update_typed("user", |user: &mut UserProfile| user.age += 1)?;
    Ok(Next::done())
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let engine = Engine::open(store, Registry::default(), Options::default()).await?;

    let agent = Agent::new("profiles")
        .state("store_data", store_data)
        .state("handle_user", handle_user)
        .build(&engine)?;
    let result = agent.run(()).await?;

    let user = UserProfile { name: "Alice".into(), age: 29, scores: vec![95.0, 87.5] };
    assert_eq!(result.typed("user")?, Some(user));
    engine.shutdown().await;
    Ok(())
}
