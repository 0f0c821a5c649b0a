//! The engine: one handle to everything that can be asked of runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{CommandId, Ordinal, RunId, Seq, StepName, WaitId, digest_of};
use stepwell_core::policy::resources::Resources;
use stepwell_core::run::Run;
use stepwell_core::run::checkpoint::Checkpoint;
use stepwell_core::run::command::{Answer, Command, Create, Restore, SettleVerb};
use stepwell_core::run::event::{Event, Payload};
use stepwell_core::run::wait::WaitKind;
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::definition::Step;
use stepwell_core::workflow::{StepIx, Workflow, changes};
use stepwell_store::{Prune, RunRow, Store, WaitRow, WaitState};
use tokio::sync::watch;

use crate::clock::{Clock, SystemClock, random_id};
use crate::error::{from_store, run_exists};
use crate::forms;
use crate::mailbox::{Receipt, Refused};
use crate::provider::{Outside, Provider, Registry, function_handler, handler_of};
use crate::shared::Shared;
use crate::{outbox, session, timers, worker};

/// Attempts that are cancelled when the engine ends have so long to notice.
const ABORT_MS: u64 = 1_000;

/// What a follower of a run hears; the run is held in memory no longer than this.
pub(crate) struct Watched<T> {
    // Dropped first, so that nobody follows when the run is let go.
    pub(crate) moves: watch::Receiver<T>,
    _run: Watching,
}

impl<T: std::fmt::Debug> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watched").field(&self.moves).finish()
    }
}

struct Watching {
    shared: Arc<Shared>,
    run: RunId,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.forget_unwatched(&self.run);
    }
}

/// As long as this lives, its engine takes the work of every run whose handlers it has.
pub struct Serving {
    shared: Arc<Shared>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shared.serving.fetch_sub(1, Ordering::AcqRel);
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").finish_non_exhaustive()
    }
}

/// Which work an engine takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leases {
    /// None: it only submits and watches.
    None,
    /// That of the runs that were begun or taken up here ([`Engine::carry`]) and of their child runs (`run`, `resume`). All
    /// while it [serves](Engine::serve).
    Own,
    /// All it has handlers for (`worker`, `serve`).
    All,
}

/// How an engine works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which work it takes.
    pub leases: Leases,
    /// Attempts at once; at least 1, if it takes work.
    pub slots: usize,
    /// The resources that attempts book. A dimension that is not named here is not counted, whatever steps ask for.
    pub pool: Resources,
    /// Bytes of runs held in memory.
    pub cache_bytes: usize,
    /// How long a cancelled or timed-out attempt may take to end before it is abandoned, in ms.
    pub cleanup_ms: u64,
    /// For people who ask who has the store open.
    pub label: String,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            leases: Leases::All,
            slots: cores * 4,
            pool: Resources::default(),
            cache_bytes: 128 << 20,
            cleanup_ms: 10_000,
            label: format!("pid {}", std::process::id()),
        }
    }
}

/// A handle to an engine; clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What a new run is given.
#[derive(Clone, Debug)]
pub struct Start {
    /// What to run.
    pub workflow: Arc<Workflow>,
    /// Its input.
    pub input: Value,
    /// Its id; none: a random one.
    pub run_id: Option<RunId>,
    /// Tags.
    pub metadata: Map<String, Value>,
    /// First context.
    pub context: Map<String, Value>,
    /// Directory that its relative paths start at.
    pub base_dir: Option<String>,
    /// Stays pending until started.
    pub hold: bool,
}

impl Start {
    /// Returns a start of that workflow with null input and nothing else.
    pub fn of(workflow: Arc<Workflow>) -> Self {
        Self {
            workflow,
            input: Value::Null,
            run_id: None,
            metadata: Map::new(),
            context: Map::new(),
            base_dir: None,
            hold: false,
        }
    }
}

/// A run that was started, or that had been started with the same request before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its id.
    pub run: RunId,
    /// It existed; nothing was started.
    pub existed: bool,
}

