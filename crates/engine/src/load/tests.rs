use std::fmt::Write;

use serde_json::{Value, json};
use stepwell_core::error::Code;
use stepwell_core::workflow::definition::{Action, Effect, NeedKind, OnFailure, Priority};

use super::*;
use crate::provider::ParamProblem;

/// Protocols with the checks that the tests are about.
struct Fake;

impl Protocols for Fake {
    fn protocols(&self) -> Vec<&str> {
        vec!["human/v1", "llm/v1", "llm/v2", "mcp/v1", "python/v1", "timer/v1", "workflow/v1"]
    }

    fn methods(&self, protocol: &str) -> Vec<&str> {
        match protocol {
            "python/v1" => vec!["python/execute"],
            "llm/v1" => vec!["llm/chat"],
            "llm/v2" => vec!["llm/chat", "llm/vision"],
            "mcp/v1" => vec!["mcp/tool.*", "mcp/ping"],
            _ => Vec::new(),
        }
    }

    fn result_keys(&self, protocol: &str, _method: &str) -> &'static [&'static str] {
        if protocol == "python/v1" { &["result", "output"] } else { &[] }
    }

    fn params(&self, protocol: &str, _method: &str) -> Vec<&'static str> {
        if protocol == "python/v1" { vec!["code", "file", "args", "timeout"] } else { Vec::new() }
    }

    fn raw_params(&self, protocol: &str, _method: &str) -> &'static [&'static str] {
        match protocol {
            "python/v1" => &["code"],
            "human/v1" => &["schema"],
            _ => &[],
        }
    }

    fn check(&self, protocol: &str, _method: &str, params: &Value) -> Vec<ParamProblem> {
        let problem = |parameter: &str, reason, message: &str| ParamProblem {
            parameter: parameter.to_owned(),
            message: message.to_owned(),
            reason,
            hint: None,
        };
        let mut problems = Vec::new();
        if protocol == "python/v1" {
            if params.get("code").is_some() == params.get("file").is_some() {
                problems.push(problem("code", "exclusive", "exactly one of 'code' and 'file' is needed"));
            }
            if params.get("args").is_some_and(|args| !args.is_object()) {
                problems.push(problem("args", "type", "'args' must be an object"));
            }
            for key in params.as_object().unwrap().keys() {
                if !["code", "file", "args", "timeout"].contains(&key.as_str()) {
                    problems.push(problem(key, "unknown", "there is no such parameter"));
                }
            }
        }
        problems
    }
}

fn yaml(source: &str) -> Result<Loaded, Invalid> {
    text(source, Format::Yaml, &Fake, false)
}

/// Returns each problem as `CODE line:column: path: message (hint)`.
fn told(result: Result<Loaded, Invalid>) -> Vec<String> {
    let shown = |problem: &Problem| {
        let hint = problem.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
        format!("{} {problem}{hint}", problem.code.number())
    };
    result.unwrap_err().problems.iter().map(shown).collect()
}

fn loaded(value: &Value) -> Loaded {
    super::value(value, &Fake, false).unwrap()
}

fn needs(loaded: &Loaded, step: &str) -> Vec<String> {
    let ix = loaded.workflow.find(step).unwrap();
    loaded.workflow.step(ix).needs.iter().map(|need| format!("{} {:?}", need.step, need.kind)).collect()
}

