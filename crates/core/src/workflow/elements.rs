//! Element steps: what a step with `for_each` is executed as, once per element.

use super::definition::{Definition, HandsOn, OnFailure, Step, Successors};
use super::{Problem, StepIx, problem};
use crate::ids::StepName;
use foldhash::HashMap;

/// Refuses what a step with `for_each` cannot be, or lead to.
pub(super) fn check(definition: &Definition, index: &HashMap<StepName, StepIx>, problems: &mut Vec<Problem>) {
    for (i, step) in definition.steps.iter().enumerate() {
        let Some(each) = &step.for_each else { continue };
        let mut refuse = |field: &str, message: String| {
            let message = format!("step '{}': {message}", step.name);
            problems.push(problem(format!("steps[{i}].{field}"), Some(&step.name), message));
        };
        if !each.items.is_array() && !each.items.is_string() {
            refuse("for_each", "'for_each' must be a list or a reference to one".into());
        }
        if each.max_concurrent == Some(0) {
            refuse("for_each", "max_concurrent must be at least 1".into());
        }
        if step.next.known().is_none_or(|names| !names.is_empty()) {
            let message = "the elements of 'for_each' cannot name what follows; let another step need it";
            refuse("next", message.into());
        }
        let name = element_name(&step.name);
        if index.contains_key(&name) {
            refuse("name", format!("a step named '{name}' stands in the way of its elements"));
        }
    }
}

/// Makes the element steps, in order of the steps they belong to, and adds them to the index.
pub(super) fn of(definition: &Definition, index: &mut HashMap<StepName, StepIx>) -> Vec<(StepIx, Step)> {
    let mut elements = Vec::new();
    for (i, step) in definition.steps.iter().enumerate().filter(|(_, step)| step.for_each.is_some()) {
        let name = element_name(&step.name);
        index.insert(name.clone(), StepIx((definition.steps.len() + elements.len()) as u32));
        let element = Step {
            name,
            title: None,
            needs: Vec::new(),
            next: Successors::none(),
            hands_on: HandsOn::default(),
            entry: false,
            compensation: None,
            when: Vec::new(),
            for_each: None,
            // The step itself answers for what its elements did, unless all must end at once.
            on_failure: match step.on_failure {
                OnFailure::Stop => OnFailure::Stop,
                OnFailure::Fail | OnFailure::Continue | OnFailure::Route(_) => OnFailure::Continue,
            },
            ..step.clone()
        };
        elements.push((StepIx(i as u32), element));
    }
    elements
}

fn element_name(step: &StepName) -> StepName {
    StepName::from(format!("{step}[]"))
}
