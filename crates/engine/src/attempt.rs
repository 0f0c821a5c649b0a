//! One attempt: what its provider is told, how its time is kept, how its outcome comes back.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{Epoch, Ordinal, RunId, StepName, Timestamp, WaitId};
use stepwell_core::nesting::is_too_deep;
use stepwell_core::run::Run;
use stepwell_core::run::command::{AttemptRef, Command, Complete, Fail, Suspend};
use stepwell_core::run::event::{Event, Payload};
use stepwell_core::run::wait::Resolution;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Action, Step};
use stepwell_store::{LazyEvent, LeaseRef, Purpose};

use crate::error::from_store;
use crate::held::{Ending, Hold, Late, UnderWay};
use crate::mailbox::{Cached, Refused};
use crate::params;
use crate::provider::{Executor, Failure, Outcome, Provider, Task, function_handler};
use crate::secrets::Secrets;
use crate::shared::Shared;
use crate::slots::Slot;
use crate::yielding::yield_once;

/// A lease that a commit hands over, with the slot it will run in.
pub(crate) struct Assignment {
    pub(crate) lease: LeaseRef,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) slot: Slot,
}

/// What is the same for every attempt of a run.
#[derive(Debug)]
pub struct RunInfo {
    /// Its id.
    pub id: RunId,
    /// Its definition.
    pub workflow: Arc<Workflow>,
    /// Its input.
    pub input: Payload,
    /// Its tags.
    pub metadata: Map<String, Value>,
    /// Directory that relative paths start at.
    pub base_dir: Option<String>,
    /// How many runs wait above it.
    pub depth: u32,
    pub(crate) epoch: Epoch,
    /// Some of its steps take named limits.
    pub(crate) takes_limits: bool,
}

impl RunInfo {
    pub(crate) fn of(run: &Run) -> Self {
        Self {
            id: run.id().clone(),
            workflow: run.workflow().clone(),
            input: run.input().clone(),
            metadata: run.metadata().clone(),
            base_dir: run.base_dir().map(str::to_owned),
            depth: run.parent().map_or(0, |parent| parent.depth),
            epoch: run.epoch(),
            takes_limits: run.workflow().definition().steps.iter().any(|step| !step.limits.is_empty()),
        }
    }
}

/// A wait of this execution that was resolved: what a function that runs again is told.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Its id.
    pub wait: WaitId,
    /// Position among the waits of the execution.
    pub position: u32,
    /// Name the function gave it.
    pub name: Option<String>,
    /// `human`, `signal`, `timer` or `child`.
    pub kind: &'static str,
    /// Until when it was open at most; not told after a retry of the run, which gives everything its time anew.
    pub deadline: Option<Timestamp>,
    /// How it was resolved.
    pub resolution: Resolution,
}

/// A wait of this execution that is still open.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Position among the waits of the execution.
    pub position: u32,
    /// Name the function gave it.
    pub name: Option<String>,
    /// `human`, `signal`, `timer` or `child`.
    pub kind: &'static str,
}

/// What brought a failure route or a compensation here.
#[derive(Clone, Debug)]
pub struct FailureBehind {
    /// The failed step.
    pub step: StepName,
    /// Which activation.
    pub ordinal: Ordinal,
    /// Its error.
    pub error: ErrorObject,
    /// How many attempts it made.
    pub attempts: u32,
    /// What a route had given it.
    pub payload: Option<Payload>,
}

/// Lets a provider say things while its attempt runs: results of `once`, and lazy events.
#[derive(Clone)]
pub struct Reporter {
    pub(crate) shared: Arc<Shared>,
    attempt: Arc<UnderWay>,
    /// Of this attempt.
    secrets: Arc<Mutex<Secrets>>,
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reporter({} {})", self.attempt.run, self.attempt.lease.execution)
    }
}

impl Reporter {
    /// Records a result under a name: durable when this returns, and told to every later attempt.
    ///
    /// # Errors
    /// The name is taken, the attempt is over, or the store failed.
    pub async fn record(&self, name: &str, value: Value) -> Result<(), ErrorObject> {
        let command = Command::Record {
            attempt: attempt_ref(&self.attempt.lease),
            name: name.to_owned(),
            value: Arc::new(value),
        };
        let submitted =
            self.shared.submit_leased(&self.attempt.run, command, self.attempt.lease.clone()).await;
        submitted.map(|_| ()).map_err(Refused::into_error)
    }

