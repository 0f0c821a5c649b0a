//! Promises to those who follow a journal, and to those who come too late.

use std::time::Duration;

use stepwell_core::ids::Seq;

use super::Subject;
use super::words::{Tale, at, held, item, lease, log_line, note, session, told};
use crate::{CommitError, Error};

/// Any place in a journal can be read from, also within a batch.
pub async fn events_are_read_after_a_number(subject: &Subject) {
    let store = subject.store();
    let mut tale = Tale::begin(&**store, "r").await;
    for i in 1..=3 {
        let events = ["a", "b", "c"].map(|letter| note(&format!("{i}{letter}")));
        tale.go_on(&**store, "", |batch| batch.events = events.to_vec()).await;
    }
    let all = ["created", "1a", "1b", "1c", "2a", "2b", "2c", "3a", "3b", "3c"];
    for after in 0..=10 {
        for limit in [0, 1, 2, 4, 100] {
            let events = store.events(&tale.run, Seq(after as u64), limit).await.unwrap();
            let expected: Vec<&str> = all.iter().copied().skip(after).take(limit).collect();
            assert_eq!(told(&events), expected, "after {after}, at most {limit}");
            let numbers: Vec<usize> = events.iter().map(|recorded| recorded.seq.0 as usize).collect();
            assert_eq!(numbers, (after + 1..).take(expected.len()).collect::<Vec<_>>());
        }
    }
    assert!(store.events(&tale.run, Seq(1_000), 10).await.unwrap().is_empty());
}

/// Whoever waits for news is woken by every kind of it.
pub async fn a_commit_moves_the_counter_of_changes(subject: &Subject) {
    let store = subject.store();
    let worker = session(&**store, "worker").await;
    let mut changes = store.changes();
    changes.mark_unchanged();
    let mut tale = Tale::begin(&**store, "r").await;
    for kind in 0..4 {
        match kind {
            0 => {}
            1 => tale.ready(&**store, [item("a")]).await,
            2 => assert_eq!(lease(&**store, worker, 1).await.len(), 1),
            _ => {
                let line = log_line(&tale.run, &held(&item("a"), worker), "line");
                store.append_lazy(vec![line]).await.unwrap();
            }
        }
        let woken = tokio::time::timeout(Duration::from_secs(20), changes.changed()).await;
        woken.expect("the counter moves").expect("the store is open");
        changes.mark_unchanged();
    }
}

/// After it was closed a store says so.
pub async fn a_closed_store_is_unavailable(subject: &Subject) {
    let store = subject.store();
    let tale = Tale::begin(&**store, "r").await;
    store.close().await.unwrap();
    let refused = store.commit(tale.batch("late")).await;
    assert!(matches!(refused, Err(CommitError::Store(Error::Unavailable { .. }))), "{refused:?}");
    assert!(matches!(store.run(&tale.run).await, Err(Error::Unavailable { .. })));
    assert!(matches!(store.events(&tale.run, Seq(0), 1).await, Err(Error::Unavailable { .. })));
    assert!(matches!(store.open_session("late", at(1)).await, Err(Error::Unavailable { .. })));
    assert!(matches!(store.state("key").await, Err(Error::Unavailable { .. })));
    store.close().await.unwrap();
}
