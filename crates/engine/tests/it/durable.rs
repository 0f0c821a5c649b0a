//! The same over a file: what was committed is there for the next engine.

use std::sync::Arc;

use serde_json::json;
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_engine::testing::{ScriptedProvider, TestEngine, completes_once, has_no_gaps};
use stepwell_engine::{Engine, Options, Outcome, Provider, Registry, Start};
use stepwell_store::Store;

fn step(name: &str, needs: &[&str]) -> Step {
    Step::provided(name, "test/v1", "test/do", json!({})).needs(needs)
}

async fn engine(store: &Arc<dyn Store>, script: &ScriptedProvider) -> Engine {
    let provider: Arc<dyn Provider> = Arc::new(script.clone());
    let registry = Registry::default().provide("test/v1", provider.clone()).functions(provider);
    Engine::open(store.clone(), registry, Options::default()).await.unwrap()
}

#[tokio::test]
async fn a_run_over_a_file_ends_and_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/s.db", dir.path().display());
    let store = stepwell_store::open(&url).await.unwrap();
    let script =
        ScriptedProvider::default().on("a", |_| Outcome::output(json!({ "result": "x".repeat(200_000) })));
    let engine = engine(&store, &script).await;
    let steps = vec![step("a", &[]), step("b", &["a"]), step("c", &["b"])];
    let workflow = stepwell_core::workflow::Workflow::new(Definition::new("chain", steps)).unwrap();
    let run = engine.start(Start::of(workflow)).await.unwrap().run;
    let row = engine.rest(&run, false).await.unwrap();
    assert_eq!(row.state.status, RunStatus::Completed);
    engine.shutdown().await;
    store.close().await.unwrap();

    let again = stepwell_store::open(&url).await.unwrap();
    let test = TestEngine::idle(again.clone()).await;
    let journal = test.journal(&run).await;
    assert!(has_no_gaps(&journal) && completes_once(&journal));
    assert_eq!(test.view(&run, "a").await["result"].as_str().unwrap().len(), 200_000);
    assert_eq!(test.engine.inspect(&run).await.unwrap().status(), RunStatus::Completed);
}
