//! A process that is asked to end: what is under way finishes, what it says is how to go on, and a second request does
//! not wait.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};

use libc::{SIGHUP, SIGINT, SIGTERM};
use serde_json::json;

use crate::sandbox::{Sandbox, send};

/// The first step goes on until the file `go` is there.
const WAITS: &str = "id: waits
steps:
  - name: a
    method: python/execute
    params:
      code: |
        import os, time
        while not os.path.exists('go'):
            time.sleep(0.01)
        result = 'done'
  - {name: b, method: timer/sleep, needs: [a], params: {seconds: 0}}
";

/// A command that goes on, and what it tells.
struct Going {
    child: Child,
    talk: BufReader<ChildStderr>,
}

impl Going {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let talk = BufReader::new(child.stderr.take().unwrap());
        Self { child, talk }
    }

    /// Waits for a line that says this, and returns it.
    fn says(&mut self, part: &str) -> String {
        let mut told = String::new();
        loop {
            let start = told.len();
            assert_ne!(self.talk.read_line(&mut told).unwrap(), 0, "it never says {part:?}: {told}");
            if told[start..].contains(part) {
                return told[start..].to_owned();
            }
        }
    }

    fn send(&self, signal: libc::c_int) {
        send(self.child.id(), signal);
    }

    /// Waits for its end and returns its exit code and what else it told.
    fn ends(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.talk.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

fn steps(sandbox: &Sandbox, run: &str) -> Vec<(String, u64)> {
    let shown = sandbox.run(&["show", run, "--json"]).json();
    let steps = shown["steps"].as_array().unwrap().iter();
    steps
        .map(|step| (step["status"].as_str().unwrap().to_owned(), step["attempts"].as_u64().unwrap()))
        .collect()
}

#[test]
fn a_run_that_is_asked_to_end_lets_its_script_finish_and_says_how_to_go_on() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let sandbox = Sandbox::new();
        sandbox.write("waits.yaml", WAITS);
        let mut run = Going::start(&mut sandbox.command(&["run", "waits.yaml", "--run-id", "r1"]));
        run.says("a started");
        run.send(signal);
        let said = run.says("interrupted");
        assert!(said.contains("`stepwell resume r1`") && said.contains("once more"), "{said}");
        sandbox.write("go", "");
        let (code, rest) = run.ends();
        assert_eq!(code, Some(130), "signal {signal}: {rest}");
        assert_eq!(steps(&sandbox, "r1")[0], ("completed".to_owned(), 1), "signal {signal}: it is kept");
        let resumed = sandbox.run(&["resume", "r1", "--json"]);
        assert_eq!((resumed.code, &resumed.json()["status"]), (0, &json!("completed")), "{resumed:?}");
        assert_eq!(steps(&sandbox, "r1")[0], ("completed".to_owned(), 1), "it did not run again");
    }
}

#[test]
fn a_worker_that_is_asked_to_end_lets_its_script_finish_and_its_exit_code_says_how_it_was_asked() {
    for (signal, expected) in [(SIGTERM, 0), (SIGINT, 130), (SIGHUP, 130)] {
        let sandbox = Sandbox::new();
        sandbox.write("waits.yaml", WAITS);
        assert_eq!(sandbox.run(&["run", "waits.yaml", "--run-id", "r1", "--detach"]).code, 0);
        let mut worker = Going::start(&mut sandbox.command(&["worker"]));
        sandbox.until(|sandbox| (steps(sandbox, "r1")[0].0 == "running").then_some(()));
        worker.send(signal);
        worker.says("once more ends it now");
        sandbox.write("go", "");
        let (code, rest) = worker.ends();
        assert_eq!(code, Some(expected), "signal {signal}: {rest}");
        assert_eq!(steps(&sandbox, "r1")[0], ("completed".to_owned(), 1), "signal {signal}: it is kept");
    }
}

#[test]
fn a_worker_whose_store_was_taken_away_ends_and_says_so() {
    let sandbox = Sandbox::new();
    let mut worker = Going::start(&mut sandbox.command(&["worker", "--store", "sqlite://s.db"]));
    worker.says("waiting for work");
    std::fs::rename(sandbox.path().join("s.db"), sandbox.path().join("elsewhere.db")).unwrap();
    let (code, told) = worker.ends();
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("PERSISTENCE_CONNECTION_FAILED") && told.contains("was moved or deleted"),
        "{told}"
    );
}

#[test]
fn a_second_request_ends_it_now_and_gives_back_what_was_under_way() {
    for (command, ready) in [(&["resume", "r1"][..], "a started"), (&["worker"], "is waiting for work")] {
        let sandbox = Sandbox::new();
        sandbox.write("waits.yaml", WAITS);
        assert_eq!(sandbox.run(&["run", "waits.yaml", "--run-id", "r1", "--detach"]).code, 0);
        let mut going = Going::start(&mut sandbox.command(command));
        going.says(ready);
        sandbox.until(|sandbox| (steps(sandbox, "r1")[0].0 == "running").then_some(()));
        going.send(SIGINT);
        going.says("once more ends it now");
        going.send(SIGTERM);
        going.says("ending now");
        assert_eq!(going.ends().0, Some(130), "{command:?}");
        assert_eq!(steps(&sandbox, "r1")[0].0, "ready", "{command:?}");
        sandbox.write("go", "");
        assert_eq!(sandbox.run(&["resume", "r1"]).code, 0, "{command:?}");
    }
}

#[test]
fn a_second_hang_up_is_the_first_one_told_again() {
    let sandbox = Sandbox::new();
    sandbox.write("waits.yaml", WAITS);
    let mut run = Going::start(&mut sandbox.command(&["run", "waits.yaml", "--run-id", "r1"]));
    run.says("a started");
    run.send(SIGHUP);
    run.says("interrupted");
    run.send(SIGHUP);
    sandbox.write("go", "");
    let (code, rest) = run.ends();
    assert_eq!((code, rest.contains("ending now")), (Some(130), false), "{rest}");
    assert_eq!(steps(&sandbox, "r1")[0], ("completed".to_owned(), 1));
}

#[test]
fn a_run_that_is_to_outlive_its_terminal_does() {
    let sandbox = Sandbox::new();
    sandbox.write("waits.yaml", WAITS);
    let mut command = sandbox.command(&["run", "waits.yaml", "--run-id", "r1"]);
    ignoring_hang_ups(&mut command);
    let mut run = Going::start(&mut command);
    run.says("a started");
    run.send(SIGHUP);
    sandbox.write("go", "");
    let (code, rest) = run.ends();
    assert_eq!(code, Some(0), "{rest}");
}

/// As `nohup` does.
#[expect(unsafe_code, reason = "only between fork and exec can a child be told so")]
fn ignoring_hang_ups(command: &mut Command) {
    // SAFETY: setting a signal's disposition is allowed there.
    unsafe {
        command.pre_exec(|| {
            libc::signal(SIGHUP, libc::SIG_IGN);
            Ok(())
        });
    }
}

#[test]
fn a_run_whose_talk_nobody_reads_any_more_ends_well_all_the_same() {
    let sandbox = Sandbox::new();
    sandbox.write("waits.yaml", WAITS);
    let mut run = Going::start(&mut sandbox.command(&["run", "waits.yaml", "--run-id", "r1"]));
    run.says("a started");
    let Going { mut child, talk } = run;
    drop(talk);
    send(child.id(), SIGINT);
    sandbox.write("go", "");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(steps(&sandbox, "r1")[0], ("completed".to_owned(), 1));
}
