//! What a failure does: retries, policies, compensation, epochs, settling by hand.

use serde_json::json;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::policy::retry::{Backoff, RetryPolicy};
use stepwell_core::run::command::{Command, SettleVerb};
use stepwell_core::status::{ExecutionStatus, RunStatus};
use stepwell_core::workflow::definition::{Definition, Effect, Need, NeedKind, OnFailure, Step};

use crate::support::{World, answer, complete, fail_with};

fn step(name: &str) -> Step {
    Step::provided(name, "python/v1", "python/execute", json!({}))
}

fn with(mut step: Step, policy: OnFailure) -> Step {
    step.on_failure = policy;
    step
}

#[test]
fn under_fail_dependents_are_skipped_and_independent_branches_go_on() {
    let mut world = World::steps(vec![step("a"), step("b").needs(&["a"]), step("c")]);
    world.fails("a");
    assert_eq!(world.step_status("b"), Some(ExecutionStatus::Skipped));
    assert_eq!(world.status(), RunStatus::Running);
    world.done("c", &[]);
    assert_eq!((world.status(), world.error_code()), (RunStatus::Failed, Some(Code::TASK_EXECUTION_FAILED)));
    let error = world.run.error().expect("it failed");
    assert_eq!(error.data["failed_tasks"], json!(["a"]));
}

#[test]
fn under_continue_the_failure_counts_as_met_and_the_run_completes() {
    let mut world = World::steps(vec![with(step("a"), OnFailure::Continue), step("b").needs(&["a"])]);
    world.fails("a");
    world.done("b", &[]);
    assert_eq!(world.status(), RunStatus::Completed);
}

#[test]
fn a_completed_run_in_which_steps_failed_tries_those_again_and_nothing_else() {
    let with_continue = |name| with(step(name), OnFailure::Continue);
    let mut world = World::steps(vec![
        with_continue("a"),
        with_continue("b"),
        with_continue("c"),
        step("after").needs(&["a", "b"]),
    ]);
    world.fails("a");
    world.done("b", &[]);
    world.fails("c");
    world.done("after", &[]);
    assert_eq!(world.status(), RunStatus::Completed);

    world.ok(Command::Retry { input: None, reason: None });
    assert_eq!(
        (world.status(), world.ready_steps()),
        (RunStatus::Running, vec!["a".to_owned(), "c".to_owned()])
    );
    world.done("a", &[]);
    world.fails("c");
    assert_eq!((world.status(), world.run.epoch().0), (RunStatus::Completed, 2));
    assert_eq!((world.count("b"), world.count("after")), (1, 1), "what is completed stays");

    world.ok(Command::Retry { input: None, reason: None });
    assert_eq!(world.ready_steps(), ["c"]);
    world.done("c", &[]);
    assert_eq!(world.status(), RunStatus::Completed);
    assert_eq!(world.refused(Command::Retry { input: None, reason: None }), "not_failed");
}

#[test]
fn a_failure_that_another_step_took_over_is_nothing_to_try_again() {
    let route = OnFailure::Route("handler".into());
    let mut world = World::steps(vec![with(step("a"), route), Step::function("handler")]);
    world.fails("a");
    world.done("handler", &[]);
    assert_eq!(world.status(), RunStatus::Completed);
    assert_eq!(world.refused(Command::Retry { input: None, reason: None }), "not_failed");
}

#[test]
fn under_stop_everything_live_is_cancelled_at_once() {
    let mut world = World::steps(vec![with(step("a"), OnFailure::Stop), step("c")]);
    world.fails("a");
    assert_eq!(
        (world.status(), world.step_status("c")),
        (RunStatus::Failed, Some(ExecutionStatus::Cancelled))
    );
}

/// What each policy does to a dependent that requires the failed step, to one that only comes after it, to a branch
/// that has nothing to do with it, and to the run in the end.
#[test]
fn a28_each_policy_and_those_that_depend_on_the_failed_step() {
    use ExecutionStatus::{Cancelled, Completed, Skipped};
    let play = |policy: OnFailure| {
        let mut after = step("after");
        after.needs.push(Need::of_kind("a", NeedKind::Sequential));
        // Something leads to the handler in each case, or it would begin with the run.
        let steps = vec![
            with(Step::function("a").next(&["h"]), policy),
            step("requires").needs(&["a"]),
            after,
            step("apart"),
            step("later").needs(&["apart"]),
            Step::function("h").next(&[]),
        ];
        let mut world = World::steps(steps);
        world.fails("a");
        while let Some(next) = world.ready_steps().first().cloned() {
            world.done(&next, &[]);
        }
        let became = ["requires", "after", "apart", "later", "h"].map(|step| world.step_status(step));
        (became, world.status())
    };
    let (done, skipped, cancelled) = (Some(Completed), Some(Skipped), Some(Cancelled));
    assert_eq!(play(OnFailure::Fail), ([skipped, done, done, done, None], RunStatus::Failed));
    assert_eq!(play(OnFailure::Continue), ([done, done, done, done, None], RunStatus::Completed));
    assert_eq!(play(OnFailure::Stop), ([None, None, cancelled, None, None], RunStatus::Failed));
    assert_eq!(play(OnFailure::Route("h".into())), ([skipped, done, done, done, done], RunStatus::Completed));
}

