//! Where runs are kept: journals, what is listed and leased, timers, waits, system state.
//!
//! A store keeps and fences; it decides nothing. Rules live in `stepwell-core`. Every promise of the
//! [`Store`] trait is a test of the conformance suite that all stores pass.

pub mod conformance;
pub mod error;
pub mod faulty;
mod memory;
pub mod metadata;
pub mod model;
mod open;
mod page;
pub mod scratch;
pub mod sqlite;
mod trees;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use stepwell_core::ids::{CommandId, RunId, Seq, Timestamp, WaitId};
use stepwell_core::workflow::definition::Priority;
use tokio::sync::watch;

pub use error::{CommitError, Error, StateError};
pub use faulty::{Fault, Faults, FaultyStore};
pub use memory::MemoryStore;
pub use model::*;
pub use open::{check_url, open};
pub use sqlite::{SqliteOptions, SqliteStore, Survey, survey};
pub use trees::Trees;

/// Where runs live. Cheap to share behind an `Arc`; every method may be called from several tasks at once.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync + 'static {
    /// Commits a batch: durable and visible when it returns, whole or not at all. Batches that wait together
    /// may share one transaction; a refused one does not sink its neighbours. A caller that is dropped while
    /// it waits does not undo the commit.
    ///
    /// Checked in this order: the base (`Stale`, `Exists`, `NotFound`), command ids (`Repeated`), every lease
    /// in `answered` and in `lost` (`LeaseLost`), every session that is handed work (`SessionGone`). A lease stands if the
    /// row is there, leased to that session and generation, for that attempt. It is lost if its session was declared dead or
    /// does not know of it; what is lost can be given back and not answered.
    /// Events get the next numbers of the run, lazy ones first.
    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError>;

    /// Returns whether a batch of that id is in the journal: how a commit of unknown outcome is resolved.
    async fn is_committed(&self, run: &RunId, batch: u64) -> Result<Option<Committed>, Error>;

    /// Returns the end of the batch that carried out a command, if it was committed.
    async fn command_outcome(&self, run: &RunId, command: &CommandId) -> Result<Option<Seq>, Error>;

    /// Appends lazy events whose lease still stands; the others are dropped. Revisions do not change.
    async fn append_lazy(&self, events: Vec<LazyEvent>) -> Result<(), Error>;

    /// Returns a run with what is needed to fold it. One consistent moment. `NotFound`.
    async fn load(&self, run: &RunId) -> Result<LoadedRun, Error>;

    /// Returns events after `after`, in order, at most `limit`. `NotFound` for an unknown run.
    async fn events(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<Recorded>, Error>;

    /// Keeps a snapshot that contains all events up to `seq`, in place of an older one.
    async fn put_snapshot(&self, run: &RunId, seq: Seq, snapshot: Vec<u8>) -> Result<(), Error>;

    /// Returns a stored definition by digest, as JSON text.
    async fn definition(&self, digest: &str) -> Result<Arc<str>, Error>;

    /// Returns the definition of the newest run of a workflow, as JSON text: by name, and by version if one is given.
    async fn newest_definition(
        &self,
        workflow: &str,
        version: Option<&str>,
    ) -> Result<Option<Arc<str>>, Error>;

    /// Opens a session: this process takes part. `label` is for people (host, pid, what it is).
    async fn open_session(&self, label: &str, now: Timestamp) -> Result<SessionRef, Error>;

    /// Says that the session lives, and compares what it holds with the store. Units of named limits that were taken by removed
    /// leases which it does not hold any more are free again. `NotFound` if it was declared dead.
    async fn renew_session(
        &self,
        session: SessionRef,
        held: Vec<(RunId, LeaseRef)>,
        now: Timestamp,
    ) -> Result<Renewal, Error>;

    /// Ends a session: its leases are lost at once.
    async fn close_session(&self, session: SessionRef) -> Result<(), Error>;

    /// Returns leases that are lost: their session is gone, and is declared dead by this, or they were found to be
    /// strays. At most `max`. They stay as they are until a batch gives them back (`AttemptLost`), so that of two who
    /// notice one wins.
    async fn lost_leases(&self, now: Timestamp, max: usize) -> Result<Vec<LostLease>, Error>;

    /// Leases ready items, highest priority first, then oldest: booked, and `AttemptStarted` appended to the
    /// journals, in one transaction. Items of paused and terminal runs, not yet due, over a named limit,
    /// or without room in the request are left alone. Revisions do not change. `NotFound` if the session was declared dead.
    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Leased>, Error>;

    /// Returns the highest priority among the items that `lease` would lease now; none if there are none.
    async fn waiting(&self, request: LeaseRequest) -> Result<Option<Priority>, Error>;

    /// Returns timers that are due at `now`, oldest first. They stay until a batch removes them.
    async fn due_timers(&self, now: Timestamp, max: usize) -> Result<Vec<DueTimer>, Error>;

    /// Returns when to look again: the time of the earliest timer that stands, also if it is due already, so that one set
    /// since the last look is not slept over, or the earliest time after `now` at which a delayed work item may be leased.
    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, Error>;

    /// Returns messages that no target has taken yet, oldest first. They stay until a batch has delivered them.
    async fn outbox(&self, max: usize) -> Result<Vec<Undelivered>, Error>;

    /// Removes a message that no target will ever take. One that is gone already is none.
    async fn discard(&self, message: u64) -> Result<(), Error>;

    /// Returns a run's row. `NotFound`.
    async fn run(&self, run: &RunId) -> Result<RunRow, Error>;

    /// Returns the runs whose id begins with `prefix`, at most `max`.
    async fn runs_with_prefix(&self, prefix: &str, max: usize) -> Result<Vec<RunId>, Error>;

    /// Lists runs, `created_at` descending, then id descending. Exact also while runs are added.
    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Paged<RunRow>, Error>;

    /// Returns a wait. `NotFound`.
    async fn wait(&self, wait: &WaitId) -> Result<WaitRow, Error>;

    /// Lists waits, `opened_at` ascending, then id.
    async fn waits(&self, filter: &WaitFilter, page: &Page) -> Result<Paged<WaitRow>, Error>;

    /// Returns a value of system state.
    async fn state(&self, key: &str) -> Result<Option<StateRow>, Error>;

    /// Writes system state. `expected`: only over that version; 0: only if there is none.
    async fn put_state(
        &self,
        key: &str,
        value: Value,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<StateRow, StateError>;

    /// Deletes system state; returns whether there was any.
    async fn delete_state(&self, key: &str, expected: Option<u64>) -> Result<bool, StateError>;

    /// Lists system state by key.
    async fn states(&self, prefix: &str, page: &Page) -> Result<Paged<StateRow>, Error>;

    /// Deletes old runs with all that is theirs. A child is kept as long as its root is, and goes with it. `Invalid` if
    /// a status is asked for that does not end a run.
    async fn prune(&self, prune: &Prune) -> Result<Pruned, Error>;

    /// Writes a consistent copy of the store to a file, while others go on writing. The file is there whole, checked
    /// and on disk when it returns, or not at all. `Invalid` if it exists, unless `replace`.
    async fn backup(&self, file: &Path, replace: bool) -> Result<(), Error>;

    /// Returns a counter that moves when anything in the store may have changed, by whomever.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Returns who else has the store open, in words for people, such as `pid 4711 (worker)`.
    async fn others(&self) -> Result<Vec<String>, Error>;

    /// Gives a session another label. One that is over has none.
    async fn label_session(&self, session: SessionRef, label: &str) -> Result<(), Error>;

    /// Returns the label of a session if it is open and its process lives.
    async fn holder(&self, session: u64) -> Result<Option<String>, Error>;

    /// Finishes what is queued and closes. Later calls are `Unavailable`.
    async fn close(&self) -> Result<(), Error>;
}
