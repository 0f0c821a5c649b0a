//! Who goes first where not all can go at once (A16).

use stepwell_core::run::event::Target;
use stepwell_core::workflow::definition::{Definition, Join, Priority, Step};

use crate::support::World;

const GIVEN: [(&str, Priority); 5] = [
    ("low", Priority::Low),
    ("normal", Priority::Normal),
    ("critical", Priority::Critical),
    ("high", Priority::High),
    ("normal too", Priority::Normal),
];
const BY_PRIORITY: [&str; 5] = ["critical", "high", "normal", "normal too", "low"];

fn given(change: impl Fn(Step) -> Step) -> Vec<Step> {
    let of = |(name, priority): (&str, Priority)| change(Step { priority, ..Step::function(name).next(&[]) });
    GIVEN.map(of).into()
}

/// Lets one step go at a time, and tells their order.
fn order(steps: Vec<Step>, first: Option<Vec<Target>>) -> Vec<String> {
    let mut world = World::of(Definition { max_concurrent: Some(1), ..Definition::new("test", steps) });
    if let Some(to) = first {
        world.done_with("first", serde_json::Value::Null, to);
    }
    let mut order = Vec::new();
    while let [next] = &world.ready_steps()[..] {
        order.push(next.clone());
        world.done(&next.clone(), &[]);
    }
    order
}

fn after_first(steps: Vec<Step>) -> Vec<Step> {
    let first = Step::function("first").next(&GIVEN.map(|(name, _)| name));
    [vec![first], steps].concat()
}

#[test]
fn of_what_begins_with_the_run_the_most_urgent_goes_first() {
    assert_eq!(order(given(|step| step), None), BY_PRIORITY);
}

#[test]
fn of_a_fork_the_most_urgent_goes_first() {
    let plain = || Some(GIVEN.map(|(name, _)| Target::to(name)).into());
    assert_eq!(order(after_first(given(|step| step)), plain()), BY_PRIORITY);
    let each = given(|step| Step { join: Join::Each, ..step });
    assert_eq!(order(after_first(each), plain()), BY_PRIORITY);
    let payloads = GIVEN.map(|(name, _)| Target::with_payload(name, 1)).into();
    assert_eq!(order(after_first(given(|step| step)), Some(payloads)), BY_PRIORITY);
}

#[test]
fn of_those_that_need_the_same_step_the_most_urgent_goes_first() {
    let first = Step::function("first").next(&[]);
    let needing = given(|step| step.needs(&["first"]));
    assert_eq!(order([vec![first], needing].concat(), Some(Vec::new())), BY_PRIORITY);
}

/// The first place is taken by what is activated first: a payload before what needs the step, and that before a merge.
#[test]
fn of_what_one_commit_makes_ready_by_several_ways_all_after_the_first_go_by_priority() {
    let named = |name: &str, priority| Step { priority, ..Step::function(name).next(&[]) };
    let steps = vec![
        Step::function("first").next(&["payload", "urgent payload", "merge", "late merge"]),
        named("payload", Priority::Normal),
        named("urgent payload", Priority::Critical),
        named("merge", Priority::High),
        named("late merge", Priority::Low),
        named("needing", Priority::Normal).needs(&["first"]),
        named("urgent needing", Priority::Critical).needs(&["first"]),
    ];
    let to = vec![
        Target::to("late merge"),
        Target::to("merge"),
        Target::with_payload("payload", 1),
        Target::with_payload("urgent payload", 2),
    ];
    let expected = ["urgent payload", "urgent needing", "merge", "payload", "needing", "late merge"];
    assert_eq!(order(steps, Some(to)), expected);
}

#[test]
fn an_urgent_merge_waits_all_the_same() {
    let steps = vec![
        Step::function("first").next(&["a", "b"]),
        Step::function("a").next(&["merge"]),
        Step::function("b").next(&["merge"]),
        Step { priority: Priority::Critical, ..Step::function("merge").next(&[]) },
    ];
    let mut world = World::of(Definition { max_concurrent: Some(1), ..Definition::new("test", steps) });
    world.done("first", &["a", "b"]);
    world.done("a", &["merge"]);
    assert_eq!(world.ready_steps(), ["b"]);
    world.done("b", &["merge"]);
    assert_eq!((world.ready_steps(), world.count("merge")), (vec!["merge".to_owned()], 1));
}
