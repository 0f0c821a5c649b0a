//! One write transaction of a group of requests, on the connection that alone writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{oneshot, watch};

use super::known::Known;
use super::place::Place;
use super::{Neighbours, SqliteOptions, batch, errors};
use crate::error::{CommitError, Error};
use crate::model::{Batch, Committed};

/// Another process that writes for longer than this is named in the log.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something to do inside the writer's transaction.
pub(super) trait Job: Send {
    /// Does it. It is done again if the transaction had to be rolled back because of somebody else.
    fn run(&mut self, conn: &Connection, known: &mut Known) -> rusqlite::Result<()>;

    /// Tells the caller, once the transaction is on disk or has failed.
    fn done(self: Box<Self>, failed: Option<Error>);
}

/// A request that is part of a transaction, and what came of it so far.
pub(super) enum Part {
    /// A batch, where its outcome goes, and its outcome if the transaction is committed.
    Batch(
        Box<Batch>,
        oneshot::Sender<Result<Committed, CommitError>>,
        Option<Result<Committed, CommitError>>,
    ),
    /// Anything else.
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

/// The connection that writes.
pub(super) struct WriteConnection {
    path: PathBuf,
    place: Arc<Place>,
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

impl WriteConnection {
    pub(super) fn new(
        place: Arc<Place>,
        options: SqliteOptions,
        conn: Connection,
        changes: Arc<watch::Sender<u64>>,
        neighbours: Arc<Neighbours>,
    ) -> Self {
        let (path, known) = (place.database().to_owned(), Known::default());
        Self { path, place, options, conn, is_broken: false, tear: None, changes, neighbours, known }
    }

    /// Returns whether other processes have the file open, as far as is known.
    pub(super) fn has_neighbours(&self) -> bool {
        self.neighbours.are_there.load(Ordering::Relaxed)
    }

    /// Lets the next COMMIT end without an answer.
    pub(super) fn tear(&mut self, is_carried_out: bool) {
        self.tear = Some(is_carried_out);
    }

    /// Carries a group out in one transaction; if one of it makes SQLite fail, each in a transaction of its own, so
    /// that it sinks alone.
    pub(super) fn group(&mut self, parts: Vec<Part>) {
        let Err((parts, error)) = self.together(parts) else { return };
        if let [_] = parts.as_slice() {
            fail_all(parts, &error);
            return;
        }
        for part in parts {
            if let Err((parts, error)) = self.together(vec![part]) {
                fail_all(parts, &error);
            }
        }
    }

    /// Carries one request out if no other process is writing; else returns it.
    pub(super) fn alone(&mut self, part: Part) -> Option<Part> {
        let begun = !self.is_broken
            && self.place.check().is_ok()
            && self.try_begin().is_ok()
            && self.look_at_version().is_ok();
        if !begun {
            return Some(part);
        }
        if let Err((parts, error)) = self.in_transaction(vec![part]) {
            fail_all(parts, &error);
        }
        None
    }

    /// Carries a group out in one transaction. Returns it if SQLite failed before the COMMIT.
    fn together(&mut self, parts: Vec<Part>) -> Result<(), (Vec<Part>, Error)> {
        match self.begin() {
            Ok(()) => self.in_transaction(parts),
            Err(error) => {
                fail_all(parts, &error);
                Ok(())
            }
        }
    }

    fn in_transaction(&mut self, mut parts: Vec<Part>) -> Result<(), (Vec<Part>, Error)> {
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
        self.place.check()?;
        if self.is_broken {
            self.conn = super::connect(&self.path, &self.options)?;
            self.conn.busy_timeout(Duration::ZERO).map_err(|error| errors::write(&self.path, &error))?;
            self.is_broken = false;
        }
        let since = Instant::now();
        let mut pause = Duration::from_micros(50);
        let mut is_told = false;
        while let Err(error) = self.try_begin() {
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
        self.look_at_version()
    }

    /// Begins a write transaction unless another process has one.
    fn try_begin(&self) -> rusqlite::Result<()> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(|_| ())
    }

    /// Forgets what is known if another process has written. Ends the transaction if that cannot be seen.
    fn look_at_version(&mut self) -> Result<(), Error> {
        let version =
            self.conn.prepare_cached("PRAGMA data_version").and_then(|mut q| q.query_row([], |r| r.get(0)));
        match version {
            Ok(version) if version == self.known.data_version => Ok(()),
            Ok(version) => {
                self.known = Known::nothing_at(version);
                Ok(())
            }
            Err(error) => {
                let told = errors::read(&self.path, &error);
                self.roll_back();
                Err(told)
            }
        }
    }

    /// Copies what is left of the log, so that it begins anew; the bulk was copied beside the writer. Does not wait
    /// for readers: there will be another time.
    pub(super) fn restart_log(&self) {
        if let Err(error) = self.conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())) {
            tracing::debug!(%error, "the log cannot be restarted now");
        }
    }
}

/// Nothing of these was done, for certain.
fn fail_all(parts: Vec<Part>, error: &Error) {
    for part in parts {
        part.fail(errors::again(error), true);
    }
}
