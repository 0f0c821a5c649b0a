//! Questions, signals, timers and children: opened, resolved once, and what the run does meanwhile.

use std::sync::Arc;

use serde_json::json;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::WaitId;
use stepwell_core::run::MessageBody;
use stepwell_core::run::command::{Answer, Command};
use stepwell_core::run::event::Parent;
use stepwell_core::run::wait::{Resolution, Then, WaitKind};
use stepwell_core::status::{ExecutionStatus, PauseReason, RunStatus};
use stepwell_core::workflow::definition::{Definition, Lifecycle, Need, NeedKind, Step};

use crate::support::{World, answer, child, question, signal, wait_for};

fn one() -> World {
    World::steps(vec![Step::function("a").next(&[])])
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

/// DESIGN §3, Waits: what is blocked does not count, whether its needs have a time or not.
#[test]
fn a_question_beside_a_step_that_waits_for_a_need_with_a_time_pauses_the_run_until_that_time() {
    for is_routed in [false, true] {
        let need = Need {
            step: "a".into(),
            kind: NeedKind::Timeout { timeout_ms: 500 },
            lifecycle: Lifecycle::Once,
        };
        let first = Step {
            entry: true,
            ..Step::function("first").next(if is_routed { &["a", "b"] } else { &["a"] })
        };
        let late = Step { needs: vec![need], ..Step::function("b").next(&[]) };
        let mut world = World::steps(vec![first, Step::function("a").next(&[]), late]);
        world.done("first", if is_routed { &["a", "b"] } else { &["a"] });
        let waits = world.asks("a", vec![question(0)]);
        assert_eq!((world.status(), world.run.pause_reason()), (RunStatus::Paused, Some(PauseReason::Input)));
        world.wait_ms(500);
        world.fire_due();
        assert_eq!((world.status(), world.ready_steps()), (RunStatus::Running, vec!["b".to_owned()]));
        world.done("b", &[]);
        assert_eq!(world.status(), RunStatus::Paused);
        world.answer(&waits[0], json!("yes"));
        world.done("a", &[]);
        assert_eq!(world.status(), RunStatus::Completed);
    }
}

#[test]
fn a_run_whose_predicate_is_being_asked_is_not_paused() {
    let need = Need { step: "a".into(), kind: NeedKind::Conditional, lifecycle: Lifecycle::Once };
    let judged = Step { needs: vec![need], ..Step::function("b").next(&[]) };
    let mut world = World::steps(vec![
        Step { entry: true, ..Step::function("first").next(&["a", "asks"]) },
        Step::function("a").next(&[]),
        Step::function("asks").next(&[]),
        judged,
    ]);
    world.done("first", &["a", "asks"]);
    world.asks("asks", vec![question(0)]);
    world.done("a", &[]);
    assert_eq!((world.status(), world.run.due().work.len()), (RunStatus::Running, 1));
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
    let other = Command::Signal { name: "go".into(), id: "1".into(), value: Arc::new(json!("another")) };
    assert_eq!(world.refused(other), "signal_exists");
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
    let waits = world.asks("a", vec![child(0), child(1)]);
    let started: Vec<_> = world.last.messages.iter().map(|message| message.target.clone()).collect();
    assert!(matches!(world.last.messages[0].body, MessageBody::StartChild { .. }));
    world.ok(Command::EndChild { wait: waits[0].clone(), outcome: Ok(Arc::new(json!({ "result": 1 }))) });
    let error = ErrorObject::new(Code::CHILD_FAILED, "child failed");
    world.ok(Command::EndChild { wait: waits[1].clone(), outcome: Err(error) });
    world.fails("a");
    world.ok(Command::Retry { input: None, reason: None });
    assert_eq!(
        world.run.resolutions(&world.run.executions()[0]).len(),
        1,
        "only the completed child is told"
    );
    world.asks("a", vec![child(1)]);
    assert_ne!(world.last.messages[0].target, started[1]);
}

fn hears(world: &mut World, wait: &WaitId, turn: u32, paused: bool) -> Vec<&'static str> {
    world.ok(Command::NoteChild { wait: wait.clone(), turn, paused });
    world.last_kinds()
}

#[test]
fn a_parent_is_paused_for_input_while_its_child_is() {
    let mut world = one();
    let wait = world.asks("a", vec![child(0)]).remove(0);
    assert_eq!(world.status(), RunStatus::Running);
    assert_eq!(hears(&mut world, &wait, 1, true), ["ChildPaused", "RunPaused"]);
    assert_eq!(world.run.pause_reason(), Some(PauseReason::Input));
    assert_eq!(hears(&mut world, &wait, 2, false), ["ChildResumed", "RunResumed"]);
    assert_eq!(world.status(), RunStatus::Running);
}

#[test]
fn a_parent_with_another_child_under_way_or_asleep_is_not_paused() {
    let mut world = one();
    let mut sleep = wait_for(2, WaitKind::Timer);
    sleep.deadline = Some(world.now.plus_ms(100));
    let waits = world.asks("a", vec![child(0), child(1), sleep]);
    hears(&mut world, &waits[0], 1, true);
    hears(&mut world, &waits[1], 1, true);
    assert_eq!(world.status(), RunStatus::Running, "it sleeps");
    world.wait_ms(100);
    world.fire_due();
    world.asks("a", vec![]);
    assert_eq!(world.status(), RunStatus::Paused);
    hears(&mut world, &waits[1], 2, false);
    assert_eq!(world.status(), RunStatus::Running, "the other child goes on");
}

