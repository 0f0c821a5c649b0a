//! What starts when: sequences, forks, merges, loops, limits and priorities.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use stepwell::core::error::Code;
use stepwell::core::ids::Ordinal;
use stepwell::core::status::RunStatus;
use stepwell::{Agent, Context, END, Next, Priority, Resources, State, StepError};

use crate::support::{
    Gauge, activations, always, ends, leads, on_each_store, rounds, run_of, simulated, simulated_with,
    started, told, until,
};

#[tokio::test]
async fn a1_quick_start() {
    on_each_store(async |engine| {
        let agent = Agent::new("my_workflow")
            .state("process_data", |cx: Context| async move {
                cx.set("data", "processed")?;
                Ok(Next::to("format_data"))
            })
            .state("format_data", |cx: Context| async move {
                let data: String = cx.get("data")?.unwrap();
                cx.set("result", &data.to_uppercase())?;
                Ok(Next::done())
            })
            .build(&engine)
            .unwrap();
        let result = agent.run(()).await.unwrap();
        assert_eq!(result.status, RunStatus::Completed);
        assert_eq!(result.get::<String>("result").unwrap().unwrap(), "PROCESSED");
        assert_eq!(activations(&engine, &result).await, ["process_data", "format_data"]);
        assert_eq!(result.completed_states, ["process_data", "format_data"]);
        let took = result.finished_at.unwrap().duration_since(result.started_at.unwrap()).unwrap();
        assert_eq!(result.duration(), Some(took));
    })
    .await;
}

#[tokio::test]
async fn a5_a_sequence_of_three_beside_two_that_lead_only_to_each_other() {
    on_each_store(async |engine| {
        let result = run_of(
            &engine,
            vec![
                always("a", &["b"]),
                always("b", &["c"]),
                always("c", &[]),
                always("x", &["y"]),
                always("y", &["x"]),
            ],
        )
        .await;
        assert_eq!(activations(&engine, &result).await, ["a", "b", "c"]);
        assert_eq!(result.not_reached, ["x", "y"]);
    })
    .await;
}

/// A state that takes its time and adds its name to a list of its own.
fn slow(name: &'static str, ms: u64, to: &'static [&'static str]) -> State {
    let function = move |cx: Context| async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        cx.set(name, &ms)?;
        Ok(Next::all(to))
    };
    State::new(name, function).next(to)
}