    /// Returns the definition of the newest run of a workflow in the store: by name, and by version if one is given.
    ///
    /// # Errors
    /// The store failed.
    pub async fn newest_definition(
        &self,
        workflow: &str,
        version: Option<&str>,
    ) -> Result<Option<Arc<str>>, ErrorObject> {
        let found = self.shared.store.newest_definition(workflow, version).await;
        found.map_err(|error| from_store(&error))
    }

    /// Takes in the function of a step that the attempt adds to its run ([`Completion::defines`]). It carries out the step
    /// of that name in every run of the workflow.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` if the step asks for more than this process has.
    ///
    /// [`Completion::defines`]: crate::Completion::defines
    pub fn register(
        &self,
        workflow: &str,
        step: &Step,
        function: Arc<dyn Provider>,
    ) -> Result<(), ErrorObject> {
        self.shared.pool.admit_step(step)?;
        self.shared.register(function_handler(workflow, step.name.as_str()), function);
        Ok(())
    }

    /// Returns the moment, on the engine's clock.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Says that the attempt is alive: a step may limit how long it is silent. To emit says so too.
    pub fn heartbeat(&self) {
        self.attempt.note_sign(self.shared.clock.now());
    }

    /// Returns whether the attempt is over: nobody takes anything from it any more.
    pub fn is_over(&self) -> bool {
        self.attempt.has_ended()
    }

    /// Takes note of a secret: what the attempt emits, and its error, show `***` in its place.
    pub fn keep_secret(&self, text: &str) {
        self.secrets.lock().expect("no panic happens under this lock").add(text);
    }

    /// Returns the secrets that the attempt has.
    pub fn secrets(&self) -> Secrets {
        self.secrets.lock().expect("no panic happens under this lock").clone()
    }

    /// Journals a `log`, `progress` or `message`, with the next commit or flush. Secrets of the attempt are masked.
    pub fn emit(&self, kind: &str, data: Value) {
        let secrets = self.secrets();
        let data = if secrets.is_empty() { data } else { secrets.mask_value(data) };
        let data = if is_too_deep(&data) { Value::from("(nested too deep to be kept)") } else { data };
        let (lease, now) = (&self.attempt.lease, self.shared.clock.now());
        self.attempt.note_sign(now);
        self.shared.lazy.push(LazyEvent {
            run: self.attempt.run.clone(),
            lease: lease.clone(),
            at: now,
            event: Event::Emitted {
                step: lease.execution.step.clone(),
                execution: lease.execution.ordinal,
                attempt: lease.attempt,
                kind: kind.to_owned(),
                data: Arc::new(data),
            },
        });
    }
}

/// A lease with everything that its provider needs.
pub(crate) struct Prepared {
    provider: Arc<dyn Provider>,
    task: Result<Task, ErrorObject>,
    hold: Hold,
    timeout: Option<Duration>,
    heartbeat: Option<Duration>,
    snapshot: u64,
    purpose: Purpose,
}

impl Prepared {
    pub(crate) fn executor(&self) -> Option<&Arc<dyn Executor>> {
        self.provider.executor()
    }
}

pub(crate) fn attempt_ref(lease: &LeaseRef) -> AttemptRef {
    AttemptRef {
        step: lease.execution.step.clone(),
        ordinal: lease.execution.ordinal,
        attempt: lease.attempt,
        session: lease.session.id,
    }
}

