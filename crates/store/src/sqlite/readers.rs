//! Threads that read beside the writer, each on a connection of its own while it reads. They are begun when they are needed, a few at most: a read
//! takes microseconds, so more of them would be no faster, and each keeps memory for its stack and its pages.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use rusqlite::Connection;

use super::SqliteOptions;
use super::errors;
use super::open::connect_reader;
use crate::error::Error;

/// So many at once.
const AT_MOST: usize = 4;

/// What a reader does: it reads, or hears why it cannot. What it returns tells whoever waits, once the connection is idle again:
/// a store that is closed after the answer has none open.
pub(super) type Reading = Box<dyn FnOnce(Result<&Connection, Error>) -> Tell + Send>;
pub(super) type Tell = Box<dyn FnOnce() + Send>;

/// The handle to those who read. They end when it is closed, or dropped.
pub(super) struct Readers {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    options: SqliteOptions,
    state: Mutex<State>,
    /// Something waits to be read, or it is over.
    called: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Reading>,
    /// Open, and not in use.
    connections: Vec<Connection>,
    /// Threads that wait for something to read.
    idle: usize,
    threads: usize,
    is_closed: bool,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("threads", &self.shared.state().threads).finish_non_exhaustive()
    }
}

impl Readers {
    pub(super) fn new(path: PathBuf, options: SqliteOptions) -> Self {
        Self { shared: Arc::new(Shared { path, options, state: Mutex::default(), called: Condvar::new() }) }
    }

    pub(super) fn check_open(&self) -> Result<(), Error> {
        if self.shared.state().is_closed { Err(errors::closed()) } else { Ok(()) }
    }

    /// Has something read, after what waits already.
    pub(super) fn read(&self, reading: Reading) -> Result<(), Error> {
        let mut state = self.shared.state();
        if state.is_closed {
            return Err(errors::closed());
        }
        state.waiting.push_back(reading);
        if state.waiting.len() > state.idle && state.threads < AT_MOST {
            let shared = self.shared.clone();
            let begun =
                std::thread::Builder::new().name("stepwell-reader".into()).spawn(move || shared.read_all());
            match begun {
                Ok(_) => state.threads += 1,
                // The others come to it.
                Err(_) if state.threads > 0 => {}
                Err(error) => {
                    state.waiting.pop_back();
                    return Err(errors::io("beginning to read", &self.shared.path, &error));
                }
            }
        }
        drop(state);
        self.shared.called.notify_one();
        Ok(())
    }

    /// Returns a connection that nobody uses, if there is one and nothing waits for it.
    pub(super) fn idle(&self) -> Option<Connection> {
        let mut state = self.shared.state();
        if state.waiting.is_empty() { state.connections.pop() } else { None }
    }

    /// Takes a connection back.
    pub(super) fn put_back(&self, conn: Connection) {
        self.shared.put_back(conn);
    }

    /// Lets nothing more be read; what waits is refused, and reads under way come to their end.
    pub(super) fn close(&self) {
        let mut state = self.shared.state();
        state.is_closed = true;
        let refused = std::mem::take(&mut state.waiting);
        state.connections.clear();
        drop(state);
        self.shared.called.notify_all();
        for reading in refused {
            reading(Err(errors::closed()))();
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }

    fn read_all(&self) {
        while let Some((reading, idle)) = self.next() {
            let opened = match idle {
                Some(conn) => Ok(conn),
                None => connect_reader(&self.path, &self.options),
            };
            let conn = match opened {
                Ok(conn) => conn,
                Err(error) => {
                    reading(Err(error))();
                    continue;
                }
            };
            // Whoever waits hears of a panic by the answer that never comes.
            let ended = catch_unwind(AssertUnwindSafe(|| reading(Ok(&conn))));
            let Ok(tell) = ended else { continue };
            self.put_back(conn);
            tell();
        }
    }

    fn put_back(&self, conn: Connection) {
        let mut state = self.state();
        if !state.is_closed && state.connections.len() < AT_MOST {
            state.connections.push(conn);
        }
    }

    /// Waits for something to read; brings an idle connection with it if there is one.
    fn next(&self) -> Option<(Reading, Option<Connection>)> {
        let mut state = self.state();
        loop {
            if let Some(reading) = state.waiting.pop_front() {
                return Some((reading, state.connections.pop()));
            }
            if state.is_closed {
                return None;
            }
            state.idle += 1;
            state = self.called.wait(state).expect("no panic happens under this lock");
            state.idle -= 1;
        }
    }
}
