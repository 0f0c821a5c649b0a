//! Promises about what is deleted, and what is not.

use serde_json::json;
use stepwell_core::run::command::TimerKey;

use super::Subject;
use super::words::{Tale, at, finished, item, lease, message, object, question, session};
use crate::{Error, Page, RunFilter, Store, TimerChange, WaitChange, WaitFilter, WorkChange};

async fn end(store: &dyn Store, tale: &mut Tale, seconds: i64) {
    tale.go_on(store, "ends", |batch| batch.row = finished(seconds)).await;
}

async fn child_of(store: &dyn Store, root: &str, run: &str) -> Tale {
    Tale::begin_with(store, run, |_, new| {
        new.parent = Some(root.into());
        new.root = root.into();
    })
    .await
}

async fn left(store: &dyn Store) -> Vec<String> {
    let mut runs = store.runs_with_prefix("", 100).await.unwrap();
    runs.sort();
    runs.iter().map(ToString::to_string).collect()
}

/// Runs that ended before the given moment go, with journal, work, timers, questions and messages; others stay.
pub async fn old_finished_runs_are_pruned_with_all_that_is_theirs(subject: &Subject) {
    let store = subject.store();
    let mut old = Tale::begin_with(&**store, "old", |batch, new| {
        new.metadata = object(json!({"team": "ops"}));
        batch.commands = vec!["c".into()];
        batch.work = vec![WorkChange::Put(item("a"))];
        batch.timers = vec![TimerChange::Put(TimerKey::Run, at(20))];
        batch.waits = vec![WaitChange::Open(Box::new(question(&"old".into(), "w", 12)))];
        batch.outbox = vec![message("other", "m")];
    })
    .await;
    let mut young = Tale::begin(&**store, "young").await;
    Tale::begin(&**store, "live").await;
    end(&**store, &mut old, 99).await;
    end(&**store, &mut young, 100).await;
    assert_eq!(store.prune(at(100)).await.unwrap(), 1);
    assert_eq!(left(&**store).await, ["live", "young"]);
    assert!(matches!(store.load(&old.run).await, Err(Error::NotFound(_))));
    assert!(matches!(store.wait(&"w".into()).await, Err(Error::NotFound(_))));
    assert!(store.waits(&WaitFilter::default(), &Page::first(10)).await.unwrap().items.is_empty());
    assert!(store.due_timers(at(1_000), 10).await.unwrap().is_empty());
    assert_eq!(store.next_due(at(1)).await.unwrap(), None);
    assert!(store.outbox(10).await.unwrap().is_empty());
    let worker = session(&**store, "worker").await;
    assert!(lease(&**store, worker, 10).await.is_empty());
    let tagged = RunFilter { metadata: object(json!({"team": "ops"})), ..RunFilter::default() };
    assert!(store.runs(&tagged, &Page::first(10)).await.unwrap().items.is_empty());
    assert_eq!(store.prune(at(100)).await.unwrap(), 0);
}

/// What a root waits for is not taken from it, however old.
pub async fn a_child_is_kept_as_long_as_its_root(subject: &Subject) {
    let store = subject.store();
    let mut live = Tale::begin(&**store, "live").await;
    let mut young = Tale::begin(&**store, "young").await;
    let mut old = Tale::begin(&**store, "old").await;
    for root in ["live", "young", "old"] {
        let mut child = child_of(&**store, root, &format!("{root}/1")).await;
        end(&**store, &mut child, 50).await;
    }
    let mut late = child_of(&**store, "old", "old/late").await;
    end(&**store, &mut young, 200).await;
    end(&**store, &mut old, 60).await;
    assert_eq!(store.prune(at(100)).await.unwrap(), 2);
    assert_eq!(left(&**store).await, ["live", "live/1", "old/late", "young", "young/1"]);
    // A child that outlives its root goes when it is old itself.
    end(&**store, &mut late, 70).await;
    assert_eq!(store.prune(at(100)).await.unwrap(), 1);
    end(&**store, &mut live, 300).await;
    assert_eq!(store.prune(at(400)).await.unwrap(), 4);
    assert!(left(&**store).await.is_empty());
}

/// Nothing of a pruned run comes back with a new one of its name.
pub async fn a_pruned_id_can_be_used_again(subject: &Subject) {
    let store = subject.store();
    let mut first = Tale::begin_with(&**store, "r", |batch, _| batch.commands = vec!["c".into()]).await;
    store.put_snapshot(&first.run, stepwell_core::ids::Seq(1), vec![1]).await.unwrap();
    end(&**store, &mut first, 50).await;
    store.prune(at(100)).await.unwrap();
    let mut again = Tale::begin_with(&**store, "r", |batch, _| batch.commands = vec!["c".into()]).await;
    let loaded = store.load(&again.run).await.unwrap();
    assert_eq!((loaded.snapshot, loaded.tail.len()), (None, 1));
    again.go_on(&**store, "goes on", |_| {}).await;
    assert!(store.definition(&loaded.row.digest).await.is_ok());
}
