//! What scripts rely on: exit codes, JSON, and that nothing is lost between two commands.

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, Told};

const NAPS: &str = "id: naps
steps:
  - {name: first, method: timer/sleep, params: {seconds: 0}}
  - {name: second, method: timer/sleep, params: {seconds: 0}, needs: [first]}
";

const APPROVAL: &str = "id: approval
metadata: {team: ops}
steps:
  - name: ask
    method: human/ask
    params:
      prompt: Ship it?
      schema: {type: object, properties: {go: {type: boolean}}, required: [go], additionalProperties: false}
  - {name: after, method: timer/sleep, params: {seconds: 0}, needs: [ask]}
";

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn run_prints_one_object_with_the_keys_of_the_contract() {
    let sandbox = Sandbox::new();
    sandbox.write("naps.yaml", NAPS);
    let told = sandbox.run(&["run", "naps.yaml", "--json", "--param", "n=3", "-m", "team.name=ops"]);
    assert_eq!(told.code, 0, "{told:?}");
    let run = told.json();
    assert_eq!(
        keys(&run),
        ["run_id", "workflow", "version", "status", "results", "output", "error", "steps", "seq"]
    );
    assert_eq!((&run["workflow"], &run["status"]), (&json!("naps"), &json!("completed")));
    assert_eq!(keys(&run["results"]), ["first", "second"]);
    assert_eq!(run["results"]["first"]["status"], json!("completed"));
    assert_eq!(
        keys(&run["steps"][0]),
        ["name", "ordinal", "status", "attempts", "started_at", "finished_at", "error"]
    );

    let id = run["run_id"].as_str().unwrap();
    let events = sandbox.run(&["events", id, "--json"]);
    let events: Vec<Value> = events.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(events.len()), run["seq"], "every event once");
    assert!(events.iter().zip(1..).all(|(event, seq)| event["seq"] == json!(seq)));
    assert_eq!(keys(&events[0]), ["seq", "at", "type", "step", "execution", "attempt", "data"]);
    assert_eq!(events[0]["data"]["input"], json!({ "n": 3 }));

    let list = sandbox.run(&["list", "--json", "-m", "team.name=ops"]).json();
    assert_eq!(list["runs"][0]["run_id"], json!(id));
    assert_eq!(list["next"], Value::Null);
    assert_eq!(sandbox.run(&["list", "--json", "-m", "team.name=legal"]).json()["runs"], json!([]));
    let shown = sandbox.run(&["show", &id[..10], "--json"]).json();
    assert_eq!((&shown["run_id"], &shown["why"], &shown["open_waits"]), (&json!(id), &json!([]), &json!([])));
}

