//! Checkpoints: what they hold, what is refused as one, and what becomes of the run that is made of one. That it ends as
//! the other would have is held over random histories in `properties/restored.rs`.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{Seq, Timestamp};
use stepwell_core::run::Run;
use stepwell_core::run::checkpoint::Checkpoint;
use stepwell_core::run::command::{Command, Create, TimerKey};
use stepwell_core::run::event::Event;
use stepwell_core::run::wait::{WaitKind, WaitSpec};
use stepwell_core::status::{ExecutionStatus, PauseReason, RunStatus};
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::{Definition, Effect, Need, NeedKind, OnFailure, Step};

use crate::support::{World, child, first, question, signal, wait_for};

fn taken(world: &World) -> Checkpoint {
    world.run.checkpoint(Seq(world.journal.len() as u64))
}

/// Makes a run of that definition of a checkpoint, by way of its text.
fn restore(checkpoint: &Checkpoint, definition: Definition, allow: bool) -> Result<World, ErrorObject> {
    let mut world = World::named("run_restored", definition);
    let read = Arc::new(Checkpoint::from_json(&checkpoint.to_json())?);
    let mut create = Create::restored(world.run.id().clone(), world.run.workflow().clone(), read);
    if let Some(restore) = &mut create.restore {
        restore.allow_changes = allow;
    }
    world.now = checkpoint.timestamp.0.plus_ms(1_000);
    world.submit(&Command::Create(Box::new(create)))?;
    Ok(world)
}

fn restored(world: &World) -> World {
    let definition = world.run.workflow().definition().clone();
    restore(&taken(world), definition, false).unwrap_or_else(|error| panic!("not restored: {error}"))
}

fn resume(world: &mut World) {
    world.ok(Command::Resume { reason: None, answer: None });
}

fn essay() -> Vec<Step> {
    vec![
        Step::function("outline").next(&["write", "draw"]),
        Step { on_failure: OnFailure::Stop, ..Step::function("write").next(&["publish"]) },
        Step::function("draw").next(&["publish"]),
        Step::function("publish").next(&[]),
    ]
}

/// `outline` is done, `draw` is done and its token is held at `publish`, `write` is under way.
fn half_done() -> World {
    let mut world = World::steps(essay());
    world.done("outline", &["write", "draw"]);
    world.done("draw", &["publish"]);
    world.take("write");
    world
}

#[test]
fn a_checkpoint_has_the_keys_that_others_rely_on() {
    let mut world = World::steps(vec![Step::function("ask").next(&["ask", "$end"])]);
    world.asks("ask", vec![question(0)]);
    let value: Value = serde_json::from_str(&taken(&world).to_json()).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let top = "schema_version run_id seq epoch timestamp agent_name agent_status pause_reason definition \
               definition_hash completed_states running_states priority_queue state_metadata shared_state types \
               executions tokens waits timers failures session_start metadata";
    assert_eq!(keys(&value)[..23], top.split_whitespace().collect::<Vec<_>>());
    assert_eq!(value["schema_version"], 1);
    assert_eq!((&value["agent_status"], &value["pause_reason"]), (&json!("paused"), &json!("input")));
    let has = |part: &Value, wanted: &str| {
        let keys = keys(part);
        let missing: Vec<_> =
            wanted.split_whitespace().filter(|key| !keys.iter().any(|k| k == key)).collect();
        assert!(missing.is_empty(), "{missing:?} are not among {keys:?}");
    };
    has(
        &value["state_metadata"]["ask"],
        "state_id status detail attempts max_retries resources dependencies satisfied_dependencies last_execution \
         last_success",
    );
    has(&value["executions"][0], "step ordinal status attempt due idempotency_key memo");
    has(&value["tokens"][0], "id step state lineage");
    has(&value["waits"][0], "wait_id step ordinal kind position try prompt deadline");
    assert_eq!(value["timestamp"], json!(1_000.0), "in seconds");
}

