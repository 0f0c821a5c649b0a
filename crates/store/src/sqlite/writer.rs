//! The one writer: it takes all requests that wait, from all runs, into one transaction, and answers them when that
//! transaction is on disk. No time is spent waiting for more; while one group is being synced the next one gathers.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use stepwell_core::ids::RunId;
use tokio::sync::{oneshot, watch};

use super::batch;
use super::{Neighbours, SqliteOptions, errors};
use crate::error::{CommitError, Error};
use crate::model::{Batch, Committed, Revision, RowUpdate, SessionRef};

/// At most so many requests share a transaction.
const GROUP: usize = 1_024;

/// How long the writer yields after a group while another process has the store open.
const YIELD: Duration = Duration::from_micros(200);

/// After a lone request the next one is looked for so long before the thread sleeps: a sequential run sends it as soon
/// as it has heard of the last, and waking a thread costs a good part of a commit.
const SPIN: Duration = Duration::from_micros(50);

/// Another process that writes for longer than this is named in the log.
const PATIENCE: Duration = Duration::from_secs(2);

/// What waits for the writer.
pub(super) enum Request {
    /// A batch, and where its outcome goes.
    Commit(Box<Batch>, oneshot::Sender<Result<Committed, CommitError>>),
    /// Anything else.
    Job(Box<dyn Job>),
    /// Copies the log into the database from its beginning, so that the log can be written anew.
    Restart,
    /// Lets the next COMMIT end without an answer.
    Tear { is_carried_out: bool },
    /// Ends the writer.
    Close(oneshot::Sender<()>),
}

/// Something to do inside the writer's transaction.
pub(super) trait Job: Send {
    /// Does it. It is done again if the transaction had to be rolled back because of somebody else.
    fn run(&mut self, conn: &Connection, known: &mut Known) -> rusqlite::Result<()>;

    /// Tells the caller, once the transaction is on disk or has failed.
    fn done(self: Box<Self>, failed: Option<Error>);
}

/// What the writer knows of runs without asking; dropped when another process has written.
#[derive(Default)]
pub(super) struct Known {
    /// Runs that were used lately.
    runs: HashMap<RunId, KnownRun>,
    /// Those that were used before them and not since.
    older: HashMap<RunId, KnownRun>,
    sessions: HashSet<SessionRef>,
    data_version: i64,
}

/// The place of a run in the store.
#[derive(Clone, Copy)]
pub(super) struct KnownRun {
    pub(super) key: i64,
    pub(super) revision: Revision,
    pub(super) seq: u64,
    /// How its row stands, if that is known.
    pub(super) row: Option<PlainRow>,
}

/// How a run stands that has no error: what need not be written again if it is the same.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct PlainRow(
    stepwell_core::status::RunStatus,
    Option<stepwell_core::status::PauseReason>,
    stepwell_core::ids::Epoch,
    [Option<stepwell_core::ids::Timestamp>; 2],
);

impl PlainRow {
    pub(super) fn of(row: &RowUpdate) -> Option<Self> {
        let plain = Self(row.status, row.pause_reason, row.epoch, [row.started_at, row.finished_at]);
        row.error.is_none().then_some(plain)
    }
}

/// When so many runs were used, those not used since as many were are forgotten.
const GENERATION: usize = 8_192;

impl Known {
    pub(super) fn get(&self, run: &RunId) -> Option<KnownRun> {
        self.runs.get(run).or_else(|| self.older.get(run)).copied()
    }

    pub(super) fn put(&mut self, run: &RunId, known: KnownRun) {
        if let Some(place) = self.runs.get_mut(run) {
            *place = known;
            return;
        }
        if self.runs.len() >= GENERATION {
            self.older = std::mem::take(&mut self.runs);
        }
        self.older.remove(run);
        self.runs.insert(run.clone(), known);
    }

    pub(super) fn forget(&mut self, run: &RunId) {
        self.runs.remove(run);
        self.older.remove(run);
    }

