//! The store in one SQLite file: for one machine, any number of processes.
//!
//! One connection takes all changes, many at a time, into one transaction (`writer.rs`). Readers run beside it. A
//! second thread checkpoints and notices what other processes write (`watch_file.rs`). Who is alive is the operating
//! system's word (`lock.rs`).

mod backup;
mod batch;
mod blob;
mod errors;
mod known;
mod lease;
mod lock;
mod open;
mod place;
mod prune;
mod queries;
mod readers;
mod survey;
mod transaction;
mod watch_file;
mod writer;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use stepwell_core::ids::{CommandId, RunId, Seq, Timestamp, WaitId};
use stepwell_core::workflow::definition::Priority;
use tokio::sync::{oneshot, watch};

use crate::Store;
use crate::error::{CommitError, Error, StateError};
use crate::model::{
    Batch, Committed, DueTimer, LazyEvent, LeaseRef, LeaseRequest, Leased, LoadedRun, LostLease, Page, Paged,
    Prune, Pruned, Recorded, Renewal, RunFilter, RunRow, SessionRef, StateRow, Undelivered, WaitFilter,
    WaitRow,
};
use known::Known;
use lock::LockFile;
pub(crate) use open::connect;
use place::Place;
use queries::{Loading, Read, ReadError};
use readers::Readers;
pub use survey::{Survey, survey};
use transaction::Job;
use writer::{Request, Writer};

/// How a SQLite store is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// Every commit is on disk before it is answered; otherwise it survives the process but perhaps not the power.
    pub fsync: bool,
    /// How long to wait for another process that is writing.
    pub busy_timeout: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { fsync: true, busy_timeout: Duration::from_mins(1) }
    }
}

/// The other processes that take part, as the watcher last saw them.
#[derive(Debug, Default)]
struct Neighbours {
    are_there: AtomicBool,
    /// For messages.
    names: Mutex<Vec<String>>,
}

impl Neighbours {
    fn set(&self, names: Vec<String>) {
        self.are_there.store(!names.is_empty(), Ordering::Relaxed);
        *self.names.lock().expect("no panic happens under this lock") = names;
    }

    fn names(&self) -> Vec<String> {
        self.names.lock().expect("no panic happens under this lock").clone()
    }
}

/// A store in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    place: Arc<Place>,
    writer: Writer,
    readers: Readers,
    lock: Arc<LockFile>,
    /// Sessions that were opened here; they end with the store.
    sessions: Mutex<HashSet<u64>>,
    changes: Arc<watch::Sender<u64>>,
    watcher: watch_file::Watcher,
}

/// A job made of a closure, and where its value goes.
struct Task<T, F> {
    work: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnMut(&Connection, &mut Known) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, conn: &Connection, known: &mut Known) -> rusqlite::Result<()> {
        self.value = Some((self.work)(conn, known)?);
        Ok(())
    }

    fn done(self: Box<Self>, failed: Option<Error>) {
        let outcome = match (failed, self.value) {
            (Some(error), _) => Err(error),
            (None, Some(value)) => Ok(value),
            (None, None) => Err(errors::closed()),
        };
        // A caller that is gone does not matter: what was done stands.
        let _gone = self.reply.send(outcome);
    }
}

/// A session whose process lives.
struct LiveSession {
    id: u64,
    label: String,
    pid: u32,
}

impl fmt::Display for LiveSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({})", self.pid, self.label)
    }
}

/// Returns the sessions that are open and whose processes live.
fn sessions(conn: &Connection, lock: &LockFile) -> rusqlite::Result<Vec<LiveSession>> {
    let mut query = conn.prepare_cached("SELECT id, label FROM sessions WHERE closed = 0 ORDER BY id")?;
    let mut rows = query.query([])?;
    let mut live = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, label) = (row.get::<_, i64>(0)? as u64, row.get(1)?);
        if let Some(pid) = lock.holder(id).map_err(system)? {
            live.push(LiveSession { id, label, pid });
        }
    }
    Ok(live)
}

/// What the operating system said, as if SQLite had.
fn system(error: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}

