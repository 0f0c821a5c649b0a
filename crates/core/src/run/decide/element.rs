//! Steps with `for_each`: what the elements are, which of them begin, and what becomes of the step when all have ended.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Turn;
use crate::error::{Code, ErrorObject};
use crate::ids::Ordinal;
use crate::nesting::{is_too_deep, too_deep};
use crate::run::Run;
use crate::run::event::{Activation, Event, Payload};
use crate::run::view::{RunScope, view};
use crate::status::ExecutionStatus;
use crate::workflow::definition::OnFailure;
use crate::workflow::template::Template;

impl Turn<'_> {
    /// Looks at executions of steps with `for_each` that are in line, or that have lost an element.
    pub(super) fn look_at_fans(&mut self) -> bool {
        let fans = std::mem::take(&mut self.run.fans);
        for ix in &fans {
            if self.run.status.is_terminal() {
                break;
            }
            match self.run.exec(*ix).status {
                ExecutionStatus::Pending | ExecutionStatus::Ready => self.fan_out(*ix),
                ExecutionStatus::Waiting => self.go_on_with_elements(*ix),
                _ => {}
            }
        }
        !fans.is_empty()
    }

    fn fan_out(&mut self, ix: u32) {
        let items = if self.run.exec(ix).fan.is_some() { Ok(None) } else { self.run.items_of(ix).map(Some) };
        match items {
            Ok(items) => {
                let at = self.step_ref(ix);
                self.emit(Event::StepFannedOut { step: at.step, execution: at.execution, items });
            }
            Err(error) => self.fail_for_good(ix, &error, false),
        }
    }

    /// Lets elements begin as far as there is room; when all have ended, the step does.
    fn go_on_with_elements(&mut self, ix: u32) {
        let workflow = self.run.workflow.clone();
        let step = self.run.exec(ix).step_ix;
        let (Some(each), Some(elements)) = (&workflow.step(step).for_each, workflow.elements_of(step)) else {
            return;
        };
        let name = workflow.step(elements).name.clone();
        let of = self.run.exec(ix).ordinal;
        loop {
            let Some(fan) = &self.run.exec(ix).fan else { return };
            // What was completed in an earlier epoch stays so.
            let is_open = |index: &u32| {
                let known = fan.elements.get(*index as usize);
                known.is_none_or(|known| self.run.exec(*known).status != ExecutionStatus::Completed)
            };
            let Some(index) = (fan.next..fan.len()).find(is_open) else {
                if fan.live == 0 {
                    self.gather(ix);
                }
                return;
            };
            if each.max_concurrent.is_some_and(|max| fan.live >= max) {
                return;
            }
            let known = fan.elements.get(index as usize).map(|known| self.run.exec(*known).ordinal);
            let execution =
                known.unwrap_or(Ordinal(self.run.steps[elements.at()].executions.len() as u32 + 1));
            let by = Activation::Element { of, index };
            self.emit(Event::StepActivated { step: name.clone(), execution, by, blocked: false });
        }
    }

    /// Ends a step with what its elements came to.
    fn gather(&mut self, ix: u32) {
        let workflow = self.run.workflow.clone();
        let execution = self.run.exec(ix);
        let elements = execution.fan.as_ref().map(|fan| fan.elements.clone()).unwrap_or_default();
        let elements: Vec<_> = elements.iter().map(|element| self.run.exec(*element)).collect();
        let failed: Vec<usize> = (0..elements.len())
            .filter(|index| elements[*index].status != ExecutionStatus::Completed)
            .collect();
        let goes_on = workflow.step(execution.step_ix).on_failure == OnFailure::Continue;
        if let Some(first) = failed.first().filter(|_| !goes_on) {
            let why = elements[*first].error.as_deref().map_or("it was cancelled", |error| &error.message);
            let message = format!(
                "step '{}': {} of {} elements did not complete; the first of them, {}#{} with index {first}: {why}",
                execution.step,
                failed.len(),
                elements.len(),
                elements[*first].step,
                elements[*first].ordinal
            );
            let error = ErrorObject::new(Code::TASK_EXECUTION_FAILED, message)
                .with("task_id", execution.step.as_str())
                .with("failed_elements", json!(failed))
                .with("cause", elements[*first].error.as_deref().map(ErrorObject::to_json));
            self.fail_for_good(ix, &error, false);
            return;
        }
        let views: Vec<Value> = elements.iter().map(|element| view(element)).collect();
        let results: Vec<Value> = views.iter().map(|view| view["result"].clone()).collect();
        let count = elements.len();
        let output =
            json!({ "result": results, "results": views, "count": count, "success": failed.is_empty() });
        self.complete_without_attempt(ix, Arc::new(output), Vec::new());
    }
}

impl Run {
    /// Returns the list that an execution of a step with `for_each` is carried out for.
    fn items_of(&self, ix: u32) -> Result<Payload, ErrorObject> {
        let execution = self.exec(ix);
        let step = self.workflow.step(execution.step_ix);
        let refuse = |told: String| {
            ErrorObject::new(Code::TASK_PARAMETER_ERROR, format!("step '{}': for_each: {told}", step.name))
                .with("task_id", step.name.as_str())
        };
        let items = step.for_each.as_ref().map_or(&Value::Null, |each| &each.items);
        let template = Template::parse(items, &*self.workflow).map_err(|problems| {
            refuse(problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; "))
        })?;
        let resolved = template.resolve(&RunScope { run: self, execution: Some(execution) });
        let resolved = resolved.map_err(|missing| {
            refuse(missing.to_string())
                .with("reference", missing.reference.as_str())
                .with("available_keys", missing.available_keys.clone())
        })?;
        if is_too_deep(&resolved) {
            return Err(too_deep(Code::TASK_PARAMETER_ERROR, &format!("'for_each' of step '{}'", step.name)));
        }
        let kind = match &*resolved {
            Value::Array(_) => return Ok(Arc::new(resolved.into_owned())),
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Object(_) => "an object",
        };
        Err(refuse(format!("it must be a list, and is {kind}")).with("reason", "not_a_list"))
    }
}
