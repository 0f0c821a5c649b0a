//! Named limits of a definition that no attempt could ever take.

use stepwell_core::error::Code;
use stepwell_core::workflow::Problem;
use stepwell_core::workflow::definition::{Definition, Step};

/// Finds limits of which there are no units.
pub(crate) fn without_units(definition: &Definition) -> Vec<Problem> {
    let none = definition.limits.iter().filter(|(_, units)| **units == 0);
    let told = |name: &String| {
        let message = format!("limit '{name}' must be at least 1");
        problem(format!("limits.{name}"), None, message)
    };
    none.map(|(name, _)| told(name)).collect()
}

/// Finds what a step, the one of that index, takes more of than there is.
pub(crate) fn out_of_reach(definition: &Definition, index: usize, step: &Step) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (limit, asked) in &step.limits {
        let there_are = definition.limits.get(limit).copied().unwrap_or(*asked);
        if *asked > there_are && there_are > 0 {
            let message =
                format!("step '{}' takes {asked} of limit '{limit}', which has {there_are}", step.name);
            problems.push(problem(format!("steps[{index}].limits.{limit}"), Some(step), message));
        }
    }
    problems
}

pub(crate) fn problem(path: String, step: Option<&Step>, message: String) -> Problem {
    let (code, step) = (Code::WORKFLOW_VALIDATION_FAILED, step.map(|step| step.name.clone()));
    Problem { code, message, hint: None, path, step, cycle: Vec::new() }
}
