//! States that begin when others have ended. Every cell of the table is proved in the core; here, that agents reach it.

use std::time::Duration;

use serde_json::json;
use stepwell::core::error::Code;
use stepwell::core::ids::{Ordinal, Seq};
use stepwell::core::run::event::{Event, SkipReason};
use stepwell::{Agent, Context, END, Lifecycle, Need, Next, OnFailure, State, StepError};

use crate::support::{activations, always, ends, on_each_store, run_of, simulated, told};

/// A state that ends after some time.
fn slow(name: &str, ms: u64) -> State {
    let function = move |_: Context| async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(Next::done())
    };
    State::new(name, function).next([END])
}

#[tokio::test(start_paused = true)]
async fn a17_a_state_waits_for_what_is_required_and_for_what_is_under_way_and_for_nothing_else() {
    let engine = simulated().await;
    let result = run_of(
        &engine,
        vec![
            slow("prepare_data", 100),
            slow("validate_data", 200),
            slow("background_task", 900),
            always("final_step", &[])
                .needs("prepare_data", Need::required())
                .needs("validate_data", Need::optional())
                .needs("background_task", Need::parallel()),
        ],
    )
    .await;
    let run = engine.inspect(&result.run_id).await.unwrap();
    let ms = |step: &str| {
        let execution = run.executions().iter().find(|execution| execution.step.as_str() == step).unwrap();
        execution.finished_at.unwrap().ms_since(run.started_at().unwrap())
    };
    assert!(ms("final_step") >= 200 && ms("final_step") < 300, "{}", ms("final_step"));
    assert!(ms("background_task") >= 900);
}

#[tokio::test]
async fn a18_needs_of_each_kind_begin_a_state_or_skip_it() {
    fn fails(name: &str) -> State {
        let function = |_: Context| std::future::ready(Err::<Next, _>(StepError::never_again("broken")));
        State::new(name, function).next([END]).on_failure(OnFailure::Continue)
    }
    on_each_store(async |engine| {
        let begins = async |a: State, b: State, need: fn() -> Need| {
            let m = always("m", &[]).needs("a", need()).needs("b", need());
            let result = run_of(&engine, vec![a, b, m]).await;
            activations(&engine, &result).await.iter().filter(|step| *step == "m").count() == 1
                && result.completed_states.contains(&"m".to_owned())
        };
        let good = |name| always(name, &[]);
        assert!(begins(good("a"), good("b"), Need::required).await);
        assert!(begins(good("a"), fails("b"), Need::sequential).await);
        assert!(begins(good("a"), fails("b"), Need::or).await);
        let skipped = |name| always(name, &[]).needs("a", Need::conditional(|_| Ok(false)));
        assert!(begins(good("a"), skipped("b"), Need::xor).await);
        assert!(!begins(good("a"), skipped("b"), Need::required).await);
        assert!(!begins(good("a"), good("b"), Need::xor).await);
        assert!(begins(good("a"), fails("b"), Need::xor).await, "a failure is settled and no completion");
        assert!(!begins(fails("a"), fails("b"), Need::xor).await);
    })
    .await;
}