impl SqliteStore {
    /// Opens the file, making it if it does not exist.
    ///
    /// # Errors
    /// `Corrupt` if the file is not ours, damaged or newer (it is left as it is), `Unavailable` if it cannot be
    /// opened.
    pub async fn open(path: &Path, options: SqliteOptions) -> Result<Self, Error> {
        let path = path.to_owned();
        let opening = tokio::task::spawn_blocking(move || Self::open_blocking(&path, &options));
        opening.await.map_err(|_| errors::closed())?
    }

    fn open_blocking(path: &Path, options: &SqliteOptions) -> Result<Self, Error> {
        let path = &place::real_path(path)?;
        open::refuse_network(path)?;
        // Before anything is made beside it.
        if path.exists() {
            open::look_at_header(path)?;
            place::refuse_second_name(path)?;
        }
        let lock = LockFile::open(path).map_err(|error| errors::io("locking", path, &error))?;
        open::prepare(path, options, &lock)?;
        let place = Arc::new(Place::of(path, lock.path())?);
        let conn = connect(path, options)?;
        // The writer waits for other processes itself, and says so.
        conn.busy_timeout(Duration::ZERO).map_err(|error| errors::read(path, &error))?;
        let changes = Arc::new(watch::Sender::new(0));
        let neighbours = Arc::new(Neighbours::default());
        let writer = Writer::spawn(place.clone(), options.clone(), conn, changes.clone(), neighbours.clone())
            .map_err(|error| errors::io("opening", path, &error))?;
        let watcher =
            watch_file::Watcher::spawn(&place, options, &lock, &changes, neighbours, writer.queue().clone())?;
        let readers = Readers::new(path.clone(), options.clone());
        Ok(Self {
            path: path.clone(),
            place,
            writer,
            readers,
            lock,
            sessions: Mutex::default(),
            changes,
            watcher,
        })
    }

    /// Ends a session as a crash of its process would: its lock is free, nothing is written.
    pub fn kill_session(&self, session: SessionRef) {
        self.sessions.lock().expect("no panic happens under this lock").remove(&session.id);
        if let Err(error) = self.lock.release(session.id) {
            tracing::warn!(%error, "the lock of a session could not be released");
        }
    }

    /// Lets the next COMMIT end without an answer, as a disk that vanishes would: carried out or not. For tests.
    pub fn tear_next_commit(&self, is_carried_out: bool) -> Result<(), Error> {
        self.writer.queue().send(Request::Tear { is_carried_out })
    }

    /// Lets the file grow to so many pages and no further, as if the disk were full then. For tests.
    pub async fn limit_pages(&self, pages: u32) -> Result<(), Error> {
        self.write(move |conn, _| conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())))
            .await
    }

    /// Does something inside the writer's next transaction, and returns what came of it once that is on disk.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection, &mut Known) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        self.is_open()?;
        let (reply, answer) = oneshot::channel();
        self.writer.queue().send(Request::Job(Box::new(Task { work, value: None, reply })))?;
        answer.await.unwrap_or_else(|_| Err(errors::closed()))
    }

    fn is_open(&self) -> Result<(), Error> {
        self.readers.check_open()
    }

    /// Reads a few rows beside the writer: on the thread of the caller if that may be held up for the microseconds that it takes.
    async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Read<T> + Send + 'static,
    ) -> Result<T, Error> {
        self.is_open()?;
        self.place.check()?;
        if writer::may_hold_up()
            && let Some(conn) = self.readers.idle()
        {
            let found = work(&conn).map_err(|error| error.told(&self.path));
            self.readers.put_back(conn);
            return found;
        }
        self.read(work).await
    }

    /// Reads beside the writer.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Read<T> + Send + 'static,
    ) -> Result<T, Error> {
        self.is_open()?;
        self.place.check()?;
        let (reply, answer) = oneshot::channel();
        let path = self.path.clone();
        self.readers.read(Box::new(move |conn| {
            let result = conn.and_then(|conn| work(conn).map_err(|error| error.told(&path)));
            Box::new(move || {
                // Whoever asked may have gone away.
                let _gone = reply.send(result);
            })
        }))?;
        // A read that panics takes its answer with it.
        answer.await.map_err(|_| errors::closed())?
    }
}

