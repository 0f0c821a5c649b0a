//! Promises about sessions: who takes part, and what becomes of leases whose holder is gone.

use super::Subject;
use super::words::{
    Tale, answering, any_work, at, giving_back, held, item, journal, lease, log_line, session, started,
    steps, told,
};
use crate::{CommitError, Error, LostLease, SessionRef, Store, WorkChange};

/// Two sessions never have one name.
pub async fn sessions_are_told_apart(subject: &Subject) {
    let store = subject.store();
    let mut known: Vec<SessionRef> = Vec::new();
    for i in 0..6 {
        let opened = session(&**store, &format!("worker {i}")).await;
        assert!(!known.contains(&opened));
        known.push(opened);
        if i % 2 == 0 {
            store.close_session(opened).await.unwrap();
            assert!(lost(&**store).await.is_empty());
        }
    }
}

/// Who holds something is told as long as it lives.
pub async fn a_session_has_its_label_as_long_as_it_lives(subject: &Subject) {
    let store = subject.store();
    let (ours, theirs) = (session(&**store, "ours").await, session(&**store, "theirs").await);
    assert_eq!(store.holder(ours.id).await.unwrap().unwrap(), "ours");
    store.label_session(ours, "ours; late").await.unwrap();
    assert_eq!(store.holder(ours.id).await.unwrap().unwrap(), "ours; late");
    assert_eq!(store.holder(theirs.id).await.unwrap().unwrap(), "theirs");

    store.close_session(ours).await.unwrap();
    subject.kill(theirs);
    for gone in [ours, theirs] {
        store.label_session(gone, "back").await.unwrap();
        assert_eq!(store.holder(gone.id).await.unwrap(), None);
    }
}

async fn lost(store: &dyn Store) -> Vec<LostLease> {
    store.lost_leases(at(100), 100).await.unwrap()
}

async fn leased_run(store: &dyn Store, run: &str, session: SessionRef) -> Tale {
    let mut tale = Tale::begin(store, run).await;
    tale.ready(store, [item("a")]).await;
    assert_eq!(steps(&lease(store, session, 1).await), ["a"]);
    tale
}

/// Who closes its session gives its leases up.
pub async fn a_closed_session_loses_its_leases(subject: &Subject) {
    let store = subject.store();
    let (ours, theirs) = (session(&**store, "ours").await, session(&**store, "theirs").await);
    let tale = leased_run(&**store, "r", ours).await;
    leased_run(&**store, "s", theirs).await;
    assert!(lost(&**store).await.is_empty());
    store.close_session(ours).await.unwrap();
    let expected = LostLease { run: tale.run.clone(), lease: held(&item("a"), ours) };
    for _ in 0..3 {
        assert_eq!(lost(&**store).await, std::slice::from_ref(&expected));
    }
}

/// A process that dies without a word is noticed.
pub async fn a_killed_session_loses_its_leases(subject: &Subject) {
    let store = subject.store();
    let (ours, theirs) = (session(&**store, "ours").await, session(&**store, "theirs").await);
    let tale = leased_run(&**store, "r", ours).await;
    leased_run(&**store, "s", theirs).await;
    subject.kill(ours);
    let expected = LostLease { run: tale.run.clone(), lease: held(&item("a"), ours) };
    assert_eq!(lost(&**store).await, [expected]);
    assert_eq!(store.lost_leases(at(100), 0).await.unwrap(), []);
}

/// A lost lease stays until a batch answers it, so that of two who notice one wins.
pub async fn a_lost_lease_is_given_back_once(subject: &Subject) {
    let store = subject.store();
    let (ours, theirs) = (session(&**store, "ours").await, session(&**store, "theirs").await);
    let mut tale = leased_run(&**store, "r", ours).await;
    subject.kill(ours);
    let noticed = lost(&**store).await.pop().unwrap();
    let mut give_back = giving_back(tale.batch("given back"), noticed.lease.clone());
    give_back.work = vec![WorkChange::Put(item("a"))];
    tale.commit(&**store, give_back).await.unwrap();
    assert!(lost(&**store).await.is_empty());
    let second = store.commit(giving_back(tale.batch("given back twice"), noticed.lease)).await;
    assert!(matches!(second, Err(CommitError::LeaseLost { .. })), "{second:?}");
    assert_eq!(steps(&lease(&**store, theirs, 10).await), ["a"]);
    assert!(lost(&**store).await.is_empty());
}

/// Once a session is declared dead its outcomes are refused, also before anybody has given its leases back.
pub async fn the_outcome_of_a_session_declared_dead_is_refused(subject: &Subject) {
    let store = subject.store();
    let ours = session(&**store, "ours").await;
    let mut tale = leased_run(&**store, "r", ours).await;
    subject.kill(ours);
    let noticed = lost(&**store).await.pop().unwrap();
    for _ in 0..2 {
        let late = store.commit(answering(tale.batch("late"), noticed.lease.clone())).await;
        assert!(matches!(late, Err(CommitError::LeaseLost { .. })), "{late:?}");
    }
    tale.commit(&**store, giving_back(tale.batch("given back"), noticed.lease)).await.unwrap();
    assert_eq!(told(&journal(&**store, &tale.run).await).last().map(String::as_str), Some("given back"));
}

/// Nobody can give back what its holder is still at work on.
pub async fn a_lease_that_is_not_lost_is_not_given_back(subject: &Subject) {
    let store = subject.store();
    let ours = session(&**store, "ours").await;
    let mut tale = leased_run(&**store, "r", ours).await;
    let lease = held(&item("a"), ours);
    let refused = store.commit(giving_back(tale.batch("given back"), lease.clone())).await;
    assert!(matches!(refused, Err(CommitError::LeaseLost { .. })), "{refused:?}");
    tale.commit(&**store, answering(tale.batch("done"), lease)).await.unwrap();
}

