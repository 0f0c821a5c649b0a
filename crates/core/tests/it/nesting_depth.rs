//! Values that are nested so deep that nobody could read them again: refused before they are journaled.

use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::RunId;
use stepwell_core::nesting::MAX_NESTING;
use stepwell_core::run::command::{Command, Create};
use stepwell_core::run::event::{Event, Target};
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, ForEach, OnFailure, Step};

use crate::support::{World, answer, child, complete, question};

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

fn deepest() -> Value {
    nested(MAX_NESTING)
}

fn too_deep() -> Value {
    nested(MAX_NESTING + 1)
}

fn one() -> World {
    World::steps(vec![Step::function("a").next(&["b"]), Step::function("b").next(&[])])
}

#[test]
fn what_comes_from_outside_is_refused_and_the_run_is_as_it_was() {
    let mut world = one();
    let wait = world.asks("a", vec![question(0)]).remove(0);
    assert_eq!(world.refused(answer(&wait, too_deep())), "too_deep");
    let signal = |value: Value| Command::Signal { name: "go".into(), id: "1".into(), value: Arc::new(value) };
    assert_eq!(world.refused(signal(too_deep())), "too_deep");
    world.ok(signal(deepest()));
    world.ok(answer(&wait, deepest()));

    let mut blank = World::blank(Definition::new("test", vec![Step::function("a").next(&[])]));
    let mut create = Create::new(RunId::from("run_test"), blank.run.workflow().clone());
    create.input = Arc::new(too_deep());
    assert_eq!(blank.refused(Command::Create(Box::new(create.clone()))), "too_deep");
    create.input = Arc::new(deepest());
    blank.ok(Command::Create(Box::new(create)));
}

#[test]
fn a_result_a_payload_or_a_wait_that_is_too_deep_fails_its_step() {
    let outcomes: [fn(&mut World); 3] = [
        |world| {
            let attempt = world.take("a");
            world.ok(complete(&attempt, too_deep(), Vec::new()));
        },
        |world| {
            let attempt = world.take("a");
            world.ok(complete(&attempt, json!(1), vec![Target::with_payload("b", too_deep())]));
        },
        |world| {
            let mut wait = question(0);
            wait.default = Some(Arc::new(too_deep()));
            world.asks("a", vec![wait]);
        },
    ];
    for outcome in outcomes {
        let mut world = one();
        outcome(&mut world);
        assert_eq!(world.status(), RunStatus::Failed);
        assert_eq!(world.run.error().unwrap().code, Code::TASK_RESULT_INVALID);
    }
}

#[test]
fn what_children_bring_is_no_deeper_than_what_steps_do() {
    let ends = |outcome: Result<Value, ErrorObject>| {
        let mut world = World::steps(vec![Step::function("a").next(&[])]);
        let wait = world.asks("a", vec![child(0)]).remove(0);
        world.ok(Command::EndChild { wait, outcome: outcome.map(Arc::new) });
        assert!(world.journal.iter().all(|(event, _)| {
            serde_json::from_str::<Event>(&serde_json::to_string(event).unwrap()).is_ok()
        }));
    };
    ends(Ok(too_deep()));
    ends(Err(ErrorObject::new(Code::CHILD_FAILED, "boom").with("cause", too_deep())));
}

#[test]
fn everything_that_is_journaled_can_be_read_again() {
    let mut each = Step::provided("each", "python/v1", "python/execute", Value::Null).needs(&["list"]);
    each.for_each = Some(ForEach { items: json!("${list.result}"), max_concurrent: None });
    each.on_failure = OnFailure::Continue;
    let list = Step::provided("list", "python/v1", "python/execute", Value::Null);
    let mut world = World::steps(vec![list, each]);
    // The result of a step is an object around the deepest value there can be.
    let list: Vec<Value> = vec![nested(MAX_NESTING - 2)];
    world.done_with("list", json!({ "result": list }), Vec::new());
    world.done_with("each[]", json!({ "result": nested(MAX_NESTING - 1) }), Vec::new());
    assert_eq!(world.status(), RunStatus::Completed);
    let journal: Vec<&Event> = world.journal.iter().map(|(event, _)| event).collect();
    let read: Vec<Event> = serde_json::from_str(&serde_json::to_string(&journal).unwrap()).unwrap();
    assert_eq!(read.len(), journal.len());
    world.restored(world.journal.len(), &world.run.to_snapshot());
}

#[test]
fn a_definition_that_is_too_deep_is_refused() {
    let step = Step::provided("a", "python/v1", "python/execute", json!({ "args": too_deep() }));
    let problems = Workflow::new(Definition::new("test", vec![step])).unwrap_err();
    assert_eq!(problems[0].message, "steps[0].params is nested deeper than 100 levels");
}
