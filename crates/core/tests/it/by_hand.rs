//! What a person who completes a step by hand leads to: where its definition says, or nowhere but to a refusal.

use serde_json::{Value, json};
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::ids::WaitId;
use stepwell_core::run::command::{Command, SettleVerb};
use stepwell_core::run::wait::WaitKind;
use stepwell_core::status::{ExecutionStatus, RunStatus};
use stepwell_core::workflow::definition::{Definition, END, Effect, HandsOn, Step, Successors};

use crate::support::{World, answer, fail_with};

/// A run whose step `a` leads as it is said; its attempt may be made only once, and nobody knows what became of it.
fn asked(a: Step) -> (World, WaitId) {
    let a = Step { effect: Effect::AtMostOnce, entry: true, ..a };
    let mut world = World::of(Definition::new("test", vec![a, function("b"), function("chunk_1")]));
    let attempt = world.take("a");
    world.ok(fail_with(&attempt, ErrorObject::new(Code::TASK_TIMEOUT, "slow"), true));
    let wait = world.run.open_waits()[0].id.clone();
    (world, wait)
}

fn function(name: &str) -> Step {
    Step::function(name).next(&[])
}

fn complete() -> Value {
    json!({ "verb": "complete", "value": 5 })
}

fn payload_of_b(world: &World) -> Option<Value> {
    world.run.execution("b", stepwell_core::ids::Ordinal(1)).unwrap().payload.as_deref().cloned()
}

#[test]
fn a_function_with_one_successor_leads_there_by_an_answer_and_by_settle() {
    let (mut answered, wait) = asked(Step::function("a").next(&["b"]));
    answered.ok(answer(&wait, complete()));
    let (mut settled, _) = asked(Step::function("a").next(&["b"]));
    settled.settle("a", SettleVerb::Complete, Some(json!(5)));
    for mut world in [answered, settled] {
        assert_eq!((world.status(), world.ready_steps()), (RunStatus::Running, vec!["b".to_owned()]));
        assert_eq!(payload_of_b(&world), None, "the route is a plain one");
        world.done("b", &[]);
        assert_eq!(world.status(), RunStatus::Completed);
    }
}

#[test]
fn what_a_step_hands_on_goes_with_the_route() {
    let a = Step { hands_on: HandsOn::Value, ..Step::function("a").next(&["b"]) };
    let (mut world, wait) = asked(a.clone());
    world.ok(answer(&wait, complete()));
    assert_eq!(payload_of_b(&world), Some(json!(5)));
    let (mut world, _) = asked(a);
    world.settle("a", SettleVerb::Complete, None);
    assert_eq!(payload_of_b(&world), Some(Value::Null), "nothing is a value too");
}

#[test]
fn a_function_that_always_ends_ends() {
    for next in [&[][..], &[END]] {
        let (mut world, wait) = asked(Step::function("a").next(next));
        world.ok(answer(&wait, complete()));
        assert_eq!(world.status(), RunStatus::Completed);
    }
}

#[test]
fn where_only_its_function_knows_the_way_completing_is_refused_and_the_question_stays_open() {
    let cases = [
        (Step::function("a"), "it declares no `next`, so only its function knows where it leads"),
        (
            Step::function("a").next(&["b", "chunk_1"]),
            "it can lead to 'b' or 'chunk_1', and only its function says where",
        ),
        (
            Step::function("a").next(&["b", END]),
            "it can lead to 'b' or the end, and only its function says where",
        ),
        (
            Step::function("a").next(&["chunk_*"]),
            "it can lead to 'chunk_*', and only its function says where",
        ),
        (
            Step { hands_on: HandsOn::Unknown, ..Step::function("a").next(&["b"]) },
            "only its function knows what it hands on",
        ),
        (
            Step { next: Successors::Inferred(vec!["b".into(), "a".into()]), ..Step::function("a") },
            "it can lead to 'b' or 'a', and only its function says where",
        ),
    ];
    for (a, why) in cases {
        let (mut world, wait) = asked(a);
        let settle = Command::Settle {
            step: "a".into(),
            ordinal: None,
            verb: SettleVerb::Complete,
            value: Some(std::sync::Arc::new(json!(5))),
        };
        for command in [answer(&wait, complete()), settle] {
            let error = world.submit(&command).unwrap_err();
            assert_eq!(error.message, format!("step 'a' cannot be completed by hand: {why}"));
            assert_eq!(error.code, Code::WORKFLOW_INVALID_STATE);
            assert_eq!(error.data["reason"], "only_its_function");
            assert_eq!(error.data["task_id"], "a");
            assert!(error.hint.unwrap().contains("`retry`"));
        }
        assert_eq!(world.step_status("a"), Some(ExecutionStatus::Waiting));
        let open = world.run.open_waits();
        let WaitKind::Human(question) = &open[0].spec.kind else { panic!("it is a question") };
        assert!(
            question
                .prompt
                .ends_with(&format!("Retry it, or fail it? Nobody can complete it by hand: {why}."))
        );
        let schema = question.schema.as_ref().unwrap();
        assert_eq!(schema["properties"]["verb"]["enum"], json!(["retry", "fail"]));
        world.ok(answer(&wait, json!({ "verb": "retry" })));
        assert_eq!(world.ready_steps(), ["a"]);
    }
}

#[test]
fn what_undoes_a_failure_ends_wherever_it_leads_otherwise() {
    let mut a = function("a");
    a.compensation = Some("undo".into());
    a.entry = true;
    let mut undo = Step::function("undo").next(&["a", END]);
    undo.effect = Effect::AtMostOnce;
    let mut world = World::of(Definition::new("test", vec![a, undo]));
    world.fails("a");
    world.settle("undo", SettleVerb::Complete, None);
    assert_eq!(world.status(), RunStatus::Failed);
    assert_eq!(world.step_status("undo"), Some(ExecutionStatus::Completed));
}
