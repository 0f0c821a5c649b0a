//! A store that does something of a test's own right before or after its writes, and else is the one beneath.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use stepwell_core::ids::{CommandId, RunId, Seq, Timestamp, WaitId};
use stepwell_core::workflow::definition::Priority;
use stepwell_store::{
    Batch, CommitError, Committed, DueTimer, Error, LazyEvent, LeaseRef, LeaseRequest, Leased, LoadedRun,
    LostLease, Page, Paged, Prune, Pruned, Recorded, Renewal, RunFilter, RunRow, SessionRef, StateError,
    StateRow, Store, Undelivered, WaitFilter, WaitRow,
};
use tokio::sync::watch;

/// What a test does at the writes of a store.
#[async_trait]
pub(crate) trait Hooks: std::fmt::Debug + Send + Sync + 'static {
    async fn before_commit(&self) {}
    /// What a commit fails with, if it does.
    fn refuses(&self) -> Option<Error> {
        None
    }
    async fn after_commit(&self) {}
    /// After a lease that found work.
    async fn after_lease(&self) {}
    fn opened_session(&self, _session: SessionRef) {}
    /// After a run was loaded with a tail of that many events.
    fn after_load(&self, _tail: usize) {}
    /// What keeping a snapshot fails with, if it does.
    fn refuses_snapshot(&self) -> Option<Error> {
        None
    }
}

#[derive(Debug)]
pub(crate) struct HookedStore<H> {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) hooks: H,
}

#[async_trait]
impl<H: Hooks> Store for HookedStore<H> {
    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        self.hooks.before_commit().await;
        if let Some(error) = self.hooks.refuses() {
            return Err(CommitError::Store(error));
        }
        let committed = self.inner.commit(batch).await;
        self.hooks.after_commit().await;
        committed
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Leased>, Error> {
        let leased = self.inner.lease(request).await;
        if leased.as_ref().is_ok_and(|leased| !leased.is_empty()) {
            self.hooks.after_lease().await;
        }
        leased
    }

    async fn is_committed(&self, run: &RunId, batch: u64) -> Result<Option<Committed>, Error> {
        self.inner.is_committed(run, batch).await
    }

    async fn command_outcome(&self, run: &RunId, command: &CommandId) -> Result<Option<Seq>, Error> {
        self.inner.command_outcome(run, command).await
    }

    async fn append_lazy(&self, events: Vec<LazyEvent>) -> Result<(), Error> {
        self.inner.append_lazy(events).await
    }

    async fn load(&self, run: &RunId) -> Result<LoadedRun, Error> {
        let loaded = self.inner.load(run).await;
        if let Ok(loaded) = &loaded {
            self.hooks.after_load(loaded.tail.len());
        }
        loaded
    }

    async fn events(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<Recorded>, Error> {
        self.inner.events(run, after, limit).await
    }

    async fn put_snapshot(&self, run: &RunId, seq: Seq, snapshot: Vec<u8>) -> Result<(), Error> {
        if let Some(error) = self.hooks.refuses_snapshot() {
            return Err(error);
        }
        self.inner.put_snapshot(run, seq, snapshot).await
    }

    async fn newest_definition(
        &self,
        workflow: &str,
        version: Option<&str>,
    ) -> Result<Option<Arc<str>>, Error> {
        self.inner.newest_definition(workflow, version).await
    }

    async fn definition(&self, digest: &str) -> Result<Arc<str>, Error> {
        self.inner.definition(digest).await
    }

    async fn open_session(&self, label: &str, now: Timestamp) -> Result<SessionRef, Error> {
        let session = self.inner.open_session(label, now).await?;
        self.hooks.opened_session(session);
        Ok(session)
    }

    async fn renew_session(
        &self,
        session: SessionRef,
        held: Vec<(RunId, LeaseRef)>,
        now: Timestamp,
    ) -> Result<Renewal, Error> {
        self.inner.renew_session(session, held, now).await
    }

    async fn close_session(&self, session: SessionRef) -> Result<(), Error> {
        self.inner.close_session(session).await
    }

    async fn lost_leases(&self, now: Timestamp, max: usize) -> Result<Vec<LostLease>, Error> {
        self.inner.lost_leases(now, max).await
    }

    async fn waiting(&self, request: LeaseRequest) -> Result<Option<Priority>, Error> {
        self.inner.waiting(request).await
    }

    async fn due_timers(&self, now: Timestamp, max: usize) -> Result<Vec<DueTimer>, Error> {
        self.inner.due_timers(now, max).await
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.inner.next_due(now).await
    }

    async fn discard(&self, message: u64) -> Result<(), Error> {
        self.inner.discard(message).await
    }

    async fn outbox(&self, max: usize) -> Result<Vec<Undelivered>, Error> {
        self.inner.outbox(max).await
    }

    async fn run(&self, run: &RunId) -> Result<RunRow, Error> {
        self.inner.run(run).await
    }

    async fn runs_with_prefix(&self, prefix: &str, max: usize) -> Result<Vec<RunId>, Error> {
        self.inner.runs_with_prefix(prefix, max).await
    }

    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Paged<RunRow>, Error> {
        self.inner.runs(filter, page).await
    }

    async fn wait(&self, wait: &WaitId) -> Result<WaitRow, Error> {
        self.inner.wait(wait).await
    }

    async fn waits(&self, filter: &WaitFilter, page: &Page) -> Result<Paged<WaitRow>, Error> {
        self.inner.waits(filter, page).await
    }

    async fn state(&self, key: &str) -> Result<Option<StateRow>, Error> {
        self.inner.state(key).await
    }

    async fn put_state(
        &self,
        key: &str,
        value: Value,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<StateRow, StateError> {
        self.inner.put_state(key, value, expected, now).await
    }

    async fn delete_state(&self, key: &str, expected: Option<u64>) -> Result<bool, StateError> {
        self.inner.delete_state(key, expected).await
    }

    async fn states(&self, prefix: &str, page: &Page) -> Result<Paged<StateRow>, Error> {
        self.inner.states(prefix, page).await
    }

    async fn prune(&self, prune: &Prune) -> Result<Pruned, Error> {
        self.inner.prune(prune).await
    }

    async fn backup(&self, file: &Path, replace: bool) -> Result<(), Error> {
        self.inner.backup(file, replace).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes()
    }

    async fn others(&self) -> Result<Vec<String>, Error> {
        self.inner.others().await
    }

    async fn label_session(&self, session: SessionRef, label: &str) -> Result<(), Error> {
        self.inner.label_session(session, label).await
    }

    async fn holder(&self, session: u64) -> Result<Option<String>, Error> {
        self.inner.holder(session).await
    }

    async fn close(&self) -> Result<(), Error> {
        self.inner.close().await
    }
}
