//! Files: ours, foreign, damaged, newer, full.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use serde_json::json;
use stepwell_core::run::event::Event;
use stepwell_store::conformance::words::{Tale, any_work, at, journal, note, told};
use stepwell_store::{CommitError, Error, SqliteOptions, SqliteStore, Store, open, survey};

async fn open_file(path: &Path) -> Result<SqliteStore, Error> {
    SqliteStore::open(path, SqliteOptions::default()).await
}

/// Makes a store with one run in it and closes it.
async fn make(path: &Path) {
    let store = open_file(path).await.unwrap();
    Tale::begin(&store, "r").await;
    store.close().await.unwrap();
}

/// Opens a file that must be refused as `Corrupt`, twice, and looks that nothing in its directory has changed.
async fn is_refused_and_left_alone(path: &Path) -> String {
    let listing = || {
        let dir = std::fs::read_dir(path.parent().unwrap()).unwrap();
        let mut files: Vec<PathBuf> = dir.map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_none_or(|extension| extension != "lock"));
        files.sort();
        files.into_iter().map(|file| (std::fs::read(&file).unwrap(), file)).collect::<Vec<_>>()
    };
    let before = listing();
    let mut reasons = Vec::new();
    for _ in 0..2 {
        match open_file(path).await {
            Err(Error::Corrupt { what, reason }) => {
                assert!(what.contains(path.to_str().unwrap()), "{what}");
                reasons.push(reason);
            }
            other => panic!("{other:?}"),
        }
        assert!(before == listing(), "the file or its neighbours have changed");
    }
    assert_eq!(reasons[0], reasons[1]);
    reasons.remove(0)
}

#[tokio::test]
async fn a_foreign_file_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "Dear diary, this is no database.".repeat(10)).unwrap();
    assert_eq!(is_refused_and_left_alone(&path).await, "it is not a SQLite database");
    let path = dir.path().join("short.db");
    std::fs::write(&path, "SQLite format 3\0 and little more").unwrap();
    assert_eq!(is_refused_and_left_alone(&path).await, "its header is cut off");
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for (name, pragmas) in
        [("plain.db", ""), ("wal.db", "PRAGMA journal_mode = WAL;"), ("id.db", "PRAGMA application_id = 7;")]
    {
        let path = dir.path().join(name);
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(&format!(
            "{pragmas} CREATE TABLE runs (key INTEGER); INSERT INTO runs VALUES (1);"
        ))
        .unwrap();
        // Held open: the file of a program that runs, with its log beside it.
        assert_eq!(is_refused_and_left_alone(&path).await, "it is a database of another program");
        drop(conn);
        assert_eq!(is_refused_and_left_alone(&path).await, "it is a database of another program");
    }
}

#[tokio::test]
async fn a_newer_file_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    make(&path).await;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 4_711).unwrap();
    let reason = is_refused_and_left_alone(&path).await;
    assert!(reason.contains("4711"), "{reason}");
}

#[tokio::test]
async fn a_file_of_the_first_schema_is_brought_to_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    make(&path).await;
    let first = "ALTER TABLE work DROP COLUMN resources; DROP TABLE lingering; PRAGMA user_version = 1;";
    Connection::open(&path).unwrap().execute_batch(first).unwrap();
    let store = open_file(&path).await.unwrap();
    assert_eq!(told(&journal(&store, &"r".into()).await), ["created"]);
    assert!(
        store
            .lease(any_work(store.open_session("worker", at(1)).await.unwrap(), 1))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    make(&path).await;
    let whole = std::fs::read(&path).unwrap();
    let pages = whole.len() / 4_096;
    assert!(pages > 10);

    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(is_refused_and_left_alone(&path).await, "its end is missing");
    let places = [("schema", 100..4_096), ("all tables", 4_096..whole.len())];
    for (name, range) in places {
        let mut damaged = whole.clone();
        damaged[range].fill(0xA5);
        std::fs::write(&path, &damaged).unwrap();
        let reason = is_refused_and_left_alone(&path).await;
        assert!(!reason.is_empty(), "{name}");
    }
    std::fs::write(&path, &whole).unwrap();
    let store = open_file(&path).await.unwrap();
    assert_eq!(told(&journal(&store, &"r".into()).await), ["created"]);
}

