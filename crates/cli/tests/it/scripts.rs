//! Scripts that misbehave: each is a failed step with a code of its own, or a success where that is right; what runs
//! beside it goes on, and nothing of it is left running.

use std::path::Path;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// What the steps of one run do wrong, beside a script and a child run that do nothing wrong.
const UNRULY: &str = r#"
id: unruly
steps:
  - name: too-large
    method: python/execute
    params: {code: "result = 'x' * (65 << 20)"}
  - name: endless
    method: python/execute
    params:
      code: |
        import sys
        while True:
            sys.stdout.write("x" * 65536)
  - name: leaves
    method: python/execute
    params: {code: "import sys; print('so far'); sys.exit(3)"}
  - name: leaves-well
    method: python/execute
    params: {code: "import sys; result = 7; sys.exit(0)"}
  - name: crashes
    method: python/execute
    params: {code: "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"}
  - name: has-a-grandchild
    method: python/execute
    params:
      code: |
        import subprocess
        result = subprocess.Popen(["sleep", "600"], start_new_session=True).pid
  - name: forks-twice
    method: python/execute
    params:
      code: |
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(600)
            os._exit(0)
        result = "gone on"
  - name: kills-its-interpreter
    method: python/execute
    params: {code: "import os, time; os.kill(os.getppid(), 9); time.sleep(60)"}
  - name: prints-binary
    method: python/execute
    params:
      code: |
        import os
        os.write(1, b"a\x00b\xff\xfec")
        result = "fine"
  - name: hands-over-bytes
    method: python/execute
    params: {code: "result = b'\\x00\\xff'"}
  - name: behaves
    method: python/execute
    params: {code: "result = 6 * 7"}
  - name: goes-on
    method: timer/sleep
    needs: [behaves]
    params: {seconds: 0}
  - name: never
    method: timer/sleep
    needs: [crashes]
    params: {seconds: 0}
  - name: another-run
    method: workflow/execute
    params:
      workflow:
        steps:
          - {name: behaves, method: python/execute, params: {code: "result = 'well'"}}
"#;

/// Returns the processes that have this text in their environment.
fn marked(mark: &str) -> Vec<String> {
    let has_mark = |process: &Path| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|part| part == mark.as_bytes())
    };
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
    let found = processes.filter(|process| has_mark(process));
    found.map(|process| process.display().to_string()).collect()
}

/// G27 (its part of the command line), G28: unruly scripts never complete with garbage, and harm nobody else.
#[test]
fn each_unruly_script_is_a_clear_failure_and_harms_nothing_beside_it() {
    let sandbox = Sandbox::new();
    sandbox.write("unruly.yaml", UNRULY);
    // Scripts see few variables; those of the locale are among them.
    let mark = format!("LC_MARK={}", sandbox.path().display());
    let (name, value) = mark.split_once('=').unwrap();
    let told = sandbox.run_with(&["run", "unruly.yaml", "--run-id", "u1", "--json"], &[(name, value)]);
    assert_eq!(told.code, 1, "{}", told.err);
    let run = told.json();
    assert_eq!(run["status"], json!("failed"));

    let step = |name: &str| {
        run["steps"].as_array().unwrap().iter().find(|step| step["name"] == json!(name)).unwrap()
    };
    let failed = |name: &str, code: &str, key: &str, value: Value| {
        let step = step(name);
        assert_eq!(step["status"], json!("failed"), "{name}: {step}");
        let error = &step["error"];
        assert_eq!(
            (&error["name"], &error["data"][key]),
            (&json!(code), &value),
            "{name}: {}",
            error["message"]
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(&format!("step '{name}'")), "{message}");
    };
    failed("too-large", "TASK_RESULT_INVALID", "path", json!("result"));
    failed("endless", "TASK_EXECUTION_FAILED", "reason", json!("output_limit"));
    failed("leaves", "TASK_EXECUTION_FAILED", "exit_code", json!(3));
    assert_eq!(step("leaves")["error"]["data"]["output"], json!("so far\n"));
    failed("crashes", "TASK_EXECUTION_FAILED", "signal", json!(11));
    let killer = step("kills-its-interpreter");
    assert_eq!(
        (&killer["error"]["name"], &killer["attempts"]),
        (&json!("WORKER_LOST"), &json!(5)),
        "{killer}"
    );
    failed("hands-over-bytes", "TASK_RESULT_INVALID", "path", json!("result"));

    let results = &run["results"];
    for (name, result) in [
        ("leaves-well", json!(7)),
        ("prints-binary", json!("fine")),
        ("forks-twice", json!("gone on")),
        ("behaves", json!(42)),
    ] {
        assert_eq!(step(name)["status"], json!("completed"), "{name}: {}", step(name));
        assert_eq!(results[name]["result"], result, "{name}");
    }
    assert_eq!(results["prints-binary"]["output"], json!("a\u{0}b\u{fffd}\u{fffd}c"));
    assert_eq!(step("has-a-grandchild")["status"], json!("completed"));
    assert_eq!(step("goes-on")["status"], json!("completed"));
    assert_eq!((&step("never")["status"], &step("never")["attempts"]), (&json!("skipped"), &json!(0)));
    assert_eq!(step("another-run")["status"], json!("completed"), "{}", step("another-run"));
    assert_eq!(marked(&mark), Vec::<String>::new(), "left running");

    let again = sandbox.run(&["show", "u1", "--json"]);
    assert_eq!((again.code, &again.json()["steps"]), (0, &run["steps"]), "all of it is kept");
}

/// A value of 10 MB goes in as a parameter, through a script, and out again, within bounded memory.
#[test]
fn a_value_of_ten_megabytes_goes_through_a_run() {
    const SIZE: usize = 10 << 20;
    let sandbox = Sandbox::new();
    sandbox.write("large.json", &json!({ "text": "ä".repeat(SIZE / 2) }).to_string());
    sandbox.write(
        "large.yaml",
        "id: large
steps:
  - name: first
    method: python/execute
    params: {args: {text: '${input.text}'}, code: \"result = args['text'] + '.'\"}
  - name: second
    method: python/execute
    params: {args: {text: '${first.result}'}, code: \"result = len(args['text'])\"}
",
    );
    let (told, memory) = sandbox.run_measured(&["run", "large.yaml", "--input", "@large.json", "--json"]);
    assert_eq!(told.code, 0, "{}", told.err);
    assert_eq!(told.json()["results"]["second"]["result"], json!(SIZE / 2 + 1));
    assert!(memory < 1 << 30, "{memory} bytes");
}
