//! What people see of a file that has something wrong with it (spec/gleitzeit.md §1, §6): each problem with its place first,
//! its line, what it is about underlined, and a hint.

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, Told};

fn validated(name: &str, text: &str) -> Told {
    let sandbox = Sandbox::new();
    sandbox.write(name, text);
    sandbox.run(&["validate", name])
}

fn told(name: &str, text: &str) -> String {
    let told = validated(name, text);
    assert_eq!((told.code, &*told.out), (3, ""), "{told:?}");
    told.err
}

/// G18, with an unknown dependency (G16), protocol and method (G19), reference (G20) and bad parameters (G22) beside it.
fn everything_wrong() -> String {
    format!(
        "name: {long}
tiemout: 5
steps:
  - name: A
    method: python/../execute
    timeout: 0
    retry: {{max_attempts: 50, backof: fixed}}
    priority: hihg
  - name: A
    method: timer/sleep
    method: timer/sleep
    params: {{seconds: 0}}
  - name: B
    method: pyton/execute
  - name: C
    method: timer/sleeep
    needs: [a]
  - name: D
    method: python/execute
    params: {{code: x = 1, file: x.py, args: [1], bogus: '${{B.result}} and ${{nobody.result}}'}}
  - 7
",
        long = "n".repeat(201)
    )
}

#[test]
fn g18_everything_wrong_in_one_file_is_shown_at_once() {
    insta::assert_snapshot!(told("wrong.yaml", &everything_wrong()));
}

