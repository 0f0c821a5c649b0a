//! What others wrote reaches a terminal as letters: it cannot steer it, and no line of it passes for one of ours.

use std::fs::File;
use std::process::Stdio;

use serde_json::json;

use crate::sandbox::{Sandbox, Told};

/// Sets the title, fills the clipboard, rings, goes up a line, turns the text around.
const STEERS: &str = "\u{1b}]0;title\u{7}\u{1b}]52;c;aGk=\u{7}\u{9b}A\u{202e}\u{2066}\r";
/// What a question, a result or a message would have to begin a line with to pass for ours.
const FORGED: [&str; 4] =
    ["run r1 is completed", "  trusted completed", "why: nothing", "error[NONE 0]: none"];

/// Steering and forged lines, as a string of JSON, of YAML and of Python.
fn hostile() -> String {
    quoted(&format!("begin{STEERS}\n{}\nend", FORGED.join("\n")))
}

fn quoted(text: &str) -> String {
    let escape = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) };
    json!(text).to_string().chars().map(escape).collect()
}

fn is_harmless(told: &Told) {
    for text in [&told.out, &told.err] {
        let steers = |c: char| (c.is_control() && !"\n\t".contains(c)) || "\u{202e}\u{2066}".contains(c);
        assert!(!text.contains(steers), "{text:?}");
        for line in text.lines() {
            assert!(!FORGED.iter().any(|forged| line.starts_with(forged)), "{text}");
        }
    }
}

#[test]
fn no_text_of_a_run_steers_the_terminal_or_forges_a_line() {
    let sandbox = Sandbox::new();
    let hostile = hostile();
    sandbox.write(
        "hostile.yaml",
        &format!(
            "steps:
  - {{name: asks, method: human/ask, params: {{prompt: {hostile}, options: [{hostile}, 'yes']}}}}
  - {{name: waits, method: signal/wait, params: {{name: {hostile}}}}}
  - {{name: raises, method: python/execute, on_failure: continue, params: {{code: {}}}}}
  - {{name: last, method: python/execute, needs: [asks, waits, raises], params: {{code: {}}}}}
",
            json!(format!("print({hostile}); raise ValueError({hostile})")),
            json!(format!("result = {hostile}")),
        ),
    );
    let child = sandbox.spawn(&["run", "hostile.yaml", "--run-id", "h1", "-m", &format!("tag={STEERS}")]);
    let wait = sandbox.until(|sandbox| {
        let told = sandbox.run(&["show", "h1", "--json"]);
        let is_asking = told.code == 0 && told.json()["why"].as_array()?.len() == 2;
        is_asking.then(|| sandbox.run(&["inbox", "--json"]).json()["waits"][0].clone())
    });
    let id = wait["wait_id"].as_str().unwrap();
    for args in [&["show", "h1"][..], &["inbox"], &["inbox", id]] {
        let told = sandbox.run(args);
        assert!(told.out.contains(r"\x1b]0;title\x07"), "{args:?}: {told:?}");
        is_harmless(&told);
    }
    let name: String = serde_json::from_str(&hostile).unwrap();
    is_harmless(&sandbox.run(&["signal", "h1", &name]));
    is_harmless(&sandbox.run(&["answer", id, "--text", "no"]));
    assert_eq!(sandbox.run(&["answer", id, "--text", "yes"]).code, 0);
    let told = Told::of(&child.wait_with_output().unwrap());
    assert_eq!(told.code, 0, "{told:?}");
    is_harmless(&told);
    let asked =
        told.err.find("asks: begin\\x1b]0;title\\x07\\x1b]52;c;aGk=\\x07\\u{9b}A\\u{202e}\\u{2066}\n");
    let further = told.err.find("\n    | run r1 is completed\n");
    assert!(asked.is_some() && further > asked, "the lines of a question are kept: {}", told.err);
    assert!(told.err.contains(r"waits for signal 'begin\x1b]0;"), "{}", told.err);
    assert!(told.out.contains("\n  run r1 is completed\n  "), "those of a result too: {}", told.out);
    for args in [&["show", "h1", "--context"][..], &["events", "h1"], &["list"]] {
        is_harmless(&sandbox.run(args));
    }
    let raw = sandbox.run(&["show", "h1", "--json"]);
    is_harmless(&raw);
    assert_eq!(raw.json()["results"]["last"]["result"], json!(name), "JSON says all of it");
}

