//! A model is trained until it is good enough. Each epoch is done once, even if the process is killed in the middle of the
//! training; a person is asked before the model is used.
//!
//! `cargo run -p stepwell --example ml_training`

use std::error::Error;

use serde::{Deserialize, Serialize};
use serde_json::json;
use stepwell::{
    Agent, Ask, Context, END, Engine, Next, Options, Registry, Resources, State, StepError, Typed,
};

#[derive(Serialize, Deserialize)]
struct TrainingConfig {
    model_type: String,
    epochs: u32,
}

impl Typed for TrainingConfig {
    const NAME: &'static str = "TrainingConfig";
}

#[derive(Clone, Serialize, Deserialize)]
struct Metrics {
    loss: f64,
    accuracy: f64,
}

async fn configure(cx: Context) -> Result<Next, StepError> {
    cx.set_typed("config", &TrainingConfig { model_type: "tree".into(), epochs: 50 })?;
    Ok(Next::to("train_model"))
}

async fn train_model(cx: Context) -> Result<Next, StepError> {
    let config: TrainingConfig = cx.typed("config")?.ok_or_else(|| StepError::never_again("no config"))?;
    for epoch in 1..=config.epochs {
        // What an epoch brought is durable before the next one begins.
        let metrics = cx.once(&format!("epoch {epoch}"), || async { Ok(train(epoch)) }).await?;
        cx.emit("progress", &json!({ "epoch": epoch, "of": config.epochs }))?;
        cx.set("metrics", &metrics)?;
        cx.set("epochs", &epoch)?;
        if metrics.accuracy > 0.98 {
            break;
        }
    }
    Ok(Next::to("evaluate"))
}

/// Stands for the training of one epoch.
fn train(epoch: u32) -> Metrics {
    let loss = 1.0 / f64::from(epoch * epoch);
    Metrics { loss, accuracy: 1.0 - loss }
}

async fn evaluate(cx: Context) -> Result<Next, StepError> {
    let metrics: Metrics = cx.get("metrics")?.ok_or_else(|| StepError::never_again("nothing was trained"))?;
    let question = format!("Accuracy {:.3}, loss {:.3}. Use the model?", metrics.accuracy, metrics.loss);
    let ask = Ask::new(question).schema(json!({ "type": "boolean" }));
    Ok(if cx.ask_human::<bool>(ask).await? { Next::to("deploy") } else { Next::done() })
}

async fn deploy(cx: Context) -> Result<Next, StepError> {
    let config: TrainingConfig = cx.typed("config")?.ok_or_else(|| StepError::never_again("no config"))?;
    cx.set("deployed", &config.model_type)?;
    Ok(Next::done())
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    let pool = Resources::default().gpu(1);
    let engine = Engine::open(store, Registry::default(), Options { pool, ..Options::default() }).await?;

    let agent = Agent::new("ml_training")
        .add_state(State::new("configure", configure).next(["train_model"]))
        .add_state(
            State::new("train_model", train_model).next(["evaluate"]).resources(Resources::default().gpu(1)),
        )
        .add_state(State::new("evaluate", evaluate).next(["deploy", END]))
        .add_state(State::new("deploy", deploy).next([END]))
        .build(&engine)?;
    let run = agent.start(()).run_id("training-1").await?;

    // Meanwhile it holds nothing, not even the GPU.
    run.rest().await?;
    assert!(engine.booked().is_empty());
    let asked = run.questions().await?.remove(0);
    assert_eq!(asked.question.prompt, "Accuracy 0.984, loss 0.016. Use the model?");
    run.answer(&asked.wait, true).await?;

    let result = run.wait().await?;
    assert_eq!(result.get("epochs")?, Some(8));
    assert_eq!(result.get::<String>("deployed")?.as_deref(), Some("tree"));
    engine.shutdown().await;
    Ok(())
}
