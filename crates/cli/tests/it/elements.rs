//! What is told of the elements of a step with `for_each`.

use crate::sandbox::Sandbox;

/// A step over four elements, the first of which fails.
fn with_a_bad_element(on_failure: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(
        "fan.yaml",
        &format!(
            "steps:
  - {{name: find, method: python/execute, params: {{code: 'result = [0, 1, 2, 4]'}}}}
  - name: sum
    for_each: '${{find.result}}'
    on_failure: {on_failure}
    method: python/execute
    params: {{code: 'result = 4 / args[\"n\"]', args: {{n: '${{item}}'}}}}
"
        ),
    );
    sandbox
}

#[test]
fn a_step_that_is_completed_says_how_many_of_its_elements_failed() {
    let sandbox = with_a_bad_element("continue");
    let told = sandbox.run(&["run", "fan.yaml", "--run-id", "f1"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.err.contains("\n  sum completed, 1 of 4 elements failed\n"), "{}", told.err);
    assert!(told.out.contains("\nsum: completed, 1 of 4 elements failed, "), "{}", told.out);
    let shown = sandbox.run(&["show", "f1"]).out;
    assert!(shown.contains("\n  sum: completed, 1 of 4 elements failed, "), "{shown}");

    let told = sandbox.run(&["retry", "f1"]);
    let why = "sum[]#1 failed, but sum is completed, as on_failure: continue wants it\n";
    assert!(told.code == 5 && told.err.contains(why), "{told:?}");
}

#[test]
fn elements_are_counted_where_steps_are_listed_and_named_as_in_their_lines() {
    let sandbox = with_a_bad_element("fail");
    let told = sandbox.run(&["run", "fan.yaml", "--run-id", "f1"]);
    assert_eq!(told.code, 1, "{told:?}");
    let first = "step 'sum': 1 of 4 elements did not complete; the first of them, sum[]#1 with index 0: ";
    assert!(told.out.contains(first), "{}", told.out);
    assert!(told.err.contains("\n1 element failed: sum[]#1\nhint: "), "{}", told.err);
    let told = sandbox.run(&["retry", "f1"]);
    assert!(told.err.starts_with("already done: find, 3 of 4 of sum\n"), "{}", told.err);
}
