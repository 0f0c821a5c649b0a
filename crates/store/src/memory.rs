//! The store in memory: for tests and throw-away runs, and the reference that the others are compared with.
//! One lock over plain maps; it keeps nothing when the process ends.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use serde_json::Value;
use stepwell_core::ids::{CommandId, ExecutionRef, RunId, Seq, Timestamp, WaitId};
use stepwell_core::run::command::TimerKey;
use stepwell_core::run::event::{AttemptStarted, Event};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::definition::Priority;
use tokio::sync::watch;

use crate::Store;
use crate::error::{CommitError, Error, StateError};
use crate::metadata;
use crate::model::{
    Base, Batch, Committed, DueTimer, LazyEvent, LeaseRef, LeaseRequest, Leased, LimitUse, LoadedRun,
    LostLease, OutboxMessage, Page, Paged, Purpose, Recorded, Renewal, Revision, RunFilter, RunRow,
    SessionRef, StateRow, TimerChange, Undelivered, WaitChange, WaitFilter, WaitRow, WorkChange, WorkItem,
};

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    runs: HashMap<RunId, StoredRun>,
    /// For lists: creation, id.
    by_creation: BTreeSet<(Timestamp, RunId)>,
    definitions: HashMap<String, Value>,
    /// Ready items: priority, then age.
    ready: BTreeMap<Place, (RunId, ExecutionRef)>,
    next_order: u64,
    /// Units of named limits that leases have taken.
    taken: HashMap<String, u32>,
    sessions: HashMap<u64, u64>,
    next_session: u64,
    /// Every lease that stands, by session.
    leased: HashMap<SessionRef, HashSet<(RunId, ExecutionRef)>>,
    timers: BTreeSet<(Timestamp, RunId, TimerKey)>,
    outbox: BTreeMap<u64, (RunId, OutboxMessage)>,
    next_message: u64,
    waits: HashMap<WaitId, WaitRow>,
    values: BTreeMap<String, StateRow>,
    closed: bool,
}

#[derive(Debug)]
struct StoredRun {
    row: RunRow,
    journal: Vec<Recorded>,
    batches: HashMap<u64, Committed>,
    commands: HashMap<CommandId, Seq>,
    work: HashMap<ExecutionRef, StoredWork>,
    timers: HashMap<TimerKey, Timestamp>,
    snapshot: Option<(Seq, Vec<u8>)>,
}

/// Where a ready item stands in the queue.
type Place = (Reverse<Priority>, Timestamp, u64);

#[derive(Debug)]
struct StoredWork {
    item: WorkItem,
    place: Place,
    lease: Option<SessionRef>,
    /// Its session lives but knows nothing of it.
    is_stray: bool,
}

