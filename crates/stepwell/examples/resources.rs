//! States say what they need of this machine. What does not fit waits; what could never fit is refused when the run starts.
//!
//! `cargo run -p stepwell --example resources`

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use stepwell::{
    Agent, Code, Context, END, Engine, Next, Options, Priority, Registry, Resources, State, StepError,
};

async fn plan(_: Context) -> Result<Next, StepError> {
    Next::each("train_model", ["small", "medium", "large", "huge"])
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let store = stepwell::open_store("memory:").await?;
    // What this process gives. Whatever is not named here, as `io`, is not counted.
    let pool = Resources::cpu(4).memory_mb(4096).gpu(1);
    let engine = Engine::open(store, Registry::default(), Options { pool, ..Options::default() }).await?;

    let (training, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let train_model = {
        let (training, most) = (training.clone(), most.clone());
        move |cx: Context| {
            let (training, most) = (training.clone(), most.clone());
            async move {
                most.fetch_max(training.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let model: String = cx.payload()?.unwrap_or_default();
                cx.set(&format!("trained_{model}"), &true)?;
                tokio::task::yield_now().await;
                training.fetch_sub(1, Ordering::SeqCst);
                Ok(Next::done())
            }
        }
    };
    let requirements = Resources::cpu(2.0).memory_mb(1024).gpu(1.0);
    let agent = Agent::new("training")
        .add_state(State::new("plan", plan).next(["train_model"]))
        .add_state(
            State::new("train_model", train_model)
                .next([END])
                .resources(requirements)
                .priority(Priority::High),
        )
        .build(&engine)?;
    let result = agent.run(()).await?;
    assert_eq!(result.context.len(), 4);
    assert_eq!(most.load(Ordering::SeqCst), 1, "there is one GPU");
    assert!(engine.booked().is_empty(), "everything was given back");

    let greedy = Agent::new("greedy")
        .add_state(
            State::new("train", |_: Context| async { Ok(Next::done()) })
                .resources(Resources::default().gpu(2)),
        )
        .build(&engine)?;
    let refused = greedy.run(()).await.unwrap_err();
    assert_eq!(refused.error.code, Code::RESOURCE_EXHAUSTED);
    assert_eq!(refused.error.message, "step 'train' asks for 2 of gpu_units, and the resource pool has 1");
    engine.shutdown().await;
    Ok(())
}
