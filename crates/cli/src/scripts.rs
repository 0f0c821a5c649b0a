//! Scripts that steps name and that are not there. One may still be made by an earlier step, so that is a warning.

use std::path::Path;

use stepwell_core::workflow::definition::Action;
use stepwell_engine::load::{Loaded, Problem};

/// Returns a warning for each step whose script is not in the directory that its run starts in.
pub(crate) fn missing(loaded: &Loaded, dir: &Path) -> Vec<Problem> {
    let mut missing = Vec::new();
    for (number, step) in loaded.workflow.definition().steps.iter().enumerate() {
        let Action::Provider { protocol, params, .. } = &step.action else { continue };
        let given = |name: &'static str| Some((name, params.get(name)?.as_str()?));
        let Some((name, file)) = given("file").or_else(|| given("file_path")) else { continue };
        if protocol != "python/v1" || file.contains("${") {
            continue;
        }
        // What else may be wrong with it is told when it is opened.
        if matches!(dir.join(file).try_exists(), Ok(false)) {
            let message = format!("step '{}': there is no script {file} in {}", step.name, dir.display());
            let problem = loaded.about_param(number, name, message).step(step.name.as_str());
            missing.push(problem.hint("relative paths start at the directory that the run is started in"));
        }
    }
    missing
}
