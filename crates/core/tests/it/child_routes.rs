//! A route may name a step of another workflow: a child run goes that branch, and its failure is the naming step's.

use serde_json::{Value, json};
use stepwell_core::context::Change;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::{StepName, WaitId};
use stepwell_core::run::command::{AttemptRef, Command, Complete};
use stepwell_core::run::event::{Activation, Event, Payload, Target};
use stepwell_core::run::wait::WaitKind;
use stepwell_core::run::{Message, MessageBody};
use stepwell_core::status::{ExecutionStatus, PauseReason, RunStatus};
use stepwell_core::workflow::definition::{Definition, OnFailure, Step};

use crate::support::{World, child_start};

/// Completes a step whose route names these steps and so many child runs.
fn names_children(world: &mut World, step: &str, to: &[&str], children: usize) -> Vec<WaitId> {
    let attempt = world.take(step);
    let decision = world.ok(route(attempt, to, children));
    let opened = |event: &Event| match event {
        Event::WaitOpened { wait, .. } => Some(wait.clone()),
        _ => None,
    };
    decision.events.iter().filter_map(opened).collect()
}

fn route(attempt: AttemptRef, to: &[&str], children: usize) -> Command {
    Command::Complete(Complete {
        attempt,
        output: Payload::default(),
        writes: vec![Change { key: "k".into(), value: Some(Payload::new(json!(7))), base: None }],
        snapshot: 0,
        to: to.iter().map(|name| Target::to(name)).collect(),
        children: vec![child_start(); children],
        defines: Vec::new(),
    })
}

fn ends(world: &mut World, wait: &WaitId, outcome: Result<Value, &str>) {
    let outcome = outcome.map(Payload::new).map_err(|message| ErrorObject::new(Code::CHILD_FAILED, message));
    world.ok(Command::EndChild { wait: wait.clone(), outcome });
}

fn statuses(world: &World, step: &str) -> Vec<ExecutionStatus> {
    world.run.executions().iter().filter(|e| e.step.as_str() == step).map(|e| e.status).collect()
}

#[test]
fn a_child_run_goes_a_branch_with_a_copy_of_the_context_and_the_branch_ends_with_it() {
    let mut world = World::steps(vec![Step::function("a").next(&[])]);
    let waits = names_children(&mut world, "a", &[], 1);
    assert_eq!(statuses(&world, "a"), [ExecutionStatus::Completed, ExecutionStatus::Waiting]);
    assert!(world.ready().is_empty(), "no function is called for it");
    let [Message { body: MessageBody::StartChild { context, entry, parent, .. }, .. }] =
        &world.last.messages[..]
    else {
        panic!("one child run is started: {:?}", world.last.messages);
    };
    assert_eq!((context["k"].clone(), entry.as_ref().map(StepName::as_str)), (json!(7), Some("x")));
    assert_eq!(parent.wait, waits[0]);
    let by = world.last.events.iter().find_map(|event| match event {
        Event::StepActivated { by: by @ Activation::Child { .. }, .. } => Some(by.clone()),
        _ => None,
    });
    assert_eq!(by, Some(Activation::Child { of: crate::support::first() }));
    ends(&mut world, &waits[0], Ok(json!({ "result": {}, "run_id": "run_x" })));
    assert_eq!(world.status(), RunStatus::Completed);
}

#[test]
fn the_other_branches_go_on_at_once_and_their_merge_waits_for_no_child() {
    let mut world = World::steps(vec![
        Step::function("a").next(&["b", "c", "merge"]),
        Step::function("b").next(&["merge"]),
        Step::function("c").next(&["merge"]),
        Step::function("merge").next(&[]),
    ]);
    let waits = names_children(&mut world, "a", &["b", "c"], 1);
    world.done("b", &["merge"]);
    world.done("c", &["merge"]);
    world.done("merge", &[]);
    assert_eq!(world.status(), RunStatus::Running, "the child goes on");
    ends(&mut world, &waits[0], Ok(json!(null)));
    assert_eq!((world.status(), world.count("merge")), (RunStatus::Completed, 1));
}

#[test]
fn a_failed_child_is_a_failure_of_the_naming_step_under_its_policy() {
    let of = |on_failure| World::steps(vec![Step { on_failure, ..Step::function("a").next(&[]) }]);
    for on_failure in [OnFailure::Fail, OnFailure::Stop] {
        let mut world = of(on_failure);
        let waits = names_children(&mut world, "a", &[], 2);
        ends(&mut world, &waits[1], Err("no"));
        if world.status() == RunStatus::Running {
            ends(&mut world, &waits[0], Ok(json!(null)));
        }
        assert_eq!((world.status(), world.error_code()), (RunStatus::Failed, Some(Code::CHILD_FAILED)));
    }
    let mut world = of(OnFailure::Continue);
    let waits = names_children(&mut world, "a", &[], 1);
    ends(&mut world, &waits[0], Err("no"));
    assert_eq!(world.status(), RunStatus::Completed);
}