#[test]
fn a_failure_route_moves_the_token_but_does_not_meet_a_required_need() {
    let failing = with(Step::function("a").next(&[]), OnFailure::Route("h".into()));
    let mut world = World::steps(vec![failing, Step::function("h").next(&[]), step("b").needs(&["a"])]);
    world.fails("a");
    assert_eq!(world.step_status("b"), Some(ExecutionStatus::Skipped));
    let handler = world.run.execution("h", crate::support::first()).expect("it is activated");
    assert_eq!(world.run.failure_behind(handler).map(|e| e.step.as_str()), Some("a"));
    world.done("h", &[]);
    assert_eq!(world.status(), RunStatus::Completed);
}

#[test]
fn a21_delays_double_and_four_attempts_are_all_of_three_retries() {
    let mut a = step("a");
    let policy = RetryPolicy {
        backoff: Backoff::Exponential,
        initial_ms: 1_000,
        max_ms: 60_000,
        ..RetryPolicy::fixed(3, 0)
    };
    a.retry = Some(policy);
    let mut world = World::steps(vec![a]);
    for delay in [1_000, 2_000, 4_000] {
        world.fails("a");
        assert_eq!(world.run.due().work[0].not_before, world.now.plus_ms(delay));
        world.wait_ms(delay);
    }
    world.fails("a");
    assert_eq!(world.error_code(), Some(Code::TASK_RETRY_EXHAUSTED));
    let attempts = &world.run.error().expect("it failed").data["attempts"];
    assert_eq!(attempts.as_array().map(Vec::len), Some(4));
}

#[test]
fn an_error_that_would_only_repeat_is_tried_once() {
    let mut a = step("a");
    a.retry = Some(RetryPolicy::fixed(3, 0));
    let mut world = World::steps(vec![a]);
    let attempt = world.take("a");
    world.ok(fail_with(&attempt, ErrorObject::new(Code::TASK_PARAMETER_ERROR, "no such field"), false));
    assert_eq!(world.error_code(), Some(Code::TASK_PARAMETER_ERROR));
}

#[test]
fn a_compensation_runs_with_its_own_retries_before_the_policy_takes_effect() {
    let mut a = with(step("a"), OnFailure::Stop);
    a.compensation = Some("undo".into());
    let mut undo = step("undo");
    undo.retry = Some(RetryPolicy::fixed(1, 0));
    let mut world = World::steps(vec![a, undo, step("c")]);
    world.fails("a");
    assert_eq!(
        (world.status(), world.step_status("c")),
        (RunStatus::Running, Some(ExecutionStatus::Cancelled))
    );
    world.fails("undo");
    world.done("undo", &[]);
    assert_eq!((world.status(), world.last_kinds().last()), (RunStatus::Failed, Some(&"RunFailed")));
}

#[test]
fn a_cancelled_compensation_lets_the_policy_take_effect() {
    let mut a = step("a");
    a.compensation = Some("undo".into());
    let mut world = World::steps(vec![a, step("undo")]);
    world.fails("a");
    world.ok(Command::CancelStep { step: "undo".into() });
    assert_eq!(world.status(), RunStatus::Failed);
}

#[test]
fn a_retry_keeps_what_completed_and_lets_failed_and_skipped_steps_live_again() {
    let mut world = World::steps(vec![step("a"), step("b").needs(&["a"]), step("c").needs(&["b"])]);
    world.done("a", &[]);
    world.fails("b");
    assert_eq!(world.step_status("c"), Some(ExecutionStatus::Skipped));
    world.ok(Command::Retry { input: None, reason: None });
    assert_eq!(world.ready_steps(), ["b"]);
    world.done("b", &[]);
    world.done("c", &[]);
    assert_eq!((world.status(), world.count("a"), world.count("c")), (RunStatus::Completed, 1, 1));
}

#[test]
fn a_step_cancelled_before_its_needs_were_met_waits_for_them_in_the_next_epoch() {
    let gated = Step::function("t").next(&[]).needs(&["d"]);
    let s = Step::function("s").next(&["t", "d"]);
    let mut world = World::steps(vec![s, gated, with(Step::function("d").next(&[]), OnFailure::Stop)]);
    world.done("s", &["t", "d"]);
    world.fails("d");
    world.ok(Command::Retry { input: None, reason: None });
    assert_eq!(world.ready_steps(), ["d"]);
    world.done("d", &[]);
    world.done("t", &[]);
    assert_eq!(world.status(), RunStatus::Completed);
}

