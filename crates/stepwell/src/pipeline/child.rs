//! Parts that are a run of their own: what forks in there meets only its own, and what fails in there ends nothing else.

use std::sync::Arc;

use stepwell_core::run::event::Payload;
use stepwell_core::workflow::Workflow as Checked;

use super::exit::Exit;
use super::lower::Carrier;
use super::stage::{Work, ended};
use crate::context::Begin;

/// Returns a step that runs a workflow as a child run and goes on with what that came to. The child begins with what the step
/// sees of the context, and what it wrote the step writes.
pub(super) fn work(engine: Carrier, workflow: &Arc<Checked>, exit: Exit) -> Work {
    let (workflow, exit) = (workflow.clone(), Arc::new(exit));
    Arc::new(move |cx, input| {
        let engine = engine.get().expect("only an engine calls it");
        let begin = || Ok(Begin { context: cx.visible()?, input: (*input).clone(), entry: None });
        let child = cx.run_child(engine, &workflow, begin);
        let (engine, exit) = (engine.clone(), exit.clone());
        Box::pin(async move {
            let result = child.await?;
            let run = engine.inspect(&result.run_id).await?;
            for (key, value) in run.context().written() {
                cx.put(key, value.map(|value| (**value).clone()))?;
            }
            let to = exit.leave(&cx, Payload::new(result.output.clone()))?;
            Ok(ended(result.output, to))
        })
    })
}
