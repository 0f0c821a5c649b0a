//! Several processes on one file. The others are this test program again, told by an environment variable what to be.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use stepwell_store::conformance::words::{Tale, at, finished, item, journal, lease, session, steps, told};
use stepwell_store::{CommitError, Error, SqliteOptions, SqliteStore, Store};

/// Another process.
pub(crate) struct Other {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Other {
    /// Starts this program as the test of that name, which finds `STEPWELL_TEST_FILE` and `STEPWELL_TEST_ROLE`.
    pub(crate) fn start(test: &str, file: &Path, role: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env("STEPWELL_TEST_FILE", file)
            .env("STEPWELL_TEST_ROLE", role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        Self { process, said }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns the next line it says to us; none when it has ended.
    pub(crate) fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.said.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // The test harness talks too, and does not always end its line.
            if let Some((_, said)) = line.split_once("> ") {
                return Some(said.trim_end().to_owned());
            }
        }
    }

    pub(crate) fn expect(&mut self, line: &str) {
        assert_eq!(self.hear().as_deref(), Some(line));
    }

    /// Lets it go on.
    pub(crate) fn nudge(&mut self) {
        self.process.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// Says a line to the process that started this one.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "> {line}").unwrap();
    out.flush().unwrap();
}

fn wait_for_nudge() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// Returns what this process is to be, if it was started as another one.
pub(crate) fn role() -> Option<(PathBuf, String)> {
    Some((std::env::var_os("STEPWELL_TEST_FILE")?.into(), std::env::var("STEPWELL_TEST_ROLE").ok()?))
}

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, SqliteOptions::default()).await.unwrap()
}

#[tokio::test]
#[ignore = "started by the other tests"]
async fn other() {
    let Some((path, role)) = role() else { return };
    match role.as_str() {
        "writes" => {
            let store = open(&path).await;
            session(&store, "writer").await;
            let mut tale = Tale::begin(&store, "theirs").await;
            say("begun");
            for i in 0..200 {
                tale.go_on(&store, &format!("{i}"), |_| {}).await;
            }
            say("done");
            wait_for_nudge();
        }
        "leases" => {
            let store = open(&path).await;
            let worker = session(&store, "worker").await;
            assert_eq!(steps(&lease(&store, worker, 1).await), ["a"]);
            say("leased");
            wait_for_nudge();
        }
        "holds" => {
            let store = open(&path).await;
            session(&store, "holder").await;
            let conn = rusqlite::Connection::open(&path).unwrap();
            conn.busy_timeout(Duration::from_secs(20)).unwrap();
            conn.execute_batch("BEGIN IMMEDIATE").unwrap();
            say("holding");
            wait_for_nudge();
            conn.execute_batch("COMMIT").unwrap();
            say("let go");
            wait_for_nudge();
        }
        "opens" => {
            let store = open(&path).await;
            Tale::begin(&store, &std::process::id().to_string()).await;
            say("opened");
        }
        "comes and goes" => {
            for i in 0..50 {
                let store = open(&path).await;
                let run = format!("{}-{i}", std::process::id());
                let mut tale = Tale::begin(&store, &run).await;
                tale.go_on(&store, &"large ".repeat(10_000), |_| {}).await;
                store.close().await.unwrap();
            }
            say("gone");
        }
        other => panic!("{other}"),
    }
}

const OTHER: &str = "processes::other";

#[tokio::test]
async fn two_processes_commit_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = open(&path).await;
    let us = session(&store, "us").await;
    assert!(store.others().await.unwrap().is_empty());
    let mut changes = store.changes();
    let mut ours = Tale::begin(&store, "ours").await;
    let mut other = Other::start(OTHER, &path, "writes");
    other.expect("begun");
    assert_eq!(store.others().await.unwrap(), [format!("pid {} (writer)", other.pid())]);
    let labels =
        [store.holder(1).await.unwrap(), store.holder(2).await.unwrap(), store.holder(3).await.unwrap()];
    assert_eq!(labels, [Some("us".to_owned()), Some("writer".to_owned()), None]);
    store.label_session(us, "us; we are late").await.unwrap();
    assert_eq!(store.holder(1).await.unwrap().unwrap(), "us; we are late");
    for i in 0..200 {
        ours.go_on(&store, &format!("{i}"), |_| {}).await;
    }
    other.expect("done");
    for run in ["ours", "theirs"] {
        let events = journal(&store, &run.into()).await;
        assert_eq!(events.len(), 201);
        assert_eq!(store.run(&run.into()).await.unwrap().revision.number, 201);
    }
    // What another process writes is noticed without a commit of our own.
    tokio::time::sleep(Duration::from_millis(600)).await;
    changes.mark_unchanged();
    let mut late = Other::start(OTHER, &path, "opens");
    late.expect("opened");
    tokio::time::timeout(Duration::from_secs(5), changes.changed()).await.unwrap().unwrap();
    // The writer's memory of a run that somebody else has changed is not trusted.
    let mut theirs = Tale {
        run: "theirs".into(),
        revision: store.run(&"theirs".into()).await.unwrap().revision,
        clock: 500,
    };
    theirs.go_on(&store, "from here", |_| {}).await;
}

