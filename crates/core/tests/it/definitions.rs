//! What a definition must not say: every problem at once, each naming its step.

use serde_json::json;
use stepwell_core::error::Code;
use stepwell_core::policy::resources::Resources;
use stepwell_core::workflow::definition::{Definition, Lifecycle, Need, NeedKind, Step};
use stepwell_core::workflow::{Problem, Workflow, problems_error};

fn step(name: &str) -> Step {
    Step::provided(name, "python/v1", "python/execute", json!({}))
}

fn problems(steps: Vec<Step>) -> Vec<Problem> {
    Workflow::new(Definition::new("test", steps)).expect_err("it cannot be run")
}

#[test]
fn g16_an_unknown_need_is_named_with_its_step() {
    let problems = problems(vec![step("a").needs(&["b"])]);
    assert_eq!(
        (problems[0].code, problems[0].path.as_str()),
        (Code::WORKFLOW_VALIDATION_FAILED, "steps[0].needs[0]")
    );
    assert_eq!(problems[0].message, "step 'a' needs 'b', which no step is named");
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean 'a'?"));
}

#[test]
fn g17_a_cycle_is_shown_from_the_step_defined_first_and_so_is_a_need_of_oneself() {
    let error = problems_error(&problems(vec![step("A").needs(&["B"]), step("B").needs(&["A"])]));
    assert_eq!(error.code, Code::WORKFLOW_CIRCULAR_DEPENDENCY);
    assert_eq!(error.data["dependency_cycle"], json!(["A", "B", "A"]));
    let error = problems_error(&problems(vec![step("A").needs(&["A"])]));
    assert_eq!(error.data["dependency_cycle"], json!(["A", "A"]));
}

#[test]
fn a20_cycle_missing_name_and_missing_expiry_are_told_at_once() {
    let mut c = step("c").needs(&["nobody"]);
    c.needs.push(Need {
        step: "a".into(),
        kind: NeedKind::Required,
        lifecycle: Lifecycle::Temporary { expiry_ms: 0 },
    });
    let codes: Vec<Code> =
        problems(vec![step("a").needs(&["b"]), step("b").needs(&["a"]), c]).iter().map(|p| p.code).collect();
    let invalid = Code::WORKFLOW_VALIDATION_FAILED;
    assert_eq!(codes, [invalid, invalid, Code::WORKFLOW_CIRCULAR_DEPENDENCY]);
}

#[test]
fn resources_are_amounts_and_part_of_the_version_if_there_are_any() {
    let asking = |resources| vec![Step { resources, ..step("a") }];
    let found = problems(asking(Resources::cpu(-1)));
    assert_eq!(found[0].path, "steps[0].resources");
    assert_eq!(found[0].message, "step 'a': cpu_units must be a number that is not negative, not -1");
    let workflow = |resources| Workflow::new(Definition::new("test", asking(resources))).unwrap();
    let (nothing, some) = (workflow(Resources::default()), workflow(Resources::cpu(1.5)));
    assert!(!nothing.to_json_text().contains("resources"));
    assert_ne!(nothing.version(), some.version());
    let read = Workflow::from_json_text(&some.to_json_text()).unwrap();
    assert_eq!(read.definition(), some.definition());
}
