//! Functions that are added to an engine after it was opened, and what they are told.

use std::sync::Arc;

use serde_json::json;
use stepwell_core::ids::{Ordinal, RunId};
use stepwell_core::run::wait::{Question, Then, WaitKind, WaitSpec};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Need, NeedKind, Step};
use stepwell_engine::testing::{ScriptedProvider, SimClock};
use stepwell_engine::{Engine, Options, Outcome, Registry, Start, Task};
use stepwell_store::{MemoryStore, Page, WaitFilter, WaitState};

async fn engine() -> Engine {
    let clock = Arc::new(SimClock::new(1));
    let store = Arc::new(MemoryStore::default());
    Engine::open_with_clock(store, Registry::default(), Options::default(), clock).await.unwrap()
}

async fn start(engine: &Engine, steps: Vec<Step>) -> RunId {
    let workflow = Workflow::new(Definition::new("w", steps)).unwrap();
    engine.start(Start::of(workflow)).await.unwrap().run
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_function_is_added_later_goes_on() {
    let engine = engine().await;
    let run = start(&engine, vec![Step::function("a").next(&["b"]), Step::function("b").next(&[])]).await;
    engine.register("w", "a", Arc::new(ScriptedProvider::default().on("a", |_| Outcome::to(&["b"]))));
    let newer = ScriptedProvider::default();
    engine.register("w", "b", Arc::new(ScriptedProvider::default()));
    engine.register("w", "b", Arc::new(newer.clone()));
    assert_eq!(engine.rest(&run, false).await.unwrap().state.status, RunStatus::Completed);
    assert_eq!(newer.calls("b"), 1, "the function that was added last is the one");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_runs_again_is_told_which_of_its_waits_are_open() {
    fn asks(task: &Task) -> Outcome {
        let known = |position| {
            task.open.iter().any(|open| open.position == position)
                || task.resolutions.iter().any(|resolved| resolved.position == position)
        };
        let kind = || WaitKind::Human(Question { prompt: "?".into(), ..Question::default() });
        let unknown = (0..2).filter(|position| !known(*position));
        let spec = |position| WaitSpec { position, then: Then::Rerun, ..WaitSpec::step(kind()) };
        if task.resolutions.len() == 2 {
            Outcome::to(&[])
        } else {
            Outcome::Suspend(unknown.map(spec).collect())
        }
    }
    let engine = engine().await;
    engine.register("w", "a", Arc::new(ScriptedProvider::default().on("a", asks)));
    let run = start(&engine, vec![Step::function("a").next(&[])]).await;
    for left in [2, 1] {
        engine.rest(&run, true).await.unwrap();
        let open =
            WaitFilter { state: Some(WaitState::Open), run: Some(run.clone()), ..WaitFilter::default() };
        let open = engine.store().waits(&open, &Page::first(9)).await.unwrap().items;
        assert_eq!(open.len(), left);
        engine.answer(&open[0].wait, json!(1), None).await.unwrap();
    }
    assert_eq!(engine.rest(&run, false).await.unwrap().state.status, RunStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_function_is_told_when_only_its_predicate_is_asked() {
    let engine = engine().await;
    let script = ScriptedProvider::default()
        .on("b", |task| if task.judges { Outcome::output(json!(false)) } else { Outcome::to(&[]) });
    for step in ["a", "b"] {
        engine.register("w", step, Arc::new(script.clone()));
    }
    let mut b = Step::function("b").next(&[]);
    b.needs.push(Need::of_kind("a", NeedKind::Conditional));
    let run = start(&engine, vec![Step::function("a").next(&[]), b]).await;
    engine.rest(&run, false).await.unwrap();
    let run = engine.inspect(&run).await.unwrap();
    let status = run.execution("b", Ordinal(1)).map(|b| b.status.as_str());
    assert_eq!(status, Some("skipped"));
}

#[tokio::test(start_paused = true)]
async fn functions_are_let_go_when_the_engine_is_shut_down() {
    let engine = engine().await;
    let function = Arc::new(ScriptedProvider::default());
    engine.register("w", "a", function.clone());
    engine.shutdown().await;
    assert_eq!(Arc::strong_count(&function), 1);
}

#[tokio::test(start_paused = true)]
async fn functions_of_names_with_slashes_are_not_taken_for_each_other() {
    let engine = engine().await;
    let (own, other) = (ScriptedProvider::default(), ScriptedProvider::default());
    engine.register("team/w", "a", Arc::new(own.clone()));
    engine.register("team", "w/a", Arc::new(other.clone()));
    let workflow = Workflow::new(Definition::new("team/w", vec![Step::function("a").next(&[])])).unwrap();
    let run = engine.start(Start::of(workflow)).await.unwrap().run;
    assert_eq!(engine.rest(&run, false).await.unwrap().state.status, RunStatus::Completed);
    assert_eq!((own.calls("a"), other.calls("a")), (1, 0));
}
