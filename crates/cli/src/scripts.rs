//! Scripts that steps name and that are not there. One may still be made by an earlier step, so that is a warning.

use std::collections::HashSet;
use std::path::Path;

use stepwell_core::error::Code;
use stepwell_core::workflow::Workflow;
use stepwell_core::workflow::definition::Action;
use stepwell_core::workflow::path::Path as Place;
use stepwell_engine::load::Problem;

/// Returns a warning for each script that is not in the directory that its run starts in, with the first step that names
/// it: those of a batch all name one.
pub(crate) fn missing(workflow: &Workflow, dir: &Path) -> Vec<Problem> {
    let mut missing = Vec::new();
    let mut seen = HashSet::new();
    for step in &workflow.definition().steps {
        let Action::Provider { protocol, params, .. } = &step.action else { continue };
        let file = params.get("file").or_else(|| params.get("file_path")).and_then(|file| file.as_str());
        let Some(file) = file.filter(|file| protocol == "python/v1" && !file.contains("${")) else {
            continue;
        };
        // What else may be wrong with it is told when it is opened.
        if seen.insert(file) && matches!(dir.join(file).try_exists(), Ok(false)) {
            missing.push(Problem {
                code: Code::WORKFLOW_VALIDATION_FAILED,
                message: format!("step '{}': there is no script {file} in {}", step.name, dir.display()),
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
