//! One mailbox per run: it drains the commands that wait, decides them in turn on one state in memory, and
//! sends one batch. So a fan-in of a thousand costs a handful of commits, and no batch is ever decided on a
//! state that never existed.
//!
//! A caller that goes away does not undo anything: draining is a task of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{CommandId, RunId, Seq};
use stepwell_core::run::Run;
use stepwell_core::run::command::{Command, Create};
use stepwell_core::status::RunStatus;
use stepwell_store::{CommitError, Committed, LeaseRef, Revision};
use tokio::sync::{oneshot, watch};

use crate::attempt::{Prepared, RunInfo};
use crate::error::{from_store, run_exists};
use crate::shared::Shared;
use crate::slots::Slot;
use crate::snapshots::{self, Kept};
use crate::turn::{compose, decide};

/// At most so many commands are decided into one batch.
const BATCH: usize = 1_024;

/// How often a batch that was decided on a stale state is decided again.
const MAX_TURNS: u32 = 1_000;

/// What came of a command that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Last event of the run after it.
    pub seq: Seq,
    /// How the run stands after it.
    pub status: RunStatus,
}

/// Why a command was not taken.
#[derive(Clone, Debug)]
pub(crate) enum Refused {
    /// It does not fit the run.
    Rejected(ErrorObject),
    /// Its lease does not stand any more.
    LeaseLost,
    /// The store failed; nothing happened.
    Store(ErrorObject),
}

impl Refused {
    pub(crate) fn into_error(self) -> ErrorObject {
        match self {
            Self::Rejected(error) | Self::Store(error) => error,
            Self::LeaseLost => {
                ErrorObject::new(Code::WORKFLOW_INVALID_STATE, "the lease of this attempt is gone")
            }
        }
    }
}

/// A command on its way through a mailbox.
pub(crate) struct Submission {
    /// Given from outside: kept with the run, so that a repetition returns the first outcome.
    pub(crate) id: Option<CommandId>,
    /// None: nothing but the delivery of a message to take note of.
    pub(crate) command: Option<Arc<Command>>,
    /// The lease it is made under.
    pub(crate) fence: Option<LeaseRef>,
    /// The message it carries out.
    pub(crate) delivered: Option<u64>,
    /// The worker's slot that becomes free with it.
    pub(crate) slot: Option<Slot>,
    /// For a new run: the top of its tree.
    pub(crate) root: Option<RunId>,
    pub(crate) reply: oneshot::Sender<Result<Receipt, Refused>>,
}

impl Submission {
    /// Returns a command with nothing special about it.
    pub(crate) fn of(
        command: impl Into<Arc<Command>>,
        reply: oneshot::Sender<Result<Receipt, Refused>>,
    ) -> Self {
        Self {
            id: None,
            command: Some(command.into()),
            fence: None,
            delivered: None,
            slot: None,
            root: None,
            reply,
        }
    }
}

/// The mailbox of a run.
pub(crate) struct Mailbox {
    pub(crate) run: RunId,
    queue: Mutex<Queue>,
    state: tokio::sync::Mutex<Option<Cached>>,
    seen: watch::Sender<Seq>,
    /// Moves only when the status does, so that who waits for the end is not woken by every step.
    status: watch::Sender<RunStatus>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Submission>,
    draining: bool,
}

/// A run in memory, as its last batch left it.
pub(crate) struct Cached {
    pub(crate) run: Run,
    /// The top of its tree.
    pub(crate) root: RunId,
    pub(crate) info: Arc<RunInfo>,
    pub(crate) revision: Revision,
    pub(crate) seq: Seq,
    snapshot: Arc<Mutex<Kept>>,
    pub(crate) exists: bool,
}

impl Mailbox {
    pub(crate) fn new(run: RunId) -> Arc<Self> {
        Arc::new(Self {
            run,
            queue: Mutex::default(),
            state: tokio::sync::Mutex::new(None),
            seen: watch::Sender::new(Seq(0)),
            status: watch::Sender::new(RunStatus::Pending),
        })
    }

