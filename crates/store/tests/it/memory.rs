//! The store in memory keeps every promise.

use std::sync::Arc;

use stepwell_store::MemoryStore;
use stepwell_store::conformance::Subject;

async fn memory() -> Subject {
    let store = Arc::new(MemoryStore::default());
    let killed = store.clone();
    Subject::new(store, move |session| killed.kill_session(session))
}

stepwell_store::conformance_tests!(memory);
