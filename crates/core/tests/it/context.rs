//! Two branches that write one key (A13): a reducer unites them; without one the last wins and says so.

use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::context::Change;
use stepwell_core::run::command::{AttemptRef, Command, Complete};
use stepwell_core::workflow::definition::{Definition, Reducer, Step};

use crate::support::World;

fn two_branches(reducer: Option<Reducer>) -> World {
    let step = |name: &str| Step::provided(name, "python/v1", "python/execute", json!({}));
    let mut definition = Definition::new("test", vec![step("a"), step("b")]);
    definition.reducers.extend(reducer.map(|reducer| ("key".to_owned(), reducer)));
    World::of(definition)
}

fn write(attempt: AttemptRef, value: Value, base: Option<Value>, snapshot: u64) -> Command {
    let change = Change { key: "key".into(), value: Some(Arc::new(value)), base: base.map(Arc::new) };
    Command::Complete(Complete {
        attempt,
        output: Arc::new(Value::Null),
        writes: vec![change],
        snapshot,
        to: Vec::new(),
        children: Vec::new(),
        defines: Vec::new(),
    })
}

/// Both branches see the empty context, then write.
fn both_write(world: &mut World, first: Value, second: Value) -> (Option<Value>, bool) {
    let (a, b) = (world.take("a"), world.take("b"));
    world.ok(write(a, first, None, 0));
    world.ok(write(b, second, None, 0));
    let value = world.run.context().get("key").map(|value| (**value).clone());
    (value, world.last_kinds().contains(&"Conflict"))
}

#[test]
fn a13_sum_adds_both_differences() {
    assert_eq!(
        both_write(&mut two_branches(Some(Reducer::Sum)), json!(1), json!(1)),
        (Some(json!(2)), false)
    );
}

#[test]
fn a13_without_a_reducer_the_last_wins_and_one_conflict_says_so() {
    assert_eq!(both_write(&mut two_branches(None), json!(1), json!(1)), (Some(json!(1)), true));
}

#[test]
fn a13_extend_and_merge_keep_what_both_added() {
    let extended = both_write(&mut two_branches(Some(Reducer::Extend)), json!([1]), json!([2]));
    assert_eq!(extended, (Some(json!([1, 2])), false));
    let merged = both_write(&mut two_branches(Some(Reducer::Merge)), json!({ "x": 1 }), json!({ "y": 2 }));
    assert_eq!(merged, (Some(json!({ "x": 1, "y": 2 })), false));
}

#[test]
fn a13_a_sequential_increment_counts_once() {
    let mut world = two_branches(Some(Reducer::Sum));
    let a = world.take("a");
    world.ok(write(a, json!(1), None, 0));
    let (b, snapshot) = (world.take("b"), world.run.context_version());
    world.ok(write(b, json!(2), Some(json!(1)), snapshot));
    assert_eq!(world.run.context().get("key").map(|value| (**value).clone()), Some(json!(2)));
}
