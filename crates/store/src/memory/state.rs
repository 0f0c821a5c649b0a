//! What the store in memory keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::HashMap;
use stepwell_core::ids::{CommandId, ExecutionRef, RunId, Seq, Timestamp, WaitId};
use stepwell_core::run::command::TimerKey;
use stepwell_core::run::event::Event;

use super::lease::{Leases, Place};
use crate::model::{
    Committed, LeaseRef, OutboxMessage, Recorded, RunRow, SessionRef, StateRow, WaitRow, WorkItem,
};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) runs: HashMap<RunId, StoredRun>,
    /// For lists: creation, id.
    pub(super) by_creation: BTreeSet<(Timestamp, RunId)>,
    pub(super) definitions: HashMap<String, Arc<str>>,
    pub(super) leases: Leases,
    pub(super) next_session: u64,
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
    /// What each batch came to, in order.
    pub(super) committed: Vec<Committed>,
    pub(super) commands: HashMap<CommandId, Seq>,
    pub(super) work: HashMap<ExecutionRef, StoredWork>,
    pub(super) timers: HashMap<TimerKey, Timestamp>,
    pub(super) snapshot: Option<(Seq, Vec<u8>)>,
}

#[derive(Debug)]
pub(super) struct StoredWork {
    pub(super) item: WorkItem,
    pub(super) place: Place,
    pub(super) lease: Option<SessionRef>,
    /// Its session lives but knows nothing of it.
    pub(super) is_stray: bool,
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
