//! Steps with `for_each`: one execution per element, one result (spec/gleitzeit.md §1.4).

use serde_json::{Value, json};
use stepwell_core::error::Code;
use stepwell_core::run::command::Command;
use stepwell_core::status::{ExecutionStatus, RunStatus};
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, ForEach, OnFailure, Step};

use crate::support::{World, answer, question};

fn each(items: Value, max_concurrent: Option<u32>) -> Step {
    let mut step = Step::provided("each", "python/v1", "python/execute", Value::Null);
    step.for_each = Some(ForEach { items, max_concurrent });
    step
}

/// A list is made, worked on element by element, and looked at.
fn listed(policy: OnFailure) -> World {
    let provided = |name: &str| Step::provided(name, "python/v1", "python/execute", Value::Null);
    let mut middle = each(json!("${list.result}"), None).needs(&["list"]);
    middle.on_failure = policy;
    World::steps(vec![provided("list"), middle, provided("look").needs(&["each"])])
}

/// Ends the first element that is ready.
fn element_done(world: &mut World, result: i64) {
    world.done_with("each[]", json!({ "result": result }), Vec::new());
}

fn view(world: &World, step: &str) -> Value {
    world.run.views().get(step).cloned().unwrap_or(Value::Null)
}

#[test]
fn a_step_has_one_execution_per_element_and_one_result_in_their_order() {
    let mut world = listed(OnFailure::Fail);
    world.done_with("list", json!({ "result": ["a", "b", "c"] }), Vec::new());
    assert_eq!(world.ready_steps(), ["each[]", "each[]", "each[]"]);
    for result in 1..=3 {
        assert!(world.run.execution("look", stepwell_core::ids::Ordinal(1)).is_none());
        element_done(&mut world, result);
    }
    let each = view(&world, "each");
    assert_eq!(
        (&each["result"], &each["count"], &each["success"]),
        (&json!([1, 2, 3]), &json!(3), &json!(true))
    );
    assert_eq!(each["results"][2]["status"], "completed");
    assert_eq!(world.ready_steps(), ["look"]);
    world.done("look", &[]);
    assert_eq!(world.status(), RunStatus::Completed);
    assert_eq!(world.run.views().len(), 3, "elements have no view of their own");
}

#[test]
fn no_more_elements_are_under_way_than_the_step_allows() {
    let mut world = World::steps(vec![each(json!([1, 2, 3, 4, 5]), Some(2))]);
    for left in (1..=5).rev() {
        assert_eq!(world.ready().len(), left.min(2));
        element_done(&mut world, 0);
    }
    assert_eq!(world.status(), RunStatus::Completed);
    assert_eq!(view(&world, "each")["count"], 5);
}

#[test]
fn an_empty_list_is_completed_at_once() {
    let mut world = listed(OnFailure::Fail);
    world.done_with("list", json!({ "result": [] }), Vec::new());
    assert_eq!(view(&world, "each")["result"], json!([]));
    assert_eq!(world.ready_steps(), ["look"]);
}

#[test]
fn what_is_no_list_fails_the_step() {
    let mut world = listed(OnFailure::Fail);
    world.done_with("list", json!({ "result": "abc" }), Vec::new());
    assert_eq!(world.status(), RunStatus::Failed);
    let error = world.run.error().unwrap();
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::TASK_PARAMETER_ERROR, "step 'each': for_each: it must be a list, and is a string")
    );
}

#[test]
fn a_failed_element_fails_the_step_after_the_others_have_ended() {
    let mut world = listed(OnFailure::Fail);
    world.done_with("list", json!({ "result": [1, 2] }), Vec::new());
    world.fails("each[]");
    assert_eq!(world.status(), RunStatus::Running);
    element_done(&mut world, 2);
    assert_eq!(world.status(), RunStatus::Failed);
    let error = world.run.error().unwrap();
    assert_eq!(error.data["failed_elements"], json!([0]));
    assert_eq!(view(&world, "look")["status"], "skipped");
}

#[test]
fn under_continue_the_step_completes_and_says_that_not_all_went_well() {
    let mut world = listed(OnFailure::Continue);
    world.done_with("list", json!({ "result": [1, 2] }), Vec::new());
    world.fails("each[]");
    element_done(&mut world, 2);
    let each = view(&world, "each");
    assert_eq!(
        (&each["status"], &each["success"], &each["result"]),
        (&json!("completed"), &json!(false), &json!([null, 2]))
    );
    assert_eq!(each["results"][0]["error"]["message"], "boom");
    world.done("look", &[]);
    assert_eq!(world.status(), RunStatus::Completed);
}

#[test]
fn under_stop_a_failed_element_ends_everything_at_once() {
    let mut world = listed(OnFailure::Stop);
    world.done_with("list", json!({ "result": [1, 2] }), Vec::new());
    world.fails("each[]");
    assert_eq!(world.status(), RunStatus::Failed);
    assert!(world.run.executions().iter().all(|execution| execution.status.is_terminal()));
}

#[test]
fn a_new_epoch_goes_on_with_what_was_not_completed() {
    let mut world = World::steps(vec![each(json!([1, 2, 3]), Some(1))]);
    element_done(&mut world, 1);
    world.fails("each[]");
    element_done(&mut world, 3);
    assert_eq!(world.status(), RunStatus::Failed);
    world.ok(Command::Retry { input: None, reason: None });
    assert_eq!(world.ready().len(), 1);
    element_done(&mut world, 20);
    assert_eq!(view(&world, "each")["result"], json!([1, 20, 3]));
    assert_eq!(world.run.executions().iter().map(|e| e.attempts).sum::<u32>(), 4);
}

#[test]
fn a_cancelled_step_takes_its_elements_with_it() {
    let mut world = World::steps(vec![each(json!([1, 2]), None)]);
    world.ok(Command::CancelStep { step: "each".into() });
    let cancelled = world.run.executions().iter().filter(|e| e.status == ExecutionStatus::Cancelled).count();
    assert_eq!((cancelled, world.ready().len()), (3, 0));
}

#[test]
fn each_element_may_wait_for_a_person() {
    let mut world = World::steps(vec![each(json!(["Ada", "Grace"]), None)]);
    let first = world.asks("each[]", vec![question(0)]);
    let second = world.asks("each[]", vec![question(0)]);
    assert_eq!(world.status(), RunStatus::Paused);
    for wait in first.iter().chain(&second) {
        world.ok(answer(wait, json!("yes")));
        element_done(&mut world, 1);
    }
    assert_eq!(world.status(), RunStatus::Completed);
}

#[test]
fn elements_cannot_be_led_to_or_lead_on() {
    let step = |mut step: Step| {
        step.for_each = Some(ForEach { items: json!([1]), max_concurrent: None });
        Workflow::new(Definition::new("test", vec![step]))
            .map(|_| ())
            .map_err(|found| found[0].message.clone())
    };
    let refused = step(Step::function("a").next(&["a"])).unwrap_err();
    assert!(refused.contains("cannot name what follows"), "{refused}");
    assert_eq!(step(Step::function("a").next(&[])), Ok(()));
    let mut world = World::steps(vec![each(json!([1]), None), Step::function("other").next(&[])]);
    let attempt = world.take("other");
    let to = vec![stepwell_core::run::event::Target::to("each[]")];
    world.ok(crate::support::complete(&attempt, json!(null), to));
    let other = world.run.views()["other"].clone();
    assert_eq!((&other["status"], &other["error"]["name"]), (&json!("failed"), &json!("UNKNOWN_STEP")));
}
