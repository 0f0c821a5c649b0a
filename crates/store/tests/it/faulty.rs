//! A store with faults is the store below if there are none, and does what was ordered if there are.

use std::sync::Arc;

use stepwell_store::conformance::Subject;
use stepwell_store::conformance::words::{Tale, journal, told};
use stepwell_store::{CommitError, Fault, Faults, FaultyStore, MemoryStore, Store};

async fn without_faults() -> Subject {
    let below = Arc::new(MemoryStore::default());
    let killed = below.clone();
    let store = FaultyStore::new(below, Faults::default());
    Subject::new(Arc::new(store), move |session| killed.kill_session(session))
}

stepwell_store::conformance_tests!(without_faults);

#[tokio::test]
async fn an_ordered_fault_happens_once() {
    let store = FaultyStore::new(Arc::new(MemoryStore::default()), Faults::default());
    let mut tale = Tale::begin(&store, "r").await;
    for fault in [Fault::Refused, Fault::TornBefore, Fault::TornAfter] {
        store.order(fault);
        let batch = tale.batch(&format!("{fault:?}"));
        let id = batch.id;
        let outcome = store.commit(batch).await;
        let is_unknown = matches!(outcome, Err(CommitError::Unknown(_)));
        assert_eq!(is_unknown, fault != Fault::Refused, "{outcome:?}");
        let committed = store.is_committed(&tale.run, id).await.unwrap();
        assert_eq!(committed.is_some(), fault == Fault::TornAfter);
        if let Some(committed) = committed {
            tale.revision = committed.revision;
        }
        tale.go_on(&store, "after", |_| {}).await;
    }
    let events = journal(&store, &tale.run).await;
    assert_eq!(told(&events), ["created", "after", "after", "TornAfter", "after"]);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults_and_healing_ends_them() {
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let store = FaultyStore::new(
            Arc::new(MemoryStore::default()),
            Faults { delayed: 0, refused: 300, ..Faults::some(7) },
        );
        let mut seen = Vec::new();
        for i in 0..100 {
            seen.push(store.commit(Tale::creation(&format!("r{i}"), |_, _| {})).await.is_ok());
        }
        assert!(store.thrown() > 10);
        store.heal();
        for i in 0..100 {
            let again = store.commit(Tale::creation(&format!("r{i}"), |_, _| {})).await;
            assert!(matches!(again, Ok(_) | Err(CommitError::Exists(_))), "{again:?}");
        }
        outcomes.push(seen);
    }
    assert_eq!(outcomes[0], outcomes[1]);
}
