//! What the tests of several providers share: waiting, and looking at processes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use stepwell_providers::isolation::Isolation;
use tempfile::TempDir;

/// Confines of tasks whose only root is that directory.
pub(crate) fn within(directory: &TempDir) -> Isolation {
    Isolation { roots: vec![directory.path().to_owned()], ..Isolation::default() }
}

/// Waits until `condition` holds; fails with `what` after ten seconds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(10), "not within ten seconds: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process runs: one that is dead but not yet reaped does not.
pub(crate) fn runs(pid: i64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

/// The parent of a process that runs.
pub(crate) fn parent_of(pid: i64) -> i64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields = stat.rsplit(')').next().expect("after the name");
    fields.split_whitespace().nth(1).expect("the second field").parse().expect("a number")
}

pub(crate) fn read_pid(path: &Path) -> Option<i64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(crate) async fn pid_in(path: &Path) -> i64 {
    eventually("a script writes its pid", || read_pid(path).is_some()).await;
    read_pid(path).expect("it was there")
}

pub(crate) fn kill(pid: i64) {
    signal(pid, "KILL");
}

pub(crate) fn signal(pid: i64, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().expect("kill runs");
    assert!(sent.success(), "no signal {name} to {pid}");
}

/// Starts processes of every kind that outlive a careless script; each writes its pid, then waits.
pub(crate) const FAMILY: &str = "import os, subprocess, sys, time
wait = 'import os, time; open(%r, \"w\").write(str(os.getpid())); time.sleep(60)'
def start(name, **how): return subprocess.Popen([sys.executable, '-c', wait % name], **how)
start('plain')
start('session', start_new_session=True, stdout=subprocess.DEVNULL)
if os.fork() == 0:                                  # the classic daemon: fork, new session, fork
    os.setsid()
    if os.fork() == 0:
        open('daemon', 'w').write(str(os.getpid()))
        time.sleep(60)
    os._exit(0)
while not all(os.path.exists(n) and os.path.getsize(n) for n in ('plain', 'session', 'daemon')):
    time.sleep(0.01)
";

/// Returns the numbers of the processes of [`FAMILY`], which started in that directory.
pub(crate) fn family(directory: &Path) -> Vec<i64> {
    ["plain", "session", "daemon"]
        .map(|name| read_pid(&directory.join(name)).unwrap_or_else(|| panic!("{name} has started")))
        .to_vec()
}
