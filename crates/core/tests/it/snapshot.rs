//! What a snapshot of a run keeps, and when it is as good as none. That snapshot and tail are the whole journal is held
//! over random histories in `properties.rs`.

use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_core::ids::RunId;
use stepwell_core::run::Run;
use stepwell_core::run::event::{Event, Target};
use stepwell_core::run::wait::{Then, WaitKind, WaitSpec};
use stepwell_core::workflow::definition::{Definition, Step};

use crate::support::World;

fn chain(count: u32) -> World {
    let mut world = World::steps(vec![Step::function("go").next(&["go", "$end"])]);
    for i in 0..count {
        world.done_with("go", json!({ "result": i }), vec![Target::with_payload("go", i)]);
    }
    world
}

fn read(world: &World, snapshot: &[u8]) -> Option<Run> {
    Run::from_snapshot(world.run.id().clone(), world.run.workflow().clone(), snapshot)
}

#[test]
fn a_snapshot_that_cannot_be_read_is_as_good_as_none() {
    let world = chain(3);
    let snapshot = world.run.to_snapshot();
    assert!(read(&world, &snapshot).is_some());
    assert!(read(&world, b"").is_none());
    assert!(read(&world, &snapshot[..snapshot.len() - 1]).is_none());
    for at in 0..snapshot.len() {
        let mut damaged = snapshot.clone();
        damaged[at] ^= 1;
        assert!(read(&world, &damaged).is_none(), "byte {at} is damaged");
    }
}

#[test]
fn a_snapshot_of_another_format_is_as_good_as_none() {
    let world = chain(3);
    let text = String::from_utf8(world.run.to_snapshot()).unwrap();
    let (head, body) = text.split_once('\n').unwrap();
    let words: Vec<&str> = head.split(' ').collect();
    let next = words[1].parse::<u32>().unwrap() + 1;
    assert!(read(&world, format!("run {next} {}\n{body}", words[2]).as_bytes()).is_none());
}

#[test]
fn a_snapshot_is_read_with_its_own_definition_only() {
    let world = chain(3);
    let snapshot = world.run.to_snapshot();
    let other = World::steps(vec![Step::function("go").next(&["go", "stop"]), Step::function("stop")]);
    assert!(Run::from_snapshot(RunId::from("run_test"), other.run.workflow().clone(), &snapshot).is_none());
}

#[test]
fn a_snapshot_grows_by_little_per_step() {
    let (short, long) = (chain(100).run.to_snapshot().len(), chain(1_100).run.to_snapshot().len());
    let per_step = (long - short) / 1_000;
    assert!(per_step <= 200, "{per_step} bytes per completed step");
}

#[test]
fn null_is_a_value_in_journal_and_snapshot() {
    let mut world = World::of(Definition::new(
        "nulls",
        vec![Step::function("a").next(&["b", "$end"]), Step::function("b").next(&["$end"])],
    ));
    world.done_with("a", Value::Null, vec![Target::with_payload("b", Value::Null)]);
    let spec = WaitSpec {
        position: 0,
        name: None,
        kind: WaitKind::Signal { name: "s".into() },
        deadline: Some(world.now.plus_ms(5)),
        default: Some(Arc::new(Value::Null)),
        then: Then::Rerun,
    };
    world.asks("b", vec![spec]);
    for (event, _) in &world.journal {
        let stored = serde_json::to_string(event).unwrap();
        assert_eq!(&serde_json::from_str::<Event>(&stored).unwrap(), event);
    }
    let run = read(&world, &world.run.to_snapshot()).unwrap();
    let b = &run.executions()[1];
    assert_eq!((b.step.as_str(), b.payload.as_deref()), ("b", Some(&Value::Null)));
    assert_eq!(run.open_waits()[0].spec.default.as_deref(), Some(&Value::Null));
    assert_eq!(run.executions()[0].output.as_deref(), Some(&Value::Null));
}