#[test]
fn a_merge_waits_for_a_child_whose_failure_would_lead_to_it() {
    let a = Step { on_failure: OnFailure::Route("rescue".into()), ..Step::function("a").next(&["b"]) };
    let steps = vec![
        a,
        Step::function("b").next(&["merge"]),
        Step::function("rescue").next(&["merge"]),
        Step::function("merge").next(&[]),
    ];
    for child_fails in [true, false] {
        let mut world = World::steps(steps.clone());
        let waits = names_children(&mut world, "a", &["b"], 1);
        world.done("b", &["merge"]);
        assert_eq!(world.count("merge"), 0, "the failure of the child might still come");
        if child_fails {
            ends(&mut world, &waits[0], Err("no"));
            world.done("rescue", &["merge"]);
        } else {
            ends(&mut world, &waits[0], Ok(json!(null)));
        }
        world.done("merge", &[]);
        assert_eq!((world.status(), world.count("merge")), (RunStatus::Completed, 1));
    }
}

#[test]
fn a_retry_begins_a_new_child_for_the_one_that_failed_and_calls_no_function_again() {
    let mut world = World::steps(vec![Step::function("a").next(&[])]);
    let waits = names_children(&mut world, "a", &[], 2);
    ends(&mut world, &waits[0], Ok(json!(null)));
    ends(&mut world, &waits[1], Err("no"));
    assert_eq!(world.status(), RunStatus::Failed);
    world.ok(Command::Retry { input: None, reason: None });
    assert!(world.ready().is_empty());
    let open = world.run.open_waits();
    let [again] = &open[..] else { panic!("one child is waited for: {open:?}") };
    let (WaitKind::Child(child), wait) = (&again.spec.kind, again.id.clone()) else { panic!("{again:?}") };
    let before = world.run.wait(&waits[1]).map(|(spec, _)| spec.kind.clone());
    let Some(WaitKind::Child(before)) = before else { panic!("{before:?}") };
    assert_ne!(child.run, before.run, "a failed child is replaced");
    ends(&mut world, &wait, Ok(json!(null)));
    assert_eq!(world.status(), RunStatus::Completed);
}

#[test]
fn a_run_whose_child_asks_is_paused_and_a_cancelled_run_cancels_its_children() {
    let mut world = World::steps(vec![Step::function("a").next(&[])]);
    let waits = names_children(&mut world, "a", &[], 1);
    world.ok(Command::NoteChild { wait: waits[0].clone(), turn: 1, paused: true });
    assert_eq!(world.run.pause_reason(), Some(PauseReason::Input));
    world.ok(Command::Cancel { reason: None });
    let is_cancel = |message: &Message| matches!(message.body, MessageBody::CancelChild);
    assert!(world.last.messages.iter().any(is_cancel));
}

#[test]
fn children_count_as_routed_executions_and_nobody_who_undoes_a_failure_may_name_one() {
    let steps = vec![Step::function("a").next(&[])];
    let mut world = World::of(Definition { max_steps: 1, ..Definition::new("test", steps) });
    names_children(&mut world, "a", &[], 2);
    assert_eq!(world.error_code(), Some(Code::MAX_STEPS));

    let a = Step { compensation: Some("undo".into()), ..Step::function("a").next(&[]) };
    let mut world = World::steps(vec![a, Step::function("undo").next(&[])]);
    world.fails("a");
    names_children(&mut world, "undo", &[], 1);
    assert_eq!(world.step_status("undo"), Some(ExecutionStatus::Failed));
}

#[test]
fn a_run_can_begin_with_a_step_that_it_is_told() {
    use stepwell_core::run::command::Create;
    let steps = vec![Step::function("a").next(&["b"]), Step::function("b").next(&[])];
    let of = |entry: &str| {
        let world = World::blank(Definition::new("test", steps.clone()));
        let create = Create::new(world.run.id().clone(), world.workflow.clone());
        (world, Command::Create(Box::new(Create { entry: Some(entry.into()), ..create })))
    };
    let (mut world, create) = of("b");
    world.ok(create);
    assert_eq!(world.ready_steps(), ["b"]);
    world.done("b", &[]);
    assert_eq!((world.status(), world.count("a")), (RunStatus::Completed, 0));
    let (mut world, create) = of("bb");
    assert_eq!(world.refused(create), "UNKNOWN_STEP");
}
