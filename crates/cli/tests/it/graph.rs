//! Workflows and runs as pictures.

use std::path::Path;

use serde_json::json;

use crate::sandbox::Sandbox;
use crate::transcript::{Transcript, check};

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/workflows").join(name).display().to_string()
}

#[test]
fn examples_are_drawn_in_every_format() {
    let sandbox = Sandbox::new();
    for name in ["sales_report", "approval"] {
        let file = example(&format!("{name}.yaml"));
        for format in ["text", "mermaid", "dot", "svg"] {
            let told = sandbox.run(&["graph", &file, "--format", format]);
            assert_eq!((told.code, &*told.err), (0, ""), "{told:?}");
            check(&format!("graph_{name}_{format}"), &told.out);
            if format == "svg" {
                roxmltree::Document::parse(&told.out).unwrap();
            }
        }
    }
    assert!(!sandbox.path().join(".stepwell").exists(), "a picture needs no store");
}

const RICH: &str = "id: rich
steps:
  - {name: list, method: python/execute, params: {code: 'result = [1, 2, 3]'}}
  - {name: each, method: python/execute, params: {code: 'result = 1'}, for_each: '${list.result}', needs: [list]}
  - {name: skipped, method: timer/sleep, params: {seconds: 0}, needs: [list], when: '${list.result[0]} > 5'}
  - {name: fails, method: python/execute, params: {code: 'raise ValueError(1)'}, on_failure: continue}
  - {name: last, method: timer/sleep, params: {seconds: 0}, needs: [each, fails]}
";

#[test]
fn a_run_is_drawn_with_how_each_step_stands() {
    let sandbox = Sandbox::new();
    sandbox.write("rich.yaml", RICH);
    let mut transcript = Transcript::default();
    transcript.run(&sandbox, &["graph", "rich.yaml"]);
    assert_eq!(sandbox.run(&["run", "rich.yaml", "--run-id", "r1"]).code, 0);
    transcript.run(&sandbox, &["graph", "r1"]);
    transcript.run(&sandbox, &["graph", "r1", "--format", "mermaid"]);
    assert_eq!(transcript.run(&sandbox, &["graph", "r2"]).code, 4);
    assert_eq!(transcript.run(&sandbox, &["graph", "none.yaml"]).code, 4);
    assert_eq!(transcript.run(&sandbox, &["graph", "r1", "--output", "none/r1.svg"]).code, 2);
    transcript.check("graph_run");
    let told = sandbox.run(&["graph", "r1", "--format", "svg", "--output", "r1.svg"]);
    assert_eq!((told.code, &*told.out), (0, ""));
    let svg = std::fs::read_to_string(sandbox.path().join("r1.svg")).unwrap();
    assert!(
        roxmltree::Document::parse(&svg)
            .unwrap()
            .descendants()
            .any(|node| node.text() == Some("3 of 3 elements")
                || node.text() == Some("completed, 3 of 3 elements"))
    );
    let drawn = sandbox.run(&["graph", "r1", "--json"]).json();
    assert_eq!(drawn["nodes"][1]["progress"], json!("3 of 3 elements"));
    assert_eq!(drawn["edges"][0], json!({"from": "list", "to": "each", "kind": "need", "label": ""}));
}

#[test]
fn what_is_neither_file_nor_run_is_told_so() {
    let sandbox = Sandbox::new();
    let told = sandbox.run(&["graph", "nothing"]);
    assert_eq!(told.code, 4);
    assert!(told.err.contains("nothing is no workflow file, and there is no store"), "{told:?}");
}
