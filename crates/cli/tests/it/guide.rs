//! The guide (`docs/guide/ten-minutes.md`) does what it says: its files are written and its commands are typed, in order.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::sandbox::{Sandbox, send};

/// What a reader of the guide does: writes a file, or types a line.
enum Deed {
    Write { file: String, text: String },
    Type(String),
}

/// Reads the guide. Blocks of the kind `console` are for people at a terminal.
fn deeds() -> Vec<Deed> {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/ten-minutes.md");
    let mut deeds = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in fs::read_to_string(guide).unwrap().lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(kind), None) => open = Some((kind.to_owned(), String::new())),
            (Some(_), Some((kind, text))) => {
                if let Some((_, file)) = kind.split_once(" file=") {
                    deeds.push(Deed::Write { file: file.to_owned(), text: text.clone() });
                } else if kind == "sh" {
                    deeds.extend(text.lines().map(|line| Deed::Type(line.to_owned())));
                }
                open = None;
            }
            (None, Some((_, text))) => text.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    deeds
}

/// A shell in a directory of its own, with the program on its path.
struct Shell {
    sandbox: Sandbox,
    dir: std::path::PathBuf,
}

impl Shell {
    fn command(&self, line: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_stepwell")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-c", line]).current_dir(&self.dir).env("PATH", path).env_remove("STEPWELL_STORE");
        command.stdin(Stdio::null());
        command
    }
}

#[test]
fn the_guide_can_be_typed_as_it_stands() {
    let sandbox = Sandbox::new();
    let mut shell = Shell { dir: sandbox.path().to_owned(), sandbox };
    let mut worker = None;
    let mut typed = 0;
    for deed in deeds() {
        match deed {
            Deed::Write { file, text } => fs::write(shell.dir.join(file), text).unwrap(),
            Deed::Type(line) => {
                typed += 1;
                if let Some(dir) = line.strip_prefix("cd ") {
                    shell.dir = shell.dir.join(dir);
                } else if let Some(line) = line.strip_suffix(" &") {
                    let mut command = shell.command(&format!("exec {line}"));
                    worker = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
                } else {
                    // A person looks until the question is there.
                    let begin = Instant::now();
                    let told = loop {
                        let told = shell.command(&line).output().unwrap();
                        let is_early =
                            line.starts_with("stepwell answer") && matches!(told.status.code(), Some(4 | 5));
                        if !is_early || begin.elapsed() > Duration::from_secs(60) {
                            break told;
                        }
                        std::thread::sleep(Duration::from_millis(50));
                    };
                    // The line that kills ends as the kill does.
                    let is_killed = line.contains("kill -9");
                    assert!(told.status.success() || is_killed, "{line}: {told:?}");
                }
            }
        }
    }
    assert!(typed >= 15, "the guide has commands");
    let worker = worker.expect("the guide starts a worker");
    send(worker.id(), libc::SIGTERM);
    assert!(worker.wait_with_output().unwrap().status.success());
    let events = shell.command("stepwell events slow-1").output().unwrap();
    let events = String::from_utf8(events.stdout).unwrap();
    assert_eq!(events.matches("AttemptStarted first").count(), 1, "{events}");
    assert!(events.contains("StepCompleted second"), "{events}");
    let report = fs::read_to_string(shell.dir.join("words.md")).unwrap();
    assert!(report.contains("hello.yaml"), "{report}");
    assert!(shell.dir.join("copy.db").exists() && shell.dir.join("report.txt").exists());
    drop(shell.sandbox);
}
