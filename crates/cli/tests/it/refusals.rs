//! Bad definitions are refused before any step starts and before anything is stored (spec/gleitzeit.md §8, G16–G21),
//! and a run is completed only if no failure was left without a policy (G30).

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, Told, send};

/// Runs a definition that must be refused and returns the error. Nothing may be stored.
fn refused(definition: &str, code: i32) -> Value {
    let sandbox = Sandbox::new();
    sandbox.write("bad.yaml", definition);
    let told = sandbox.run(&["run", "bad.yaml", "--json"]);
    assert_eq!((told.code, told.out.as_str()), (3, ""), "{told:?}");
    assert!(!sandbox.path().join(".stepwell").exists(), "nothing is stored");
    let error = told.error();
    assert_eq!(error["code"], json!(code), "{error}");
    assert_eq!(sandbox.run(&["validate", "bad.yaml"]).code, 3, "validate says the same");
    error
}

#[test]
fn g16_an_unknown_dependency_is_named_with_its_step() {
    let error = refused(
        "steps:
  - {name: A, method: timer/sleep, params: {seconds: 0}}
  - {name: B, method: timer/sleep, params: {seconds: 0}, needs: [AA]}
",
        -28001,
    );
    assert_eq!(error["data"]["dependency"], json!("AA"));
    let problem = &error["data"]["validation_errors"][0];
    assert_eq!((&problem["step"], &problem["line"]), (&json!("B"), &json!(3)));
    assert!(problem["message"].as_str().unwrap().contains("'AA'"), "{problem}");
}

#[test]
fn g17_a_cycle_is_told_step_by_step_also_one_of_references() {
    let cycle = |definition: &str| refused(definition, -28006)["data"]["dependency_cycle"].clone();
    let by_needs = "steps:
  - {name: A, method: timer/sleep, params: {seconds: 0}, needs: [B]}
  - {name: B, method: timer/sleep, params: {seconds: 0}, needs: [A]}
";
    assert_eq!(cycle(by_needs), json!(["A", "B", "A"]));
    let of_itself = "steps: [{name: A, method: timer/sleep, params: {seconds: 0}, needs: [A]}]";
    assert_eq!(cycle(of_itself), json!(["A", "A"]));
    let by_reference = "steps:
  - {name: A, method: python/execute, params: {code: 'result = 1', args: {x: '${B.result}'}}}
  - {name: B, method: python/execute, params: {code: 'result = 1'}, needs: [A]}
";
    assert_eq!(cycle(by_reference), json!(["A", "B", "A"]));
}

#[test]
fn g18_everything_wrong_in_one_file_is_one_error_with_all_lines() {
    let long = "n".repeat(201);
    let error = refused(
        &format!(
            "steps:
  - {{name: A, method: timer/sleep, params: {{seconds: 0}}}}
  - {{name: A, method: timer/sleep, params: {{seconds: 0}}}}
  - {{name: B, method: no method}}
  - {{name: C, method: timer/sleep, params: {{seconds: 0}}, timeout: 0}}
  - {{name: D, method: timer/sleep, params: {{seconds: 0}}, retry: {{max_attempts: 50}}}}
  - {{name: {long}, method: timer/sleep, params: {{seconds: 0}}}}
  - {{name: E, method: timer/sleep, params: {{seconds: 0}}, colour: red}}
  - {{name: F, method: timer/sleep, params: {{seconds: 0}}, priority: huge}}
"
        ),
        -28001,
    );
    let problems = error["data"]["validation_errors"].as_array().unwrap();
    let mut lines: Vec<u64> = problems.iter().map(|problem| problem["line"].as_u64().unwrap()).collect();
    lines.dedup();
    assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9], "{problems:#?}");
    for empty in ["", "steps: []", "name: nothing"] {
        refused(empty, -28001);
    }
}

#[test]
fn g19_unknown_protocols_and_methods_have_codes_of_their_own() {
    let unknown = refused("steps: [{name: A, method: rust/execute}]", -30001);
    assert_eq!(unknown["data"]["protocol_id"], json!("rust"));
    let method = refused("steps: [{name: A, method: python/run}]", -30008);
    assert!(method["data"]["supported_methods"].to_string().contains("python/execute"), "{method}");
}

#[test]
fn g20_a_reference_to_nothing_is_refused_and_one_to_an_earlier_step_becomes_a_need() {
    let unknown =
        "steps: [{name: A, method: python/execute, params: {code: 'result = 1', args: {x: '${B.result}'}}}]";
    refused(unknown, -28001);

    let sandbox = Sandbox::new();
    let file = "steps:
  - {name: second, method: python/execute, params: {code: 'result = args[\"x\"] + 1', args: {x: '${first.result}'}}}
  - {name: first, method: python/execute, params: {code: 'result = 1'}}
";
    sandbox.write("inferred.yaml", file);
    let told = sandbox.run(&["run", "inferred.yaml", "--json"]);
    assert_eq!((told.code, &told.json()["results"]["second"]["result"]), (0, &json!(2)), "{told:?}");
    assert!(told.err.contains("warning") && told.err.contains("'first'"), "{}", told.err);
    sandbox.write("strict.yaml", &format!("strict: true\n{file}"));
    let strict = sandbox.run(&["run", "strict.yaml", "--json"]);
    assert_eq!((strict.code, &strict.error()["code"]), (3, &json!(-28001)));
}

