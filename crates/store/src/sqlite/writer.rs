//! Who writes, and when. Requests that wait, from all runs, go into one transaction, and are answered when that
//! transaction is on disk. No time is spent waiting for more; while one group is being synced the next one gathers.
//!
//! That is the work of a thread. A caller who is alone carries its batch out itself: two changes of threads, to the
//! writer and back, cost a sequential run about half as much again as its commit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{oneshot, watch};

use super::place::Place;
use super::transaction::{Job, Part, WriteConnection};
use super::{Neighbours, SqliteOptions, errors};
use crate::error::{CommitError, Error};
use crate::model::{Batch, Committed};

/// At most so many requests share a transaction.
const GROUP: usize = 1_024;

/// How long the writer yields after a group while another process has the store open.
const YIELD: Duration = Duration::from_micros(200);

/// After a lone request the next one is looked for so long before the thread sleeps: a sequential run sends it as soon
/// as it has heard of the last, and waking a thread costs a good part of a commit.
const SPIN: Duration = Duration::from_micros(50);

/// A caller's thread may be held up for so long. Where a disk needs longer, changing threads matters little.
const HOLD_UP: Duration = Duration::from_millis(2);

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

/// Where requests wait for the thread.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    requests: Sender<Request>,
    /// How many were sent and not yet taken by one who has the pen.
    queued: Arc<AtomicUsize>,
}

impl Queue {
    /// Queues a request. Fails once the store is closed.
    pub(super) fn send(&self, request: Request) -> Result<(), Error> {
        self.queued.fetch_add(1, Ordering::SeqCst);
        self.requests.send(request).map_err(|_| errors::closed())
    }
}

/// What whoever writes must have; gone once the store is closed.
type Pen = Arc<Mutex<Option<Writing>>>;

/// The connection and how it went lately.
struct Writing {
    conn: WriteConnection,
    /// The last transaction carried out one request.
    was_lone: bool,
    /// How long transactions took lately.
    pace: Duration,
}

impl Writing {
    /// Takes note of a transaction.
    fn note(&mut self, requests: usize, took: Duration) {
        self.was_lone = requests == 1;
        self.pace = (self.pace * 7 + took) / 8;
    }

    /// Returns whether the next caller may expect to be alone, and soon done.
    fn is_calm(&self) -> bool {
        self.was_lone && self.pace < HOLD_UP && !self.conn.has_neighbours()
    }
}

/// The handle to whoever writes.
pub(super) struct Writer {
    queue: Queue,
    pen: Pen,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn spawn(
        place: Arc<Place>,
        options: SqliteOptions,
        conn: Connection,
        changes: Arc<watch::Sender<u64>>,
        neighbours: Arc<Neighbours>,
    ) -> std::io::Result<Self> {
        let (requests, received) = channel();
        let conn = WriteConnection::new(place, options, conn, changes, neighbours);
        let writing = Writing { conn, was_lone: false, pace: Duration::ZERO };
        let pen: Pen = Arc::new(Mutex::new(Some(writing)));
        let queue = Queue { requests, queued: Arc::default() };
        let (held, queued) = (pen.clone(), queue.queued.clone());
        std::thread::Builder::new()
            .name("stepwell-writer".into())
            .spawn(move || run(&held, &received, &queued))?;
        Ok(Self { queue, pen })
    }

    /// Returns where requests wait.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Commits a batch.
    pub(super) async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        let (reply, answer) = oneshot::channel();
        if let Some(Part::Batch(batch, reply, _)) = self.carry_out(Part::Batch(Box::new(batch), reply, None))
        {
            self.queue.send(Request::Commit(batch, reply)).map_err(CommitError::Store)?;
        }
        answer.await.unwrap_or_else(|_| Err(CommitError::Unknown(errors::closed())))
    }

    /// Carries a request out on the thread of the caller if nobody else writes or waits; else returns it.
    fn carry_out(&self, part: Part) -> Option<Part> {
        let is_free = self.queue.queued.load(Ordering::SeqCst) == 0 && may_hold_up();
        let Some(mut pen) = is_free.then(|| self.pen.try_lock().ok()).flatten() else { return Some(part) };
        let Some(writing) = pen.as_mut().filter(|writing| writing.is_calm()) else { return Some(part) };
        let began = Instant::now();
        let back = writing.conn.alone(part);
        writing.note(1, began.elapsed());
        back
    }
}

/// Returns whether this thread may be held up for a moment: other threads carry the tasks of its runtime meanwhile.
pub(super) fn may_hold_up() -> bool {
    Handle::try_current().is_ok_and(|runtime| {
        runtime.runtime_flavor() == RuntimeFlavor::MultiThread && runtime.metrics().num_workers() > 1
    })
}

/// The thread: carries out what waits, in groups.
fn run(pen: &Pen, requests: &Receiver<Request>, queued: &AtomicUsize) {
    let mut was_lone = false;
    while let Some(first) = next(requests, was_lone) {
        let mut held = pen.lock().expect("a panic while writing ends the store");
        let Some(writing) = held.as_mut() else { return };
        let mut parts = Vec::new();
        let mut closing = None;
        let mut is_restart = false;
        let mut next = Some(first);
        while let Some(request) = next.take() {
            queued.fetch_sub(1, Ordering::SeqCst);
            match request {
                Request::Commit(batch, reply) => parts.push(Part::Batch(batch, reply, None)),
                Request::Job(job) => parts.push(Part::Job(job)),
                Request::Restart => is_restart = true,
                Request::Tear { is_carried_out } => writing.conn.tear(is_carried_out),
                Request::Close(reply) => {
                    closing = Some(reply);
                    break;
                }
            }
            if parts.len() < GROUP {
                next = requests.try_recv().ok();
            }
        }
        if !parts.is_empty() {
            let (count, began) = (parts.len(), Instant::now());
            writing.conn.group(parts);
            writing.note(count, began.elapsed());
        }
        if let Some(reply) = closing {
            *held = None;
            drop(held);
            refuse_rest(requests);
            let _gone = reply.send(());
            return;
        }
        if is_restart {
            writing.conn.restart_log();
        }
        was_lone = writing.was_lone;
        let yields = writing.conn.has_neighbours();
        drop(held);
        if yields {
            std::thread::sleep(YIELD);
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
