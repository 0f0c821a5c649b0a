//! The worker's slots: so many attempts at once, and who may keep one for the step that follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use stepwell_core::ids::Timestamp;
use stepwell_core::workflow::definition::Priority;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::pool::Booking;

/// A slot that goes from step to step of a run is given up after so long if others of the same priority wait.
const TURN_MS: u64 = 100;

/// Nothing waits for a slot.
const NOTHING: u8 = 0;

/// The slots of a worker.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    /// Rank of the highest priority that waits in the store while no slot is free.
    waiting: AtomicU8,
}

/// A slot that is taken, until this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    since: Timestamp,
    /// What the attempt in it has booked.
    pub(crate) booking: Option<Booking>,
}

impl Slot {
    /// Returns it for an attempt that has booked this.
    pub(crate) fn with(self, booking: Option<Booking>) -> Self {
        Self { booking, ..self }
    }
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        // As many as can be counted are as good as no bound.
        let count = count.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(count)), waiting: AtomicU8::new(NOTHING) }
    }

    /// Waits for a free slot.
    pub(crate) async fn take(&self, now: impl Fn() -> Timestamp + Send) -> Slot {
        let permit = self.free.clone().acquire_owned().await.expect("the semaphore is never closed");
        Slot { _permit: permit, since: now(), booking: None }
    }

    /// Takes a slot if one is free.
    pub(crate) fn try_take(&self, now: Timestamp) -> Option<Slot> {
        let permit = self.free.clone().try_acquire_owned().ok()?;
        Some(Slot { _permit: permit, since: now, booking: None })
    }

    /// Takes note of the highest priority among the work in the store that waits for a slot.
    pub(crate) fn note_waiting(&self, waiting: Option<Priority>) {
        self.waiting.store(waiting.map_or(NOTHING, rank), Ordering::Relaxed);
    }

    /// Returns a slot for a step of that priority which follows at once: one that comes from the step before, or a free
    /// one. `None` if there is none, or if the one there is belongs to others who wait.
    pub(crate) fn for_successor(
        &self,
        from: &mut Vec<Slot>,
        priority: Priority,
        now: Timestamp,
    ) -> Option<Slot> {
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting > rank(priority) {
            return None;
        }
        let Some(slot) = from.pop() else { return self.try_take(now) };
        let had_its_turn = now >= slot.since.plus_ms(TURN_MS);
        (waiting < rank(priority) || !had_its_turn).then_some(slot)
    }
}

fn rank(priority: Priority) -> u8 {
    match priority {
        Priority::Low => 1,
        Priority::Normal => 2,
        Priority::High => 3,
        Priority::Critical => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Timestamp = Timestamp(TURN_MS as i64 * 1_000);

    /// Returns whether a step of that priority may keep a slot that was taken at the beginning.
    fn keeps(priority: Priority, waiting: Option<Priority>, now: Timestamp) -> bool {
        let slots = Slots::new(1);
        let mut from = vec![slots.try_take(Timestamp(0)).unwrap()];
        slots.note_waiting(waiting);
        slots.for_successor(&mut from, priority, now).is_some()
    }

    #[test]
    fn a_successor_keeps_the_slot_while_nothing_waits() {
        assert!(keeps(Priority::Low, None, LATER));
    }

    #[test]
    fn a_successor_gives_way_to_higher_priority_at_once() {
        assert!(!keeps(Priority::Normal, Some(Priority::High), Timestamp(0)));
        assert!(keeps(Priority::High, Some(Priority::Normal), LATER));
    }

    #[test]
    fn a_successor_gives_way_to_its_equals_after_its_turn() {
        assert!(keeps(Priority::Normal, Some(Priority::Normal), Timestamp(0)));
        assert!(!keeps(Priority::Normal, Some(Priority::Normal), LATER));
    }

    #[test]
    fn a_free_slot_is_not_taken_past_those_who_wait_with_higher_priority() {
        let slots = Slots::new(1);
        assert!(slots.for_successor(&mut Vec::new(), Priority::Normal, Timestamp(0)).is_some());
        slots.note_waiting(Some(Priority::Critical));
        assert!(slots.for_successor(&mut Vec::new(), Priority::Normal, Timestamp(0)).is_none());
    }
}
