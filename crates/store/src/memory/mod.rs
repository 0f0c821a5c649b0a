//! The store in memory: for tests and throw-away runs, and the reference that the others are compared with.
//! One lock over plain maps (`state.rs`); it keeps nothing when the process ends.

mod batch;
mod lease;
mod prune;
mod queries;
mod state;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use foldhash::HashSet;
use serde_json::Value;
use stepwell_core::ids::{CommandId, RunId, Seq, Timestamp, WaitId};
use stepwell_core::workflow::definition::Priority;
use tokio::sync::watch;

use crate::Store;
use crate::error::{CommitError, Error, StateError};
use crate::model::{
    Batch, Committed, DueTimer, LazyEvent, LeaseRef, LeaseRequest, Leased, LoadedRun, LostLease, Page, Paged,
    Prune, Pruned, Recorded, Renewal, RunFilter, RunRow, SessionRef, StateRow, Undelivered, WaitFilter,
    WaitRow,
};
use crate::page::cut;
use state::State;

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl MemoryStore {
    /// Ends a session as a crash of its process would: its leases are lost, nothing else changes.
    pub fn kill_session(&self, session: SessionRef) {
        self.locked().leases.sessions.remove(&session.id);
        self.moved();
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.locked();
        if state.closed {
            return Err(Error::Unavailable {
                what: "the store in memory".into(),
                source: "it was closed".into(),
            });
        }
        Ok(state)
    }

    fn moved(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        let committed = self.open().map_err(CommitError::Store)?.commit(batch)?;
        self.moved();
        Ok(committed)
    }

    async fn is_committed(&self, run: &RunId, batch: u64) -> Result<Option<Committed>, Error> {
        let state = self.open()?;
        let of_batch = |committed: &&Committed| committed.revision.batch == batch;
        Ok(state.runs.get(run).and_then(|run| run.committed.iter().rev().find(of_batch).copied()))
    }

    async fn command_outcome(&self, run: &RunId, command: &CommandId) -> Result<Option<Seq>, Error> {
        Ok(self.open()?.runs.get(run).and_then(|run| run.commands.get(command).copied()))
    }

    async fn append_lazy(&self, events: Vec<LazyEvent>) -> Result<(), Error> {
        let mut state = self.open()?;
        for event in events {
            state.append_if_held(event);
        }
        drop(state);
        self.moved();
        Ok(())
    }

    async fn load(&self, run: &RunId) -> Result<LoadedRun, Error> {
        let state = self.open()?;
        let stored = state.runs.get(run).ok_or_else(|| no_run(run))?;
        let after = stored.snapshot.as_ref().map_or(Seq(0), |(seq, _)| *seq);
        Ok(LoadedRun {
            row: stored.row.clone(),
            definition: state.definitions[&stored.row.digest].clone(),
            snapshot: stored.snapshot.clone(),
            tail: stored.journal[after.0 as usize..].to_vec(),
        })
    }

    async fn events(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<Recorded>, Error> {
        let state = self.open()?;
        let journal = &state.runs.get(run).ok_or_else(|| no_run(run))?.journal;
        Ok(journal.iter().skip(after.0 as usize).take(limit).cloned().collect())
    }

    async fn put_snapshot(&self, run: &RunId, seq: Seq, snapshot: Vec<u8>) -> Result<(), Error> {
        let mut state = self.open()?;
        let stored = state.runs.get_mut(run).ok_or_else(|| no_run(run))?;
        if stored.snapshot.as_ref().is_none_or(|(known, _)| *known < seq) {
            stored.snapshot = Some((seq, snapshot));
        }
        Ok(())
    }

    async fn definition(&self, digest: &str) -> Result<Arc<str>, Error> {
        let state = self.open()?;
        state.definitions.get(digest).cloned().ok_or_else(|| Error::NotFound(format!("definition {digest}")))
    }

    async fn newest_definition(
        &self,
        workflow: &str,
        version: Option<&str>,
    ) -> Result<Option<Arc<str>>, Error> {
        let state = self.open()?;
        let rows = state.runs.values().map(|stored| &stored.row);
        let wanted = rows.filter(|row| row.workflow == workflow && version.is_none_or(|v| v == row.version));
        let newest = wanted.max_by_key(|row| (row.created_at, &row.run));
        Ok(newest.map(|row| state.definitions[&row.digest].clone()))
    }

    async fn open_session(&self, label: &str, _now: Timestamp) -> Result<SessionRef, Error> {
        let mut state = self.open()?;
        state.next_session += 1;
        let session = SessionRef { id: state.next_session, generation: 1 };
        state.leases.sessions.insert(session.id, (session.generation, label.to_owned()));
        Ok(session)
    }

    async fn renew_session(
        &self,
        session: SessionRef,
        held: Vec<(RunId, LeaseRef)>,
        _now: Timestamp,
    ) -> Result<Renewal, Error> {
        let mut state = self.open()?;
        if !state.leases.is_alive(session) {
            return Err(Error::NotFound(format!("session {}", session.id)));
        }
        let standing: HashSet<(RunId, LeaseRef)> = state
            .standing()
            .filter(|(_, lease, _)| lease.session == session)
            .map(|(run, lease, _)| (run, lease))
            .collect();
        let held: HashSet<(RunId, LeaseRef)> = held.into_iter().collect();
        let strays: Vec<_> = standing.difference(&held).cloned().collect();
        for (run, lease) in &strays {
            let work = state.runs.get_mut(run).and_then(|run| run.work.get_mut(&lease.execution));
            work.expect("its lease was found above").is_stray = true;
        }
        let is_news = state.leases.let_go(session, &held);
        drop(state);
        if is_news {
            self.moved();
        }
        Ok(Renewal { lost: held.difference(&standing).cloned().collect(), strays })
    }

    async fn close_session(&self, session: SessionRef) -> Result<(), Error> {
        let mut state = self.open()?;
        if state.leases.is_alive(session) {
            state.leases.sessions.remove(&session.id);
            state.leases.let_go(session, &HashSet::default());
        }
        drop(state);
        self.moved();
        Ok(())
    }

    async fn label_session(&self, session: SessionRef, label: &str) -> Result<(), Error> {
        let mut state = self.open()?;
        if let Some((generation, known)) = state.leases.sessions.get_mut(&session.id)
            && *generation == session.generation
        {
            label.clone_into(known);
        }
        Ok(())
    }

    async fn holder(&self, session: u64) -> Result<Option<String>, Error> {
        Ok(self.open()?.leases.sessions.get(&session).map(|(_, label)| label.clone()))
    }

    async fn lost_leases(&self, _now: Timestamp, max: usize) -> Result<Vec<LostLease>, Error> {
        let state = self.open()?;
        let lost = state
            .standing()
            .filter(|(_, lease, is_stray)| *is_stray || !state.leases.is_alive(lease.session));
        Ok(lost.take(max).map(|(run, lease, _)| LostLease { run, lease }).collect())
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Leased>, Error> {
        let mut state = self.open()?;
        if !state.leases.is_alive(request.session) {
            return Err(Error::NotFound(format!("session {}", request.session.id)));
        }
        let leased = state.lease(&request);
        drop(state);
        if !leased.is_empty() {
            self.moved();
        }
        Ok(leased)
    }

    async fn waiting(&self, request: LeaseRequest) -> Result<Option<Priority>, Error> {
        let (_, found) = self.open()?.choose(&LeaseRequest { max: 1, ..request });
        Ok(found.first().map(|leased| leased.item.priority))
    }

    async fn due_timers(&self, now: Timestamp, max: usize) -> Result<Vec<DueTimer>, Error> {
        let state = self.open()?;
        let due = state.timers.iter().take_while(|(at, _, _)| *at <= now).take(max);
        Ok(due.map(|(at, run, key)| DueTimer { run: run.clone(), key: key.clone(), at: *at }).collect())
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let state = self.open()?;
        let timer = state.timers.first().map(|(at, _, _)| *at);
        let work = state
            .leases
            .ready
            .values()
            .map(|(run, execution)| state.runs[run].work[execution].item.not_before);
        let work = work.filter(|at| *at > now).min();
        Ok([timer, work].into_iter().flatten().min())
    }

    async fn discard(&self, message: u64) -> Result<(), Error> {
        self.open()?.outbox.remove(&message);
        self.moved();
        Ok(())
    }

    async fn outbox(&self, max: usize) -> Result<Vec<Undelivered>, Error> {
        let state = self.open()?;
        let waiting = state.outbox.iter().take(max);
        Ok(waiting
            .map(|(id, (source, message))| Undelivered {
                id: *id,
                source: source.clone(),
                message: message.clone(),
            })
            .collect())
    }

    async fn run(&self, run: &RunId) -> Result<RunRow, Error> {
        self.open()?.runs.get(run).map(|stored| stored.row.clone()).ok_or_else(|| no_run(run))
    }

    async fn runs_with_prefix(&self, prefix: &str, max: usize) -> Result<Vec<RunId>, Error> {
        let state = self.open()?;
        let mut found: Vec<_> =
            state.runs.keys().filter(|run| run.as_str().starts_with(prefix)).cloned().collect();
        found.sort();
        found.truncate(max);
        Ok(found)
    }

    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Paged<RunRow>, Error> {
        self.open()?.list_runs(filter, page)
    }

    async fn wait(&self, wait: &WaitId) -> Result<WaitRow, Error> {
        self.open()?.waits.get(wait).cloned().ok_or_else(|| Error::NotFound(format!("question {wait}")))
    }

    async fn waits(&self, filter: &WaitFilter, page: &Page) -> Result<Paged<WaitRow>, Error> {
        self.open()?.list_waits(filter, page)
    }

    async fn state(&self, key: &str) -> Result<Option<StateRow>, Error> {
        Ok(self.open()?.values.get(key).cloned())
    }

    async fn put_state(
        &self,
        key: &str,
        value: Value,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<StateRow, StateError> {
        let mut state = self.open()?;
        let current = state.values.get(key).map_or(0, |row| row.version);
        if expected.is_some_and(|expected| expected != current) {
            return Err(StateError::Conflict { current });
        }
        let row = StateRow { key: key.to_owned(), value, version: current + 1, updated_at: now };
        state.values.insert(key.to_owned(), row.clone());
        Ok(row)
    }

    async fn delete_state(&self, key: &str, expected: Option<u64>) -> Result<bool, StateError> {
        let mut state = self.open()?;
        let current = state.values.get(key).map_or(0, |row| row.version);
        if expected.is_some_and(|expected| expected != current) {
            return Err(StateError::Conflict { current });
        }
        Ok(state.values.remove(key).is_some())
    }

    async fn states(&self, prefix: &str, page: &Page) -> Result<Paged<StateRow>, Error> {
        let state = self.open()?;
        let after = page.cursor.clone().unwrap_or_default();
        let rows = state.values.values().filter(|row| row.key.starts_with(prefix) && row.key > after);
        let items: Vec<StateRow> = rows.take(page.limit.saturating_add(1)).cloned().collect();
        Ok(cut(items, page.limit, |row| row.key.clone()))
    }

    async fn prune(&self, prune: &Prune) -> Result<Pruned, Error> {
        self.open()?.prune(prune)
    }

    async fn backup(&self, _file: &Path, _replace: bool) -> Result<(), Error> {
        Err(Error::Invalid("a store in memory has no file to copy; use sqlite:// to keep runs".into()))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn others(&self) -> Result<Vec<String>, Error> {
        // What is in the memory of a process is nobody else's.
        self.open().map(|_| Vec::new())
    }

    async fn close(&self) -> Result<(), Error> {
        self.locked().closed = true;
        Ok(())
    }
}

fn no_run(run: &RunId) -> Error {
    Error::NotFound(format!("run {run}"))
}
