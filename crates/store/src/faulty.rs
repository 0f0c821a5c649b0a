//! A store that fails, delays and tears, by a seeded plan or on request: for simulations.
//!
//! Nothing is invented: a fault is something the store below could have done. A call fails before it had an effect,
//! or after; a commit ends `Unknown`, carried out or not; a call takes long; a wake-up is lost; the process that calls
//! stands still, for a while or for ever.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
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

/// How often what goes wrong, in calls of a thousand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Where the dice begin; the same seed and calls give the same faults.
    pub seed: u64,
    /// A read or write fails and has had no effect.
    pub refused: u32,
    /// A commit ends `Unknown`, a write fails, and it was not carried out.
    pub torn_before: u32,
    /// A commit ends `Unknown`, a write fails, and it was carried out.
    pub torn_after: u32,
    /// A call takes up to `delay` longer.
    pub delayed: u32,
    /// The longest delay.
    pub delay: Duration,
    /// A wake-up is lost.
    pub deaf: u32,
}

impl Faults {
    /// Returns a plan with some of everything.
    pub fn some(seed: u64) -> Self {
        Self {
            seed,
            refused: 30,
            torn_before: 30,
            torn_after: 30,
            delayed: 100,
            delay: Duration::from_millis(50),
            deaf: 200,
        }
    }
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and has no effect.
    Refused,
    /// It has no effect, and its caller cannot know.
    TornBefore,
    /// It is carried out, and its caller cannot know.
    TornAfter,
}

/// A store with faults over another one.
#[derive(Clone, Debug)]
pub struct FaultyStore {
    below: Arc<dyn Store>,
    dice: Arc<Mutex<Dice>>,
    stopped: Arc<watch::Sender<bool>>,
}

#[derive(Debug)]
struct Dice {
    faults: Faults,
    state: u64,
    /// Faults of the next commits, before the plan has its turn.
    ordered: VecDeque<Fault>,
    thrown: u64,
}

impl Dice {
    /// Returns the next number (splitmix64).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn hits(&mut self, of_thousand: u32) -> bool {
        of_thousand > 0 && self.next() % 1_000 < u64::from(of_thousand)
    }

    fn fault(&mut self, is_write: bool) -> Option<Fault> {
        let plan = [
            (self.faults.refused, Fault::Refused),
            (if is_write { self.faults.torn_before } else { 0 }, Fault::TornBefore),
            (if is_write { self.faults.torn_after } else { 0 }, Fault::TornAfter),
        ];
        let fault = plan.into_iter().find_map(|(often, fault)| self.hits(often).then_some(fault));
        self.thrown += u64::from(fault.is_some());
        fault
    }

    fn delay(&mut self) -> Option<Duration> {
        if !self.hits(self.faults.delayed) {
            return None;
        }
        let longest = u64::try_from(self.faults.delay.as_micros()).unwrap_or(u64::MAX);
        Some(Duration::from_micros(self.next() % longest.max(1)))
    }
}

fn failure(what: &str) -> Error {
    Error::Unavailable { what: what.to_owned(), source: "a fault of the test".into() }
}

