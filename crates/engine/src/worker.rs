//! The worker: leases what is ready as long as it has slots, and flushes what attempts say meanwhile.

use std::sync::Arc;
use std::time::Duration;

use stepwell_core::policy::resources::Room;
use stepwell_store::{LeaseRef, LeaseRequest, Leased, SessionRef};

use crate::held::Hold;
use crate::lazy::FLUSH;
use crate::shared::Shared;
use crate::slots::Slot;

/// However quiet it is, the store is asked for work so often: a lost wake-up costs no more.
const POLL: Duration = Duration::from_secs(1);

/// What others write makes the store be asked at most so often; what this process writes, at once.
const CALM_MS: u64 = 10;

/// At most so many items are leased in one transaction.
const LEASE: usize = 256;

pub(crate) fn spawn(shared: &Arc<Shared>, session: SessionRef) {
    shared.tracker.spawn(lease_loop(shared.clone(), session));
}

async fn lease_loop(shared: Arc<Shared>, session: SessionRef) {
    let mut changes = shared.store.changes();
    let mut asked = shared.clock.now();
    loop {
        // Interest is registered before the store is asked, so that nothing falls between.
        let (woken, freed) = (shared.work.notified(), shared.pool.freed());
        changes.mark_unchanged();
        let request = |max, room| LeaseRequest {
            session,
            now: shared.clock.now(),
            max,
            handlers: Some(shared.handlers.names()),
            trees: shared.asked_trees(),
            room,
        };
        let Some(mut slots) = free_slots(&shared, &request).await else { return };
        let earliest = asked.plus_ms(CALM_MS);
        asked = shared.clock.now();
        let leased = lease(&shared, &mut slots, &request).await;
        shared.pool.settle(is_room_awaited(&shared, &request).await);
        let found = !leased.is_empty();
        shared.catch_up(leased.iter().map(|(item, _)| item.run.clone()).collect()).await;
        for (item, hold) in leased {
            shared.begin_leased(item, hold).await;
        }
        drop(slots);
        if found {
            continue;
        }
        let poll = asked.plus_ms(POLL.as_millis() as u64);
        let calm = async {
            // A store that is gone says nothing any more; the poll goes on.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            shared.clock.sleep_until(earliest.plus_ms(CALM_MS)).await;
        };
        tokio::select! {
            () = woken => {}
            () = freed => {}
            () = calm => {}
            () = shared.clock.sleep_until(poll) => {}
            () = shared.shutdown.cancelled() => return,
        }
    }
}

/// Leases work for those slots, held from the moment that this process knows of it.
async fn lease(
    shared: &Arc<Shared>,
    slots: &mut Vec<Slot>,
    request: &impl Fn(usize, Room) -> LeaseRequest,
) -> Vec<(Leased, Hold)> {
    let _on_their_way = shared.leasing.read().await;
    let leased = shared.store.lease(request(slots.len(), shared.pool.offer())).await;
    let leased = leased.unwrap_or_else(|error| {
        tracing::warn!(%error, "no work could be leased");
        Vec::new()
    });
    let begin = |leased: Leased| {
        let (execution, attempt) = (leased.item.execution.clone(), leased.item.attempt);
        let slot = slots.pop().expect("no more is leased than was asked for");
        let slot = slot.with(shared.pool.book_offered(&leased.item.resources));
        let lease = LeaseRef { execution, attempt, session: leased.session };
        let hold = shared.hold(&leased.run, lease, slot);
        (leased, hold)
    };
    leased.into_iter().map(begin).collect()
}

/// Returns whether there is work in the store that would fit if nothing were booked.
async fn is_room_awaited(shared: &Arc<Shared>, request: &impl Fn(usize, Room) -> LeaseRequest) -> bool {
    if shared.pool.booked().is_empty() {
        return false;
    }
    let waiting = shared.store.waiting(request(1, shared.pool.empty())).await;
    waiting.map_or_else(
        |error| {
            tracing::warn!(%error, "it could not be seen what work waits for resources");
            true
        },
        |priority| priority.is_some(),
    )
}

/// Waits for a free slot and takes what else is free. Meanwhile the runs that hold the slots are told what waits for
/// one. `None`: the engine shuts down.
async fn free_slots(
    shared: &Arc<Shared>,
    request: &impl Fn(usize, Room) -> LeaseRequest,
) -> Option<Vec<Slot>> {
    let now = || shared.clock.now();
    let first = if let Some(slot) = shared.slots.try_take(now()) {
        slot
    } else {
        tokio::select! {
            slot = shared.slots.take(now) => slot,
            () = look_who_waits(shared, request) => return None,
        }
    };
    let mut slots = vec![first];
    while slots.len() < LEASE
        && let Some(more) = shared.slots.try_take(now())
    {
        slots.push(more);
    }
    shared.slots.note_waiting(None);
    Some(slots)
}

/// Keeps note of what waits in the store for a slot, until the engine shuts down.
async fn look_who_waits(shared: &Arc<Shared>, request: &impl Fn(usize, Room) -> LeaseRequest) {
    let mut changes = shared.store.changes();
    loop {
        changes.mark_unchanged();
        let woken = shared.work.notified();
        match shared.store.waiting(request(1, shared.pool.empty())).await {
            Ok(waiting) => shared.slots.note_waiting(waiting),
            Err(error) => tracing::warn!(%error, "it could not be seen what work waits"),
        }
        let asked = shared.clock.now();
        let news = async {
            tokio::select! {
                () = woken => {}
                Ok(()) = changes.changed() => {}
            }
            shared.clock.sleep_until(asked.plus_ms(CALM_MS)).await;
        };
        tokio::select! {
            () = news => {}
            () = shared.clock.sleep_until(asked.plus_ms(POLL.as_millis() as u64)) => {}
            () = shared.shutdown.cancelled() => return,
        }
    }
}

pub(crate) fn spawn_flush(shared: &Arc<Shared>) {
    shared.tracker.spawn(flush_loop(shared.clone()));
}

async fn flush_loop(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.lazy.more.notified() => {}
            () = shared.shutdown.cancelled() => return,
        }
        let at = shared.clock.now().plus_ms(FLUSH.as_millis() as u64);
        shared.clock.sleep_until(at).await;
        let events = shared.lazy.take_all();
        if events.is_empty() {
            continue;
        }
        if let Err(error) = shared.store.append_lazy(events).await {
            tracing::warn!(%error, "log lines and progress could not be written");
        }
    }
}
