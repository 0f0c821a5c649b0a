//! What becomes of states that are to end: they are waited for, and abandoned if they do not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use stepwell::core::error::Code;
use stepwell::core::run::event::Event;
use stepwell::{
    Agent, Among, Client, Context, Engine, Next, Options, Page, Resources, Run, RunError, RunFilter, State,
    StepError,
};
use tokio::sync::oneshot;

use crate::support::{ends, on_each_store, on_each_store_with, simulated, started, until};

/// One place and one unit, so that nothing begins before what was there is given back.
fn narrow() -> Options {
    Options { slots: 1, pool: Resources::cpu(1), ..Options::default() }
}

/// A state that hears nothing until it is let go, and then tells what came of a late write.
struct Deaf {
    let_go: mpsc::Sender<()>,
    late: oneshot::Receiver<StepError>,
    state: State,
}

fn deaf(name: &str) -> Deaf {
    let (let_go, released) = mpsc::channel();
    let released = Mutex::new(released);
    let (tell, late) = oneshot::channel();
    let tell = Mutex::new(Some(tell));
    let state = State::blocking(name, move |cx| {
        released.lock().unwrap().recv()?;
        let _ = tell.lock().unwrap().take().unwrap().send(cx.set("late", &true).unwrap_err());
        Ok(Next::done())
    });
    Deaf { let_go, late, state: state.resources(Resources::cpu(1)) }
}

async fn client_of(engine: &Engine) -> Client {
    Client::over(engine.store().clone()).await.unwrap()
}

/// Needs the one place and the one unit.
async fn another_runs(engine: &Engine) {
    let state = State::new("a", ends).resources(Resources::cpu(1));
    Agent::new("another").add_state(state).build(engine).unwrap().run(()).await.unwrap();
}

async fn cancelled(run: &Run) -> RunError {
    let ended = run.wait().await.unwrap_err();
    assert_eq!(ended.error.code, Code::WORKFLOW_CANCELLED);
    ended
}

#[tokio::test]
async fn a_state_that_ends_by_itself_is_let_clean_up_when_it_is_cancelled() {
    on_each_store(async |engine| {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let cleans_up = move |cx: Context| {
            let tell = tell.clone();
            async move {
                tell.send("begun").unwrap();
                cx.cancelled().await;
                tokio::task::yield_now().await;
                tell.send("cleaned up").unwrap();
                Ok(Next::done())
            }
        };
        let agent = Agent::new("tidy").add_state(State::cooperative("a", cleans_up)).build(&engine).unwrap();
        let run = agent.start(()).await.unwrap();
        assert_eq!(told.recv().await, Some("begun"));
        run.cancel().await.unwrap();
        cancelled(&run).await;
        assert_eq!(told.try_recv(), Ok("cleaned up"));
    })
    .await;
}

#[tokio::test]
async fn a25_a_state_that_ignores_that_it_is_cancelled_is_abandoned_after_the_cleanup_time() {
    on_each_store_with(&narrow(), async |engine| {
        let Deaf { let_go, late, state } = deaf("a");
        let agent = Agent::new("deaf").add_state(state).build(&engine).unwrap();
        let run = agent.start(()).cleanup_timeout(Duration::from_millis(20)).await.unwrap();
        until(&run, started("a")).await;
        run.cancel().await.unwrap();
        assert_eq!(engine.booked(), Resources::cpu(1), "it is still under way");

        cancelled(&run).await;
        another_runs(&engine).await;
        assert!(engine.booked().is_empty());
        let_go.send(()).unwrap();
        assert!(late.await.unwrap().is(Code::STALE_CONTEXT));
        assert!(cancelled(&run).await.result.unwrap().context.is_empty());
    })
    .await;
}

/// Notes in a list that it goes on, as the only one of its store.
fn prints(
    engine: &Engine,
    told: &Arc<Mutex<Vec<&'static str>>>,
    name: &'static str,
    state: Option<State>,
) -> Agent {
    let told = told.clone();
    let state = state.unwrap_or_else(|| {
        State::new("print", move |_: Context| {
            told.lock().unwrap().push(name);
            std::future::ready(Ok::<_, StepError>(Next::done()))
        })
    });
    Agent::new(name).limit("printer", 1).add_state(state.limit("printer", 1)).build(engine).unwrap()
}

#[tokio::test]
async fn a16_what_a_cancelled_state_took_of_a_limit_is_free_when_it_has_ended_or_is_abandoned() {
    on_each_store_with(&Options { slots: 4, ..Options::default() }, async |engine| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (let_go, released) = mpsc::channel::<()>();
        let (released, noted) = (Mutex::new(released), told.clone());
        let deaf = State::blocking("deaf", move |_| {
            // Until it is let go, and at the end of the test.
            let ended = released.lock().unwrap().recv();
            noted.lock().unwrap().push("ended");
            ended?;
            Ok(Next::done())
        });
        let deaf = prints(&engine, &told, "deaf", Some(deaf));
        let run = deaf.start(()).await.unwrap();
        until(&run, started("deaf")).await;
        run.cancel().await.unwrap();
        let waiting = prints(&engine, &told, "waiting", None).start(()).await.unwrap();
        // What takes none of it goes on meanwhile.
        another_runs(&engine).await;
        assert_eq!(*told.lock().unwrap(), [""; 0]);
        let_go.send(()).unwrap();
        waiting.wait().await.unwrap();
        assert_eq!(*told.lock().unwrap(), ["ended", "waiting"]);
        cancelled(&run).await;

        let run = deaf.start(()).cleanup_timeout(Duration::from_millis(20)).await.unwrap();
        until(&run, started("deaf")).await;
        run.cancel().await.unwrap();
        cancelled(&run).await;
        prints(&engine, &told, "after", None).run(()).await.unwrap();
        assert_eq!(*told.lock().unwrap(), ["ended", "waiting", "after"]);
        drop(let_go);
    })
    .await;
}

