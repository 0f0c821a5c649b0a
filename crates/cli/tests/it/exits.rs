//! Every row of the table of exit codes (spec/gleitzeit.md §6) is produced. Acceptance G30. Batches come with their command.

use crate::sandbox::{Sandbox, Told, send};

const NAP: &str = "id: nap\nsteps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]";
const ASKS: &str = "id: asks\nsteps: [{name: ask, method: human/ask, params: {prompt: '?'}}]";
const FAILS: &str =
    "id: fails\nsteps: [{name: a, method: python/execute, params: {code: 'raise ValueError(1)'}}]";

fn step(fields: &str) -> String {
    format!("steps: [{{name: a, {fields}}}]")
}

#[test]
fn g30_every_row_of_the_table_of_exit_codes_is_produced() {
    let sandbox = Sandbox::new();
    for (name, text) in [("nap.yaml", NAP), ("asks.yaml", ASKS), ("fails.yaml", FAILS), ("nap.txt", NAP)] {
        sandbox.write(name, text);
    }
    let invalid = [
        ("WORKFLOW_VALIDATION_FAILED", step("method: timer/sleep, params: {seconds: 0}, needs: [b]")),
        ("WORKFLOW_CIRCULAR_DEPENDENCY", step("method: timer/sleep, params: {seconds: 0}, needs: [a]")),
        ("PROTOCOL_NOT_FOUND", step("method: nothing/do")),
        ("METHOD_NOT_SUPPORTED", step("method: timer/stop")),
        ("PROTOCOL_VERSION_MISMATCH", step("protocol: timer/v9, method: timer/sleep, params: {seconds: 0}")),
        ("INVALID_PARAMS", step("method: timer/sleep, params: {minutes: 1}")),
    ];
    let check = |code: i32, name: &str, args: &[&str]| {
        let told = sandbox.run(&[args, &["--json"]].concat());
        assert_eq!(told.code, code, "{args:?}: {told:?}");
        if !name.is_empty() {
            assert_eq!(told.error()["name"], name, "{args:?}");
        }
    };
    // 4, before there is a store.
    check(4, "CONFIGURATION_ERROR", &["show", "done"]);
    check(4, "CONFIGURATION_ERROR", &["list", "--store", "sqlite://other.db"]);
    // 0
    check(0, "", &["list"]);
    check(0, "", &["inbox"]);
    check(0, "", &["run", "nap.yaml", "--run-id", "done"]);
    check(0, "", &["validate", "nap.yaml"]);
    // 1
    check(1, "", &["run", "fails.yaml", "--run-id", "failed"]);
    check(0, "", &["run", "asks.yaml", "--run-id", "cancelled", "--detach"]);
    check(0, "", &["cancel", "cancelled"]);
    check(1, "", &["run", "asks.yaml", "--run-id", "cancelled"]);
    check(1, "PERSISTENCE_CONNECTION_FAILED", &["run", "nap.yaml", "--store", "sqlite:///proc/none/x.db"]);
    // 2
    check(2, "METHOD_NOT_FOUND", &["walk"]);
    check(2, "INVALID_PARAMS", &["list", "--colour"]);
    check(2, "INVALID_PARAMS", &["run", "nap.yaml", "--input", "{"]);
    // 3
    for (name, text) in &invalid {
        let file = sandbox.write("invalid.yaml", text);
        check(3, name, &["run", file.to_str().unwrap()]);
        check(3, "", &["validate", file.to_str().unwrap()]);
    }
    check(3, "CONFIGURATION_ERROR", &["run", "nap.txt"]);
    // 4
    check(4, "CONFIGURATION_ERROR", &["run", "none.yaml"]);
    check(4, "WORKFLOW_NOT_FOUND", &["show", "none"]);
    check(4, "TASK_NOT_FOUND", &["settle", "done", "none", "retry"]);
    check(4, "STATE_NOT_FOUND", &["state", "get", "none"]);
    // 5
    check(5, "WORKFLOW_INVALID_STATE", &["resume", "done"]);
    check(5, "RUN_EXISTS", &["run", "nap.yaml", "--run-id", "done", "--param", "x=1"]);
    check(5, "STATE_CONFLICT", &["state", "set", "k", "{}", "--if-version", "7"]);
    sandbox.write("stepwell.toml", "stor = 1");
    check(1, "CONFIGURATION_ERROR", &["list"]);
}

#[test]
fn g30_a_run_that_is_interrupted_exits_with_130() {
    let sandbox = Sandbox::new();
    sandbox.write("asks.yaml", ASKS);
    let run = sandbox.spawn(&["run", "asks.yaml", "--run-id", "r1"]);
    sandbox.until(|sandbox| {
        let shown = sandbox.run(&["show", "r1", "--json"]);
        (shown.code == 0 && shown.json()["status"] == "paused").then_some(())
    });
    send(run.id(), libc::SIGINT);
    assert_eq!(Told::of(&run.wait_with_output().unwrap()).code, 130);
}
