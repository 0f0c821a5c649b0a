//! The files of `examples/workflows` do what they say: each is run, its questions are answered, and what comes of it is
//! looked at. A file without a line in the table here is a failure.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, Told};

/// Returns a place with a copy of the examples, which leaves the repository as it is.
fn place() -> Sandbox {
    let sandbox = Sandbox::new();
    copy(&repository().join("examples"), &sandbox.path().join("examples"));
    sandbox
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() && !from.ends_with("out") {
            copy(&from, &to);
        } else if from.is_file() {
            fs::copy(from, to).unwrap();
        }
    }
}

/// Who answers what: the step that asks, and the answer.
type Answers = &'static [(&'static str, &'static str)];

/// An example that needs nobody but those who answer, and what it results in.
struct Example {
    file: &'static str,
    arguments: &'static [&'static str],
    answers: Answers,
    output: fn(&Value),
}

const EXAMPLES: &[Example] = &[
    Example {
        file: "sales_report",
        arguments: &[],
        answers: &[],
        output: |output| {
            assert_eq!((&output["rate_calls"], &output["rows_left_out"]), (&json!(3), &json!(2)))
        },
    },
    Example {
        file: "order_checks",
        arguments: &[],
        answers: &[],
        output: |output| {
            assert_eq!(
                output["held"],
                json!(["O-1003 has no lines", "O-1004 is worth 1260.00, more than 1000"])
            );
            assert_eq!(output["ship"].as_array().unwrap().len(), 6);
        },
    },
    Example {
        file: "order_checks",
        arguments: &["--param", "limit=2000"],
        answers: &[],
        output: |output| assert_eq!(output["held"], json!(["O-1003 has no lines"])),
    },
    Example {
        file: "flaky_suppliers",
        arguments: &[],
        answers: &[],
        output: |output| assert_eq!(*output, json!({"paper": ["south", 3.9], "ink": ["west", 11.9]})),
    },
    Example {
        file: "approval",
        arguments: &[],
        answers: &[("approve", r#"{"approved": true, "discount": 15, "comment": "until Friday"}"#)],
        output: |output| {
            let expected =
                json!({"article": "Desk calendar 2026", "discount": 15, "comment": "until Friday"});
            assert_eq!(*output, expected);
        },
    },
    Example {
        file: "release_checklist",
        arguments: &["--param", "version=2.4.0"],
        answers: &[
            ("operations", r#"{"approved": true, "window": "weekend"}"#),
            ("quality", r#"{"approved": true}"#),
        ],
        output: |output| assert_eq!(*output, json!("2.4.0 goes out: weekend")),
    },
    Example {
        file: "release_checklist",
        arguments: &[],
        answers: &[
            ("quality", r#"{"approved": false, "remarks": "not today"}"#),
            ("operations", r#"{"approved": true}"#),
        ],
        output: |output| assert_eq!(*output, json!("not released: not today")),
    },
];

#[test]
fn every_example_results_in_what_it_says() {
    let sandbox = place();
    for (number, example) in EXAMPLES.iter().enumerate() {
        let (file, id) = (format!("examples/workflows/{}.yaml", example.file), format!("e{number}"));
        let run = [&["run", &file, "--run-id", &id], example.arguments].concat();
        let running = sandbox.spawn(&run);
        for (step, answer) in example.answers {
            let wait = sandbox.until(|sandbox| {
                let inbox = sandbox.run(&["inbox", "--json"]);
                let open = (inbox.code == 0).then(|| inbox.json()["waits"].clone())?;
                let asked =
                    open.as_array()?.iter().find(|wait| wait["run_id"] == *id && wait["step"] == *step)?;
                asked["wait_id"].as_str().map(str::to_owned)
            });
            let told = sandbox.run(&["answer", &wait, "--json-value", answer, "--by", "anna"]);
            assert_eq!(told.code, 0, "{file}: {told:?}");
        }
        let told = Told::of(&running.wait_with_output().unwrap());
        assert_eq!(told.code, 0, "{file}: {told:?}");
        (example.output)(&sandbox.run(&["show", &id, "--json"]).json()["output"]);
    }
}

/// The timer of two seconds and the signal, which may come before the step that waits for it.
#[test]
fn the_cooldown_waits_for_its_clock_and_its_signal() {
    let sandbox = place();
    let started = sandbox.run(&["run", "examples/workflows/cooldown.yaml", "--run-id", "c1", "--detach"]);
    assert_eq!(started.code, 0, "{started:?}");
    assert_eq!(sandbox.run(&["signal", "c1", "go", "--input", r#"{"speed": 3}"#]).code, 0);
    let told = sandbox.run(&["resume", "c1", "--json"]);
    assert_eq!(told.json()["output"], json!({"temperature": 50, "signal": {"speed": 3}}), "{told:?}");
}

/// Examples that other tests of this file run.
const ELSEWHERE: &[&str] = &["cooldown"];

#[test]
fn every_example_is_run_by_a_test_and_valid_without_a_warning() {
    let workflows = repository().join("examples/workflows");
    let there: BTreeSet<String> = fs::read_dir(workflows)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let run: BTreeSet<String> = EXAMPLES
        .iter()
        .map(|example| example.file)
        .chain(ELSEWHERE.iter().copied())
        .map(str::to_owned)
        .collect();
    assert_eq!(there, run);

    let sandbox = place();
    for name in there {
        let told = sandbox.run(&["validate", "--strict", &format!("examples/workflows/{name}.yaml")]);
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    }
}
