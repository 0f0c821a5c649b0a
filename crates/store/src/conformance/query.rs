//! Promises about lists of runs.

use serde_json::{Value, json};
use stepwell_core::ids::{RunId, Seq};
use stepwell_core::status::{PauseReason, RunStatus};

use super::Subject;
use super::words::{Tale, at, finished, object, workflow};
use crate::{Among, Error, Page, RunFilter, Store};

async fn found(store: &dyn Store, filter: &RunFilter) -> Vec<String> {
    let page = store.runs(filter, &Page::first(1_000)).await.unwrap();
    assert_eq!(page.next, None);
    page.items.iter().map(|row| row.run.to_string()).collect()
}

/// The table of spec/flujo.md §3.3.
pub async fn metadata_is_filtered_by_containment(subject: &Subject) {
    let table = [
        (json!({"a": 1}), json!({}), true),
        (json!({}), json!({}), true),
        (json!({}), json!({"a": null}), false),
        (json!({"a": null}), json!({"a": null}), true),
        (json!({"a": 0}), json!({"a": null}), false),
        (json!({"a": 1}), json!({"a": 1.0}), true),
        (json!({"a": 1.0}), json!({"a": 1}), true),
        (json!({"a": 0.0}), json!({"a": -0.0}), true),
        (json!({"a": 1}), json!({"a": "1"}), false),
        (json!({"a": true}), json!({"a": 1}), false),
        (json!({"a": "x"}), json!({"a": "X"}), false),
        (json!({"a": 9_007_199_254_740_993_u64}), json!({"a": 9_007_199_254_740_993_u64}), true),
        (json!({"a": 1, "b": 2}), json!({"b": 2}), true),
        (json!({"a": 1, "b": 2}), json!({"a": 1, "b": 3}), false),
        (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 1}}), true),
        (json!({"a": {"b": 1}}), json!({"a": {"b": 1, "c": 2}}), false),
        (json!({"a": {"b": 1}}), json!({"a": {}}), true),
        (json!({"a": 1}), json!({"a": {}}), false),
        (json!({"a": {}}), json!({"a": {}}), true),
        (json!({"a": {"b": {"c": "deep"}}}), json!({"a": {"b": {"c": "deep"}}}), true),
        (json!({"a": {"b": 1}}), json!({"b": 1}), false),
        (json!({"ab": {"c": 1}}), json!({"a": {"bc": 1}}), false),
        (json!({"a": [1, 2]}), json!({"a": [1, 2]}), true),
        (json!({"a": [1, 2]}), json!({"a": [1.0, 2]}), true),
        (json!({"a": [1, 2]}), json!({"a": [2, 1]}), false),
        (json!({"a": [1, 2]}), json!({"a": [1]}), false),
        (json!({"a": [1, 2]}), json!({"a": 1}), false),
        (json!({"a": [{"b": 1, "c": 2}]}), json!({"a": [{"b": 1}]}), false),
        (json!({"a": [{"b": 1, "c": 2}]}), json!({"a": [{"c": 2, "b": 1}]}), true),
        (json!({"a": []}), json!({"a": []}), true),
        (json!({"": "empty key"}), json!({"": "empty key"}), true),
    ];
    let store = subject.store();
    for (i, (metadata, _, _)) in table.iter().enumerate() {
        Tale::begin_with(&**store, &format!("r{i:02}"), |_, new| new.metadata = object(metadata.clone()))
            .await;
    }
    for (i, (metadata, wanted, expected)) in table.iter().enumerate() {
        let filter = RunFilter { metadata: object(wanted.clone()), ..RunFilter::default() };
        let is_found = found(&**store, &filter).await.contains(&format!("r{i:02}"));
        assert_eq!(is_found, *expected, "{wanted} in {metadata}");
        let rule = crate::metadata::contains(&object(metadata.clone()), &object(wanted.clone()));
        assert_eq!(rule, *expected, "{wanted} in {metadata}");
    }
}

