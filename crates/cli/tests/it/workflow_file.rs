//! `docs/workflow-file.md` says what the program does: its examples run, its tables have exactly the keys, parameters
//! and fields that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::web;

pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    fs::read_to_string(repository().join("docs/workflow-file.md")).expect("docs/workflow-file.md")
}

/// A whole workflow on the page, and what it says its run results in.
pub(crate) struct Example {
    line: usize,
    pub(crate) source: String,
    output: Option<Value>,
}

/// Returns every block that is marked `yaml` and not as a fragment; a `json` block after one is its output.
pub(crate) fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let page = page();
    let mut lines = page.lines().enumerate();
    while let Some((line, opening)) = lines.next() {
        let Some(kind) = opening.strip_prefix("```").filter(|kind| !kind.is_empty()) else { continue };
        let inside = lines.by_ref().map(|(_, text)| text).take_while(|text| *text != "```");
        let source = inside.fold(String::new(), |all, text| all + text + "\n");
        match kind {
            "yaml" => examples.push(Example { line: line + 1, source, output: None }),
            "json" => {
                let before = examples.last_mut().expect("a result stands behind its example");
                before.output = Some(serde_json::from_str(&source).expect("JSON"));
            }
            "yaml fragment" | "console" => {}
            _ => panic!("line {}: a block of another kind: {kind}", line + 1),
        }
    }
    examples
}

#[test]
fn every_example_loads_and_those_that_need_nobody_result_in_what_the_page_says() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.path().join("texts/notes")).unwrap();
    sandbox.write("texts/a.txt", "one two three");
    sandbox.write("texts/notes/b.txt", "four five");
    let examples = examples();
    assert!(examples.len() >= 10, "the page has examples");
    for Example { line, source, output } in examples {
        let file = format!("line-{line}.yaml");
        sandbox.write(&file, &source);
        let checked = sandbox.run(&["validate", "--strict", &file]);
        assert_eq!(checked.code, 0, "line {line}: {checked:?}");
        if ["human/ask", "signal/wait", "http/request"].iter().any(|method| source.contains(method)) {
            assert_eq!(output, None, "line {line}: it needs somebody");
            continue;
        }
        if source.contains("batch:") {
            let told = sandbox.run(&["--store", "memory:", "batch", "--json", &file]).json();
            let results = told["results"].as_object().expect("an entry per file").iter();
            let results: Value = results.map(|(path, came)| (path.clone(), came["result"].clone())).collect();
            assert_eq!(Some(results), output, "line {line}");
            continue;
        }
        let run = sandbox.run(&["--store", "memory:", "run", "--json", &file]);
        assert_eq!(run.code, 0, "line {line}: {run:?}");
        if let Some(output) = output {
            assert_eq!(run.json()["output"], output, "line {line}");
        }
    }
}

/// Returns the words in backticks in the first cells of the tables in the section with this heading, of those tables
/// whose head begins with `head`.
fn documented(heading: &str, head: &str) -> BTreeSet<String> {
    let page = page();
    let section = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    let level = heading.chars().take_while(|c| *c == '#').count();
    let is_next = |line: &&str| {
        let marks = line.chars().take_while(|c| *c == '#').count();
        (1..=level).contains(&marks)
    };
    let mut words = BTreeSet::new();
    let mut inside = false;
    for line in section.lines().take_while(|line| !is_next(line)) {
        let Some(row) = line.strip_prefix('|') else {
            inside = false;
            continue;
        };
        let first = row.split('|').next().unwrap_or_default().trim();
        if inside {
            words.extend(first.split('`').skip(1).step_by(2).map(str::to_owned));
        } else {
            inside = first == head;
        }
    }
    assert!(!words.is_empty(), "{heading} has a table of its {head}s");
    words
}

/// Returns the problems of a file, each with its path, message and hint.
fn problems(sandbox: &Sandbox, source: &str) -> Vec<Value> {
    sandbox.write("probe.json", source);
    let told = sandbox.run(&["validate", "--json", "probe.json"]).json();
    told["files"][0]["error"]["data"]["validation_errors"].as_array().expect("problems").clone()
}

/// Returns what stands behind `mark` in the message or hint of the problem at `path`, as words.
fn listed(problems: &[Value], path: &str, mark: &str) -> BTreeSet<String> {
    let told = problems
        .iter()
        .filter(|problem| problem["path"] == path)
        .flat_map(|problem| [&problem["message"], &problem["hint"]])
        .filter_map(Value::as_str)
        .find_map(|text| text.split_once(mark)?.1.split(", not ").next())
        .unwrap_or_else(|| panic!("no '{mark}' at {path}: {problems:#?}"));
    told.split(", ").map(str::to_owned).collect()
}

/// A key that is like no other, so that the loader lists those it knows.
const STRANGER: &str = "qqqqqqqqqqqqqqqqqqqqqqqq";

/// Returns the rows of the first table of a section, without its head.
fn rows(heading: &str, head: &str) -> Vec<String> {
    let page = page();
    let section = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}")).1;
    let is_inside = |line: &&str| !line.starts_with('#');
    let table = section.lines().take_while(is_inside).skip_while(|line| !line.starts_with(head));
    table.take_while(|line| line.starts_with('|')).skip(2).map(str::to_owned).collect()
}

