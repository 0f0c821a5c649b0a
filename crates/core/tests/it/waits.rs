//! Questions, signals, timers and children: opened, resolved once, and what the run does meanwhile.

use std::sync::Arc;

use serde_json::{Map, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::run::MessageBody;
use stepwell_core::run::command::Command;
use stepwell_core::run::wait::{ChildStart, WaitKind};
use stepwell_core::status::{ExecutionStatus, PauseReason, RunStatus};
use stepwell_core::workflow::definition::Step;

use crate::support::{World, answer, question, signal, wait_for};

fn one() -> World {
    World::steps(vec![Step::function("a").next(&[])])
}

fn child() -> WaitKind {
    WaitKind::Child(Box::new(ChildStart {
        run: "".into(),
        definition: json!({}),
        input: Arc::new(json!(null)),
        context: Map::new(),
        metadata: Map::new(),
    }))
}

#[test]
fn a_question_pauses_the_run_and_its_answer_runs_the_function_again_under_the_same_attempt() {
    let mut world = one();
    let waits = world.asks("a", vec![question(0)]);
    assert_eq!((world.status(), world.run.pause_reason()), (RunStatus::Paused, Some(PauseReason::Input)));
    world.answer(&waits[0], json!("yes"));
    let work = world.run.due().work;
    assert_eq!((world.status(), work[0].attempt), (RunStatus::Running, 1));
    assert_eq!(world.refused(answer(&waits[0], json!("no"))), "wait_closed");
}

#[test]
fn a_function_that_ends_beside_an_open_question_withdraws_it() {
    let mut world = one();
    let waits = world.asks("a", vec![question(0), question(1)]);
    world.answer(&waits[0], json!("yes"));
    world.done("a", &[]);
    assert_eq!(world.status(), RunStatus::Completed);
    assert_eq!(world.refused(answer(&waits[1], json!("late"))), "wait_closed");
}

#[test]
fn an_answer_that_comes_while_the_function_runs_again_makes_it_run_once_more() {
    let mut world = one();
    let waits = world.asks("a", vec![question(0), question(1), question(2)]);
    world.answer(&waits[0], json!("yes"));
    world.take("a");
    world.answer(&waits[1], json!("yes"));
    world.asks("a", vec![]);
    assert_eq!(world.step_status("a"), Some(ExecutionStatus::Ready));
}

#[test]
fn a_signal_that_came_first_is_taken_by_the_first_wait_for_it() {
    let mut world = one();
    world.ok(signal("go", "1"));
    assert!(world.ok(signal("go", "1")).events.is_empty(), "the same id is taken once");
    world.asks("a", vec![wait_for(0, WaitKind::Signal { name: "go".into() })]);
    assert_eq!(world.step_status("a"), Some(ExecutionStatus::Ready));
}

#[test]
fn a_sleep_keeps_the_run_running_and_ends_at_its_time() {
    let mut world = one();
    let mut sleep = wait_for(0, WaitKind::Timer);
    sleep.deadline = Some(world.now.plus_ms(100));
    world.asks("a", vec![sleep]);
    assert_eq!(world.status(), RunStatus::Running);
    assert!(world.fire_due().is_empty());
    world.wait_ms(100);
    world.fire_due();
    assert_eq!(world.ready_steps(), ["a"]);
}

#[test]
fn a_failed_child_is_replaced_in_the_next_epoch_and_a_completed_one_is_not() {
    let mut world = one();
    let waits = world.asks("a", vec![wait_for(0, child()), wait_for(1, child())]);
    let started: Vec<_> = world.last.messages.iter().map(|message| message.target.clone()).collect();
    assert!(matches!(world.last.messages[0].body, MessageBody::StartChild { .. }));
    world.ok(Command::EndChild { wait: waits[0].clone(), outcome: Ok(Arc::new(json!({ "result": 1 }))) });
    let error = ErrorObject::new(Code::CHILD_FAILED, "child failed");
    world.ok(Command::EndChild { wait: waits[1].clone(), outcome: Err(error) });
    world.fails("a");
    world.ok(Command::Retry { input: None });
    assert_eq!(
        world.run.resolutions(&world.run.executions()[0]).len(),
        1,
        "only the completed child is told"
    );
    world.asks("a", vec![wait_for(1, child())]);
    assert_ne!(world.last.messages[0].target, started[1]);
}

#[test]
fn what_comes_while_an_operator_paused_the_run_is_kept_and_nothing_is_lost_on_resume() {
    let mut world = one();
    let waits = world.asks("a", vec![question(0)]);
    world.ok(Command::Pause { reason: None });
    world.answer(&waits[0], json!("yes"));
    assert_eq!(world.run.pause_reason(), Some(PauseReason::Operator));
    world.ok(Command::Resume);
    assert_eq!((world.status(), world.ready_steps()), (RunStatus::Running, vec!["a".to_owned()]));
    assert_eq!(world.refused(Command::Resume), "not_paused");
}

#[test]
fn a_cancelled_run_withdraws_its_questions_and_cancels_its_children() {
    let mut world = one();
    world.asks("a", vec![question(0), wait_for(1, child())]);
    world.ok(Command::Cancel { reason: None });
    assert!(world.run.open_waits().is_empty());
    assert_eq!(world.last.messages[0].body, MessageBody::CancelChild);
}
