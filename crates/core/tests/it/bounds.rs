//! What a run may not exceed: its time, the loss of workers, the depth of child runs.

use serde_json::json;
use stepwell_core::error::Code;
use stepwell_core::run::MessageBody;
use stepwell_core::run::command::{Command, TimerKey};
use stepwell_core::run::event::Parent;
use stepwell_core::status::{ExecutionStatus, RunStatus};
use stepwell_core::workflow::definition::{Definition, Step};

use crate::support::{World, child, question};

fn step(name: &str) -> Step {
    Step::provided(name, "python/v1", "python/execute", json!({}))
}

fn lose(world: &mut World) {
    let attempt = world.take("a");
    world.ok(Command::Lose { attempt, given_back: false });
}

#[test]
fn a_step_that_lost_its_worker_five_times_fails_and_a_retry_of_the_run_counts_anew() {
    let mut world = World::steps(vec![step("a")]);
    for attempt in 2..=5 {
        lose(&mut world);
        let work = world.run.due().work.remove(0);
        assert_eq!(
            (work.attempt, work.not_before <= world.now),
            (attempt, true),
            "at once, with a new number"
        );
    }
    lose(&mut world);
    assert_eq!((world.status(), world.error_code()), (RunStatus::Failed, Some(Code::WORKER_LOST)));
    world.ok(Command::Retry { input: None, reason: None });
    lose(&mut world);
    assert_eq!(world.ready_steps(), ["a"]);
}

#[test]
fn a_lost_worker_costs_no_retry() {
    let mut a = step("a");
    a.retry = Some(stepwell_core::policy::retry::RetryPolicy::fixed(1, 0));
    let mut world = World::steps(vec![a]);
    lose(&mut world);
    lose(&mut world);
    world.fails("a");
    assert_eq!(world.run.due().work[0].attempt, 4, "the one retry is still there");
}

fn limited() -> World {
    let mut definition = Definition::new("limited", vec![step("a"), step("b"), step("c").needs(&["a"])]);
    definition.timeout_ms = Some(60_000);
    World::of(definition)
}

#[test]
fn a_run_out_of_time_cancels_what_is_live_and_withdraws_its_questions() {
    let mut world = limited();
    world.asks("a", vec![question(0), child(1)]);
    world.take("b");
    world.wait_ms(59_999);
    assert!(world.fire_due().is_empty());
    world.wait_ms(1);
    assert_eq!(world.fire_due(), [TimerKey::Run]);
    assert_eq!((world.status(), world.error_code()), (RunStatus::Failed, Some(Code::WORKFLOW_TIMEOUT)));
    let statuses = ["a", "b", "c"].map(|step| world.step_status(step));
    assert_eq!(statuses, [Some(ExecutionStatus::Cancelled), Some(ExecutionStatus::Cancelled), None]);
    assert!(world.run.open_waits().is_empty());
}

#[test]
fn neither_a_pause_nor_a_question_moves_the_deadline_and_a_retry_sets_a_new_one() {
    let mut world = limited();
    let deadline = world.run.deadline();
    world.asks("a", vec![question(0)]);
    world.ok(Command::Pause { reason: None });
    world.wait_ms(60_000);
    world.fire_due();
    assert_eq!((world.run.finished_at(), world.error_code()), (deadline, Some(Code::WORKFLOW_TIMEOUT)));
    world.wait_ms(5_000);
    world.ok(Command::Retry { input: None, reason: None });
    assert_eq!(world.run.deadline(), Some(world.now.plus_ms(60_000)));
}

/// spec/fluffy.md §1.1: `resume(timeout=)` sets a new deadline.
#[test]
fn a_new_time_limit_counts_from_now_on_until_the_run_is_tried_again() {
    let mut world = limited();
    world.wait_ms(50_000);
    world.ok(Command::Pause { reason: None });
    world.ok(Command::LimitTime { timeout_ms: 20_000 });
    let given = Some(world.now.plus_ms(20_000));
    assert_eq!((world.run.deadline(), world.last_kinds()), (given, vec!["TimeLimited"]));
    world.wait_ms(10_000);
    assert!(world.fire_due().is_empty(), "the first deadline counts no more");
    world.ok(Command::Resume { reason: None, answer: None });
    assert_eq!(world.run.deadline(), given);
    world.wait_ms(10_000);
    assert_eq!(world.fire_due(), [TimerKey::Run]);
    let error = world.run.error().expect("it ran out of time");
    assert_eq!((error.code, error.data["timeout_ms"].as_u64()), (Code::WORKFLOW_TIMEOUT, Some(20_000)));
    assert!(error.message.ends_with("did not end within the 20000 ms that it was given anew"), "{error}");
    assert_eq!(world.refused(Command::LimitTime { timeout_ms: 1 }), "terminal");
    world.ok(Command::Retry { input: None, reason: None });
    assert_eq!(world.run.deadline(), Some(world.now.plus_ms(60_000)));
}

/// A run with so many ancestors, of one step.
fn at_depth(depth: u32) -> World {
    let parent = Parent { run: "run_parent".into(), wait: "wait_parent".into(), depth };
    World::child(Definition::new("deep", vec![step("a")]), parent)
}

#[test]
fn child_runs_nest_thirty_two_deep_and_no_deeper() {
    let mut world = at_depth(31);
    world.asks("a", vec![child(0)]);
    let MessageBody::StartChild { parent, .. } = &world.last.messages[0].body else {
        panic!("{:?}", world.last.messages)
    };
    assert_eq!(parent.depth, 32);
    let mut world = at_depth(32);
    world.asks("a", vec![question(0), child(1)]);
    assert_eq!((world.status(), world.error_code()), (RunStatus::Failed, Some(Code::RESOURCE_EXHAUSTED)));
    assert!(world.run.all_waits().next().is_none(), "none of its waits is opened");
}

#[test]
fn moments_are_told_as_dates_over_all_years() {
    use stepwell_core::ids::Timestamp;
    for (micros, told) in [
        (-1, "1969-12-31T23:59:59.999999Z"),
        (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
        (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        (1_798_761_599_123_456, "2026-12-31T23:59:59.123456Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
    ] {
        assert_eq!(Timestamp(micros).rfc3339(), told);
    }
}