#[test]
fn g18_a_file_without_steps_and_an_empty_one_say_what_is_missing() {
    let shown = [
        told("none.yaml", "name: x\nsteps: []\n"),
        told("empty.yaml", "# nothing\n"),
        told("list.json", "[1]"),
    ];
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn g17_a_cycle_is_shown_at_the_step_defined_first() {
    insta::assert_snapshot!(told(
        "cycle.yaml",
        "steps:
  - name: A
    method: timer/sleep
    params: {seconds: 0}
    needs: [B]
  - name: B
    method: python/execute
    params: {code: 'result = ${A.result}'}
"
    ));
}

#[test]
fn g20_a_bad_reference_is_underlined_where_it_stands_in_a_block() {
    insta::assert_snapshot!(told(
        "block.yaml",
        "steps:
  - name: load
    method: python/execute
    params: {code: result = 1}
  - name: report
    method: python/execute
    needs: [load]
    params:
      args:
        text: >-
          folded text with ${load.result}
          and ${laod.result} of it
      code: |
        rows = ${load.result}
        # ${nobody} may be named in a comment
        print(f\"{${load.result}}\")
        more = ${laod.result} + ${laod.result}
"
    ));
}

#[test]
fn an_unknown_key_is_shown_with_the_nearest_known_one() {
    insta::assert_snapshot!(told(
        "key.yaml",
        "steps:\n  - name: A\n    method: timer/sleep\n    params: {seconds: 0}\n    tiemout: 5\n"
    ));
}

#[test]
fn yaml_and_json_that_cannot_be_read_are_shown_where_reading_ended() {
    let shown = [
        told("tab.yaml", "steps:\n  - name: A\n\t  method: timer/sleep\n"),
        told("open.yaml", "steps: [{name: A, method: timer/sleep\n"),
        told("comma.json", "{\"steps\": [\n  {\"näme\": \"日本\", \"method\": \"timer/sleep\",}\n]}\n"),
        told("cut.json", "{\"steps\": ["),
    ];
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn g20_a_warning_looks_like_a_problem() {
    let text = "steps:
  - name: second
    method: python/execute
    params:
      args: {x: '${input.n}', deep: [1, '${first.reslt}']}
      code: result = 1
  - name: first
    method: python/execute
    params: {file: there/is/none.py}
";
    let told = validated("warns.yaml", text);
    assert_eq!((told.code, &*told.out), (0, "warns.yaml: ok, 2 steps, 3 warnings\n"), "{told:?}");
    let dir = told.err.split("none.py in ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    insta::assert_snapshot!(told.err.replace(dir, "DIR"));
}

#[test]
fn a_hostile_line_does_no_harm_and_the_caret_stays_under_its_place() {
    let shown = [
        // A tab inside a line, wide characters, and what would steer a terminal.
        told(
            "wide.yaml",
            "steps: [{name: a, \tmethod: timer/sleep, tags: {日本語: '\u{feff}ｗｉｄｅ 👩‍🚀'}, timeout: 0}]\n",
        ),
        told(
            "steers.json",
            "{\"steps\": [{\"name\": \"\u{9b}31m\u{202e}x\u{7f}\", \"method\": \"timer/sleep\", \"timeot\": 1}]}",
        ),
        told("returns.yaml", "steps:\r\n  - name: a\r\n    method: timer/sleep\r\n    tiemout: 1\r\n"),
        // Long before, at and after the place.
        told("long.json", &format!("{{\"a\": \"{0}\", \"steps\": 1, \"b\": \"{0}\"}}", "x".repeat(100_000))),
        told("method.yaml", &format!("steps: [{{name: a, method: '{}'}}]\n", "日".repeat(400))),
    ];
    for text in &shown {
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        assert!(!text.contains('\u{202e}') && text.len() < 10_000, "{text:?}");
    }
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn of_a_thousand_problems_in_one_line_the_first_hundred_are_told() {
    let step = "{\"name\": \"a\", \"method\": \"x/y\"}";
    let text = format!("{{\"steps\": [{}]}}", vec![step; 1_000].join(", "));
    let err = told("line.json", &text);
    assert_eq!(err.matches("line.json:1:").count(), 100, "{}", err.len());
    assert!(err.contains("\nand 1899 more; 1999 problems; "), "{err}");
    assert!(err.len() < 100_000, "{} bytes", err.len());
}

#[test]
fn json_tells_the_same_as_data() {
    let sandbox = Sandbox::new();
    sandbox.write("wrong.yaml", &everything_wrong());
    let told = sandbox.run(&["validate", "--json", "wrong.yaml"]);
    assert_eq!((told.code, &*told.err), (3, ""), "{told:?}");
    let error = told.json()["files"][0]["error"].clone();
    assert_eq!(error["code"], json!(-28001), "mixed codes");
    let problems = error["data"]["validation_errors"].as_array().unwrap().clone();
    let people = sandbox.run(&["validate", "wrong.yaml"]).err;
    for problem in &problems {
        let place = format!(
            "wrong.yaml:{}:{}: error[{} {}]: ",
            problem["line"],
            problem["column"],
            problem["name"].as_str().unwrap(),
            problem["code"]
        );
        assert!(people.contains(&place), "{place}");
        assert_eq!(problem["file"], json!("wrong.yaml"));
    }
    assert_eq!(people.matches(": error[").count(), problems.len());
    let unknown: Vec<&Value> = problems.iter().filter(|problem| problem["path"] == "tiemout").collect();
    assert_eq!(
        unknown,
        [&json!({
            "code": -28001, "name": "WORKFLOW_VALIDATION_FAILED", "message": "unknown key 'tiemout'",
            "hint": "did you mean 'timeout'?", "path": "tiemout", "step": null, "line": 2, "column": 1,
            "end_column": 8, "file": "wrong.yaml",
        })]
    );
    let ran = sandbox.run(&["run", "--json", "wrong.yaml"]);
    assert_eq!((ran.code, &ran.error()), (3, &error));
}

#[test]
fn run_shows_what_validate_shows_and_says_it_once() {
    let sandbox = Sandbox::new();
    sandbox.write("wrong.yaml", &everything_wrong());
    let [run, validate] = ["run", "validate"].map(|command| sandbox.run(&[command, "wrong.yaml"]));
    assert_eq!((run.code, &run.err), (3, &validate.err));
    for message in ["unknown key 'tiemout'", "did you mean 'timeout'?", "two steps are called 'A'"] {
        assert_eq!(run.err.matches(message).count(), 1, "{message}: {}", run.err);
    }
}
