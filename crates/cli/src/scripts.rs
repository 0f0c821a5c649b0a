//! Scripts and programs that steps name and that are not there. One may still be made by an earlier step, so that is a
//! warning.

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;
use stepwell_core::workflow::definition::Action;
use stepwell_engine::load::{Loaded, Problem};

/// Returns a warning for each script or program that is not in the directory that its run starts in, with the first step
/// that names it: those of a batch all name one.
pub(crate) fn missing(loaded: &Loaded, dir: &Path) -> Vec<Problem> {
    let mut missing = Vec::new();
    let mut seen = HashSet::new();
    for (number, step) in loaded.workflow.definition().steps.iter().enumerate() {
        let Action::Provider { protocol, params, .. } = &step.action else { continue };
        let Some(Named { what, param, file }) = named(protocol, params) else { continue };
        // What else may be wrong with it is told when it is opened.
        if !file.contains("${") && seen.insert(file) && matches!(dir.join(file).try_exists(), Ok(false)) {
            let message = format!("step '{}': there is no {what} {file} in {}", step.name, dir.display());
            let problem = loaded.about_param(number, param, message).step(step.name.as_str());
            missing.push(problem.hint("relative paths start at the directory that the run is started in"));
        }
    }
    missing
}

/// A file that a parameter of a step names.
struct Named<'p> {
    what: &'static str,
    param: &'static str,
    file: &'p str,
}

/// Returns the file that a step names. A program's name without a slash is looked for elsewhere.
fn named<'p>(protocol: &str, params: &'p Value) -> Option<Named<'p>> {
    let text = |key: &str| params.get(key).and_then(Value::as_str);
    let named = |what, param| Some(Named { what, param, file: text(param)? });
    match protocol {
        "python/v1" => named("script", "file").or_else(|| named("script", "file_path")),
        "process/v1" => named("program", "command").filter(|program| program.file.contains('/')),
        _ => None,
    }
}