#[tokio::test]
async fn a_state_that_ignores_that_it_is_cancelled_is_abandoned_also_when_nobody_waits() {
    let options = Options { cleanup_ms: 20, ..narrow() };
    on_each_store_with(&options, async |engine| {
        let Deaf { let_go, late, state } = deaf("a");
        let agent = Agent::new("deaf").add_state(state).build(&engine).unwrap();
        let run = agent.start(()).await.unwrap();
        until(&run, started("a")).await;
        run.cancel().await.unwrap();
        another_runs(&engine).await;
        let_go.send(()).unwrap();
        assert!(late.await.unwrap().is(Code::STALE_CONTEXT));
    })
    .await;
}

#[tokio::test]
async fn a28_run_returns_when_a_sibling_of_what_failed_has_ended() {
    on_each_store(async |engine| {
        let has_ended = Arc::new(AtomicBool::new(false));
        let ended = has_ended.clone();
        let (begins, has_begun) = mpsc::channel::<()>();
        let has_begun = Mutex::new(has_begun);
        let slow = State::blocking("slow", move |cx| {
            begins.send(())?;
            while !cx.is_cancelled() {
                std::thread::yield_now();
            }
            // Much is tidied up, and the run has failed for long.
            std::thread::sleep(Duration::from_millis(30));
            ended.store(true, Ordering::SeqCst);
            Ok(Next::done())
        });
        let fails = State::blocking("fails", move |_| {
            has_begun.lock().unwrap().recv()?;
            Err(StepError::never_again("broken"))
        });
        let agent = Agent::new("siblings").add_state(slow.entry()).add_state(fails.entry());
        let failed = agent.build(&engine).unwrap().run(()).await.unwrap_err();
        assert_eq!(failed.error.message, "step 'fails': broken");
        assert!(has_ended.load(Ordering::SeqCst));
    })
    .await;
}

#[tokio::test]
async fn a30_a_cancelled_run_is_over_when_the_states_of_its_child_have_ended_too() {
    on_each_store(async |engine| {
        let has_ended = Arc::new(AtomicBool::new(false));
        let ended = has_ended.clone();
        let slow = State::blocking("slow", move |cx| {
            while !cx.is_cancelled() {
                std::thread::yield_now();
            }
            ended.store(true, Ordering::SeqCst);
            Ok(Next::done())
        });
        let child = Agent::new("child").add_state(slow).build(&engine).unwrap();
        let calls = move |cx: Context| {
            let child = child.clone();
            async move {
                cx.run_agent(&child, ()).await?;
                Ok(Next::done())
            }
        };
        let run = Agent::new("parent").state("calls", calls).build(&engine).unwrap().start(()).await.unwrap();
        let begun = async || {
            let children = RunFilter { among: Among::ChildrenOf(run.id().clone()), ..RunFilter::default() };
            engine.store().runs(&children, &Page::first(1)).await.unwrap().items.pop()
        };
        let child = loop {
            if let Some(child) = begun().await {
                break client_of(&engine).await.run(child.run).await.unwrap();
            }
            tokio::task::yield_now().await;
        };
        until(&child, started("slow")).await;
        run.cancel().await.unwrap();
        cancelled(&run).await;
        assert!(has_ended.load(Ordering::SeqCst));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a25_a_run_whose_time_is_up_ends_at_once_if_its_states_do() {
    let engine = simulated().await;
    let sleepy = |_: Context| async {
        tokio::time::sleep(Duration::from_hours(1)).await;
        Ok(Next::done())
    };
    let agent = Agent::new("slow").state("a", sleepy).build(&engine).unwrap();
    let began = tokio::time::Instant::now();
    let run = agent.run(()).timeout(Duration::from_millis(500)).cleanup_timeout(Duration::from_hours(1));
    assert_eq!(run.await.unwrap_err().error.code, Code::WORKFLOW_TIMEOUT);
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a30_the_live_executions_of_one_state_are_cancelled_and_counted() {
    on_each_store(async |engine| {
        let waits = |cx: Context| async move {
            let _: bool = cx.signal("never").await?;
            Ok(Next::to("after"))
        };
        let goes = |cx: Context| async move {
            let _: bool = cx.signal("go").await?;
            Ok(Next::done())
        };
        let agent = Agent::new("some")
            .state("s", |_: Context| async { Ok(Next::each("waits", [1, 2, 3])?.and(Next::to("goes"))) })
            .add_state(State::new("waits", waits).next(["after"]))
            .add_state(State::new("goes", goes).next([stepwell::END]))
            .state("after", ends)
            .build(&engine)
            .unwrap();
        let run = agent.start(()).await.unwrap();
        run.rest().await.unwrap();
        assert_eq!(run.cancel_state("waits").await.unwrap(), 3);
        assert_eq!(run.cancel_state("waits").await.unwrap(), 0);
        assert_eq!(run.cancel_state("nobody").await.unwrap_err().code, Code::WORKFLOW_INVALID_STATE);
        engine.signal(run.id(), "go", true.into(), None).await.unwrap();
        let result = run.wait().await.unwrap();
        assert_eq!(result.completed_states, ["s", "goes"]);
        let journal = engine.store().events(run.id(), stepwell::core::ids::Seq(0), 1_000).await.unwrap();
        let cancelled = journal.iter().filter(|known| matches!(known.event, Event::StepCancelled { .. }));
        assert_eq!(cancelled.count(), 3);
    })
    .await;
}