    /// Returns a receiver that moves when events of the run were committed in this process.
    pub(crate) fn watch(&self) -> watch::Receiver<Seq> {
        self.seen.subscribe()
    }

    /// Returns a receiver that moves when this process saw the status of the run change.
    pub(crate) fn watch_status(&self) -> watch::Receiver<RunStatus> {
        self.status.subscribe()
    }

    /// Queues a command. Returns whether the caller must see to it that the queue is drained.
    #[must_use]
    pub(crate) fn push(&self, submission: Submission) -> bool {
        let mut queue = self.queue.lock().expect("no panic happens under this lock");
        queue.waiting.push_back(submission);
        !std::mem::replace(&mut queue.draining, true)
    }

    fn says(&self, receipt: Receipt) {
        // To tell nobody is not free. Who begins to follow looks at the store after that, and so sees what was committed here.
        self.seen.send_if_modified(|seen| {
            *seen = receipt.seq;
            self.seen.receiver_count() > 0
        });
        self.status.send_if_modified(|status| std::mem::replace(status, receipt.status) != receipt.status);
    }

    fn is_idle(&self) -> bool {
        let queue = self.queue.lock().expect("no panic happens under this lock");
        !queue.draining && queue.waiting.is_empty() && !self.is_followed()
    }

    fn take(&self) -> Vec<Submission> {
        let mut queue = self.queue.lock().expect("no panic happens under this lock");
        if queue.waiting.len() > BATCH {
            return queue.waiting.drain(..BATCH).collect();
        }
        queue.draining = !queue.waiting.is_empty();
        std::mem::take(&mut queue.waiting).into()
    }

    /// Decides and commits as long as commands wait. Returns an attempt that was handed over, for the worker that
    /// drains to go on with; whoever drains must see to it that it is carried out.
    pub(crate) async fn drain(self: Arc<Self>, shared: Arc<Shared>) -> Option<Box<Prepared>> {
        let mut next = None;
        let mut state = self.state.lock().await;
        loop {
            let waiting = self.take();
            if waiting.is_empty() {
                break;
            }
            // What was handed over does not wait for the commands of others.
            if let Some(earlier) = next.take() {
                shared.spawn_attempt(earlier);
            }
            next = self.turn(&shared, &mut state, waiting).await;
            if let Some(cached) = &*state {
                snapshots::keep_up(&shared, &cached.run, cached.seq, &cached.snapshot);
            }
        }
        let rests = state.as_ref().is_none_or(Cached::rests);
        // Who follows it looks at what it came to.
        let has_ended = |cached: &Cached| cached.exists && cached.run.status().is_terminal();
        if rests && !(self.is_followed() && state.as_ref().is_some_and(has_ended)) {
            *state = None;
        }
        let moving = state.as_ref().filter(|_| !rests);
        let bytes = moving.map_or(0, |cached| cached.run.size_bytes_hint());
        drop(state);
        shared.cache.note(&self.run, bytes);
        shared.forget_idle(&self, rests);
        next
    }

    /// Returns whether the run goes on in memory, or is being worked on.
    pub(crate) fn is_in_use(&self) -> bool {
        self.state.try_lock().map_or(true, |state| state.as_ref().is_some_and(|cached| !cached.rests()))
    }

    fn is_followed(&self) -> bool {
        self.seen.receiver_count() > 0 || self.status.receiver_count() > 0
    }