impl Engine {
    /// Opens an engine over a store with the clock of the system.
    ///
    /// # Errors
    /// The store cannot be reached, or `CONFIGURATION_ERROR` for a pool with amounts that none can be, or no slots
    /// for the work it takes.
    pub async fn open(
        store: Arc<dyn Store>,
        registry: Registry,
        options: Options,
    ) -> Result<Self, ErrorObject> {
        Self::open_with_clock(store, registry, options, Arc::new(SystemClock::default())).await
    }

    /// Opens an engine with another clock.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub async fn open_with_clock(
        store: Arc<dyn Store>,
        registry: Registry,
        options: Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ErrorObject> {
        let shared = Arc::new(Shared::new(store, registry, options, clock)?);
        if shared.options.leases != Leases::None {
            let opened = shared.store.open_session(&shared.options.label, shared.clock.now()).await;
            let session = opened.map_err(|error| from_store(&error))?;
            shared.session.set(session).expect("a session is opened once");
            session::spawn(&shared, session);
            worker::spawn(&shared, session);
            timers::spawn(&shared);
            outbox::spawn(&shared);
        }
        worker::spawn_flush(&shared);
        shared.notice_end_of_runtime();
        Ok(Self { shared })
    }

    /// Returns whether that is a handle to this engine.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Returns the store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// Returns the registry it was opened with.
    pub fn registry(&self) -> &Registry {
        self.shared.handlers.opened_with()
    }

    /// Adds the function of a step, in place of the one it had. Runs that wait for it go on.
    pub fn register(&self, workflow: &str, step: &str, function: Arc<dyn Provider>) {
        self.shared.register(function_handler(workflow, step), function);
    }

    /// Adds the function of a step of exactly that workflow, as [`Engine::register`] does: if its action is a function of one
    /// version, it is that of no other.
    pub fn register_for(&self, workflow: &Workflow, step: StepIx, function: Arc<dyn Provider>) {
        self.shared.register(handler_of(workflow, step), function);
    }

    /// Returns whether it has the function of a step, or the provider of its protocol.
    pub fn handles(&self, workflow: &Workflow, step: StepIx) -> bool {
        self.shared.handlers.get(&handler_of(workflow, step)).is_some()
    }

    /// Returns which work it takes.
    pub fn leases(&self) -> &Leases {
        &self.shared.options.leases
    }

    /// Returns the number of its session in the store, if it takes work.
    pub fn session(&self) -> Option<u64> {
        self.shared.session.get().map(|session| session.id)
    }

    /// Returns the clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Returns a new run id.
    pub fn new_run_id(&self) -> RunId {
        random_id(&*self.shared.clock, "run").into()
    }

    /// Starts a run; durable when this returns. An id that exists with the same request returns that run.
    ///
    /// # Errors
    /// `RUN_EXISTS` if the id is taken by another request, `INVALID_PARAMS` for a bad id or metadata, `RESOURCE_EXHAUSTED`
    /// for a step that asks for more than the pool of this engine has, everything that is wrong with what the definition
    /// names outside of itself, or the store.
    pub async fn start(&self, start: Start) -> Result<Started, ErrorObject> {
        let run = start.run_id.clone().unwrap_or_else(|| self.new_run_id());
        check_run_id(&run)?;
        check_metadata(&start.metadata)?;
        let create = Create {
            run: run.clone(),
            workflow: start.workflow.clone(),
            input: Arc::new(start.input),
            context: start.context,
            metadata: start.metadata,
            parent: None,
            base_dir: start.base_dir,
            entry: None,
            hold: start.hold,
            restore: None,
        };
        if start.run_id.is_some()
            && let Some(existing) = self.existing(&create).await?
        {
            self.carry(&existing.run).await?;
            return Ok(existing);
        }
        let outside = Outside { base_dir: create.base_dir.as_deref(), store: Some(&*self.shared.store) };
        self.registry().check_outside(&create.workflow, &outside).await?;
        self.shared.admit(&run, &create.workflow)?;
        // Before it is there, so that its first steps may be handed over.
        self.shared.carry(&run);
        let command = Command::Create(Box::new(create.clone()));
        match self.shared.submit(&run, command, None).await {
            Ok(_) => Ok(Started { run, existed: false }),
            Err(Refused::Rejected(error)) if error.code == Code::RUN_EXISTS || is_taken(&error) => {
                self.existing(&create).await?.ok_or_else(|| run_exists(&run, &[], &[]))
            }
            Err(refused) => Err(refused.into_error()),
        }
    }