#[tokio::test]
async fn a_store_that_has_lost_its_version_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    make(&path).await;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 0).unwrap();
    assert_eq!(is_refused_and_left_alone(&path).await, "the version of its schema is lost");
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    std::fs::write(&path, "").unwrap();
    make(&path).await;
    let store = open_file(&path).await.unwrap();
    assert_eq!(told(&journal(&store, &"r".into()).await), ["created"]);
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = open_file(&path).await.unwrap();
    let mut tale = Tale::begin(&store, "r").await;
    for i in 0..20 {
        tale.go_on(&store, &format!("{i}"), |_| {}).await;
    }
    store.close().await.unwrap();
    drop(store);
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the database and its lock file, not {names:?}");
    let store = open_file(&path).await.unwrap();
    assert_eq!(store.run(&tale.run).await.unwrap().revision, tale.revision);
    tale.go_on(&store, "and on", |_| {}).await;
    assert_eq!(journal(&store, &tale.run).await.len(), 22);
}

#[tokio::test]
async fn sqlite_is_new_enough() {
    // Up to 3.51.2 a checkpoint beside a writer could damage the file.
    let version: String = Connection::open_in_memory()
        .unwrap()
        .query_row("SELECT sqlite_version()", [], |row| row.get(0))
        .unwrap();
    let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
    assert!(parts >= vec![3, 51, 3], "{version}");
}

#[tokio::test]
async fn an_unchanged_large_value_is_kept_once_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = open_file(&path).await.unwrap();
    let large = Event::RunCompleted { output: Arc::new(json!({"rows": "x".repeat(1_000_000), "n": 1})) };
    for run in ["r", "s"] {
        let mut tale = Tale::begin(&store, run).await;
        for _ in 0..10 {
            tale.go_on(&store, "x", |batch| batch.events.push(large.clone())).await;
        }
        assert!(journal(&store, &tale.run).await.last().unwrap().event == large);
    }
    store.close().await.unwrap();
    let conn = Connection::open(&path).unwrap();
    let kept: i64 = conn.query_row("SELECT count(*) FROM blobs", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 2);
    assert!(std::fs::metadata(&path).unwrap().len() < 3_000_000);
}

#[tokio::test]
async fn a_definition_is_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = open_file(&path).await.unwrap();
    for i in 0..10 {
        Tale::begin(&store, &format!("r{i}")).await;
    }
    store.close().await.unwrap();
    let conn = Connection::open(&path).unwrap();
    let kept: i64 = conn.query_row("SELECT count(*) FROM definitions", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn a_backup_is_a_store_of_that_moment() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.db");
    let store = Arc::new(open_file(&dir.path().join("store.db")).await.unwrap());
    let mut tale = Tale::begin(&*store, "r").await;
    // Somebody goes on writing all the time.
    let busy = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut other = Tale::begin(&*store, "busy").await;
            loop {
                other.go_on(&*store, "x", |_| {}).await;
            }
        })
    };
    tale.go_on(&*store, "before", |_| {}).await;
    store.backup(&copy, false).await.unwrap();
    tale.go_on(&*store, "after", |_| {}).await;
    busy.abort();
    assert!(matches!(store.backup(&copy, false).await, Err(Error::Invalid(_))));

    let copied = open_file(&copy).await.unwrap();
    assert_eq!(told(&journal(&copied, &tale.run).await), ["created", "before"]);
    let busy = copied.run(&"busy".into()).await;
    if let Ok(row) = busy {
        assert_eq!(journal(&copied, &row.run).await.len() as u64, row.seq.0);
    }
    let nowhere = store.backup(&dir.path().join("no such directory/copy.db"), false).await;
    assert!(matches!(nowhere, Err(Error::WriteFailed { .. })), "{nowhere:?}");
}