impl StoredWork {
    fn lease_ref(&self) -> Option<LeaseRef> {
        let session = self.lease?;
        Some(LeaseRef { execution: self.item.execution.clone(), attempt: self.item.attempt, session })
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl MemoryStore {
    /// Ends a session as a crash of its process would: its leases are lost, nothing else changes.
    pub fn kill_session(&self, session: SessionRef) {
        self.locked().sessions.remove(&session.id);
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

fn no_run(run: &RunId) -> Error {
    Error::NotFound(format!("run {run}"))
}

impl StoredRun {
    fn append(&mut self, at: Timestamp, event: Event) {
        let seq = Seq(self.row.seq.0 + 1);
        self.row.seq = seq;
        self.journal.push(Recorded { seq, at, event });
    }

    fn holds(&self, lease: &LeaseRef) -> bool {
        let stored = self.work.get(&lease.execution);
        stored.is_some_and(|work| work.lease == Some(lease.session) && work.item.attempt == lease.attempt)
    }
}

impl State {
    fn is_alive(&self, session: SessionRef) -> bool {
        self.sessions.get(&session.id) == Some(&session.generation)
    }

    fn check(&self, batch: &Batch) -> Result<(), CommitError> {
        let stored = self.runs.get(&batch.run);
        match (&batch.base, stored) {
            (Base::New(_), Some(_)) => return Err(CommitError::Exists(batch.run.clone())),
            (Base::New(_), None) => {}
            (Base::On(_), None) => return Err(CommitError::NotFound(batch.run.clone())),
            (Base::On(given), Some(stored)) if *given != stored.row.revision => {
                return Err(CommitError::Stale {
                    run: batch.run.clone(),
                    given: *given,
                    current: stored.row.revision,
                });
            }
            (Base::On(_), Some(_)) => {}
        }
        if let Some(stored) = stored {
            Self::check_answers(batch, stored)?;
        }
        let gone = batch.work.iter().find_map(|change| match change {
            WorkChange::HandOver(_, session) => Some(*session).filter(|session| !self.is_alive(*session)),
            WorkChange::Put(_) | WorkChange::Remove(_) => None,
        });
        gone.map_or(Ok(()), |session| Err(CommitError::SessionGone(session)))
    }

    fn check_answers(batch: &Batch, stored: &StoredRun) -> Result<(), CommitError> {
        if let Some((id, seq)) = batch.commands.iter().find_map(|id| Some((id, stored.commands.get(id)?))) {
            return Err(CommitError::Repeated { run: batch.run.clone(), id: id.clone(), seq: *seq });
        }
        if let Some(lost) = batch.answered.iter().find(|lease| !stored.holds(lease)) {
            return Err(CommitError::LeaseLost { run: batch.run.clone(), execution: lost.execution.clone() });
        }
        Ok(())
    }

    fn commit(&mut self, batch: Batch) -> Result<Committed, CommitError> {
        self.check(&batch)?;
        if let Base::New(new) = &batch.base {
            let workflow = &new.workflow;
            let digest = workflow.digest().to_owned();
            self.definitions.entry(digest.clone()).or_insert_with(|| workflow.to_json());
            let row = RunRow {
                run: batch.run.clone(),
                workflow: workflow.name().to_owned(),
                version: workflow.version().to_owned(),
                digest,
                metadata: new.metadata.clone(),
                parent: new.parent.clone(),
                root: new.root.clone(),
                created_at: batch.at,
                updated_at: batch.at,
                state: batch.row.clone(),
                revision: Revision::default(),
                seq: Seq(0),
            };
            self.by_creation.insert((batch.at, batch.run.clone()));
            let stored = StoredRun {
                row,
                journal: Vec::new(),
                batches: HashMap::new(),
                commands: HashMap::new(),
                work: HashMap::new(),
                timers: HashMap::new(),
                snapshot: None,
            };
            self.runs.insert(batch.run.clone(), stored);
        }
        for lazy in batch.lazy {
            self.append_if_held(lazy);
        }
        for lease in &batch.answered {
            self.remove_work(&batch.run, &lease.execution);
        }
        let run = self.runs.get_mut(&batch.run).expect("it was checked or made above");
        for event in batch.events {
            run.append(batch.at, event);
        }
        let number = run.row.revision.number + 1;
        run.row.revision = Revision { number, batch: batch.id };
        run.row.state = batch.row;
        run.row.updated_at = batch.at;
        let committed = Committed { revision: run.row.revision, seq: run.row.seq };
        run.batches.insert(batch.id, committed);
        for id in batch.commands {
            run.commands.insert(id, committed.seq);
        }
        for change in batch.work {
            self.change_work(&batch.run, batch.at, change);
        }
        for change in batch.timers {
            self.change_timer(&batch.run, change);
        }
        for change in batch.waits {
            match change {
                WaitChange::Open(row) => {
                    self.waits.insert(row.wait.clone(), *row);
                }
                WaitChange::Close { wait, state, by } => {
                    if let Some(row) = self.waits.get_mut(&wait) {
                        row.state = state;
                        row.closed_by = by;
                        row.closed_at = Some(batch.at);
                    }
                }
            }
        }
        for message in batch.outbox {
            self.next_message += 1;
            self.outbox.insert(self.next_message, (batch.run.clone(), message));
        }
        for id in batch.delivered {
            self.outbox.remove(&id);
        }
        Ok(committed)
    }

    fn change_work(&mut self, run: &RunId, at: Timestamp, change: WorkChange) {
        let (item, lease) = match change {
            WorkChange::Remove(execution) => return self.remove_work(run, &execution),
            WorkChange::Put(item) => (item, None),
            WorkChange::HandOver(item, session) => (item, Some(session)),
        };
        self.remove_work(run, &item.execution);
        self.next_order += 1;
        let place = (Reverse(item.priority), at, self.next_order);
        let at = (run.clone(), item.execution.clone());
        match lease {
            None => {
                self.ready.insert(place, at);
            }
            Some(session) => self.book(session, at, &item),
        }
        let stored = self.runs.get_mut(run).expect("work is changed for known runs only");
        stored.work.insert(item.execution.clone(), StoredWork { item, place, lease, is_stray: false });
    }

    fn remove_work(&mut self, run: &RunId, execution: &ExecutionRef) {
        let Some(before) = self.runs.get_mut(run).and_then(|stored| stored.work.remove(execution)) else {
            return;
        };
        self.forget_work(run, before);
    }

    /// Takes an item that is gone out of everything that counts items.
    fn forget_work(&mut self, run: &RunId, work: StoredWork) {
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

    /// Counts a lease.
    fn book(&mut self, session: SessionRef, at: (RunId, ExecutionRef), item: &WorkItem) {
        for limit in &item.limits {
            *self.taken.entry(limit.name.clone()).or_insert(0) += limit.units;
        }
        self.leased.entry(session).or_default().insert(at);
    }

    fn change_timer(&mut self, run: &RunId, change: TimerChange) {
        let (key, at) = match change {
            TimerChange::Put(key, at) => (key, Some(at)),
            TimerChange::Remove(key) => (key, None),
        };
        let timers = &mut self.runs.get_mut(run).expect("timers are changed for known runs only").timers;
        if let Some(before) = timers.remove(&key) {
            self.timers.remove(&(before, run.clone(), key.clone()));
        }
        if let Some(at) = at {
            timers.insert(key.clone(), at);
            self.timers.insert((at, run.clone(), key));
        }
    }

    fn append_if_held(&mut self, lazy: LazyEvent) {
        if let Some(run) = self.runs.get_mut(&lazy.run)
            && run.holds(&lazy.lease)
        {
            run.append(lazy.at, lazy.event);
        }
    }

    /// Returns what a request would get, with its places among what is ready.
    fn choose(&self, request: &LeaseRequest) -> (Vec<Place>, Vec<Leased>) {
        let mut leased: Vec<Leased> = Vec::new();
        let mut places = Vec::new();
        let mut taken_now: HashMap<&str, u32> = HashMap::new();
        for (place, (run, execution)) in &self.ready {
            if leased.len() >= request.max {
                break;
            }
            let stored = &self.runs[run];
            let item = &stored.work[execution].item;
            let is_asked = stored.row.state.status == RunStatus::Running
                && item.not_before <= request.now
                && request.root.as_ref().is_none_or(|root| *root == stored.row.root)
                && handles(request.handlers.as_deref(), &item.handler);
            let fits = |limit: &LimitUse| {
                let taken = self.taken.get(&limit.name).copied().unwrap_or(0);
                let now = taken_now.get(limit.name.as_str()).copied().unwrap_or(0);
                taken + now + limit.units <= limit.capacity
            };
            if !is_asked || !item.limits.iter().all(fits) {
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

    fn lease(&mut self, request: &LeaseRequest) -> Vec<Leased> {
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
    fn leases_of(&self, session: SessionRef) -> impl Iterator<Item = (RunId, LeaseRef, bool)> + '_ {
        let all = self.leased.get(&session).into_iter().flatten();
        all.filter_map(|(run, execution)| {
            let work = self.runs.get(run)?.work.get(execution)?;
            Some((run.clone(), work.lease_ref()?, work.is_stray))
        })
    }
}

/// Returns whether a list of handlers covers one; a trailing `*` matches any ending.
pub(crate) fn handles(handlers: Option<&[String]>, handler: &str) -> bool {
    handlers.is_none_or(|list| {
        list.iter().any(|known| match known.strip_suffix('*') {
            Some(prefix) => handler.starts_with(prefix),
            None => known == handler,
        })
    })
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        let committed = self.open().map_err(CommitError::Store)?.commit(batch)?;
        self.moved();
        Ok(committed)
    }

    async fn is_committed(&self, run: &RunId, batch: u64) -> Result<Option<Committed>, Error> {
        Ok(self.open()?.runs.get(run).and_then(|run| run.batches.get(&batch).copied()))
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

    async fn definition(&self, digest: &str) -> Result<Value, Error> {
        let state = self.open()?;
        state.definitions.get(digest).cloned().ok_or_else(|| Error::NotFound(format!("definition {digest}")))
    }

    async fn open_session(&self, _label: &str, _now: Timestamp) -> Result<SessionRef, Error> {
        let mut state = self.open()?;
        state.next_session += 1;
        let session = SessionRef { id: state.next_session, generation: 1 };
        state.sessions.insert(session.id, session.generation);
        Ok(session)
    }

    async fn renew_session(
        &self,
        session: SessionRef,
        held: Vec<(RunId, LeaseRef)>,
        _now: Timestamp,
    ) -> Result<Renewal, Error> {
        let mut state = self.open()?;
        if !state.is_alive(session) {
            return Err(Error::NotFound(format!("session {}", session.id)));
        }
        let standing: HashSet<(RunId, LeaseRef)> =
            state.leases_of(session).map(|(run, lease, _)| (run, lease)).collect();
        let held: HashSet<(RunId, LeaseRef)> = held.into_iter().collect();
        let strays: Vec<_> = standing.difference(&held).cloned().collect();
        for (run, lease) in &strays {
            let work = state.runs.get_mut(run).and_then(|run| run.work.get_mut(&lease.execution));
            work.expect("its lease was found above").is_stray = true;
        }
        Ok(Renewal { lost: held.difference(&standing).cloned().collect(), strays })
    }

    async fn close_session(&self, session: SessionRef) -> Result<(), Error> {
        let mut state = self.open()?;
        if state.is_alive(session) {
            state.sessions.remove(&session.id);
        }
        drop(state);
        self.moved();
        Ok(())
    }

    async fn lost_leases(&self, _now: Timestamp, max: usize) -> Result<Vec<LostLease>, Error> {
        let state = self.open()?;
        let lost = state.leased.keys().flat_map(|session| {
            let is_gone = !state.is_alive(*session);
            state.leases_of(*session).filter(move |(_, _, is_stray)| is_gone || *is_stray)
        });
        Ok(lost.take(max).map(|(run, lease, _)| LostLease { run, lease }).collect())
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Leased>, Error> {
        let mut state = self.open()?;
        if !state.is_alive(request.session) {
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
        let work =
            state.ready.values().map(|(run, execution)| state.runs[run].work[execution].item.not_before);
        let work = work.filter(|at| *at > now).min();
        Ok([timer, work].into_iter().flatten().min())
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
        let state = self.open()?;
        let after = page.cursor.as_deref().map(cursor::read).transpose()?;
        let rows = state
            .by_creation
            .iter()
            .rev()
            .filter(|(at, run)| after.as_ref().is_none_or(|(t, id)| (*at, run.as_str()) < (*t, id.as_str())))
            .map(|(_, run)| &state.runs[run].row)
            .filter(|row| matches(filter, row));
        let items: Vec<RunRow> = rows.take(page.limit.saturating_add(1)).cloned().collect();
        Ok(cut(items, page.limit, |row| cursor::write(row.created_at, row.run.as_str())))
    }

    async fn wait(&self, wait: &WaitId) -> Result<WaitRow, Error> {
        self.open()?.waits.get(wait).cloned().ok_or_else(|| Error::NotFound(format!("question {wait}")))
    }

    async fn waits(&self, filter: &WaitFilter, page: &Page) -> Result<Paged<WaitRow>, Error> {
        let state = self.open()?;
        let after = page.cursor.as_deref().map(cursor::read).transpose()?;
        let mut rows: Vec<&WaitRow> = state
            .waits
            .values()
            .filter(|row| {
                let place = (row.opened_at, row.wait.as_str());
                after.as_ref().is_none_or(|(t, id)| place > (*t, id.as_str()))
            })
            .filter(|row| wait_matches(filter, row))
            .collect();
        rows.sort_by(|a, b| (a.opened_at, &a.wait).cmp(&(b.opened_at, &b.wait)));
        let items = rows.into_iter().take(page.limit.saturating_add(1)).cloned().collect();
        Ok(cut(items, page.limit, |row: &WaitRow| cursor::write(row.opened_at, row.wait.as_str())))
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

    async fn prune(&self, before: Timestamp) -> Result<u64, Error> {
        let mut state = self.open()?;
        let is_old = |row: &RunRow| {
            row.state.status.is_terminal() && row.state.finished_at.is_some_and(|finished| finished < before)
        };
        let root_goes = |root: &RunId| state.runs.get(root).is_none_or(|run| is_old(&run.row));
        let old = state.runs.values().map(|run| &run.row).filter(|row| is_old(row) && root_goes(&row.root));
        let old: HashSet<RunId> = old.map(|row| row.run.clone()).collect();
        for id in &old {
            let Some(run) = state.runs.remove(id) else { continue };
            state.by_creation.remove(&(run.row.created_at, id.clone()));
            for work in run.work.into_values() {
                state.forget_work(id, work);
            }
            for (key, at) in run.timers {
                state.timers.remove(&(at, id.clone(), key));
            }
        }
        state.waits.retain(|_, wait| !old.contains(&wait.run));
        state.outbox.retain(|_, (source, _)| !old.contains(source));
        Ok(old.len() as u64)
    }

    async fn backup(&self, _file: &Path) -> Result<(), Error> {
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

fn matches(filter: &RunFilter, row: &RunRow) -> bool {
    (filter.status.is_empty() || filter.status.contains(&row.state.status))
        && filter.workflow.as_ref().is_none_or(|name| *name == row.workflow)
        && filter.since.is_none_or(|since| row.created_at >= since)
        && filter.until.is_none_or(|until| row.created_at < until)
        && filter.parent.as_ref().is_none_or(|parent| row.parent.as_ref() == Some(parent))
        && metadata::contains(&row.metadata, &filter.metadata)
}

fn wait_matches(filter: &WaitFilter, row: &WaitRow) -> bool {
    filter.state.is_none_or(|state| state == row.state)
        && filter.kind.as_ref().is_none_or(|kind| *kind == row.kind)
        && filter.assignee.as_ref().is_none_or(|assignee| row.assignee.as_ref() == Some(assignee))
        && filter.workflow.as_ref().is_none_or(|name| *name == row.workflow)
        && filter.run.as_ref().is_none_or(|run| *run == row.run)
        && filter.due_before.is_none_or(|due| row.deadline.is_some_and(|deadline| deadline < due))
        && metadata::contains(&row.metadata, &filter.metadata)
}

/// Makes a page of one item more than it may have.
pub(crate) fn cut<T>(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Paged<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(cursor) } else { None };
    Paged { items, next }
}

/// Cursors: a time and an id.
pub(crate) mod cursor {
    use stepwell_core::ids::Timestamp;

    use crate::error::Error;

    pub(crate) fn write(at: Timestamp, id: &str) -> String {
        format!("{}~{id}", at.0)
    }

    pub(crate) fn read(text: &str) -> Result<(Timestamp, String), Error> {
        let parts =
            text.split_once('~').and_then(|(at, id)| Some((Timestamp(at.parse().ok()?), id.to_owned())));
        parts.ok_or_else(|| Error::Invalid(format!("{text:?} is no cursor of ours")))
    }
}
