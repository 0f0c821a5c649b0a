//! Promises about system state.

use serde_json::json;

use super::Subject;
use super::words::at;
use crate::{Page, StateError, StateRow};

/// Compare and set: only over the version that was read, 0 only if there is none.
pub async fn state_is_written_over_the_expected_version_only(subject: &Subject) {
    let store = subject.store();
    assert_eq!(store.state("k").await.unwrap(), None);
    let refused = store.put_state("k", json!({"n": 0}), Some(1), at(1)).await;
    assert!(matches!(refused, Err(StateError::Conflict { current: 0 })), "{refused:?}");
    let first = store.put_state("k", json!({"n": 1}), Some(0), at(1)).await.unwrap();
    assert_eq!(first, StateRow { key: "k".into(), value: json!({"n": 1}), version: 1, updated_at: at(1) });
    assert_eq!(store.state("k").await.unwrap(), Some(first));
    for wrong in [0, 2] {
        let refused = store.put_state("k", json!({}), Some(wrong), at(2)).await;
        assert!(matches!(refused, Err(StateError::Conflict { current: 1 })), "{refused:?}");
    }
    let second = store.put_state("k", json!({"n": 2}), Some(1), at(3)).await.unwrap();
    assert_eq!((second.version, second.updated_at), (2, at(3)));
    assert_eq!(store.state("k").await.unwrap(), Some(second));
}

/// Without expectation the last write wins, and versions count on.
pub async fn state_without_expectation_is_written_over(subject: &Subject) {
    let store = subject.store();
    for n in 1..=3 {
        let row = store.put_state("k", json!({"n": n}), None, at(n)).await.unwrap();
        assert_eq!(row.version, n as u64);
    }
    assert_eq!(store.state("k").await.unwrap().unwrap().value, json!({"n": 3}));
}

/// Of many who read one version one writes the next.
pub async fn of_two_writers_with_one_expectation_one_wins(subject: &Subject) {
    let store = subject.store();
    let writers = (0..12).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.put_state("k", json!({"n": n}), Some(0), at(1)).await })
    });
    let mut won = 0;
    for writer in writers.collect::<Vec<_>>() {
        match writer.await.unwrap() {
            Ok(_) => won += 1,
            Err(StateError::Conflict { current }) => assert_eq!(current, 1),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(won, 1);
}

/// Deleting obeys the same rule; a key that is written anew begins at 1.
pub async fn state_is_deleted_over_the_expected_version_only(subject: &Subject) {
    let store = subject.store();
    assert!(!store.delete_state("k", None).await.unwrap());
    let refused = store.delete_state("k", Some(1)).await;
    assert!(matches!(refused, Err(StateError::Conflict { current: 0 })), "{refused:?}");
    store.put_state("k", json!({}), None, at(1)).await.unwrap();
    store.put_state("k", json!({}), None, at(1)).await.unwrap();
    let refused = store.delete_state("k", Some(1)).await;
    assert!(matches!(refused, Err(StateError::Conflict { current: 2 })), "{refused:?}");
    assert!(store.delete_state("k", Some(2)).await.unwrap());
    assert_eq!(store.state("k").await.unwrap(), None);
    assert_eq!(store.put_state("k", json!({}), Some(0), at(1)).await.unwrap().version, 1);
}

/// Keys come in their order, those with the prefix alone, in pages without gaps.
pub async fn states_are_listed_by_prefix_and_paged(subject: &Subject) {
    let store = subject.store();
    for key in ["b/1", "a/2", "a/10", "a/1", "a", "A/1", "a_1", "ä"] {
        store.put_state(key, json!({"key": key}), None, at(1)).await.unwrap();
    }
    let expected = ["a/1", "a/10", "a/2"];
    for limit in [1, 2, 3, 10] {
        let mut page = Page::first(limit);
        let mut seen = Vec::new();
        loop {
            let got = store.states("a/", &page).await.unwrap();
            seen.extend(got.items.into_iter().map(|row| row.key));
            if got.next.is_none() {
                break;
            }
            page.cursor = got.next;
        }
        assert_eq!(seen, expected);
    }
    let all = store.states("", &Page::first(100)).await.unwrap();
    assert_eq!(all.items.len(), 8);
}