#[test]
fn the_tables_of_keys_say_what_the_loader_reads_by() {
    for (heading, declared) in stepwell::load::tables() {
        assert_eq!(rows(heading, "| key |"), declared, "{heading}:\n{}", declared.join("\n"));
    }
    let sandbox = Sandbox::new();
    let source = format!(
        r#"{{"steps": [
            {{"name": "a", "method": "timer/sleep", "params": {{"seconds": 0}}}},
            {{"name": "b", "method": "timer/sleep", "params": {{"seconds": 0}}, "needs": [{{"step": "a", "kind": "{STRANGER}"}}]}}
        ]}}"#
    );
    let kinds = listed(&problems(&sandbox, &source), "steps[1].needs[0].kind", "must be one of ");
    assert_eq!(documented("## Needs", "kind"), kinds);
}

#[test]
fn the_tables_of_batch_files_have_the_keys_that_the_loader_knows() {
    let sandbox = Sandbox::new();
    let template = r#"{"method": "python/execute", "code": ""}"#;
    let source =
        format!(r#"{{"{STRANGER}": 1, "batch": {{"files": [], "{STRANGER}": 1}}, "template": {template}}}"#);
    let problems = problems(&sandbox, &source);
    let known = |path: &str| listed(&problems, &format!("{path}{STRANGER}"), "known keys: ");
    let whole = documented("## Batch files", "key");
    let of_batch = documented("### Which files: `batch`", "key");
    assert_eq!(of_batch, known("batch."));
    assert_eq!(whole, known("").union(&of_batch).cloned().collect());
}

/// Returns the headings `### method` of the page, without their marks.
fn methods() -> Vec<String> {
    let page = page();
    let headings = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    headings.filter(|heading| heading.contains('/')).map(str::to_owned).collect()
}

#[test]
fn every_method_has_a_section_with_its_parameters() {
    let sandbox = Sandbox::new();
    let stranger = format!(r#"{{"steps": [{{"name": "a", "method": "{STRANGER}/x"}}]}}"#);
    let protocols = listed(&problems(&sandbox, &stranger), "steps[0].method", "registered: ");
    let mut known = BTreeSet::new();
    for protocol in protocols {
        let name = protocol.split('/').next().unwrap();
        let source = format!(r#"{{"steps": [{{"name": "a", "method": "{name}/{STRANGER}"}}]}}"#);
        known.extend(listed(&problems(&sandbox, &source), "steps[0].method", "it has "));
    }
    assert!(known.remove("execute"), "the page names it as an alias");
    assert_eq!(methods().into_iter().collect::<BTreeSet<_>>(), known);

    let schema = sandbox.run(&["schema"]).json();
    for method in methods() {
        let declared = &schema["$defs"][&method];
        let params = declared["properties"].as_object().unwrap_or_else(|| panic!("no params of {method}"));
        let heading = format!("### `{method}`");
        let known: BTreeSet<String> = params.keys().cloned().collect();
        assert_eq!(documented(&heading, "param"), known, "the parameters of {method}");
        for row in rows(&heading, "| param |") {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let name = cells[0].split('`').nth(1).expect("a name");
            let is_required = declared["required"].as_array().unwrap().contains(&name.into());
            assert_eq!(cells[2] == "required", is_required, "{method}: {row}");
            assert_eq!(params[name]["description"], cells[3], "{method}: {row}");
        }
    }
}

/// One step of each method, all of which end by themselves.
const ONE_OF_EACH: &str = r#"
steps:
  - {name: python/execute, method: python/execute, params: {code: "result = 1"}}
  - {name: process/run, method: process/run, params: {command: "true"}}
  - {name: human/ask, method: human/ask, params: {prompt: "?", deadline: 0, default: 1}}
  - {name: signal/wait, method: signal/wait, params: {name: go, timeout: 0, default: 1}}
  - {name: timer/sleep, method: timer/sleep, params: {seconds: 0}}
  - {name: timer/wait_until, method: timer/wait_until, params: {until: "2020-01-01T00:00:00Z"}}
  - name: workflow/execute
    method: workflow/execute
    params: {workflow: {steps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]}}
  - {name: http/request, method: http/request, params: {url: "${input.url}"}}
"#;

#[test]
fn the_fields_of_each_method_are_those_that_a_run_shows() {
    let sandbox = Sandbox::new();
    sandbox.write("each.yaml", ONE_OF_EACH);
    let url = format!("url=http://{}/", web::serve("{}"));
    let run = sandbox.run(&[
        "--store",
        "memory:",
        "run",
        "--json",
        "each.yaml",
        "--param",
        &url,
        "--http-allow-private=all",
    ]);
    assert_eq!(run.code, 0, "{run:?}");
    for method in methods() {
        let told = run.json()["results"][&method].clone();
        let view = told.as_object().unwrap_or_else(|| panic!("no step of {method}"));
        let of_every_view = ["status", "success", "error"];
        let own: BTreeSet<String> =
            view.keys().filter(|key| !of_every_view.contains(&key.as_str())).cloned().collect();
        assert_eq!(documented(&format!("### `{method}`"), "field"), own, "the fields of {method}");
    }
}