#[test]
fn old_news_of_a_child_never_undoes_newer_and_the_same_news_counts_once() {
    let mut world = one();
    let wait = world.asks("a", vec![child(0)]).remove(0);
    hears(&mut world, &wait, 3, true);
    for (turn, paused) in [(1, true), (2, false), (3, true)] {
        assert_eq!(hears(&mut world, &wait, turn, paused), [""; 0], "turn {turn} is old");
    }
    assert_eq!(world.status(), RunStatus::Paused);
    world.ok(Command::EndChild { wait: wait.clone(), outcome: Ok(Arc::new(json!(1))) });
    assert_eq!(hears(&mut world, &wait, 5, true), [""; 0], "it has ended");
}

#[test]
fn a_child_tells_its_parent_when_it_is_paused_for_input_and_when_it_goes_on() {
    let parent = Parent { run: "run_parent".into(), wait: "wait_parent".into(), depth: 1 };
    let mut world = World::child(Definition::new("child", vec![Step::function("a").next(&[])]), parent);
    let told = |world: &World| match &world.last.messages[..] {
        [] => None,
        [message] => match message.body {
            MessageBody::NoteChild { turn, paused, .. } => Some((turn, paused)),
            _ => panic!("{message:?}"),
        },
        more => panic!("{more:?}"),
    };
    let waits = world.asks("a", vec![question(0)]);
    assert_eq!(told(&world), Some((1, true)));
    world.ok(Command::Pause { reason: None });
    assert_eq!(told(&world), Some((2, false)), "paused by an operator it does not wait for input");
    world.ok(Command::Resume { reason: None, answer: None });
    assert_eq!(told(&world), Some((3, true)));
    world.answer(&waits[0], json!("yes"));
    assert_eq!(told(&world), Some((4, false)));
    world.asks("a", vec![child(1)]);
    let grandchild = world.run.open_waits()[0].id.clone();
    hears(&mut world, &grandchild, 1, true);
    assert_eq!(told(&world), Some((5, true)), "over generations");
}

#[test]
fn what_comes_while_an_operator_paused_the_run_is_kept_and_nothing_is_lost_on_resume() {
    let mut world = one();
    let waits = world.asks("a", vec![question(0)]);
    world.ok(Command::Pause { reason: None });
    world.answer(&waits[0], json!("yes"));
    assert_eq!(world.run.pause_reason(), Some(PauseReason::Operator));
    world.ok(Command::Resume { reason: None, answer: None });
    assert_eq!((world.status(), world.ready_steps()), (RunStatus::Running, vec!["a".to_owned()]));
    assert_eq!(world.refused(Command::Resume { reason: None, answer: None }), "not_paused");
}

/// Acceptance: spec/flujo.md §3.2, an operator's pause is lifted with an answer in one commit, or stays.
#[test]
fn a_pause_is_lifted_with_an_answer_or_not_at_all() {
    let mut world = one();
    let waits = world.asks("a", vec![question(0)]);
    world.ok(Command::Pause { reason: None });
    let resume = |wait: &WaitId| {
        let answer = Answer { wait: wait.clone(), value: Arc::new(json!("yes")), by: Some("ann".into()) };
        Command::Resume { reason: None, answer: Some(answer) }
    };
    assert_eq!(world.refused(resume(&"wait_unknown".into())), "no_such_wait");
    assert_eq!(world.run.pause_reason(), Some(PauseReason::Operator));
    world.ok(resume(&waits[0]));
    assert_eq!((world.status(), world.ready_steps()), (RunStatus::Running, vec!["a".to_owned()]));
    assert_eq!(world.refused(resume(&waits[0])), "not_paused");
}

#[test]
fn what_comes_after_the_deadline_is_too_late_also_before_the_timer_has_fired() {
    let mut world = one();
    let mut asked = question(0);
    (asked.deadline, asked.default) = (Some(world.now.plus_ms(100)), Some(Arc::new(json!("default"))));
    let mut awaited = wait_for(1, WaitKind::Signal { name: "go".into() });
    awaited.deadline = asked.deadline;
    let waits = world.asks("a", vec![asked, awaited]);
    world.wait_ms(100);
    assert_eq!(world.refused(answer(&waits[0], json!("late"))), "wait_closed");
    world.ok(signal("go", "1"));
    world.fire_due();
    let resolved = |wait| world.run.wait(wait).and_then(|(_, resolution)| resolution.cloned());
    assert_eq!(resolved(&waits[0]), Some(Resolution::Defaulted { value: Arc::new(json!("default")) }));
    assert_eq!(resolved(&waits[1]), Some(Resolution::TimedOut));
}

#[test]
fn a_child_that_does_not_end_in_time_is_cancelled_and_the_step_timed_out() {
    let mut world = one();
    let mut wait = child(0);
    (wait.deadline, wait.then) = (Some(world.now.plus_ms(100)), Then::Complete);
    world.asks("a", vec![wait]);
    let started = world.last.messages[0].target.clone();
    world.wait_ms(100);
    world.fire_due();
    assert_eq!(
        (&world.last.messages[0].target, &world.last.messages[0].body),
        (&started, &MessageBody::CancelChild)
    );
    assert_eq!(world.status(), RunStatus::Failed);
    assert_eq!(world.run.error().expect("it failed").code, Code::TASK_TIMEOUT);
}

#[test]
fn a_cancelled_run_withdraws_its_questions_and_cancels_its_children() {
    let mut world = one();
    world.asks("a", vec![question(0), child(1)]);
    world.ok(Command::Cancel { reason: None });
    assert!(world.run.open_waits().is_empty());
    assert_eq!(world.last.messages[0].body, MessageBody::CancelChild);
}
