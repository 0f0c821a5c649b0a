//! How long a failed attempt waits for the next: backoff, cap, jitter, what the failed party asks for (spec/fluffy.md
//! §6, spec/gleitzeit.md §1.3).

use serde_json::json;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::policy::retry::{Backoff, RetryPolicy};
use stepwell_core::run::command::{Command, Fail};
use stepwell_core::run::event::Target;
use stepwell_core::status::RunStatus;
use stepwell_core::workflow::definition::{Definition, Step};

use crate::support::{Rng, World, fail_with, seeds};

fn policy(backoff: Backoff, initial_ms: u64, max_ms: u64) -> RetryPolicy {
    RetryPolicy { backoff, initial_ms, max_ms, ..RetryPolicy::fixed(5, 0) }
}

/// Upstream's two published forms of jitter.
fn fluffy(policy: RetryPolicy) -> RetryPolicy {
    RetryPolicy { jitter_from: 0.5, jitter_span: 1.0, ..policy }
}

fn gleitzeit(policy: RetryPolicy) -> RetryPolicy {
    RetryPolicy { jitter_from: 1.0, jitter_span: 0.3, ..policy }
}

fn step_with(policy: RetryPolicy) -> World {
    let mut a = Step::provided("a", "python/v1", "python/execute", json!({}));
    a.retry = Some(policy);
    World::steps(vec![a])
}

/// Fails the step until no attempt is left and returns the delays between.
fn delays(policy: RetryPolicy, mut jitter: impl FnMut() -> f64, retry_after_ms: Option<u64>) -> Vec<u64> {
    let mut world = step_with(policy);
    let mut delays = Vec::new();
    while world.status() == RunStatus::Running {
        let attempt = world.take("a");
        let error = ErrorObject::new(Code::TASK_EXECUTION_FAILED, "boom");
        world.ok(Command::Fail(Fail { attempt, error, timed_out: false, jitter: jitter(), retry_after_ms }));
        if let Some(work) = world.run.due().work.first() {
            let delay = work.not_before.ms_since(world.now);
            delays.push(delay);
            world.wait_ms(delay);
        }
    }
    delays
}

#[test]
fn each_backoff_grows_in_its_way_and_none_beyond_its_cap() {
    let of = |backoff, max_ms| delays(policy(backoff, 100, max_ms), || 0.5, None);
    assert_eq!(of(Backoff::Fixed, 10_000), [100, 100, 100, 100, 100]);
    assert_eq!(of(Backoff::Linear, 10_000), [100, 200, 300, 400, 500]);
    assert_eq!(of(Backoff::Exponential, 10_000), [100, 200, 400, 800, 1_600]);
    assert_eq!(of(Backoff::Linear, 250), [100, 200, 250, 250, 250]);
    assert_eq!(of(Backoff::Exponential, 250), [100, 200, 250, 250, 250]);
    let huge = RetryPolicy { base: 1e300, ..policy(Backoff::Exponential, 100, 250) };
    assert_eq!(
        delays(huge, || 0.5, None),
        [100, 250, 250, 250, 250],
        "a power beyond all numbers is the cap"
    );
}

#[test]
fn a21_jitter_stays_within_its_bounds_and_the_cap_holds_over_it() {
    let plain = policy(Backoff::Exponential, 1_000, 60_000);
    let almost_one = 1.0 - f64::EPSILON;
    assert_eq!(delays(fluffy(plain.clone()), || 0.0, None)[..2], [500, 1_000]);
    assert_eq!(delays(fluffy(plain.clone()), || almost_one, None)[..2], [1_500, 3_000]);
    assert_eq!(delays(gleitzeit(plain.clone()), || 0.0, None)[..2], [1_000, 2_000]);
    assert_eq!(delays(gleitzeit(plain), || almost_one, None)[..2], [1_300, 2_600]);
    for seed in seeds(50) {
        let mut rng = Rng::new(seed);
        let mut dice = || rng.below(1_000_000) as f64 / 1e6;
        let capped = fluffy(policy(Backoff::Exponential, 1_000, 5_000));
        for (delay, middle) in delays(capped, &mut dice, None).into_iter().zip([1_000, 2_000, 4_000, 8_000]) {
            let bounds = (middle / 2)..=(middle * 3 / 2).min(5_000);
            assert!(bounds.contains(&delay), "seed {seed}: {delay} is not in {bounds:?}");
        }
    }
}

#[test]
fn what_the_failed_party_asks_for_lengthens_a_delay_up_to_the_cap() {
    let linear = || policy(Backoff::Linear, 100, 350);
    assert_eq!(delays(linear(), || 0.5, Some(250)), [250, 250, 300, 350, 350]);
    assert_eq!(delays(linear(), || 0.5, Some(9_000)), [350; 5]);
}

#[test]
fn an_exception_on_the_list_is_tried_once_subclasses_included() {
    let fails_with = |data: &[(&str, serde_json::Value)]| {
        let listed = RetryPolicy { non_retryable: vec!["ValueError".into()], ..RetryPolicy::fixed(3, 0) };
        let mut world = step_with(listed);
        let attempt = world.take("a");
        let mut error = ErrorObject::new(Code::TASK_EXECUTION_FAILED, "bad");
        for (key, value) in data {
            error = error.with(key, value.clone());
        }
        world.ok(fail_with(&attempt, error, false));
        world.status()
    };
    assert_eq!(fails_with(&[("exception_type", json!("ValueError"))]), RunStatus::Failed);
    assert_eq!(fails_with(&[("exception_type", json!("builtins.ValueError"))]), RunStatus::Failed);
    let subclass =
        [("exception_type", json!("BadKey")), ("exception_bases", json!(["ValueError", "Exception"]))];
    assert_eq!(fails_with(&subclass), RunStatus::Failed);
    assert_eq!(fails_with(&[("exception_type", json!("KeyError"))]), RunStatus::Running);
}

#[test]
fn a23_the_time_of_the_next_attempt_is_a_fact_of_the_journal() {
    let mut world = step_with(fluffy(policy(Backoff::Fixed, 1_000, 60_000)));
    world.fails("a");
    world.wait_ms(200);
    let (before, after) = (world.run.due().work, world.replayed().due().work);
    assert_eq!((before[0].attempt, before[0].not_before), (after[0].attempt, after[0].not_before));
}

#[test]
fn what_a_failed_run_had_not_begun_begins_in_the_next_epoch() {
    let steps = vec![Step::function("s").next(&["chunk"]), Step::function("chunk").next(&[])];
    let mut world = World::of(Definition { max_steps: 2, ..Definition::new("test", steps) });
    let payloads = (0..3).map(|number| Target::with_payload("chunk", number)).collect();
    world.done_with("s", json!(null), payloads);
    assert_eq!((world.status(), world.error_code()), (RunStatus::Failed, Some(Code::MAX_STEPS)));
    world.ok(Command::Retry { input: None, reason: None });
    assert_eq!(world.count("chunk"), 3, "the third was never begun");
    for _ in 0..3 {
        world.done("chunk", &[]);
    }
    assert_eq!(world.status(), RunStatus::Completed);
}
