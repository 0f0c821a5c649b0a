//! What other tests measure under a simulated clock, over each store: numbers, order and what is booked. No time is measured
//! here; what must be there at once waits for each other, and what must not end yet waits for the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use stepwell::core::error::Code;
use stepwell::core::ids::Ordinal;
use stepwell::core::run::event::Event;
use stepwell::core::status::ExecutionStatus;
use stepwell::{
    Agent, AgentBuilder, Context, END, Engine, Need, Next, Options, Priority, Registry, Resources, Retry,
    State, StepError,
};
use tokio::sync::{Barrier, Semaphore};

use crate::support::{
    Gauge, activations, always, ends, on_each_store, on_each_store_with, run_of, started, told, until,
};

fn with_pool(pool: Resources) -> Options {
    Options { pool, slots: 16, ..Options::default() }
}

/// A state that ends when the test gives it a permit.
fn held(name: &str, permits: &Arc<Semaphore>, to: &'static [&'static str]) -> State {
    let permits = permits.clone();
    let function = move |_: Context| {
        let permits = permits.clone();
        async move {
            permits.acquire().await?.forget();
            Ok(Next::all(to))
        }
    };
    State::new(name, function).next(to)
}

/// A state that ends when so many are under way at once, and counts the most that were.
fn together(name: &str, at_once: &Arc<Barrier>, gauge: &Gauge) -> State {
    let (at_once, counted) = (at_once.clone(), gauge.counted(Duration::ZERO));
    let function = move |cx: Context| {
        let (at_once, counted) = (at_once.clone(), counted.clone());
        async move {
            at_once.wait().await;
            counted(cx).await
        }
    };
    State::new(name, function).next([END])
}

fn completed(name: &'static str) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::StepCompleted { step, .. } if step.as_str() == name)
}

async fn forever(_: Context) -> Result<Next, StepError> {
    std::future::pending().await
}

#[tokio::test]
async fn a6_a7_branches_run_side_by_side_and_only_their_merge_waits() {
    on_each_store(async |engine| {
        let (slow, both) = (Arc::new(Semaphore::new(0)), Arc::new(Barrier::new(2)));
        let merging = |name| {
            let both = both.clone();
            let function = move |cx: Context| {
                let both = both.clone();
                async move {
                    both.wait().await;
                    cx.set(cx.step(), &true)?;
                    Ok(Next::to("merge"))
                }
            };
            State::new(name, function).next(["merge"])
        };
        let merge = |cx: Context| async move {
            assert!(cx.has("a")? && cx.has("b")?);
            Ok(Next::done())
        };
        let agent = Agent::new("side by side")
            .add_state(always("s", &["a", "b", "slow", "fast"]))
            .add_state(merging("a"))
            .add_state(merging("b"))
            .add_state(State::new("merge", merge).next([END]))
            .add_state(held("slow", &slow, &[]))
            .add_state(always("fast", &["faster"]))
            .add_state(always("faster", &[]))
            .build(&engine)
            .unwrap();
        let run = agent.start(()).await.unwrap();
        for ended in ["merge", "faster"] {
            until(&run, completed(ended)).await;
        }
        slow.add_permits(1);
        let result = run.wait().await.unwrap();
        assert_eq!(told(&engine, &result).await, "a 1 b 1 fast 1 faster 1 merge 1 s 1 slow 1");
    })
    .await;
}