/// Makes the task of an attempt from its run as it stands. `None`: the run has no such execution (any more).
pub(crate) fn prepare(
    shared: &Arc<Shared>,
    cached: &Cached,
    hold: Hold,
    provider: Arc<dyn Provider>,
    purpose: Purpose,
) -> Option<Box<Prepared>> {
    let (run, lease) = (&cached.run, &hold.attempt.lease);
    let execution = run.execution(lease.execution.step.as_str(), lease.execution.ordinal)?;
    let step = run.workflow().step(execution.step_ix());
    let (method, params) = match &step.action {
        Action::Function | Action::VersionedFunction => (step.name.as_str().to_owned(), Ok(Value::Null)),
        Action::Provider { method, params, .. } => {
            let fit = refuse_file(step);
            let resolve = |()| params::resolve(shared, run, execution, &*provider, method, params);
            (method.clone(), fit.and_then(resolve))
        }
    };
    let deadline = step.timeout_ms.map(|ms| shared.clock.now().plus_ms(ms));
    let reporter =
        Reporter { shared: shared.clone(), attempt: hold.attempt.clone(), secrets: Arc::default() };
    let resolutions = run.resolutions(execution).into_iter().map(|(wait, spec, resolution)| Resolved {
        wait: wait.clone(),
        position: spec.position,
        name: spec.name.clone(),
        kind: spec.kind.as_str(),
        deadline: spec.deadline.filter(|_| run.opened_in(wait) == Some(run.epoch())),
        resolution: resolution.clone(),
    });
    let open = run.waits_open_for(execution).map(|spec| Opened {
        position: spec.position,
        name: spec.name.clone(),
        kind: spec.kind.as_str(),
    });
    let failure = run.failure_behind(execution).map(|failed| FailureBehind {
        step: failed.step.clone(),
        ordinal: failed.ordinal,
        error: failed.error.as_deref().cloned().unwrap_or_else(|| {
            ErrorObject::new(Code::TASK_EXECUTION_FAILED, format!("step '{}' failed", failed.step))
        }),
        attempts: failed.attempts,
        payload: failed.payload.clone(),
    });
    let task = params.map(|params| Task {
        run: cached.info.clone(),
        step: lease.execution.step.clone(),
        ordinal: lease.execution.ordinal,
        attempt: lease.attempt,
        idempotency_key: run.idempotency_key(execution),
        method,
        params,
        payload: execution.payload.clone(),
        context: run.context().clone(),
        memos: execution.memos.clone(),
        resolutions: resolutions.collect(),
        open: open.collect(),
        judges: purpose == Purpose::Judge,
        failure,
        deadline,
        cancel: hold.attempt.cancel.clone(),
        report: reporter,
    });
    Some(Box::new(Prepared {
        provider,
        timeout: step.timeout_ms.map(Duration::from_millis),
        heartbeat: step.heartbeat_timeout_ms.map(Duration::from_millis),
        snapshot: run.context_version(),
        task,
        hold,
        purpose,
    }))
}

/// Refuses the file of a batch that cannot be processed.
fn refuse_file(step: &Step) -> Result<(), ErrorObject> {
    let Some(refused) = step.file.as_ref().and_then(|file| file.refused.clone()) else { return Ok(()) };
    let message = format!("step '{}': {}", step.name, refused.message);
    Err(ErrorObject { message, ..refused }.with("task_id", step.name.as_str()))
}

/// Carries an attempt out and brings its outcome home, then goes on with what is handed over to it.
pub(crate) fn carry_out(shared: Arc<Shared>, prepared: Box<Prepared>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        /// So many in a row, and others have their turn.
        const IN_A_ROW: u32 = 64;
        let (mut current, mut carried_out) = (Some(prepared), 0);
        let executor = current.as_ref().and_then(|first| first.executor()).cloned();
        while let Some(prepared) = current {
            let is_ours = match (prepared.executor(), &executor) {
                (Some(its), Some(ours)) => Arc::ptr_eq(its, ours),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !is_ours {
                shared.spawn_attempt(prepared);
                return;
            }
            current = carry_one_out(&shared, prepared).await;
            carried_out += 1;
            if carried_out % IN_A_ROW == 0 {
                yield_once().await;
            }
        }
    })
}

async fn carry_one_out(shared: &Arc<Shared>, prepared: Box<Prepared>) -> Option<Box<Prepared>> {
    let Prepared { provider, task, hold, timeout, heartbeat, snapshot, purpose } = *prepared;
    let attempt = &hold.attempt;
    let outcome = match task {
        Err(error) => Outcome::from(error),
        Ok(task) => {
            if let (Some(limit), Some(at)) = (timeout, task.deadline) {
                shared.tracker.spawn(keep_time(shared.clone(), attempt.clone(), limit, at));
            }
            if let Some(limit) = heartbeat {
                attempt.note_sign(shared.clock.now());
                shared.tracker.spawn(expect_signs(shared.clone(), attempt.clone(), limit));
            }
            let (secrets, step) = (task.report.secrets.clone(), task.step.clone());
            // What a provider does before it returns its future may panic as well.
            let running = AssertUnwindSafe(async { provider.execute(task).await }).catch_unwind();
            let ended = tokio::select! {
                biased;
                ended = running => ended,
                () = attempt.ended() => return None,
            };
            let outcome = ended.unwrap_or_else(|panic| panicked(&step, panic));
            without_secrets(&secrets.lock().expect("no panic happens under this lock"), outcome)
        }
    };
    // Timers and tasks are gone then, which is no fault of the step: the next process makes the attempt again.
    if matches!(outcome, Outcome::Fail(_) | Outcome::Lost { .. }) && shared.has_lost_its_runtime() {
        return None;
    }
    // Otherwise it was abandoned.
    let Ending { slot, late, awaited: _awaited } = attempt.end()?;
    let outcome = match late {
        Some(late) => Outcome::Fail(timed_out(&attempt.lease.execution.step, late)),
        None => outcome,
    };
    if let Outcome::Lost { reason } = &outcome {
        tracing::warn!(run = %attempt.run, execution = %attempt.lease.execution, %reason, "an attempt was lost");
    }
    let is_unwanted = attempt.cancel.is_cancelled() && late.is_none();
    if is_unwanted && !shared.abort.is_cancelled() {
        drop(hold);
        shared.note_unwanted();
        return None;
    }
    let command = match &outcome {
        // The engine is shutting down, which is no fault of the step: the next worker makes the attempt again.
        Outcome::Fail(_) | Outcome::Lost { .. } if is_unwanted => give_back(attempt),
        _ => command_of(shared, &attempt.lease, outcome, snapshot, purpose),
    };
    bring_home(shared, attempt, command, slot).await
}

