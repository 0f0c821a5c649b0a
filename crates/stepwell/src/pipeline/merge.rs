//! How the writes of branches that ran side by side become writes of the whole, in the order in which the branches are declared.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use stepwell_core::error::{Code, ErrorObject};
use stepwell_core::run::event::Payload;

use crate::context::Context;
use crate::error::StepError;

/// What becomes of what branches wrote to the context. Which of them ended first makes no difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// All of it. Of different values for one key that of the branch declared last stands, and the journal says so: a
    /// `conflict` with the key and the branches.
    #[default]
    ContextUpdate,
    /// The same, and the journal says nothing.
    Overwrite,
    /// All of it. Of different values for one key that of the branch declared first stands.
    KeepFirst,
    /// All of it. Different values for one key fail the step with `CONTEXT_CONFLICT`.
    ErrorOnConflict,
    /// Nothing.
    NoMerge,
}

/// What a branch wrote, by key; none: it removed the key.
pub(super) type Writes = BTreeMap<String, Option<Payload>>;

/// Writes what the branches wrote, given in the order of declaration with the name of each.
pub(super) fn merge(cx: &Context, strategy: Merge, branches: Vec<(String, Writes)>) -> Result<(), StepError> {
    if strategy == Merge::NoMerge {
        return Ok(());
    }
    let mut by_key: BTreeMap<String, Vec<(String, Option<Payload>)>> = BTreeMap::new();
    for (branch, writes) in branches {
        for (key, value) in writes {
            by_key.entry(key).or_default().push((branch.clone(), value));
        }
    }
    for (key, mut values) in by_key {
        if values.iter().any(|(_, value)| *value != values[0].1) {
            settle(cx, strategy, &key, &values)?;
        }
        let stands = if strategy == Merge::KeepFirst { 0 } else { values.len() - 1 };
        let (_, value) = values.swap_remove(stands);
        cx.put(&key, value.map(Payload::unwrap_or_clone))?;
    }
    Ok(())
}

/// Says that branches wrote different values to one key, if the strategy minds.
fn settle(
    cx: &Context,
    strategy: Merge,
    key: &str,
    values: &[(String, Option<Payload>)],
) -> Result<(), StepError> {
    let branches: Vec<&str> = values.iter().map(|(branch, _)| branch.as_str()).collect();
    match strategy {
        Merge::ContextUpdate => {
            cx.emit("conflict", &json!({ "key": key, "branches": branches, "winner": branches.last() }))
        }
        Merge::ErrorOnConflict => {
            let named = branches.iter().map(|branch| format!("'{branch}'")).collect::<Vec<_>>().join(", ");
            let message = format!("branches {named} wrote different values to context key '{key}'");
            Err(ErrorObject::new(Code::CONTEXT_CONFLICT, message)
                .with_hint("give each branch keys of its own, or take a merge in which one of them wins")
                .with("key", key)
                .with("branches", branches)
                .into())
        }
        Merge::Overwrite | Merge::KeepFirst | Merge::NoMerge => Ok(()),
    }
}
