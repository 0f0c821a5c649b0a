//! Scripts and programs whose path steps name and that are not there. One may still be made by an earlier step, so that is a warning.

use std::path::Path;

use serde_json::Value;
use stepwell_core::error::Code;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::Action;
use stepwell_core::workflow::path::Path as Place;
use stepwell_engine::load::Problem;

/// Returns a warning for each step whose script or program is not in the directory that its run starts in.
pub(crate) fn missing(workflow: &Workflow, dir: &Path) -> Vec<Problem> {
    let mut missing = Vec::new();
    for step in &workflow.definition().steps {
        let Action::Provider { protocol, params, .. } = &step.action else { continue };
        let Some((what, file)) = named(protocol, params).filter(|(_, file)| !file.contains("${")) else {
            continue;
        };
        // What else may be wrong with it is told when it is opened.
        if matches!(dir.join(file).try_exists(), Ok(false)) {
            missing.push(Problem {
                code: Code::WORKFLOW_VALIDATION_FAILED,
                message: format!("step '{}': there is no {what} {file} in {}", step.name, dir.display()),
                hint: Some("relative paths start at the directory that the run is started in".into()),
                path: Place::root(),
                at: None,
                step: Some(step.name.to_string()),
                data: serde_json::Map::new(),
            });
        }
    }
    missing
}

/// Returns the path that a step names, and what it is. A name without a slash is looked for elsewhere.
fn named<'a>(protocol: &str, params: &'a Value) -> Option<(&'static str, &'a str)> {
    let text = |key: &str| params.get(key).and_then(Value::as_str);
    match protocol {
        "python/v1" => Some(("script", text("file").or_else(|| text("file_path"))?)),
        "process/v1" => Some(("program", text("command").filter(|command| command.contains('/'))?)),
        _ => None,
    }
}