#[test]
fn what_is_no_checkpoint_is_refused_by_the_name_of_what_is_wrong() {
    let text = taken(&half_done()).to_json();
    for end in 0..text.len() - 1 {
        assert_invalid(&text[..end], "");
    }
    assert_invalid("", "it is empty");
    assert_invalid("[]", "no JSON object");
    assert_invalid("{\"name\": \"essay\"}", "`schema_version` is missing");
    let whole: Map<String, Value> = serde_json::from_str(&text).unwrap();
    for key in whole.keys() {
        let mut without = whole.clone();
        without.remove(key);
        assert_invalid(&Value::Object(without).to_string(), &format!("`{key}` is missing"));
        let any = ["definition", "input"].contains(&key.as_str());
        let mut wrong = whole.clone();
        wrong.insert(key.clone(), json!([[true]]));
        if !any {
            assert_invalid(&Value::Object(wrong).to_string(), &format!("`{key}"));
        }
    }
    let with = |pointer: &str, value: Value| {
        let mut changed = Value::Object(whole.clone());
        *changed.pointer_mut(pointer).unwrap() = value;
        changed.to_string()
    };
    assert_invalid(&with("/schema_version", json!(2)), "`schema_version` is 2");
    assert_invalid(&with("/executions/1/status", json!("bored")), "`executions[1]`");
    assert_invalid(&with("/tokens/0/lineage", json!("x")), "`tokens[0]`");
    let deep = (0..120).fold(json!(1), |inner, _| json!([inner]));
    assert_invalid(&with("/shared_state", json!({ "k": deep })), "`shared_state`");
}

fn assert_invalid(text: &str, told: &str) {
    let error = Checkpoint::from_json(text).expect_err("it is no checkpoint");
    assert_eq!(error.code.name(), "CHECKPOINT_INVALID", "{error}");
    assert!(error.message.contains(told), "{error} does not say {told}");
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    let world = half_done();
    let text: Value = serde_json::from_str(&taken(&world).to_json()).unwrap();
    let refused = |pointer: &str, value: Value| {
        let mut changed = text.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let checkpoint = Checkpoint::from_json(&changed.to_string()).unwrap();
        let error =
            restore(&checkpoint, Definition::new("test", essay()), true).err().expect("it is refused");
        assert_eq!(error.code.name(), "CHECKPOINT_INVALID", "{error}");
        error.message
    };
    for (pointer, value, told) in [
        ("/definition", json!({ "steps": [] }), "`definition`"),
        ("/definition_hash", json!("0"), "`definition_hash`"),
        ("/epoch", json!(0), "`epoch`"),
        ("/tick", json!(u64::MAX), "counts more"),
        ("/executions/0/attempt", json!(u32::MAX), "counts more"),
        ("/executions/1/ordinal", json!(2), "`executions[1].ordinal`"),
        ("/agent_status", json!("completed"), "`agent_status` is completed, but `executions[1]`"),
        ("/agent_status", json!("failed"), "`agent_status` is failed, but `executions[1]`"),
        ("/agent_status", json!("idle"), "`agent_status` is idle"),
        ("/started_at", Value::Null, "`started_at` is missing"),
        ("/tokens", json!([]), "`executions[1]` is running, but has no token"),
        ("/executions/1/status", json!("completed"), "`tokens[1]` is active"),
        ("/executions/1/status", json!("waiting"), "waits, but for nothing"),
        ("/executions/1/status", json!("retrying"), "`executions[1].due`"),
        ("/tokens/0/lineage/0/fork/ordinal", json!(9), "`tokens[0].lineage`"),
        ("/tokens/1/ordinal", json!(9), "`tokens[1].ordinal`"),
        ("/failed_by", json!({ "step": "write", "ordinal": 7 }), "`failed_by`"),
        ("/types", json!({ "nothing": "User" }), "`types.nothing`"),
    ] {
        let message = refused(pointer, value);
        assert!(message.contains(told), "{pointer}: {message}");
    }
}

#[test]
fn waits_that_nothing_could_end_are_refused() {
    let mut world = World::steps(vec![Step::function("a")]);
    let until = Some(Timestamp(2_000_000_000));
    let naps = [0, 1].map(|position| WaitSpec { deadline: until, ..wait_for(position, WaitKind::Timer) });
    world.asks("a", naps.into());
    let text: Value = serde_json::from_str(&taken(&world).to_json()).unwrap();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut changed = text.clone();
        change(&mut changed);
        let checkpoint = Checkpoint::from_json(&changed.to_string()).unwrap();
        let definition = Definition::new("test", vec![Step::function("a")]);
        restore(&checkpoint, definition, false).err().expect("it is refused").message
    };
    let message = refused(&|it| it["waits"][1]["deadline"] = Value::Null);
    assert!(message.contains("`waits[1].deadline` is missing"), "{message}");
    let message = refused(&|it| it["waits"][0] = it["waits"][1].clone());
    assert!(message.contains("`waits[1]` is the second at its place"), "{message}");
    let message = refused(&|it| {
        it["executions"][0]["status"] = json!("failed");
        it["tokens"] = json!([]);
    });
    assert!(message.contains("`waits[0]` is open, but its execution is over"), "{message}");
}

