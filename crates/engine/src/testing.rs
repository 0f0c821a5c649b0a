//! For tests of what is built on the engine: a clock that is set, providers that follow a script, an engine that
//! tells stories without sleeping.
//!
//! Use it under `#[tokio::test(start_paused = true)]`: whenever everything waits, time jumps to the next moment
//! that somebody waits for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{RunId, Seq, Timestamp};
use stepwell_core::run::event::Event;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::Definition;
use stepwell_store::{MemoryStore, Recorded, RunRow, Store};

use crate::clock::{Clock, mix};
use crate::engine::{Engine, Leases, Options, Start};
use crate::provider::{Outcome, Provider, Registry, Task};

/// A clock over tokio's (paused) time with randomness from a seed.
#[derive(Debug)]
pub struct SimClock {
    begin: tokio::time::Instant,
    state: AtomicU64,
}

impl SimClock {
    /// Returns a clock that stands at 2020-01-01T00:00:00Z.
    pub fn new(seed: u64) -> Self {
        Self { begin: tokio::time::Instant::now(), state: AtomicU64::new(mix(seed)) }
    }
}

/// Seeds of the engines of a test.
static NEXT_SEED: AtomicU64 = AtomicU64::new(1);

/// 2020-01-01T00:00:00Z in microseconds.
const EPOCH: i64 = 1_577_836_800_000_000;

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp(EPOCH + self.begin.elapsed().as_micros() as i64)
    }

    async fn sleep_until(&self, at: Timestamp) {
        let micros = at.0.saturating_sub(self.now().0);
        tokio::time::sleep(Duration::from_micros(u64::try_from(micros).unwrap_or(0))).await;
    }

    fn random(&self) -> u64 {
        mix(self.state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed))
    }
}

type Script = Arc<dyn Fn(&Task) -> Outcome + Send + Sync>;

/// Carries out steps as a script says, and counts how often each was really carried out.
#[derive(Clone, Default)]
pub struct ScriptedProvider {
    scripts: Arc<Mutex<HashMap<String, (Script, Duration)>>>,
    calls: Arc<Mutex<HashMap<String, u32>>>,
}

impl ScriptedProvider {
    /// Lets a step do this. A step without a script completes with its own name.
    pub fn on(self, step: &str, script: impl Fn(&Task) -> Outcome + Send + Sync + 'static) -> Self {
        self.on_after(step, Duration::ZERO, script)
    }

    /// Lets a step do this after some time.
    pub fn on_after(
        self,
        step: &str,
        time: Duration,
        script: impl Fn(&Task) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        let mut scripts = self.scripts.lock().expect("no panic happens under this lock");
        scripts.insert(step.to_owned(), (Arc::new(script), time));
        drop(scripts);
        self
    }

    /// Returns how often a step was carried out.
    pub fn calls(&self, step: &str) -> u32 {
        self.calls.lock().expect("no panic happens under this lock").get(step).copied().unwrap_or(0)
    }
}

impl std::fmt::Debug for ScriptedProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScriptedProvider")
    }
}

#[async_trait]
impl Provider for ScriptedProvider {
    async fn execute(&self, task: Task) -> Outcome {
        let step = task.step.to_string();
        *self.calls.lock().expect("no panic happens under this lock").entry(step.clone()).or_insert(0) += 1;
        let script = self.scripts.lock().expect("no panic happens under this lock").get(&step).cloned();
        let Some((script, time)) = script else { return Outcome::output(json!({ "result": step })) };
        if !time.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                () = task.cancel.cancelled() => {
                    return ErrorObject::new(Code::TASK_CANCELLED, "cancelled").into();
                }
            }
        }
        script(&task)
    }
}

/// Returns a failure that is worth another attempt.
pub fn flaky(message: &str) -> Outcome {
    ErrorObject::new(Code::TASK_EXECUTION_FAILED, message).into()
}

/// An engine with a scripted provider for protocol `test/v1` and for every function, over a store of its own.
#[derive(Clone, Debug)]
pub struct TestEngine {
    /// The engine.
    pub engine: Engine,
    /// Its script.
    pub script: ScriptedProvider,
    /// Its store.
    pub store: Arc<dyn Store>,
}

impl TestEngine {
    /// Returns an engine over an empty store in memory.
    pub async fn new(script: ScriptedProvider) -> Self {
        Self::over(Arc::new(MemoryStore::default()), script).await
    }

    /// Returns an engine over that store.
    pub async fn over(store: Arc<dyn Store>, script: ScriptedProvider) -> Self {
        Self::with(store, script, Options { slots: 8, ..Options::default() }).await
    }

    /// Returns an engine over that store that works as the options say.
    pub async fn with(store: Arc<dyn Store>, script: ScriptedProvider, options: Options) -> Self {
        let provider: Arc<dyn Provider> = Arc::new(script.clone());
        let registry = Registry::default().provide("test/v1", provider.clone()).functions(provider);
        // As different processes would, engines over one store draw different ids.
        let clock = Arc::new(SimClock::new(NEXT_SEED.fetch_add(1, Ordering::Relaxed)));
        let engine = Engine::open_with_clock(store.clone(), registry, options, clock).await;
        Self { engine: engine.expect("a test's store can be opened"), script, store }
    }

    /// Returns an engine that takes no work.
    pub async fn idle(store: Arc<dyn Store>) -> Self {
        let options = Options { leases: Leases::None, ..Options::default() };
        Self::with(store, ScriptedProvider::default(), options).await
    }

    /// Starts a run.
    pub async fn start(&self, definition: Definition) -> RunId {
        let workflow = Workflow::new(definition).expect("a test's definition can be run");
        self.engine.start(Start::of(workflow)).await.expect("a run can be started").run
    }

    /// Starts a run and waits until it is over.
    pub async fn run(&self, definition: Definition) -> RunRow {
        let run = self.start(definition).await;
        self.end(&run).await
    }

    /// Waits until a run is over.
    pub async fn end(&self, run: &RunId) -> RunRow {
        self.engine.rest(run, false).await.expect("a run that exists comes to rest")
    }

    /// Waits until a run is over or paused.
    pub async fn rest(&self, run: &RunId) -> RunRow {
        self.engine.rest(run, true).await.expect("a run that exists comes to rest")
    }

    /// Returns the journal of a run.
    pub async fn journal(&self, run: &RunId) -> Vec<Recorded> {
        self.store.events(run, Seq(0), usize::MAX).await.expect("the journal of a run can be read")
    }

    /// Returns how often an event of that kind is in a journal.
    pub async fn count(&self, run: &RunId, kind: &str) -> usize {
        self.journal(run).await.iter().filter(|recorded| recorded.event.kind() == kind).count()
    }

    /// Returns the view of a step.
    pub async fn view(&self, run: &RunId, step: &str) -> Value {
        let run = self.engine.inspect(run).await.expect("a run that exists can be looked at");
        run.views().get(step).cloned().unwrap_or(Value::Null)
    }
}

/// Returns whether the numbers of a journal have no gaps.
pub fn has_no_gaps(journal: &[Recorded]) -> bool {
    journal.iter().zip(1..).all(|(recorded, seq)| recorded.seq == Seq(seq))
}

/// Returns whether no execution was completed twice in a journal without a retry between.
pub fn completes_once(journal: &[Recorded]) -> bool {
    let mut completed = std::collections::HashSet::new();
    journal.iter().all(|recorded| match &recorded.event {
        Event::StepCompleted { step, execution, .. } => completed.insert((step.clone(), *execution)),
        _ => true,
    })
}