#[tokio::test]
async fn a11_twenty_chunks_that_nobody_names_begin_with_the_run_and_merge_once() {
    on_each_store(async |engine| {
        let (five, gauge) = (Arc::new(Barrier::new(5)), Gauge::default());
        let chunk = |number: u32| {
            let (five, counted) = (five.clone(), gauge.counted(Duration::ZERO));
            let function = move |cx: Context| {
                let (five, counted) = (five.clone(), counted.clone());
                async move {
                    five.wait().await;
                    let _ = counted(cx.clone()).await?;
                    cx.set(&format!("result_{number}"), &number)?;
                    Ok(Next::to("merge"))
                }
            };
            State::new(&format!("chunk_{number}"), function).next(["merge"])
        };
        let agent = (0..20).map(chunk).fold(Agent::new("chunks").max_concurrent(5), AgentBuilder::add_state);
        let agent = agent.add_state(State::new("merge", ends).next([END])).build(&engine).unwrap();
        let result = agent.run(()).await.unwrap();
        assert_eq!((result.completed_states.len(), result.context.len()), (21, 20));
        let merges = activations(&engine, &result).await.into_iter().filter(|state| state == "merge");
        assert_eq!(merges.count(), 1);
        assert!(gauge.most() <= 5);
    })
    .await;
}

#[tokio::test]
async fn a14_no_more_is_booked_than_there_is_and_all_that_fits_is() {
    let units = [
        |n: f64| Resources::cpu(n),
        |n| Resources::default().memory_mb(n),
        |n| Resources::default().custom("licences", n),
    ];
    for of in units {
        on_each_store_with(&with_pool(of(4.0)), async |engine| {
            let (two, gauge) = (Arc::new(Barrier::new(2)), Gauge::default());
            let state = |name: &str| together(name, &two, &gauge).entry().resources(of(2.0));
            let result = run_of(&engine, ["a", "b", "c", "d"].map(state).into()).await;
            assert_eq!((result.completed_states.len(), engine.booked().is_empty()), (4, true));
            assert!(gauge.most() <= 2);
        })
        .await;
    }
}