#[test]
fn each_failure_has_its_exit_code_and_tells_its_error_as_json() {
    let sandbox = Sandbox::new();
    sandbox.write("naps.yaml", NAPS);
    sandbox.write("naps.txt", NAPS);
    sandbox.write("cycle.yaml", "steps: [{name: a, method: timer/sleep, params: {seconds: 0}, needs: [a]}]");
    sandbox.write(
        "fails.yaml",
        "steps: [{name: a, method: python/execute, params: {code: 'raise ValueError(1)'}}]",
    );
    let check = |args: &[&str], code: i32, name: &str| -> Told {
        let told = sandbox.run(args);
        assert_eq!(told.code, code, "{args:?}: {told:?}");
        if !name.is_empty() {
            let error = told.error();
            assert_eq!(error["name"], json!(name), "{args:?}");
            assert_eq!(keys(&error), ["code", "name", "message", "hint", "data", "retryable", "help"]);
        }
        told
    };
    check(&["run", "missing.yaml", "--json"], 4, "CONFIGURATION_ERROR");
    check(&["run", "naps.txt", "--json"], 3, "CONFIGURATION_ERROR");
    let cycle = check(&["run", "cycle.yaml", "--json"], 3, "WORKFLOW_CIRCULAR_DEPENDENCY").error();
    assert_eq!(cycle["data"]["dependency_cycle"], json!(["a", "a"]));
    check(&["run"], 2, "");
    check(&["run", "naps.yaml", "--input", "{", "--json"], 2, "INVALID_PARAMS");
    check(&["show", "nobody", "--json"], 4, "CONFIGURATION_ERROR");
    let failed = check(&["run", "fails.yaml", "--json"], 1, "").json();
    assert_eq!(failed["error"]["name"], json!("TASK_EXECUTION_FAILED"));
    assert_eq!(failed["error"]["data"]["exception_type"], json!("ValueError"));
    check(&["show", "nobody", "--json"], 4, "WORKFLOW_NOT_FOUND");
    check(&["run", "naps.yaml", "--run-id", "n1", "--json"], 0, "");
    check(&["run", "naps.yaml", "--run-id", "n1", "--json"], 0, "");
    check(&["run", "naps.yaml", "--run-id", "n1", "--param", "x=1", "--json"], 5, "RUN_EXISTS");
    check(&["resume", "n1", "--json"], 5, "WORKFLOW_INVALID_STATE");
    check(
        &["run", "naps.yaml", "--store", "sqlite:///proc/none/x.db", "--json"],
        1,
        "PERSISTENCE_CONNECTION_FAILED",
    );
    check(&["run", "naps.yaml", "--store", "oracle://x", "--json"], 2, "INVALID_PARAMS");
}

#[test]
fn a_reader_makes_no_store() {
    let sandbox = Sandbox::new();
    for (code, args) in [(0, ["list", "--json"]), (4, ["show", "r1"])] {
        let told = sandbox.run(&args);
        assert_eq!(told.code, code, "{told:?}");
    }
    assert!(!sandbox.path().join(".stepwell").exists());
}

#[test]
fn a_question_is_answered_once_and_only_by_what_fits_its_form() {
    let sandbox = Sandbox::new();
    sandbox.write("approval.yaml", APPROVAL);
    assert_eq!(sandbox.run(&["run", "approval.yaml", "--run-id", "a1", "--detach"]).out, "a1\n");
    let child = sandbox.spawn(&["resume", "a1", "--json"]);
    let wait = sandbox.until(|sandbox| {
        sandbox.run(&["inbox", "--json"]).json()["waits"].as_array().unwrap().first().cloned()
    });
    assert_eq!(wait["prompt"], json!("Ship it?"));
    assert_eq!(wait["metadata"], json!({ "team": "ops" }));
    let id = wait["wait_id"].as_str().unwrap();
    let wrong = sandbox.run(&["answer", id, "--json-value", "{\"go\": 1}", "--json"]);
    assert_eq!((wrong.code, &wrong.error()["name"]), (2, &json!("ANSWER_INVALID")));
    assert_eq!(wrong.error()["data"]["errors"][0]["path"], json!("/go"));
    let right = sandbox.run(&["answer", id, "--json-value", "{\"go\": true}", "--by", "ann", "--json"]);
    assert_eq!(right.code, 0, "{right:?}");
    let late = sandbox.run(&["answer", id, "--json-value", "{\"go\": false}", "--json"]);
    assert_eq!((late.code, &late.error()["data"]["reason"]), (5, &json!("wait_closed")));
    let ended = Told::of(&child.wait_with_output().unwrap());
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.json()["results"]["ask"]["result"], json!({ "go": true }));
    assert_eq!(ended.json()["results"]["ask"]["answered_by"], json!("ann"));
}