/// What a living session does not hold although the store says so is lost.
pub async fn strays_count_as_lost(subject: &Subject) {
    let store = subject.store();
    let ours = session(&**store, "ours").await;
    let mut tale = Tale::begin(&**store, "r").await;
    tale.ready(&**store, [item("a"), item("b")]).await;
    lease(&**store, ours, 10).await;
    let held_a = (tale.run.clone(), held(&item("a"), ours));
    let stray_b = (tale.run.clone(), held(&item("b"), ours));
    let renewal = store.renew_session(ours, vec![held_a.clone()], at(60)).await.unwrap();
    assert_eq!((renewal.lost, renewal.strays), (vec![], vec![stray_b.clone()]));
    assert_eq!(lost(&**store).await, [LostLease { run: stray_b.0, lease: stray_b.1 }]);
    // What is held is not touched.
    let answer = answering(tale.batch("a is done"), held_a.1);
    tale.commit(&**store, answer).await.unwrap();
}

/// A lease of the same name that is taken anew is not the stray of old.
pub async fn a_stray_that_is_leased_again_is_none(subject: &Subject) {
    let store = subject.store();
    let ours = session(&**store, "ours").await;
    let mut tale = leased_run(&**store, "r", ours).await;
    store.renew_session(ours, Vec::new(), at(60)).await.unwrap();
    assert_eq!(lost(&**store).await.len(), 1);
    tale.ready(&**store, [item("a")]).await;
    assert!(lost(&**store).await.is_empty());
    assert_eq!(lease(&**store, ours, 10).await.len(), 1);
    assert!(lost(&**store).await.is_empty());
    let answer = answering(tale.batch("done"), held(&item("a"), ours));
    tale.commit(&**store, answer).await.unwrap();
}

/// Who holds what the store does not know is told to stop.
pub async fn a_renewal_names_what_the_store_does_not_know(subject: &Subject) {
    let store = subject.store();
    let (ours, theirs) = (session(&**store, "ours").await, session(&**store, "theirs").await);
    let tale = leased_run(&**store, "r", theirs).await;
    let imagined = (tale.run.clone(), held(&item("a"), ours));
    let renewal = store.renew_session(ours, vec![imagined.clone()], at(60)).await.unwrap();
    assert_eq!((renewal.lost, renewal.strays), (vec![imagined], vec![]));
}

/// A session that has ended is over: it says so to who still believes in it.
pub async fn a_closed_session_neither_renews_nor_leases(subject: &Subject) {
    let store = subject.store();
    let ours = session(&**store, "ours").await;
    Tale::begin(&**store, "r").await.ready(&**store, [item("a")]).await;
    let stale = SessionRef { generation: ours.generation + 1, ..ours };
    assert!(matches!(store.lease(any_work(stale, 1)).await, Err(Error::NotFound(_))));
    store.close_session(ours).await.unwrap();
    assert!(matches!(store.renew_session(ours, Vec::new(), at(60)).await, Err(Error::NotFound(_))));
    assert!(matches!(store.lease(any_work(ours, 1)).await, Err(Error::NotFound(_))));
    store.close_session(ours).await.unwrap();
}

/// A worker that wakes up after its attempt was given to somebody else is refused in everything.
pub async fn a_stalled_session_that_comes_back_changes_nothing(subject: &Subject) {
    let store = subject.store();
    let (stalled, other) = (session(&**store, "stalled").await, session(&**store, "other").await);
    let mut tale = leased_run(&**store, "r", stalled).await;
    let stale = held(&item("a"), stalled);
    store.renew_session(stalled, Vec::new(), at(60)).await.unwrap();
    let mut give_back = giving_back(tale.batch("given back"), stale.clone());
    let second = crate::WorkItem { attempt: 2, ..item("a") };
    give_back.work = vec![WorkChange::Put(second.clone())];
    tale.commit(&**store, give_back).await.unwrap();
    assert_eq!(lease(&**store, other, 10).await.len(), 1);

    let late = store.commit(answering(tale.batch("late"), stale.clone())).await;
    assert!(matches!(late, Err(CommitError::LeaseLost { .. })), "{late:?}");
    store.append_lazy(vec![log_line(&tale.run, &stale, "late line")]).await.unwrap();
    let renewal =
        store.renew_session(stalled, vec![(tale.run.clone(), stale.clone())], at(61)).await.unwrap();
    assert_eq!((renewal.lost, renewal.strays), (vec![(tale.run.clone(), stale)], vec![]));
    let events = journal(&**store, &tale.run).await;
    assert_eq!(told(&events), ["created", "ready", "AttemptStarted", "given back", "AttemptStarted"]);
    let answer = answering(tale.batch("done"), held(&second, other));
    tale.commit(&**store, answer).await.unwrap();
}

/// A commit that hands a successor to a session that has ended in between is refused, and nothing is written.
pub async fn a_hand_over_to_a_session_that_is_gone_is_refused(subject: &Subject) {
    let store = subject.store();
    let ours = session(&**store, "ours").await;
    let mut tale = Tale::begin(&**store, "r").await;
    store.close_session(ours).await.unwrap();
    // Whoever looks may clear away what is left of the session.
    assert!(lost(&**store).await.is_empty());
    let mut batch = tale.batch("answered");
    batch.events.push(started(&item("a"), ours));
    batch.work = vec![WorkChange::HandOver(item("a"), ours)];
    let refused = store.commit(batch).await;
    assert!(matches!(refused, Err(CommitError::SessionGone(session)) if session == ours), "{refused:?}");
    assert_eq!(told(&journal(&**store, &tale.run).await), ["created"]);
    tale.ready(&**store, [item("a")]).await;
    assert!(lost(&**store).await.is_empty());
}