#[tokio::test]
async fn a14_nothing_is_booked_however_a_run_ended() {
    on_each_store_with(&with_pool(Resources::cpu(1)), async |engine| {
        let books = |state: State| {
            Agent::new("books").add_state(state.resources(Resources::cpu(1))).build(&engine).unwrap()
        };
        let fails = |_: Context| async { Err::<Next, _>(StepError::never_again("broken")) };
        books(State::new("a", fails)).run(()).await.unwrap_err();
        assert!(engine.booked().is_empty());

        let short = Duration::from_millis(20);
        let late = books(State::new("a", forever).timeout(short)).run(()).await.unwrap_err();
        assert_eq!((late.error.code, engine.booked().is_empty()), (Code::TASK_TIMEOUT, true));
        let late = books(State::new("a", forever)).run(()).timeout(short).await.unwrap_err();
        assert_eq!((late.error.code, engine.booked().is_empty()), (Code::WORKFLOW_TIMEOUT, true));

        let run = books(State::new("a", forever)).start(()).await.unwrap();
        until(&run, started("a")).await;
        assert_eq!(engine.booked(), Resources::cpu(1));
        run.cancel().await.unwrap();
        run.wait().await.unwrap_err();
        assert!(engine.booked().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a15_more_than_there_is_is_refused_and_a_large_state_goes_before_a_stream_of_small_ones_ends() {
    on_each_store_with(&with_pool(Resources::cpu(4)), async |engine| {
        let of = |name, resources| Agent::new(name).add_state(State::new("a", ends).resources(resources));
        let refused =
            of("larger", Resources::cpu(5)).build(&engine).unwrap().start(()).await.unwrap_err().error;
        assert_eq!(refused.code, Code::RESOURCE_EXHAUSTED);
        assert_eq!((&refused.data["asked"], &refused.data["total"]), (&json!(5.0), &json!(4.0)));
        of("uncounted", Resources::cpu(1).gpu(1)).build(&engine).unwrap().run(()).await.unwrap();

        let has_run = Arc::new(AtomicBool::new(false));
        let (ended, enough) = (has_run.clone(), has_run.clone());
        let small = move |cx: Context| {
            let is_enough = enough.load(Ordering::SeqCst) || cx.ordinal() > 4_000;
            std::future::ready(if is_enough { Ok(Next::done()) } else { Next::each("small", [()]) })
        };
        let stream = Agent::new("stream")
            .max_steps(100_000)
            .state("s", |_: Context| async { Next::each("small", [(); 4]) })
            .add_state(State::new("small", small).next(["small", END]).resources(Resources::cpu(1)))
            .build(&engine)
            .unwrap();
        let stream = stream.start(()).await.unwrap();
        until(&stream, started("small")).await;
        let large = move |_: Context| {
            ended.store(true, Ordering::SeqCst);
            std::future::ready(Ok::<_, StepError>(Next::done()))
        };
        let large = Agent::new("large").add_state(State::new("large", large).resources(Resources::cpu(4)));
        large.build(&engine).unwrap().run(()).await.unwrap();
        let small = stream.wait().await.unwrap();
        let told = told(&engine, &small).await;
        let count: u32 = told.strip_prefix("s 1 small ").unwrap().parse().unwrap();
        assert!(has_run.load(Ordering::SeqCst) && count < 4_000, "{told}");
    })
    .await;
}

#[tokio::test]
async fn a16_as_many_are_under_way_as_may_be() {
    on_each_store_with(&with_pool(Resources::default()), async |engine| {
        let (five, gauge) = (Arc::new(Barrier::new(5)), Gauge::default());
        let states = (0..10).map(|i| together(&format!("w{i}"), &five, &gauge));
        let agent = states.fold(Agent::new("wide").max_concurrent(5), AgentBuilder::add_state);
        agent.build(&engine).unwrap().run(()).await.unwrap();
        assert!(gauge.most() <= 5);
    })
    .await;
}

#[tokio::test]
async fn a16_a_critical_merge_waits_for_its_branches_all_the_same() {
    on_each_store(async |engine| {
        let gate = Arc::new(Semaphore::new(0));
        let agent = Agent::new("merge")
            .add_state(always("s", &["a", "b"]))
            .add_state(always("a", &["m"]))
            .add_state(held("b", &gate, &["m"]).priority(Priority::Low))
            .add_state(always("m", &[]).priority(Priority::Critical))
            .build(&engine)
            .unwrap();
        let run = agent.start(()).await.unwrap();
        until(&run, completed("a")).await;
        assert!(engine.inspect(run.id()).await.unwrap().execution("m", Ordinal(1)).is_none());
        gate.add_permits(1);
        let result = run.wait().await.unwrap();
        assert_eq!(activations(&engine, &result).await, ["s", "a", "b", "m"]);
    })
    .await;
}

/// Two engines over one file are to each other what two processes are.
#[tokio::test]
async fn a16_a_limit_of_one_is_kept_over_runs_and_over_workers_of_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/s.db", dir.path().display());
    let open = async || {
        let store = stepwell::open_store(&url).await.unwrap();
        Engine::open(store, Registry::default(), Options::default()).await.unwrap()
    };
    let (one, other) = (open().await, open().await);
    let gauge = Gauge::default();
    let prints = |engine: &Engine, name: &str| {
        let print = State::new("print", gauge.counted(Duration::from_millis(2))).limit("printer", 1);
        Agent::new(name).limit("printer", 1).add_state(print).build(engine).unwrap()
    };
    let (at_one, at_other) = (prints(&one, "one"), prints(&other, "other"));
    let runs = |agent: Agent| async move {
        let several = (0..5).map(|_| agent.run(()).into_future());
        futures_util::future::try_join_all(several).await.unwrap().len()
    };
    assert_eq!(tokio::join!(runs(at_one), runs(at_other)), (5, 5));
    assert_eq!(gauge.most(), 1);
    one.shutdown().await;
    other.shutdown().await;
}

#[tokio::test]
async fn a17_a_state_waits_for_what_is_required_and_for_what_is_under_way_and_for_nothing_else() {
    on_each_store(async |engine| {
        let (validated, over) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let agent = Agent::new("prepare")
            .add_state(always("prepare_data", &[]))
            .add_state(held("validate_data", &validated, &[]))
            .add_state(held("background_task", &over, &[]))
            .add_state(
                always("final_step", &[])
                    .needs("prepare_data", Need::required())
                    .needs("validate_data", Need::optional())
                    .needs("background_task", Need::parallel()),
            )
            .build(&engine)
            .unwrap();
        let run = agent.start(()).await.unwrap();
        until(&run, completed("prepare_data")).await;
        until(&run, started("validate_data")).await;
        let is_there =
            async || engine.inspect(run.id()).await.unwrap().execution("final_step", Ordinal(1)).is_some();
        assert!(!is_there().await);
        validated.add_permits(1);
        until(&run, completed("final_step")).await;
        over.add_permits(1);
        run.wait().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a18_all_executions_of_a_required_state_are_waited_for() {
    on_each_store(async |engine| {
        let gate = Arc::new(Semaphore::new(0));
        let agent = Agent::new("all")
            .state("split", |_: Context| async { Next::each("chunk", 1..=3) })
            .add_state(held("chunk", &gate, &[]))
            .add_state(always("merge", &[]).needs("chunk", Need::required()))
            .build(&engine)
            .unwrap();
        let run = agent.start(()).await.unwrap();
        for chunk in 1..=3 {
            assert!(engine.inspect(run.id()).await.unwrap().execution("merge", Ordinal(1)).is_none());
            gate.add_permits(1);
            let completed = AtomicU32::new(0);
            until(&run, |event| {
                let is_chunk = matches!(event, Event::StepCompleted { step, .. } if step.as_str() == "chunk");
                is_chunk && completed.fetch_add(1, Ordering::SeqCst) + 1 == chunk
            })
            .await;
        }
        let result = run.wait().await.unwrap();
        assert_eq!(told(&engine, &result).await, "chunk 3 merge 1 split 1");
    })
    .await;
}

#[tokio::test]
async fn a25_time_limits_of_a_state_and_of_a_run_end_them() {
    on_each_store(async |engine| {
        let short = Duration::from_millis(20);
        let retry = Retry::times(1).initial(Duration::ZERO);
        let state = State::new("a", forever).timeout(short).retry(retry);
        let run = Agent::new("slow").add_state(state).build(&engine).unwrap().start(()).await.unwrap();
        let error = run.wait().await.unwrap_err().error;
        assert_eq!(error.data["last_error"]["name"], "TASK_TIMEOUT");
        let execution = engine.inspect(run.id()).await.unwrap().execution("a", Ordinal(1)).unwrap().clone();
        assert_eq!((execution.status, execution.attempts), (ExecutionStatus::TimedOut, 2));
        assert!(run.dead_letters().await.unwrap()[0].timed_out);

        let agent = Agent::new("slow run").state("a", forever).build(&engine).unwrap();
        let error = agent.run(()).timeout(short).await.unwrap_err().error;
        assert_eq!(error.code, Code::WORKFLOW_TIMEOUT);
    })
    .await;
}

#[tokio::test]
async fn a28_by_default_a_failing_branch_ends_its_siblings_before_run_returns() {
    struct Counts(Arc<AtomicU32>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    on_each_store(async |engine| {
        let (both, dropped) = (Arc::new(Barrier::new(2)), Arc::new(AtomicU32::new(0)));
        let (with_other, noted) = (both.clone(), dropped.clone());
        let sibling = move |cx: Context| {
            let (with_other, guard) = (with_other.clone(), Counts(noted.clone()));
            async move {
                let _guard = guard;
                with_other.wait().await;
                forever(cx).await
            }
        };
        let fails = move |_: Context| {
            let both = both.clone();
            async move {
                both.wait().await;
                Err(StepError::new("broken"))
            }
        };
        let agent = Agent::new("siblings").add_state(always("s", &["a", "b"]));
        let agent = agent
            .add_state(State::new("a", sibling).next([END]))
            .add_state(State::new("b", fails).next([END]));
        agent.build(&engine).unwrap().run(()).await.unwrap_err();
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    })
    .await;
}