#[test]
fn show_says_that_a_run_waits_for_a_child_run_which_waits_for_input() {
    let sandbox = Sandbox::new();
    let approval = APPROVAL.replace('\n', "\n        ");
    let approve = "  - name: approve\n    method: workflow/execute\n    params:\n      workflow:";
    sandbox.write("parent.yaml", &format!("id: parent\nsteps:\n{approve}\n        {approval}\n"));
    let parent = sandbox.spawn(&["run", "parent.yaml", "--run-id", "p1", "--json"]);
    let shown = sandbox.until(|sandbox| {
        let told = sandbox.run(&["show", "p1", "--json"]);
        (told.code == 0 && told.json()["status"] == "paused").then(|| told.json())
    });
    assert_eq!(shown["pause_reason"], json!("input"));
    let wait = sandbox.run(&["inbox", "--json"]).json()["waits"][0].clone();
    let child = wait["run_id"].as_str().unwrap();
    let why =
        format!("step 'approve' waits for child run {child}, which waits for input: `stepwell show {child}`");
    assert_eq!(shown["why"][0], json!(why));
    let asks = format!("step 'ask' of child run {child} waits for an answer: ");
    assert!(shown["why"][1].as_str().unwrap().starts_with(&asks), "{shown}");
    let answer = ["answer", wait["wait_id"].as_str().unwrap(), "--json-value", "{\"go\": true}"];
    assert_eq!(sandbox.run(&answer).code, 0);
    let ended = Told::of(&parent.wait_with_output().unwrap());
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn a_run_whose_process_was_killed_goes_on_and_repeats_no_finished_step_crash() {
    let sandbox = Sandbox::new();
    let step = |name: &str, needs: &str, pause: &str| {
        format!(
            "  - name: {name}\n    method: python/execute\n    needs: [{needs}]\n    params:\n      code: |\n        import time\n        open('log.txt', 'a').write('{name} ')\n        time.sleep({pause})\n        result = '{name}'\n"
        )
    };
    let file =
        format!("id: chain\nsteps:\n{}{}{}", step("a", "", "0"), step("b", "a", "1.5"), step("c", "b", "0"));
    sandbox.write("chain.yaml", &file);
    let mut first = sandbox.spawn(&["run", "chain.yaml", "--run-id", "k1"]);
    let log = |sandbox: &Sandbox| std::fs::read_to_string(sandbox.path().join("log.txt")).unwrap_or_default();
    sandbox.until(|sandbox| (log(sandbox) == "a b ").then_some(()));
    first.kill().unwrap();
    first.wait().unwrap();
    let why = sandbox.run(&["show", "k1", "--json"]).json()["why"].to_string();
    assert!(why.contains("its worker is gone"), "{why}");
    let told = sandbox.run(&["resume", "k1", "--json"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.err.contains("already done: a"), "{told:?}");
    let run = told.json();
    assert_eq!(log(&sandbox), "a b b c ");
    let attempts: Vec<&Value> =
        run["steps"].as_array().unwrap().iter().map(|step| &step["attempts"]).collect();
    assert_eq!(attempts, [&json!(1), &json!(2), &json!(1)]);
    assert_eq!(run["results"]["c"]["result"], json!("c"));
}

#[test]
fn a_failed_run_is_tried_again_and_what_is_completed_stays() {
    let sandbox = Sandbox::new();
    let code = "import os; open('log.txt', 'a').write('b '); result = open('there.txt').read()";
    sandbox.write(
        "retry.yaml",
        &format!(
            "steps:\n  - {{name: a, method: timer/sleep, params: {{seconds: 0}}}}\n  - name: b\n    method: python/execute\n    needs: [a]\n    params:\n      code: \"{code}\"\n"
        ),
    );
    assert_eq!(sandbox.run(&["run", "retry.yaml", "--run-id", "r1", "--json"]).code, 1);
    let resumed = sandbox.run(&["resume", "r1", "--json"]);
    assert_eq!(resumed.code, 5);
    assert!(resumed.error()["hint"].as_str().unwrap().contains("stepwell retry"));
    sandbox.write("there.txt", "now");
    let told = sandbox.run(&["retry", "r1", "--json"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(told.json()["results"]["b"]["result"], json!("now"));
    assert_eq!(told.json()["steps"][0]["attempts"], json!(1));
}

#[test]
fn validate_tells_every_problem_with_its_place() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "bad.yaml",
        "steps:\n  - name: A\n    method: timer/sleep\n    tiemout: 5\n  - name: A\n    method: nope/x\n",
    );
    let told = sandbox.run(&["validate", "bad.yaml"]);
    assert_eq!(told.code, 3, "{told:?}");
    assert!(told.err.contains("bad.yaml:4:5: "), "{told:?}");
    assert!(told.err.contains("did you mean 'timeout'?") && told.err.contains("nope"), "{told:?}");
    sandbox.write("naps.yaml", NAPS);
    let told = sandbox.run(&["validate", "naps.yaml", "--json"]);
    assert_eq!((told.code, &told.json()["files"][0]["ok"]), (0, &json!(true)));
    assert!(!sandbox.path().join(".stepwell").exists(), "it touches no store");
}

/// A device, a pipe or a link to nothing would be replaced by the file.
#[test]
fn results_are_written_to_files_only() {
    let sandbox = Sandbox::new();
    sandbox.write("nap.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]");
    let at = |name: &str| sandbox.path().join(name);
    std::os::unix::fs::symlink("/dev/null", at("null.json")).unwrap();
    std::os::unix::fs::symlink(at("nothing"), at("dangling.json")).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(at("pipe.json")).status().unwrap();
    assert!(pipe.success());
    std::fs::create_dir(at("files")).unwrap();
    let run = sandbox.run(&["--store", "memory:", "run", "nap.yaml", "--output", "report.md"]);
    assert!(run.code == 2 && run.err.contains("--output writes JSON"), "{run:?}");
    for name in ["null.json", "dangling.json", "pipe.json"] {
        let run = sandbox.run(&["--store", "memory:", "run", "nap.yaml", "--output", name]);
        assert_eq!(run.code, 2, "{name}: {run:?}");
        let script = sandbox.write("s.py", "result = 1\n");
        let script = script.to_str().unwrap();
        let batch =
            sandbox.run(&["--store", "memory:", "batch", "files", "--script", script, "--output", name]);
        assert_eq!(batch.code, 2, "{name}: {batch:?}");
    }
    assert_eq!(sandbox.run(&["run", "nap.yaml", "--run-id", "n1"]).code, 0);
    let backup = sandbox.run(&["backup", "pipe.json", "--force"]);
    assert_ne!(backup.code, 0, "{backup:?}");
    assert!(at("null.json").is_symlink() && at("dangling.json").is_symlink() && !at("nothing").exists());
}

/// Reading what never ends would be waiting for ever.
#[test]
fn what_is_no_regular_file_is_not_read() {
    let sandbox = Sandbox::new();
    let made = std::process::Command::new("mkfifo").arg(sandbox.path().join("w.yaml")).status().unwrap();
    assert!(made.success());
    let told = sandbox.run(&["validate", "w.yaml", "--json"]);
    assert_eq!(told.code, 3, "{told:?}");
    let endless: [&[&str]; 4] = [
        &["state", "set", "k", "@/dev/zero"],
        &["run", "none.yaml", "--input", "@/dev/zero"],
        &["state", "set", "k", "@/dev/full"],
        &["--store", "memory:", "state", "set", "k", "@/dev/zero"],
    ];
    sandbox.write("none.yaml", "steps: [{name: a, method: timer/sleep, params: {seconds: 0}}]");
    for args in endless {
        let told = sandbox.run(args);
        assert!(told.code == 2 && told.err.contains("it is a device and no file"), "{told:?}");
    }
    std::os::unix::fs::symlink("/dev/zero", sandbox.path().join("stepwell.toml")).unwrap();
    let told = sandbox.run(&["list"]);
    assert!(told.code == 1 && told.err.contains("is no regular file"), "{told:?}");
}
