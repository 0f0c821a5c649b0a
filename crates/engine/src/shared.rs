//! What the parts of an engine share: the store, the mailboxes, who holds what, and how a command gets to its run.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use foldhash::{HashMap, HashSet};
use futures_util::StreamExt;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{CommandId, ExecutionRef, RunId};
use stepwell_core::run::command::Command;
use stepwell_core::run::{Changes, Work};
use stepwell_core::workflow::Workflow;
use stepwell_store::{LeaseRef, Leased, Purpose, SessionRef, Store, Trees};
use tokio::sync::{Notify, RwLock, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::{self, Assignment, Prepared};
use crate::cache::Cache;
use crate::clock::Clock;
use crate::definitions::Definitions;
use crate::engine::{Leases, Options};
use crate::error::{from_store, shutting_down};
use crate::handlers::Handlers;
use crate::held::{Held, Hold, UnderWay};
use crate::lazy::Lazy;
use crate::mailbox::{Cached, Mailbox, Receipt, Refused, Submission};
use crate::params::Templates;
use crate::pool::Pool;
use crate::provider::{Provider, Registry};
use crate::slots::{Slot, Slots};
use crate::snapshots::{self, Snapshots};

/// What the parts of an engine share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) handlers: Handlers,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) slots: Slots,
    pub(crate) pool: Arc<Pool>,
    pub(crate) held: Held,
    /// Read by whoever brings leases from the store to `held`, written by whoever compares the two.
    pub(crate) leasing: RwLock<()>,
    pub(crate) lazy: Lazy,
    pub(crate) cache: Cache,
    pub(crate) templates: Templates,
    pub(crate) snapshots: Snapshots,
    /// There may be something to lease.
    pub(crate) work: Notify,
    /// A timer was set.
    pub(crate) timer: Notify,
    /// A message was written.
    pub(crate) message: Notify,
    /// Leases of ours may stand without an attempt.
    pub(crate) strays: Notify,
    /// Nothing new is begun.
    pub(crate) shutdown: CancellationToken,
    /// Nothing goes on.
    pub(crate) abort: CancellationToken,
    /// Nothing has gone on: this engine moves no run any more.
    pub(crate) closed: CancellationToken,
    pub(crate) tracker: TaskTracker,
    /// The tasks of the runtime that it was opened in are no more.
    runtime_has_ended: AtomicBool,
    pub(crate) session: OnceLock<SessionRef>,
    /// Those of its own runs, whose work it takes.
    trees: Trees,
    /// So many want the work of all runs to be taken.
    pub(crate) serving: AtomicUsize,
    /// It was declared dead: nothing is handed over to it any more.
    session_gone: AtomicBool,
    mailboxes: Mutex<Mailboxes>,
    pub(crate) definitions: Definitions,
    pub(crate) fault: watch::Sender<Option<ErrorObject>>,
}

/// Takes note, by being dropped, that the runtime of an engine has ended.
struct NotesEnd(Arc<Shared>);

impl Drop for NotesEnd {
    fn drop(&mut self) {
        self.0.runtime_has_ended.store(!self.0.closed.is_cancelled(), Ordering::Release);
    }
}

#[derive(Default)]
struct Mailboxes {
    by_run: HashMap<RunId, Arc<Mailbox>>,
    /// Runs that were still in somebody's hands when they came to rest, each once.
    resting: VecDeque<RunId>,
    listed: HashSet<RunId>,
}

impl Mailboxes {
    /// Lets a run go if nobody but the map and so many others have it in their hands. Returns false if it is to be tried
    /// again.
    fn let_go(&mut self, run: &RunId, others: usize) -> bool {
        let Some(mailbox) = self.by_run.get(run) else { return true };
        // Whoever else holds it is about to use it.
        if Arc::strong_count(mailbox) > 1 + others || !mailbox.try_forget() {
            return false;
        }
        self.by_run.remove(run);
        true
    }

    fn try_again_later(&mut self, run: &RunId) {
        if self.listed.insert(run.clone()) {
            self.resting.push_back(run.clone());
        }
    }

