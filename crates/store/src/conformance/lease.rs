//! Promises about work items and their leases.

use std::sync::Arc;

use stepwell_core::ids::{Ordinal, RunId};
use stepwell_core::policy::resources::{Resources, Room};
use stepwell_core::run::event::Event;
use stepwell_core::status::{PauseReason, RunStatus};
use stepwell_core::workflow::definition::Priority;

use super::Subject;
use super::words::{
    Tale, answering, any_work, at, finished, first, held, item, journal, lease, limit, log_line, note,
    running, session, started, steps, told,
};
use crate::{
    CommitError, LeaseRef, LeaseRequest, Leased, Purpose, RowUpdate, SessionRef, Store, Trees, WorkChange,
    WorkItem,
};

/// Whoever leases an item finds its start in the journal.
pub async fn a_lease_writes_its_start(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    let mut ready = item("a");
    ready.attempt = 3;
    ready.execution.ordinal = Ordinal(2);
    ready.limits = vec![limit("gpu", 1, 2), limit("licence", 2, 2)];
    tale.ready(&**store, [ready.clone()]).await;
    let request = LeaseRequest { now: at(77), ..any_work(session, 10) };
    let leased = store.lease(request).await.unwrap();
    assert_eq!(leased, [Leased { run: tale.run.clone(), item: ready.clone(), session }]);
    let last = journal(&**store, &tale.run).await.pop().unwrap();
    assert_eq!((last.at, last.event), (at(77), started(&ready, session)));
}

/// Of many who ask at once one gets an item.
pub async fn a_ready_item_is_leased_once(subject: &Subject) {
    let store = subject.store();
    let mut tale = Tale::begin(&**store, "r").await;
    tale.ready(&**store, (0..10).map(|i| item(&format!("step {i}")))).await;
    let mut workers = Vec::new();
    for i in 0..8 {
        let session = session(&**store, &format!("worker {i}")).await;
        let store = store.clone();
        workers.push(tokio::spawn(async move { store.lease(any_work(session, 3)).await.unwrap() }));
    }
    let mut taken = Vec::new();
    for worker in workers {
        taken.extend(worker.await.unwrap().into_iter().map(|leased| leased.item.execution.step));
    }
    taken.sort();
    let count = taken.len();
    taken.dedup();
    assert_eq!((count, taken.len()), (10, 10));
    let events = journal(&**store, &tale.run).await;
    assert_eq!(events.iter().filter(|recorded| recorded.event.kind() == "AttemptStarted").count(), 10);
}

/// A start decides nothing: what was decided before it stands.
pub async fn starts_do_not_change_the_revision(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    tale.ready(&**store, [item("a")]).await;
    let before = store.run(&tale.run).await.unwrap();
    lease(&**store, session, 1).await;
    store.append_lazy(vec![log_line(&tale.run, &held(&item("a"), session), "line")]).await.unwrap();
    let row = store.run(&tale.run).await.unwrap();
    assert_eq!(
        (row.revision, row.seq.0, row.updated_at),
        (tale.revision, before.seq.0 + 2, before.updated_at)
    );
    let committed = tale.go_on(&**store, "decided before the start", |_| {}).await;
    assert_eq!(committed.seq.0, before.seq.0 + 3);
}

/// No attempt starts while its run is paused or pending; afterwards it does.
pub async fn a_paused_run_is_not_leased(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    let pending = RowUpdate { status: RunStatus::Pending, started_at: None, ..running() };
    let paused =
        RowUpdate { status: RunStatus::Paused, pause_reason: Some(PauseReason::Operator), ..running() };
    tale.ready(&**store, [item("a")]).await;
    for row in [paused, pending] {
        tale.go_on(&**store, "held", |batch| batch.row = row).await;
        assert!(lease(&**store, session, 10).await.is_empty());
    }
    tale.go_on(&**store, "goes on", |_| {}).await;
    assert_eq!(steps(&lease(&**store, session, 10).await), ["a"]);
}

