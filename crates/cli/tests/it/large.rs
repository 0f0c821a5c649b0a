//! Large things: bounded memory, or a clear refusal.

use std::fmt::Write;

use serde_json::json;

use crate::sandbox::Sandbox;

/// Chains, each of ten steps, beside one another.
fn many_steps(count: usize) -> String {
    let mut text = String::from("id: many\nsteps:\n");
    for step in 0..count {
        let needs = if step % 10 == 0 { String::new() } else { format!("s{}", step - 1) };
        writeln!(
            text,
            "  - {{name: s{step}, method: timer/sleep, needs: [{needs}], params: {{seconds: 0}}}}"
        )
        .unwrap();
    }
    text
}

#[test]
fn a_definition_of_ten_thousand_steps_is_checked_and_run_in_bounded_memory() {
    let sandbox = Sandbox::new();
    sandbox.write("many.yaml", &many_steps(10_000));
    let (told, memory) = sandbox.run_measured(&["validate", "many.yaml", "--json"]);
    assert_eq!((told.code, &told.json()["files"][0]["ok"]), (0, &json!(true)), "{}", told.err);
    assert!(memory < 512 << 20, "{memory} bytes");

    let (told, memory) = sandbox.run_measured(&["run", "many.yaml", "--json"]);
    assert_eq!(told.code, 0, "{}", told.err);
    let run = told.json();
    let steps = run["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 10_000);
    assert!(steps.iter().all(|step| step["status"] == json!("completed") && step["attempts"] == json!(1)));
    assert!(memory < 1 << 30, "{memory} bytes");
}

#[test]
fn one_bad_step_among_ten_thousand_is_named() {
    let sandbox = Sandbox::new();
    let text = many_steps(10_000).replace("needs: [s7776]", "needs: [s77776]");
    sandbox.write("many.yaml", &text);
    let told = sandbox.run(&["run", "many.yaml", "--json"]);
    assert_eq!((told.code, &told.error()["name"]), (3, &json!("WORKFLOW_VALIDATION_FAILED")));
    let problem = &told.error()["data"]["validation_errors"][0];
    assert_eq!((&problem["step"], &problem["line"]), (&json!("s7777"), &json!(7_780)));
}