    /// Tries again to let runs go that rest.
    fn try_again(&mut self) {
        /// So many at a time: most are gone at the first try, some are followed for hours.
        const AT_ONCE: usize = 4;
        for _ in 0..AT_ONCE.min(self.resting.len()) {
            let Some(run) = self.resting.pop_front() else { return };
            self.listed.remove(&run);
            // What goes on again is let go when it rests again.
            let rests = self.by_run.get(&run).is_some_and(|mailbox| !mailbox.is_in_use());
            if rests && !self.let_go(&run, 0) {
                self.try_again_later(&run);
            }
        }
    }
}

impl Shared {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        registry: Registry,
        options: Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ErrorObject> {
        if options.slots == 0 && options.leases != Leases::None {
            let error = ErrorObject::new(
                Code::CONFIGURATION_ERROR,
                "an engine that takes work needs at least 1 slot",
            );
            return Err(error.with_hint("`Leases::None` is for an engine that takes none"));
        }
        Ok(Self {
            slots: Slots::new(options.slots),
            pool: Pool::new(&options.pool)?,
            cache: Cache::new(options.cache_bytes),
            store,
            handlers: Handlers::new(registry),
            clock,
            options,
            held: Held::default(),
            leasing: RwLock::new(()),
            lazy: Lazy::default(),
            templates: Templates::default(),
            snapshots: Snapshots::default(),
            work: Notify::new(),
            timer: Notify::new(),
            message: Notify::new(),
            strays: Notify::new(),
            shutdown: CancellationToken::new(),
            abort: CancellationToken::new(),
            closed: CancellationToken::new(),
            tracker: TaskTracker::new(),
            runtime_has_ended: AtomicBool::new(false),
            session: OnceLock::new(),
            session_gone: AtomicBool::new(false),
            trees: Trees::default(),
            serving: AtomicUsize::new(0),
            mailboxes: Mutex::default(),
            definitions: Definitions::default(),
            fault: watch::Sender::new(None),
        })
    }

    /// Takes note of the end of the runtime, which drops its tasks before anything else ends. What an executor of its own carries out
    /// does not end with it.
    pub(crate) fn notice_end_of_runtime(self: &Arc<Self>) {
        let note = NotesEnd(self.clone());
        tokio::spawn(async move { note.0.closed.cancelled().await });
    }

    /// Returns whether its runtime has ended before it was shut down.
    pub(crate) fn has_lost_its_runtime(&self) -> bool {
        self.runtime_has_ended.load(Ordering::Acquire)
    }

    /// Returns the mailbox of a run.
    pub(crate) fn mailbox(&self, run: &RunId) -> Arc<Mailbox> {
        let mut mailboxes = self.mailboxes.lock().expect("no panic happens under this lock");
        mailboxes.by_run.entry(run.clone()).or_insert_with(|| Mailbox::new(run.clone())).clone()
    }

    /// Returns the mailbox of a run if it has one.
    pub(crate) fn known_mailbox(&self, run: &RunId) -> Option<Arc<Mailbox>> {
        let mailboxes = self.mailboxes.lock().expect("no panic happens under this lock");
        mailboxes.by_run.get(run).cloned()
    }

    /// Lets runs go that nobody needs in memory: this one if it rests, and others if there are too many.
    pub(crate) fn forget_idle(&self, mailbox: &Arc<Mailbox>, rests: bool) {
        let surplus = self.cache.surplus();
        if !rests && surplus.is_empty() {
            return;
        }
        let mut mailboxes = self.mailboxes.lock().expect("no panic happens under this lock");
        mailboxes.try_again();
        if rests && !mailboxes.let_go(&mailbox.run, 1) {
            mailboxes.try_again_later(&mailbox.run);
        }
        for run in surplus {
            if mailboxes.let_go(&run, 0) {
                self.cache.note(&run, 0);
            }
        }
    }

    /// Lets a run go that nobody follows any more, if it is not in use.
    pub(crate) fn forget_unwatched(&self, run: &RunId) {
        let mut mailboxes = self.mailboxes.lock().expect("no panic happens under this lock");
        if mailboxes.by_run.get(run).is_some_and(|mailbox| !mailbox.is_in_use()) {
            // Whoever else follows it comes by here later.
            mailboxes.let_go(run, 0);
        }
    }

    /// Lets a run go that is not in the store any more. Another of its id has a mailbox of its own.
    pub(crate) fn forget_deleted(&self, run: &RunId) {
        let mut mailboxes = self.mailboxes.lock().expect("no panic happens under this lock");
        mailboxes.by_run.remove(run);
        self.cache.note(run, 0);
    }

