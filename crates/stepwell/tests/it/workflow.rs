//! Workflow files as workflows that can be run.

use serde_json::json;
use stepwell::{Code, Engine, Options, Registry, Workflow, load};

async fn engine() -> Engine {
    let store = stepwell::open_store("memory:").await.unwrap();
    Engine::open(store, stepwell::registry(Vec::new()), Options::default()).await.unwrap()
}

const ASKS: &str = r#"
name: asks
steps:
  - name: Ask
    method: human/ask
    params: { prompt: "How many ${input.what}?", schema: { type: integer } }
"#;

#[tokio::test]
async fn a_file_is_run_and_found_again_like_what_is_built() {
    let engine = engine().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("asks.yaml");
    std::fs::write(&path, ASKS).unwrap();
    let asks = Workflow::load(&path, &engine).unwrap();
    let text = Workflow::from_text(ASKS, load::Format::Yaml, &engine).unwrap();
    assert_eq!((asks.name(), asks.version()), ("asks", text.version()));
    assert_eq!(asks.definition(), text.definition());

    let run = asks.start(json!({ "what": "wells" })).run_id("a").await.unwrap();
    run.rest().await.unwrap();
    let asked = run.questions().await.unwrap().remove(0);
    assert_eq!(asked.question.prompt, "How many wells?");
    run.answer(&asked.wait, 3).await.unwrap();
    assert_eq!(run.wait().await.unwrap().output::<u32>().unwrap(), 3);
    assert_eq!(text.find("a").await.unwrap().id(), run.id());
}

#[tokio::test]
async fn a_run_of_another_workflow_is_not_found() {
    let engine = engine().await;
    let nap = "name: nap\nsteps: [{name: Nap, method: timer/sleep, params: {seconds: 0}}]";
    let nap = Workflow::from_text(nap, load::Format::Yaml, &engine).unwrap();
    nap.run(json!({})).run_id("n").await.unwrap();
    let asks = Workflow::from_text(ASKS, load::Format::Yaml, &engine).unwrap();
    let error = asks.find("n").await.unwrap_err();
    assert_eq!(
        (error.code, error.to_string().as_str()),
        (Code::WORKFLOW_NOT_FOUND, "run n is of workflow 'nap', not of 'asks'")
    );
    assert_eq!(asks.find("nobody").await.unwrap_err().code, Code::WORKFLOW_NOT_FOUND);
}

#[tokio::test]
async fn a_file_that_cannot_be_run_is_refused_with_everything_that_is_wrong() {
    let engine = engine().await;
    let missing = Workflow::load("/nowhere/w.yaml", &engine).unwrap_err();
    assert_eq!(missing.code, Code::CONFIGURATION_ERROR);
    let wrong = "steps: [{name: A, method: human/ask}, {name: B, method: tmer/sleep}]";
    let wrong = Workflow::from_text(wrong, load::Format::Yaml, &engine).unwrap_err().to_string();
    assert!(wrong.contains("'prompt'") && wrong.contains("'tmer'"), "{wrong}");
}

#[tokio::test]
async fn an_engine_without_providers_says_where_they_come_from() {
    let store = stepwell::open_store("memory:").await.unwrap();
    let engine = Engine::open(store, Registry::default(), Options::default()).await.unwrap();
    let refused = Workflow::from_text(ASKS, load::Format::Yaml, &engine).unwrap_err();
    assert_eq!(refused.code, Code::PROTOCOL_NOT_FOUND);
    assert_eq!(
        refused.hint.as_deref(),
        Some("this engine has no providers: open it with those that `stepwell::registry` returns")
    );
}
