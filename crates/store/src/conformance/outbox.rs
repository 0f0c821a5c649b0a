//! Promises about messages between runs.

use super::Subject;
use super::words::{Tale, message};
use crate::{CommitError, Store};

async fn waiting(store: &dyn Store) -> Vec<(u64, String, String)> {
    let messages = store.outbox(100).await.unwrap();
    messages.into_iter().map(|m| (m.id, m.source.to_string(), m.message.command.to_string())).collect()
}

/// A message waits, in order, until the commit of its target that takes it.
pub async fn a_message_stays_until_its_target_has_taken_it(subject: &Subject) {
    let store = subject.store();
    let mut sender = Tale::begin(&**store, "sender").await;
    let mut target = Tale::begin(&**store, "target").await;
    sender
        .go_on(&**store, "sends", |batch| {
            batch.outbox = vec![message("target", "m1"), message("target", "m2")];
        })
        .await;
    target.go_on(&**store, "sends", |batch| batch.outbox = vec![message("not yet there", "m3")]).await;
    let messages = store.outbox(100).await.unwrap();
    assert_eq!(messages[0].message, message("target", "m1"));
    assert_eq!(messages[0].source, sender.run);
    let found = waiting(&**store).await;
    assert_eq!(found.iter().map(|m| m.2.as_str()).collect::<Vec<_>>(), ["m1", "m2", "m3"]);
    assert_eq!(store.outbox(2).await.unwrap().len(), 2);

    target.go_on(&**store, "takes", |batch| batch.delivered = vec![found[0].0]).await;
    assert_eq!(waiting(&**store).await, found[1..]);
    let create = Tale::creation("not yet there", |batch, _| batch.delivered = vec![found[2].0, 999_999]);
    store.commit(create).await.unwrap();
    assert_eq!(waiting(&**store).await, found[1..2]);
    sender.go_on(&**store, "sends", |batch| batch.outbox = vec![message("target", "m4")]).await;
    let last = waiting(&**store).await.pop().unwrap();
    assert!(found.iter().all(|m| m.0 != last.0), "the number of a message is used once");
}

/// A message that can never be delivered is removed without a target.
pub async fn a_discarded_message_is_gone(subject: &Subject) {
    let store = subject.store();
    let mut sender = Tale::begin(&**store, "sender").await;
    sender
        .go_on(&**store, "sends", |batch| {
            batch.outbox = vec![message("nobody", "m1"), message("nobody", "m2")];
        })
        .await;
    let found = waiting(&**store).await;
    for _ in 0..2 {
        store.discard(found[0].0).await.unwrap();
        assert_eq!(waiting(&**store).await, found[1..]);
    }
}

/// Messages come and go with their batch.
pub async fn a_refused_batch_sends_and_takes_nothing(subject: &Subject) {
    let store = subject.store();
    let mut tale = Tale::begin(&**store, "r").await;
    let stale = tale.clone();
    tale.go_on(&**store, "sends", |batch| batch.outbox = vec![message("r", "m1")]).await;
    let before = waiting(&**store).await;
    let mut batch = stale.batch("stale");
    batch.outbox = vec![message("r", "m2")];
    batch.delivered = vec![before[0].0];
    assert!(matches!(store.commit(batch).await, Err(CommitError::Stale { .. })));
    assert_eq!(waiting(&**store).await, before);
}