#[tokio::test(start_paused = true)]
async fn a6_branches_run_side_by_side_and_their_merge_sees_both() {
    let engine = simulated().await;
    let began = tokio::time::Instant::now();
    let merge = |cx: Context| async move {
        let both = [cx.get::<u64>("fast")?, cx.get("slow")?];
        cx.set("merged", &both)?;
        Ok(Next::done())
    };
    let result = run_of(
        &engine,
        vec![
            always("s", &["fast", "slow"]),
            slow("fast", 300, &["m"]),
            slow("slow", 600, &["m"]),
            State::new("m", merge),
        ],
    )
    .await;
    assert_eq!(result.get("merged").unwrap(), Some([300, 600]));
    assert_eq!(told(&engine, &result).await, "fast 1 m 1 s 1 slow 1");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(600) && took < Duration::from_millis(750), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a7_uneven_branches_merge_once_whoever_is_first() {
    for (a, b) in [(10, 200), (200, 10)] {
        let engine = simulated().await;
        let result = run_of(
            &engine,
            vec![
                always("s", &["a", "b"]),
                slow("a", a, &["m"]),
                slow("b", b, &["b2"]),
                slow("b2", 10, &["m"]),
                rounds("m", 2, &["s"], &[]),
            ],
        )
        .await;
        assert_eq!(told(&engine, &result).await, "a 3 b 3 b2 3 m 3 s 3");
        let order = activations(&engine, &result).await;
        let at = |name| order.iter().position(|step| step == name).unwrap();
        assert!(at("b2") < at("m"), "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a7_a_fast_branch_is_not_held_up_by_a_slow_one_that_leads_elsewhere() {
    let engine = simulated().await;
    let began = tokio::time::Instant::now();
    let ended = Arc::new(Mutex::new(Duration::ZERO));
    let note = ended.clone();
    let last = move |_: Context| {
        *note.lock().unwrap() = began.elapsed();
        std::future::ready(Ok::<_, StepError>(Next::done()))
    };
    run_of(
        &engine,
        vec![
            always("s", &["f1", "w"]),
            slow("f1", 10, &["f2"]),
            slow("f2", 10, &["f3"]),
            State::new("f3", last).next([END]),
            slow("w", 5_000, &[]),
        ],
    )
    .await;
    assert!(*ended.lock().unwrap() < Duration::from_millis(120));
}

#[tokio::test]
async fn a9_only_the_route_that_is_taken_is_reached() {
    on_each_store(async |engine| {
        let route = |cx: Context| async move {
            Ok(match cx.get::<Vec<u32>>("data")?.unwrap().len() {
                0..=100 => Next::to("simple"),
                101..=1_000 => Next::to("sequential"),
                _ => Next::all(["chunk_1", "chunk_2"]),
            })
        };
        let agent = ["simple", "sequential", "chunk_1", "chunk_2"]
            .iter()
            .fold(Agent::new("router").add_state(State::new("route", route)), |agent, name| {
                agent.state(name, ends)
            })
            .build(&engine)
            .unwrap();
        for (items, reached) in
            [(10, &["simple"][..]), (500, &["sequential"]), (5_000, &["chunk_1", "chunk_2"])]
        {
            let result = agent.run(json!({ "data": vec![1; items] })).await.unwrap();
            assert_eq!(result.completed_states[1..], *reached);
            assert_eq!(result.not_reached.len(), 4 - reached.len());
        }
    })
    .await;
}

#[tokio::test]
async fn a10_loops_make_as_many_rounds_as_their_states_say_and_an_endless_one_fails() {
    on_each_store(async |engine| {
        let result = run_of(
            &engine,
            vec![rounds("a", 5, &["b"], &["c"]), always("b", &["a"]), rounds("c", 4, &["c"], &[])],
        )
        .await;
        assert_eq!(told(&engine, &result).await, "a 6 b 5 c 5");

        let endless = Agent::new("endless").max_steps(50).state("a", leads(&["a"])).build(&engine).unwrap();
        let error = endless.run(()).await.unwrap_err();
        assert_eq!(error.error.code, Code::MAX_STEPS);
        assert_eq!(error.result.unwrap().status, RunStatus::Failed);
    })
    .await;
}

#[tokio::test]
async fn a11_twenty_payloads_are_twenty_executions_and_one_merge() {
    on_each_store(async |engine| {
        let agent = Agent::new("chunks")
            .max_concurrent(5)
            .state("split", |_: Context| async {
                Next::each("chunk", (0..20).map(|id| json!({ "chunk_id": id })))
            })
            .add_state(
                State::new("chunk", |cx: Context| async move {
                    let id: u32 = cx.get("chunk_id")?.unwrap();
                    assert!(!cx.keys()?.contains("chunk_id"), "a payload is no context");
                    cx.set(&format!("result_{id}"), &(id * id))?;
                    Ok(Next::to("merge"))
                })
                .next(["merge"]),
            )
            .state("merge", |cx: Context| async move {
                let mut sum = 0;
                for id in 0..20 {
                    sum += cx.get::<u32>(&format!("result_{id}"))?.unwrap();
                }
                cx.set("sum", &sum)?;
                Ok(Next::done())
            })
            .build(&engine)
            .unwrap();
        let result = agent.run(()).await.unwrap();
        assert_eq!(result.get("sum").unwrap(), Some(2_470));
        assert_eq!(told(&engine, &result).await, "chunk 20 merge 1 split 1");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a11_twenty_chunks_that_nobody_names_begin_as_many_at_once_as_may_and_merge_once() {
    let engine = simulated().await;
    let gauge = Gauge::default();
    let counted = gauge.counted(Duration::from_millis(100));
    let chunk = |number: u32| {
        let counted = counted.clone();
        let function = move |cx: Context| {
            let counted = counted.clone();
            async move {
                let _ = counted(cx.clone()).await?;
                cx.set(&format!("result_{number}"), &number)?;
                Ok(Next::to("merge"))
            }
        };
        State::new(&format!("chunk_{number}"), function).next(["merge"])
    };
    let merge = |cx: Context| async move {
        let results = (0..20).map(|number| cx.get::<u32>(&format!("result_{number}")));
        let sum: u32 = results.map(|result| Ok(result?.unwrap())).sum::<Result<u32, StepError>>()?;
        cx.set("sum", &sum)?;
        Ok(Next::done())
    };
    let chunks = (0..20).map(chunk);
    let agent = chunks.fold(Agent::new("chunks").max_concurrent(5), stepwell::AgentBuilder::add_state);
    let agent = agent.add_state(State::new("merge", merge).next([END])).build(&engine).unwrap();
    let result = agent.run(()).await.unwrap();
    assert_eq!(result.get("sum").unwrap(), Some(190));
    assert_eq!(result.completed_states.len(), 21);
    let merges = activations(&engine, &result).await.into_iter().filter(|state| state == "merge");
    assert_eq!((merges.count(), gauge.most()), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn a16_max_concurrent_bounds_what_is_under_way_and_is_used_to_the_full() {
    let engine = simulated().await;
    let gauge = Gauge::default();
    let counted = gauge.counted(Duration::from_millis(100));
    let began = tokio::time::Instant::now();
    let states = (0..12).map(|i| State::new(&format!("w{i}"), counted.clone()).next([END]));
    let agent = states.fold(Agent::new("wide").max_concurrent(5), stepwell::AgentBuilder::add_state);
    agent.build(&engine).unwrap().run(()).await.unwrap();
    assert_eq!(gauge.most(), 5);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300) && took <= Duration::from_millis(400), "{took:?}");
}

#[tokio::test]
async fn a16_one_at_a_time_the_higher_priority_goes_first_and_equals_go_in_order() {
    on_each_store(async |engine| {
        let began = Arc::new(Mutex::new(Vec::new()));
        let noted = |name: &'static str, priority| {
            let began = began.clone();
            let function = move |_: Context| {
                began.lock().unwrap().push(name);
                std::future::ready(Ok::<_, StepError>(Next::done()))
            };
            State::new(name, function).next([END]).priority(priority)
        };
        let agent = Agent::new("ordered")
            .max_concurrent(1)
            .add_state(always("s", &["low", "n1", "critical", "n2", "high"]))
            .add_state(noted("low", Priority::Low))
            .add_state(noted("n1", Priority::Normal))
            .add_state(noted("critical", Priority::Critical))
            .add_state(noted("n2", Priority::Normal))
            .add_state(noted("high", Priority::High));
        agent.build(&engine).unwrap().run(()).await.unwrap();
        assert_eq!(*began.lock().unwrap(), ["critical", "high", "n1", "n2", "low"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a16_a_critical_merge_waits_for_its_branches_all_the_same() {
    let engine = simulated().await;
    let result = run_of(
        &engine,
        vec![
            always("s", &["a", "b", "other"]),
            slow("a", 10, &["m"]),
            slow("b", 300, &["m"]),
            slow("other", 20, &[]).priority(Priority::Low),
            always("m", &[]).priority(Priority::Critical),
        ],
    )
    .await;
    let order = activations(&engine, &result).await;
    assert_eq!(order, ["s", "a", "b", "other", "m"]);
    let run = engine.inspect(&result.run_id).await.unwrap();
    let at = |name| run.execution(name, Ordinal(1)).unwrap();
    assert!(at("m").started_at >= at("b").finished_at);
}

#[tokio::test(start_paused = true)]
async fn a16_a_limit_of_one_is_kept_over_two_runs() {
    let engine = simulated().await;
    let now = Arc::new(AtomicU32::new(0));
    let alone = move |cx: Context| {
        let now = now.clone();
        async move {
            assert_eq!(now.fetch_add(1, Ordering::SeqCst), 0);
            // What is recorded in the middle gives nothing back.
            cx.once("began", || async { Ok(()) }).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Next::done())
        }
    };
    let agent = Agent::new("mutex")
        .limit("printer", 1)
        .add_state(State::new("print", alone).limit("printer", 1))
        .build(&engine)
        .unwrap();
    let (one, other) = tokio::join!(async { agent.run(()).await }, async { agent.run(()).await });
    one.unwrap();
    other.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a14_states_share_the_resources_of_their_process() {
    let units = [
        |n: f64| Resources::cpu(n),
        |n| Resources::default().memory_mb(n),
        |n| Resources::default().custom("licences", n),
    ];
    for of in units {
        let engine = simulated_with(of(4.0)).await;
        let gauge = Gauge::default();
        let counted = gauge.counted(Duration::from_millis(300));
        let state = |name: &str| State::new(name, counted.clone()).next([END]).entry().resources(of(2.0));
        let began = tokio::time::Instant::now();
        let result = run_of(&engine, ["a", "b", "c", "d"].map(state).into()).await;
        let took = began.elapsed();
        assert_eq!((result.status, result.completed_states.len()), (RunStatus::Completed, 4));
        assert_eq!(gauge.most(), 2);
        assert!(took >= Duration::from_millis(600) && took <= Duration::from_millis(800), "{took:?}");
        assert!(engine.booked().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a14_nothing_is_booked_however_a_run_ended() {
    let engine = simulated_with(Resources::cpu(1)).await;
    let forever = |_: Context| std::future::pending::<Result<Next, StepError>>();
    let fails = |_: Context| async { Err::<Next, _>(StepError::never_again("broken")) };
    let books = |state: State| {
        let agent = Agent::new("books").add_state(state.resources(Resources::cpu(1)));
        agent.build(&engine).unwrap()
    };
    let failed = books(State::new("a", fails)).run(()).await.unwrap_err();
    assert_eq!(failed.error.message, "step 'a': broken");
    assert!(engine.booked().is_empty());

    let late = books(State::new("a", forever).timeout(Duration::from_millis(100))).run(()).await.unwrap_err();
    assert_eq!(late.error.code, Code::TASK_TIMEOUT);
    assert!(engine.booked().is_empty());

    let agent = books(State::new("a", forever));
    let late = agent.run(()).timeout(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(late.error.code, Code::WORKFLOW_TIMEOUT);
    assert!(engine.booked().is_empty());

    let run = agent.start(()).await.unwrap();
    until(&run, started("a")).await;
    assert_eq!(engine.booked(), Resources::cpu(1));
    run.cancel().await.unwrap();
    run.wait().await.unwrap_err();
    assert!(engine.booked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a15_more_than_there_is_is_refused_and_what_nobody_counts_is_not() {
    let engine = simulated_with(Resources::cpu(4)).await;
    let large = |resources| Agent::new("large").add_state(State::new("large", ends).resources(resources));
    let refused = large(Resources::cpu(5)).build(&engine).unwrap().start(()).await.unwrap_err().error;
    assert_eq!(refused.code, Code::RESOURCE_EXHAUSTED);
    assert_eq!(refused.message, "step 'large' asks for 5 of cpu_units, and the resource pool has 4");
    assert_eq!(
        (&refused.data["dimension"], &refused.data["asked"], &refused.data["total"]),
        (&json!("cpu_units"), &json!(5.0), &json!(4.0))
    );
    large(Resources::cpu(1).gpu(1)).build(&engine).unwrap().run(()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a15_a_large_state_is_not_kept_waiting_by_a_stream_of_small_ones() {
    let engine = simulated_with(Resources::cpu(4)).await;
    let small = |cx: Context| async move {
        tokio::time::sleep(Duration::from_millis(70 + 10 * u64::from(cx.payload::<u32>()?.unwrap()))).await;
        Ok(if cx.ordinal() < 200 {
            Next::each("small", [cx.payload::<u32>()?.unwrap()])?
        } else {
            Next::done()
        })
    };
    let stream = Agent::new("stream")
        .state("s", |_: Context| async { Next::each("small", 0_u32..4) })
        .add_state(State::new("small", small).next(["small", END]).resources(Resources::cpu(1)))
        .build(&engine)
        .unwrap();
    let stream = stream.start(()).await.unwrap();
    until(&stream, started("small")).await;
    let began = tokio::time::Instant::now();
    let large = State::new("large", ends).resources(Resources::cpu(4));
    Agent::new("large").add_state(large).build(&engine).unwrap().run(()).await.unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_millis(300), "{took:?}");
    stream.wait().await.unwrap();
}
