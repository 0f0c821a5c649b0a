//! Workflow files as workflows that can be run.

use serde_json::json;
use stepwell::{Client, Code, Engine, Options, Registry, RunStatus, Workflow, load};

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

#[tokio::test]
async fn a_run_reports_what_its_steps_came_to_and_what_it_still_waits_for() {
    let engine = engine().await;
    let file = "
name: Both
steps:
  - {name: Nap, method: timer/sleep, params: {seconds: 0}}
  - {name: Ask, method: human/ask, needs: [Nap], params: {prompt: more?}}
";
    let both = Workflow::from_text(file, load::Format::Yaml, &engine).unwrap();
    let run = both.start(json!({})).run_id("b").await.unwrap();
    run.rest().await.unwrap();
    let report = run.report().await.unwrap();
    assert_eq!((report.result.status, report.views.len()), (RunStatus::Paused, 1));
    assert_eq!(report.views["Nap"]["status"], "completed");
    assert_eq!((report.workflow.version(), report.workflow.len()), (both.version(), 2));
    assert!(run.batch().await.unwrap().is_none());

    // A client over the engine of a program is closed without it.
    let client = Client::of(&engine);
    client.run("b").await.unwrap().cancel().await.unwrap();
    client.close().await.unwrap();
    assert_eq!(run.report().await.unwrap().views["Ask"]["status"], "cancelled");
    engine.shutdown().await;
}

#[tokio::test]
async fn relative_paths_start_at_the_base_directory_of_the_run_and_what_is_outside_is_refused_at_once() {
    let engine = engine().await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.py"), "result = 1").unwrap();
    let step = |file: &str| {
        let text = format!("steps: [{{name: a, method: python/execute, params: {{file: {file}}}}}]");
        let loaded = load::text(&text, load::Format::Yaml, engine.registry(), false).unwrap();
        Workflow::of_loaded(&loaded, &engine)
    };
    let result = step("a.py").run(json!({})).base_dir(dir.path()).await.unwrap();
    assert_eq!(result.output::<u32>().unwrap(), 1);
    let outside = step("/etc/hostname").run(json!({})).base_dir(dir.path()).await.unwrap_err();
    assert_eq!((outside.error.code, &outside.result), (Code::INVALID_PARAMS, &None));
    assert_eq!(outside.error.data["reason"], "outside_roots");
    engine.shutdown().await;
}