#[test]
fn a_restored_run_is_paused_and_goes_on_where_the_other_stood() {
    let mut world = restored(&half_done());
    assert_eq!(world.last_kinds(), ["RunCreated", "RunRestored", "AttemptLost", "RunPaused"]);
    assert_eq!(world.run.pause_reason(), Some(PauseReason::Operator));
    assert_eq!(world.run.metadata()["restored_from"], "run_test");
    resume(&mut world);
    let attempt = world.take("write");
    assert_eq!(attempt.attempt, 2, "what was under way is attempted again");
    world.done("write", &["publish"]);
    world.done("publish", &[]);
    assert_eq!(world.status(), RunStatus::Completed);
    assert_eq!(["outline", "write", "draw", "publish"].map(|step| world.count(step)), [1; 4]);
}

#[test]
fn its_journal_alone_tells_it_again() {
    let mut world = restored(&half_done());
    resume(&mut world);
    for (event, _) in &world.journal {
        let text = serde_json::to_string(event).unwrap();
        assert_eq!(&serde_json::from_str::<Event>(&text).unwrap(), event);
    }
    let replayed = world.replayed();
    assert_eq!(format!("{:?}", replayed.executions()), format!("{:?}", world.run.executions()));
    assert_eq!((replayed.due(), replayed.held()), (world.run.due(), world.run.held()));
}

#[test]
fn effects_keep_their_keys_and_new_executions_get_their_own() {
    let mut world = half_done();
    let key = |run: &Run, step: &str| run.idempotency_key(run.execution(step, first()).unwrap());
    let mut again = restored(&world);
    assert_eq!(key(&again.run, "write"), key(&world.run, "write"));
    resume(&mut again);
    again.done("write", &["publish"]);
    world.done("write", &["publish"]);
    assert_ne!(key(&again.run, "publish"), key(&world.run, "publish"));
}

#[test]
fn waits_go_on_until_the_same_time_under_another_id() {
    let mut world = World::steps(vec![Step::function("ask").next(&["$end"])]);
    let timer = stepwell_core::run::wait::WaitSpec {
        deadline: Some(world.now.plus_ms(5_000)),
        ..wait_for(1, WaitKind::Timer)
    };
    let opened = world.asks("ask", vec![question(0), timer]);
    world.answer(&opened[0], json!("yes"));
    world.ok(signal("later", "s1"));
    let attempt = world.take("ask");
    world.ok(Command::Suspend(stepwell_core::run::command::Suspend { attempt, waits: vec![] }));

    let mut again = restored(&world);
    let open: Vec<_> =
        again.run.open_waits().iter().map(|wait| (wait.id.clone(), wait.spec.clone())).collect();
    assert_eq!(open.len(), 1, "what was answered is not asked again");
    assert_ne!(open[0].0, opened[1]);
    assert_eq!(open[0].1.deadline, world.run.open_waits()[0].spec.deadline);
    let told = |world: &World| {
        let told = world.run.resolutions(world.run.execution("ask", first()).unwrap());
        told.iter().map(|(id, spec, how)| ((*id).clone(), spec.position, (*how).clone())).collect::<Vec<_>>()
    };
    assert_eq!(told(&again), told(&world));
    resume(&mut again);
    again.wait_ms(5_000);
    assert_eq!(again.fire_due(), [TimerKey::Wait(open[0].0.clone())]);
    // The signal that nobody had waited for is still there.
    again.asks("ask", vec![wait_for(2, WaitKind::Signal { name: "later".into() })]);
    assert_eq!(again.step_status("ask"), Some(ExecutionStatus::Ready));
}

#[test]
fn a_child_run_is_begun_anew() {
    let mut world = World::steps(vec![Step::function("call").next(&[])]);
    world.asks("call", vec![child(0)]);
    let again = restored(&world);
    let started =
        |world: &World| world.last.messages.iter().map(|message| message.target.clone()).collect::<Vec<_>>();
    assert_eq!(started(&again).len(), 1);
    assert_ne!(started(&again), started(&world));
}

#[test]
fn what_may_be_attempted_only_once_is_asked_about() {
    let mut step = Step::function("pay").next(&[]);
    step.effect = Effect::AtMostOnce;
    let mut world = World::steps(vec![step]);
    world.take("pay");
    let again = restored(&world);
    assert_eq!(again.step_status("pay"), Some(ExecutionStatus::Waiting));
    assert_eq!(again.run.open_waits().len(), 1);
}

