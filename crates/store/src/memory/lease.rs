//! Leases: what is ready, who holds what, units of named limits.

use foldhash::{HashMap, HashSet};
use stepwell_core::ids::{ExecutionRef, RunId};
use stepwell_core::run::event::{AttemptStarted, Event};
use stepwell_core::status::RunStatus;

use super::state::{Lingering, Place, State, StoredWork};
use crate::model::{LeaseRef, LeaseRequest, Leased, LimitUse, Purpose, SessionRef, WorkItem};

impl State {
    pub(super) fn is_alive(&self, session: SessionRef) -> bool {
        self.sessions.get(&session.id) == Some(&session.generation)
    }

    /// Returns what a request would get, with its places among what is ready.
    pub(super) fn choose(&self, request: &LeaseRequest) -> (Vec<Place>, Vec<Leased>) {
        let mut leased: Vec<Leased> = Vec::new();
        let mut places = Vec::new();
        let mut taken_now: HashMap<&str, u32> = HashMap::default();
        let mut room = request.room.clone();
        for (place, (run, execution)) in &self.ready {
            if leased.len() >= request.max {
                break;
            }
            let stored = &self.runs[run];
            let item = &stored.work[execution].item;
            let is_asked = stored.row.state.status == RunStatus::Running
                && item.not_before <= request.now
                && request.root.as_ref().is_none_or(|root| *root == stored.row.root)
                && request.handles(&item.handler);
            let fits = |limit: &LimitUse| {
                let taken =
                    self.taken.get(&limit.name).copied().unwrap_or(0) + self.lingering_of(&limit.name);
                let now = taken_now.get(limit.name.as_str()).copied().unwrap_or(0);
                taken + now + limit.units <= limit.capacity
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
            self.ready.remove(&place);
        }
        for Leased { run: id, item, session } in &leased {
            self.book(*session, (id.clone(), item.execution.clone()), item);
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

    /// Returns the leases of a session, each with whether it is a stray.
    pub(super) fn leases_of(
        &self,
        session: SessionRef,
    ) -> impl Iterator<Item = (RunId, LeaseRef, bool)> + '_ {
        let all = self.leased.get(&session).into_iter().flatten();
        all.filter_map(|(run, execution)| {
            let work = self.runs.get(run)?.work.get(execution)?;
            Some((run.clone(), work.lease_ref()?, work.is_stray))
        })
    }

    /// Counts a lease.
    pub(super) fn book(&mut self, session: SessionRef, at: (RunId, ExecutionRef), item: &WorkItem) {
        for limit in &item.limits {
            *self.taken.entry(limit.name.clone()).or_insert(0) += limit.units;
        }
        self.leased.entry(session).or_default().insert(at);
    }

    /// Returns how many units of a limit removed leases of living sessions take.
    fn lingering_of(&self, limit: &str) -> u32 {
        let alive = self.lingering.iter().filter(|one| self.is_alive(one.lease.session));
        alive.flat_map(|one| &one.limits).filter(|taken| taken.name == limit).map(|taken| taken.units).sum()
    }

    /// Lets those removed leases go that their worker does not hold any more; tells whether there were any.
    pub(super) fn let_go(&mut self, session: SessionRef, held: &HashSet<(RunId, LeaseRef)>) -> bool {
        let before = self.lingering.len();
        self.lingering.retain(|one| {
            one.lease.session != session || held.contains(&(one.run.clone(), one.lease.clone()))
        });
        self.lingering.len() < before
    }

    /// Removes an item that nothing is to be done for any more. What its worker holds takes its units until it is let go.
    pub(super) fn withdraw_work(&mut self, run: &RunId, execution: &ExecutionRef) {
        let work = self.runs.get(run).and_then(|stored| stored.work.get(execution));
        let lease = work.and_then(|work| Some((work.lease_ref()?, work.item.limits.clone())));
        let takes =
            |(lease, limits): &(LeaseRef, Vec<LimitUse>)| !limits.is_empty() && self.is_alive(lease.session);
        if let Some((lease, limits)) = lease.filter(takes) {
            self.lingering.push(Lingering { run: run.clone(), lease, limits });
        }
        self.remove_work(run, execution);
    }

    pub(super) fn remove_work(&mut self, run: &RunId, execution: &ExecutionRef) {
        let Some(before) = self.runs.get_mut(run).and_then(|stored| stored.work.remove(execution)) else {
            return;
        };
        self.forget_work(run, before);
    }

    /// Takes an item that is gone out of everything that counts items.
    pub(super) fn forget_work(&mut self, run: &RunId, work: StoredWork) {
        let Some(session) = work.lease else {
            self.ready.remove(&work.place);
            return;
        };
        for limit in &work.item.limits {
            if let Some(taken) = self.taken.get_mut(&limit.name) {
                *taken = taken.saturating_sub(limit.units);
            }
        }
        if let Some(leases) = self.leased.get_mut(&session) {
            leases.remove(&(run.clone(), work.item.execution));
            if leases.is_empty() {
                self.leased.remove(&session);
            }
        }
    }
}