#[test]
fn every_key_arrives() {
    let loaded = yaml(
        "
id: flow
name: A Flow
description: what for
metadata: {team: data, n: 1}
tags: {env: prod}
providers: [python, llm/v2]
max_parallel_tasks: 4
timeout: 1.5
priority: high
on_failure: continue
tasks:
  - name: Fetch data
    method: python/execute
    parameters: {code: 'result = 1'}
    timeout: 0.0001
    retry: {max_attempts: 4, backoff_strategy: linear, initial_delay: 0.5, max_delay: 10, jitter: false}
    priority: 3
    effect: at_most_once
    metadata: {a: 1}
    tags: {b: x}
  - id: ask
    name: Ask it
    protocol: llm
    method: chat
    depends_on: [Fetch data, {step: Fetch data}]
    when: ['${Fetch data}', '${Fetch data.result} > 1']
    on_failure: stop
    retry: {}
  - id: last
    method: mcp/tool.echo
    needs: [{step: Ask it, kind: optional}]
",
    )
    .unwrap();
    assert_eq!(loaded.warnings, []);
    let definition = loaded.workflow.definition();
    assert_eq!(definition.name, "flow");
    assert_eq!(definition.title.as_deref(), Some("A Flow"));
    assert_eq!(Value::Object(definition.metadata.clone()), json!({"team": "data", "n": 1, "env": "prod"}));
    assert_eq!((definition.max_concurrent, definition.timeout_ms), (Some(4), Some(1500)));
    let [fetch, ask, last] = &definition.steps[..] else { panic!() };
    assert_eq!(
        (fetch.timeout_ms, fetch.priority, fetch.effect),
        (Some(1), Priority::Low, Effect::AtMostOnce)
    );
    assert_eq!(Value::Object(fetch.metadata.clone()), json!({"a": 1, "b": "x"}));
    let retry = fetch.retry.as_ref().unwrap();
    assert_eq!((retry.max_retries, retry.initial_ms, retry.max_ms), (3, 500, 10_000));
    assert!(retry.jitter_span.abs() < f64::EPSILON);
    let Action::Provider { protocol, method, .. } = &ask.action else { panic!() };
    assert_eq!((protocol.as_str(), method.as_str()), ("llm/v2", "llm/chat"), "the newest version");
    assert_eq!((ask.title.as_deref(), ask.priority), (Some("Ask it"), Priority::High));
    assert_eq!((&ask.on_failure, &fetch.on_failure), (&OnFailure::Stop, &OnFailure::Continue));
    assert_eq!((ask.retry.as_ref().unwrap().max_retries, ask.when.len()), (2, 2));
    assert_eq!(needs(&loaded, "ask"), ["Fetch data Required"]);
    assert_eq!((&*last.needs[0].step.to_string(), last.needs[0].kind), ("ask", NeedKind::Sequential));
}

#[test]
fn one_content_is_one_version_whatever_it_is_written_in() {
    let value = json!({"name": "x", "steps": [
        {"id": "A", "method": "python/execute", "params": {"code": "result = 1"}},
        {"id": "B", "method": "execute", "params": {"code": "result = ${A}"}, "needs": ["A"]},
    ]});
    let aliased = "
name: x
tasks:
  - name: A
    protocol: python/v1
    method: execute
    parameters: {code: result = 1}
  - {name: B, method: python/execute, parameters: {code: 'result = ${A}'}, dependencies: [A]}
";
    let version = loaded(&value).workflow.version().to_owned();
    assert_eq!(yaml(aliased).unwrap().workflow.version(), version);
    let json = text(&value.to_string(), Format::Json, &Fake, false).unwrap();
    assert_eq!(json.workflow.version(), version);
    let unnamed = json!({"steps": [{"id": "A", "method": "mcp/ping"}]});
    let name = loaded(&unnamed).workflow.name().to_owned();
    assert!(name.starts_with("workflow-") && name.len() == 17, "{name}");
    assert_eq!(loaded(&unnamed).workflow.name(), name);
}

#[test]
fn everything_wrong_in_one_file_is_told_at_once() {
    let source = format!(
        "
name: {long}
strict: maybe
tiemout: 5
tasks:
  - name: A
    method: python/../execute
    timeout: 0
    retry: {{max_attempts: 50, backof: fixed}}
    priority: hihg
  - name: A
    method: llm/chat
    method: llm/vision
    params: {{a: 1, a: 2}}
  - id: ' C'
    method: timer/sleep
    timeout: 3
    dependencies: [Aa, {{step: A, kind: perhaps}}]
    params: {{x: '${{nope}} ${{', '${{A}}': 1}}
    when: A is true
  - method: llm/caht
  - 7
",
        long = "n".repeat(201)
    );
    insta::assert_snapshot!(told(yaml(&source)).join("\n"));
}

#[test]
fn a_time_limit_beyond_any_life_is_refused() {
    let with = |of_run: &str, of_step: &str| {
        yaml(&format!("timeout: {of_run}\nsteps: [{{id: A, method: mcp/ping, timeout: {of_step}}}]"))
    };
    let century = with("3155760000", "3155760000.0").unwrap();
    assert_eq!(century.workflow.definition().timeout_ms, Some(3_155_760_000_000));
    for (of_run, of_step, path) in [("1e300", "1", "timeout"), ("1", "3155760001", "steps[0].timeout")] {
        let problems = told(with(of_run, of_step));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(&format!(" {path}: ")), "{problems:?}");
        assert!(problems[0].contains("at most 100 years, not "), "{problems:?}");
    }
}

