//! The words the promises are told in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};
use stepwell_core::ids::{CommandId, Epoch, ExecutionRef, Ordinal, RunId, Seq, Timestamp, WaitId};
use stepwell_core::policy::resources::{Resources, Room};
use stepwell_core::run::event::{AttemptStarted, Event};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Priority, Step};

use crate::{
    Base, Batch, CommitError, Committed, LazyEvent, LeaseRef, LeaseRequest, Leased, LimitUse, NewRun,
    OutboxMessage, Purpose, Recorded, Revision, RowUpdate, SessionRef, Store, WaitChange, WaitRow, WaitState,
    WorkChange, WorkItem,
};

/// Returns a moment, in seconds.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

/// Returns a number that no other batch of this process has.
pub fn batch_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Spread over all 64 bits, so that a store that loses some of them is noticed.
    NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Returns a workflow of that name with one step.
pub fn workflow(name: &str) -> Arc<Workflow> {
    let definition = Definition::new(name, vec![Step::function("a")]);
    Workflow::new(definition).expect("one step is a workflow")
}

/// Returns an event that says something.
pub fn note(text: &str) -> Event {
    Event::SignalReceived { name: "note".into(), id: text.into(), value: Arc::new(Value::Null) }
}

/// Returns what journals say, in short: the text of notes, and the kind of other events.
pub fn told(events: &[Recorded]) -> Vec<String> {
    let short = |recorded: &Recorded| match &recorded.event {
        Event::SignalReceived { id, .. } => id.clone(),
        other => other.kind().to_owned(),
    };
    events.iter().map(short).collect()
}

/// Returns how a run stands while it runs.
pub fn running() -> RowUpdate {
    RowUpdate {
        status: RunStatus::Running,
        pause_reason: None,
        epoch: Epoch(1),
        started_at: Some(at(1)),
        finished_at: None,
        error: None,
    }
}

/// Returns how a run stands that ended then.
pub fn finished(seconds: i64) -> RowUpdate {
    RowUpdate { status: RunStatus::Completed, finished_at: Some(at(seconds)), ..running() }
}

/// Returns the first execution of a step.
pub fn first(step: &str) -> ExecutionRef {
    ExecutionRef { step: step.into(), ordinal: Ordinal(1) }
}

/// Returns a work item for the first execution of a step.
pub fn item(step: &str) -> WorkItem {
    WorkItem {
        execution: first(step),
        attempt: 1,
        handler: format!("fn:flow/{step}"),
        priority: Priority::Normal,
        not_before: at(0),
        purpose: Purpose::Attempt,
        limits: Vec::new(),
        resources: Resources::default(),
    }
}

/// Returns the use of units of a named limit.
pub fn limit(name: &str, units: u32, capacity: u32) -> LimitUse {
    LimitUse { name: name.into(), units, capacity }
}

/// Returns a lease as its holder names it.
pub fn held(item: &WorkItem, session: SessionRef) -> LeaseRef {
    LeaseRef { execution: item.execution.clone(), attempt: item.attempt, session }
}

/// Returns the event that a lease of an item writes.
pub fn started(item: &WorkItem, session: SessionRef) -> Event {
    Event::AttemptStarted(AttemptStarted {
        step: item.execution.step.clone(),
        execution: item.execution.ordinal,
        attempt: item.attempt,
        session: session.id,
    })
}

/// Returns a log line of an attempt.
pub fn log_line(run: &RunId, lease: &LeaseRef, text: &str) -> LazyEvent {
    LazyEvent { run: run.clone(), lease: lease.clone(), at: at(50), event: note(text) }
}

/// Returns a message to another run.
pub fn message(target: &str, command: &str) -> OutboxMessage {
    OutboxMessage { target: target.into(), command: command.into(), body: json!({"says": command}) }
}

/// Returns an open question of a run of the workflow `flow`.
pub fn question(run: &RunId, wait: &str, seconds: i64) -> WaitRow {
    WaitRow {
        wait: wait.into(),
        run: run.clone(),
        workflow: "flow".into(),
        step: "a".into(),
        ordinal: Ordinal(1),
        kind: "human".into(),
        spec: json!({"kind": {"for": "human", "prompt": wait}}),
        assignee: None,
        deadline: None,
        metadata: Map::new(),
        state: WaitState::Open,
        opened_at: at(seconds),
        closed_at: None,
        closed_by: None,
    }
}

/// Returns the change that closes a question.
pub fn close(wait: &str, by: &str) -> WaitChange {
    WaitChange::Close { wait: WaitId::from(wait), state: WaitState::Answered, by: Some(by.into()) }
}

/// Returns the object in a JSON value.
pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

