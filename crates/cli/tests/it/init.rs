//! A new project: it runs, its instructions work, and nothing that is there is overwritten.

use std::io::{BufRead, BufReader};

use serde_json::json;

use crate::sandbox::Sandbox;
use crate::transcript::Transcript;

#[test]
fn what_a_new_project_says_to_type_works() {
    let sandbox = Sandbox::new();
    let mut transcript = Transcript::default();
    let told = transcript.run(&sandbox, &["init"]);
    assert_eq!(told.code, 0, "{told:?}");
    let next: Vec<Vec<String>> = told.err.lines().filter_map(command).collect();
    assert_eq!(next.len(), 4, "{told:?}");
    let readme = std::fs::read_to_string(sandbox.path().join("README.md")).unwrap();
    assert_eq!(readme.lines().filter_map(command).collect::<Vec<_>>(), next, "the README says the same");

    let mut carried = None;
    for words in &next {
        let args: Vec<&str> = words.iter().map(String::as_str).collect();
        match args[0] {
            "run" => {
                let mut child = sandbox.spawn(&args);
                let err = BufReader::new(child.stderr.take().unwrap());
                let mut lines = err.lines().map(Result::unwrap);
                let asks = lines.find(|line| line.contains("ask asks: ")).expect("it asks");
                assert!(asks.contains("5 files are here"), "{asks}");
                carried = Some((child, lines));
            }
            "show" => {
                let (mut child, lines) = carried.take().expect("it was run before");
                let rest: Vec<String> = lines.collect();
                assert!(child.wait().unwrap().success(), "{rest:?}");
                assert_eq!(transcript.run(&sandbox, &args).code, 0);
            }
            _ => assert_eq!(transcript.run(&sandbox, &args).code, 0, "{args:?}"),
        }
    }
    let report = std::fs::read_to_string(sandbox.path().join("report.txt")).unwrap();
    assert!(report.starts_with("5 files, the largest is "), "{report}");
    assert_eq!(sandbox.run(&["validate", "hello.yaml", "--strict"]).code, 0);
    assert_eq!(sandbox.run(&["doctor"]).code, 0);
    assert_eq!(transcript.run(&sandbox, &["init"]).code, 2);
    transcript.check("init");
}

/// Reads a line that says what to type.
fn command(line: &str) -> Option<Vec<String>> {
    let command = line.trim_start().strip_prefix("stepwell ")?;
    let command = command.split(" #").next().unwrap_or_default();
    Some(command.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn what_is_there_already_stays_as_it_is() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path().join("new dir");
    std::fs::create_dir(&dir).unwrap();
    for (name, text) in [(".gitignore", "target"), ("README.md", "mine")] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    let told = sandbox.run(&["init", "new dir", "--json"]);
    assert_eq!(
        told.json()["files"],
        json!(["stepwell.toml", "hello.yaml", "look.py", ".gitignore"]),
        "{told:?}"
    );
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(
        (read(".gitignore"), read("README.md")),
        ("target\n.stepwell/\n".to_owned(), "mine".to_owned())
    );
    std::fs::remove_file(dir.join("stepwell.toml")).unwrap();
    std::fs::write(dir.join("look.py"), "mine").unwrap();
    assert_eq!(sandbox.run(&["init", "new dir"]).code, 2);
    assert_eq!(read("look.py"), "mine");
    assert!(!dir.join("stepwell.toml").exists(), "nothing was written");
}

#[test]
fn every_shell_gets_completions_and_every_command_a_manual_page() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let told = sandbox.run(&["completions", shell]);
        assert!(told.code == 0 && told.out.contains("older-than"), "{shell}: {told:?}");
    }
    assert_eq!(sandbox.run(&["completions", "tcsh"]).code, 2);
    let script = sandbox.write("completions.bash", &sandbox.run(&["completions", "bash"]).out);
    if let Ok(checked) = std::process::Command::new("bash").arg("-n").arg(script).status() {
        assert!(checked.success(), "bash reads it");
    }
    let page = sandbox.run(&["man"]);
    assert!(page.code == 0 && page.out.contains(".TH stepwell 1"), "{page:?}");
    assert_eq!(sandbox.run(&["man", "--dir", "share/man1"]).code, 0);
    for name in ["stepwell", "stepwell-run", "stepwell-state-set"] {
        assert!(sandbox.path().join(format!("share/man1/{name}.1")).is_file(), "{name}");
    }
}
