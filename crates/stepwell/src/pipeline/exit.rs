//! Where a value goes from a step of a pipeline.

use std::sync::Arc;

use serde_json::Value;
use stepwell_core::ids::StepName;
use stepwell_core::run::event::{Payload, Target};
use stepwell_core::workflow::definition::END;

use crate::context::Context;
use crate::error::StepError;

/// Where a value goes from the last step of some parts.
#[derive(Clone)]
pub(super) enum Exit {
    /// To that step, as its input.
    Step(StepName),
    /// To that step, and is kept under a path within the scope.
    Keep(String, StepName),
    /// To the step that the branches around it come to when they end.
    Join(StepName),
    /// Nowhere: it is what the run results in.
    Output,
}

impl Exit {
    /// Returns the name that a step declares as its successor.
    pub(super) fn successor(&self) -> &str {
        match self {
            Self::Step(step) | Self::Keep(_, step) | Self::Join(step) => step.as_str(),
            Self::Output => END,
        }
    }

    /// Returns whether what leaves is kept in the context as well.
    pub(super) fn keeps(&self) -> bool {
        match self {
            Self::Keep(..) | Self::Join(_) => true,
            Self::Step(_) | Self::Output => false,
        }
    }

    /// Returns where a step that leaves with a value leads.
    pub(super) fn leave(&self, cx: &Context, value: Payload) -> Result<Vec<Target>, StepError> {
        match self {
            Self::Step(step) => Ok(vec![target(cx, step, value)]),
            Self::Keep(name, step) => {
                cx.keep(&cx.scope().below(name), Some(value.clone()))?;
                Ok(vec![target(cx, step, value)])
            }
            Self::Join(join) => {
                cx.keep(cx.scope().path(), Some(value))?;
                Ok(vec![Target::to(join.as_str())])
            }
            Self::Output => Ok(Vec::new()),
        }
    }
}

/// Returns a route on which a value is handed to a step of the same scope.
pub(super) fn target(cx: &Context, step: &StepName, value: Payload) -> Target {
    let payload = match cx.scope().item_number() {
        Some(item) => of_item(item, Arc::unwrap_or_clone(value)),
        None => value,
    };
    Target { payload: Some(payload), ..Target::to(step.as_str()) }
}

/// Returns what a route hands to a step in a map.
pub(super) fn of_item(item: u64, value: Value) -> Payload {
    Payload::new(Value::Array(vec![item.into(), value]))
}
