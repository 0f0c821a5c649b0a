//! Workflow files and what comes of them: G4, G5, G6, G7, G9, G41.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// Runs a file that must end well and returns what `--json` prints.
fn completed(sandbox: &Sandbox, file: &str) -> Value {
    let told = sandbox.run(&["run", file, "--json"]);
    assert_eq!(told.code, 0, "{told:?}");
    told.json()
}

/// G4: one content in YAML and in JSON, and under each of its aliases, is one definition with equal results.
#[test]
fn g04_format_and_aliases_change_neither_version_nor_results() {
    let sandbox = Sandbox::new();
    let yaml = "name: Twins
steps:
  - name: first
    method: python/execute
    params: {code: 'result = {\"n\": 1}'}
  - name: second
    method: python/execute
    needs: [first]
    retry: {max_attempts: 2, backoff: fixed, base_delay: 0.1}
    params: {args: {n: '${first.result.n}'}, code: 'result = args[\"n\"] + 1'}
";
    let aliases = yaml
        .replace("steps:", "tasks:")
        .replace("needs:", "depends_on:")
        .replace("params:", "parameters:")
        .replace("backoff:", "backoff_strategy:")
        .replace("base_delay:", "initial_delay:");
    let json = json!({"name": "Twins", "tasks": [
        {"name": "first", "method": "execute", "protocol": "python/v1", "params": {"code": "result = {\"n\": 1}"}},
        {"name": "second", "protocol": "python", "method": "python/execute", "dependencies": ["first", "first"],
         "retry": {"max_attempts": 2, "backoff": "fixed", "base_delay": 0.1},
         "parameters": {"args": {"n": "${first.result.n}"}, "code": "result = args[\"n\"] + 1"}},
    ]});
    sandbox.write("a.yaml", yaml);
    sandbox.write("b.yml", &aliases);
    sandbox.write("c.json", &json.to_string());
    let told = ["a.yaml", "b.yml", "c.json"].map(|file| completed(&sandbox, file));
    for other in &told[1..] {
        assert_eq!(other["version"], told[0]["version"]);
        assert_eq!(other["workflow"], "Twins");
        for step in ["first", "second"] {
            assert_eq!(other["results"][step]["result"], told[0]["results"][step]["result"]);
        }
    }
    assert_eq!(told[0]["results"]["second"]["result"], 2);
}

/// G5: results have the ids of the steps, which default to their names, in the order of the definition.
#[test]
fn g05_results_are_keyed_by_id_in_the_order_of_the_definition() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "order.yaml",
        "steps:
  - {name: Final Report, id: Final_Report, method: python/execute, needs: [Zebra], params: {code: 'result = 3'}}
  - {name: Zebra, method: python/execute, params: {code: 'result = 1'}}
  - {id: apple, method: python/execute, params: {code: 'result = 2'}}
",
    );
    let run = completed(&sandbox, "order.yaml");
    let keys: Vec<&String> = run["results"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["Final_Report", "Zebra", "apple"]);
    assert_eq!(run["results"]["Final_Report"]["result"], 3);
}

/// G6: the document's “Data Pipeline”: names with blanks, files and code, references in arguments, in code, inside a
/// string literal and in a text that people read.
#[test]
fn g06_the_data_pipeline_writes_its_report() {
    let sandbox = Sandbox::new();
    for folder in ["extractors", "validators"] {
        fs::create_dir(sandbox.path().join(folder)).unwrap();
    }
    sandbox.write(
        "extractors/db_extract.py",
        "assert args['database'] == 'production'\nresult = [{'id': 1, 'n': 2}, {'id': 2, 'n': None}]\n",
    );
    sandbox.write(
        "validators/data_validator.py",
        "result = {'valid': [row for row in args['data'] if row['n']], 'errors': ['row 2: \"n\" is missing']}\n",
    );
    sandbox.write(
        "pipeline.yaml",
        r#"name: Data Pipeline
tasks:
  - name: Extract Data
    protocol: python/v1
    method: python/execute
    params: {file: extractors/db_extract.py, args: {database: production}}
  - name: Validate Data
    protocol: python/v1
    method: python/execute
    dependencies: [Extract Data]
    params: {file: validators/data_validator.py, args: {data: "${Extract Data.result}"}}
  - name: Analyze Data
    method: human/ask
    dependencies: [Validate Data]
    params: {prompt: "Analyze ${Validate Data.result.valid}", deadline: 0, default: "one row\nis \"fine\""}
  - name: Save Results
    protocol: python/v1
    method: python/execute
    dependencies: [Validate Data, Analyze Data]
    params:
      code: |
        import json
        report = """Analysis: ${Analyze Data.result}"""
        errors = '${Validate Data.result.errors}'
        with open("results.json", "w") as file:
            json.dump({"rows": ${Validate Data.result.valid}, "report": report, "errors": json.loads(errors)}, file)
        result = report
"#,
    );
    let run = completed(&sandbox, "pipeline.yaml");
    let written: Value =
        serde_json::from_str(&fs::read_to_string(sandbox.path().join("results.json")).unwrap()).unwrap();
    let report = "Analysis: one row\nis \"fine\"";
    assert_eq!(
        written,
        json!({"rows": [{"id": 1, "n": 2}], "report": report, "errors": ["row 2: \"n\" is missing"]})
    );
    assert_eq!(run["results"]["Save Results"]["result"], report);
}

