//! Programs as steps, from the command line.

use std::path::Path;

use serde_json::json;

use crate::sandbox::{Sandbox, Told};

#[test]
fn the_example_finds_the_blemishes_of_the_data() {
    let sandbox = Sandbox::new();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command =
        sandbox.command(&["--store", "memory:", "run", "--json", "examples/workflows/line_check.yaml"]);
    let run = Told::of(&command.current_dir(repository).output().unwrap());
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(
        run.json()["output"],
        json!({
            "twice": ["2024-10,Germany,games,1181,37507.32,EUR"],
            "gaps": ["99:2024-07,Switzerland,stationery,1511,,CHF"],
        })
    );
}

#[test]
fn a_program_that_is_not_there_is_told_before_anything_runs() {
    let sandbox = Sandbox::new();
    let step =
        |command: &str| format!("steps: [{{name: a, method: process/run, params: {{command: {command}}}}}]");
    sandbox.write("name.yaml", &step("no-such-program"));
    let refused = sandbox.run(&["run", "--json", "name.yaml"]);
    assert_eq!((refused.code, &refused.error()["data"]["reason"]), (3, &json!("not_found")));
    // An earlier step may make it.
    sandbox.write("path.yaml", &step("./made-later"));
    let warned = sandbox.run(&["validate", "path.yaml"]);
    assert_eq!(warned.code, 0);
    assert!(warned.err.contains("step 'a': there is no program ./made-later in "), "{warned:?}");
}

#[test]
fn what_a_program_printed_is_told_once() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "prints.yaml",
        r#"steps:
  - {name: lines, method: process/run, params: {command: printf, args: ["a\\nb\\n"]}}
  - {name: line, method: process/run, needs: [lines], params: {command: echo, args: [once]}}
  - {name: last, method: process/run, needs: [line], params: {command: sh, args: ["-c", "echo x; echo y; echo z >&2"]}}
"#,
    );
    let told = sandbox.run(&["run", "prints.yaml"]);
    let lines = told.out.lines().map(|line| match line.split_once(": completed, ") {
        Some((step, rest)) => format!("{step}:{}", rest.split_once('s').unwrap().1),
        None => line.to_owned(),
    });
    let lines: Vec<String> = lines.collect();
    assert_eq!(
        lines,
        ["lines:", "  | a", "  | b", "line:  once", "last:", "  | z", "  x", "  y"],
        "{told:?}"
    );
}