    async fn existing(&self, create: &Create) -> Result<Option<Started>, ErrorObject> {
        let known = match self.inspect(&create.run).await {
            Ok(known) => known,
            Err(error) if error.code == Code::WORKFLOW_NOT_FOUND => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut metadata = create.workflow.definition().metadata.clone();
        metadata.extend(create.metadata.clone());
        let same_definition = known.workflow().version() == create.workflow.version()
            && known.workflow().name() == create.workflow.name();
        let parts = [
            ("definition", same_definition),
            ("input", **known.first_input() == *create.input),
            ("metadata", *known.metadata() == metadata),
            ("context", *known.first_context() == create.context),
        ];
        let differs: Vec<&str> = parts.iter().filter(|(_, same)| !same).map(|(what, _)| *what).collect();
        if differs.is_empty() {
            Ok(Some(Started { run: create.run.clone(), existed: true }))
        } else {
            let (before, after) = (known.workflow().origin(), &create.workflow);
            let changes = if before.name() == after.name() {
                changes(before.definition(), after.definition())
            } else {
                vec![format!("it is of workflow '{}', not of '{}'", before.name(), after.name())]
            };
            Err(run_exists(&create.run, &differs, &changes))
        }
    }

    /// Makes a run of a workflow that goes on from a checkpoint, paused until [`Engine::resume`]; durable when this
    /// returns. Without an id it has a new one; `metadata` goes before the tags of the checkpoint.
    ///
    /// # Errors
    /// `DEFINITION_MISMATCH` if the workflow is not that of the checkpoint, but for its name and steps that were added;
    /// `CHECKPOINT_INVALID` if parts of the checkpoint do not fit together; everything that [`Engine::start`] refuses.
    pub async fn restore(
        &self,
        workflow: Arc<Workflow>,
        restore: Restore,
        run_id: Option<RunId>,
        metadata: Map<String, Value>,
    ) -> Result<RunId, ErrorObject> {
        check_metadata(&metadata)?;
        let run = run_id.unwrap_or_else(|| self.new_run_id());
        let outside = Outside { base_dir: None, store: Some(&*self.shared.store) };
        self.registry().check_outside(&workflow, &outside).await?;
        self.shared.admit(&run, &workflow)?;
        let create = Create { metadata, restore: Some(restore), ..Create::new(run.clone(), workflow) };
        self.command(&run, Command::Create(Box::new(create)), None).await?;
        Ok(run)
    }

    /// Starts a run that was created held.
    ///
    /// # Errors
    /// It has started already, or the store.
    pub async fn release(&self, run: &RunId) -> Result<Receipt, ErrorObject> {
        let receipt = self.command(run, Command::Start, None).await?;
        self.carry(run).await?;
        Ok(receipt)
    }

    /// Takes a run up that was begun elsewhere: an engine that takes the work of its [own](Leases::Own) runs takes that of its
    /// tree too, from now on until the end of the run at its top. One that has ended is left as it is.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND`, or the store.
    pub async fn carry(&self, run: &RunId) -> Result<(), ErrorObject> {
        if *self.leases() != Leases::Own {
            return Ok(());
        }
        let row = self.shared.store.run(run).await.map_err(|error| from_store(&error))?;
        if !row.state.status.is_terminal() {
            self.shared.carry(&row.root);
            self.shared.work.notify_one();
        }
        Ok(())
    }

    /// Returns whether it takes the work of the tree with that run at its top, as one of its [own](Leases::Own).
    pub fn carries(&self, root: &RunId) -> bool {
        self.shared.carries(root)
    }

    /// Takes the work of every run whose handlers this engine has, until what this returns is dropped. One that takes no work
    /// does not begin to.
    pub fn serve(&self) -> Serving {
        self.shared.serving.fetch_add(1, Ordering::AcqRel);
        self.shared.work.notify_one();
        Serving { shared: self.shared.clone() }
    }

    /// Answers a question; durable when this returns. Of several answers one is taken.
    ///
    /// # Errors
    /// `ANSWER_INVALID` (the question stays open), `WORKFLOW_INVALID_STATE` with `data.reason` `wait_closed`,
    /// `WORKFLOW_NOT_FOUND`, or the store.
    pub async fn answer(
        &self,
        wait: &WaitId,
        answer: Value,
        by: Option<String>,
    ) -> Result<Receipt, ErrorObject> {
        let row = self.shared.store.wait(wait).await.map_err(|error| from_store(&error))?;
        check_form(&row, &answer)?;
        let id = random_id(&*self.shared.clock, "answer").into();
        let command = Command::Answer { wait: wait.clone(), value: Arc::new(answer), by };
        self.command(&row.run, command, Some(id)).await
    }

    /// Sends a signal; durable when this returns. The same id is taken once.
    ///
    /// # Errors
    /// The run has ended or does not exist, it has a signal of that name and id with another value
    /// (`WORKFLOW_INVALID_STATE` with `data.reason` `signal_exists`), or the store.
    pub async fn signal(
        &self,
        run: &RunId,
        name: &str,
        value: Value,
        id: Option<String>,
    ) -> Result<Receipt, ErrorObject> {
        let id = id.unwrap_or_else(|| random_id(&*self.shared.clock, "signal"));
        let command_id = CommandId::from(format!("signal:{name}:{id}:{}", digest_of(&value)));
        let command = Command::Signal { name: name.to_owned(), id, value: Arc::new(value) };
        self.command(run, command, Some(command_id)).await
    }

    /// Pauses a run: no attempt starts from now on.
    ///
    /// # Errors
    /// The run has ended or does not exist, or the store.
    pub async fn pause(&self, run: &RunId, reason: Option<String>) -> Result<Receipt, ErrorObject> {
        self.command(run, Command::Pause { reason }, None).await
    }

    /// Lifts an operator's pause.
    ///
    /// # Errors
    /// Nobody paused it, it has ended or does not exist, or the store.
    pub async fn resume(&self, run: &RunId, reason: Option<String>) -> Result<Receipt, ErrorObject> {
        let receipt = self.command(run, Command::Resume { reason, answer: None }, None).await?;
        self.carry(run).await?;
        Ok(receipt)
    }

    /// Lifts an operator's pause and answers a question of the run, both in one commit.
    ///
    /// # Errors
    /// As [`Engine::resume`] and [`Engine::answer`]; the run stays paused and the question open.
    pub async fn resume_with(&self, run: &RunId, answer: Answer) -> Result<Receipt, ErrorObject> {
        let row = self.shared.store.wait(&answer.wait).await.map_err(|error| from_store(&error))?;
        check_form(&row, &answer.value)?;
        let receipt = self.command(run, Command::Resume { reason: None, answer: Some(answer) }, None).await?;
        self.carry(run).await?;
        Ok(receipt)
    }

    /// Gives a run another time limit, which counts from now on.
    ///
    /// # Errors
    /// The run has not started, has ended or does not exist, or the store.
    pub async fn limit_time(&self, run: &RunId, timeout_ms: u64) -> Result<Receipt, ErrorObject> {
        self.command(run, Command::LimitTime { timeout_ms }, None).await
    }

    /// Deletes a run that has ended, with its journal and all that is its own, and the child runs that it began.
    /// Its id is free then. Returns how many runs that were.
    ///
    /// # Errors
    /// `WORKFLOW_INVALID_STATE` if it has not ended (`data.reason` `not_ended`) or has a parent (`is_child`); it does not
    /// exist; or the store.
    pub async fn delete(&self, run: &RunId) -> Result<u64, ErrorObject> {
        // What it has to tell other runs would go with it.
        self.deliver().await?;
        let row = self.shared.store.run(run).await.map_err(|error| from_store(&error))?;
        let refused = |reason: &str, message: String| {
            ErrorObject::new(Code::WORKFLOW_INVALID_STATE, message)
                .with("reason", reason)
                .with("status", row.state.status.as_str())
        };
        if let Some(parent) = &row.parent {
            let message = format!("run {run} was begun by run {parent} and cannot be deleted by itself");
            return Err(refused("is_child", message).with_hint("it goes with the run at the top of its tree"));
        }
        let deleted = self.shared.store.prune(&Prune::tree(run.clone())).await;
        let deleted = deleted.map_err(|error| from_store(&error))?.runs;
        if deleted == 0 {
            let message = format!("run {run} has not ended and cannot be deleted");
            return Err(refused("not_ended", message).with_hint("cancel it, or wait for its end"));
        }
        self.shared.forget_deleted(run);
        Ok(deleted)
    }

    /// Cancels a run; a second time changes nothing.
    ///
    /// # Errors
    /// The run has completed, failed or does not exist, or the store.
    pub async fn cancel(&self, run: &RunId, reason: Option<String>) -> Result<Receipt, ErrorObject> {
        self.command(run, Command::Cancel { reason }, None).await
    }

    /// Cancels the live executions of one step.
    ///
    /// # Errors
    /// No such step, the run has ended or does not exist, or the store.
    pub async fn cancel_step(&self, run: &RunId, step: StepName) -> Result<Receipt, ErrorObject> {
        self.command(run, Command::CancelStep { step }, None).await
    }

    /// Adds steps to the definition of one run, for what it has not done yet. Those that it has already, the same in
    /// everything, are left as they are.
    ///
    /// # Errors
    /// `WORKFLOW_VALIDATION_FAILED` if the run has another step of that name, or cannot have them; `RESOURCE_EXHAUSTED`
    /// if one asks for more than this process has; the run has ended or does not exist; or the store.
    pub async fn define(&self, run: &RunId, steps: Vec<Step>) -> Result<Receipt, ErrorObject> {
        steps.iter().try_for_each(|step| self.shared.pool.admit_step(step))?;
        self.command(run, Command::Define { steps }, None).await
    }

    /// Opens the next epoch of a run that failed, or that completed although something in it failed.
    ///
    /// # Errors
    /// There is nothing to be tried again, the run does not exist, or the store.
    pub async fn retry(
        &self,
        run: &RunId,
        input: Option<Value>,
        reason: Option<String>,
    ) -> Result<Receipt, ErrorObject> {
        let receipt = self.command(run, Command::Retry { input: input.map(Arc::new), reason }, None).await?;
        self.carry(run).await?;
        Ok(receipt)
    }

    /// Decides by hand about a stuck execution.
    ///
    /// # Errors
    /// No such step, it is not stuck, only its function can complete it, the run has ended or does not exist, or the store.
    pub async fn settle(
        &self,
        run: &RunId,
        step: StepName,
        ordinal: Option<Ordinal>,
        verb: SettleVerb,
        value: Option<Value>,
    ) -> Result<Receipt, ErrorObject> {
        let value = value.map(Arc::new) as Option<Payload>;
        self.command(run, Command::Settle { step, ordinal, verb, value }, None).await
    }

    async fn command(
        &self,
        run: &RunId,
        command: Command,
        id: Option<CommandId>,
    ) -> Result<Receipt, ErrorObject> {
        self.shared.submit(run, command, id).await.map_err(Refused::into_error)
    }

    /// Returns a run as the store has it.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND`, or the store.
    pub async fn inspect(&self, run: &RunId) -> Result<Run, ErrorObject> {
        Ok(self.shared.load(run).await?.run)
    }

    /// Shows a run as it stands. One that has ended in this process, and that somebody follows, is still in memory and not
    /// loaded again.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND`, or the store.
    pub async fn show<T: Send>(
        &self,
        run: &RunId,
        show: impl FnOnce(&Run) -> T + Send,
    ) -> Result<T, ErrorObject> {
        if self.shared.known_mailbox(run).is_some() {
            let row = self.shared.store.run(run).await.map_err(|error| from_store(&error))?;
            return self.show_ended(&row, show).await;
        }
        Ok(show(&self.shared.load(run).await?.run))
    }

    /// Shows a run that has ended as that row tells, which [`Engine::rest`] returned a moment ago. If it is not in memory, or not
    /// as it was then, it is loaded, and stands as it does by now.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND`, or the store.
    pub async fn show_ended<T: Send>(
        &self,
        row: &RunRow,
        show: impl FnOnce(&Run) -> T + Send,
    ) -> Result<T, ErrorObject> {
        if let Some(mailbox) = self.shared.known_mailbox(&row.run)
            && let Some(ended) = mailbox.ended(row.revision).await
        {
            return Ok(show(&ended.run));
        }
        Ok(show(&self.shared.load(&row.run).await?.run))
    }

    /// Returns how a run stands, as plain data.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND`, or the store.
    pub async fn checkpoint(&self, run: &RunId) -> Result<Checkpoint, ErrorObject> {
        let loaded = self.shared.load(run).await?;
        Ok(loaded.run.checkpoint(loaded.seq))
    }

    /// Returns the last checkpoint that a run with an interval of checkpoints has taken: at its end, or while it ran. The
    /// journal says where, and is folded up to there.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND`, or the store.
    pub async fn latest_checkpoint(&self, run: &RunId) -> Result<Option<Checkpoint>, ErrorObject> {
        let workflow = self.shared.load(run).await?.run.workflow().origin().clone();
        if workflow.definition().checkpoint_interval_ms.is_none() {
            return Ok(None);
        }
        let journal = self.shared.store.events(run, Seq(0), usize::MAX).await;
        let journal = journal.map_err(|error| from_store(&error))?;
        let is_taken = |event: &Event| event.ends_run() || matches!(event, Event::CheckpointTaken);
        let Some(last) = journal.iter().rposition(|recorded| is_taken(&recorded.event)) else {
            return Ok(None);
        };
        let events = journal[..=last].iter().map(|recorded| (&recorded.event, recorded.at));
        Ok(Some(Run::replay(run.clone(), workflow, events).checkpoint(journal[last].seq)))
    }

    /// Delivers the messages between runs that wait in the store, and those that come of them. An engine that leases work
    /// does that by itself; for one that does not, what it cancelled would stay open until another comes along.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn deliver(&self) -> Result<(), ErrorObject> {
        outbox::deliver_all(&self.shared).await
    }