fn without_secrets(secrets: &Secrets, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Fail(failure) if !secrets.is_empty() => {
            Outcome::Fail(Failure { error: secrets.mask_error(failure.error), ..failure })
        }
        Outcome::Lost { reason } => Outcome::Lost { reason: secrets.mask(&reason) },
        Outcome::Fail(_) | Outcome::Complete(_) | Outcome::Suspend(_) => outcome,
    }
}

/// Tells an attempt to end when its time is over.
async fn keep_time(shared: Arc<Shared>, attempt: Arc<UnderWay>, limit: Duration, at: Timestamp) {
    tokio::select! {
        biased;
        () = attempt.ended() => return,
        () = shared.clock.sleep_until(at) => {}
    }
    if attempt.time_out(Late::Time(limit)) {
        abandon_late(shared, attempt).await;
    }
}

/// Tells an attempt to end when it has given no sign of life for so long.
async fn expect_signs(shared: Arc<Shared>, attempt: Arc<UnderWay>, limit: Duration) {
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    loop {
        let last = attempt.last_sign();
        tokio::select! {
            biased;
            () = attempt.ended() => return,
            () = shared.clock.sleep_until(last.plus_ms(limit_ms)) => {}
        }
        if attempt.last_sign() == last {
            break;
        }
    }
    if attempt.time_out(Late::Silent(limit)) {
        abandon_late(shared, attempt).await;
    }
}

/// Waits for the end of an attempt that was told to end, since its time is over or nobody wants it any more. One that does
/// not end within the clean-up time is abandoned: its slot and what it booked are free again, and fencing refuses whatever
/// it brings. It may block its thread, so this is never done on its own task.
pub(crate) async fn abandon_late(shared: Arc<Shared>, attempt: Arc<UnderWay>) {
    let grace_ms = match attempt.late() {
        // What gives no sign of life will hardly end: it gets as long again.
        Some(Late::Silent(limit)) => shared.options.cleanup_ms.min(limit.as_millis() as u64),
        Some(Late::Time(_)) | None => shared.options.cleanup_ms,
    };
    let grace = shared.clock.now().plus_ms(grace_ms);
    tokio::select! {
        biased;
        () = attempt.ended_or_abandoned() => {}
        () = shared.clock.sleep_until(grace) => {}
    }
    let Some(Ending { slot, late, awaited: _awaited }) = attempt.end() else { return };
    let lease = &attempt.lease;
    tracing::warn!(run = %attempt.run, execution = %lease.execution, "an attempt did not end when it was told to, and is abandoned");
    let command = match late {
        Some(late) => fail(&shared, lease, timed_out(&lease.execution.step, late)),
        None if shared.abort.is_cancelled() => give_back(&attempt),
        None => {
            shared.held.release(&attempt);
            shared.note_unwanted();
            return;
        }
    };
    if let Some(next) = bring_home(&shared, &attempt, command, slot).await {
        shared.spawn_attempt(next);
    }
    shared.held.release(&attempt);
}

fn give_back(attempt: &UnderWay) -> Command {
    Command::Lose { attempt: attempt_ref(&attempt.lease), given_back: true }
}

