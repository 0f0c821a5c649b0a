//! The resources of this process: what its attempts have booked, and who may book. It starts nothing and waits for
//! nothing; the worker asks it what room there is, `turn.rs` whether a successor fits.

use std::sync::{Arc, Mutex, MutexGuard};

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::policy::resources::{Resources, Room};
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::Step;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The resources of a process.
#[derive(Debug)]
pub(crate) struct Pool {
    /// With nothing booked.
    empty: Room,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    room: Room,
    /// The store is being asked for what fits in the room, which must not shrink meanwhile.
    is_offered: bool,
    /// Work in the store lacks room: who follows a step at once would go past it.
    is_awaited: bool,
}

/// What an attempt has booked, until this is dropped.
#[derive(Debug)]
pub(crate) struct Booking {
    pool: Arc<Pool>,
    resources: Resources,
}

impl Pool {
    /// Returns a pool of those resources. What is not among them is not counted.
    ///
    /// # Errors
    /// `CONFIGURATION_ERROR` for an amount that none can be.
    pub(crate) fn new(totals: &Resources) -> Result<Arc<Self>, ErrorObject> {
        if let Some(fault) = totals.fault() {
            return Err(ErrorObject::new(Code::CONFIGURATION_ERROR, format!("resource pool: {fault}")));
        }
        let empty = Room::of(totals);
        let state = State { room: empty.clone(), is_offered: false, is_awaited: false };
        Ok(Arc::new(Self { empty, state: Mutex::new(state), freed: Notify::new() }))
    }

    /// Refuses a workflow with a step that asks for more than there is.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` with `data.dimension`, `data.asked` and `data.total`.
    pub(crate) fn admit(&self, workflow: &Workflow) -> Result<(), ErrorObject> {
        workflow.definition().steps.iter().try_for_each(|step| self.admit_step(step))
    }

    /// Refuses a step that could never start in this process.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED`, as above.
    pub(crate) fn admit_step(&self, step: &Step) -> Result<(), ErrorObject> {
        let Some((dimension, asked, total)) = self.empty.exceeded(&step.resources) else { return Ok(()) };
        let message = format!(
            "step '{}' asks for {asked} of {dimension}, and the resource pool has {total}",
            step.name
        );
        Err(ErrorObject::new(Code::RESOURCE_EXHAUSTED, message)
            .with_hint("let the step ask for less, or give the pool of this process more")
            .with("resource_type", "resource_pool")
            .with("task_id", step.name.as_str())
            .with("dimension", dimension)
            .with("asked", asked)
            .with("total", total)
            .never_again())
    }

    /// Returns what the steps of a workflow ask for and nobody counts, each once.
    pub(crate) fn uncounted<'w>(&self, workflow: &'w Workflow) -> Vec<&'w str> {
        let steps = workflow.definition().steps.iter();
        let mut names: Vec<&str> = steps.flat_map(|step| self.uncounted_of(step)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Returns what a step asks for and nobody counts.
    pub(crate) fn uncounted_of<'s>(&self, step: &'s Step) -> impl Iterator<Item = &'s str> {
        let is_uncounted = |dimension: &str, amount| amount > 0.0 && !self.empty.counts(dimension);
        let asked = step.resources.iter().filter(move |(dimension, amount)| is_uncounted(dimension, *amount));
        asked.map(|(dimension, _)| dimension)
    }

    /// Returns what attempts have booked.
    pub(crate) fn booked(&self) -> Resources {
        self.state().room.taken()
    }

    /// Returns the room there is when nothing is booked.
    pub(crate) fn empty(&self) -> Room {
        self.empty.clone()
    }

    /// Resolves when something was given back since this was called that somebody lacked.
    pub(crate) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// Returns the room that is free, to ask the store for what fits. Until it is [settled](Pool::settle), nobody else
    /// books.
    pub(crate) fn offer(&self) -> Room {
        let mut state = self.state();
        state.is_offered = true;
        state.room.reserve_nothing();
        state.room.clone()
    }

    /// Books for what the store gave for an offer.
    pub(crate) fn book_offered(self: &Arc<Self>, asked: &Resources) -> Option<Booking> {
        let mut state = self.state();
        state.room.bounds(asked).then(|| {
            state.room.book(asked);
            self.booking(asked)
        })
    }

    /// Ends an offer. `is_awaited`: work was left that lacks room.
    pub(crate) fn settle(&self, is_awaited: bool) {
        let mut state = self.state();
        state.is_offered = false;
        state.is_awaited = is_awaited;
    }

    /// Books for a step that is to begin at once, past what waits in the store. Refuses if that would go short.
    pub(crate) fn book(self: &Arc<Self>, asked: &Resources) -> Result<Option<Booking>, NoRoom> {
        let mut state = self.state();
        if !state.room.bounds(asked) {
            return Ok(None);
        }
        if state.is_offered || state.is_awaited || !state.room.take(asked) {
            return Err(NoRoom);
        }
        Ok(Some(self.booking(asked)))
    }

    fn booking(self: &Arc<Self>, asked: &Resources) -> Booking {
        Booking { pool: self.clone(), resources: asked.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }
}