/// Whatever is left of a run that has ended is not begun.
pub async fn a_finished_run_is_not_leased(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    for (run, status) in [("c", RunStatus::Completed), ("f", RunStatus::Failed), ("x", RunStatus::Cancelled)]
    {
        let mut tale = Tale::begin(&**store, run).await;
        tale.ready(&**store, [item("a")]).await;
        tale.go_on(&**store, "ends", |batch| batch.row = RowUpdate { status, ..finished(20) }).await;
    }
    assert!(lease(&**store, session, 10).await.is_empty());
}

/// Critical before high before normal before low; within one priority the oldest first.
pub async fn items_are_leased_by_priority_then_age(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    let with = |step: &str, priority| WorkItem { priority, ..item(step) };
    tale.ready(&**store, [item("n1"), with("l", Priority::Low), item("n0")]).await;
    tale.ready(&**store, [with("h", Priority::High), item("n2")]).await;
    let mut other = Tale::begin(&**store, "s").await;
    other.clock = tale.clock;
    other.ready(&**store, [with("c", Priority::Critical), item("n3")]).await;
    assert_eq!(steps(&lease(&**store, session, 2).await), ["c", "h"]);
    assert_eq!(steps(&lease(&**store, session, 10).await), ["n1", "n0", "n2", "n3", "l"]);
}

/// Who has no slot free learns what waits, and takes nothing by asking.
pub async fn the_priority_of_what_waits_is_seen(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let ask = |seconds| LeaseRequest { now: at(seconds), ..any_work(session, 10) };
    assert_eq!(store.waiting(ask(99)).await.unwrap(), None);
    let mut tale = Tale::begin(&**store, "r").await;
    let later = WorkItem { not_before: at(100), priority: Priority::Critical, ..item("later") };
    let high = WorkItem { priority: Priority::High, ..item("h") };
    tale.ready(&**store, [item("n"), high, later]).await;
    assert_eq!(store.waiting(ask(99)).await.unwrap(), Some(Priority::High));
    assert_eq!(store.waiting(ask(100)).await.unwrap(), Some(Priority::Critical));
    assert_eq!(steps(&store.lease(ask(99)).await.unwrap()), ["h", "n"]);
    assert_eq!(store.waiting(ask(99)).await.unwrap(), None);
}

/// A delayed item waits for its time.
pub async fn an_item_not_yet_due_is_left_alone(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    let delayed = WorkItem { not_before: at(100), priority: Priority::Critical, ..item("later") };
    tale.ready(&**store, [delayed, item("now")]).await;
    let ask = |seconds| LeaseRequest { now: at(seconds), ..any_work(session, 10) };
    assert_eq!(steps(&store.lease(ask(99)).await.unwrap()), ["now"]);
    assert!(store.lease(ask(99)).await.unwrap().is_empty());
    assert_eq!(steps(&store.lease(ask(100)).await.unwrap()), ["later"]);
}

/// A worker gets what it can do: whole names, or beginnings before a `*`.
pub async fn only_handlers_that_are_asked_for_are_leased(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    let named = |step: &str, handler: &str| WorkItem { handler: handler.into(), ..item(step) };
    tale.ready(
        &**store,
        [
            named("a", "fn:flow/a"),
            named("b", "fn:flow/b"),
            named("c", "fn:flow_2/c"),
            named("d", "python/v1"),
            named("e", "http/v1"),
        ],
    )
    .await;
    let ask = |handlers: &[&str]| LeaseRequest {
        handlers: Some(Arc::new(handlers.iter().map(ToString::to_string).collect())),
        ..any_work(session, 10)
    };
    assert!(store.lease(ask(&[])).await.unwrap().is_empty());
    assert!(store.lease(ask(&["python", "fn:flow", "*x"])).await.unwrap().is_empty());
    assert_eq!(steps(&store.lease(ask(&["fn:flow/*"])).await.unwrap()), ["a", "b"]);
    assert_eq!(steps(&store.lease(ask(&["http/v1", "python/v1"])).await.unwrap()), ["d", "e"]);
    assert_eq!(steps(&store.lease(ask(&["*"])).await.unwrap()), ["c"]);
}

