//! Parts that are a run of their own: what forks in there meets only its own, and what fails in there ends nothing else.

use std::sync::Arc;

use serde_json::{Map, Value};
use stepwell_core::run::event::Payload;
use stepwell_core::workflow::Workflow as Checked;
use stepwell_engine::Engine;

use super::lower::Exit;
use super::stage::{Work, ended};
use crate::context::Context;
use crate::error::StepError;

/// Returns a step that runs a workflow as a child run and goes on with what that came to. The child begins with what the step
/// sees of the context, and what it changes there the step writes.
pub(super) fn work(engine: &Engine, workflow: &Arc<Checked>, exit: Exit) -> Work {
    let (engine, workflow, exit) = (engine.clone(), workflow.clone(), Arc::new(exit));
    Arc::new(move |cx, input| {
        let exit = exit.clone();
        // Nobody changes what is around while it runs, so this is what the child began with whenever the step runs again.
        let running = cx.visible().map(|seen| {
            let begin = || Ok((seen.clone(), (*input).clone()));
            let child = cx.run_child(&engine, &workflow, begin);
            (seen, child)
        });
        Box::pin(async move {
            let (seen, child) = running?;
            let result = child.await?;
            write_changes(&cx, &seen, result.context)?;
            let to = exit.leave(&cx, Payload::new(result.output.clone()))?;
            Ok(ended(result.output, to))
        })
    })
}

fn write_changes(
    cx: &Context,
    before: &Map<String, Value>,
    after: Map<String, Value>,
) -> Result<(), StepError> {
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        cx.put(key, None)?;
    }
    for (key, value) in after {
        if before.get(&key) != Some(&value) {
            cx.put(&key, Some(value))?;
        }
    }
    Ok(())
}