    /// Returns a receiver that holds the store's failure as long as it cannot be written.
    pub fn fault(&self) -> watch::Receiver<Option<ErrorObject>> {
        self.shared.fault.subscribe()
    }

    /// Returns a receiver that moves when this process committed events of the run.
    pub(crate) fn watch_run(&self, run: &RunId) -> Watched<Seq> {
        let moves = self.shared.mailbox(run).watch();
        Watched { moves, _run: Watching { shared: self.shared.clone(), run: run.clone() } }
    }

    /// Returns a receiver that moves when this process saw the status of the run change.
    pub(crate) fn watch_status(&self, run: &RunId) -> Watched<RunStatus> {
        let moves = self.shared.mailbox(run).watch_status();
        Watched { moves, _run: Watching { shared: self.shared.clone(), run: run.clone() } }
    }

    /// Returns the resources that a step asks for and the pool of this engine has no total of: nobody counts them. An
    /// engine that takes no work knows nothing about it.
    pub fn uncounted<'s>(&self, step: &'s Step) -> Vec<&'s str> {
        if *self.leases() == Leases::None {
            return Vec::new();
        }
        self.shared.pool.uncounted_of(step).collect()
    }

    /// Returns what the attempts that are under way have booked of the pool of this engine.
    pub fn booked(&self) -> Resources {
        self.shared.pool.booked()
    }

    /// Says something about this process to people who ask who carries a run, behind its label; nothing any more: `None`.
    pub async fn remark(&self, remark: Option<&str>) {
        let Some(session) = self.shared.session.get() else { return };
        let label = &self.shared.options.label;
        let label = remark.map_or_else(|| label.clone(), |remark| format!("{label}; {remark}"));
        if let Err(error) = self.shared.store.label_session(*session, &label).await {
            tracing::warn!(%error, "what is remarkable about this process could not be written");
        }
    }

    /// Returns whether attempts are under way in this process, which a shutdown lets end.
    pub fn is_at_work(&self) -> bool {
        !self.shared.held.is_empty()
    }

    /// Cuts a shutdown short: attempts that still run are cancelled.
    pub fn abort(&self) {
        self.shared.abort();
    }

    /// Stops taking work, lets running attempts end for up to the cleanup time, cancels those that do not, hands leases
    /// back and closes the session. The store stays open. Who waits for a run that is not over by then is told so.
    pub async fn shutdown(&self) {
        let shared = &self.shared;
        // Also if nobody waits for the end of this.
        let _closed = shared.closed.clone().drop_guard();
        shared.shutdown.cancel();
        shared.tracker.close();
        let grace = shared.clock.now().plus_ms(shared.options.cleanup_ms);
        let watch = async {
            match shared.session.get() {
                Some(session) => session::watch_what_is_held(shared, *session).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.tracker.wait() => {}
            () = watch => {}
            () = shared.clock.sleep_until(grace) => {
                tracing::warn!("some attempts did not end in time and are cancelled");
            }
            () = shared.abort.cancelled() => {}
        }
        shared.abort();
        let last = shared.clock.now().plus_ms(ABORT_MS);
        tokio::select! {
            () = shared.tracker.wait() => {}
            () = shared.clock.sleep_until(last) => tracing::warn!("some attempts are abandoned"),
        }
        if let Some(session) = shared.session.get()
            && let Err(error) = shared.store.close_session(*session).await
        {
            tracing::warn!(%error, "the session could not be closed; its leases are noticed as lost");
        }
        shared.handlers.shutdown().await;
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

/// Returns a new run id, for those who need it before they have an engine.
pub fn new_run_id() -> RunId {
    random_id(&SystemClock::default(), "run").into()
}

fn is_taken(error: &ErrorObject) -> bool {
    error.data.get("reason").is_some_and(|reason| reason == "exists")
}

/// Refuses an answer that does not fit its question, if that is open.
fn check_form(row: &WaitRow, answer: &Value) -> Result<(), ErrorObject> {
    match serde_json::from_value(row.spec["kind"].clone()) {
        Ok(WaitKind::Human(question)) if row.state == WaitState::Open => {
            forms::check_answer(&question, answer)
        }
        _ => Ok(()),
    }
}

/// Refuses a run id that is empty, too long, or holds what a terminal or path would trip over.
fn check_run_id(run: &RunId) -> Result<(), ErrorObject> {
    let id = run.as_str();
    let wrong = match id {
        "." | ".." => Some("is a path"),
        _ if id.contains(['/', '\\']) => Some("holds a slash"),
        _ => stepwell_core::workflow::bad_name(id),
    };
    match wrong {
        None => Ok(()),
        Some(reason) => Err(ErrorObject::new(Code::INVALID_PARAMS, format!("the run id {id:?} {reason}"))
            .with("parameter", "run_id")
            .with("reason", reason)),
    }
}

/// Refuses metadata that no index can carry (spec/flujo.md §3.3).
fn check_metadata(metadata: &Map<String, Value>) -> Result<(), ErrorObject> {
    fn depth(value: &Value) -> usize {
        match value {
            Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
            Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }
    fn bad_key(value: &Value) -> bool {
        match value {
            Value::Object(map) => map.iter().any(|(key, value)| {
                key.is_empty() || key.chars().count() > 128 || key.contains('\0') || bad_key(value)
            }),
            Value::Array(list) => list.iter().any(bad_key),
            Value::String(text) => text.contains('\0'),
            _ => false,
        }
    }
    let value = Value::Object(metadata.clone());
    let reason = if value.to_string().len() > 16 * 1024 {
        "is larger than 16 KiB"
    } else if depth(&value) > 8 {
        "is nested deeper than 8"
    } else if bad_key(&value) {
        "has a key that is empty, longer than 128 characters or holds U+0000"
    } else {
        return Ok(());
    };
    Err(ErrorObject::new(Code::INVALID_PARAMS, format!("the metadata {reason}"))
        .with("parameter", "metadata"))
}
