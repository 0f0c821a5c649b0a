//! A run from its start to its end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stepwell_core::policy::retry::RetryPolicy;
use stepwell_core::run::wait::{Question, WaitKind, WaitSpec};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::definition::{Definition, Step};
use stepwell_engine::Outcome;
use stepwell_engine::testing::{ScriptedProvider, TestEngine, completes_once, flaky, has_no_gaps};
use stepwell_store::{MemoryStore, Page, WaitFilter};

fn step(name: &str, needs: &[&str]) -> Step {
    Step::provided(name, "test/v1", "test/do", json!({})).needs(needs)
}

#[tokio::test(start_paused = true)]
async fn a_chain_runs_each_step_once_and_in_order() {
    let test = TestEngine::new(ScriptedProvider::default()).await;
    let steps = vec![step("a", &[]), step("b", &["a"]), step("c", &["b"])];
    let row = test.run(Definition::new("chain", steps)).await;
    assert_eq!(row.state.status, RunStatus::Completed);
    let journal = test.journal(&row.run).await;
    assert!(has_no_gaps(&journal) && completes_once(&journal));
    let kinds: Vec<&str> = journal.iter().map(|recorded| recorded.event.kind()).collect();
    assert_eq!(
        kinds,
        [
            "RunCreated",
            "RunStarted",
            "StepActivated",
            "AttemptStarted",
            "StepCompleted",
            "StepActivated",
            "AttemptStarted",
            "StepCompleted",
            "StepActivated",
            "AttemptStarted",
            "StepCompleted",
            "RunCompleted",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_reference_carries_the_result_of_an_earlier_step() {
    let script = ScriptedProvider::default()
        .on("a", |_| Outcome::output(json!({ "result": { "n": 41 } })))
        .on("b", |task| Outcome::output(json!({ "result": task.params["n"].as_i64().unwrap() + 1 })));
    let test = TestEngine::new(script).await;
    let b = Step::provided("b", "test/v1", "test/do", json!({ "n": "${a.result.n}" })).needs(&["a"]);
    let row = test.run(Definition::new("sum", vec![step("a", &[]), b])).await;
    assert_eq!(row.state.status, RunStatus::Completed, "{:?}", row.state.error);
    assert_eq!(test.view(&row.run, "b").await["result"], json!(42));
}

#[tokio::test(start_paused = true)]
async fn a_flaky_step_is_tried_again_after_its_delay() {
    let script = ScriptedProvider::default().on("a", |task| {
        if task.attempt < 3 { flaky("not yet") } else { Outcome::output(json!({ "result": 1 })) }
    });
    let test = TestEngine::new(script).await;
    let mut a = step("a", &[]);
    a.retry = Some(RetryPolicy::fixed(3, 1_000));
    let row = test.run(Definition::new("flaky", vec![a])).await;
    assert_eq!(row.state.status, RunStatus::Completed);
    assert_eq!(test.script.calls("a"), 3);
    let took = row.state.finished_at.unwrap().ms_since(row.created_at);
    assert!((2_000..2_100).contains(&took), "two delays of a second, not {took} ms");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_branches_merge_once() {
    let test = TestEngine::new(ScriptedProvider::default()).await;
    let mut steps = vec![step("s", &[])];
    let names: Vec<String> = (0..1_000).map(|i| format!("b{i}")).collect();
    steps.extend(names.iter().map(|name| step(name, &["s"])));
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    steps.push(step("merge", &all));
    let row = test.run(Definition::new("wide", steps)).await;
    assert_eq!(row.state.status, RunStatus::Completed);
    assert_eq!(test.script.calls("merge"), 1);
    assert!(completes_once(&test.journal(&row.run).await));
}

#[tokio::test(start_paused = true)]
async fn an_open_question_pauses_the_run_and_its_answer_moves_it_on() {
    let ask = |_: &stepwell_engine::Task| {
        let question = Question { prompt: "Ship it?".into(), ..Question::default() };
        Outcome::Suspend(vec![WaitSpec::step(WaitKind::Human(question))])
    };
    let test = TestEngine::new(ScriptedProvider::default().on("ask", ask)).await;
    let run = test.start(Definition::new("approval", vec![step("ask", &[]), step("ship", &["ask"])])).await;
    assert_eq!(test.rest(&run).await.state.status, RunStatus::Paused);
    let open = test.store.waits(&WaitFilter::default(), &Page::first(10)).await.unwrap().items;
    assert_eq!(open.len(), 1);
    test.engine.answer(&open[0].wait, json!(true), Some("ann".into())).await.unwrap();
    let row = test.end(&run).await;
    assert_eq!(row.state.status, RunStatus::Completed);
    assert_eq!(test.view(&run, "ask").await["answered_by"], json!("ann"));
    let again = test.engine.answer(&open[0].wait, json!(false), None).await.unwrap_err();
    assert_eq!(again.data["reason"], json!("wait_closed"));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_takes_too_long_times_out() {
    let script = ScriptedProvider::default()
        .on_after("a", Duration::from_secs(100), |_| Outcome::output(json!({ "result": 1 })));
    let test = TestEngine::new(script).await;
    let mut a = step("a", &[]);
    a.timeout_ms = Some(2_000);
    let row = test.run(Definition::new("slow", vec![a])).await;
    assert_eq!(row.state.status, RunStatus::Failed);
    assert_eq!(row.state.error.unwrap().code, stepwell_core::error::Code::TASK_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn the_work_of_a_dead_session_goes_to_another() {
    let memory = Arc::new(MemoryStore::default());
    let store: Arc<dyn stepwell_store::Store> = memory.clone();
    let stuck = ScriptedProvider::default()
        .on_after("b", Duration::from_secs(1_000_000), |_| Outcome::output(json!({ "result": 1 })));
    let first = TestEngine::over(store.clone(), stuck).await;
    let steps = vec![step("a", &[]), step("b", &["a"]), step("c", &["b"])];
    let run = first.start(Definition::new("chain", steps)).await;
    while first.script.calls("b") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let second = TestEngine::over(store, ScriptedProvider::default()).await;
    memory.kill_session(stepwell_store::SessionRef { id: 1, generation: 1 });
    let row = second.end(&run).await;
    assert_eq!(row.state.status, RunStatus::Completed);
    assert_eq!((second.script.calls("a"), second.script.calls("b"), second.script.calls("c")), (0, 1, 1));
    assert_eq!(second.count(&run, "AttemptLost").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_loop_by_payload_goes_round_as_often_as_it_says() {
    let script = ScriptedProvider::default().on("loop", |task| {
        let left =
            task.payload.as_deref().or(Some(&*task.run.input)).and_then(serde_json::Value::as_u64).unwrap();
        let to = if left > 1 {
            vec![stepwell_core::run::event::Target::with_payload("loop", left - 1)]
        } else {
            Vec::new()
        };
        Outcome::Complete(stepwell_engine::Completion {
            output: Arc::new(json!(null)),
            writes: Vec::new(),
            to,
            ..stepwell_engine::Completion::default()
        })
    });
    let test = TestEngine::new(script).await;
    let steps = vec![Step::function("loop").next(&["loop", "$end"])];
    let workflow = stepwell_core::workflow::Workflow::new(Definition::new("round", steps)).unwrap();
    let start = stepwell_engine::Start { input: json!(100), ..stepwell_engine::Start::of(workflow) };
    let run = test.engine.start(start).await.unwrap().run;
    assert_eq!(test.end(&run).await.state.status, RunStatus::Completed);
    assert_eq!(test.script.calls("loop"), 100);
}

/// G41.
#[tokio::test(start_paused = true)]
async fn two_workflows_with_equal_step_names_see_nothing_of_each_other() {
    let script = ScriptedProvider::default()
        .on("first", |task| Outcome::output(json!({ "result": task.run.workflow.name() })))
        .on("second", |task| Outcome::output(json!({ "result": task.params })));
    let test = TestEngine::new(script).await;
    let of = |name: &str| {
        let params = json!({ "seen": "${first.result}", "of": "${input}" });
        let second = Step::provided("second", "test/v1", "test/do", params).needs(&["first"]);
        stepwell_core::workflow::Workflow::new(Definition::new(name, vec![step("first", &[]), second]))
            .unwrap()
    };
    let mut runs = Vec::new();
    for round in 0..20 {
        for name in ["one", "two"] {
            let start = stepwell_engine::Start {
                input: json!([name, round]),
                ..stepwell_engine::Start::of(of(name))
            };
            runs.push((name, round, test.engine.start(start).await.unwrap().run));
        }
    }
    for (name, round, run) in runs {
        assert_eq!(test.end(&run).await.state.status, RunStatus::Completed);
        let seen = test.view(&run, "second").await["result"].clone();
        assert_eq!(seen, json!({ "seen": name, "of": [name, round] }));
    }
}