#[test]
fn a_text_where_a_list_or_a_number_of_seconds_should_be_is_told_how_to_write_it() {
    let hints = |step: &str| -> Vec<Option<String>> {
        let invalid = yaml(&format!("steps: [{{id: A, method: mcp/ping, {step}}}]")).unwrap_err();
        invalid.problems.into_iter().map(|problem| problem.hint).collect()
    };
    assert_eq!(hints("needs: one"), [Some("write `[\"one\"]`".into())]);
    assert_eq!(hints("needs: 'one, two'"), [Some("write `[\"one\", \"two\"]`".into())]);
    assert_eq!(hints("needs: {one: 1}"), [None]);
    assert_eq!(hints("timeout: 10s"), [Some("a number of seconds: 10".into())]);
    assert_eq!(hints("retry: {base_delay: 2 sec}"), [Some("a number of seconds: 2".into())]);
    assert_eq!(hints("timeout: soon"), [None]);
}

#[test]
fn what_a_newcomer_writes_is_told_how_to_write() {
    for (source, expected) in [
        (
            "steps: [{id: A, method: mcp/ping, retry: 3}]",
            "1:42: steps[0].retry: step 'A': 'retry' must be an object, not a number (write `{\"max_attempts\": 3}`)",
        ),
        ("steps: [{id: 3, method: mcp/ping}]", "'id' must be a text, not a number (write `\"3\"`)"),
        (
            "steps:\n  one:\n    method: mcp/ping\n",
            "(each step is an item of a list, with a dash and a blank before it: `- id: one`)",
        ),
        ("steps:\n  id: one\n  method: mcp/ping\n", "before it: `- id: one`)"),
        ("steps:\n  -id: one\n", "before it: `- id: one`)"),
        (
            "steps:\n  - id: A\n    method: python/execute\n    params:\n      code: x\n    args: {}\n",
            "6:5: steps[0].args: step 'A': unknown key 'args' (it is a parameter of python/execute: write it under 'params')",
        ),
        (
            "steps: [{id: A, method: python/execute, params: {code: x, question: hi}}]",
            "1:59: steps[0].params.question: step 'A': there is no such parameter",
        ),
        (
            "steps: [{id: A, method: mcp/ping, needs: [A]}]",
            "1:43: steps[0].needs[0]: step 'A' cannot need itself (name another step, or leave it out)",
        ),
        (
            "steps: [{id: A, method: mcp/ping, params: {x: '${A.result}'}}]",
            "step 'A' cannot need itself (a reference counts as a need; its own result comes after it)",
        ),
        (
            "steps: [{id: A, method: mcp/ping, params: {x: '${env.HOME}'}}]",
            "(give it to the run, as with `--param NAME=…`, and write '${input.NAME}')",
        ),
    ] {
        let problems = told(yaml(source));
        assert!(problems.iter().any(|told| told.contains(expected)), "{source}: {problems:#?}");
    }
}

#[test]
fn a_step_is_never_told_to_name_itself() {
    let source = "steps: [{id: one, method: mcp/ping, needs: [ono], params: {x: '${onn}'}}]";
    for told in told(yaml(source)) {
        assert!(!told.contains("did you mean"), "{told}");
    }
    let source = "steps: [{id: one, method: mcp/ping, needs: [ona]}, {id: onb, method: mcp/ping}]";
    assert!(told(yaml(source))[0].ends_with("(did you mean 'onb'?)"));
}

#[test]
fn documents_that_are_no_workflow() {
    for (source, message) in [
        ("", "the document is empty"),
        ("# only a comment\n", "the document is empty"),
        ("- a\n", "not a list"),
        ("hello\n", "not a text"),
        ("name: x\n", "needs 'steps'"),
        ("steps: []\n", "is empty"),
        ("steps: {a: 1}\n", "must be a list"),
        ("steps: []\ntasks: []\n", "two names of one key"),
        ("a: [\n", "not YAML"),
        ("type: flow\nsteps: []\n", "can only be 'batch'"),
        ("template: {}\nsteps: []\n", "only in a batch file"),
    ] {
        let problems = told(yaml(source));
        assert!(problems.iter().all(|p| p.starts_with("-28001 ")), "{problems:?}");
        assert!(problems.iter().any(|p| p.contains(message)), "{source}: {problems:?}");
    }
    assert!(told(text("{\"a\": 1,}", Format::Json, &Fake, false))[0].starts_with("-28001 1:9: not JSON"));
}

