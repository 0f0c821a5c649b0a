//! One pipeline with every part, as it is lowered. The tests of the Python package build the same and compare it with the same
//! file (F24): both languages give one version.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use stepwell::{
    Ask, Branch, BranchFailure, Callback, Context, Human, Map, Merge, Parallel, Pipeline, Prepared, Refine,
    RefinementCheck, Repeat, Retry, Step, StepError,
};

async fn same(_: Context, value: Value) -> Result<Value, StepError> {
    Ok(value)
}

fn step(name: &str) -> Step {
    Step::new(name, same).retry(Retry::times(1))
}

fn everything() -> Prepared {
    let ask = Ask::new("Send this?")
        .schema(json!({ "type": "boolean" }))
        .assignee("legal")
        .deadline(Duration::from_hours(1))
        .default_answer(&false)
        .unwrap();
    let colour = Ask::new("").options(["red", "blue"]).unwrap();
    let both = Parallel::new("both").branch("x", step("x")).branch("y", step("y"));
    Pipeline::new("everything")
        .metadata(json!({ "team": "legal" }).as_object().unwrap().clone())
        .then(
            Step::cooperative("tried", same)
                .retry(Retry::times(2))
                .timeout(Duration::from_secs(30))
                .cooperative_fallback(same)
                .sink_to("out.tried"),
        )
        .then(step("updates").updates_context())
        .then(Human::ask("ask", ask))
        .then(Human::show("show", colour).sink_to("colour"))
        .then(
            Repeat::until("loop", step("body"), |_: &Value, _| Ok(true))
                .max(7)
                .first_input(|value: &Value, _| Ok(value.clone()))
                .next_input_called(Callback::new(|_, (value, _): (Value, u32)| async move { Ok(value) }))
                .output(|value: &Value, _| Ok(value.clone())),
        )
        .then(
            Refine::new("refine", step("write"), step("judge"))
                .max(3)
                .next_input(|value: &Value, _: &Value, _: &RefinementCheck| Ok(value.clone())),
        )
        .then(
            Branch::on_called("branch", Callback::new(|_, (_,): (Value,)| async { Ok("yes") }))
                .case("yes", Pipeline::new("").then(step("a")).then(step("b")))
                .case("no", step("c"))
                .otherwise(step("d"))
                .input(|value: &Value, _, _| Ok(value.clone()))
                .output(|value: &Value, _, _| Ok(value.clone())),
        )
        .then(
            Parallel::new("parallel")
                .branch("web", step("search"))
                .branch("db", both)
                .merge(Merge::KeepFirst)
                .on_branch_failure(BranchFailure::Ignore)
                .context_keys(["colour"])
                .reduce(|outputs: &Value| Ok(outputs.clone()))
                .max_concurrent(2),
        )
        .then(Map::each("rows", step("row")).over("out.rows").max_concurrent(4))
        .then(step("last").cached())
        .prepare()
        .unwrap()
}

#[test]
fn f24_a_pipeline_is_lowered_as_it_was() {
    let prepared = everything();
    let lowered = json!({ "version": prepared.version(), "definition": prepared.definition() });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/everything.json");
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(&path, serde_json::to_string_pretty(&lowered).unwrap() + "\n").unwrap();
    }
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        lowered, kept,
        "`just bless` accepts it: runs of pipelines that are under way then wait for their version"
    );
}