/// Who carries some runs gets items of their trees alone.
pub async fn only_the_asked_trees_are_leased(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    Tale::begin(&**store, "other").await.ready(&**store, [item("other")]).await;
    Tale::begin(&**store, "root").await.ready(&**store, [item("root")]).await;
    let mut child = Tale::begin_with(&**store, "child", |_, new| {
        new.parent = Some("root".into());
        new.root = "root".into();
    })
    .await;
    child.clock += 1;
    child.ready(&**store, [item("child")]).await;
    let asked = Trees::from_iter([RunId::from("child")]);
    let ask = || LeaseRequest { trees: Some(asked.clone()), ..any_work(session, 10) };
    assert!(store.lease(ask()).await.unwrap().is_empty());
    assert!(store.waiting(ask()).await.unwrap().is_none());
    asked.add(&"root".into());
    assert_eq!(steps(&store.lease(ask()).await.unwrap()), ["root", "child"]);
    asked.add(&"other".into());
    asked.remove(&"other".into());
    assert!(store.lease(ask()).await.unwrap().is_empty());
    asked.add(&"other".into());
    assert_eq!(steps(&store.lease(ask()).await.unwrap()), ["other"]);
}

/// The batch of an outcome whose lease is gone is refused and names it; what else was decided is not hurt.
pub async fn an_answer_without_its_lease_is_refused_alone(subject: &Subject) {
    let store = subject.store();
    let (ours, theirs) = (session(&**store, "ours").await, session(&**store, "theirs").await);
    let mut tale = Tale::begin(&**store, "r").await;
    tale.ready(&**store, [item("a"), item("b")]).await;
    assert_eq!(steps(&lease(&**store, ours, 1).await), ["a"]);
    let stands = held(&item("a"), ours);
    let wrong = [
        held(&item("b"), ours),
        held(&item("none"), ours),
        LeaseRef { session: theirs, ..stands.clone() },
        LeaseRef { session: SessionRef { generation: ours.generation + 1, ..ours }, ..stands.clone() },
        LeaseRef { attempt: 2, ..stands.clone() },
    ];
    for lost in wrong {
        let mut batch = tale.batch("both");
        batch.answered = vec![stands.clone(), lost.clone()];
        let refused = store.commit(batch).await;
        let Err(CommitError::LeaseLost { run, execution }) = refused else { panic!("{lost:?}: {refused:?}") };
        assert_eq!((run, execution), (tale.run.clone(), lost.execution));
    }
    let answer = answering(tale.batch("alone"), stands);
    tale.commit(&**store, answer).await.unwrap();
    assert_eq!(told(&journal(&**store, &tale.run).await), ["created", "ready", "AttemptStarted", "alone"]);
}

/// A lease answers once.
pub async fn an_answered_lease_is_gone(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    tale.ready(&**store, [item("a")]).await;
    lease(&**store, session, 1).await;
    let answer = held(&item("a"), session);
    let batch = answering(tale.batch("done"), answer.clone());
    tale.commit(&**store, batch).await.unwrap();
    let again = store.commit(answering(tale.batch("done again"), answer)).await;
    assert!(matches!(again, Err(CommitError::LeaseLost { .. })), "{again:?}");
    assert!(lease(&**store, session, 10).await.is_empty());
    let renewal = store.renew_session(session, Vec::new(), at(60)).await.unwrap();
    assert!(renewal.strays.is_empty());
}

/// The commit that completes a step leases its successor; nobody else can get it.
pub async fn a_hand_over_is_leased_by_its_commit(subject: &Subject) {
    let store = subject.store();
    let (ours, theirs) = (session(&**store, "ours").await, session(&**store, "theirs").await);
    let mut tale = Tale::begin(&**store, "r").await;
    tale.ready(&**store, [item("step 0")]).await;
    lease(&**store, ours, 1).await;
    for i in 1..5 {
        let before = held(&item(&format!("step {}", i - 1)), ours);
        let next = item(&format!("step {i}"));
        let mut batch = answering(tale.batch("done"), before);
        batch.events.push(started(&next, ours));
        batch.work = vec![WorkChange::HandOver(next.clone(), ours)];
        tale.commit(&**store, batch).await.unwrap();
        assert!(lease(&**store, theirs, 10).await.is_empty());
    }
    // The next round of a loop: the same execution under a new attempt.
    let mut batch = answering(tale.batch("again"), held(&item("step 4"), ours));
    let again = WorkItem { attempt: 2, ..item("step 4") };
    batch.work = vec![WorkChange::HandOver(again.clone(), ours)];
    tale.commit(&**store, batch).await.unwrap();
    let renewal =
        store.renew_session(ours, vec![(tale.run.clone(), held(&again, ours))], at(60)).await.unwrap();
    assert_eq!((renewal.lost, renewal.strays), (vec![], vec![]));
    let answer = answering(tale.batch("end"), held(&again, ours));
    tale.commit(&**store, answer).await.unwrap();
}