#[test]
fn unknown_dependencies_name_step_and_dependency() {
    let error = super::value(
        &json!({"steps": [{"id": "A", "method": "mcp/ping"}, {"id": "B", "method": "mcp/ping", "needs": ["AA"]}]}),
        &Fake,
        false,
    )
    .unwrap_err()
    .to_error();
    assert_eq!(error.code, Code::WORKFLOW_VALIDATION_FAILED);
    assert_eq!(error.hint.as_deref(), Some("did you mean 'A'?"));
    assert_eq!(
        Value::Object(error.data),
        json!({"dependency": "AA", "validation_errors": [{
            "code": -28001, "name": "WORKFLOW_VALIDATION_FAILED", "hint": "did you mean 'A'?", "line": null,
            "message": "step 'B' needs 'AA', which no step is called", "path": "steps[1].needs[0]", "step": "B",
            "column": null, "end_column": null,
        }]})
    );
}

#[test]
fn cycles_are_told_from_the_step_defined_first() {
    let cycle = |steps: Value| {
        let error = super::value(&json!({"steps": steps}), &Fake, false).unwrap_err().to_error();
        assert_eq!(error.code, Code::WORKFLOW_CIRCULAR_DEPENDENCY, "{error}");
        error.data["dependency_cycle"].clone()
    };
    let step = |id: &str, needs: &[&str]| json!({"id": id, "method": "mcp/ping", "needs": needs});
    assert_eq!(cycle(json!([step("A", &["B"]), step("B", &["A"])])), json!(["A", "B", "A"]));
    assert_eq!(cycle(json!([step("x", &[]), step("A", &["A"])])), json!(["A", "A"]));
    assert_eq!(
        cycle(json!([step("x", &["C"]), step("A", &["B"]), step("B", &["C"]), step("C", &["A"])])),
        json!(["A", "B", "C", "A"])
    );
    let refers = |id: &str, to: &str| json!({"id": id, "method": "python/execute", "params": {"code": format!("result = ${{{to}}} + 1")}});
    assert_eq!(cycle(json!([refers("A", "B"), refers("B", "A")])), json!(["A", "B", "A"]));
    assert_eq!(cycle(json!([step("A", &["B"]), refers("B", "A")])), json!(["A", "B", "A"]));
    assert_eq!(cycle(json!([refers("A", "A")])), json!(["A", "A"]));
}

#[test]
fn protocols_and_methods_are_known() {
    let error = |step: Value| super::value(&json!({"steps": [step]}), &Fake, false).unwrap_err().to_error();
    let unknown = error(json!({"id": "A", "method": "rust/execute"}));
    assert_eq!((unknown.code, &unknown.data["protocol_id"]), (Code::PROTOCOL_NOT_FOUND, &json!("rust")));
    let version = error(json!({"id": "A", "protocol": "python/v9", "method": "execute"}));
    assert_eq!(version.code, Code::PROTOCOL_VERSION_MISMATCH);
    let method = error(json!({"id": "A", "method": "llm/vison"}));
    assert_eq!(method.code, Code::METHOD_NOT_SUPPORTED);
    assert_eq!(method.data["supported_methods"], json!(["llm/chat", "llm/vision"]));
    assert_eq!(method.hint.as_deref(), Some("did you mean 'llm/vision'?"));
    let listed = super::value(
        &json!({"providers": ["rust/v1"], "steps": [{"id": "A", "method": "mcp/ping"}]}),
        &Fake,
        false,
    );
    assert_eq!(listed.unwrap_err().to_error().code, Code::PROTOCOL_NOT_FOUND);
}

#[test]
fn parameters_are_judged_by_their_provider() {
    let error = |params: Value| {
        let steps = json!([{"id": "A", "method": "python/execute", "params": params}]);
        super::value(&json!({"steps": steps}), &Fake, false).unwrap_err().to_error()
    };
    for (params, parameter) in [
        (json!({"code": "x", "file": "y"}), "code"),
        (json!({}), "code"),
        (json!({"code": "x", "bogus": 1}), "bogus"),
        (json!({"code": "x", "args": []}), "args"),
    ] {
        let error = error(params);
        assert_eq!((error.code, &error.data["parameter"]), (Code::INVALID_PARAMS, &json!(parameter)));
        assert_eq!(error.data["validation_errors"][0]["path"], format!("steps[0].params.{parameter}"));
    }
}

