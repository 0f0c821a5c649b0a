//! Where a store lies: links to it, second names, and what becomes of a store whose files are taken away.

use std::path::{Path, PathBuf};

use stepwell_store::conformance::words::{Tale, at, item, lease, session, steps};
use stepwell_store::{CommitError, Error, SqliteOptions, SqliteStore, Store};

async fn open(path: &Path) -> Result<SqliteStore, Error> {
    SqliteStore::open(path, SqliteOptions::default()).await
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", path.display()))
}

#[tokio::test]
async fn a_store_has_one_lock_whatever_link_it_is_opened_by() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("real.db"), dir.path().join("link.db"));
    let store = open(&path).await.unwrap();
    let worker = session(&store, "worker").await;
    Tale::begin(&store, "r").await.ready(&store, [item("a")]).await;
    assert_eq!(steps(&lease(&store, worker, 1).await), ["a"]);

    std::os::unix::fs::symlink(&path, &link).unwrap();
    let other = open(&link).await.unwrap();
    assert!(other.lost_leases(at(100), 10).await.unwrap().is_empty(), "who holds it lives");
    assert!(!with_ending(&link, ".lock").exists());
}

#[tokio::test]
async fn a_file_with_a_second_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, second) = (dir.path().join("a.db"), dir.path().join("b.db"));
    open(&path).await.unwrap().close().await.unwrap();
    std::fs::hard_link(&path, &second).unwrap();
    for name in [&path, &second] {
        let refused = open(name).await.unwrap_err();
        assert!(
            matches!(&refused, Error::NotThere { reason, .. } if reason.contains("hard link")),
            "{refused}"
        );
    }
    std::fs::remove_file(&second).unwrap();
    open(&path).await.unwrap();
}

#[tokio::test]
async fn a_draft_that_its_maker_left_behind_is_no_second_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    open(&path).await.unwrap().close().await.unwrap();
    let draft = with_ending(&path, ".new-1-ThreadId(1)");
    std::fs::hard_link(&path, &draft).unwrap();
    open(&path).await.unwrap();
    assert!(!draft.exists());
}

#[tokio::test]
async fn nothing_is_done_with_a_store_whose_files_were_taken_away() {
    for ending in ["", ".lock"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let store = open(&path).await.unwrap();
        let tale = Tale::begin(&store, "r").await;
        let (file, elsewhere) = (with_ending(&path, ending), with_ending(&path, ".elsewhere"));

        std::fs::rename(&file, &elsewhere).unwrap();
        let refused = store.commit(tale.batch("lost")).await;
        assert!(matches!(refused, Err(CommitError::Store(Error::NotThere { .. }))), "{refused:?}");
        assert!(matches!(store.run(&tale.run).await, Err(Error::NotThere { .. })));
        std::fs::write(&file, "another").unwrap();
        assert!(matches!(store.open_session("worker", at(1)).await, Err(Error::NotThere { .. })));

        std::fs::rename(&elsewhere, &file).unwrap();
        store.commit(tale.batch("kept")).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("foreign.db");
    std::fs::write(&foreign, "Dear diary, this is no database.".repeat(10)).unwrap();
    assert!(open(&foreign).await.is_err());
    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink(dir.path().join("nothing.db"), &link).unwrap();
    let pipe = dir.path().join("pipe.db");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (path, told) in [
        (dir.path().to_owned(), "is a directory"),
        (pipe, "is a pipe or a device"),
        (dir.path().join("none/a.db"), "/none does not exist"),
        (link, "is a link to a file that does not exist"),
    ] {
        let refused = open(&path).await.unwrap_err();
        assert!(matches!(&refused, Error::NotThere { reason, .. } if reason.contains(told)), "{refused}");
    }
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(!with_ending(dir.path(), ".lock").exists());
}