    /// Returns whether a session is open.
    pub(super) fn is_open(&mut self, conn: &Connection, session: SessionRef) -> rusqlite::Result<bool> {
        if self.sessions.contains(&session) {
            return Ok(true);
        }
        let is_open = conn
            .prepare_cached("SELECT 1 FROM sessions WHERE id = ?1 AND generation = ?2 AND closed = 0")?
            .exists(params![session.id as i64, session.generation as i64])?;
        if is_open {
            self.sessions.insert(session);
        }
        Ok(is_open)
    }

    /// Forgets which sessions are open.
    pub(super) fn forget_sessions(&mut self) {
        self.sessions.clear();
    }
}

/// The handle to the writer thread.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Sender<Request>,
}

impl Writer {
    pub(super) fn spawn(
        path: PathBuf,
        options: SqliteOptions,
        conn: Connection,
        changes: Arc<watch::Sender<u64>>,
        neighbours: Arc<Neighbours>,
    ) -> std::io::Result<Self> {
        let (queue, requests) = channel();
        std::thread::Builder::new().name("stepwell-writer".into()).spawn(move || {
            Loop {
                path,
                options,
                conn,
                is_broken: false,
                tear: None,
                changes,
                neighbours,
                known: Known::default(),
            }
            .run(&requests);
        })?;
        Ok(Self { queue })
    }

    /// Queues a request. Fails once the store is closed.
    pub(super) fn send(&self, request: Request) -> Result<(), Error> {
        self.queue.send(request).map_err(|_| errors::closed())
    }

    /// Returns a further handle.
    pub(super) fn queue(&self) -> Sender<Request> {
        self.queue.clone()
    }
}

struct Loop {
    path: PathBuf,
    options: SqliteOptions,
    conn: Connection,
    /// The connection must be opened anew before it is used.
    is_broken: bool,
    /// The next COMMIT ends without an answer, carried out or not.
    tear: Option<bool>,
    changes: Arc<watch::Sender<u64>>,
    neighbours: Arc<Neighbours>,
    known: Known,
}

/// A request that is part of a transaction, and what came of it so far.
enum Part {
    Batch(
        Box<Batch>,
        oneshot::Sender<Result<Committed, CommitError>>,
        Option<Result<Committed, CommitError>>,
    ),
    Job(Box<dyn Job>),
}

impl Part {
    /// Sends the answer of a transaction that is on disk. A receiver that is gone does not matter: the commit stands.
    fn succeed(self) {
        match self {
            Self::Batch(_, reply, outcome) => {
                drop(reply.send(outcome.expect("a committed transaction has tried all its parts")));
            }
            Self::Job(job) => job.done(None),
        }
    }

    /// Sends the answer of a transaction that failed. A batch that was refused stays refused.
    fn fail(self, error: Error, is_certain: bool) {
        match self {
            Self::Batch(_, reply, Some(Err(refused))) => drop(reply.send(Err(refused))),
            Self::Batch(_, reply, _) if is_certain => drop(reply.send(Err(CommitError::Store(error)))),
            Self::Batch(_, reply, _) => drop(reply.send(Err(CommitError::Unknown(error)))),
            Self::Job(job) => job.done(Some(error)),
        }
    }
}

impl Loop {
    fn run(mut self, requests: &Receiver<Request>) {
        let mut was_lone = false;
        while let Some(first) = next(requests, was_lone) {
            let mut parts = Vec::new();
            let mut closing = None;
            let mut is_restart = false;
            let mut next = Some(first);
            while let Some(request) = next.take() {
                match request {
                    Request::Commit(batch, reply) => parts.push(Part::Batch(batch, reply, None)),
                    Request::Job(job) => parts.push(Part::Job(job)),
                    Request::Restart => is_restart = true,
                    Request::Tear { is_carried_out } => self.tear = Some(is_carried_out),
                    Request::Close(reply) => {
                        closing = Some(reply);
                        break;
                    }
                }
                if parts.len() < GROUP {
                    next = requests.try_recv().ok();
                }
            }
            was_lone = parts.len() == 1;
            if !parts.is_empty() {
                self.group(parts);
            }
            if let Some(reply) = closing {
                drop(self.conn);
                refuse_rest(requests);
                let _gone = reply.send(());
                return;
            }
            if is_restart {
                self.restart_log();
            }
            if self.neighbours.are_there.load(Ordering::Relaxed) {
                std::thread::sleep(YIELD);
            }
        }
    }

