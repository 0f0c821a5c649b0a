//! The demo shows what it claims, leaves nothing behind, and ends when it is asked to.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::sandbox::{Sandbox, Told, send};

/// Returns whether any process works in that directory.
fn is_somebody_in(dir: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .flatten()
        .any(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir)))
}

/// Has the demo make its project in this directory instead of the system's one for temporary files.
fn here(sandbox: &Sandbox, args: &[&str]) -> std::process::Command {
    std::fs::create_dir(sandbox.path().join("tmp")).unwrap();
    let mut command = sandbox.command(args);
    command.env("TMPDIR", sandbox.path().join("tmp"));
    command
}

fn is_empty(sandbox: &Sandbox) -> bool {
    std::fs::read_dir(sandbox.path().join("tmp")).unwrap().next().is_none()
}

#[test]
fn the_demo_goes_through_by_itself_where_nobody_watches_and_all_its_claims_hold() {
    let sandbox = Sandbox::new();
    let told = Told::of(&here(&sandbox, &["demo"]).output().unwrap());
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains("\nkill -9 ") && !told.out.contains('✗'), "{told:?}");
    assert!(
        told.out.contains("  ✓ `offer` was attempted twice: the first attempt is journaled as lost"),
        "{told:?}"
    );
    assert!(told.out.contains("  ✓ the question was answered once, by demo\n"), "{told:?}");
    assert!(told.err.contains("\nall 13 claims hold: the demo has looked\n"), "{told:?}");
    assert!(is_empty(&sandbox) && !is_somebody_in(sandbox.path()), "nothing is left");
}

#[test]
fn the_demo_tells_its_claims_as_json_and_keeps_its_project_on_request() {
    let sandbox = Sandbox::new();
    let told = Told::of(&here(&sandbox, &["demo", "--json", "--keep", "kept"]).output().unwrap());
    assert_eq!(told.code, 0, "{told:?}");
    let claims = told.json();
    assert_eq!(
        (claims["claims"].as_array().unwrap().len(), &claims["holds"]),
        (13, &json!(true)),
        "{told:?}"
    );
    let kept = sandbox.path().join("kept");
    let shown = Told::of(&sandbox.command(&["show", "tour", "--json"]).current_dir(&kept).output().unwrap());
    assert_eq!(shown.json()["results"]["letter"]["result"], json!("sent: 200.0 euro"));
    let again = sandbox.run(&["demo", "--keep", "kept"]);
    assert!(again.code == 2 && again.err.contains("it is not empty"), "{again:?}");
}

#[test]
fn a_demo_that_is_interrupted_leaves_no_process_and_no_file() {
    let sandbox = Sandbox::new();
    let mut command = here(&sandbox, &["demo"]);
    // A group of its own, as a shell gives it; the interrupt goes to the demo alone all the same.
    let child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    sandbox.until(|sandbox| is_somebody_in(&sandbox.path().join("tmp")).then_some(()));
    send(child.id(), libc::SIGINT);
    let told = Told::of(&child.wait_with_output().unwrap());
    assert_eq!(told.code, 130, "{told:?}");
    assert!(is_empty(&sandbox), "nothing is left");
    sandbox.until(|sandbox| (!is_somebody_in(&sandbox.path().join("tmp"))).then_some(()));
}

#[test]
fn on_a_terminal_the_demo_waits_for_enter_and_its_question_is_answered_there() {
    let sandbox = Sandbox::new();
    let mut terminal = sandbox.on_terminal(120, &["demo"]);
    let go_on = |part: &str| {
        terminal.until(part, |text| text.contains(part) && text.ends_with("Ctrl-C ends the demo"));
        terminal.types("\r");
    };
    go_on("name: letter");
    go_on("1. It runs");
    go_on("What stands in its store");
    go_on("its worker is gone");
    go_on("3. It goes on");
    terminal.shows("| Send the offer over 200.0 euro?");
    terminal.types("2\r");
    go_on("run tour of tour is completed");
    assert_eq!(terminal.ends(), 0);
    let text = terminal.text();
    assert!(
        text.contains("all 13 claims hold") && text.contains("✓ the question was answered once, by "),
        "{text}"
    );
    terminal.is_given_back();
}