/// Every field of a filter narrows the list.
pub async fn runs_are_filtered(subject: &Subject) {
    let store = subject.store();
    let tagged = |store, run: &'static str, seconds, tags: Value| async move {
        let store: &dyn Store = store;
        Tale::begin_with(store, run, |batch, new| {
            batch.at = at(seconds);
            new.metadata = object(tags);
        })
        .await
    };
    tagged(&**store, "a", 10, json!({"team": "ops", "n": 1})).await;
    let mut b = tagged(&**store, "b", 20, json!({"team": "ops", "n": 2})).await;
    let mut c = tagged(&**store, "c", 30, json!({"team": "dev", "n": 1})).await;
    Tale::begin_with(&**store, "d", |batch, new| {
        batch.at = at(40);
        new.workflow = workflow("other");
        new.parent = Some("a".into());
        new.root = "a".into();
    })
    .await;
    b.go_on(&**store, "ends", |batch| batch.row = finished(21)).await;
    c.go_on(&**store, "pauses", |batch| {
        batch.row.status = RunStatus::Paused;
        batch.row.pause_reason = Some(PauseReason::Input);
    })
    .await;

    let all = RunFilter::default();
    let tags = |value: Value| RunFilter { metadata: object(value), ..all.clone() };
    let status = |status: &[RunStatus]| RunFilter { status: status.to_vec(), ..all.clone() };
    let table = [
        (all.clone(), vec!["d", "c", "b", "a"]),
        (status(&[RunStatus::Running]), vec!["d", "a"]),
        (status(&[RunStatus::Completed, RunStatus::Paused]), vec!["c", "b"]),
        (status(&[RunStatus::Failed]), vec![]),
        (RunFilter { workflow: Some("other".into()), ..all.clone() }, vec!["d"]),
        (tags(json!({"team": "ops"})), vec!["b", "a"]),
        (tags(json!({"team": "ops", "n": 1})), vec!["a"]),
        (tags(json!({"n": 1})), vec!["c", "a"]),
        (RunFilter { status: vec![RunStatus::Running], ..tags(json!({"team": "ops"})) }, vec!["a"]),
        (RunFilter { status: vec![RunStatus::Failed], ..tags(json!({"team": "ops"})) }, vec![]),
        (RunFilter { since: Some(at(20)), ..all.clone() }, vec!["d", "c", "b"]),
        (RunFilter { until: Some(at(20)), ..all.clone() }, vec!["a"]),
        (RunFilter { since: Some(at(20)), until: Some(at(40)), ..all.clone() }, vec!["c", "b"]),
        (RunFilter { since: Some(at(20)), ..tags(json!({"n": 1})) }, vec!["c"]),
        (RunFilter { among: Among::ChildrenOf("a".into()), ..all.clone() }, vec!["d"]),
        (RunFilter { among: Among::ChildrenOf("b".into()), ..all.clone() }, vec![]),
        (RunFilter { among: Among::Roots, ..all.clone() }, vec!["c", "b", "a"]),
        (RunFilter { pause_reason: Some(PauseReason::Input), ..all.clone() }, vec!["d", "c", "b", "a"]),
        (RunFilter { pause_reason: Some(PauseReason::Operator), ..all.clone() }, vec!["d", "b", "a"]),
        (
            RunFilter {
                pause_reason: Some(PauseReason::Operator),
                ..status(&[RunStatus::Completed, RunStatus::Paused])
            },
            vec!["b"],
        ),
    ];
    for (filter, expected) in table {
        assert_eq!(found(&**store, &filter).await, expected, "{filter:?}");
    }
}

async fn pages(store: &dyn Store, filter: &RunFilter, limit: usize) -> Vec<String> {
    let mut page = Page::first(limit);
    let mut seen = Vec::new();
    loop {
        let got = store.runs(filter, &page).await.unwrap();
        assert!(got.items.len() <= limit);
        seen.extend(got.items.iter().map(|row| row.run.to_string()));
        if got.next.is_none() {
            return seen;
        }
        page.cursor = got.next;
    }
}

