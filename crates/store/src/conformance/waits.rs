//! Promises about open questions.

use serde_json::json;
use stepwell_core::ids::WaitId;

use super::Subject;
use super::words::{Tale, at, close, object, question, workflow};
use crate::{Page, Store, WaitChange, WaitFilter, WaitRow, WaitState};

async fn open(store: &dyn Store, tale: &mut Tale, rows: impl IntoIterator<Item = WaitRow>) {
    let waits = rows.into_iter().map(|row| WaitChange::Open(Box::new(row))).collect();
    tale.go_on(store, "asks", |batch| batch.waits = waits).await;
}

async fn found(store: &dyn Store, filter: WaitFilter) -> Vec<String> {
    let page = store.waits(&filter, &Page::first(100)).await.unwrap();
    assert_eq!(page.next, None);
    page.items.iter().map(|row| row.wait.to_string()).collect()
}

/// A question is there until it is closed, and afterwards with who closed it.
pub async fn a_wait_is_found_open_and_closed(subject: &Subject) {
    let store = subject.store();
    let mut tale = Tale::begin(&**store, "r").await;
    let row =
        WaitRow { deadline: Some(at(99)), assignee: Some("ann".into()), ..question(&tale.run, "w", 12) };
    open(&**store, &mut tale, [row.clone(), question(&"r".into(), "v", 12)]).await;
    assert_eq!(store.wait(&"w".into()).await.unwrap(), row);
    let moment = at(tale.clock);
    tale.go_on(&**store, "answered", |batch| batch.waits = vec![close("w", "bob")]).await;
    let closed = WaitRow {
        state: WaitState::Answered,
        closed_at: Some(moment),
        closed_by: Some("bob".into()),
        ..row.clone()
    };
    assert_eq!(store.wait(&"w".into()).await.unwrap(), closed);
    let withdrawn = WaitChange::Close { wait: WaitId::from("v"), state: WaitState::Withdrawn, by: None };
    tale.go_on(&**store, "ends", |batch| batch.waits = vec![withdrawn]).await;
    let open_ones = WaitFilter { state: Some(WaitState::Open), ..WaitFilter::default() };
    assert!(found(&**store, open_ones).await.is_empty());
    let withdrawn = store.wait(&"v".into()).await.unwrap();
    assert_eq!((withdrawn.state, withdrawn.closed_by), (WaitState::Withdrawn, None));
}

/// Every field of a filter narrows the list.
pub async fn waits_are_filtered(subject: &Subject) {
    let store = subject.store();
    let tags = object(json!({"team": "ops"}));
    let mut one = Tale::begin_with(&**store, "r", |_, new| new.metadata.clone_from(&tags)).await;
    let mut two = Tale::begin_with(&**store, "s", |_, new| {
        new.workflow = workflow("other");
        new.parent = Some("r".into());
        new.root = "r".into();
    })
    .await;
    let first = WaitRow { metadata: tags.clone(), ..question(&one.run, "w1", 11) };
    let second = WaitRow {
        wait: "w2".into(),
        kind: "signal".into(),
        deadline: Some(at(50)),
        opened_at: at(13),
        ..first.clone()
    };
    open(&**store, &mut one, [first, second]).await;
    let third =
        WaitRow { assignee: Some("ann".into()), workflow: "other".into(), ..question(&two.run, "w3", 12) };
    open(&**store, &mut two, [third]).await;
    one.go_on(&**store, "x", |batch| batch.waits = vec![close("w1", "ann")]).await;

    let all = WaitFilter::default();
    assert_eq!(found(&**store, all.clone()).await, ["w1", "w3", "w2"]);
    let table = [
        (WaitFilter { state: Some(WaitState::Open), ..all.clone() }, vec!["w3", "w2"]),
        (WaitFilter { state: Some(WaitState::Answered), ..all.clone() }, vec!["w1"]),
        (WaitFilter { state: Some(WaitState::Expired), ..all.clone() }, vec![]),
        (WaitFilter { kind: Some("human".into()), ..all.clone() }, vec!["w1", "w3"]),
        (WaitFilter { assignee: Some("ann".into()), ..all.clone() }, vec!["w3"]),
        (WaitFilter { workflow: Some("flow".into()), ..all.clone() }, vec!["w1", "w2"]),
        (WaitFilter { run: Some("s".into()), ..all.clone() }, vec!["w3"]),
        (WaitFilter { root: Some("r".into()), ..all.clone() }, vec!["w1", "w3", "w2"]),
        (WaitFilter { root: Some("s".into()), ..all.clone() }, vec![]),
        (WaitFilter { metadata: tags, ..all.clone() }, vec!["w1", "w2"]),
        (WaitFilter { due_before: Some(at(50)), ..all.clone() }, vec![]),
        (WaitFilter { due_before: Some(at(51)), ..all.clone() }, vec!["w2"]),
        (WaitFilter { kind: Some("human".into()), run: Some("r".into()), ..all }, vec!["w1"]),
    ];
    for (filter, expected) in table {
        assert_eq!(found(&**store, filter.clone()).await, expected, "{filter:?}");
    }
}

/// Pages of any size make up the whole list, also where many were opened at one moment.
pub async fn waits_are_paged_without_gaps(subject: &Subject) {
    let store = subject.store();
    let mut tale = Tale::begin(&**store, "r").await;
    let rows: Vec<WaitRow> = (0..23).map(|i| question(&tale.run, &format!("w{i:02}"), 11 + i / 9)).collect();
    open(&**store, &mut tale, rows.into_iter().rev()).await;
    let expected: Vec<String> = (0..23).map(|i| format!("w{i:02}")).collect();
    for limit in [1, 2, 5, 23, 50] {
        let mut page = Page::first(limit);
        let mut seen = Vec::new();
        loop {
            let got = store.waits(&WaitFilter::default(), &page).await.unwrap();
            assert!(got.items.len() <= limit);
            seen.extend(got.items.iter().map(|row| row.wait.to_string()));
            if got.next.is_none() {
                break;
            }
            page.cursor = got.next;
        }
        assert_eq!(seen, expected, "pages of {limit}");
    }
}