    /// Returns the run if it has ended and is in memory as it is at that revision.
    pub(crate) async fn ended(
        &self,
        revision: Revision,
    ) -> Option<tokio::sync::MappedMutexGuard<'_, Cached>> {
        let is_it = |cached: &Cached| cached.run.status().is_terminal() && cached.revision == revision;
        let state = self.state.lock().await;
        tokio::sync::MutexGuard::try_map(state, |state| state.as_mut().filter(|cached| is_it(cached))).ok()
    }

    /// Drops the run from memory; the next who needs it loads it.
    pub(crate) fn try_forget(&self) -> bool {
        if !self.is_idle() {
            return false;
        }
        match self.state.try_lock() {
            Ok(mut state) => {
                *state = None;
                true
            }
            Err(_) => false,
        }
    }

    /// Shows the run as it stands in memory, loaded first if it is not there.
    pub(crate) async fn with<T>(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        show: impl FnOnce(&mut Cached) -> T + Send,
    ) -> Result<T, ErrorObject> {
        let mut state = self.state.lock().await;
        let cached = self.loaded(shared, &mut state, None, None).await?;
        Ok(show(cached))
    }

    /// Drops the run from memory if another process has moved it on.
    pub(crate) async fn catch_up(&self, shared: &Arc<Shared>) {
        let mut state = self.state.lock().await;
        if let Some(cached) = &*state
            && cached.is_behind(shared).await
        {
            *state = None;
        }
    }

    async fn loaded<'c>(
        &self,
        shared: &Arc<Shared>,
        state: &'c mut Option<Cached>,
        create: Option<&Create>,
        root: Option<&RunId>,
    ) -> Result<&'c mut Cached, ErrorObject> {
        if state.is_none() {
            *state = Some(match create {
                Some(create) => {
                    let run = Run::blank(self.run.clone(), create.workflow.clone());
                    Cached {
                        info: Arc::new(RunInfo::of(&run)),
                        root: root.cloned().unwrap_or_else(|| self.run.clone()),
                        run,
                        revision: Revision::default(),
                        seq: Seq(0),
                        snapshot: Arc::default(),
                        exists: false,
                    }
                }
                None => shared.load(&self.run).await?,
            });
        }
        Ok(state.as_mut().expect("it was filled above"))
    }

    /// Decides what waits, commits it, and tells everybody. Decides again as long as the store says that the
    /// state was not the newest.
    async fn turn(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        state: &mut Option<Cached>,
        mut waiting: Vec<Submission>,
    ) -> Option<Box<Prepared>> {
        let mut was_lost = false;
        for _ in 0..MAX_TURNS {
            if waiting.is_empty() {
                return None;
            }
            let create = waiting.iter().find_map(|submission| match submission.command.as_deref() {
                Some(Command::Create(create)) => Some(&**create),
                _ => None,
            });
            let root = waiting.iter().find_map(|submission| submission.root.as_ref());
            // An attempt that began by a lease is known to the store first; a new epoch must know them all.
            if waiting
                .iter()
                .any(|submission| matches!(submission.command.as_deref(), Some(Command::Retry { .. })))
            {
                *state = None;
            }
            let cached = match self.loaded(shared, state, create, root).await {
                Ok(cached) => cached,
                Err(error) => {
                    refuse_all(waiting, &Refused::Store(error));
                    return None;
                }
            };
            let mut turn = decide(shared, cached, &waiting);
            if turn.is_empty() && waiting.iter().all(|s| s.delivered.is_none()) {
                // No commit says whether that was the newest state: "refused" and "nothing to do" must be true of
                // the run as it stands, not as this process left it.
                if cached.is_behind(shared).await {
                    *state = None;
                    continue;
                }
                let receipt = Receipt { seq: cached.seq, status: cached.run.status() };
                self.reply(shared, waiting, turn.results, receipt).await;
                return None;
            }
            let (batch, assigned, changes) = compose(shared, cached, &mut waiting, &mut turn);
            let speaks = !batch.outbox.is_empty();
            let id = batch.id;
            let on_their_way = if assigned.is_empty() { None } else { Some(shared.leasing.read().await) };
            match shared.store.commit(batch).await {
                Ok(committed) => {
                    self.committed(shared, cached, committed);
                    let receipt = Receipt { seq: committed.seq, status: cached.run.status() };
                    let begun = shared.arrange(&self.run, cached, &changes, assigned);
                    // What waits for a limit that an attempt has given back need not wait for news of the store.
                    if cached.info.takes_limits && waiting.iter().any(|submission| submission.fence.is_some())
                    {
                        shared.work.notify_one();
                    }
                    drop(on_their_way);
                    if speaks {
                        shared.message.notify_one();
                    }
                    self.reply(shared, waiting, turn.results, receipt).await;
                    return begun;
                }
                Err(error) => {
                    drop((assigned, on_their_way));
                    let status = cached.run.status();
                    *state = None;
                    match self.recover(shared, error, id, &mut waiting, &mut was_lost).await {
                        Recovery::Again => {}
                        Recovery::Committed(committed) => {
                            // The commit stands, but who was handed over to was not started: those leases are strays
                            // of this session and come back as lost. What else it arranged is looked for.
                            shared.strays.notify_one();
                            shared.look_again();
                            let receipt = Receipt { seq: committed.seq, status };
                            self.says(receipt);
                            self.reply(shared, waiting, turn.results, receipt).await;
                            return None;
                        }
                        Recovery::Failed(error) => {
                            refuse_all(waiting, &Refused::Store(error));
                            return None;
                        }
                    }
                }
            }
        }
        let message = format!("run {} is written by others faster than it can be decided", self.run);
        refuse_all(waiting, &Refused::Store(ErrorObject::new(Code::PERSISTENCE_TRANSACTION_FAILED, message)));
        None
    }

    fn committed(&self, shared: &Arc<Shared>, cached: &mut Cached, committed: Committed) {
        cached.revision = committed.revision;
        cached.seq = committed.seq;
        if !cached.exists {
            shared.definitions.know(cached.run.workflow().origin());
        }
        // A new run had nothing to tell yet, a retry may have replaced the input, and steps may have been added.
        let has_new_steps = !Arc::ptr_eq(&cached.info.workflow, cached.run.workflow());
        if !cached.exists || cached.info.epoch != cached.run.epoch() || has_new_steps {
            cached.info = Arc::new(RunInfo::of(&cached.run));
        }
        cached.exists = true;
        if cached.run.status().is_terminal() {
            shared.note_end(&self.run);
        }
        self.says(Receipt { seq: committed.seq, status: cached.run.status() });
        shared.store_recovered();
    }

    async fn recover(
        &self,
        shared: &Arc<Shared>,
        error: CommitError,
        batch: u64,
        waiting: &mut Vec<Submission>,
        was_lost: &mut bool,
    ) -> Recovery {
        match error {
            CommitError::Stale { .. } => Recovery::Again,
            CommitError::LeaseLost { execution, .. } => {
                refuse_some(waiting, &Refused::LeaseLost, |submission| {
                    submission.fence.as_ref().is_some_and(|lease| lease.execution == execution)
                });
                Recovery::Again
            }
            CommitError::SessionGone(_) => {
                shared.lose_session();
                Recovery::Again
            }
            CommitError::Repeated { id, seq, .. } => {
                let first = match shared.store.run(&self.run).await {
                    Ok(row) => Ok(Receipt { seq, status: row.state.status }),
                    Err(error) => Err(Refused::Store(from_store(&error))),
                };
                let (repeated, rest) = std::mem::take(waiting)
                    .into_iter()
                    .partition(|s: &Submission| s.id.as_ref() == Some(&id));
                *waiting = rest;
                for submission in repeated {
                    let _gone = submission.reply.send(first.clone());
                }
                Recovery::Again
            }
            CommitError::Exists(run) => {
                refuse_some(waiting, &Refused::Rejected(run_exists(&run, &[], &[])), |submission| {
                    matches!(submission.command.as_deref(), Some(Command::Create(_)))
                });
                Recovery::Again
            }
            CommitError::NotFound(run) => {
                Recovery::Failed(from_store(&stepwell_store::Error::NotFound(format!("run {run}"))))
            }
            CommitError::Store(error) => {
                let error = from_store(&error);
                shared.store_failed(&error);
                Recovery::Failed(error)
            }
            CommitError::Unknown(error) => {
                let found = self.resolve_unknown(shared, &error, batch).await;
                let is_lost_again = matches!(found, Recovery::Again) && std::mem::replace(was_lost, true);
                // A connection that broke is another one now. A store that loses the same commit again has failed.
                if is_lost_again {
                    let error = from_store(&error);
                    shared.store_failed(&error);
                    return Recovery::Failed(error);
                }
                found
            }
        }
    }

    /// Asks the store until it says whether a batch was committed. Nobody is told "conflict" for what in truth
    /// succeeded.
    async fn resolve_unknown(
        &self,
        shared: &Arc<Shared>,
        error: &stepwell_store::Error,
        batch: u64,
    ) -> Recovery {
        tracing::warn!(run = %self.run, %error, "the outcome of a commit is unknown, asking the store");
        let mut pause_ms = 1;
        loop {
            match shared.store.is_committed(&self.run, batch).await {
                Ok(Some(committed)) => return Recovery::Committed(committed),
                Ok(None) => return Recovery::Again,
                Err(error) if shared.shutdown.is_cancelled() => return Recovery::Failed(from_store(&error)),
                Err(_) => {
                    let at = shared.clock.now().plus_ms(pause_ms);
                    shared.clock.sleep_until(at).await;
                    pause_ms = (pause_ms * 2).min(1_000);
                }
            }
        }
    }

    async fn reply(
        &self,
        shared: &Arc<Shared>,
        waiting: Vec<Submission>,
        results: Vec<Option<Refused>>,
        receipt: Receipt,
    ) {
        for (submission, refused) in waiting.into_iter().zip(results) {
            let outcome = match refused {
                None => Ok(receipt),
                Some(refused) => {
                    let first = self.first_outcome(shared, submission.id.as_ref(), receipt.status).await;
                    first.and_then(|first| first.ok_or(refused))
                }
            };
            // A caller that has gone away does not matter: what was decided is committed.
            let _gone = submission.reply.send(outcome);
        }
    }

    /// A refused command may be the repetition of one that was taken.
    async fn first_outcome(
        &self,
        shared: &Arc<Shared>,
        id: Option<&CommandId>,
        status: RunStatus,
    ) -> Result<Option<Receipt>, Refused> {
        let Some(id) = id else { return Ok(None) };
        let found = shared.store.command_outcome(&self.run, id).await;
        let seq = found.map_err(|error| Refused::Store(from_store(&error)))?;
        Ok(seq.map(|seq| Receipt { seq, status }))
    }
}

