//! What one definition has that another has not.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::definition::{Definition, Step, Successors};

/// Members of a definition that say nothing of what its runs do, or only when: how long a run may take it knows itself.
const BESIDE: [&str; 7] =
    ["name", "title", "description", "steps", "metadata", "timeout_ms", "checkpoint_interval_ms"];

/// Returns all in which one definition is another than that which was before it, in words: [`differences`], steps that are new, and
/// settings that those pass over. The name is not among them.
///
/// ```
/// use stepwell_core::workflow::changes;
/// use stepwell_core::workflow::definition::{Definition, Step};
///
/// let before = Definition::new("a", vec![Step::function("draft"), Step::function("check")]);
/// let mut after = Definition::new("a", vec![Step::function("draft"), Step::function("publish")]);
/// after.timeout_ms = Some(1_000);
/// assert_eq!(changes(&before, &after), ["step 'check' is missing", "step 'publish' is new", "timeout_ms is another"]);
/// ```
pub fn changes(before: &Definition, after: &Definition) -> Vec<String> {
    let mut told = differences(before, after);
    let known: HashSet<&str> = before.steps.iter().map(|step| step.name.as_str()).collect();
    let new = after.steps.iter().filter(|step| !known.contains(step.name.as_str()));
    told.extend(new.map(|step| format!("step '{}' is new", step.name)));
    let mut beside = changed_members(&settings(before), &settings(after));
    beside.retain(|name| BESIDE.contains(&name.as_str()) && !["name", "steps"].contains(&name.as_str()));
    told.extend(beside.iter().map(|name| format!("{name} is another")));
    told
}

/// Returns the first of many changes, as part of a message.
pub fn told(changes: &[String]) -> String {
    const MOST: usize = 10;
    let shown = changes.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join("; ");
    let more = changes.len().saturating_sub(MOST);
    if more == 0 { shown } else { format!("{shown}; and {more} more") }
}

/// Returns what keeps a run of one definition from going on with another, in words: steps that are missing or changed, and
/// other settings. The name may be another, and steps may have been added.
///
/// ```
/// use stepwell_core::workflow::differences;
/// use stepwell_core::workflow::definition::{Definition, Step};
///
/// let before = Definition::new("a", vec![Step::function("draft"), Step::function("check")]);
/// let mut after = Definition::new("b", vec![Step::function("draft"), Step::function("publish")]);
/// after.steps[0].timeout_ms = Some(1_000);
/// assert_eq!(differences(&before, &after), ["step 'draft' has another timeout_ms", "step 'check' is missing"]);
/// ```
pub fn differences(before: &Definition, after: &Definition) -> Vec<String> {
    let find = |name: &str| after.steps.iter().position(|step| step.name.as_str() == name);
    let mut told: Vec<String> = before
        .steps
        .iter()
        .filter_map(|step| {
            let Some(at) = find(step.name.as_str()) else {
                return Some(format!("step '{}' is missing", step.name));
            };
            let changed = changed_members(&members(step), &members(&after.steps[at]));
            (!changed.is_empty()).then(|| format!("step '{}' has another {}", step.name, changed.join(", ")))
        })
        .collect();
    let places: Vec<usize> = before.steps.iter().filter_map(|step| find(step.name.as_str())).collect();
    if !places.is_sorted() {
        told.push("the steps are in another order".into());
    }
    let mut settings = changed_members(&settings(before), &settings(after));
    settings.retain(|name| !BESIDE.contains(&name.as_str()));
    told.extend(settings.iter().map(|name| format!("{name} is another")));
    told
}

fn changed_members(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<String> {
    let mut changed: Vec<String> = before
        .iter()
        .filter(|(name, value)| after.get(*name) != Some(value))
        .map(|(name, _)| name.clone())
        .collect();
    changed.extend(after.keys().filter(|name| !before.contains_key(*name)).cloned());
    changed
}

/// What is inferred from source is not compared, as it is not part of a version.
fn members(step: &Step) -> Map<String, Value> {
    let mut declared = step.clone();
    if matches!(declared.next, Successors::Inferred(_)) {
        declared.next = Successors::Unknown;
    }
    object(serde_json::to_value(declared))
}

fn settings(definition: &Definition) -> Map<String, Value> {
    let alone = Definition { steps: Vec::new(), ..definition.clone() };
    object(serde_json::to_value(alone))
}

fn object(value: serde_json::Result<Value>) -> Map<String, Value> {
    match value {
        Ok(Value::Object(members)) => members,
        _ => unreachable!("a definition is an object, and holds nothing that JSON cannot hold"),
    }
}
