//! Completing by hand what may be made only once: it goes on where that can be known, with the value, and is refused where not.

use std::future::pending;
use std::time::Duration;

use serde_json::{Value, json};
use stepwell::core::ids::WaitId;
use stepwell::{
    Agent, Context, Effect, Engine, Map, Next, Parallel, Pipeline, Repeat, Run, State, Step, StepError,
};

use crate::support::{always, ends, questions, simulated};

/// A step whose outcome nobody learns, if that comes in.
fn pay(lost: u32) -> Step {
    let pay = move |_: Context, n: u32| async move {
        if n == lost { pending().await } else { Ok::<_, StepError>(n) }
    };
    Step::new("pay", pay).effect(Effect::AtMostOnce).timeout(Duration::from_secs(1))
}

fn double() -> Step {
    Step::new("double", |_, n: u32| async move { Ok(n * 2) })
}

/// Waits for the question about `pay`.
async fn asked(run: &Run) -> WaitId {
    let [(prompt, wait)] = &questions(run).await[..] else { panic!("one thing is asked") };
    assert!(prompt.contains("pay' has no known outcome"), "{prompt}");
    wait.clone()
}

/// What the run comes to when the step is completed with 20.
async fn completed(pipeline: Pipeline, engine: &Engine, input: Value) -> Value {
    let run = pipeline.build(engine).unwrap().start(input).await.unwrap();
    let wait = asked(&run).await;
    run.answer(&wait, json!({ "verb": "complete", "value": 20 })).await.unwrap();
    run.wait().await.unwrap().output
}

/// Tries to complete the step, and then lets it fail.
async fn refused(run: Run) {
    let wait = asked(&run).await;
    let error = run.answer(&wait, json!({ "verb": "complete", "value": 20 })).await.unwrap_err();
    assert_eq!(error.code.name(), "ANSWER_INVALID", "{error}");
    assert!(run.questions().await.unwrap()[0].question.prompt.contains("Nobody can complete it by hand"));
    run.answer(&wait, json!({ "verb": "fail", "reason": "the bank says no" })).await.unwrap();
    run.wait().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn the_next_step_of_a_pipeline_is_given_the_value() {
    let engine = simulated().await;
    let more = Step::new("more", |_, n: u32| async move { Ok(n + 1) });
    let line = Pipeline::new("line").then(double()).then(pay(2)).then(more);
    assert_eq!(completed(line, &engine, json!(1)).await, 21);

    let last = Pipeline::new("last").then(double()).then(pay(2));
    assert_eq!(completed(last, &engine, json!(1)).await, 20);

    let fork = Parallel::new("fork")
        .branch("a", Pipeline::new("a").then(pay(1)).then(double()))
        .branch("b", double());
    let forks = Pipeline::new("forks").then(fork);
    assert_eq!(completed(forks, &engine, json!(1)).await, json!({ "a": 40, "b": 2 }));

    let body = Pipeline::new("body").then(double()).then(pay(4));
    let rounds = Pipeline::new("rounds").then(Repeat::until("rounds", body, |n: &u32, _| Ok(*n > 9)));
    assert_eq!(completed(rounds, &engine, json!(1)).await, 20);
}

#[tokio::test(start_paused = true)]
async fn where_more_than_the_value_goes_on_it_is_refused() {
    let engine = simulated().await;
    let kept = Pipeline::new("kept").then(pay(1).sink_to("paid")).then(double());
    refused(kept.build(&engine).unwrap().start(1).await.unwrap()).await;
    let joined = Parallel::new("fork").branch("a", pay(1)).branch("b", double());
    let joined = Pipeline::new("joined").then(joined).build(&engine).unwrap();
    refused(joined.start(1).await.unwrap()).await;
    let item = Map::each("rows", Pipeline::new("row").then(pay(2)).then(double()));
    let item = Pipeline::new("item").then(item).build(&engine).unwrap();
    refused(item.start([1, 2, 3]).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_state_that_declares_one_successor_leads_there_and_one_that_may_lead_elsewhere_is_refused() {
    let engine = simulated().await;
    let once = || {
        State::new("pay", |_| pending::<Result<Next, StepError>>())
            .effect(Effect::AtMostOnce)
            .timeout(Duration::from_secs(1))
    };
    let agent = |name, pay| {
        let agent = Agent::new(name).add_state(always("a", &["pay"])).add_state(pay).state("send", ends);
        agent.build(&engine).unwrap()
    };
    let run = agent("one", once().next(["send"])).start(()).await.unwrap();
    let wait = asked(&run).await;
    run.answer(&wait, json!({ "verb": "complete" })).await.unwrap();
    assert_eq!(run.wait().await.unwrap().completed_states, ["a", "pay", "send"]);
    refused(agent("unknown", once()).start(()).await.unwrap()).await;
    refused(agent("several", once().next(["send", stepwell::END])).start(()).await.unwrap()).await;
}
