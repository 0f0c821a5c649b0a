//! Steps that are added while a run goes on: journaled, and from then on like those it began with.

use serde_json::Value;
use stepwell_core::error::Code;
use stepwell_core::run::command::{Command, Complete};
use stepwell_core::run::event::{Event, Payload, Target};
use stepwell_core::status::{ExecutionStatus, RunStatus};
use stepwell_core::workflow::definition::{Definition, END, ForEach, Join, Step};

use crate::support::World;

/// Completes a step that adds others.
fn adds(world: &mut World, step: &str, to: &[&str], defines: Vec<Step>) {
    let attempt = world.take(step);
    world.ok(Command::Complete(Complete {
        attempt,
        output: Payload::default(),
        writes: Vec::new(),
        snapshot: 0,
        to: to.iter().map(|name| Target::to(name)).collect(),
        children: Vec::new(),
        defines,
    }));
}

fn chunks(world: &mut World) {
    let names: Vec<String> = (0..3).map(|i| format!("chunk_{i}")).collect();
    let steps = names.iter().map(|name| Step::function(name).next(&["merge"])).collect();
    adds(world, "split", &names.iter().map(String::as_str).collect::<Vec<_>>(), steps);
}

#[test]
fn a_function_adds_the_steps_that_it_leads_to_and_their_merge_waits_for_all() {
    let steps = vec![Step::function("split").next(&["chunk_*"]), Step::function("merge").next(&[])];
    let mut world = World::of(Definition { max_concurrent: Some(2), ..Definition::new("test", steps) });
    chunks(&mut world);
    assert!(world.last_kinds().contains(&"StepsDefined"));
    for i in [1, 0, 2] {
        assert_eq!(world.count("merge"), 0);
        world.done(&format!("chunk_{i}"), &["merge"]);
    }
    world.done("merge", &[]);
    assert_eq!((world.status(), world.count("merge")), (RunStatus::Completed, 1));
    let again = world.replayed();
    assert_eq!(again.to_snapshot(), world.run.to_snapshot(), "the journal alone tells it");
    assert_eq!(again.workflow().added_steps().len(), 3);
    assert_eq!(again.workflow().version(), world.workflow.version(), "it is still a run of that version");
}

#[test]
fn a_snapshot_holds_the_steps_that_were_added() {
    let steps = vec![Step::function("split").next(&["chunk_*"]), Step::function("merge").next(&[])];
    let mut world = World::steps(steps);
    chunks(&mut world);
    let (seq, snapshot) = (world.journal.len(), world.run.to_snapshot());
    world.done("chunk_1", &["merge"]);
    assert_eq!(world.restored(seq, &snapshot).to_snapshot(), world.run.to_snapshot());
}

#[test]
fn an_added_entry_begins_at_once_one_with_needs_when_they_are_met_any_other_by_a_route() {
    let mut world =
        World::steps(vec![Step::function("a").next(&["b", "rout*"]), Step::function("b").next(&[])]);
    let entry = Step { entry: true, ..Step::function("entry").next(&[]) };
    let needing = Step::function("needing").next(&[]).needs(&["a"]);
    let routed = Step { join: Join::Each, ..Step::function("routed").next(&[]) };
    world.ok(Command::Define { steps: vec![entry, needing, routed] });
    assert_eq!(world.ready_steps(), ["a", "entry"]);
    world.done("a", &["b", "routed"]);
    let mut ready = world.ready_steps();
    ready.sort();
    assert_eq!(ready, ["b", "entry", "needing", "routed"]);
}

#[test]
fn adding_the_same_again_changes_nothing_and_another_of_the_name_is_refused() {
    let mut world = World::steps(vec![Step::function("a")]);
    let further = || Step::function("further").next(&[]);
    world.ok(Command::Define { steps: vec![further(), further()] });
    assert_eq!(world.last_kinds(), ["StepsDefined"]);
    world.ok(Command::Define { steps: vec![further()] });
    assert!(world.last.events.is_empty());
    let other = Step::function("further").next(&["a"]);
    assert_eq!(world.refused(Command::Define { steps: vec![other.clone()] }), "WORKFLOW_VALIDATION_FAILED");
    adds(&mut world, "a", &["further"], vec![other]);
    assert_eq!(world.error_code(), Some(Code::WORKFLOW_VALIDATION_FAILED));
    assert_eq!(world.count("further"), 0, "nothing of the attempt took effect");
    assert_eq!(world.refused(Command::Define { steps: vec![further()] }), "terminal");
}

#[test]
fn what_an_attempt_adds_is_checked_with_all_else_before_anything_takes_effect() {
    let mut world = World::steps(vec![Step::function("a").next(&[END])]);
    adds(&mut world, "a", &["further"], vec![Step::function("further").next(&[])]);
    assert_eq!(world.step_status("a"), Some(ExecutionStatus::Failed), "its declared `next` does not name it");
    assert!(!world.journal.iter().any(|(event, _)| matches!(event, Event::StepsDefined { .. })));

    let mut world = World::steps(vec![Step::function("a")]);
    adds(&mut world, "a", &[], vec![Step::function("further").next(&["nowhere"])]);
    assert_eq!(world.error_code(), Some(Code::WORKFLOW_VALIDATION_FAILED));
    let each = ForEach { items: Value::Array(Vec::new()), max_concurrent: None };
    let mut world = World::steps(vec![Step::function("a")]);
    let each = Step { for_each: Some(each), ..Step::function("each").next(&[]) };
    assert_eq!(world.refused(Command::Define { steps: vec![each] }), "WORKFLOW_VALIDATION_FAILED");
}

#[test]
fn tokens_that_were_held_know_the_new_ways() {
    // b is held for nobody but c; then c may also lead to what leads to the merge.
    let mut world = World::steps(vec![
        Step::function("s").next(&["b", "c"]),
        Step::function("b").next(&["merge"]),
        Step::function("c").next(&["merge", "detour*"]),
        Step::function("merge").next(&[]),
    ]);
    world.done("s", &["b", "c"]);
    world.done("b", &["merge"]);
    adds(&mut world, "c", &["detour"], vec![Step::function("detour").next(&["merge"])]);
    assert_eq!(world.count("merge"), 0);
    world.done("detour", &["merge"]);
    world.done("merge", &[]);
    assert_eq!((world.status(), world.count("merge")), (RunStatus::Completed, 1));
}