/// A script that says that it is there, and waits until all of the others said so too.
const MEET: &str = r#"
import pathlib, time

pathlib.Path(args["me"]).touch()
while not all(pathlib.Path(other).exists() for other in args["others"]):
    time.sleep(0.01)
result = args["me"]
"#;

/// G7: what can run side by side does. Each step waits for the others of its level, so that one after the other they would
/// run into their limits; `slow` of the first level waits for a step of the third.
#[test]
fn g07_steps_run_side_by_side_and_wait_for_their_own_needs_only() {
    let sandbox = Sandbox::new();
    sandbox.write("meet.py", MEET);
    let step = |name: &str, needs: &[&str], others: &[&str]| {
        json!({"name": name, "method": "python/execute", "needs": needs, "timeout": 20,
               "params": {"file": "meet.py", "args": {"me": name, "others": others}}})
    };
    let definition = json!({"steps": [
        step("source a", &[], &["source b", "source c"]),
        step("source b", &[], &["source a", "source c"]),
        step("source c", &[], &["source a", "source b"]),
        step("slow", &[], &["merge"]),
        step("analysis x", &["source a", "source b"], &["analysis y"]),
        step("analysis y", &["source b", "source c"], &["analysis x"]),
        step("merge", &["analysis x", "analysis y"], &[]),
    ]});
    sandbox.write("parallel.json", &definition.to_string());
    let run = completed(&sandbox, "parallel.json");
    assert_eq!(run["results"].as_object().unwrap().len(), 7);
}

/// G9: a run that is only started has begun nothing when the command returns, and how far it is never goes back.
#[test]
fn g09_a_detached_run_is_durable_before_its_first_step_and_its_progress_never_falls() {
    let sandbox = Sandbox::new();
    let chain: Vec<Value> = (0..8)
        .map(|i| {
            let needs: Vec<String> = (0..i).last().map(|i| format!("s{i}")).into_iter().collect();
            json!({"name": format!("s{i}"), "needs": needs, "method": "python/execute", "params": {"code": "result = 1"}})
        })
        .collect();
    sandbox.write("chain.json", &json!({ "steps": chain }).to_string());
    let started = sandbox.run(&["run", "chain.json", "--run-id", "c1", "--detach"]);
    assert_eq!((started.code, started.out.as_str()), (0, "c1\n"), "{started:?}");

    let progress = |sandbox: &Sandbox| {
        let shown = sandbox.run(&["show", "c1", "--json"]).json();
        let steps = shown["steps"].as_array().unwrap();
        let done = steps.iter().filter(|step| step["status"] == "completed").count();
        (done, shown["status"].as_str().unwrap().to_owned())
    };
    assert_eq!(progress(&sandbox), (0, "running".into()));
    let mut child = sandbox.spawn(&["resume", "c1"]);
    let seen = std::cell::Cell::new(0);
    sandbox.until(|sandbox| {
        let (done, status) = progress(sandbox);
        assert!(done >= seen.replace(done), "{done} of 8 after {}", seen.get());
        (status == "completed").then_some(())
    });
    assert_eq!(seen.get(), 8);
    assert!(child.wait().unwrap().success());
    assert_eq!(sandbox.run(&["show", "c2"]).code, 4, "nothing is known of another one");
}

/// G41: equal names of steps in two runs at once, of two workflows, in one store.
#[test]
fn g41_two_workflows_at_once_see_nothing_of_each_other() {
    let sandbox = Sandbox::new();
    sandbox.write("meet.py", MEET);
    for (me, other) in [("left", "right"), ("right", "left")] {
        let definition = json!({"name": me, "steps": [
            {"name": "value", "method": "python/execute", "timeout": 20,
             "params": {"file": "meet.py", "args": {"me": me, "others": [other]}}},
            {"name": "after", "method": "python/execute", "needs": ["value"],
             "params": {"code": "result = '${value.result}'"}},
        ]});
        sandbox.write(&format!("{me}.json"), &definition.to_string());
    }
    let runs = ["left", "right"].map(|me| (me, sandbox.spawn(&["run", &format!("{me}.json"), "--json"])));
    for (me, child) in runs {
        let output = child.wait_with_output().unwrap();
        let run: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(run["results"]["after"]["result"], me);
    }
}