#[tokio::test]
async fn a_stopped_process_is_not_taken_for_dead_and_a_killed_one_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = open(&path).await;
    let mut tale = Tale::begin(&store, "r").await;
    tale.ready(&store, [item("a")]).await;
    let mut other = Other::start(OTHER, &path, "leases");
    other.expect("leased");
    other.signal("STOP");
    for _ in 0..10 {
        assert!(store.lost_leases(at(100), 10).await.unwrap().is_empty());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tale.go_on(&store, "commits go on meanwhile", |_| {}).await;
    assert_eq!(store.others().await.unwrap().len(), 1);
    other.signal("CONT");
    assert!(store.lost_leases(at(100), 10).await.unwrap().is_empty());
    other.kill();
    // At once: the operating system gave its lock back.
    let lost = store.lost_leases(at(100), 10).await.unwrap();
    assert_eq!(lost.len(), 1);
    assert!(store.others().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_process_stopped_inside_a_transaction_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = open(&path).await;
    let mut tale = Tale::begin(&store, "r").await;
    let mut other = Other::start(OTHER, &path, "holds");
    other.expect("holding");
    other.signal("STOP");

    // One who is in a hurry is told who it is.
    let options = SqliteOptions { busy_timeout: Duration::from_secs(1), ..SqliteOptions::default() };
    let hasty = SqliteStore::open(&path, options).await.unwrap();
    let since = Instant::now();
    let refused = hasty.commit(tale.batch("in a hurry")).await;
    let Err(CommitError::Store(Error::Unavailable { source, .. })) = &refused else { panic!("{refused:?}") };
    assert!(source.to_string().contains(&format!("pid {}", other.pid())), "{source}");
    assert!(since.elapsed() > Duration::from_millis(900));
    hasty.close().await.unwrap();

    let commit = tale.go_on(&store, "waited", |_| {});
    let mut commit = std::pin::pin!(commit);
    let early = tokio::time::timeout(Duration::from_secs(3), commit.as_mut()).await;
    assert!(early.is_err(), "it has to wait");
    other.signal("CONT");
    other.nudge();
    other.expect("let go");
    tokio::time::timeout(Duration::from_secs(20), commit).await.unwrap();
    assert_eq!(told(&journal(&store, &"r".into()).await), ["created", "waited"]);
}

#[tokio::test]
async fn many_processes_make_one_store_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let mut others: Vec<Other> = (0..6).map(|_| Other::start(OTHER, &path, "opens")).collect();
    for other in &mut others {
        other.expect("opened");
    }
    let store = open(&path).await;
    for other in &others {
        let run = other.pid().to_string();
        assert_eq!(told(&journal(&store, &run.as_str().into()).await), ["created"]);
    }
}

#[tokio::test]
async fn a_store_is_opened_while_others_close_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let mut others: Vec<Other> = (0..4).map(|_| Other::start(OTHER, &path, "comes and goes")).collect();
    for other in &mut others {
        other.expect("gone");
    }
}

#[tokio::test]
async fn two_stores_in_one_process_behave_as_two_processes_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let (one, two) = (open(&path).await, open(&path).await);
    session(&one, "one").await;
    let worker = session(&two, "two").await;
    let mut tale = Tale::begin(&one, "r").await;
    tale.ready(&one, [item("a")]).await;
    assert_eq!(lease(&two, worker, 10).await.len(), 1);
    assert!(one.lost_leases(at(100), 10).await.unwrap().is_empty());
    assert_eq!(one.others().await.unwrap(), [format!("pid {} (two)", std::process::id())]);
    // Each sees at once what the other wrote.
    let mut same = tale.clone();
    same.go_on(&two, "by two", |_| {}).await;
    assert!(matches!(one.commit(tale.batch("by one")).await, Err(CommitError::Stale { .. })));
    tale = same;
    tale.go_on(&one, "by one", |batch| batch.row = finished(30)).await;
    drop(two);
    assert_eq!(one.lost_leases(at(100), 10).await.unwrap().len(), 1);
    assert!(one.others().await.unwrap().is_empty());
    // The first store still has its locks: closing the second took none away.
    let mut other = Other::start(OTHER, &path, "writes");
    other.expect("begun");
    other.expect("done");
}
