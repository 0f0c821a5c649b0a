//! Promises about timers.

use stepwell_core::run::command::TimerKey;

use super::Subject;
use super::words::{Tale, at, item, lease, session};
use crate::{DueTimer, TimerChange, WorkItem};

/// What is due comes oldest first, and again until a batch has removed it.
pub async fn due_timers_come_in_order_and_stay(subject: &Subject) {
    let store = subject.store();
    let mut one = Tale::begin(&**store, "r").await;
    let mut two = Tale::begin(&**store, "s").await;
    let wait = TimerKey::Wait("w".into());
    let need = TimerKey::Need("a step".into(), "what \"it\" needs".into());
    one.go_on(&**store, "x", |batch| {
        batch.timers = vec![TimerChange::Put(TimerKey::Run, at(30)), TimerChange::Put(wait.clone(), at(10))];
    })
    .await;
    two.go_on(&**store, "x", |batch| batch.timers = vec![TimerChange::Put(need.clone(), at(20))]).await;
    let due = |seconds, max| {
        let store = store.clone();
        async move { store.due_timers(at(seconds), max).await.unwrap() }
    };
    let expected = [
        DueTimer { run: one.run.clone(), key: wait, at: at(10) },
        DueTimer { run: two.run.clone(), key: need, at: at(20) },
        DueTimer { run: one.run.clone(), key: TimerKey::Run, at: at(30) },
    ];
    assert!(due(9, 10).await.is_empty());
    assert_eq!(due(10, 10).await, expected[..1]);
    for _ in 0..2 {
        assert_eq!(due(30, 10).await, expected);
    }
    assert_eq!(due(30, 2).await, expected[..2]);
}

/// One run has one timer of a key.
pub async fn a_timer_is_replaced_and_removed_by_its_key(subject: &Subject) {
    let store = subject.store();
    let mut one = Tale::begin(&**store, "r").await;
    let mut two = Tale::begin(&**store, "s").await;
    for tale in [&mut one, &mut two] {
        tale.go_on(&**store, "x", |batch| batch.timers = vec![TimerChange::Put(TimerKey::Run, at(10))]).await;
    }
    one.go_on(&**store, "x", |batch| batch.timers = vec![TimerChange::Put(TimerKey::Run, at(50))]).await;
    two.go_on(&**store, "x", |batch| {
        batch.timers =
            vec![TimerChange::Remove(TimerKey::Run), TimerChange::Remove(TimerKey::Wait("w".into()))];
    })
    .await;
    assert!(store.due_timers(at(49), 10).await.unwrap().is_empty());
    let due = store.due_timers(at(50), 10).await.unwrap();
    assert_eq!(due, [DueTimer { run: one.run.clone(), key: TimerKey::Run, at: at(50) }]);
}

/// A timer may be set between the look for due ones and the question how long to sleep.
pub async fn a_timer_that_is_due_is_the_next_until_it_is_removed(subject: &Subject) {
    let store = subject.store();
    let mut tale = Tale::begin(&**store, "r").await;
    tale.ready(&**store, [WorkItem { not_before: at(40), ..item("later") }]).await;
    tale.go_on(&**store, "x", |batch| batch.timers = vec![TimerChange::Put(TimerKey::Run, at(10))]).await;
    for now in [5, 10, 20, 50] {
        assert_eq!(store.next_due(at(now)).await.unwrap(), Some(at(10)), "asked at {now}");
    }
    tale.go_on(&**store, "x", |batch| batch.timers = vec![TimerChange::Remove(TimerKey::Run)]).await;
    assert_eq!(store.next_due(at(20)).await.unwrap(), Some(at(40)));
}

/// Whoever sleeps until then misses nothing.
pub async fn the_next_due_moment_counts_timers_and_delayed_work(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    assert_eq!(store.next_due(at(5)).await.unwrap(), None);
    tale.ready(&**store, [item("now"), WorkItem { not_before: at(40), ..item("later") }]).await;
    assert_eq!(store.next_due(at(5)).await.unwrap(), Some(at(40)));
    assert_eq!(store.next_due(at(40)).await.unwrap(), None);
    let timer = |seconds| vec![TimerChange::Put(TimerKey::Run, at(seconds))];
    tale.go_on(&**store, "x", |batch| batch.timers = timer(60)).await;
    assert_eq!(store.next_due(at(5)).await.unwrap(), Some(at(40)));
    assert_eq!(store.next_due(at(40)).await.unwrap(), Some(at(60)));
    assert_eq!(lease(&**store, session, 10).await.len(), 2);
    assert_eq!(store.next_due(at(5)).await.unwrap(), Some(at(60)));
    tale.go_on(&**store, "x", |batch| batch.timers = vec![TimerChange::Remove(TimerKey::Run)]).await;
    assert_eq!(store.next_due(at(5)).await.unwrap(), None);
}