impl FaultyStore {
    /// Puts faults over a store.
    pub fn new(below: Arc<dyn Store>, faults: Faults) -> Self {
        let state = faults.seed;
        Self {
            below,
            dice: Arc::new(Mutex::new(Dice { faults, state, ordered: VecDeque::new(), thrown: 0 })),
            stopped: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Lets nothing go wrong from now on.
    pub fn heal(&self) {
        self.suffer(Faults::default());
    }

    /// Lets other things go wrong from now on. The dice go on where they are.
    pub fn suffer(&self, faults: Faults) {
        self.with(|dice| {
            dice.faults = faults;
            dice.ordered.clear();
        });
    }

    /// Orders what happens to the next commit that has no order yet.
    pub fn order(&self, fault: Fault) {
        self.with(|dice| dice.ordered.push_back(fault));
    }

    /// Counts the faults so far, delays and lost wake-ups aside.
    pub fn thrown(&self) -> u64 {
        self.with(|dice| dice.thrown)
    }

    /// Lets its process stand still: no call gets through in either direction, no wake-up comes. Without
    /// [`FaultyStore::go_on`] that is what the store sees of a process that was killed.
    pub fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Lets the process go on where it stood.
    pub fn go_on(&self) {
        self.stopped.send_replace(false);
    }

    /// Waits as long as its process stands still.
    pub async fn moves(&self) {
        let mut stopped = self.stopped.subscribe();
        // It cannot close: this store holds its sender.
        let _stopped = stopped.wait_for(|stopped| !stopped).await;
    }

    fn with<T>(&self, act: impl FnOnce(&mut Dice) -> T) -> T {
        act(&mut self.dice.lock().expect("no panic happens under this lock"))
    }

    async fn take_time(&self) {
        if let Some(delay) = self.with(Dice::delay) {
            tokio::time::sleep(delay).await;
        }
        self.moves().await;
    }

    async fn read<T>(&self, what: &str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.take_time().await;
        let answer = match self.with(|dice| dice.fault(false)) {
            Some(_) => Err(failure(what)),
            None => call.await,
        };
        self.moves().await;
        answer
    }

    async fn write<T, E: From<Error>>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.take_time().await;
        let answer = match self.with(|dice| dice.fault(true)) {
            None => call.await,
            Some(Fault::Refused | Fault::TornBefore) => Err(failure(what).into()),
            Some(Fault::TornAfter) => call.await.and_then(|_| Err(failure(what).into())),
        };
        self.moves().await;
        answer
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        self.take_time().await;
        let ordered = self.with(|dice| dice.ordered.pop_front());
        let answer = match ordered.or_else(|| self.with(|dice| dice.fault(true))) {
            None => self.below.commit(batch).await,
            Some(Fault::Refused) => Err(CommitError::Store(failure("committing"))),
            Some(Fault::TornBefore) => Err(CommitError::Unknown(failure("committing"))),
            Some(Fault::TornAfter) => {
                let committed = self.below.commit(batch).await;
                committed.and_then(|_| Err(CommitError::Unknown(failure("committing"))))
            }
        };
        self.moves().await;
        answer
    }

    async fn is_committed(&self, run: &RunId, batch: u64) -> Result<Option<Committed>, Error> {
        self.read("looking for a batch", self.below.is_committed(run, batch)).await
    }

    async fn command_outcome(&self, run: &RunId, command: &CommandId) -> Result<Option<Seq>, Error> {
        self.read("looking for a command", self.below.command_outcome(run, command)).await
    }

    async fn append_lazy(&self, events: Vec<LazyEvent>) -> Result<(), Error> {
        self.write("appending", self.below.append_lazy(events)).await
    }

    async fn load(&self, run: &RunId) -> Result<LoadedRun, Error> {
        self.read("loading", self.below.load(run)).await
    }

    async fn events(&self, run: &RunId, after: Seq, limit: usize) -> Result<Vec<Recorded>, Error> {
        self.read("reading a journal", self.below.events(run, after, limit)).await
    }

    async fn put_snapshot(&self, run: &RunId, seq: Seq, snapshot: Vec<u8>) -> Result<(), Error> {
        self.write("writing a snapshot", self.below.put_snapshot(run, seq, snapshot)).await
    }

    async fn definition(&self, digest: &str) -> Result<Arc<str>, Error> {
        self.read("reading a definition", self.below.definition(digest)).await
    }

    async fn newest_definition(
        &self,
        workflow: &str,
        version: Option<&str>,
    ) -> Result<Option<Arc<str>>, Error> {
        self.read("reading a definition", self.below.newest_definition(workflow, version)).await
    }

    async fn open_session(&self, label: &str, now: Timestamp) -> Result<SessionRef, Error> {
        self.write("opening a session", self.below.open_session(label, now)).await
    }

    async fn renew_session(
        &self,
        session: SessionRef,
        held: Vec<(RunId, LeaseRef)>,
        now: Timestamp,
    ) -> Result<Renewal, Error> {
        self.write("renewing a session", self.below.renew_session(session, held, now)).await
    }

    async fn close_session(&self, session: SessionRef) -> Result<(), Error> {
        self.write("closing a session", self.below.close_session(session)).await
    }

    async fn lost_leases(&self, now: Timestamp, max: usize) -> Result<Vec<LostLease>, Error> {
        self.read("looking for lost leases", self.below.lost_leases(now, max)).await
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Leased>, Error> {
        self.write("leasing", self.below.lease(request)).await
    }

    async fn waiting(&self, request: LeaseRequest) -> Result<Option<Priority>, Error> {
        self.read("looking for work", self.below.waiting(request)).await
    }

    async fn due_timers(&self, now: Timestamp, max: usize) -> Result<Vec<DueTimer>, Error> {
        self.read("reading timers", self.below.due_timers(now, max)).await
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.read("reading timers", self.below.next_due(now)).await
    }

    async fn discard(&self, message: u64) -> Result<(), Error> {
        self.write("discarding a message", self.below.discard(message)).await
    }

    async fn outbox(&self, max: usize) -> Result<Vec<Undelivered>, Error> {
        self.read("reading the outbox", self.below.outbox(max)).await
    }

    async fn run(&self, run: &RunId) -> Result<RunRow, Error> {
        self.read("reading a run", self.below.run(run)).await
    }

    async fn runs_with_prefix(&self, prefix: &str, max: usize) -> Result<Vec<RunId>, Error> {
        self.read("looking for runs", self.below.runs_with_prefix(prefix, max)).await
    }

    async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<Paged<RunRow>, Error> {
        self.read("listing runs", self.below.runs(filter, page)).await
    }

    async fn wait(&self, wait: &WaitId) -> Result<WaitRow, Error> {
        self.read("reading a question", self.below.wait(wait)).await
    }

    async fn waits(&self, filter: &WaitFilter, page: &Page) -> Result<Paged<WaitRow>, Error> {
        self.read("listing questions", self.below.waits(filter, page)).await
    }

    async fn state(&self, key: &str) -> Result<Option<StateRow>, Error> {
        self.read("reading state", self.below.state(key)).await
    }

    async fn put_state(
        &self,
        key: &str,
        value: Value,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<StateRow, StateError> {
        self.write("writing state", self.below.put_state(key, value, expected, now)).await
    }

    async fn delete_state(&self, key: &str, expected: Option<u64>) -> Result<bool, StateError> {
        self.write("deleting state", self.below.delete_state(key, expected)).await
    }

    async fn states(&self, prefix: &str, page: &Page) -> Result<Paged<StateRow>, Error> {
        self.read("listing state", self.below.states(prefix, page)).await
    }

    async fn prune(&self, prune: &Prune) -> Result<Pruned, Error> {
        self.write("pruning", self.below.prune(prune)).await
    }

    async fn backup(&self, file: &Path, replace: bool) -> Result<(), Error> {
        self.write("backing up", self.below.backup(file, replace)).await
    }

    /// Forwards the counter of the store below, but for the wake-ups that are lost. Without a runtime none is.
    fn changes(&self) -> watch::Receiver<u64> {
        let mut below = self.below.changes();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return below };
        let (counter, forwarded) = watch::channel(*below.borrow_and_update());
        let faulty = self.clone();
        runtime.spawn(async move {
            loop {
                tokio::select! {
                    changed = below.changed() => if changed.is_err() { return },
                    () = counter.closed() => return,
                }
                faulty.moves().await;
                let count = *below.borrow_and_update();
                if !faulty.with(|dice| dice.hits(dice.faults.deaf)) {
                    counter.send_replace(count);
                }
            }
        });
        forwarded
    }

    async fn others(&self) -> Result<Vec<String>, Error> {
        self.read("looking for others", self.below.others()).await
    }

    async fn label_session(&self, session: SessionRef, label: &str) -> Result<(), Error> {
        self.write("labelling a session", self.below.label_session(session, label)).await
    }

    async fn holder(&self, session: u64) -> Result<Option<String>, Error> {
        self.read("looking for a session", self.below.holder(session)).await
    }

    async fn close(&self) -> Result<(), Error> {
        self.below.close().await
    }
}
