//! The vocabulary of these tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use stepwell::core::ids::WaitId;
use stepwell::core::run::event::Event;
use stepwell::{
    Agent, Context, Engine, Next, Options, Registry, Resources, Run, RunResult, State, StepError, Store,
};
use stepwell_engine::testing::SimClock;
use tokio::sync::Semaphore;

/// Tells a story over a store in memory, and the same over a file.
pub(crate) async fn on_each_store(story: impl AsyncFn(Engine)) {
    on_each_store_with(&Options::default(), story).await;
}

/// The same with an engine that works like that.
pub(crate) async fn on_each_store_with(options: &Options, story: impl AsyncFn(Engine)) {
    let dir = tempfile::tempdir().unwrap();
    for url in ["memory:".to_owned(), format!("sqlite://{}/s.db", dir.path().display())] {
        let kept = stepwell::open_store(&url).await.unwrap();
        let engine = Engine::open(kept, Registry::default(), options.clone()).await.unwrap();
        story(engine.clone()).await;
        engine.shutdown().await;
    }
}

/// Opens an engine over a store.
pub(crate) async fn open(store: &Arc<dyn Store>) -> Engine {
    Engine::open(store.clone(), Registry::default(), Options::default()).await.unwrap()
}

/// Opens an engine in memory for a test under paused time.
pub(crate) async fn simulated() -> Engine {
    simulated_with(Resources::default()).await
}

/// Opens one whose process has those resources.
pub(crate) async fn simulated_with(pool: Resources) -> Engine {
    let store = stepwell::open_store("memory:").await.unwrap();
    let (registry, options) = (Registry::default(), Options { slots: 64, pool, ..Options::default() });
    Engine::open_with_clock(store, registry, options, Arc::new(SimClock::new(1))).await.unwrap()
}

/// Counts what runs side by side.
#[derive(Clone, Default)]
pub(crate) struct Gauge(Arc<[AtomicU32; 2]>);

impl Gauge {
    /// A function that takes so long and is counted meanwhile.
    pub(crate) fn counted(
        &self,
        time: Duration,
    ) -> impl Fn(Context) -> BoxFuture<'static, Result<Next, StepError>> + Clone + Send + Sync + use<> {
        let gauge = self.0.clone();
        move |_| {
            let gauge = gauge.clone();
            Box::pin(async move {
                let [now, most] = &*gauge;
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(time).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(Next::done())
            })
        }
    }

    /// The most that ran at once.
    pub(crate) fn most(&self) -> u32 {
        self.0[1].load(Ordering::SeqCst)
    }
}

/// A function that ends its branch.
pub(crate) async fn ends(_: Context) -> Result<Next, StepError> {
    Ok(Next::done())
}

/// A function that leads to those states.
pub(crate) fn leads(
    to: &'static [&'static str],
) -> impl Fn(Context) -> std::future::Ready<Result<Next, StepError>> + Send + Sync {
    move |_| std::future::ready(Ok(Next::all(to)))
}

/// A state that always leads to all states that it declares.
pub(crate) fn always(name: &str, to: &'static [&'static str]) -> State {
    State::new(name, leads(to)).next(to)
}

/// A state that leads to the first states in its first rounds, and to the others in the one after them.
pub(crate) fn rounds(
    name: &str,
    count: u32,
    again: &'static [&'static str],
    then: &'static [&'static str],
) -> State {
    let function = move |cx: Context| {
        let to = if cx.ordinal() <= count { again } else { then };
        std::future::ready(Ok(Next::all(to)))
    };
    let end = if then.is_empty() { Some(&stepwell::END) } else { None };
    State::new(name, function).next(again.iter().chain(then).chain(end))
}

/// Five states in a row, of which the second waits for a permit.
pub(crate) fn gated(engine: &Engine, permits: &Arc<Semaphore>) -> Agent {
    let permits = permits.clone();
    let gate = move |_: Context| {
        let permits = permits.clone();
        async move {
            permits.acquire().await?.forget();
            Ok(Next::to("c"))
        }
    };
    Agent::new("gated")
        .add_state(always("a", &["b"]))
        .add_state(State::new("b", gate).next(["c"]))
        .add_state(always("c", &["d"]))
        .add_state(always("d", &["e"]))
        .add_state(always("e", &[]))
        .build(engine)
        .unwrap()
}

/// Builds an agent of those states and runs it.
pub(crate) async fn run_of(engine: &Engine, states: Vec<State>) -> RunResult {
    let builder = states.into_iter().fold(Agent::new("shape"), stepwell::AgentBuilder::add_state);
    builder.build(engine).unwrap().run(()).await.unwrap()
}

/// Returns the states of a run in the order in which they were activated.
pub(crate) async fn activations(engine: &Engine, result: &RunResult) -> Vec<String> {
    let run = engine.inspect(&result.run_id).await.unwrap();
    run.executions().iter().map(|execution| execution.step.to_string()).collect()
}

/// Returns how often each state of a run was executed.
pub(crate) async fn counts(engine: &Engine, result: &RunResult) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in activations(engine, result).await {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Returns counts as a test writes them down: `a 6 b 5`.
pub(crate) async fn told(engine: &Engine, result: &RunResult) -> String {
    let counts = counts(engine, result).await;
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(" ")
}

/// Follows a run until an event happened.
pub(crate) async fn until(run: &Run, happened: impl Fn(&Event) -> bool) {
    let mut events = run.events();
    loop {
        let news = events.next().await.unwrap();
        assert!(!news.is_empty(), "the run ended before");
        if news.iter().any(|recorded| happened(&recorded.event)) {
            return;
        }
    }
}

/// An attempt of that state has begun.
pub(crate) fn started(name: &'static str) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::AttemptStarted(started) if started.step.as_str() == name)
}

/// Waits until only people or signals can move a run, and returns what it asks people: prompt and wait, in that order.
pub(crate) async fn questions(run: &Run) -> Vec<(String, WaitId)> {
    run.rest().await.unwrap();
    let asked = run.questions().await.unwrap();
    let mut asked: Vec<_> = asked.into_iter().map(|asked| (asked.question.prompt, asked.wait)).collect();
    asked.sort();
    asked
}

/// Waits until a run asks that, and answers.
pub(crate) async fn answer(run: &Run, prompt: &str, value: Value) {
    let asked = questions(run).await;
    let wait = asked.iter().find(|(asked, _)| asked == prompt).map(|(_, wait)| wait);
    let wait = wait.unwrap_or_else(|| panic!("{prompt:?} is not among {asked:?}"));
    run.answer(wait, value).await.unwrap();
}
