//! `Complete`: an attempt ended well. Its outcome, its context writes and its route are one append.

use std::collections::HashSet;

use super::{Refusal, Turn};
use crate::context::{self, Write};
use crate::error::{Code, ErrorObject};
use crate::ids::StepName;
use crate::nesting::{is_too_deep, too_deep};
use crate::run::command::Complete;
use crate::run::event::{Event, Target};
use crate::workflow::definition::Successors;
use crate::workflow::did_you_mean;

impl Turn<'_> {
    pub(super) fn complete(&mut self, complete: &Complete) -> Result<(), Refusal> {
        let ix = self.under_way(&complete.attempt)?;
        self.withdraw_settle_question(ix);
        let checked = check_nesting(complete)
            .and_then(|()| self.check_route(ix, &complete.to))
            .and_then(|()| self.unite_writes(ix, complete));
        let (writes, conflicts) = match checked {
            Ok(united) => united,
            Err(error) => {
                self.fail_attempt(ix, &complete.attempt, &error);
                return Ok(());
            }
        };
        // A function that ends without having waited for everything it asked: nobody need answer the rest.
        self.withdraw_waits(ix);
        let at = self.step_ref(ix);
        self.emit(Event::StepCompleted {
            step: at.step,
            execution: at.execution,
            attempt: complete.attempt.attempt,
            output: complete.output.clone(),
            writes,
            to: complete.to.clone(),
        });
        for conflict in conflicts {
            self.emit(conflict);
        }
        self.after_compensation(ix);
        Ok(())
    }

    /// All targets are checked before any takes effect.
    fn check_route(&self, ix: u32, to: &[Target]) -> Result<(), ErrorObject> {
        let workflow = &self.run.workflow;
        let execution = self.run.exec(ix);
        let name = &execution.step;
        if execution.compensates.is_some() && !to.is_empty() {
            let message = format!("step '{name}' undoes a failure and must end, but names '{}'", to[0].step);
            return Err(ErrorObject::new(Code::TASK_RESULT_INVALID, message).with("task_id", name.as_str()));
        }
        let declared: Option<HashSet<&StepName>> = match &workflow.step(execution.step_ix).next {
            Successors::Declared(names) if !to.is_empty() => Some(names.iter().collect()),
            Successors::Declared(_) | Successors::Inferred(_) | Successors::Unknown => None,
        };
        for target in to {
            let found = workflow.find(target.step.as_str());
            if found.is_none_or(|step| workflow.element_of(step).is_some()) {
                let steps = &workflow.definition().steps;
                let known = steps.iter().take(50).map(|s| s.name.as_str());
                let error = ErrorObject::new(
                    Code::UNKNOWN_STEP,
                    format!("step '{name}' names '{}', which no step is named", target.step),
                )
                .with("task_id", name.as_str())
                .with("known_steps", known.collect::<Vec<_>>());
                let hint = did_you_mean(target.step.as_str(), steps);
                return Err(error.with_hint(hint.unwrap_or_else(|| "see data.known_steps".into())));
            }
            if declared.as_ref().is_some_and(|names| !names.contains(&target.step)) {
                let message = format!(
                    "step '{name}' leads to '{}', which its declared `next` does not name",
                    target.step
                );
                return Err(ErrorObject::new(Code::TASK_RESULT_INVALID, message)
                    .with("task_id", name.as_str())
                    .with_hint("add the name to `next`, or leave `next` open"));
            }
        }
        Ok(())
    }

    /// Unites the writes of an attempt with what others wrote since its snapshot.
    fn unite_writes(&self, ix: u32, complete: &Complete) -> Result<(Vec<Write>, Vec<Event>), ErrorObject> {
        let reducers = &self.run.workflow.definition().reducers;
        let writer = self.run.reference(ix);
        let mut writes = Vec::with_capacity(complete.writes.len());
        let mut conflicts = Vec::new();
        for change in &complete.writes {
            let reducer = reducers.get(&change.key).copied();
            let write = context::reduce(change, reducer).map_err(|misfit| {
                ErrorObject::new(Code::TASK_RESULT_INVALID, format!("step '{}': {misfit}", writer.step))
                    .with("task_id", writer.step.as_str())
            })?;
            if let Some(reducer) = reducer {
                writes.push(context::keep_best(write, self.run.context.get(&change.key), reducer));
            } else {
                if let Some(loser) = self.run.context.written_since(&change.key, complete.snapshot, &writer) {
                    let (winner, loser) = (writer.clone(), loser.clone());
                    conflicts.push(Event::Conflict { key: change.key.clone(), winner, loser });
                }
                writes.push(write);
            }
        }
        Ok((writes, conflicts))
    }
}

/// Refuses a result that nobody could read again.
fn check_nesting(complete: &Complete) -> Result<(), ErrorObject> {
    let step = &complete.attempt.step;
    let mut payloads = complete.to.iter().filter_map(|target| target.payload.as_deref());
    let mut writes = complete.writes.iter().filter_map(|write| write.value.as_deref());
    let what = if is_too_deep(&complete.output) {
        format!("the result of step '{step}'")
    } else if writes.any(is_too_deep) {
        format!("what step '{step}' wrote to the context")
    } else if payloads.any(is_too_deep) {
        format!("a payload of step '{step}'")
    } else {
        return Ok(());
    };
    Err(too_deep(Code::TASK_RESULT_INVALID, &what).with("task_id", step.as_str()))
}