/// Opens a session.
pub async fn session(store: &dyn Store, label: &str) -> SessionRef {
    store.open_session(label, at(1)).await.expect("a session can be opened")
}

/// Asks for up to so many items of any kind.
pub fn any_work(session: SessionRef, max: usize) -> LeaseRequest {
    LeaseRequest { session, now: at(1_000), max, handlers: None, trees: None, room: Room::default() }
}

/// Leases up to so many items of any kind.
pub async fn lease(store: &dyn Store, session: SessionRef, max: usize) -> Vec<Leased> {
    store.lease(any_work(session, max)).await.expect("work can be leased")
}

/// Returns the names of the steps that were leased, in their order.
pub fn steps(leased: &[Leased]) -> Vec<&str> {
    leased.iter().map(|leased| leased.item.execution.step.as_str()).collect()
}

/// Returns all events of a run.
pub async fn journal(store: &dyn Store, run: &RunId) -> Vec<Recorded> {
    store.events(run, Seq(0), usize::MAX).await.expect("the run is there")
}

/// A run as one who decides about it has it in memory.
#[derive(Clone, Debug)]
pub struct Tale {
    /// Its id.
    pub run: RunId,
    /// Where it stands.
    pub revision: Revision,
    /// Time of the next batch, in seconds.
    pub clock: i64,
}

impl Tale {
    /// Creates a running run of the workflow `flow`, at second 10.
    pub async fn begin(store: &dyn Store, run: &str) -> Self {
        Self::begin_with(store, run, |_, _| {}).await
    }

    /// Creates a run after its first batch was changed.
    pub async fn begin_with(
        store: &dyn Store,
        run: &str,
        change: impl FnOnce(&mut Batch, &mut NewRun),
    ) -> Self {
        let batch = Self::creation(run, change);
        let clock = batch.at.0 / 1_000_000 + 1;
        let committed = store.commit(batch).await.expect("a new run can be created");
        Self { run: run.into(), revision: committed.revision, clock }
    }

    /// Returns the batch that creates a run.
    pub fn creation(run: &str, change: impl FnOnce(&mut Batch, &mut NewRun)) -> Batch {
        let mut new =
            NewRun { workflow: workflow("flow"), metadata: Map::new(), parent: None, root: run.into() };
        let mut batch = Batch {
            run: run.into(),
            base: Base::On(Revision::default()),
            id: batch_id(),
            at: at(10),
            events: vec![note("created")],
            commands: Vec::new(),
            row: running(),
            answered: Vec::new(),
            lost: Vec::new(),
            work: Vec::new(),
            timers: Vec::new(),
            waits: Vec::new(),
            outbox: Vec::new(),
            delivered: Vec::new(),
            lazy: Vec::new(),
        };
        change(&mut batch, &mut new);
        batch.base = Base::New(Box::new(new));
        batch
    }

    /// Returns a batch on the state at hand that says something.
    pub fn batch(&self, text: &str) -> Batch {
        let mut batch = Self::creation(self.run.as_str(), |_, _| {});
        batch.base = Base::On(self.revision);
        batch.at = at(self.clock);
        batch.events = vec![note(text)];
        batch
    }

    /// Commits a batch and takes note of where the run stands.
    pub async fn commit(&mut self, store: &dyn Store, batch: Batch) -> Result<Committed, CommitError> {
        let committed = store.commit(batch).await?;
        self.revision = committed.revision;
        self.clock += 1;
        Ok(committed)
    }

    /// Commits a batch that says something, after it was changed.
    pub async fn go_on(
        &mut self,
        store: &dyn Store,
        text: &str,
        change: impl FnOnce(&mut Batch),
    ) -> Committed {
        let mut batch = self.batch(text);
        change(&mut batch);
        self.commit(store, batch).await.expect("the batch is on the newest state")
    }

    /// Makes items ready.
    pub async fn ready(&mut self, store: &dyn Store, items: impl IntoIterator<Item = WorkItem>) {
        let work = items.into_iter().map(WorkChange::Put).collect();
        self.go_on(store, "ready", |batch| batch.work = work).await;
    }
}

/// Returns a batch that carries out a command.
pub fn with_command(mut batch: Batch, id: &str) -> Batch {
    batch.commands = vec![CommandId::from(id)];
    batch
}

/// Returns a batch that gives a lost lease back.
pub fn giving_back(mut batch: Batch, lease: LeaseRef) -> Batch {
    batch.lost = vec![lease];
    batch
}

/// Returns a batch that answers a lease.
pub fn answering(mut batch: Batch, lease: LeaseRef) -> Batch {
    batch.answered = vec![lease];
    batch
}