    /// Carries a group out in one transaction; if one of it makes SQLite fail, each in a transaction of its own, so
    /// that it sinks alone.
    fn group(&mut self, parts: Vec<Part>) {
        let Err((mut parts, error)) = self.together(parts) else { return };
        if let [_] = parts.as_slice() {
            let part = parts.pop().expect("there is one");
            part.fail(error, true);
            return;
        }
        for part in parts {
            if let Err((parts, error)) = self.together(vec![part]) {
                for part in parts {
                    part.fail(errors::again(&error), true);
                }
            }
        }
    }

    /// Carries a group out in one transaction. Returns it if SQLite failed before the COMMIT.
    fn together(&mut self, mut parts: Vec<Part>) -> Result<(), (Vec<Part>, Error)> {
        if let Err(error) = self.begin() {
            for part in parts {
                part.fail(errors::again(&error), true);
            }
            return Ok(());
        }
        let mut wrote = false;
        for part in &mut parts {
            let failed = match part {
                Part::Batch(batch, _, outcome) => match batch::apply(&self.conn, &mut self.known, batch) {
                    Ok(committed) => {
                        wrote = true;
                        *outcome = Some(Ok(committed));
                        None
                    }
                    Err(batch::Refused::Batch(refused)) => {
                        *outcome = Some(Err(refused));
                        None
                    }
                    Err(batch::Refused::Sqlite(error)) => Some(error),
                },
                Part::Job(job) => {
                    wrote = true;
                    job.run(&self.conn, &mut self.known).err()
                }
            };
            if let Some(error) = failed {
                let told = errors::write(&self.path, &error);
                self.roll_back();
                for part in &mut parts {
                    if let Part::Batch(_, _, outcome) = part {
                        *outcome = None;
                    }
                }
                return Err((parts, told));
            }
        }
        match self.commit() {
            Ok(()) => {
                for part in parts {
                    part.succeed();
                }
                if wrote {
                    self.changes.send_modify(|count| *count += 1);
                }
            }
            Err(error) => self.commit_failed(&error, parts),
        }
        Ok(())
    }

    fn commit(&mut self) -> rusqlite::Result<()> {
        let statement = if self.tear == Some(false) { "ROLLBACK" } else { "COMMIT" };
        self.conn.prepare_cached(statement)?.execute([])?;
        match self.tear.take() {
            None => Ok(()),
            Some(_) => Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR),
                None,
            )),
        }
    }

    /// A COMMIT that failed: for certain nothing (disk full), or nobody knows.
    fn commit_failed(&mut self, error: &rusqlite::Error, parts: Vec<Part>) {
        let is_certain = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::ReadOnly)
        );
        self.roll_back();
        self.is_broken = !is_certain;
        for part in parts {
            part.fail(errors::write(&self.path, error), is_certain);
        }
    }

    fn roll_back(&mut self) {
        self.known = Known::default();
        if !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
            self.is_broken = true;
        }
    }

    /// Begins a write transaction, waiting for another process if need be.
    fn begin(&mut self) -> Result<(), Error> {
        if self.is_broken {
            self.conn = super::connect(&self.path, &self.options)?;
            self.conn.busy_timeout(Duration::ZERO).map_err(|error| errors::write(&self.path, &error))?;
            self.is_broken = false;
        }
        let since = Instant::now();
        let mut pause = Duration::from_micros(50);
        let mut is_told = false;
        while let Err(error) =
            self.conn.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([]))
        {
            if !errors::is_busy(&error) {
                return Err(errors::write(&self.path, &error));
            }
            if since.elapsed() > PATIENCE && !is_told {
                is_told = true;
                let holders = self.neighbours.names();
                tracing::warn!(store = %self.path.display(), ?holders, "another process is writing; waiting");
            }
            if since.elapsed() > self.options.busy_timeout {
                return Err(errors::busy(&self.path, &self.neighbours.names()));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(2));
        }
        let version =
            self.conn.prepare_cached("PRAGMA data_version").and_then(|mut q| q.query_row([], |r| r.get(0)));
        match version {
            Ok(version) if version == self.known.data_version => {}
            Ok(version) => self.known = Known { data_version: version, ..Known::default() },
            Err(error) => {
                let told = errors::read(&self.path, &error);
                self.roll_back();
                return Err(told);
            }
        }
        Ok(())
    }

    /// Copies what is left of the log, so that it begins anew; the bulk was copied beside the writer. Does not wait
    /// for readers: there will be another time.
    fn restart_log(&self) {
        if let Err(error) = self.conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())) {
            tracing::debug!(%error, "the log cannot be restarted now");
        }
    }
}

