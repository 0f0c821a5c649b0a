//! Promises about what is deleted, and what is not.

use serde_json::json;
use stepwell_core::run::command::TimerKey;
use stepwell_core::status::RunStatus;

use super::Subject;
use super::words::{Tale, at, finished, item, lease, message, object, question, session};
use crate::{
    Error, Page, Prune, Pruned, RowUpdate, RunFilter, Store, TimerChange, WaitChange, WaitFilter, WorkChange,
};

async fn end(store: &dyn Store, tale: &mut Tale, seconds: i64) {
    tale.go_on(store, "ends", |batch| batch.row = finished(seconds)).await;
}

/// Prunes what ended before then, and returns how many runs that were.
async fn prune(store: &dyn Store, seconds: i64) -> u64 {
    store.prune(&Prune::before(at(seconds))).await.unwrap().runs
}

async fn end_as(store: &dyn Store, tale: &mut Tale, status: RunStatus) {
    tale.go_on(store, "ends", |batch| batch.row = RowUpdate { status, ..finished(50) }).await;
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
    assert_eq!(prune(&**store, 100).await, 1);
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
    assert_eq!(prune(&**store, 100).await, 0);
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
    assert_eq!(prune(&**store, 100).await, 2);
    assert_eq!(left(&**store).await, ["live", "live/1", "old/late", "young", "young/1"]);
    // A child that outlives its root goes when it is old itself.
    end(&**store, &mut late, 70).await;
    assert_eq!(prune(&**store, 100).await, 1);
    end(&**store, &mut live, 300).await;
    assert_eq!(prune(&**store, 400).await, 4);
    assert!(left(&**store).await.is_empty());
}

/// Nothing of a pruned run comes back with a new one of its name.
pub async fn a_pruned_id_can_be_used_again(subject: &Subject) {
    let store = subject.store();
    let mut first = Tale::begin_with(&**store, "r", |batch, _| batch.commands = vec!["c".into()]).await;
    store.put_snapshot(&first.run, stepwell_core::ids::Seq(1), vec![1]).await.unwrap();
    end(&**store, &mut first, 50).await;
    prune(&**store, 100).await;
    let mut again = Tale::begin_with(&**store, "r", |batch, _| batch.commands = vec!["c".into()]).await;
    let loaded = store.load(&again.run).await.unwrap();
    assert_eq!((loaded.snapshot, loaded.tail.len()), (None, 1));
    again.go_on(&**store, "goes on", |_| {}).await;
    assert!(store.definition(&loaded.row.digest).await.is_ok());
}

/// Of a tree the status of the root counts; a child whose root is gone has its own.
pub async fn runs_are_pruned_by_status_and_children_with_their_root(subject: &Subject) {
    let store = subject.store();
    let of = |status: RunStatus| Prune { status: vec![status], ..Prune::before(at(100)) };
    for (run, status, other) in [
        ("done", RunStatus::Completed, RunStatus::Failed),
        ("failed", RunStatus::Failed, RunStatus::Completed),
    ] {
        let mut root = Tale::begin(&**store, run).await;
        let mut child = child_of(&**store, run, &format!("{run}/1")).await;
        end_as(&**store, &mut root, status).await;
        end_as(&**store, &mut child, other).await;
    }
    assert_eq!(store.prune(&of(RunStatus::Cancelled)).await.unwrap().runs, 0);
    assert_eq!(store.prune(&of(RunStatus::Failed)).await.unwrap().runs, 2);
    assert_eq!(left(&**store).await, ["done", "done/1"]);

    let mut late = child_of(&**store, "done", "late").await;
    assert_eq!(store.prune(&of(RunStatus::Completed)).await.unwrap().runs, 2);
    end_as(&**store, &mut late, RunStatus::Cancelled).await;
    assert_eq!(store.prune(&of(RunStatus::Completed)).await.unwrap().runs, 0);
    assert_eq!(store.prune(&of(RunStatus::Cancelled)).await.unwrap().runs, 1);
    for live in [RunStatus::Pending, RunStatus::Running, RunStatus::Paused] {
        let refused = store.prune(&of(live)).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
}

/// What would go is what goes then, and until then it is all there.
pub async fn a_dry_run_deletes_nothing_and_tells_what_would_go(subject: &Subject) {
    let store = subject.store();
    let mut old = Tale::begin(&**store, "old").await;
    old.go_on(&**store, &"x".repeat(100_000), |_| {}).await;
    end(&**store, &mut old, 50).await;
    let mut child = child_of(&**store, "old", "old/1").await;
    end(&**store, &mut child, 50).await;
    Tale::begin(&**store, "live").await;
    let all = Prune::before(at(100));
    let told = store.prune(&Prune { dry_run: true, ..all.clone() }).await.unwrap();
    assert_eq!((told.runs, left(&**store).await.len()), (2, 3));
    assert!(told.bytes > 100_000, "{told:?}");
    assert_eq!(store.prune(&all).await.unwrap(), told);
    assert_eq!(store.prune(&all).await.unwrap(), Pruned::default());
}

/// One run goes with those below it, as soon as it has ended, and nothing else does; its id is free then.
pub async fn one_ended_run_is_deleted_with_its_children(subject: &Subject) {
    let store = subject.store();
    let mut done = Tale::begin(&**store, "done").await;
    let mut child = child_of(&**store, "done", "done/1").await;
    let mut other = Tale::begin(&**store, "other").await;
    let of_tree = |run: &str| Prune::tree(run.into());
    end(&**store, &mut child, 50).await;
    end(&**store, &mut other, 50).await;
    assert_eq!(store.prune(&of_tree("done")).await.unwrap().runs, 0, "it lives, and keeps its child");
    end(&**store, &mut done, 60).await;
    assert_eq!(store.prune(&of_tree("done/1")).await.unwrap().runs, 0, "it goes with its root");
    let told = store.prune(&Prune { dry_run: true, ..of_tree("done") }).await.unwrap();
    assert_eq!(store.prune(&of_tree("done")).await.unwrap(), told);
    assert_eq!((told.runs, left(&**store).await), (2, vec!["other".to_owned()]));
    assert_eq!(store.prune(&of_tree("done")).await.unwrap(), Pruned::default());
    Tale::begin(&**store, "done").await.go_on(&**store, "goes on", |_| {}).await;
}