/// An item that is put again is ready again; a lease of what stood there is gone.
pub async fn a_put_takes_the_place_of_a_lease(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    tale.ready(&**store, [item("a")]).await;
    lease(&**store, session, 1).await;
    let second = WorkItem { attempt: 2, handler: "other".into(), ..item("a") };
    tale.ready(&**store, [second.clone()]).await;
    let answer = store.commit(answering(tale.batch("x"), held(&item("a"), session))).await;
    assert!(matches!(answer, Err(CommitError::LeaseLost { .. })));
    let leased = lease(&**store, session, 10).await;
    assert_eq!(leased.into_iter().map(|leased| leased.item).collect::<Vec<_>>(), [second]);
}

/// What is removed cannot be leased, and its lease is gone.
pub async fn a_removed_item_is_not_leased(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    tale.ready(&**store, [item("a"), item("b")]).await;
    assert_eq!(steps(&lease(&**store, session, 1).await), ["a"]);
    let removals = ["a", "b", "never there"].map(|step| WorkChange::Remove(first(step)));
    tale.go_on(&**store, "removed", |batch| batch.work = removals.to_vec()).await;
    assert!(lease(&**store, session, 10).await.is_empty());
    let answer = store.commit(answering(tale.batch("x"), held(&item("a"), session))).await;
    assert!(matches!(answer, Err(CommitError::LeaseLost { .. })));
}

/// To ask a predicate is no attempt; to go on after a wait is one.
pub async fn a_judgement_is_leased_without_a_start(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    let for_purpose = |step: &str, purpose| WorkItem { purpose, ..item(step) };
    tale.ready(&**store, [for_purpose("judge", Purpose::Judge), for_purpose("rerun", Purpose::Rerun)]).await;
    let leased = lease(&**store, session, 10).await;
    assert_eq!(
        leased.iter().map(|leased| leased.item.purpose).collect::<Vec<_>>(),
        [Purpose::Judge, Purpose::Rerun]
    );
    let starts: Vec<Event> =
        journal(&**store, &tale.run).await.into_iter().skip(2).map(|r| r.event).collect();
    assert_eq!(starts, [started(&item("rerun"), session)]);
    let answer = answering(tale.batch("judged"), held(&item("judge"), session));
    tale.commit(&**store, answer).await.unwrap();
}

/// Units of a named limit are taken while a lease stands, whoever holds it and whatever run it is of.
pub async fn a_named_limit_holds_over_two_runs(subject: &Subject) {
    let store = subject.store();
    let (ours, theirs) = (session(&**store, "ours").await, session(&**store, "theirs").await);
    let taking = |step: &str, units| WorkItem { limits: vec![limit("gpu", units, 3)], ..item(step) };
    let mut one = Tale::begin(&**store, "r").await;
    one.ready(&**store, [taking("a", 2), taking("b", 2), taking("c", 1)]).await;
    let mut two = Tale::begin(&**store, "s").await;
    two.clock = one.clock;
    two.ready(&**store, [taking("d", 1), item("free")]).await;

    assert_eq!(steps(&lease(&**store, ours, 10).await), ["a", "c", "free"]);
    assert!(lease(&**store, theirs, 10).await.is_empty());
    let answer = answering(one.batch("c is done"), held(&item("c"), ours));
    one.commit(&**store, answer).await.unwrap();
    assert_eq!(steps(&lease(&**store, theirs, 10).await), ["d"]);
    let answer = answering(one.batch("a is done"), held(&item("a"), ours));
    one.commit(&**store, answer).await.unwrap();
    assert_eq!(steps(&lease(&**store, theirs, 10).await), ["b"]);

    // A limit that was declared smaller elsewhere, and one that can never be met.
    let smaller = WorkItem { limits: vec![limit("gpu", 1, 2)], ..item("e") };
    let never = WorkItem { limits: vec![limit("other", 2, 1)], ..item("f") };
    one.ready(&**store, [smaller, never]).await;
    assert!(lease(&**store, ours, 10).await.is_empty());
}