#[tokio::test]
async fn a_backup_replaces_only_what_nobody_uses_and_leaves_no_draft() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("store.db"), dir.path().join("copy.db"));
    let store = open_file(&path).await.unwrap();
    let mut tale = Tale::begin(&store, "r").await;
    std::fs::write(&copy, "of yesterday").unwrap();
    assert!(matches!(store.backup(&copy, false).await, Err(Error::Invalid(_))));
    assert_eq!(std::fs::read(&copy).unwrap(), b"of yesterday");
    store.backup(&copy, true).await.unwrap();
    tale.go_on(&store, "after", |_| {}).await;

    let own = |suffix: &str| dir.path().join(format!("store.db{suffix}"));
    let alias = dir.path().join("alias.db");
    std::os::unix::fs::symlink(&path, &alias).unwrap();
    for target in [own(""), own("-wal"), own("-shm"), own(".lock"), alias, dir.path().to_owned()] {
        let refused = store.backup(&target, true).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{}: {refused:?}", target.display());
    }
    let copied = open_file(&copy).await.unwrap();
    let refused = store.backup(&copy, true).await;
    assert!(
        matches!(refused, Err(Error::Invalid(_))),
        "its log would be taken for that of the copy: {refused:?}"
    );
    assert_eq!(told(&journal(&copied, &tale.run).await), ["created"]);
    copied.close().await.unwrap();
    drop(copied);
    store.backup(&copy, true).await.unwrap();
    assert_eq!(told(&journal(&open_file(&copy).await.unwrap(), &tale.run).await), ["created", "after"]);
    assert_eq!(drafts_in(dir.path()), [""; 0]);
}

#[tokio::test]
async fn a_backup_removes_what_one_that_was_killed_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_file(&dir.path().join("store.db")).await.unwrap();
    for draft in ["copy.db.copy-xxxxxx", "other.db.copy-xxxxxx"] {
        std::fs::create_dir(dir.path().join(draft)).unwrap();
        std::fs::write(dir.path().join(draft).join("copy.db"), "half").unwrap();
    }
    store.backup(&dir.path().join("copy.db"), false).await.unwrap();
    assert_eq!(drafts_in(dir.path()), ["other.db.copy-xxxxxx"]);
}

/// Returns the directories in which backups are made.
fn drafts_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".copy-")).collect()
}

#[tokio::test]
async fn a_full_disk_fails_the_write_alone_and_later_commits_work() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = Arc::new(open_file(&path).await.unwrap());
    let mut tale = Tale::begin(&*store, "r").await;
    let mut small = Tale::begin(&*store, "small").await;
    let pages = std::fs::metadata(&path).unwrap().len() / 4_096;
    store.limit_pages(pages as u32 + 60).await.unwrap();
    let mut written = 0;
    let refused = loop {
        let mut batch = tale.batch("x");
        batch.events = (0..10).map(|_| note(&"x".repeat(4_000))).collect();
        match tale.commit(&*store, batch).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1_000, "the limit is not noticed");
    };
    assert!(matches!(refused, CommitError::Store(Error::WriteFailed { .. })), "{refused:?}");
    assert_eq!(journal(&*store, &tale.run).await.len(), 1 + 10 * written);

    // What fits goes on beside what does not.
    let mut large = tale.batch("x");
    large.events = (0..100).map(|_| note(&"x".repeat(4_000))).collect();
    let (store_a, store_b, batch) = (store.clone(), store.clone(), small.batch("fits"));
    let (large, fits) = tokio::join!(store_a.commit(large), store_b.commit(batch));
    assert!(matches!(large, Err(CommitError::Store(Error::WriteFailed { .. }))), "{large:?}");
    small.revision = fits.unwrap().revision;

    store.limit_pages(1_000_000).await.unwrap();
    let mut batch = tale.batch("x");
    batch.events = (0..100).map(|_| note(&"x".repeat(4_000))).collect();
    tale.commit(&*store, batch).await.unwrap();
    small.go_on(&*store, "goes on", |_| {}).await;
    store.close().await.unwrap();
    let store = open_file(&path).await.unwrap();
    assert_eq!(journal(&store, &tale.run).await.len(), 1 + 10 * written + 100);
    assert_eq!(told(&journal(&store, &small.run).await), ["created", "fits", "goes on"]);
}

