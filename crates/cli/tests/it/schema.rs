//! `stepwell schema`: what editors are told of workflow files is what the loader takes.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;
use crate::workflow_file::{examples, repository};

fn schema() -> Value {
    Sandbox::new().run(&["schema"]).json()
}

fn validator() -> jsonschema::Validator {
    let schema = schema();
    jsonschema::draft202012::meta::validate(&schema).expect("a schema of its draft");
    jsonschema::draft202012::new(&schema).expect("a schema that can be used")
}

/// Returns what the schema says of a text: nothing, or what is wrong with it.
fn refusals(validator: &jsonschema::Validator, yaml: &str) -> Vec<String> {
    let options = serde_saphyr::options! { strict_booleans: true };
    let value = serde_saphyr::from_str_with_options(yaml, options);
    let value: Value = value.unwrap_or_else(|error| panic!("{error}: {yaml}"));
    validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_copy_in_the_repository_is_fresh() {
    let path = repository().join("docs/reference/workflow.schema.json");
    let printed = Sandbox::new().run(&["schema"]).out;
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        std::fs::write(&path, &printed).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(kept, printed, "`just bless`, or `stepwell schema > docs/reference/workflow.schema.json`");
}

#[test]
fn every_example_is_valid_under_it() {
    let validator = validator();
    let mut files: Vec<String> = examples().into_iter().map(|example| example.source).collect();
    for entry in std::fs::read_dir(repository().join("examples/workflows")).unwrap() {
        files.push(std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    assert!(files.len() > 12, "{}", files.len());
    for file in files {
        assert_eq!(refusals(&validator, &file), Vec::<String>::new(), "{file}");
    }
}

/// What loads, of every key, alias and form, and of what a `null` and a reference can stand for.
const GOOD: &[&str] = &[
    "steps: [{id: a, method: timer/sleep, params: {seconds: 0}}]",
    "tasks: [{name: a, method: timer/sleep, parameters: {seconds: '${input.s}'}}]",
    "{id: null, name: n, description: null, metadata: null, tags: {a: 1, b: x, c: true, d: null}, providers: [python, timer/v1],
      max_parallel_tasks: 3, timeout: 0.5, priority: critical, on_failure: stop, strict: false, type: null, batch: null,
      steps: [{id: a, name: null, method: execute, params: {code: x = 1}}]}",
    "steps:
      - {id: a, protocol: python, method: execute, params: {file: a.py, args: '${input}', timeout: 3}, priority: 2}
      - {id: b, protocol: timer/v1, method: sleep, params: {seconds: 1}, needs: [a, {step: a, kind: null}]}
      - {id: c, protocol: null, method: human/ask, params: {prompt: x, deadline: '2030-01-01T00:00:00Z', options: '${a}', default: null}, depends_on: []}
      - {id: d, method: python/execute, params: {code: ''}, when: ['${a}', 'not ${b}'], for_each: [1, '${a}'], max_concurrent: 1}
      - {id: e, method: python/execute, params: {code: ''}, when: ' ${a.result} == 1', for_each: ' ${a} ', max_concurrent: null,
         retry: {max_attempts: 1, backoff_strategy: fixed, initial_delay: 0.1, max_delay: 3600, jitter: null}, effect: at_most_once,
         on_failure: null, tags: {}, metadata: {x: [1]}, timeout: 3155760000}
      - {id: f, method: workflow/execute, params: {inputs: {}, workflow: {steps: [{id: a, method: timer/sleep, params: {seconds: 0}}]}}}
      - {id: g, method: signal/wait, params: {name: go, timeout: 0, default: {}}, retry: null}
      - {id: h, method: timer/wait_until, params: {until: '${a.result}'}, when: null, for_each: null, needs: null}
      - {id: i, method: python/execute, params: {code: ''}, retry: {}, on_failure: continue, priority: low}",
];

#[test]
fn what_the_loader_takes_it_takes() {
    let sandbox = Sandbox::new();
    let validator = validator();
    for file in GOOD {
        sandbox.write("good.yaml", file);
        let told = sandbox.run(&["validate", "good.yaml"]);
        assert_eq!(told.code, 0, "{file}: {told:?}");
        assert_eq!(refusals(&validator, file), Vec::<String>::new(), "{file}");
    }
}

/// A file in which the value at `STEP` stands beside a good step.
const STEP: &str = "steps: [{id: a, method: python/execute, params: {code: x}, STEP}]";

/// What the schema refuses: the whole file, or keys of a step.
const BAD: &[&str] = &[
    "[]",
    "a text",
    "{}",
    "steps: []",
    "steps: {}",
    "steps: null",
    "steps: [7]",
    "steps: [{}]",
    "steps: [{id: a}]",
    "steps: [{method: python/execute, params: {code: x}}]",
    "{steps: [{id: a, method: execute, params: {code: x}}], tasks: []}",
    "{steps: [{id: a, method: execute, params: {code: x}}], colour: 1}",
    "{steps: [{id: a, method: execute, params: {code: x}}], max_concurrent: 0}",
    "{steps: [{id: a, method: execute, params: {code: x}}], max_concurrent: null, max_parallel_tasks: 1}",
    "{steps: [{id: a, method: execute, params: {code: x}}], providers: [rust]}",
    "{steps: [{id: a, method: execute, params: {code: x}}], providers: python}",
    "{steps: [{id: a, method: execute, params: {code: x}}], tags: {a: []}}",
    "{steps: [{id: a, method: execute, params: {code: x}}], name: 7}",
    "{steps: [{id: a, method: execute, params: {code: x}}], name: ''}",
    "{steps: [{id: a, method: execute, params: {code: x}}], strict: 'yes'}",
    "{steps: [{id: a, method: execute, params: {code: x}}], timeout: 0}",
    "steps: [{id: a, method: pyton/execute}]",
    "steps: [{id: a, method: python/run}]",
    "steps: [{id: a, method: ../x}]",
    "steps: [{id: a, protocol: Python, method: execute, params: {code: x}}]",
    "steps: [{id: a, method: timer/sleep}]",
    "steps: [{id: a, method: timer/sleep, params: {}}]",
    "steps: [{id: a, method: timer/sleep, params: {seconds: -1}}]",
    "steps: [{id: a, method: timer/sleep, params: {seconds: soon}}]",
    "steps: [{id: a, protocol: timer, method: sleep, params: {seconds: 1, minutes: 1}}]",
    "steps: [{id: a, method: execute, params: {cod: x}}]",
    "steps: [{id: a, method: human/ask, params: {prompt: [x]}}]",
    "steps: [{id: a, method: human/ask, params: {prompt: x, options: yes}}]",
    "steps: [{id: a, method: workflow/execute, params: {workflow: {steps: []}}}]",
    "retry: 3",
    "retry: {max_attempts: 11}",
    "retry: {max_attempts: 0}",
    "retry: {base_delay: 0.05}",
    "retry: {backoff: cubic}",
    "retry: {tries: 3}",
    "retry: {backoff: fixed, backoff_strategy: null}",
    "priority: 4",
    "priority: hihg",
    "on_failure: retry",
    "effect: exactly_once",
    "timeout: 3155760001",
    "timeout: soon",
    "needs: a",
    "needs: [{kind: optional}]",
    "needs: [{step: a, kind: perhaps}]",
    "needs: [{step: a, why: 1}]",
    "needs: [[a]]",
    "needs: [], dependencies: []",
    "parameters: null",
    "when: true",
    "when: [1]",
    "when: input.x",
    "for_each: 3",
    "for_each: {a: 1}",
    "for_each: items",
    "max_concurrent: 0",
    "metadata: [1]",
    "tags: {a: {}}",
    "tiemout: 3",
];

#[test]
fn what_it_refuses_the_loader_refuses() {
    let sandbox = Sandbox::new();
    let validator = validator();
    for bad in BAD {
        let is_whole = ["steps:", "{", "[", "a text"].iter().any(|start| bad.starts_with(start));
        let file = if is_whole { (*bad).to_owned() } else { STEP.replace("STEP", bad) };
        assert!(!refusals(&validator, &file).is_empty(), "it takes {file}");
        sandbox.write("bad.yaml", &file);
        let told = sandbox.run(&["validate", "bad.yaml"]);
        assert_eq!(told.code, 3, "{file}: {told:?}");
    }
}

#[test]
fn every_key_and_parameter_says_what_it_means() {
    fn silent(at: &str, schema: &Value, found: &mut Vec<String>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if property["description"].as_str().is_none_or(str::is_empty) {
                found.push(format!("{at}{name}"));
            }
        }
    }
    let schema = schema();
    let mut found = Vec::new();
    silent("", &schema, &mut found);
    for (name, def) in schema["$defs"].as_object().unwrap() {
        silent(&format!("{name}: "), def, &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
    assert_eq!(schema["$schema"], json!("https://json-schema.org/draft/2020-12/schema"));
}