/// Units of a named limit stay taken when nothing is to be done any more with what they are leased for, until whoever holds
/// the lease lets go of it, or is gone.
pub async fn a_named_limit_is_taken_until_a_removed_lease_is_let_go(subject: &Subject) {
    let store = subject.store();
    let (ours, theirs) = (session(&**store, "ours").await, session(&**store, "theirs").await);
    let taking = |step: &str| WorkItem { limits: vec![limit("gpu", 1, 1)], ..item(step) };
    let mut tale = Tale::begin(&**store, "r").await;
    tale.ready(&**store, [taking("a"), taking("b"), taking("d")]).await;
    let mut removed = Vec::new();
    for step in ["a", "b"] {
        assert_eq!(steps(&lease(&**store, ours, 10).await), [step]);
        let lease_of = held(&item(step), ours);
        let mut batch = tale.batch("it is cancelled");
        batch.work = vec![WorkChange::Remove(lease_of.execution.clone())];
        tale.commit(&**store, batch).await.unwrap();
        removed.push((tale.run.clone(), lease_of.clone()));

        // Nobody else gets them, and nothing that comes of the lease is taken.
        assert!(lease(&**store, theirs, 10).await.is_empty());
        let late = answering(tale.batch("late"), lease_of);
        assert!(matches!(tale.commit(&**store, late).await, Err(CommitError::LeaseLost { .. })));
        let renewal = store.renew_session(ours, removed.clone(), at(100)).await.unwrap();
        assert_eq!((renewal.lost, renewal.strays), (removed.clone(), vec![]));
        store.renew_session(theirs, vec![], at(100)).await.unwrap();
        assert!(lease(&**store, theirs, 10).await.is_empty());
        assert_eq!(store.lost_leases(at(100), 10).await.unwrap(), []);

        if step == "a" {
            removed.clear();
            store.renew_session(ours, vec![], at(100)).await.unwrap();
        } else {
            subject.kill(ours);
            assert_eq!(store.lost_leases(at(100), 10).await.unwrap(), []);
        }
    }
    assert_eq!(steps(&lease(&**store, theirs, 10).await), ["d"]);

    // Who closes its session lets go of everything.
    let mut batch = tale.batch("it is cancelled");
    batch.work = vec![WorkChange::Remove(item("d").execution)];
    tale.commit(&**store, batch).await.unwrap();
    tale.ready(&**store, [taking("e")]).await;
    let third = session(&**store, "third").await;
    assert!(lease(&**store, third, 10).await.is_empty());
    store.close_session(theirs).await.unwrap();
    assert_eq!(steps(&lease(&**store, third, 10).await), ["e"]);
}