/// Newest first, equal times by id descending; pages of any size make up the whole list.
pub async fn runs_are_listed_newest_first_and_paged_without_gaps(subject: &Subject) {
    let store = subject.store();
    // Created in an order of their own: neither by id nor by time.
    for i in (0..30).map(|i| (i * 7) % 30) {
        Tale::begin_with(&**store, &format!("r{i:02}"), |batch, new| {
            batch.at = at(10 + i / 8);
            new.metadata = object(json!({"even": i % 2 == 0}));
        })
        .await;
    }
    let all: Vec<String> = (0..30).rev().map(|i| format!("r{i:02}")).collect();
    let even: Vec<String> = (0..30).rev().filter(|i| i % 2 == 0).map(|i| format!("r{i:02}")).collect();
    let evens = RunFilter { metadata: object(json!({"even": true})), ..RunFilter::default() };
    for limit in [1, 3, 8, 30, 31] {
        assert_eq!(pages(&**store, &RunFilter::default(), limit).await, all, "pages of {limit}");
        assert_eq!(pages(&**store, &evens, limit).await, even, "pages of {limit}");
    }
    let none = store.runs(&RunFilter::default(), &Page::first(0)).await.unwrap();
    assert!(none.items.is_empty());
}

/// A cursor names a place, not a count: what comes in front of it does not shift what comes after.
pub async fn paging_is_exact_while_runs_are_added(subject: &Subject) {
    let store = subject.store();
    for i in 0..10 {
        Tale::begin_with(&**store, &format!("r{i}"), |batch, _| batch.at = at(10 + i)).await;
    }
    let page = store.runs(&RunFilter::default(), &Page::first(4)).await.unwrap();
    for i in 0..5 {
        Tale::begin_with(&**store, &format!("new{i}"), |batch, _| batch.at = at(100 + i)).await;
    }
    let next = Page { limit: 100, cursor: page.next };
    let rest = store.runs(&RunFilter::default(), &next).await.unwrap();
    let ids: Vec<&str> = rest.items.iter().map(|row| row.run.as_str()).collect();
    assert_eq!(ids, ["r5", "r4", "r3", "r2", "r1", "r0"]);
}

/// What is no cursor of ours is not taken for the beginning.
pub async fn a_foreign_cursor_is_refused(subject: &Subject) {
    let store = subject.store();
    let page = Page { limit: 10, cursor: Some("page two".into()) };
    assert!(matches!(store.runs(&RunFilter::default(), &page).await, Err(Error::Invalid(_))));
}

/// The beginning of an id is enough to find a run, whatever characters it has.
pub async fn runs_are_found_by_prefix(subject: &Subject) {
    let store = subject.store();
    for run in ["run_ab1", "run_ab2", "run_b", "RUN_ab", "run%", "rün", "run"] {
        Tale::begin(&**store, run).await;
    }
    let find = |prefix: &'static str, max| {
        let store = store.clone();
        async move {
            let found = store.runs_with_prefix(prefix, max).await.unwrap();
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        }
    };
    assert_eq!(find("run_ab", 10).await, ["run_ab1", "run_ab2"]);
    assert_eq!(find("run_ab1", 10).await, ["run_ab1"]);
    assert_eq!(find("run", 10).await, ["run", "run%", "run_ab1", "run_ab2", "run_b"]);
    assert_eq!(find("run", 2).await.len(), 2);
    assert_eq!(find("run%", 10).await, ["run%"]);
    assert_eq!(find("rü", 10).await, ["rün"]);
    assert_eq!(find("", 100).await.len(), 7);
    assert!(find("x", 10).await.is_empty());
}

/// What is not there is `NotFound`, never empty.
pub async fn what_is_missing_is_not_found(subject: &Subject) {
    let store = subject.store();
    let nobody = RunId::from("nobody");
    assert!(matches!(store.run(&nobody).await, Err(Error::NotFound(_))));
    assert!(matches!(store.load(&nobody).await, Err(Error::NotFound(_))));
    assert!(matches!(store.events(&nobody, Seq(0), 10).await, Err(Error::NotFound(_))));
    assert!(matches!(store.wait(&"nothing".into()).await, Err(Error::NotFound(_))));
}
