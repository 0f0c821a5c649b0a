//! Functions that do what no function should: each has a defined end, holds nothing afterwards, and the run beside it goes on.

use std::collections::HashMap;
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::Duration;

use stepwell::core::error::Code;
use stepwell::core::status::RunStatus;
use stepwell::{
    Agent, Branch, Context, END, Engine, Need, Next, Options, Pipeline, Resources, Run, RunError, State,
    Step, StepError,
};
use tokio::sync::{Notify, mpsc};

use crate::support::on_each_store_with;

/// Little patience with what does not end.
fn impatient() -> Options {
    Options { cleanup_ms: 20, pool: Resources::cpu(8), ..Options::default() }
}

/// A run that is under way when another begins, and goes on and ends after it.
async fn beside(engine: &Engine) -> Run {
    let waits = |cx: Context| async move {
        cx.signal::<bool>("go").await?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(Next::to("last"))
    };
    let last = |cx: Context| async move {
        cx.set("done", &true)?;
        Ok(Next::done())
    };
    let agent = Agent::new("beside").state("waits", waits).state("last", last).build(engine).unwrap();
    agent.start(()).await.unwrap()
}

/// Runs a state that books a unit and leads to `b`, beside another run. Returns what it ended with.
async fn ends_with(engine: &Engine, state: State) -> RunError {
    let other = beside(engine).await;
    let b = State::new("b", |_: Context| async { Ok(Next::done()) });
    let agent = Agent::new("unruly").add_state(state.resources(Resources::cpu(1)).entry()).add_state(b);
    let ended = agent.build(engine).unwrap().run(()).await.unwrap_err();
    assert_eq!(ended.result.as_ref().unwrap().not_reached, ["b"]);
    assert!(ended.result.as_ref().unwrap().context.is_empty());
    assert_eq!(goes_on(engine, &other).await, Some(true));
    ended
}

/// Lets the other run go on to its end; nothing is booked then.
async fn goes_on(engine: &Engine, other: &Run) -> Option<bool> {
    engine.signal(other.id(), "go", true.into(), None).await.unwrap();
    let result = other.wait().await.unwrap();
    assert!(engine.booked().is_empty());
    result.get("done").unwrap()
}

#[tokio::test]
async fn a_function_that_panics_fails_its_attempt() {
    on_each_store_with(&impatient(), async |engine| {
        let before_its_future =
            |_: Context| -> std::future::Ready<Result<Next, StepError>> { panic!("no future") };
        let driven = |_: Context| async { std::panic::panic_any(7) };
        for (state, message) in [
            (State::new("a", before_its_future), "step 'a' panicked: no future"),
            (State::new("a", driven), "step 'a' panicked: no message"),
            (State::blocking("a", |_| panic!("{} of it", "all")), "step 'a' panicked: all of it"),
        ] {
            let ended = ends_with(&engine, state).await;
            assert_eq!(ended.error.message, message);
            assert_eq!(ended.error.data["exception_type"], "panic");
        }
    })
    .await;
}

#[tokio::test]
async fn a_function_that_leads_to_an_unknown_state_fails_its_attempt() {
    on_each_store_with(&impatient(), async |engine| {
        let ended = ends_with(&engine, State::new("a", |_: Context| async { Ok(Next::to("bb")) })).await;
        assert_eq!(ended.error.code, Code::UNKNOWN_STEP);
        assert_eq!(ended.error.hint.unwrap(), "did you mean 'b', 'a'?");
    })
    .await;
}

#[tokio::test]
async fn a_function_that_writes_what_is_no_json_fails_its_attempt() {
    on_each_store_with(&impatient(), async |engine| {
        let writes = |cx: Context| async move {
            cx.set("good", &1)?;
            cx.set("bad", &HashMap::from([((1, 2), 3)]))?;
            Ok(Next::to("b"))
        };
        let ended = ends_with(&engine, State::new("a", writes)).await;
        assert_eq!(ended.error.code, Code::TASK_RESULT_INVALID);
        let message = "step 'a': context key 'bad' cannot be kept as JSON: key must be a string";
        assert_eq!(ended.error.message, message);
    })
    .await;
}