fn no_run(run: &RunId) -> Error {
    Error::NotFound(format!("run {run}"))
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        self.is_open().map_err(CommitError::Store)?;
        self.writer.commit(batch).await
    }

    async fn is_committed(&self, run: &RunId, batch: u64) -> Result<Option<Committed>, Error> {
        let run = run.clone();
        self.look(move |conn| match queries::run(conn, &run)? {
            Some((_, key)) => queries::batch(conn, key, batch),
            None => Ok(None),
        })
        .await
    }

    async fn command_outcome(&self, run: &RunId, command: &CommandId) -> Result<Option<Seq>, Error> {
        let (run, command) = (run.clone(), command.clone());
        self.look(move |conn| match queries::run(conn, &run)? {
            Some((_, key)) => queries::command(conn, key, &command),
            None => Ok(None),
        })
        .await
    }

    async fn append_lazy(&self, events: Vec<LazyEvent>) -> Result<(), Error> {
        self.write(move |conn, known| batch::append_lazy(conn, known, &events)).await
    }

    async fn load(&self, run: &RunId) -> Result<LoadedRun, Error> {
        /// A journal of so many events is short enough to be read on the thread of the caller.
        const FEW: u64 = 128;
        let (id, again) = (run.clone(), run.clone());
        let loaded = match self.look(move |conn| queries::load(conn, &id, Some(FEW))).await? {
            Loading::Long => self.read(move |conn| queries::load(conn, &again, None)).await?,
            short => short,
        };
        match loaded {
            Loading::Loaded(loaded) => Ok(*loaded),
            Loading::Missing | Loading::Long => Err(no_run(run)),
        }
    }

    async fn events(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<Recorded>, Error> {
        let id = run.clone();
        let events = self
            .read(move |conn| match queries::run(conn, &id)? {
                Some((_, key)) => queries::events(conn, key, after, limit).map(Some),
                None => Ok(None),
            })
            .await?;
        events.ok_or_else(|| no_run(run))
    }

    async fn put_snapshot(&self, run: &RunId, seq: Seq, snapshot: Vec<u8>) -> Result<(), Error> {
        let id = run.clone();
        let kept = self
            .write(move |conn, known| {
                let Some(found) = known::find(conn, known, &id)? else { return Ok(false) };
                conn.prepare_cached(
                    "INSERT INTO snapshots (run, seq, data) VALUES (?1, ?2, ?3) ON CONFLICT (run) DO UPDATE \
                     SET seq = excluded.seq, data = excluded.data WHERE excluded.seq > snapshots.seq",
                )?
                .execute(params![found.key, seq.0 as i64, snapshot])?;
                Ok(true)
            })
            .await?;
        if kept { Ok(()) } else { Err(no_run(run)) }
    }

    async fn definition(&self, digest: &str) -> Result<Arc<str>, Error> {
        let wanted = digest.to_owned();
        let found = self.read(move |conn| queries::definition(conn, &wanted)).await?;
        found.ok_or_else(|| Error::NotFound(format!("definition {digest}")))
    }

    async fn newest_definition(
        &self,
        workflow: &str,
        version: Option<&str>,
    ) -> Result<Option<Arc<str>>, Error> {
        let (workflow, version) = (workflow.to_owned(), version.map(str::to_owned));
        self.read(move |conn| queries::newest_definition(conn, &workflow, version.as_deref())).await
    }

    async fn open_session(&self, label: &str, _now: Timestamp) -> Result<SessionRef, Error> {
        let (label, lock) = (label.to_owned(), self.lock.clone());
        // The number that was locked, lest it stay locked although its transaction failed.
        let locked = Arc::new(AtomicU64::new(0));
        let noted = locked.clone();
        let opened = self
            .write(move |conn, _| {
                conn.execute("INSERT INTO sessions (generation, label) VALUES (1, ?1)", params![label])?;
                let id = conn.last_insert_rowid() as u64;
                // Locked before anybody can see the row, so that nobody takes a new session for a dead one.
                if noted.swap(id, Ordering::Relaxed) != id && !lock.try_hold(id).map_err(system)? {
                    return Err(system(std::io::Error::other("the lock of the new session is held")));
                }
                Ok(id)
            })
            .await;
        match opened {
            Ok(id) => {
                self.sessions.lock().expect("no panic happens under this lock").insert(id);
                Ok(SessionRef { id, generation: 1 })
            }
            Err(error) => {
                let _free = self.lock.release(locked.load(Ordering::Relaxed));
                Err(error)
            }
        }
    }

    async fn renew_session(
        &self,
        session: SessionRef,
        held: Vec<(RunId, LeaseRef)>,
        _now: Timestamp,
    ) -> Result<Renewal, Error> {
        let held: std::collections::HashSet<_> = held.into_iter().collect();
        let found = self
            .read(move |conn| {
                let open: Option<i64> = conn
                    .prepare_cached(
                        "SELECT 1 FROM sessions WHERE id = ?1 AND generation = ?2 AND closed = 0",
                    )?
                    .query_row(params![session.id as i64, session.generation as i64], |row| row.get(0))
                    .optional()?;
                Ok(match open {
                    Some(_) => Some((lease::leases_of(conn, session)?, lease::lingering_of(conn, session)?)),
                    None => None,
                })
            })
            .await?;
        let (standing, lingering) =
            found.ok_or_else(|| Error::NotFound(format!("session {}", session.id)))?;
        let strays: Vec<_> = standing.difference(&held).cloned().collect();
        let lost: Vec<_> = held.difference(&standing).cloned().collect();
        let let_go: Vec<i64> =
            lingering.into_iter().filter(|(_, lease)| !held.contains(lease)).map(|(row, _)| row).collect();
        if !strays.is_empty() || !let_go.is_empty() {
            let marked = strays.clone();
            self.write(move |conn, _| {
                lease::mark_strays(conn, &marked)?;
                lease::let_go(conn, &let_go)
            })
            .await?;
        }
        Ok(Renewal { lost, strays })
    }

    async fn close_session(&self, session: SessionRef) -> Result<(), Error> {
        self.write(move |conn, known| {
            known.forget_sessions();
            conn.execute(
                "UPDATE sessions SET closed = 1 WHERE id = ?1 AND generation = ?2",
                params![session.id as i64, session.generation as i64],
            )?;
            lease::let_all_go(conn, session.id)
        })
        .await?;
        self.sessions.lock().expect("no panic happens under this lock").remove(&session.id);
        self.lock.release(session.id).map_err(|error| errors::io("unlocking", &self.path, &error))
    }

    async fn lost_leases(&self, _now: Timestamp, max: usize) -> Result<Vec<LostLease>, Error> {
        let lock = self.lock.clone();
        let (lost, died, finished) = self
            .read(move |conn| {
                let moment = conn.unchecked_transaction()?;
                let live: HashSet<u64> =
                    sessions(&moment, &lock)?.into_iter().map(|session| session.id).collect();
                let mut query = moment.prepare_cached("SELECT id, closed FROM sessions")?;
                let all = query
                    .query_map([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, bool>(1)?)))?
                    .collect::<rusqlite::Result<Vec<_>>>()?;
                let gone: Vec<_> = all.into_iter().filter(|(id, _)| !live.contains(id)).collect();
                let died: Vec<u64> = gone.iter().filter(|(_, closed)| !closed).map(|(id, _)| *id).collect();
                let gone: Vec<u64> = gone.into_iter().map(|(id, _)| id).collect();
                let lost = lease::lost(&moment, &gone, max)?;
                let finished = if lost.is_empty() { gone } else { Vec::new() };
                Ok((lost, died, finished))
            })
            .await?;
        let is_news = !died.is_empty() || !finished.is_empty();
        if is_news && max > 0 {
            self.write(move |conn, known| {
                known.forget_sessions();
                lease::declare_dead(conn, &died)?;
                lease::forget_sessions(conn, &finished)
            })
            .await?;
        }
        Ok(lost)
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Leased>, Error> {
        let session = request.session;
        let asked = request.clone();
        // Looked for beside the writer, which then has to look at what was found alone.
        let seen = self
            .read(move |conn| {
                let is_open = conn
                    .prepare_cached(
                        "SELECT 1 FROM sessions WHERE id = ?1 AND generation = ?2 AND closed = 0",
                    )?
                    .exists(params![session.id as i64, session.generation as i64])?;
                Ok(if is_open { Some(lease::look(conn, &asked)?) } else { None })
            })
            .await?;
        let leased = match seen {
            None => None,
            Some(seen) if seen.is_empty() => return Ok(Vec::new()),
            Some(seen) => self.write(move |conn, known| lease::lease(conn, known, &request, &seen)).await?,
        };
        leased.ok_or_else(|| Error::NotFound(format!("session {}", session.id)))
    }

    async fn waiting(&self, request: LeaseRequest) -> Result<Option<Priority>, Error> {
        self.read(move |conn| Ok(lease::waiting(conn, &LeaseRequest { max: 1, ..request })?)).await
    }

    async fn due_timers(&self, now: Timestamp, max: usize) -> Result<Vec<DueTimer>, Error> {
        self.read(move |conn| queries::due_timers(conn, now, max)).await
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.read(move |conn| queries::next_due(conn, now)).await
    }

    async fn discard(&self, message: u64) -> Result<(), Error> {
        self.write(move |conn, _| batch::remove_message(conn, message)).await
    }

    async fn outbox(&self, max: usize) -> Result<Vec<Undelivered>, Error> {
        self.read(move |conn| queries::outbox(conn, max)).await
    }

    async fn run(&self, run: &RunId) -> Result<RunRow, Error> {
        let id = run.clone();
        let found = self.look(move |conn| queries::run(conn, &id)).await?;
        found.map(|(row, _)| row).ok_or_else(|| no_run(run))
    }

    async fn runs_with_prefix(&self, prefix: &str, max: usize) -> Result<Vec<RunId>, Error> {
        let prefix = prefix.to_owned();
        self.read(move |conn| queries::with_prefix(conn, &prefix, max)).await
    }

    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Paged<RunRow>, Error> {
        let (filter, page) = (filter.clone(), page.clone());
        self.read(move |conn| queries::runs(conn, &filter, &page)).await
    }

    async fn wait(&self, wait: &WaitId) -> Result<WaitRow, Error> {
        let id = wait.clone();
        let found = self.look(move |conn| queries::wait(conn, &id)).await?;
        found.ok_or_else(|| Error::NotFound(format!("question {wait}")))
    }

    async fn waits(&self, filter: &WaitFilter, page: &Page) -> Result<Paged<WaitRow>, Error> {
        let (filter, page) = (filter.clone(), page.clone());
        if filter.run.is_some() {
            return self.look(move |conn| queries::waits(conn, &filter, &page)).await;
        }
        self.read(move |conn| queries::waits(conn, &filter, &page)).await
    }

    async fn state(&self, key: &str) -> Result<Option<StateRow>, Error> {
        let key = key.to_owned();
        self.look(move |conn| Ok(queries::state(conn, &key)?)).await
    }

    async fn put_state(
        &self,
        key: &str,
        value: Value,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<StateRow, StateError> {
        let key = key.to_owned();
        let written = self
            .write(move |conn, _| {
                let current = queries::state(conn, &key)?.map_or(0, |row| row.version);
                if expected.is_some_and(|expected| expected != current) {
                    return Ok(Err(current));
                }
                let row = StateRow {
                    key: key.clone(),
                    value: value.clone(),
                    version: current + 1,
                    updated_at: now,
                };
                conn.prepare_cached(
                    "INSERT OR REPLACE INTO state (key, value, version, updated_at) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![
                    row.key,
                    row.value.to_string(),
                    row.version as i64,
                    now.0
                ])?;
                Ok(Ok(row))
            })
            .await?;
        written.map_err(|current| StateError::Conflict { current })
    }

    async fn delete_state(&self, key: &str, expected: Option<u64>) -> Result<bool, StateError> {
        let key = key.to_owned();
        let deleted = self
            .write(move |conn, _| {
                let current = queries::state(conn, &key)?.map_or(0, |row| row.version);
                if expected.is_some_and(|expected| expected != current) {
                    return Ok(Err(current));
                }
                Ok(Ok(conn.prepare_cached("DELETE FROM state WHERE key = ?1")?.execute([&key])? > 0))
            })
            .await?;
        deleted.map_err(|current| StateError::Conflict { current })
    }

    async fn states(&self, prefix: &str, page: &Page) -> Result<Paged<StateRow>, Error> {
        let (prefix, page) = (prefix.to_owned(), page.clone());
        self.read(move |conn| queries::states(conn, &prefix, &page)).await
    }

    async fn prune(&self, prune: &Prune) -> Result<Pruned, Error> {
        const AT_ONCE: i64 = 200;
        let old = Arc::new(prune::Old::of(prune, &prune.statuses()?));
        if prune.dry_run {
            return self.read(move |conn| Ok(old.counted(conn)?)).await;
        }
        if old.is_tree() {
            // Its definitions may be those of the next run, and are looked at with the next that are pruned by age.
            return self.write(move |conn, known| old.all(conn, known)).await;
        }
        let mut pruned = Pruned::default();
        for is_root in [false, true] {
            loop {
                let old = old.clone();
                // Some at a time, so that nobody has to wait for all of them.
                let gone = self.write(move |conn, known| old.some(conn, known, is_root, AT_ONCE)).await?;
                pruned.runs += gone.runs;
                pruned.bytes += gone.bytes;
                if gone.runs < AT_ONCE as u64 {
                    break;
                }
            }
        }
        if pruned.runs > 0 {
            self.write(|conn, _| prune::unused_definitions(conn)).await?;
        }
        Ok(pruned)
    }

    async fn backup(&self, file: &Path, replace: bool) -> Result<(), Error> {
        let (target, path) = (file.to_owned(), self.path.clone());
        self.read(move |conn| backup::to(conn, &path, &target, replace).map_err(ReadError::Invalid)).await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn others(&self) -> Result<Vec<String>, Error> {
        let lock = self.lock.clone();
        let own = self.sessions.lock().expect("no panic happens under this lock").clone();
        self.read(move |conn| {
            let live = sessions(conn, &lock)?;
            Ok(live.into_iter().filter(|session| !own.contains(&session.id)).map(|s| s.to_string()).collect())
        })
        .await
    }

    async fn label_session(&self, session: SessionRef, label: &str) -> Result<(), Error> {
        let label = label.to_owned();
        self.write(move |conn, _| {
            let (id, generation) = (session.id as i64, session.generation as i64);
            conn.prepare_cached("UPDATE sessions SET label = ?3 WHERE id = ?1 AND generation = ?2")?
                .execute(params![id, generation, label])?;
            Ok(())
        })
        .await
    }

    async fn holder(&self, session: u64) -> Result<Option<String>, Error> {
        let lock = self.lock.clone();
        self.read(move |conn| {
            let live = sessions(conn, &lock)?;
            Ok(live.into_iter().find(|live| live.id == session).map(|live| live.label))
        })
        .await
    }

    async fn close(&self) -> Result<(), Error> {
        self.readers.close();
        let (reply, closed) = oneshot::channel();
        if self.writer.queue().send(Request::Close(reply)).is_ok() {
            // A writer that has ended already has nothing left to finish.
            let _ended = closed.await;
        }
        self.watcher.stop();
        self.release_sessions();
        Ok(())
    }
}

impl SqliteStore {
    /// Gives up the sessions that nobody has closed: who could have used them is gone.
    fn release_sessions(&self) {
        for session in self.sessions.lock().expect("no panic happens under this lock").drain() {
            if let Err(error) = self.lock.release(session) {
                tracing::warn!(%error, "the lock of a session could not be released");
            }
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.readers.close();
        self.watcher.stop();
        self.release_sessions();
    }
}
