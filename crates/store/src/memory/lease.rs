//! Leases: what is ready, who holds what, units of named limits.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use foldhash::{HashMap, HashSet};
use stepwell_core::ids::{ExecutionRef, RunId, Timestamp};
use stepwell_core::run::event::{AttemptStarted, Event};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::definition::Priority;

use super::state::{State, StoredRun, StoredWork};
use crate::model::{LeaseRef, LeaseRequest, Leased, LimitUse, Purpose, SessionRef, WorkChange, WorkItem};

/// What the items of all runs have in common.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Ready items: priority, then age.
    pub(super) ready: BTreeMap<Place, (RunId, ExecutionRef)>,
    next_order: u64,
    /// Units of named limits that leases have taken.
    taken: HashMap<String, u32>,
    /// The open ones, by number: generation and label.
    pub(super) sessions: HashMap<u64, (u64, String)>,
    /// The items whose lease stands.
    leased: HashSet<(RunId, ExecutionRef)>,
    /// Removed leases that take units of named limits until their workers let go of them.
    pub(super) lingering: Vec<Lingering>,
}

/// Where a ready item stands in the queue.
pub(super) type Place = (Reverse<Priority>, Timestamp, u64);

/// A lease that was removed while its worker held it, and the units that it takes.
#[derive(Debug)]
pub(super) struct Lingering {
    pub(super) run: RunId,
    pub(super) lease: LeaseRef,
    pub(super) limits: Vec<LimitUse>,
}

impl State {
    /// Returns what a request would get, with its places among what is ready.
    pub(super) fn choose(&self, request: &LeaseRequest) -> (Vec<Place>, Vec<Leased>) {
        let mut leased: Vec<Leased> = Vec::new();
        let mut places = Vec::new();
        let mut taken_now: HashMap<&str, u32> = HashMap::default();
        let mut room = request.room.clone();
        for (place, (run, execution)) in &self.leases.ready {
            if leased.len() >= request.max {
                break;
            }
            let stored = &self.runs[run];
            let item = &stored.work[execution].item;
            let is_asked = stored.row.state.status == RunStatus::Running
                && item.not_before <= request.now
                && request.asks_for(&stored.row.root)
                && request.handles(&item.handler);
            let fits = |limit: &LimitUse| {
                let now = taken_now.get(limit.name.as_str()).copied().unwrap_or(0);
                self.leases.taken_of(&limit.name) + now + limit.units <= limit.capacity
            };
            // Room last: what is kept waiting by something else reserves none of it.
            if !is_asked || !item.limits.iter().all(fits) || !room.take(&item.resources) {
                continue;
            }
            for limit in &item.limits {
                *taken_now.entry(limit.name.as_str()).or_insert(0) += limit.units;
            }
            places.push(*place);
            leased.push(Leased { run: run.clone(), item: item.clone(), session: request.session });
        }
        (places, leased)
    }

    pub(super) fn lease(&mut self, request: &LeaseRequest) -> Vec<Leased> {
        let (places, leased) = self.choose(request);
        for place in places {
            self.leases.ready.remove(&place);
        }
        for Leased { run: id, item, session } in &leased {
            self.leases.book(id, item);
            let run = self.runs.get_mut(id).expect("it was found above");
            let work = run.work.get_mut(&item.execution).expect("it was found above");
            work.lease = Some(*session);
            work.is_stray = false;
            if item.purpose != Purpose::Judge {
                let started = AttemptStarted {
                    step: item.execution.step.clone(),
                    execution: item.execution.ordinal,
                    attempt: item.attempt,
                    session: session.id,
                };
                run.append(request.now, Event::AttemptStarted(started));
            }
        }
        leased
    }

    /// Returns the leases that stand, each with whether it is a stray.
    pub(super) fn standing(&self) -> impl Iterator<Item = (RunId, LeaseRef, bool)> + '_ {
        self.leases.leased.iter().filter_map(|(run, execution)| {
            let work = self.runs.get(run)?.work.get(execution)?;
            Some((run.clone(), work.lease_ref()?, work.is_stray))
        })
    }
}

impl Leases {
    pub(super) fn is_alive(&self, session: SessionRef) -> bool {
        self.sessions.get(&session.id).is_some_and(|(generation, _)| *generation == session.generation)
    }

    /// Counts a lease.
    fn book(&mut self, run: &RunId, item: &WorkItem) {
        for limit in &item.limits {
            *self.taken.entry(limit.name.clone()).or_insert(0) += limit.units;
        }
        self.leased.insert((run.clone(), item.execution.clone()));
    }

    /// Returns how many units of a limit are taken: by leases that stand, and by removed ones of living sessions.
    fn taken_of(&self, limit: &str) -> u32 {
        let alive = self.lingering.iter().filter(|one| self.is_alive(one.lease.session));
        let units =
            alive.flat_map(|one| &one.limits).filter(|taken| taken.name == limit).map(|taken| taken.units);
        self.taken.get(limit).copied().unwrap_or(0) + units.sum::<u32>()
    }

    /// Lets those removed leases go that their worker does not hold any more; tells whether there were any.
    pub(super) fn let_go(&mut self, session: SessionRef, held: &HashSet<(RunId, LeaseRef)>) -> bool {
        let before = self.lingering.len();
        self.lingering.retain(|one| {
            one.lease.session != session || held.contains(&(one.run.clone(), one.lease.clone()))
        });
        self.lingering.len() < before
    }

    /// Puts, hands over or withdraws an item of a run.
    pub(super) fn change(&mut self, run: &mut StoredRun, at: Timestamp, change: WorkChange) {
        let (item, lease) = match change {
            WorkChange::Remove(execution) => return self.withdraw(run, &execution),
            WorkChange::Put(item) => (item, None),
            WorkChange::HandOver(item, session) => (item, Some(session)),
        };
        self.remove(run, &item.execution);
        self.next_order += 1;
        let place = (Reverse(item.priority), at, self.next_order);
        if lease.is_some() {
            self.book(&run.row.run, &item);
        } else {
            self.ready.insert(place, (run.row.run.clone(), item.execution.clone()));
        }
        run.work.insert(item.execution.clone(), StoredWork { item, place, lease, is_stray: false });
    }

    /// Removes an item that nothing is to be done for any more. What its worker holds takes its units until it is let go.
    fn withdraw(&mut self, run: &mut StoredRun, execution: &ExecutionRef) {
        let Some(work) = run.work.remove(execution) else { return };
        if let Some(lease) = work.lease_ref()
            && !work.item.limits.is_empty()
            && self.is_alive(lease.session)
        {
            let limits = work.item.limits.clone();
            self.lingering.push(Lingering { run: run.row.run.clone(), lease, limits });
        }
        self.forget(&run.row.run, work);
    }

    /// Removes an item.
    pub(super) fn remove(&mut self, run: &mut StoredRun, execution: &ExecutionRef) {
        if let Some(work) = run.work.remove(execution) {
            self.forget(&run.row.run, work);
        }
    }

    /// Takes an item that is gone out of everything that counts items.
    pub(super) fn forget(&mut self, run: &RunId, work: StoredWork) {
        if work.lease.is_none() {
            self.ready.remove(&work.place);
            return;
        }
        for limit in &work.item.limits {
            if let Some(taken) = self.taken.get_mut(&limit.name) {
                *taken = taken.saturating_sub(limit.units);
            }
        }
        self.leased.remove(&(run.clone(), work.item.execution));
    }
}