/// Blocks threads until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn pass(&self) {
        let (is_open, opened) = &*self.0;
        drop(opened.wait_while(is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// Functions that hear nothing until a gate is opened, and tell then what came of a late write.
struct Deaf {
    gate: Gate,
    tell: mpsc::UnboundedSender<StepError>,
    late: mpsc::UnboundedReceiver<StepError>,
}

impl Deaf {
    fn new() -> Self {
        let (tell, late) = mpsc::unbounded_channel();
        Self { gate: Gate::default(), tell, late }
    }

    /// Blocks the thread, whatever that is for.
    fn block(&self) -> impl Fn(&Context) -> Result<Next, StepError> + Clone + Send + Sync + 'static + use<> {
        let (gate, tell) = (self.gate.clone(), self.tell.clone());
        move |cx| {
            gate.pass();
            // Refused writes are told, not returned: nobody waits for this function any more.
            let _ = tell.send(cx.set("late", &true).unwrap_err());
            Ok(Next::to("b"))
        }
    }

    /// The engine ends although threads are blocked; then they go on, and are refused.
    async fn comes_late(mut self, engine: &Engine) {
        engine.shutdown().await;
        self.gate.open();
        assert!(self.late.recv().await.unwrap().is(Code::STALE_CONTEXT));
    }
}

#[tokio::test]
async fn a_function_that_blocks_a_thread_of_its_own_ends_with_its_time() {
    on_each_store_with(&impatient(), async |engine| {
        let deaf = Deaf::new();
        let block = deaf.block();
        let state = State::blocking("a", move |cx| block(&cx)).timeout(Duration::from_millis(20));
        assert_eq!(ends_with(&engine, state).await.error.code, Code::TASK_TIMEOUT);
        deaf.comes_late(&engine).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_function_that_never_yields_ends_with_its_time() {
    on_each_store_with(&impatient(), async |engine| {
        let deaf = Deaf::new();
        let block = deaf.block();
        let never_yields = move |cx: Context| std::future::ready(block(&cx));
        let state = State::new("a", never_yields).timeout(Duration::from_millis(20));
        assert_eq!(ends_with(&engine, state).await.error.code, Code::TASK_TIMEOUT);
        deaf.comes_late(&engine).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn more_functions_than_processors_may_block_at_once() {
    let options = Options { slots: 64, pool: Resources::cpu(64), ..impatient() };
    on_each_store_with(&options, async |engine| {
        let other = beside(&engine).await;
        // More than there are processors, and none goes on before all are there, and this test.
        let barrier = Arc::new(Barrier::new(41));
        let joins = barrier.clone();
        let blocks = move |_: Context| {
            barrier.wait();
            std::future::ready(Ok(Next::done()))
        };
        let fan = |_: Context| async { Next::each("blocks", 0..40) };
        let agent = Agent::new("unruly").max_concurrent(40).state("fan", fan).state("blocks", blocks);
        let run = agent.build(&engine).unwrap().start(()).await.unwrap();
        assert_eq!(goes_on(&engine, &other).await, Some(true));
        tokio::task::spawn_blocking(move || joins.wait()).await.unwrap();
        run.wait().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_function_that_is_woken_by_a_timer_and_yields_no_more_ends_with_its_time() {
    on_each_store_with(&impatient(), async |engine| {
        let deaf = Deaf::new();
        let block = deaf.block();
        let yields_once = move |cx: Context| {
            let block = block.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                block(&cx)
            }
        };
        let state = State::new("a", yields_once).timeout(Duration::from_millis(50));
        assert_eq!(ends_with(&engine, state).await.error.code, Code::TASK_TIMEOUT);
        deaf.comes_late(&engine).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_step_of_a_pipeline_that_never_yields_ends_with_its_time() {
    on_each_store_with(&impatient(), async |engine| {
        let deaf = Deaf::new();
        let block = deaf.block();
        let never_yields = move |cx: Context, (): ()| std::future::ready(block(&cx).map(|_| ()));
        let step = Step::new("a", never_yields).timeout(Duration::from_millis(20));
        let other = beside(&engine).await;
        let pipeline = Pipeline::new("unruly").then(step).build(&engine).unwrap();
        assert_eq!(pipeline.run(()).await.unwrap_err().error.code, Code::TASK_TIMEOUT);
        assert_eq!(goes_on(&engine, &other).await, Some(true));
        deaf.comes_late(&engine).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_predicate_and_a_choice_that_never_yield_end_with_the_time_of_their_run() {
    let soon = Duration::from_millis(20);
    on_each_store_with(&impatient(), async |engine| {
        let other = beside(&engine).await;
        let deaf = Deaf::new();
        let block = deaf.block();
        let need = Need::conditional(move |cx| block(cx).map(|_| true));
        let ends = |_: Context| async { Ok(Next::done()) };
        let judged = State::new("b", ends).needs("a", need).next([END]);
        let agent = Agent::new("unruly").add_state(State::new("a", ends).next([END])).add_state(judged);
        let judging = agent.build(&engine).unwrap().run(()).timeout(soon).await.unwrap_err();
        assert_eq!(judging.error.code, Code::WORKFLOW_TIMEOUT);

        let block = deaf.block();
        let branch = Branch::on("way", move |(): &(), cx| block(cx).map(|_| "left"));
        let pipeline = Pipeline::new("unruly").then(branch.case("left", Pipeline::new("nothing")));
        let choosing = pipeline.build(&engine).unwrap().run(()).timeout(soon).await.unwrap_err();
        assert_eq!(choosing.error.code, Code::WORKFLOW_TIMEOUT);
        assert_eq!(goes_on(&engine, &other).await, Some(true));
        deaf.comes_late(&engine).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_function_that_outlives_its_cancellation_is_abandoned() {
    on_each_store_with(&impatient(), async |engine| {
        let other = beside(&engine).await;
        let deaf = Deaf::new();
        let (block, begun) = (deaf.block(), Arc::new(Notify::new()));
        let begins = begun.clone();
        let never_yields = move |cx: Context| {
            begins.notify_one();
            std::future::ready(block(&cx))
        };
        let state = State::new("a", never_yields).resources(Resources::cpu(1)).next(["b"]);
        let b = State::new("b", |_: Context| async { Ok(Next::done()) });
        let agent = Agent::new("unruly").add_state(state).add_state(b).build(&engine).unwrap();
        let run = agent.start(()).await.unwrap();
        begun.notified().await;
        run.cancel().await.unwrap();
        let ended = run.wait().await.unwrap_err();
        assert_eq!(ended.error.code, Code::WORKFLOW_CANCELLED);
        assert_eq!(ended.result.unwrap().status, RunStatus::Cancelled);
        assert_eq!(goes_on(&engine, &other).await, Some(true));
        deaf.comes_late(&engine).await;
        assert!(run.wait().await.unwrap_err().result.unwrap().context.is_empty());
    })
    .await;
}

/// Panics when it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[tokio::test]
async fn a_panic_whose_message_panics_when_it_is_dropped_fails_its_attempt() {
    on_each_store_with(&impatient(), async |engine| {
        let driven = |_: Context| async { std::panic::panic_any(Grenade) };
        let blocking = |_: Context| std::panic::panic_any(Grenade);
        for state in [State::new("a", driven), State::blocking("a", blocking)] {
            let ended = ends_with(&engine, state).await;
            assert_eq!(ended.error.message, "step 'a' panicked: no message");
        }
    })
    .await;
}

#[tokio::test]
async fn a_function_whose_future_panics_when_it_is_dropped_ends_when_it_is_told_to() {
    on_each_store_with(&impatient(), async |engine| {
        let holds = |_: Context| async {
            let _grenade = Grenade;
            std::future::pending().await
        };
        let state = State::new("a", holds).timeout(Duration::from_millis(20));
        assert_eq!(ends_with(&engine, state).await.error.code, Code::TASK_TIMEOUT);
    })
    .await;
}