    /// Submits a command from outside, or of the engine itself.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        run: &RunId,
        command: Command,
        id: Option<CommandId>,
    ) -> Result<Receipt, Refused> {
        self.send(run, |reply| Submission { id, ..Submission::of(command, reply) }).await
    }

    /// Submits what an attempt says, under its lease.
    pub(crate) async fn submit_leased(
        self: &Arc<Self>,
        run: &RunId,
        command: Command,
        lease: LeaseRef,
    ) -> Result<Receipt, Refused> {
        self.send(run, |reply| Submission { fence: Some(lease), ..Submission::of(command, reply) }).await
    }

    pub(crate) async fn send(
        self: &Arc<Self>,
        run: &RunId,
        make: impl FnOnce(oneshot::Sender<Result<Receipt, Refused>>) -> Submission,
    ) -> Result<Receipt, Refused> {
        if self.shutdown.is_cancelled() && self.tracker.is_closed() && self.tracker.is_empty() {
            return Err(Refused::Store(shutting_down()));
        }
        let (reply, answer) = oneshot::channel();
        let mailbox = self.mailbox(run);
        if mailbox.push(make(reply)) {
            // A task of its own, so that a caller that goes away undoes nothing.
            let shared = self.clone();
            self.tracker.spawn(async move {
                if let Some(next) = mailbox.drain(shared.clone()).await {
                    shared.spawn_attempt(next);
                }
            });
        }
        answer.await.unwrap_or_else(|_| Err(Refused::Store(shutting_down())))
    }

    /// Submits the outcome of an attempt from its own task, which nobody drops: it drains the mailbox itself and goes
    /// on with what is handed over to it.
    pub(crate) async fn submit_outcome(
        self: &Arc<Self>,
        run: &RunId,
        command: Arc<Command>,
        lease: LeaseRef,
        slot: Option<Slot>,
    ) -> (Result<Receipt, Refused>, Option<Box<Prepared>>) {
        let (reply, answer) = oneshot::channel();
        let submission = Submission { fence: Some(lease), slot, ..Submission::of(command, reply) };
        let mailbox = self.mailbox(run);
        let next = if mailbox.push(submission) { mailbox.drain(self.clone()).await } else { None };
        (answer.await.unwrap_or_else(|_| Err(Refused::Store(shutting_down()))), next)
    }

    /// Loads a run from the store.
    pub(crate) async fn load(&self, run: &RunId) -> Result<Cached, ErrorObject> {
        let loaded = self.store.load(run).await.map_err(|error| from_store(&error))?;
        let workflow = self.definitions.read(&loaded.row.digest, &loaded.definition)?;
        let (revision, seq, loaded_root) = (loaded.row.revision, loaded.row.seq, loaded.row.root.clone());
        let (folded, kept) = snapshots::fold(self, run, workflow, loaded).await?;
        Ok(Cached::new(folded, loaded_root, revision, seq, kept))
    }

    /// Takes note that nobody wants the outcome of an attempt whose run ended, or whose lease is gone. What the lease still takes
    /// of named limits is given back when the store is told what is held.
    pub(crate) fn note_unwanted(&self) {
        self.strays.notify_one();
    }

    /// Takes in the function of a step, in place of the one it had. Runs that wait for it go on.
    pub(crate) fn register(&self, handler: String, function: Arc<dyn Provider>) {
        self.handlers.add(handler, function);
        self.work.notify_one();
    }

    /// Refuses a new run with a step that this process could never carry out, and says what of its resources nobody
    /// counts. An engine that takes no work knows nothing about either.
    pub(crate) fn admit(&self, run: &RunId, workflow: &Workflow) -> Result<(), ErrorObject> {
        if self.options.leases == Leases::None {
            return Ok(());
        }
        self.pool.admit(workflow)?;
        let uncounted = self.pool.uncounted(workflow);
        if !uncounted.is_empty() {
            let dimensions = uncounted.join(", ");
            tracing::warn!(%run, %dimensions, "steps ask for resources that the pool has no total of; they are not counted");
        }
        Ok(())
    }

    /// Takes the work of a tree of runs, until the run at its top has ended.
    pub(crate) fn carry(&self, root: &RunId) {
        if self.options.leases == Leases::Own {
            self.trees.add(root);
        }
    }

    /// Returns whether it takes the work of that tree.
    pub(crate) fn carries(&self, root: &RunId) -> bool {
        self.trees.contain(root)
    }

    /// Takes note that a run has ended: nothing of a tree is left to be done when its top has.
    pub(crate) fn note_end(&self, run: &RunId) {
        if self.options.leases == Leases::Own {
            self.trees.remove(run);
        }
    }

    /// Returns the trees whose work it takes; none: all.
    pub(crate) fn asked_trees(&self) -> Option<Trees> {
        let takes_all = self.options.leases != Leases::Own || self.serving.load(Ordering::Acquire) > 0;
        (!takes_all).then(|| self.trees.clone())
    }

    /// Returns the session that may be handed work of a run in that tree and of that handler, and who carries it out there.
    pub(crate) fn hands_over_to(
        &self,
        root: &RunId,
        handler: &str,
    ) -> Option<(SessionRef, Arc<dyn Provider>)> {
        let session = self.session.get()?;
        let may = match &self.options.leases {
            Leases::None => false,
            Leases::All => true,
            Leases::Own => self.serving.load(Ordering::Acquire) > 0 || self.trees.contain(root),
        };
        let works = !self.shutdown.is_cancelled() && !self.session_gone.load(Ordering::Acquire);
        if !may || !works {
            return None;
        }
        Some((*session, self.handlers.get(handler)?))
    }

    /// Takes note that the session was declared dead: what it held is others' by now.
    pub(crate) fn lose_session(self: &Arc<Self>) {
        if self.session_gone.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::error!("this session was declared dead; everything it held is cancelled");
        self.held.all().into_iter().for_each(|attempt| self.tell_to_end(attempt));
    }

    /// Lets nothing go on in this process.
    pub(crate) fn abort(self: &Arc<Self>) {
        self.abort.cancel();
        self.held.all().into_iter().for_each(|attempt| self.tell_to_end(attempt));
    }

    /// Tells the attempt of an execution to end, if it is under way here.
    pub(crate) fn cancel(self: &Arc<Self>, run: &RunId, execution: &ExecutionRef) {
        if let Some(attempt) = self.held.get(run, execution) {
            self.tell_to_end(attempt);
        }
    }

    fn tell_to_end(self: &Arc<Self>, attempt: Arc<UnderWay>) {
        if !attempt.has_ended() && !attempt.cancel.is_cancelled() {
            attempt.cancel.cancel();
            self.tracker.spawn(attempt::abandon_late(self.clone(), attempt));
        }
    }

    /// Carries out what a commit arranged: attempts that were handed over begin, those that are not wanted any more
    /// are cancelled, and whoever waits for work, timers or messages is woken. Returns the last of those attempts, which is left to
    /// whoever drains the mailbox.
    pub(crate) fn arrange(
        self: &Arc<Self>,
        run: &RunId,
        cached: &Cached,
        changes: &Changes,
        assigned: Vec<Assignment>,
    ) -> Option<Box<Prepared>> {
        for gone in &changes.no_work {
            self.cancel(run, gone);
        }
        let handed_over = assigned.len();
        let mut last = None;
        for Assignment { lease, provider, slot } in assigned {
            let hold = self.hold(run, lease, slot);
            match attempt::prepare(self, cached, hold, provider, Purpose::Attempt) {
                Some(prepared) => self.keep_last(&mut last, prepared),
                None => self.strays.notify_one(),
            }
        }
        if changes.work.len() > handed_over {
            self.work.notify_one();
        }
        let is_later = |work: &Work| work.not_before > self.clock.now();
        let later = changes.work.len() > handed_over && changes.work.iter().any(is_later);
        if later || changes.timers.iter().any(|(_, at)| at.is_some()) {
            self.timer.notify_one();
        }
        last
    }

    /// Takes note of one more attempt that begins. Only the last can be the own of a worker that drains a mailbox: while it does,
    /// the others must not wait for it.
    fn keep_last(self: &Arc<Self>, last: &mut Option<Box<Prepared>>, prepared: Box<Prepared>) {
        if let Some(earlier) = last.replace(prepared) {
            self.spawn_attempt(earlier);
        }
    }

    /// Lets every loop ask the store: a commit of this process stands whose arrangements were forgotten.
    pub(crate) fn look_again(&self) {
        for loops in [&self.work, &self.timer, &self.message] {
            loops.notify_one();
        }
    }

    /// Takes note of a lease of this process.
    pub(crate) fn hold(self: &Arc<Self>, run: &RunId, lease: LeaseRef, slot: Slot) -> Hold {
        let hold = self.held.hold(run, lease, slot, self.tracker.token());
        // Looked at after it is held: an abort sees it, or it sees the abort.
        if self.abort.is_cancelled() {
            self.tell_to_end(hold.attempt.clone());
        }
        hold
    }

    /// Lets an attempt be carried out by a task of its own. It is not tracked, since it may outlive its attempt: a shutdown
    /// waits for attempts.
    pub(crate) fn spawn_attempt(self: &Arc<Self>, prepared: Box<Prepared>) {
        let executor = prepared.executor().cloned();
        let attempt = attempt::carry_out(self.clone(), prepared);
        match executor {
            Some(executor) => executor.spawn(attempt),
            None => drop(tokio::spawn(attempt)),
        }
    }

    /// Drops from memory what another process has moved on. What is leased may have come into being there, and an
    /// attempt must see it.
    pub(crate) async fn catch_up(self: &Arc<Self>, runs: HashSet<RunId>) {
        const AT_ONCE: usize = 8;
        let catch_up = |run: RunId| {
            let shared = self.clone();
            async move { shared.mailbox(&run).catch_up(&shared).await }
        };
        futures_util::stream::iter(runs).for_each_concurrent(AT_ONCE, catch_up).await;
    }

    /// Begins an attempt that the store leased to this process.
    pub(crate) async fn begin_leased(self: &Arc<Self>, leased: Leased, hold: Hold) {
        let mailbox = self.mailbox(&leased.run);
        let shared = self.clone();
        let now = self.clock.now();
        let begun = mailbox
            .with(self, |cached| {
                if leased.item.purpose != Purpose::Judge {
                    cached.run.note_start(
                        &leased.item.execution,
                        leased.item.attempt,
                        leased.session.id,
                        now,
                    );
                }
                let provider = shared.handlers.get(&leased.item.handler);
                let prepare =
                    |provider| attempt::prepare(&shared, cached, hold, provider, leased.item.purpose);
                match provider.and_then(prepare) {
                    Some(prepared) => shared.spawn_attempt(prepared),
                    None => shared.strays.notify_one(),
                }
            })
            .await;
        if let Err(error) = begun {
            tracing::warn!(run = %leased.run, %error, "a leased run cannot be loaded; its lease is given up");
            self.strays.notify_one();
        }
    }

    pub(crate) fn store_failed(&self, error: &ErrorObject) {
        self.fault.send_replace(Some(error.clone()));
    }

    pub(crate) fn store_recovered(&self) {
        if self.fault.borrow().is_some() {
            self.fault.send_replace(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stepwell_core::run::wait::{Question, WaitKind, WaitSpec};
    use stepwell_core::workflow::definition::{Definition, Step};

    use crate::Outcome;
    use crate::testing::{ScriptedProvider, TestEngine};

    fn asks() -> Outcome {
        Outcome::Suspend(vec![WaitSpec::step(WaitKind::Human(Question {
            prompt: "Go on?".into(),
            ..Question::default()
        }))])
    }

    #[tokio::test(start_paused = true)]
    async fn runs_that_rest_leave_nothing_in_memory() {
        let test = TestEngine::new(ScriptedProvider::default().on("ask", |_| asks())).await;
        let definition =
            |name: &str| Definition::new(name, vec![Step::provided(name, "test/v1", "test/do", json!({}))]);
        let mut paused = Vec::new();
        for _ in 0..100 {
            let run = test.start(definition("ask")).await;
            test.rest(&run).await;
            paused.push(run);
        }
        // What was in somebody's hands is tried again as others come to rest.
        for _ in 0..100 {
            test.run(definition("quick")).await;
        }
        let shared = &test.engine.shared;
        let mailboxes = shared.mailboxes.lock().unwrap();
        assert!(mailboxes.by_run.len() <= 2, "{} of 200", mailboxes.by_run.len());
        assert_eq!(mailboxes.resting.len(), mailboxes.listed.len());
    }
}