#[test]
fn from_a_failed_or_cancelled_run_it_goes_on_as_a_retry_would() {
    let mut failed = half_done();
    failed.fails("write");
    assert_eq!(failed.status(), RunStatus::Failed);
    let mut cancelled = half_done();
    cancelled.ok(Command::Cancel { reason: None });
    for world in [failed, cancelled] {
        let mut again = restored(&world);
        assert_eq!(again.run.epoch().0, 2);
        resume(&mut again);
        assert_eq!(again.ready_steps(), ["write"]);
        again.done("write", &["publish"]);
        again.done("publish", &[]);
        assert_eq!(again.status(), RunStatus::Completed);
    }
}

#[test]
fn from_a_completed_run_it_is_completed_and_from_a_held_one_it_starts() {
    let mut world = half_done();
    world.done("write", &["publish"]);
    world.done("publish", &[]);
    let again = restored(&world);
    assert_eq!(
        (again.status(), again.last_kinds()),
        (RunStatus::Completed, vec!["RunCreated", "RunRestored", "RunCompleted"])
    );

    let mut held = World::blank(Definition::new("test", essay()));
    let create = Create::new(held.run.id().clone(), held.run.workflow().clone());
    held.ok(Command::Create(Box::new(Create { hold: true, ..create })));
    let mut again = restored(&held);
    resume(&mut again);
    assert_eq!(again.ready_steps(), ["outline"]);
}

#[test]
fn another_definition_is_a_mismatch_that_says_what_differs() {
    let checkpoint = taken(&half_done());
    let refused = |definition: Definition, allow: bool| {
        let error = restore(&checkpoint, definition, allow).err().expect("it is refused");
        assert_eq!(error.code.name(), "DEFINITION_MISMATCH", "{error}");
        error
    };
    let mut other = Definition::new("test", essay());
    other.steps[1].timeout_ms = Some(5);
    other.max_steps = 7;
    let error = refused(other.clone(), false);
    assert!(error.message.contains("step 'write' has another timeout_ms; max_steps is another"), "{error}");
    assert!(restore(&checkpoint, other, true).is_ok());

    let mut gone = Definition::new("test", vec![Step::function("outline"), Step::function("draw")]);
    let error = refused(gone.clone(), true);
    assert_eq!(error.data["missing"], json!(["publish", "write"]), "where something is live: {error}");
    gone.steps = vec![Step::function("write"), Step::function("publish").next(&[])];
    let error = refused(gone.clone(), false);
    assert_eq!(error.data["missing"], json!(["outline", "draw"]), "{error}");
    let mut again = restore(&checkpoint, gone, true).unwrap_or_else(|error| panic!("{error}"));
    resume(&mut again);
    again.done("write", &["publish"]);
    again.done("publish", &[]);
    assert_eq!(again.status(), RunStatus::Completed);
}

#[test]
fn the_name_may_be_another_and_steps_may_have_been_added() {
    let checkpoint = taken(&half_done());
    let mut more = essay();
    let mut entry = Step::function("count").next(&[]);
    entry.entry = true;
    let mut late = Step::function("thank").next(&[]);
    late.needs = vec![Need::of_kind("outline", NeedKind::Required)];
    more.extend([entry, late]);
    let mut again = restore(&checkpoint, Definition::new("another", more), false).unwrap();
    resume(&mut again);
    assert_eq!(again.ready_steps(), ["write", "count", "thank"], "an entry, and one whose needs are met");
}

#[test]
fn a_run_with_an_interval_marks_checkpoints_while_it_runs() {
    let mut definition = Definition::new("test", vec![Step::function("ask").next(&["$end"])]);
    definition.checkpoint_interval_ms = Some(1_000);
    let mut world = World::of(definition);
    let begin = world.now;
    let due = |world: &World| world.run.due().timers;
    assert_eq!(due(&world), [(TimerKey::Checkpoint, begin.plus_ms(1_000))]);
    world.take("ask");
    world.wait_ms(2_500);
    assert_eq!(world.fire_due(), [TimerKey::Checkpoint], "one, however late");
    assert_eq!(world.last_kinds(), ["CheckpointTaken"]);
    assert_eq!(due(&world), [(TimerKey::Checkpoint, begin.plus_ms(3_500))]);

    let opened = world.asks("ask", vec![question(0)]);
    assert_eq!(due(&world), [], "a run that waits for people takes none");
    world.wait_ms(60_000);
    world.answer(&opened[0], json!("yes"));
    assert_eq!(due(&world), [(TimerKey::Checkpoint, begin.plus_ms(63_500))]);
    world.done("ask", &[]);
    assert_eq!(due(&world), []);
    assert!(
        Workflow::new(Definition { checkpoint_interval_ms: Some(0), ..Definition::new("test", essay()) })
            .is_err()
    );
}
