//! Files that are no store of ours, or no longer one: a clear error, and not a byte of them changed.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::json;

use crate::sandbox::Sandbox;

const NAP: &str = "id: nap\nsteps: [{name: nap, method: timer/sleep, params: {seconds: 0}}]\n";

/// Makes a store with one finished run in it.
fn store(sandbox: &Sandbox) -> PathBuf {
    sandbox.write("nap.yaml", NAP);
    let told = sandbox.run(&["run", "nap.yaml", "--store", "sqlite://store.db", "--run-id", "n1", "--json"]);
    assert_eq!(told.code, 0, "{told:?}");
    let path = sandbox.path().join("store.db");
    // Whoever closes it last brings what is left of the log into the file.
    Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert!(!path.with_extension("db-wal").exists());
    path
}

/// Returns the names and contents of all files but the lock file.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let kept = paths.filter(|path| path.extension().is_none_or(|suffix| suffix != "lock"));
    let mut files: Vec<_> = kept.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    files.sort();
    files
}

/// Every command that could touch the store refuses it, says why, and leaves everything as it is.
fn is_refused(sandbox: &Sandbox, what: &str, reason: &str) {
    let before = files(sandbox.path());
    let url = "sqlite://store.db";
    for args in [
        &["run", "nap.yaml", "--store", url, "--json"][..],
        &["run", "nap.yaml", "--store", url, "--json", "--detach"],
        &["list", "--store", url, "--json"],
        &["show", "n1", "--store", url, "--json"],
        &["resume", "n1", "--store", url, "--json"],
        &["worker", "--store", url, "--json"],
    ] {
        let told = sandbox.run(args);
        assert_eq!((told.code, told.out.as_str()), (1, ""), "{what}: {args:?}: {told:?}");
        let error = told.error();
        assert_eq!(error["name"], json!("PERSISTENCE_INTEGRITY_ERROR"), "{what}: {args:?}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("store.db") && message.contains(reason), "{what}: {args:?}: {message}");
        assert!(error["hint"].as_str().unwrap().contains("--store"), "{what}: {error}");
        assert!(before == files(sandbox.path()), "{what}: {args:?} changed a file or left one behind");
    }
}

#[test]
fn a_damaged_store_is_refused_and_left_as_it_is() {
    let sandbox = Sandbox::new();
    let path = store(&sandbox);
    let whole = std::fs::read(&path).unwrap();
    let damage = |bytes: &mut Vec<u8>, range: std::ops::Range<usize>| {
        bytes[range].iter_mut().for_each(|byte| *byte ^= 0xFF);
    };
    for (what, range) in [
        ("the magic words", 0..16),
        ("the size of a page", 16..18),
        ("the first page", 100..4_096),
        ("everything behind the first page", 4_096..whole.len()),
    ] {
        let mut damaged = whole.clone();
        damage(&mut damaged, range);
        std::fs::write(&path, &damaged).unwrap();
        is_refused(&sandbox, what, "");
    }
    for length in [1, 50, 100, 4_096, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        is_refused(&sandbox, &format!("cut to {length}"), "");
    }
    std::fs::write(&path, &whole).unwrap();
    let told = sandbox.run(&["show", "n1", "--store", "sqlite://store.db", "--json"]);
    assert_eq!((told.code, &told.json()["status"]), (0, &json!("completed")));
}

#[test]
fn a_page_that_is_damaged_is_never_read_as_something_else() {
    let sandbox = Sandbox::new();
    let path = store(&sandbox);
    let whole = std::fs::read(&path).unwrap();
    let intact = sandbox.run(&["events", "n1", "--store", "sqlite://store.db", "--json"]);
    for page in 1..whole.len() / 4_096 {
        let mut damaged = whole.clone();
        damaged[page * 4_096..(page + 1) * 4_096].iter_mut().for_each(|byte| *byte ^= 0xFF);
        std::fs::write(&path, &damaged).unwrap();
        let told = sandbox.run(&["events", "n1", "--store", "sqlite://store.db", "--json"]);
        if told.code == 0 {
            assert_eq!(told.out, intact.out, "page {page}");
        } else {
            assert_eq!(told.error()["name"], json!("PERSISTENCE_INTEGRITY_ERROR"), "page {page}: {told:?}");
        }
        assert!(std::fs::read(&path).unwrap() == damaged, "page {page}: the file was changed");
    }
}

#[test]
fn a_foreign_file_is_refused_and_left_as_it_is() {
    let sandbox = Sandbox::new();
    sandbox.write("nap.yaml", NAP);
    let path = sandbox.write("store.db", &"Dear diary, this is no database.\n".repeat(500));
    is_refused(&sandbox, "a text", "it is not a SQLite database");
    for mode in ["DELETE", "WAL"] {
        std::fs::remove_file(&path).unwrap();
        let foreign = Connection::open(&path).unwrap();
        foreign.pragma_update(None, "journal_mode", mode).unwrap();
        foreign.execute_batch("CREATE TABLE runs (id TEXT); INSERT INTO runs VALUES ('mine');").unwrap();
        drop(foreign);
        is_refused(&sandbox, mode, "it is a database of another program");
    }
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_as_it_is() {
    let sandbox = Sandbox::new();
    let path = store(&sandbox);
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 4_711).unwrap();
    drop(newer);
    is_refused(&sandbox, "newer", "4711");
}
