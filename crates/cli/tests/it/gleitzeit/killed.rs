//! `kill -9` of the program itself: G36. The matrix over every commit is in the tests of the engine.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// Three steps, of which the second stays until the file `go` is there and leaves a mark for each of its attempts.
fn three(effect: &str) -> Value {
    let code = "import os, pathlib, time
open('attempts', 'a').write('x')
while not pathlib.Path('go').exists():
    time.sleep(0.01)
result = args['n'] + 1
";
    let step = |name: &str, needs: &[&str], code: &str, from: &str| json!({"name": name, "needs": needs, "method": "python/execute", "params": {"code": code, "args": {"n": from}}});
    let mut second = step("second", &["first"], code, "${first.result}");
    second["effect"] = effect.into();
    second["timeout"] = 60.into();
    let count = "open('first', 'a').write('x'); result = 1";
    json!({"steps": [
        step("first", &[], count, "0"),
        second,
        step("third", &["second"], "result = args['n'] + 1", "${second.result}"),
    ]})
}

/// Starts the run, waits until its second step is at work, and kills the program.
fn killed_in_the_second_step(sandbox: &Sandbox, effect: &str) {
    sandbox.write("three.json", &three(effect).to_string());
    let mut child = sandbox.spawn(&["run", "three.json", "--run-id", "k1"]);
    // The file is there a moment before what is written to it.
    let begun =
        |sandbox: &Sandbox| fs::metadata(sandbox.path().join("attempts")).is_ok_and(|file| file.len() > 0);
    sandbox.until(|sandbox| begun(sandbox).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
}

fn marks(sandbox: &Sandbox, file: &str) -> usize {
    fs::read_to_string(sandbox.path().join(file)).unwrap().len()
}

#[test]
fn g36_after_a_kill_the_second_step_gets_its_second_attempt_and_the_first_none_crash() {
    let sandbox = Sandbox::new();
    killed_in_the_second_step(&sandbox, "at_least_once");
    fs::write(sandbox.path().join("go"), "").unwrap();
    let told = sandbox.run(&["resume", "k1", "--json"]);
    assert_eq!(told.code, 0, "{told:?}");
    let run = told.json();
    let results = ["first", "second", "third"].map(|step| run["results"][step]["result"].clone());
    assert_eq!(results, [json!(1), json!(2), json!(3)], "as if nothing had happened");
    assert_eq!((marks(&sandbox, "first"), marks(&sandbox, "attempts")), (1, 2));

    let events = sandbox.run(&["events", "k1"]).out;
    let count = |what: &str| events.lines().filter(|line| line.contains(what)).count();
    assert_eq!((count("AttemptStarted first"), count("AttemptStarted second")), (1, 2), "{events}");
    assert_eq!(count("AttemptLost second, attempt 1"), 1, "{events}");
}

#[test]
fn g36_a_step_that_may_run_once_asks_what_became_of_it_crash() {
    let sandbox = Sandbox::new();
    killed_in_the_second_step(&sandbox, "at_most_once");
    let mut resumed = sandbox.spawn(&["resume", "k1"]);
    let asked = sandbox.until(|sandbox| {
        let waits = sandbox.run(&["inbox", "--json"]).json();
        waits["waits"].as_array().filter(|waits| !waits.is_empty()).cloned()
    });
    assert_eq!(asked[0]["step"], "second", "{asked:?}");
    let answer = r#"{"verb": "complete", "value": 2}"#;
    assert_eq!(sandbox.run(&["answer", "k1", "--json-value", answer]).code, 0);
    assert!(resumed.wait().unwrap().success());
    let run = sandbox.run(&["show", "k1", "--json"]).json();
    assert_eq!((&run["status"], marks(&sandbox, "attempts")), (&json!("completed"), 1), "never made twice");
}
