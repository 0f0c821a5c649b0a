//! Where the output of a step is kept in the context, besides being passed on.

use serde::Serialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::StepError;

/// Where the output of a step is kept besides being passed on.
#[derive(Clone, Default, Serialize)]
pub(super) struct Sinks {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) updates_context: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sink_to: Option<String>,
}

impl Sinks {
    /// Returns what a definition says of a step in that role that has them.
    pub(super) fn to_json(&self, role: &str) -> Value {
        let mut what = json!(self);
        what["role"] = role.into();
        what
    }

    /// Returns whether there are any.
    pub(super) fn keep_anything(&self) -> bool {
        self.updates_context || self.sink_to.is_some()
    }

    /// Keeps an output.
    pub(super) fn take(&self, cx: &Context, output: &Value) -> Result<(), StepError> {
        if self.updates_context {
            let Value::Object(pairs) = output else {
                return Err(StepError::never_again("it updates the context, but returned no object"));
            };
            for (key, value) in pairs {
                cx.put(key, Some(value.clone()))?;
            }
        }
        match &self.sink_to {
            Some(place) => sink(cx, place, output.clone()),
            None => Ok(()),
        }
    }
}

/// Sets a value at a dotted place of the context. Objects that are missing on the way are made.
fn sink(cx: &Context, place: &str, value: Value) -> Result<(), StepError> {
    let Some((key, within)) = place.split_once('.') else { return cx.put(place, Some(value)) };
    let mut whole: Value = cx.get(key)?.unwrap_or_default();
    let mut at = &mut whole;
    for name in within.split('.') {
        if at.is_null() {
            *at = json!({});
        }
        let Value::Object(object) = at else {
            let message =
                format!("its output cannot be kept at '{place}': what is around '{name}' there is no object");
            return Err(StepError::never_again(message));
        };
        at = object.entry(name).or_insert(Value::Null);
    }
    *at = value;
    cx.put(key, Some(whole))
}