#[test]
fn references_add_needs_with_a_warning() {
    let definition = json!({"steps": [
        {"id": "C", "method": "mcp/ping", "params": {"x": ["${A.result.n} and ${B}", "${A}"]}, "needs": ["B"]},
        {"id": "B", "name": "the b", "method": "mcp/ping", "needs": ["A"]},
        {"id": "A", "method": "mcp/ping"},
        {"id": "D", "method": "python/execute", "params": {"code": "result = ${the b} # ${A}", "args": {"v": "${input.q}"}}},
        {"id": "E", "method": "mcp/ping", "when": "${A.success}"},
        {"id": "F", "method": "human/ask", "params": {"schema": {"pattern": "${A}"}, "prompt": "$${A}"}},
        {"id": "G", "method": "mcp/ping", "params": {"a": "${C}"}, "needs": [{"step": "C", "kind": "parallel"}]},
    ]});
    let loaded = loaded(&definition);
    assert_eq!(needs(&loaded, "C"), ["B Required"], "A is an ancestor already");
    assert_eq!(needs(&loaded, "D"), ["B Required"]);
    assert_eq!(needs(&loaded, "E"), ["A Required"]);
    assert!(needs(&loaded, "F").is_empty(), "neither raw parameters nor escapes are references");
    assert_eq!(needs(&loaded, "G"), ["C Required"], "a parallel need does not order");
    let warnings: Vec<_> =
        loaded.warnings.iter().map(|w| (w.step.clone().unwrap(), w.message.clone())).collect();
    assert_eq!(warnings.len(), 3);
    assert_eq!(
        warnings[0],
        ("D".into(), "step 'D' refers to 'B' with '${the b}' without needing it; the need is added".into())
    );
    let strict = super::value(&definition, &Fake, true).unwrap_err();
    assert_eq!(strict.problems.len(), 3);
    assert_eq!(strict.to_error().code, Code::WORKFLOW_VALIDATION_FAILED);
}

#[test]
fn bad_references_have_the_path_and_line_of_their_text() {
    let problems = told(yaml(
        "
steps:
  - name: Fetch
    method: mcp/ping
    params:
      deep:
        - ok
        - ${Fetc.result}
      item: ${item}
  - name: run
    method: python/execute
    params:
      code: |
        x = r'${Fetch}'
        y = f'${price}'
",
    ));
    assert_eq!(
        problems,
        [
            "-28001 8:11: steps[0].params.deep[1]: step 'Fetch': '${Fetc…}': nothing is called 'Fetc'; write '$${' for the text '${'",
            "-28001 9:13: steps[0].params.item: step 'Fetch': '${item}' is bound only in the params of a step with 'for_each'",
            "-28001 14:15: steps[1].params.code: step 'run': line 1: '${Fetch}' cannot stand in a raw literal; leave out the 'r', or use it in code",
            "-28001 15:15: steps[1].params.code: step 'run': line 2: '${price…}': nothing is called 'price'; write '$${' for the text '${'",
        ]
    );
}

#[test]
fn names_are_one_space() {
    let problems = told(super::value(
        &json!({"steps": [
            {"id": "A", "name": "x", "method": "mcp/ping"},
            {"id": "x", "method": "mcp/ping"},
            {"id": "B", "name": "A", "method": "mcp/ping"},
        ]}),
        &Fake,
        false,
    ));
    assert_eq!(problems.len(), 2, "{problems:?}");
    let shadowing = json!({"steps": [{"id": "input", "method": "mcp/ping"}]});
    assert_eq!(loaded(&shadowing).warnings.len(), 1);
}

#[test]
fn a_key_that_no_view_can_have_is_a_warning() {
    let loaded = loaded(&json!({"steps": [
        {"id": "load", "method": "python/execute", "params": {"code": "result = 1"}},
        {"id": "each", "method": "mcp/ping", "for_each": [1], "dependencies": ["load"],
            "params": {"a": "${load.reslt}", "b": "${load.output} ${load.status} ${load}"}},
        {"id": "end", "method": "mcp/ping", "dependencies": ["each"],
            "params": {"a": "${each.outputs}", "b": "${each.results[0].anything} ${each.count}"}},
        {"id": "any", "method": "mcp/ping", "dependencies": ["end"], "params": {"a": "${end.whatever}"}},
    ]}));
    let told: Vec<String> = loaded
        .warnings
        .iter()
        .map(|w| format!("{} ({})", w.message, w.hint.as_deref().unwrap_or("")))
        .collect();
    assert_eq!(
        told,
        [
            "step 'each' refers to '${load.reslt}', but 'load' has no 'reslt' (did you mean 'result'?)",
            "step 'end' refers to '${each.outputs}', but 'each' has no 'outputs' (it has result, status, success, error, results, count)",
        ]
    );
}