fn asked() -> (World, stepwell_core::run::command::AttemptRef) {
    let mut a = step("a");
    a.effect = Effect::AtMostOnce;
    a.retry = Some(RetryPolicy::fixed(3, 0));
    let mut world = World::steps(vec![a]);
    let attempt = world.take("a");
    world.ok(fail_with(&attempt, ErrorObject::new(Code::TASK_TIMEOUT, "slow"), true));
    assert_eq!(world.step_status("a"), Some(ExecutionStatus::Waiting));
    (world, attempt)
}

#[test]
fn an_at_most_once_step_that_timed_out_asks_and_its_owner_may_still_answer() {
    let (mut world, attempt) = asked();
    world.ok(complete(&attempt, json!(1), Vec::new()));
    assert_eq!((world.status(), world.run.open_waits().len()), (RunStatus::Completed, 0));
}

#[test]
fn only_the_last_owner_may_and_never_with_a_second_timeout() {
    let (mut world, mut attempt) = asked();
    let slow = ErrorObject::new(Code::TASK_TIMEOUT, "slow");
    assert_eq!(world.refused(fail_with(&attempt, slow, true)), "asked");
    attempt.session += 1;
    assert_eq!(world.refused(complete(&attempt, json!(1), Vec::new())), "stale_attempt");
}

#[test]
fn answer_and_settle_both_resolve_the_question() {
    let (mut world, attempt) = asked();
    let wait = world.run.open_waits()[0].id.clone();
    world.ok(answer(&wait, json!({ "verb": "complete", "value": 5 })));
    assert_eq!(world.status(), RunStatus::Completed);
    assert_eq!(world.refused(complete(&attempt, json!(1), Vec::new())), "terminal");
    let (mut world, _) = asked();
    world.settle("a", SettleVerb::Retry, None);
    assert_eq!(world.run.due().work[0].attempt, 2);
}

#[test]
fn a20_a_lost_need_of_a_blocked_step_is_a_deadlock_while_another_branch_runs_on() {
    let t = Step::function("t").next(&[]).needs(&["d"]);
    let s = Step::function("s").next(&["t", "d", "slow"]);
    let plain = |name: &str| Step::function(name).next(&[]);
    let mut world = World::steps(vec![s, t, plain("d"), plain("slow")]);
    world.done("s", &["t", "slow"]);
    assert_eq!((world.status(), world.error_code()), (RunStatus::Failed, Some(Code::DEADLOCK)));
    let message = &world.run.error().expect("it failed").message;
    assert!(message.contains("'t' waits for d"), "{message}");
}

#[test]
fn a20_a_step_activated_by_needs_is_skipped_when_one_is_lost() {
    let s = Step::function("s").next(&["d", "slow"]);
    let plain = |name: &str| Step::function(name).next(&[]);
    let mut world = World::steps(vec![s, plain("d"), plain("slow"), step("m").needs(&["d"])]);
    world.done("s", &["slow"]);
    assert_eq!(world.step_status("m"), Some(ExecutionStatus::Skipped));
    world.done("slow", &[]);
    assert_eq!(world.status(), RunStatus::Completed);
}

#[test]
fn a_timeout_need_is_met_when_its_time_has_passed() {
    let mut m = step("m");
    m.needs
        .push(stepwell_core::workflow::definition::Need::of_kind("a", NeedKind::Timeout { timeout_ms: 500 }));
    let mut world = World::steps(vec![step("a"), m]);
    assert_eq!(world.ready_steps(), ["a"]);
    world.wait_ms(500);
    world.fire_due();
    assert_eq!(world.ready_steps(), ["a", "m"]);
}

#[test]
fn a10_an_endless_loop_ends_with_max_steps() {
    let mut world = {
        let looping = Step::function("a").next(&["a", "$end"]);
        let mut definition = Definition::new("loop", vec![looping]);
        definition.max_steps = 5;
        World::of(definition)
    };
    while !world.status().is_terminal() {
        world.done("a", &["a"]);
    }
    assert_eq!((world.error_code(), world.count("a")), (Some(Code::MAX_STEPS), 6));
}

/// As it does in a run that was read from its journal.
#[test]
fn a_join_that_max_steps_kept_from_firing_fires_with_the_retry() {
    let steps = vec![
        Step::function("s").next(&["x", "a"]),
        Step::function("x").next(&["$end"]),
        Step::function("a").next(&["a"]),
    ];
    let mut definition = Definition::new("loop", steps);
    definition.max_steps = 2;
    let mut world = World::of(definition);
    world.done("s", &["x", "a"]);
    world.done("a", &["a"]);
    assert_eq!(world.error_code(), Some(Code::MAX_STEPS));
    world.ok(Command::Retry { input: None, reason: None });
    assert_eq!(world.ready_steps(), ["x", "a"]);
}