#[tokio::test]
async fn a_commit_without_an_answer_is_unknown_and_found_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open_file(&dir.path().join("store.db")).await.unwrap());
    let mut tale = Tale::begin(&*store, "r").await;
    for is_carried_out in [true, false, true] {
        store.tear_next_commit(is_carried_out).unwrap();
        let batch = tale.batch(if is_carried_out { "carried out" } else { "lost" });
        let id = batch.id;
        let outcome = store.commit(batch).await;
        assert!(matches!(outcome, Err(CommitError::Unknown(_))), "{outcome:?}");
        let committed = store.is_committed(&tale.run, id).await.unwrap();
        assert_eq!(committed.is_some(), is_carried_out);
        if let Some(committed) = committed {
            tale.revision = committed.revision;
        }
        // The connection was opened anew, and nothing of what it knew is trusted.
        tale.go_on(&*store, "goes on", |_| {}).await;
    }
    let events = journal(&*store, &tale.run).await;
    assert_eq!(told(&events), ["created", "carried out", "goes on", "goes on", "carried out", "goes on"]);
}

#[tokio::test]
async fn a_url_names_a_store_or_is_refused_without_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    assert!(open("memory:").await.is_ok());
    for query in ["", "?durability=fsync", "?durability=crash&busy_timeout=3", "?"] {
        let store = open(&format!("sqlite://{}{query}", path.display())).await.unwrap();
        store.close().await.unwrap();
    }
    for url in [
        "sqlite://",
        "sqlite://x?durability=memory",
        "sqlite://x?busy_timeout=soon",
        "sqlite://x?y=z",
        "",
        "store.db",
    ] {
        let refused = open(url).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{url}: {refused:?}");
    }
    let refused = open("mysql://ann:s3cret@host/db?password=s3cret").await.unwrap_err();
    assert!(matches!(refused, Error::Invalid(_)) && !refused.to_string().contains("s3cret"), "{refused}");
}

#[tokio::test]
async fn the_log_stays_small_however_much_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let options = SqliteOptions { fsync: false, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).await.unwrap();
    let mut tale = Tale::begin(&store, "r").await;
    let mut largest = 0;
    for _ in 0..400 {
        let events = (0..20).map(|_| note(&"x".repeat(20_000))).collect();
        tale.go_on(&store, "x", |batch| batch.events = events).await;
        largest = largest.max(std::fs::metadata(path.with_extension("db-wal")).map_or(0, |meta| meta.len()));
    }
    // 160 MB were written; the cap is 128 MiB, and long before that the log begins anew.
    assert!(largest < 128 << 20, "the log grew to {largest} bytes");
}

#[tokio::test]
async fn a_survey_tells_how_a_file_stands_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("st#re %3f.db");
    assert!(matches!(survey(&path), Err(Error::NotThere { .. })));
    let store = open_file(&path).await.unwrap();
    Tale::begin(&store, "r").await;
    let now = stepwell_core::ids::Timestamp(0);
    let session = store.open_session("test", now).await.unwrap();
    let found = survey(&path).unwrap();
    assert_eq!((found.sessions.len(), found.damage, found.lost_leases), (1, None, 0));
    assert!(found.wal_bytes > 0 && found.schema.0 == found.schema.1);
    store.close_session(session).await.unwrap();
    store.close().await.unwrap();
    drop(store);

    let listing = || {
        let entries = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries.map(|file| (std::fs::read(&file).unwrap(), file)).collect();
        files.sort();
        files
    };
    let before = listing();
    let found = survey(&path).unwrap();
    assert_eq!(found.runs.iter().map(|(_, count)| count).sum::<u64>(), 1);
    assert_eq!((found.sessions.len(), found.wal_bytes), (0, 0));
    assert_eq!(listing(), before);

    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() - 4_096;
    bytes[at..].fill(0xab);
    std::fs::write(&path, bytes).unwrap();
    let found = survey(&path);
    assert!(
        found.as_ref().is_ok_and(|found| found.damage.is_some())
            || matches!(found, Err(Error::Corrupt { .. })),
        "{found:?}"
    );
    std::fs::write(&path, "no store").unwrap();
    assert!(matches!(survey(&path), Err(Error::Corrupt { .. })));
}