enum Recovery {
    Again,
    Committed(Committed),
    Failed(ErrorObject),
}

fn refuse_all(waiting: Vec<Submission>, why: &Refused) {
    for submission in waiting {
        let _gone = submission.reply.send(Err(why.clone()));
    }
}

fn refuse_some(waiting: &mut Vec<Submission>, why: &Refused, which: impl Fn(&Submission) -> bool) {
    let (refused, rest) = std::mem::take(waiting).into_iter().partition(|submission| which(submission));
    *waiting = rest;
    refuse_all(refused, why);
}

impl Cached {
    /// Returns whether nothing of it goes on: it has ended, or waits for people.
    fn rests(&self) -> bool {
        !self.exists || self.run.status().is_terminal() || self.run.status() == RunStatus::Paused
    }

    /// Returns whether the store has a newer revision. A store that cannot say is asked again by whoever loads.
    async fn is_behind(&self, shared: &Arc<Shared>) -> bool {
        self.exists && shared.store.run(self.run.id()).await.map_or(true, |row| row.revision != self.revision)
    }

    pub(crate) fn new(run: Run, root: RunId, revision: Revision, seq: Seq, kept: Kept) -> Self {
        let snapshot = Arc::new(Mutex::new(kept));
        Self { info: Arc::new(RunInfo::of(&run)), run, root, revision, seq, snapshot, exists: true }
    }
}