/// A step has to wait for its resources.
#[derive(Debug)]
pub(crate) struct NoRoom;

impl Drop for Booking {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.room.give_back(&self.resources);
        let is_lacked = state.is_offered || state.is_awaited;
        drop(state);
        if is_lacked {
            self.pool.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use stepwell_core::workflow::definition::Definition;

    use super::*;

    fn pool(totals: &Resources) -> Arc<Pool> {
        Pool::new(totals).unwrap()
    }

    #[test]
    fn a_booking_is_given_back_when_it_is_dropped() {
        let pool = pool(&Resources::cpu(4));
        let booking = pool.book(&Resources::cpu(3)).unwrap();
        assert_eq!(pool.booked(), Resources::cpu(3));
        assert!(pool.book(&Resources::cpu(2)).is_err());
        drop(booking);
        assert!(pool.booked().is_empty());
    }

    #[test]
    fn what_nobody_counts_is_not_booked() {
        let pool = pool(&Resources::cpu(1));
        assert!(pool.book(&Resources::default().gpu(8)).unwrap().is_none());
        assert!(pool.book(&Resources::cpu(0)).unwrap().is_none());
    }

    #[test]
    fn nobody_books_past_an_offer_or_what_was_left_of_it() {
        let pool = pool(&Resources::cpu(4));
        assert_eq!(pool.offer(), Room::of(&Resources::cpu(4)));
        assert!(pool.book(&Resources::cpu(1)).is_err(), "the store may give it to others");
        let offered = pool.book_offered(&Resources::cpu(2));
        pool.settle(true);
        assert!(pool.book(&Resources::cpu(1)).is_err(), "something in the store goes first");
        assert!(pool.book(&Resources::default().gpu(1)).is_ok());
        pool.offer();
        pool.settle(false);
        assert!(pool.book(&Resources::cpu(1)).unwrap().is_some());
        drop(offered);
    }

    #[test]
    fn who_lacks_something_hears_when_it_is_given_back_and_nobody_else() {
        let pool = pool(&Resources::cpu(4));
        let hears = |is_awaited| {
            let booking = pool.book(&Resources::cpu(1)).unwrap();
            let freed = pool.freed();
            pool.offer();
            pool.settle(is_awaited);
            drop(booking);
            let heard = freed.now_or_never().is_some();
            pool.settle(false);
            heard
        };
        assert!(hears(true));
        assert!(!hears(false));
    }

    #[test]
    fn more_than_there_is_is_refused_with_what_there_is() {
        let step = |name: &str, resources| Step { resources, ..Step::function(name) };
        let steps = vec![
            step("fits", Resources::cpu(4).gpu(1)),
            step("large", Resources::cpu(4.5).custom("licences", 1)),
        ];
        let workflow = Workflow::new(Definition::new("flow", steps)).unwrap();
        let pool = pool(&Resources::cpu(4));
        let error = pool.admit(&workflow).unwrap_err();
        assert_eq!(error.message, "step 'large' asks for 4.5 of cpu_units, and the resource pool has 4");
        assert_eq!(
            (&error.data["dimension"], &error.data["asked"], &error.data["total"]),
            (&"cpu_units".into(), &4.5.into(), &4.0.into())
        );
        assert_eq!(pool.uncounted(&workflow), ["gpu_units", "licences"]);
    }

    #[test]
    fn a_pool_of_nonsense_is_refused() {
        let error = Pool::new(&Resources::cpu(-1)).unwrap_err();
        assert_eq!(error.code, Code::CONFIGURATION_ERROR);
    }

    proptest! {
        /// Whoever books, by an offer or past it, in whatever order they end.
        #[test]
        fn bookings_never_exceed_the_total_and_all_come_back(
            asked in prop::collection::vec((0u32..50, any::<bool>(), any::<prop::sample::Index>()), 1..40),
        ) {
            let total = 4.0;
            let pool = pool(&Resources::cpu(total));
            let mut held = Vec::new();
            for (tenths, is_offered, who) in asked {
                let resources = Resources::cpu(f64::from(tenths) / 10.0);
                let booking = if is_offered {
                    let fits = pool.offer().take(&resources);
                    let booking = if fits { pool.book_offered(&resources) } else { None };
                    pool.settle(!fits);
                    booking
                } else {
                    pool.book(&resources).unwrap_or(None)
                };
                match booking {
                    Some(booking) => held.push(booking),
                    None if !held.is_empty() => drop(held.swap_remove(who.index(held.len()))),
                    None => {}
                }
                let booked: f64 = held.iter().filter_map(|b: &Booking| b.resources.get("cpu_units")).sum();
                prop_assert!(booked <= total + 1e-9);
                prop_assert!((pool.booked().get("cpu_units").unwrap_or(0.0) - booked).abs() < 1e-9);
            }
            drop(held);
            prop_assert!(pool.booked().is_empty());
        }
    }
}