fn timed_out(step: &StepName, late: Late) -> Failure {
    let error = match late {
        Late::Time(limit) => {
            let seconds = limit.as_secs_f64();
            let message = format!("step '{step}' did not end within {seconds} s");
            ErrorObject::new(Code::TASK_TIMEOUT, message).with("timeout_seconds", seconds)
        }
        Late::Silent(limit) => {
            let seconds = limit.as_secs_f64();
            let message = format!("step '{step}' gave no sign of life for {seconds} s");
            ErrorObject::new(Code::TASK_TIMEOUT, message)
                .with("reason", "heartbeat")
                .with("heartbeat_timeout_seconds", seconds)
                .with_hint("it blocks or hangs; a function that is at work says so by emitting something")
        }
    };
    let error = error.with("task_id", step.as_str());
    Failure { error, timed_out: true, retry_after_ms: None }
}

/// Returns what a panic said.
pub fn said_by(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn panicked(step: &StepName, panic: Box<dyn std::any::Any + Send>) -> Outcome {
    let message = format!("step '{step}' panicked: {}", said_by(&*panic));
    // What it says may be of a type that panics when it is dropped. What that says in turn is never dropped.
    if let Err(again) = std::panic::catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
    ErrorObject::new(Code::TASK_EXECUTION_FAILED, message)
        .with("exception_type", "panic")
        .with("task_id", step.as_str())
        .into()
}

fn command_of(
    shared: &Arc<Shared>,
    lease: &LeaseRef,
    outcome: Outcome,
    snapshot: u64,
    purpose: Purpose,
) -> Command {
    let attempt = attempt_ref(lease);
    match outcome {
        Outcome::Complete(done) if purpose == Purpose::Judge => {
            Command::Judge { attempt, holds: done.output.as_bool().unwrap_or(false) }
        }
        Outcome::Complete(done) => Command::Complete(Complete {
            children: done.children,
            defines: done.defines,
            attempt,
            output: done.output,
            writes: done.writes,
            snapshot,
            to: done.to,
        }),
        Outcome::Fail(failure) => fail(shared, lease, failure),
        Outcome::Suspend(waits) => Command::Suspend(Suspend { attempt, waits }),
        Outcome::Lost { .. } => Command::Lose { attempt, given_back: false },
    }
}

fn fail(shared: &Arc<Shared>, lease: &LeaseRef, failure: Failure) -> Command {
    Command::Fail(Fail {
        attempt: attempt_ref(lease),
        error: failure.error,
        timed_out: failure.timed_out,
        // 53 random bits make a number in [0, 1).
        jitter: (shared.clock.random() >> 11) as f64 / (1u64 << 53) as f64,
        retry_after_ms: failure.retry_after_ms,
    })
}

/// Submits an outcome until it is taken or nobody wants it. A store that fails for a while loses nothing.
///
/// It does not yield to the runtime's budget of a task, for the reason told at [`yield_once`].
async fn bring_home(
    shared: &Arc<Shared>,
    attempt: &Arc<UnderWay>,
    command: Command,
    slot: Slot,
) -> Option<Box<Prepared>> {
    tokio::task::unconstrained(submit(shared, attempt, command, slot)).await
}

async fn submit(
    shared: &Arc<Shared>,
    attempt: &Arc<UnderWay>,
    command: Command,
    slot: Slot,
) -> Option<Box<Prepared>> {
    let (run, lease) = (&attempt.run, &attempt.lease);
    let (command, mut slot) = (Arc::new(command), Some(slot));
    let mut pause_ms = 50;
    loop {
        let (outcome, next) = shared.submit_outcome(run, command.clone(), lease.clone(), slot.take()).await;
        let Err(refused) = outcome else { return next };
        // What was handed over while draining for others does not wait for this attempt's troubles.
        if let Some(next) = next {
            shared.spawn_attempt(next);
        }
        match refused {
            Refused::LeaseLost => {
                tracing::info!(%run, execution = %lease.execution, "an outcome came too late: its lease is gone");
                break;
            }
            Refused::Rejected(error) => {
                tracing::info!(%run, execution = %lease.execution, %error, "an outcome was refused");
                break;
            }
            Refused::Store(error) => {
                tracing::warn!(%run, execution = %lease.execution, %error, "the store failed, trying again");
                let at = shared.clock.now().plus_ms(pause_ms);
                pause_ms = (pause_ms * 2).min(2_000);
                tokio::select! {
                    () = shared.clock.sleep_until(at) => {}
                    () = shared.abort.cancelled() => return None,
                }
            }
        }
    }
    shared.held.release(attempt);
    shared.note_unwanted();
    None
}
