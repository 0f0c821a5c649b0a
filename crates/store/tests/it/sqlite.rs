//! The store in SQLite keeps every promise.

use std::sync::Arc;

use stepwell_store::conformance::Subject;
use stepwell_store::{SqliteOptions, SqliteStore};

async fn sqlite() -> Subject {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let path = dir.path().join("store.db");
    let store = Arc::new(SqliteStore::open(&path, SqliteOptions::default()).await.expect("the store opens"));
    let killed = store.clone();
    Subject::new(store, move |session| killed.kill_session(session)).keeping(dir)
}

stepwell_store::conformance_tests!(sqlite);
