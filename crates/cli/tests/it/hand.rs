//! What operators do by hand: settle a stuck step, and say why they pause, resume, cancel and retry.

use serde_json::json;

use crate::sandbox::Sandbox;
use crate::transcript::Transcript;

const NAPS: &str = "id: naps
steps:
  - {name: first, title: The first nap, method: timer/sleep, params: {seconds: 0}}
  - {name: second, method: timer/sleep, params: {seconds: 0}, needs: [first]}
";

/// Nobody carries a run that was detached, so its first step is stuck.
fn detached(id: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("naps.yaml", &NAPS.replace("title: The first nap, ", ""));
    assert_eq!(sandbox.run(&["run", "naps.yaml", "--run-id", id, "--detach"]).code, 0);
    sandbox
}

#[test]
fn a_stuck_step_is_settled_in_one_of_three_ways() {
    let sandbox = detached("r1");
    let mut transcript = Transcript::default();
    let mut run = |args: &[&str]| transcript.run(&sandbox, args);
    assert_eq!(run(&["settle", "r1", "frist", "retry"]).code, 4);
    assert_eq!(run(&["settle", "r1", "second", "retry"]).code, 5);
    assert_eq!(run(&["settle", "r1", "first", "ignore"]).code, 2);
    assert_eq!(run(&["settle", "r1", "first", "retry", "--input", "1"]).code, 2);
    assert_eq!(run(&["settle", "r1", "first", "complete", "--reason", "done"]).code, 2);
    assert_eq!(run(&["settle", "r1", "first", "complete", "--ordinal", "2"]).code, 5);
    assert_eq!(run(&["settle", "r1", "first", "retry"]).code, 0);
    assert_eq!(run(&["settle", "r1", "first", "complete", "--input", r#"{"by": "hand"}"#]).code, 0);
    let failed = run(&["settle", "r1", "second", "fail", "--reason", "the bed is gone", "--json"]);
    assert_eq!(failed.json()["status"], json!("failed"));
    run(&["show", "r1"]);
    assert_eq!(run(&["settle", "r1", "second", "retry"]).code, 5);
    transcript.check("settle");
    let results = sandbox.run(&["show", "r1", "--json"]).json()["results"].clone();
    assert_eq!(results["first"]["result"], json!({"by": "hand"}));
}

#[test]
fn what_an_operator_says_is_in_the_journal_and_shown() {
    let sandbox = detached("r1");
    let mut transcript = Transcript::default();
    let mut run = |args: &[&str]| transcript.run(&sandbox, args);
    run(&["pause", "r1", "--reason", "the power is cut at noon"]);
    run(&["show", "r1"]);
    run(&["resume", "r1", "--reason", "it is back"]);
    run(&["events", "r1"]);
    run(&["resume", "r1", "--reason", "once more"]);
    transcript.check("reasons");
    assert_eq!(sandbox.run(&["run", "naps.yaml", "--run-id", "r2", "--detach"]).code, 0);
    assert_eq!(sandbox.run(&["cancel", "r2", "--reason", "not needed"]).code, 0);
    assert_eq!(sandbox.run(&["show", "r2", "--json"]).json()["reason"], json!("not needed"));

    sandbox.write(
        "fails.yaml",
        "steps: [{name: a, method: python/execute, params: {code: 'raise ValueError(1)'}}]",
    );
    assert_eq!(sandbox.run(&["run", "fails.yaml", "--run-id", "f1"]).code, 1);
    assert_eq!(sandbox.run(&["retry", "f1", "--reason", "the disk is back"]).code, 1);
    assert!(sandbox.run(&["events", "f1"]).out.contains(" RunRetried: the disk is back\n"));
}

#[test]
fn show_adds_what_is_asked_for() {
    let sandbox = detached("r1");
    assert_eq!(sandbox.run(&["resume", "r1"]).code, 0);
    let mut transcript = Transcript::default();
    transcript.run(&sandbox, &["show", "r1", "--steps", "--context", "--events"]);
    transcript.check("show");
    let shown = sandbox.run(&["show", "r1", "--events", "--json"]).json();
    assert_eq!(json!(shown["events"].as_array().unwrap().len()), shown["seq"]);
}

#[test]
fn an_answer_comes_from_standard_input_too() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "ask.yaml",
        "steps: [{name: ask, method: human/ask, params: {prompt: '?', schema: {type: object}}}]",
    );
    assert_eq!(sandbox.run(&["run", "ask.yaml", "--run-id", "q1", "--detach"]).code, 0);
    let mut carried = sandbox.spawn(&["resume", "q1"]);
    sandbox.until(|sandbox| sandbox.run(&["inbox", "--json"]).json()["waits"].get(0).cloned());
    let said = std::fs::File::open(sandbox.write("answer.json", r#"{"go": true}"#)).unwrap();
    let told = sandbox.command(&["answer", "q1", "-", "--json"]).stdin(said).output().unwrap();
    assert!(told.status.success(), "{told:?}");
    assert!(carried.wait().unwrap().success());
    let results = sandbox.run(&["show", "q1", "--json"]).json()["results"].clone();
    assert_eq!(results["ask"]["result"], json!({"go": true}));
    assert_eq!(sandbox.run(&["answer", "q1", "-", "--text", "no"]).code, 2, "one answer at a time");
}
