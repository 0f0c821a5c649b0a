//! Who waits for a run that nobody carries any more takes it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use stepwell::core::status::RunStatus;
use stepwell::{Agent, Ask, Context, END, Engine, Leases, Next, Options, Registry, Run, State, Store};
use tokio::sync::Semaphore;

use crate::support::{answer, started, until};

/// Opens what a program opens that carries its own runs.
async fn program(store: &Arc<dyn Store>) -> Engine {
    let options = Options { leases: Leases::Own, cleanup_ms: 20, ..Options::default() };
    Engine::open(store.clone(), Registry::default(), options).await.unwrap()
}

/// Asks, then passes a gate; counts how often the second step began.
struct Program {
    engine: Engine,
    agent: Agent,
    gate: Arc<Semaphore>,
    begun: Arc<AtomicU32>,
}

impl Program {
    async fn begin(store: &Arc<dyn Store>) -> Self {
        let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU32::new(0)));
        let (passes, counts) = (gate.clone(), begun.clone());
        let ask = |cx: Context| async move {
            let sure: bool = cx.ask_human(Ask::new("Shall we?")).await?;
            cx.set("sure", &sure)?;
            Ok(Next::to("second"))
        };
        let second = move |_: Context| {
            let gate = passes.clone();
            counts.fetch_add(1, Ordering::SeqCst);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(Next::done())
            }
        };
        let engine = program(store).await;
        let agent = Agent::new("asks")
            .add_state(State::new("ask", ask).next(["second"]))
            .add_state(State::new("second", second).next([END]));
        let agent = agent.build(&engine).unwrap();
        Self { engine, agent, gate, begun }
    }

    async fn asked(&self) -> Run {
        let run = self.agent.start(()).run_id("r").await.unwrap();
        assert_eq!(run.rest().await.unwrap(), RunStatus::Paused);
        run
    }
}

async fn on_each_store(story: impl AsyncFn(Arc<dyn Store>)) {
    let dir = tempfile::tempdir().unwrap();
    for url in ["memory:".to_owned(), format!("sqlite://{}/s.db", dir.path().display())] {
        story(stepwell::open_store(&url).await.unwrap()).await;
    }
}

#[tokio::test]
async fn a_run_whose_program_is_gone_goes_on_where_its_end_is_waited_for() {
    on_each_store(async |store| {
        let first = Program::begin(&store).await;
        first.asked().await;
        first.engine.shutdown().await;

        let next = Program::begin(&store).await;
        next.gate.add_permits(1);
        let run = next.agent.find("r").await.unwrap();
        answer(&run, "Shall we?", json!(true)).await;
        assert_eq!(run.wait().await.unwrap().get::<bool>("sure").unwrap(), Some(true));
        next.engine.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn a_run_whose_program_is_gone_goes_on_where_its_rest_is_waited_for() {
    on_each_store(async |store| {
        let first = Program::begin(&store).await;
        let run = first.asked().await;
        answer(&run, "Shall we?", json!(true)).await;
        until(&run, started("second")).await;
        first.engine.shutdown().await;

        let next = Program::begin(&store).await;
        next.gate.add_permits(1);
        assert_eq!(next.agent.find("r").await.unwrap().rest().await.unwrap(), RunStatus::Completed);
        next.engine.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn what_a_living_program_carries_is_left_to_it() {
    on_each_store(async |store| {
        let (first, next) = (Program::begin(&store).await, Program::begin(&store).await);
        first.asked().await;
        let run = next.agent.find("r").await.unwrap();
        answer(&run, "Shall we?", json!(true)).await;
        let waiting = tokio::spawn(async move { run.wait().await });
        until(&first.agent.find("r").await.unwrap(), started("second")).await;
        first.gate.add_permits(1);
        waiting.await.unwrap().unwrap();
        assert_eq!((first.begun.load(Ordering::SeqCst), next.begun.load(Ordering::SeqCst)), (1, 0));
        first.engine.shutdown().await;
        next.engine.shutdown().await;
    })
    .await;
}