#[test]
fn g20_a_missing_field_fails_its_step_before_the_script_begins() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "missing.yaml",
        "steps:
  - {name: first, method: python/execute, params: {code: 'result = {\"rows\": 1}'}}
  - name: second
    method: python/execute
    needs: [first]
    params: {code: \"open('began.txt', 'w')\", args: {x: '${first.result.lines}'}}
",
    );
    let told = sandbox.run(&["run", "missing.yaml", "--json"]);
    assert_eq!(told.code, 1, "{told:?}");
    let error = &told.json()["steps"][1]["error"];
    assert_eq!(
        (&error["code"], &error["data"]["available_keys"]),
        (&json!(-29006), &json!(["rows"])),
        "{error}"
    );
    assert!(!sandbox.path().join("began.txt").exists(), "no text with a reference in it reaches a provider");
}

#[test]
fn g21_a_file_that_is_missing_or_no_workflow_file_is_a_configuration_error() {
    let sandbox = Sandbox::new();
    sandbox.write("steps.txt", "steps: []");
    for (file, exit, reason) in [("missing.yaml", 4, "not_found"), ("steps.txt", 3, "suffix")] {
        let told = sandbox.run(&["run", file, "--json"]);
        assert_eq!(told.code, exit, "{told:?}");
        let error = told.error();
        assert_eq!((&error["code"], &error["data"]["reason"]), (&json!(-31003), &json!(reason)));
        assert_eq!(error["data"]["path"], json!(file));
    }
}

#[test]
fn g30_a_run_is_completed_only_if_no_failure_was_left_without_a_policy() {
    let sandbox = Sandbox::new();
    let run = |policy: &str| {
        let file = format!(
            "steps:
  - {{name: bad, method: python/execute, params: {{code: 'raise ValueError(1)'}}{policy}}}
  - {{name: beside, method: timer/sleep, params: {{seconds: 0}}}}
  - {{name: after, method: timer/sleep, params: {{seconds: 0}}, needs: [bad]}}
"
        );
        sandbox.write("policy.yaml", &file);
        let told = sandbox.run(&["run", "policy.yaml", "--json"]);
        let shown = told.json();
        let statuses: Vec<String> = shown["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step["status"].as_str().unwrap().to_owned())
            .collect();
        (told.code, shown["status"].as_str().unwrap().to_owned(), statuses)
    };
    let told = |code: i32, status: &str, steps: [&str; 3]| {
        (code, status.to_owned(), steps.map(str::to_owned).to_vec())
    };
    assert_eq!(run(""), told(1, "failed", ["failed", "completed", "skipped"]));
    assert_eq!(run(", on_failure: continue"), told(0, "completed", ["failed", "completed", "completed"]));
}

#[test]
fn g30_every_exit_code_is_produced() {
    let sandbox = Sandbox::new();
    sandbox.write("nap.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]");
    sandbox.write("long.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 600}}]");
    sandbox.write(
        "fails.yaml",
        "steps: [{name: a, method: python/execute, params: {code: 'raise ValueError(1)'}}]",
    );
    sandbox.write("bad.yaml", "steps: [{name: a, method: nope/x}]");
    let code = |args: &[&str]| sandbox.run(args).code;
    assert_eq!(code(&["run", "nap.yaml", "--run-id", "n1"]), 0);
    assert_eq!(code(&["run", "fails.yaml"]), 1);
    assert_eq!(code(&["run", "nap.yaml", "--no-such-flag"]), 2);
    assert_eq!(code(&["run", "bad.yaml"]), 3);
    assert_eq!(code(&["show", "nobody"]), 4);
    assert_eq!(code(&["run", "long.yaml", "--run-id", "n1"]), 5);

    let child = sandbox.spawn(&["run", "long.yaml", "--run-id", "l1"]);
    sandbox.until(|sandbox| {
        let shown = sandbox.run(&["show", "l1", "--json"]);
        (shown.code == 0 && shown.json()["steps"][0]["status"] == json!("waiting")).then_some(())
    });
    send(child.id(), libc::SIGINT);
    let told = Told::of(&child.wait_with_output().unwrap());
    assert_eq!(told.code, 130, "{told:?}");
    assert!(told.err.contains("stepwell resume l1"), "{}", told.err);
    assert_eq!(code(&["cancel", "l1"]), 0);
    assert_eq!(code(&["resume", "l1"]), 5);
}
