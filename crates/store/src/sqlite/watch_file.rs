//! The second thread of a store: it checkpoints, notices what other processes write, and who they are.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::watch;

use super::lock::{CHECKPOINTER, LockFile};
use super::place::Place;
use super::writer::{Queue, Request};
use super::{Neighbours, SqliteOptions, connect, errors, sessions};
use crate::error::Error;

/// While something happens the file is looked at so often, else more rarely.
const BUSY: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_millis(250);

/// After so many new pages the log is copied into the database, beside the writer; then the writer copies the little
/// that has come since, between two groups, and begins the log anew. To write over a log costs less than to let it
/// grow: the length of the file need not be synced.
const CHECKPOINT_PAGES: i64 = 3_000;

/// A log that has outgrown this is checkpointed by whoever sees it, and cut.
const CAP_PAGES: i64 = 32_000;

/// How often the other sessions are counted.
const LOOK: Duration = Duration::from_millis(500);

/// The handle to the thread; dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Watcher {
    thread: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Watcher {
    pub(super) fn spawn(
        place: &Arc<Place>,
        options: &SqliteOptions,
        lock: &Arc<LockFile>,
        changes: &Arc<watch::Sender<u64>>,
        neighbours: Arc<Neighbours>,
        writer: Queue,
    ) -> Result<Self, Error> {
        let (stop, stopped) = channel();
        let path = place.database();
        let conn = connect(path, options)?;
        conn.busy_timeout(Duration::from_millis(100)).map_err(|error| errors::read(path, &error))?;
        let thread = Thread {
            conn,
            place: place.clone(),
            neighbours,
            lock: lock.clone(),
            changes: changes.clone(),
            writer,
            is_elected: false,
        };
        let handle = std::thread::Builder::new()
            .name("stepwell-watcher".into())
            .spawn(move || thread.run(&stopped))
            .map_err(|error| errors::io("opening", path, &error))?;
        Ok(Self { thread: Mutex::new(Some((stop, handle))) })
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(&self) {
        let running = self.thread.lock().expect("no panic happens under this lock").take();
        if let Some((stop, handle)) = running {
            drop(stop);
            if handle.join().is_err() {
                tracing::error!("the watcher of a store has panicked");
            }
        }
    }
}

struct Thread {
    conn: Connection,
    place: Arc<Place>,
    neighbours: Arc<Neighbours>,
    lock: Arc<LockFile>,
    changes: Arc<watch::Sender<u64>>,
    writer: Queue,
    /// This is the one that checkpoints.
    is_elected: bool,
}

impl Thread {
    fn run(mut self, stopped: &Receiver<()>) {
        let mut version = 0;
        let mut moved = Instant::now();
        let mut looked: Option<Instant> = None;
        loop {
            if let Ok(now) = self.conn.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0))
                && now != version
            {
                version = now;
                moved = Instant::now();
                self.changes.send_modify(|count| *count += 1);
            }
            if looked.is_none_or(|at| at.elapsed() > LOOK) {
                looked = Some(Instant::now());
                self.is_elected = self.is_elected || self.lock.try_hold(CHECKPOINTER).unwrap_or(false);
                self.look_for_others();
                // Whoever waits for news hears of it when it asks.
                if self.place.check().is_err() {
                    self.changes.send_modify(|count| *count += 1);
                }
            }
            if let Err(error) = self.checkpoint() {
                tracing::debug!(%error, "a checkpoint has to wait");
            }
            let pause = if moved.elapsed() < Duration::from_secs(2) { BUSY } else { IDLE };
            if !matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout)) {
                break;
            }
        }
        if self.is_elected
            && let Err(error) = self.lock.release(CHECKPOINTER)
        {
            tracing::warn!(%error, "the lock of the checkpointer could not be released");
        }
    }

    fn checkpoint(&self) -> rusqlite::Result<()> {
        let (_, pages, copied) = self.pragma("NOOP")?;
        if pages > CAP_PAGES {
            self.pragma("PASSIVE")?;
            return self.pragma("TRUNCATE").map(|_| ());
        }
        if !self.is_elected || pages - copied < CHECKPOINT_PAGES {
            return Ok(());
        }
        self.pragma("PASSIVE")?;
        // A writer that has ended needs none.
        let _ended = self.writer.send(Request::Restart);
        Ok(())
    }

    /// Returns whether it was blocked, how many pages the log has, and how many of them are copied.
    fn pragma(&self, mode: &str) -> rusqlite::Result<(i64, i64, i64)> {
        let mut query = self.conn.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
        query.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    }

    fn look_for_others(&self) {
        let own = std::process::id();
        let others: Vec<String> = match sessions(&self.conn, &self.lock) {
            Ok(sessions) => sessions.into_iter().filter(|s| s.pid != own).map(|s| s.to_string()).collect(),
            Err(error) => {
                tracing::debug!(%error, path = %self.place.database().display(), "the sessions could not be read");
                return;
            }
        };
        self.neighbours.set(others);
    }
}