#[test]
fn a_step_that_waits_has_no_attempt_to_limit_or_repeat() {
    for (method, hint) in
        [("timer/sleep", ""), ("workflow/execute", "; give it to the child run, or to its steps")]
    {
        let source = json!({"steps": [{"id": "A", "method": method, "timeout": 3, "retry": {}}]});
        let name = method.split('/').next().unwrap();
        let problems = told(super::value(&source, &Fake, false));
        assert_eq!(
            problems,
            ["timeout", "retry"].map(|key| format!(
                "-28001 steps[0].{key}: step 'A': '{key}' means nothing on a {name} step{hint}"
            ))
        );
    }
}

#[test]
fn for_each_is_read_with_its_limit() {
    let loaded = loaded(&json!({"steps": [
        {"id": "A", "method": "mcp/ping", "for_each": "${input.list}", "max_concurrent": 2, "params": {"x": "${item.a} ${index}"}},
        {"id": "B", "method": "mcp/ping", "for_each": ["${A}", 2]},
    ]}));
    let steps = &loaded.workflow.definition().steps;
    let each = steps[0].for_each.as_ref().unwrap();
    assert_eq!((&each.items, each.max_concurrent), (&json!("${input.list}"), Some(2)));
    assert_eq!(steps[1].needs.len(), 1, "a reference in the list is a need");
    let hidden = json!({"steps": [{"id": "item", "method": "mcp/ping", "for_each": [1]}]});
    let problems = told(super::value(&hidden, &Fake, false));
    assert_eq!(problems, ["-28001 steps[0]: a step called 'item' would hide '${item}' of 'for_each'"]);
}

#[test]
fn files_are_found_by_suffix() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let good = b"steps:\n  - {id: A, method: mcp/ping}\n";
    assert!(file(&write("a.yaml", good), &Fake, false).is_ok());
    assert!(file(&write("b.YML", good), &Fake, false).is_ok());
    assert!(
        file(&write("c.json", b"{\"steps\": [{\"id\": \"A\", \"method\": \"mcp/ping\"}]}"), &Fake, false)
            .is_ok()
    );
    for path in [
        write("d.txt", good),
        write("e.yaml", b"a: \xff"),
        directory.path().join("missing.yaml"),
        directory.path().join("f"),
    ] {
        let error = file(&path, &Fake, false).unwrap_err().to_error();
        assert_eq!(error.code, Code::CONFIGURATION_ERROR);
        assert_eq!(error.data["path"], path.display().to_string());
    }
}

#[test]
fn ten_thousand_steps_load_and_a_bad_one_among_them_is_found() {
    let mut source = String::from("name: large\nsteps:\n");
    for i in 0..10_000 {
        let before = if i == 0 { "[]".to_owned() } else { format!("[step {}]", i - 1) };
        let near = if i == 0 { 0 } else { i - 1 };
        let reference =
            if i == 0 { "x".to_owned() } else { format!("${{step {near}.result}} and ${{step {}}}", i / 2) };
        writeln!(
            source,
            "  - name: step {i}\n    method: python/execute\n    needs: {before}\n    params: {{code: 'result = args', args: {{a: '{reference}', b: [1, 2]}}}}"
        )
        .unwrap();
    }
    assert_eq!(yaml(&source).unwrap().workflow.len(), 10_000);
    source.push_str("  - {name: bad, method: python/execute, params: {code: x}, needs: [step 10001]}\n");
    assert_eq!(told(yaml(&source)).len(), 1);
}

#[test]
fn of_very_many_problems_the_first_are_told_and_the_others_counted() {
    let told = |text: &str| {
        let invalid = super::text(text, Format::Yaml, &Fake, false).unwrap_err();
        assert_eq!(invalid.problems.len(), 100);
        assert!(invalid.to_error().message.starts_with(&format!("{} problems: ", invalid.count())));
        assert_eq!(invalid.to_error().data["more_validation_errors"], invalid.more);
        invalid.count()
    };
    let keys = (0..5_000).map(|i| format!("k{i}: 1")).collect::<Vec<_>>().join("\n");
    assert_eq!(told(&keys), 5_001, "each key, and that there are no steps");
    assert_eq!(
        told(&"k: 1\n".repeat(5_000)),
        10_000,
        "each is unknown, all but one come again, and there are no steps"
    );
    let references = "${nobody.x} ".repeat(5_000);
    let steps = format!(
        "steps:\n  - {{name: a, method: python/execute, params: {{code: x = 1, args: {{x: '{references}'}}}}}}\n"
    );
    assert_eq!(told(&steps), 5_000);
}
