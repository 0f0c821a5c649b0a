//! The real transition table, printed: what each command does to a run in each status, and what each outcome
//! does to an execution in each status. A change of the table is read in the diff of its snapshot.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::json;
use stepwell_core::ids::WaitId;
use stepwell_core::policy::retry::RetryPolicy;
use stepwell_core::run::command::{AttemptRef, Command, Create, SettleVerb, Suspend, TimerKey};
use stepwell_core::status::{ExecutionStatus, RunStatus};
use stepwell_core::workflow::definition::{Definition, Step};

use crate::support::{SESSION, World, answer, child, complete, fail, first, question, signal};

fn two_steps() -> Definition {
    let mut a = Step::function("a").next(&["b"]);
    a.retry = Some(RetryPolicy::fixed(1, 1_000));
    let mut definition = Definition::new("table", vec![a, Step::function("b").next(&[])]);
    definition.timeout_ms = Some(60_000);
    definition
}

fn run_in(status: RunStatus, paused_by: &str) -> World {
    let mut world = World::blank(two_steps());
    let mut create = Create::new(world.run.id().clone(), world.run.workflow().clone());
    create.hold = status == RunStatus::Pending;
    world.ok(Command::Create(Box::new(create)));
    match (status, paused_by) {
        (RunStatus::Pending | RunStatus::Running, _) => {}
        (RunStatus::Paused, "input") => {
            world.asks("a", vec![question(0)]);
        }
        (RunStatus::Paused, "child") => {
            let wait = world.asks("a", vec![child(0)]).remove(0);
            world.ok(Command::NoteChild { wait, turn: 1, paused: true });
        }
        (RunStatus::Paused, _) => {
            world.ok(Command::Pause { reason: None });
        }
        (RunStatus::Completed, _) => {
            world.done("a", &[]);
        }
        (RunStatus::Failed, _) => {
            let attempt = world.take("a");
            world.ok(complete(&attempt, json!(1), vec![stepwell_core::run::event::Target::to("nowhere")]));
        }
        (RunStatus::Cancelled, _) => {
            world.ok(Command::Cancel { reason: None });
        }
    }
    assert_eq!(world.status(), status);
    world
}

fn run_commands(world: &World) -> Vec<(&'static str, Command)> {
    let create = Create::new(world.run.id().clone(), world.run.workflow().clone());
    let wait =
        world.run.open_waits().first().map_or_else(|| WaitId::from("wait_unknown"), |wait| wait.id.clone());
    vec![
        ("Create", Command::Create(Box::new(create))),
        ("Start", Command::Start),
        ("Pause", Command::Pause { reason: None }),
        ("Resume", Command::Resume { reason: None, answer: None }),
        ("LimitTime", Command::LimitTime { timeout_ms: 1_000 }),
        ("Cancel", Command::Cancel { reason: None }),
        ("CancelStep", Command::CancelStep { step: "a".into() }),
        ("Retry", Command::Retry { input: None, reason: None }),
        ("Signal", signal("s", "1")),
        ("Answer", answer(&wait, json!("yes"))),
        ("NoteChild", Command::NoteChild { wait: wait.clone(), turn: 2, paused: false }),
        ("NoteChild old", Command::NoteChild { wait: wait.clone(), turn: 1, paused: true }),
        ("EndChild", Command::EndChild { wait, outcome: Ok(Arc::new(json!(1))) }),
        ("FireTimer run", Command::FireTimer { timer: TimerKey::Run }),
    ]
}

fn told(world: &mut World, command: &Command, status: impl Fn(&World) -> String) -> String {
    match world.submit(command) {
        Ok(decision) if decision.events.is_empty() => format!("{} (nothing)", status(world)),
        Ok(_) => status(world),
        Err(error) => {
            let reason =
                error.data.get("reason").and_then(|reason| reason.as_str()).unwrap_or(error.code.name());
            format!("refused: {reason}")
        }
    }
}