/// Who does not fit reserves what it lacks; who could never fit, or is kept waiting by a limit, stands in nobody's way.
pub async fn only_what_fits_in_the_room_of_a_request_is_leased(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let asking = |step: &str, resources| WorkItem { resources, ..item(step) };
    let beyond = Resources::cpu(9).memory_mb(1);
    let limited = WorkItem { limits: vec![limit("gpu", 2, 1)], ..asking("limited", Resources::cpu(4)) };
    let mut tale = Tale::begin(&**store, "r").await;
    let first = [asking("beyond", beyond), limited, asking("small", Resources::cpu(1.5))];
    tale.ready(&**store, first).await;
    tale.ready(&**store, [asking("big", Resources::cpu(3).memory_mb(1)), asking("late", Resources::cpu(1))])
        .await;
    tale.ready(&**store, [asking("other", Resources::default().memory_mb(8).gpu(1)), item("free")]).await;
    let urgent = WorkItem { priority: Priority::High, ..asking("urgent", Resources::cpu(1)) };
    tale.ready(&**store, [urgent]).await;

    let ask = |cpus: f64| LeaseRequest {
        room: Room::of(&Resources::cpu(cpus).memory_mb(8)),
        ..any_work(session, 10)
    };
    assert_eq!(store.waiting(ask(0.5)).await.unwrap(), Some(Priority::Normal), "nothing of processors");
    let leased = store.lease(ask(4.0)).await.unwrap();
    assert_eq!(steps(&leased), ["urgent", "small", "other", "free"]);
    assert_eq!(leased[1].item.resources, Resources::cpu(1.5));
    assert_eq!(steps(&store.lease(ask(4.0)).await.unwrap()), ["big", "late"]);
    assert_eq!(steps(&lease(&**store, session, 10).await), ["beyond"], "where nothing is bounded");
}

async fn talk(store: &dyn Store, run: &RunId, lease: &LeaseRef, text: &str) {
    store.append_lazy(vec![log_line(run, lease, text)]).await.unwrap();
}

/// A line that comes late is dropped, never appended to what has ended.
pub async fn lazy_events_end_with_their_attempt(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    let lease_a = held(&item("a"), session);
    tale.ready(&**store, [item("a")]).await;
    talk(&**store, &tale.run, &lease_a, "too early").await;
    lease(&**store, session, 1).await;
    let both = ["one", "two"].map(|text| log_line(&tale.run, &lease_a, text));
    store.append_lazy(both.to_vec()).await.unwrap();
    talk(&**store, &tale.run, &LeaseRef { attempt: 2, ..lease_a.clone() }, "another attempt").await;
    let answer = answering(tale.batch("done"), lease_a.clone());
    tale.commit(&**store, answer).await.unwrap();
    talk(&**store, &tale.run, &lease_a, "too late").await;
    talk(&**store, &"nobody".into(), &lease_a, "of no run").await;
    tale.go_on(&**store, "after", |batch| {
        batch.lazy = vec![log_line(&tale_run(), &lease_a, "riding too late")];
    })
    .await;
    let events = journal(&**store, &tale.run).await;
    assert_eq!(told(&events), ["created", "ready", "AttemptStarted", "one", "two", "done", "after"]);
    assert_eq!(events[3].at, at(50));
}

fn tale_run() -> RunId {
    "r".into()
}

/// What an attempt said before its outcome stands before it.
pub async fn lazy_events_ride_in_front_of_their_batch(subject: &Subject) {
    let store = subject.store();
    let session = session(&**store, "worker").await;
    let mut tale = Tale::begin(&**store, "r").await;
    let mut other = Tale::begin(&**store, "s").await;
    tale.ready(&**store, [item("a")]).await;
    other.ready(&**store, [item("b")]).await;
    lease(&**store, session, 10).await;
    let (lease_a, lease_b) = (held(&item("a"), session), held(&item("b"), session));
    let mut batch = answering(tale.batch("done"), lease_a.clone());
    batch.events.push(note("and on"));
    batch.lazy = vec![
        log_line(&tale.run, &lease_a, "one"),
        log_line(&tale.run, &lease_b, "of a lease of another run"),
        log_line(&other.run, &lease_b, "in another run"),
        log_line(&tale.run, &lease_a, "two"),
    ];
    let committed = tale.commit(&**store, batch).await.unwrap();
    let events = journal(&**store, &tale.run).await;
    assert_eq!(told(&events), ["created", "ready", "AttemptStarted", "one", "two", "done", "and on"]);
    assert_eq!((committed.seq, events.last().unwrap().seq), (events[6].seq, events[6].seq));
    assert_eq!((events[3].at, events[5].at), (at(50), at(12)));
    let events = journal(&**store, &other.run).await;
    assert_eq!(told(&events), ["created", "ready", "AttemptStarted", "in another run"]);
    other.go_on(&**store, "goes on", |_| {}).await;
}