#[tokio::test]
async fn a18_a_condition_is_asked_when_the_other_state_has_ended() {
    on_each_store(async |engine| {
        let count = |cx: Context| async move {
            cx.set("findings", &cx.get::<u32>("pages")?.map(|pages| pages / 2))?;
            Ok(Next::done())
        };
        let has_findings = |cx: &Context| Ok(cx.get::<u32>("findings")?.unwrap_or(0) > 0);
        let agent = Agent::new("audit")
            .add_state(State::new("count", count).next([END]))
            .add_state(always("audit", &[]).needs("count", Need::conditional(has_findings)))
            .build(&engine)
            .unwrap();
        let audited = agent.run(json!({ "pages": 10 })).await.unwrap();
        assert_eq!(audited.completed_states, ["count", "audit"]);
        let skipped = agent.run(json!({ "pages": 1 })).await.unwrap();
        assert_eq!((skipped.completed_states, skipped.failed_states.len()), (vec!["count".to_owned()], 0));
        // A predicate that fails fails its state once.
        let error = agent.run(json!({ "pages": "many" })).await.unwrap_err();
        assert!(
            error.error.message.starts_with("step 'count': context key 'pages' cannot be read as u32"),
            "{error}"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a18_a_need_with_a_time_is_met_when_that_has_passed() {
    let engine = simulated().await;
    let pictures = Need::timeout(Duration::from_millis(200));
    let states = vec![slow("pictures", 5_000), slow("report", 1).needs("pictures", pictures)];
    let result = run_of(&engine, states).await;
    let run = engine.inspect(&result.run_id).await.unwrap();
    let report = run.executions().iter().find(|execution| execution.step.as_str() == "report").unwrap();
    let took = report.started_at.unwrap().ms_since(run.started_at().unwrap());
    assert!((200..400).contains(&took), "{took}");
}

#[tokio::test]
async fn a19_a_diamond_of_needs_runs_in_their_order() {
    on_each_store(async |engine| {
        let result = run_of(
            &engine,
            vec![
                always("a", &[]),
                always("m", &[]).needs("a", Need::required()).needs("b", Need::required()),
                always("b", &[]).needs("a", Need::required()),
            ],
        )
        .await;
        assert_eq!(activations(&engine, &result).await, ["a", "b", "m"]);
    })
    .await;
}

#[tokio::test]
async fn a18_what_is_needed_anew_each_round_holds_a_state_up_until_it_is_there() {
    on_each_store(async |engine| {
        let anew = Need::required().lifecycle(Lifecycle::Always);
        let round = |cx: Context| {
            std::future::ready(Ok::<_, StepError>(match cx.ordinal() {
                1..3 => Next::all(["fetch", "use"]),
                _ => Next::done(),
            }))
        };
        let result = run_of(
            &engine,
            vec![
                State::new("round", round).next(["fetch", "use", END]).entry(),
                always("fetch", &[]),
                always("use", &["round"]).needs("fetch", anew),
            ],
        )
        .await;
        assert_eq!(told(&engine, &result).await, "fetch 2 round 3 use 2");
    })
    .await;
}

#[tokio::test]
async fn a20_a_state_whose_need_can_never_be_met_ends_the_run_and_names_both() {
    on_each_store(async |engine| {
        let agent = Agent::new("stuck")
            .add_state(always("s", &["blocked"]).entry())
            .add_state(always("blocked", &[]).needs("never", Need::required()))
            .add_state(State::new("never", ends).next([END]))
            .add_state(always("elsewhere", &["never"]))
            .build(&engine)
            .unwrap();
        let error = agent.run(()).await.unwrap_err().error;
        assert_eq!(error.code, Code::DEADLOCK);
        assert!(error.message.contains("'blocked' waits for never"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a20_a_state_that_its_needs_begin_is_skipped_when_they_can_never_be_met() {
    on_each_store(async |engine| {
        let result = run_of(
            &engine,
            vec![
                always("s", &[]).entry(),
                State::new("never", ends).next([END]),
                always("elsewhere", &["never"]),
                always("later", &[]).needs("never", Need::required()).needs("s", Need::required()),
            ],
        )
        .await;
        assert_eq!(result.completed_states, ["s"]);
        let journal = engine.store().events(&result.run_id, Seq(0), 1_000).await.unwrap();
        let skipped = journal.iter().find_map(|recorded| match &recorded.event {
            Event::StepSkipped { step, reason, .. } => Some((step.as_str(), *reason)),
            _ => None,
        });
        assert_eq!(skipped, Some(("later", SkipReason::NeedsUnmet)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a18_all_executions_of_a_required_state_are_waited_for() {
    let engine = simulated().await;
    let chunk = |cx: Context| async move {
        let number: u64 = cx.payload()?.unwrap();
        tokio::time::sleep(Duration::from_millis(100 * number)).await;
        Ok(Next::done())
    };
    let result = run_of(
        &engine,
        vec![
            State::new("split", |_: Context| async { Next::each("chunk", 1..=5) }).next(["chunk"]),
            State::new("chunk", chunk).next([END]),
            always("merge", &[]).needs("chunk", Need::required()),
        ],
    )
    .await;
    assert_eq!(told(&engine, &result).await, "chunk 5 merge 1 split 1");
    let run = engine.inspect(&result.run_id).await.unwrap();
    let of = |name: &str, ordinal| run.execution(name, Ordinal(ordinal)).unwrap();
    assert!((1..=5).all(|chunk| of("chunk", chunk).finished_at <= of("merge", 1).started_at));
}

#[tokio::test]
async fn a_condition_may_wait_for_others() {
    on_each_store(async |engine| {
        let asks = |holds: bool| {
            Need::conditional_on(move |cx: Context| async move {
                tokio::task::yield_now().await;
                Ok(cx.get::<bool>("seen")? == Some(holds))
            })
        };
        let sees = |cx: Context| async move {
            cx.set("seen", &true)?;
            Ok(Next::done())
        };
        let agent = Agent::new("asking")
            .add_state(State::new("a", sees).next([END]))
            .add_state(State::new("yes", ends).needs("a", asks(true)).next([END]))
            .add_state(State::new("no", ends).needs("a", asks(false)).next([END]));
        let result = agent.build(&engine).unwrap().run(()).await.unwrap();
        assert_eq!(result.completed_states, ["a", "yes"]);
    })
    .await;
}
