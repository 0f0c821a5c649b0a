//! Named limits: who waits for one begins when it is given back.

use std::sync::Arc;
use std::time::Duration;

use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_engine::testing::{ScriptedProvider, SimClock};
use stepwell_engine::{Engine, Options, Registry, Start};
use stepwell_store::MemoryStore;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_limit_begins_when_it_is_given_back() {
    let clock = Arc::new(SimClock::new(1));
    let store = Arc::new(MemoryStore::default());
    let engine =
        Engine::open_with_clock(store, Registry::default(), Options::default(), clock).await.unwrap();
    let names: Vec<String> = (0..50).map(|i| format!("s{i}")).collect();
    let mut steps = Vec::new();
    for name in &names {
        let mut step = Step::function(name).next(&[]);
        step.limits.insert("one_at_a_time".into(), 1);
        steps.push(step);
        engine.register("w", name, Arc::new(ScriptedProvider::default()));
    }
    let workflow = Workflow::new(Definition::new("w", steps)).unwrap();
    let began = Instant::now();
    let run = engine.start(Start::of(workflow)).await.unwrap().run;
    assert_eq!(engine.rest(&run, false).await.unwrap().state.status, RunStatus::Completed);
    // The time is simulated: it passes only where nobody has anything to do. A look at the store for each step would
    // take a second of it.
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
}
