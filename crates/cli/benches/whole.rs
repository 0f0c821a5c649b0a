//! What whole commands take, from their start to their end: the best of some, and the median.
//!
//! `cargo bench -p stepwell-cli --bench whole [TIMES]`. Goals: `validate` of a trivial file 15 ms, a definition of 10 000 steps
//! 0.3 s (with a bad one too), 100 Python tasks 1 s (spec/gleitzeit.md §8, G39).
#![allow(clippy::print_stdout, missing_docs, reason = "a bench prints its numbers")]

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const STEPS: usize = 10_000;
const TASKS: usize = 100;

fn main() {
    let times = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let large = large();
    let bad = large.replacen("needs: [s7776]", "needs: [s77776]", 1);
    assert_ne!(bad, large);
    for (name, text) in [("trivial", trivial()), ("large", large), ("bad", bad), ("python", python())] {
        std::fs::write(dir.path().join(format!("{name}.yaml")), text).expect("a new file");
    }
    for (what, args, code) in [
        ("--version", &["--version"][..], 0),
        ("validate, one step", &["validate", "trivial.yaml"], 0),
        ("validate, 10 000 steps", &["validate", "large.yaml"], 0),
        ("validate, 10 000 steps with a bad one", &["validate", "bad.yaml"], 3),
        ("run, one step", &["run", "trivial.yaml"], 0),
        ("run, 100 Python tasks", &["run", "python.yaml"], 0),
    ] {
        let mut took: Vec<Duration> = (0..times).map(|_| run(dir.path(), args, code)).collect();
        took.sort();
        println!("{what}: best {:?}, median {:?}", took[0], took[took.len() / 2]);
    }
}

fn trivial() -> String {
    "steps:\n  - {name: only, method: timer/sleep, params: {seconds: 0}}\n".to_owned()
}

fn large() -> String {
    let mut text = String::from("steps:\n  - {name: s0, method: timer/sleep, params: {seconds: 0}}\n");
    for i in 1..STEPS {
        writeln!(
            text,
            "  - name: s{i}\n    method: timer/sleep\n    needs: [s{}]\n    params:\n      seconds: {i}",
            i - 1
        )
        .expect("a String takes all");
    }
    text
}

fn python() -> String {
    let mut text = String::from("steps:\n");
    for i in 0..TASKS {
        writeln!(text, "  - {{name: p{i}, method: python/execute, params: {{code: 'result = {i}'}}}}")
            .expect("a String takes all");
    }
    text
}

fn run(dir: &Path, args: &[&str], code: i32) -> Duration {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepwell"));
    command.args(args).current_dir(dir).env_remove("STEPWELL_STORE");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let status = command.status().expect("the command starts");
    let took = began.elapsed();
    assert_eq!(status.code(), Some(code), "{args:?}");
    took
}