#[test]
fn what_a_command_does_to_a_run_in_each_status() {
    let mut table = String::new();
    let rows = [
        (RunStatus::Pending, ""),
        (RunStatus::Running, ""),
        (RunStatus::Paused, "input"),
        (RunStatus::Paused, "child"),
        (RunStatus::Paused, "operator"),
        (RunStatus::Completed, ""),
        (RunStatus::Failed, ""),
        (RunStatus::Cancelled, ""),
    ];
    for (status, by) in rows {
        for i in 0..run_commands(&run_in(status, by)).len() {
            let mut world = run_in(status, by);
            let (name, command) = run_commands(&world).swap_remove(i);
            world.wait_ms(60_000);
            let after = told(&mut world, &command, |world| world.status().to_string());
            writeln!(table, "{:<17} {name:<14} {after}", format!("{status} {by}")).expect("text takes text");
        }
    }
    insta::assert_snapshot!(table);
}

fn execution_in(status: ExecutionStatus) -> World {
    let mut definition = two_steps();
    match status {
        ExecutionStatus::Pending => definition.max_concurrent = Some(1),
        ExecutionStatus::TimedOut | ExecutionStatus::Failed => definition.steps[0].retry = None,
        _ => {}
    }
    let mut other = Step::function("other").next(&[]);
    other.entry = true;
    definition.steps[0].entry = true;
    if status == ExecutionStatus::Blocked || status == ExecutionStatus::Skipped {
        definition.steps[0] = definition.steps[0].clone().needs(&["other"]);
    }
    definition.steps.insert(0, other);
    let mut world = World::of(definition);
    match status {
        ExecutionStatus::Pending | ExecutionStatus::Blocked | ExecutionStatus::Ready => {}
        ExecutionStatus::Running => {
            world.take("a");
        }
        ExecutionStatus::Waiting => {
            world.asks("a", vec![question(0)]);
        }
        ExecutionStatus::Retrying | ExecutionStatus::Failed => {
            world.fails("a");
        }
        ExecutionStatus::TimedOut => {
            let attempt = world.take("a");
            let error =
                stepwell_core::error::ErrorObject::new(stepwell_core::error::Code::TASK_TIMEOUT, "slow");
            world.ok(crate::support::fail_with(&attempt, error, true));
        }
        ExecutionStatus::Completed => {
            world.done("a", &["b"]);
        }
        ExecutionStatus::Cancelled => {
            world.ok(Command::CancelStep { step: "a".into() });
        }
        ExecutionStatus::Skipped => {
            world.fails("other");
        }
    }
    assert_eq!(world.step_status("a"), Some(status));
    world
}

fn attempt_commands() -> Vec<(&'static str, Command)> {
    let attempt = AttemptRef { step: "a".into(), ordinal: first(), attempt: 1, session: SESSION };
    let settle = |verb| Command::Settle { step: "a".into(), ordinal: None, verb, value: None };
    vec![
        ("Complete", complete(&attempt, json!(1), Vec::new())),
        ("Fail", fail(&attempt, "boom")),
        ("Suspend", Command::Suspend(Suspend { attempt: attempt.clone(), waits: vec![question(1)] })),
        ("Lose", Command::Lose { attempt: attempt.clone(), given_back: false }),
        ("Judge", Command::Judge { attempt, holds: true }),
        ("CancelStep", Command::CancelStep { step: "a".into() }),
        ("Settle retry", settle(SettleVerb::Retry)),
        ("Settle complete", settle(SettleVerb::Complete)),
        ("Settle fail", settle(SettleVerb::Fail)),
    ]
}

#[test]
fn what_a_command_does_to_an_execution_in_each_status() {
    let mut table = String::new();
    for status in ExecutionStatus::ALL {
        for (name, command) in attempt_commands() {
            let mut world = execution_in(*status);
            let now =
                |world: &World| world.step_status("a").map_or_else(String::new, |status| status.to_string());
            let after = told(&mut world, &command, now);
            writeln!(table, "{status:<10} {name:<16} {after}").expect("text takes text");
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_run_of_no_step_completes_as_it_starts() {
    let world = World::of(Definition::new("nothing", Vec::new()));
    assert_eq!(world.run.status(), RunStatus::Completed);
    assert_eq!(**world.run.output(), serde_json::Value::Null);
    assert!(world.run.views().is_empty());
}