#[test]
fn a_run_that_fails_and_a_definition_that_is_refused_quote_harmlessly_and_briefly() {
    let sandbox = Sandbox::new();
    let code = json!(format!("raise ValueError({} + 'x' * 50_000 + '!')", hostile()));
    let file = format!("steps: [{{name: raises, method: python/execute, params: {{code: {code}}}}}]");
    sandbox.write("raises.yaml", &file);
    let told = sandbox.run(&["run", "raises.yaml", "--run-id", "f1"]);
    assert_eq!(told.code, 1, "{told:?}");
    is_harmless(&told);
    assert!(told.err.contains("\nerror[TASK_EXECUTION_FAILED -29002]: step 'raises'"), "{}", told.err);
    assert!(told.err.contains("xx … ") && told.err.contains("x!\n"), "its end is told: {}", told.err);
    for shown in
        [&told.err, &told.out, &sandbox.run(&["show", "f1"]).out, &sandbox.run(&["events", "f1"]).out]
    {
        assert!(shown.len() < 12_000, "{} bytes", shown.len());
    }
    let error = sandbox.run(&["show", "f1", "--json"]).json()["error"]["message"].clone();
    assert!(error.as_str().unwrap().len() > 50_000, "--json has all of it");

    let long = "y".repeat(50_000);
    let when = quoted(&format!("{STEERS}{long} ~ 1"));
    sandbox.write(
        "when.yaml",
        &format!("steps: [{{name: a, method: timer/sleep, params: {{seconds: 0}}, when: {when}}}]"),
    );
    for args in [&["run", "when.yaml"][..], &["validate", "when.yaml"]] {
        let told = sandbox.run(args);
        assert_eq!(told.code, 3, "{}", told.err);
        is_harmless(&told);
        assert!(told.err.contains('…') && told.err.len() < 6_000, "{}", told.err);
    }
    let told = sandbox.run(&["run", "when.yaml", "--json"]);
    assert!(told.error()["message"].as_str().unwrap().contains(&long), "--json has all of it");
}

#[test]
fn a_file_or_argument_whose_name_steers_is_named_harmlessly() {
    let sandbox = Sandbox::new();
    sandbox.write("nap.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]");
    assert_eq!(sandbox.run(&["run", "nap.yaml"]).code, 0);
    let name = format!("{STEERS}\n{}.yaml", FORGED[3]);
    for args in [&["validate", &name][..], &["run", &name], &["show", &name]] {
        let told = sandbox.run(args);
        assert_ne!(told.code, 0, "{told:?}");
        assert!(told.err.contains(r"\x1b]0;title\x07"), "{told:?}");
        is_harmless(&told);
    }
    is_harmless(&sandbox.run(&["list", &format!("--{STEERS}")]));
}

#[test]
fn data_that_cannot_be_printed_is_an_error_and_not_half_an_answer() {
    let sandbox = Sandbox::new();
    sandbox.write("nap.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let child =
        sandbox.command(&["validate", "nap.yaml", "--json"]).stdout(full).stderr(Stdio::piped()).spawn();
    let told = Told::of(&child.unwrap().wait_with_output().unwrap());
    assert_eq!(told.code, 1, "{told:?}");
    assert!(told.error()["message"].as_str().unwrap().starts_with("cannot write the output: "), "{told:?}");
}

#[test]
fn a_run_whose_output_or_talk_cannot_be_written_is_carried_to_its_end() {
    let sandbox = Sandbox::new();
    sandbox.write("nap.yaml", "steps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]");
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let run = |id: &str| sandbox.command(&["run", "nap.yaml", "--run-id", id]);
    let told = Told::of(&run("o1").stdout(full()).output().unwrap());
    assert_eq!(told.code, 1, "{told:?}");
    let failures: Vec<&str> = told.err.lines().filter(|line| line.starts_with("error[")).collect();
    assert_eq!(failures.len(), 1, "{told:?}");
    assert!(failures[0].ends_with("; the run itself is completed: `stepwell show o1`"), "{told:?}");
    assert_eq!(Told::of(&run("o2").stderr(full()).output().unwrap()).code, 0, "talk is not missed");

    sandbox.write(
        "warns.yaml",
        "steps: [{name: a, method: python/execute, params: {file: none.py}, on_failure: continue}]",
    );
    let unread = |args: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        sandbox.command(args).stdout(Stdio::null()).stderr(writer).status().unwrap().code()
    };
    let started = unread(&["run", "warns.yaml", "--run-id", "o3", "--detach"]);
    assert_eq!(started, Some(0), "nor by a reader that is gone");
    assert_eq!(unread(&["resume", "o3"]), Some(0));

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    for args in [&["list"][..], &["completions", "bash"], &["man"], &["events", "o1", "--follow"]] {
        let writer = writer.try_clone().unwrap();
        let told = Told::of(&sandbox.command(args).stdout(writer).stderr(Stdio::piped()).output().unwrap());
        assert_eq!((told.code, &*told.err), (0, ""), "who reads no further is told nothing: {args:?}");
    }
    sandbox.write("fails.yaml", "steps: [{name: a, method: python/execute, params: {code: '1 / 0'}}]");
    let failed = sandbox.command(&["run", "fails.yaml"]).stdout(writer).stderr(Stdio::null()).status();
    assert_eq!(failed.unwrap().code(), Some(1), "the exit code is that of the run all the same");
    for id in ["o1", "o2", "o3"] {
        assert_eq!(sandbox.run(&["show", id, "--json"]).json()["status"], json!("completed"), "{id}");
    }
}