/// Returns the next request; none when nobody can send any more.
fn next(requests: &Receiver<Request>, is_likely_soon: bool) -> Option<Request> {
    if is_likely_soon {
        let since = Instant::now();
        while since.elapsed() < SPIN {
            if let Ok(request) = requests.try_recv() {
                return Some(request);
            }
            std::hint::spin_loop();
        }
    }
    requests.recv().ok()
}

/// What was queued after the end of the store was not done, for certain.
fn refuse_rest(requests: &Receiver<Request>) {
    while let Ok(request) = requests.try_recv() {
        match request {
            Request::Commit(_, reply) => drop(reply.send(Err(CommitError::Store(errors::closed())))),
            Request::Job(job) => job.done(Some(errors::closed())),
            Request::Restart | Request::Tear { .. } => {}
            Request::Close(reply) => drop(reply.send(())),
        }
    }
}

/// Looks a run up, in memory or in the store.
pub(super) fn find(conn: &Connection, known: &mut Known, run: &RunId) -> rusqlite::Result<Option<KnownRun>> {
    if let Some(found) = known.get(run) {
        return Ok(Some(found));
    }
    let mut query = conn.prepare_cached("SELECT key, revision, batch, seq FROM runs WHERE id = ?1")?;
    let found = query
        .query_row(params![run.as_str()], |row| {
            Ok(KnownRun {
                key: row.get(0)?,
                revision: Revision {
                    number: row.get::<_, i64>(1)? as u64,
                    batch: row.get::<_, i64>(2)? as u64,
                },
                seq: row.get::<_, i64>(3)? as u64,
                row: None,
            })
        })
        .optional()?;
    if let Some(found) = found {
        known.put(run, found);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known_run(key: usize) -> KnownRun {
        KnownRun { key: key as i64, revision: Revision::default(), seq: 0, row: None }
    }

    fn id(i: usize) -> RunId {
        RunId::from(format!("r{i}"))
    }

    #[test]
    fn a_run_in_use_is_not_forgotten_for_the_sake_of_many_others() {
        let mut known = Known::default();
        known.put(&id(0), known_run(0));
        for i in 1..10 * GENERATION {
            known.put(&id(i), known_run(i));
            if i % (GENERATION / 2) == 0 {
                let found = known.get(&id(0)).expect("it was used lately");
                known.put(&id(0), found);
            }
            assert!(known.runs.len() + known.older.len() <= 2 * GENERATION);
        }
        assert!(known.get(&id(1)).is_none(), "what was not used for long is forgotten");
        known.forget(&id(0));
        assert!(known.get(&id(0)).is_none());
    }

    #[test]
    fn what_was_known_before_never_comes_back() {
        let mut known = Known::default();
        known.put(&id(0), known_run(1));
        for i in 1..=GENERATION {
            known.put(&id(i), known_run(i));
        }
        known.put(&id(0), known_run(2));
        for i in 0..GENERATION - 2 {
            known.put(&id(i + 2 * GENERATION), known_run(i));
        }
        assert_eq!(known.get(&id(0)).map(|run| run.key), Some(2));
    }
}
