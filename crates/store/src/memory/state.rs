//! What the store in memory keeps.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use stepwell_core::ids::{CommandId, ExecutionRef, RunId, Seq, Timestamp, WaitId};
use stepwell_core::run::command::TimerKey;
use stepwell_core::run::event::Event;
use stepwell_core::workflow::definition::Priority;

use crate::model::{
    Committed, LeaseRef, LimitUse, OutboxMessage, Recorded, RunRow, SessionRef, StateRow, WaitRow, WorkItem,
};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) runs: HashMap<RunId, StoredRun>,
    /// For lists: creation, id.
    pub(super) by_creation: BTreeSet<(Timestamp, RunId)>,
    pub(super) definitions: HashMap<String, Arc<str>>,
    /// Ready items: priority, then age.
    pub(super) ready: BTreeMap<Place, (RunId, ExecutionRef)>,
    pub(super) next_order: u64,
    /// Units of named limits that leases have taken.
    pub(super) taken: HashMap<String, u32>,
    pub(super) sessions: HashMap<u64, u64>,
    pub(super) next_session: u64,
    /// Every lease that stands, by session.
    pub(super) leased: HashMap<SessionRef, HashSet<(RunId, ExecutionRef)>>,
    /// Removed leases that take units of named limits until their workers let go of them.
    pub(super) lingering: Vec<Lingering>,
    pub(super) timers: BTreeSet<(Timestamp, RunId, TimerKey)>,
    pub(super) outbox: BTreeMap<u64, (RunId, OutboxMessage)>,
    pub(super) next_message: u64,
    pub(super) waits: HashMap<WaitId, WaitRow>,
    pub(super) values: BTreeMap<String, StateRow>,
    pub(super) closed: bool,
}

#[derive(Debug)]
pub(super) struct StoredRun {
    pub(super) row: RunRow,
    pub(super) journal: Vec<Recorded>,
    pub(super) batches: HashMap<u64, Committed>,
    pub(super) commands: HashMap<CommandId, Seq>,
    pub(super) work: HashMap<ExecutionRef, StoredWork>,
    pub(super) timers: HashMap<TimerKey, Timestamp>,
    pub(super) snapshot: Option<(Seq, Vec<u8>)>,
}

/// Where a ready item stands in the queue.
pub(super) type Place = (Reverse<Priority>, Timestamp, u64);

#[derive(Debug)]
pub(super) struct StoredWork {
    pub(super) item: WorkItem,
    pub(super) place: Place,
    pub(super) lease: Option<SessionRef>,
    /// Its session lives but knows nothing of it.
    pub(super) is_stray: bool,
}

/// A lease that was removed while its worker held it, and the units that it takes.
#[derive(Debug)]
pub(super) struct Lingering {
    pub(super) run: RunId,
    pub(super) lease: LeaseRef,
    pub(super) limits: Vec<LimitUse>,
}

impl StoredWork {
    pub(super) fn lease_ref(&self) -> Option<LeaseRef> {
        let session = self.lease?;
        Some(LeaseRef { execution: self.item.execution.clone(), attempt: self.item.attempt, session })
    }
}

impl StoredRun {
    pub(super) fn append(&mut self, at: Timestamp, event: Event) {
        let seq = Seq(self.row.seq.0 + 1);
        self.row.seq = seq;
        self.journal.push(Recorded { seq, at, event });
    }

    /// Returns the item of a lease that stands.
    pub(super) fn standing(&self, lease: &LeaseRef) -> Option<&StoredWork> {
        let stored = self.work.get(&lease.execution);
        stored.filter(|work| work.lease == Some(lease.session) && work.item.attempt == lease.attempt)
    }
}
