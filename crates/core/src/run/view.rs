//! What others see of a run: the view of each step, and the scope that `${…}` is resolved in.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::event::Payload;
use super::{Execution, Run};
use crate::error::{Code, ErrorObject};
use crate::status::ExecutionStatus;
use crate::workflow::StepIx;
use crate::workflow::condition::Condition;
use crate::workflow::template::{Root, Scope, StepView, View};

impl Run {
    /// Returns the view of every step that has one, by name, in order of definition.
    pub fn views(&self) -> Map<String, Value> {
        let steps = &self.workflow.definition().steps;
        let of = |(i, step): (usize, &crate::workflow::definition::Step)| {
            let execution = self.latest(StepIx(i as u32)).filter(|e| e.status.is_terminal())?;
            Some((step.name.as_str().to_owned(), view(execution)))
        };
        steps.iter().enumerate().filter_map(of).collect()
    }

    /// Returns the view of a step's latest execution, if it has ended.
    pub fn view(&self, step: StepIx) -> Option<Value> {
        self.latest(step).filter(|e| e.status.is_terminal()).map(view)
    }

    /// Returns what the run results in when it ends well: the result of the only step that leads nowhere.
    pub(super) fn final_output(&self) -> Payload {
        let last = self.workflow.graph().sink().and_then(|step| self.latest(step));
        let output = last.and_then(|execution| execution.output.clone());
        output.map_or_else(|| Arc::new(Value::Null), |output| main_result(&output))
    }

    /// Asks the `when` of an execution's step: all conditions must hold.
    ///
    /// # Errors
    /// `TASK_PARAMETER_ERROR` if a reference has no value, or two values cannot be compared.
    pub(super) fn condition_holds(&self, ix: u32) -> Result<bool, ErrorObject> {
        let execution = self.exec(ix);
        let step = self.workflow.step(execution.step_ix());
        for text in &step.when {
            let condition = Condition::parse(text, &*self.workflow).map_err(|problem| {
                let message = format!("step '{}': when: {}", step.name, problem.message);
                ErrorObject::new(Code::TASK_PARAMETER_ERROR, message)
            })?;
            let holds = condition.holds(&RunScope { run: self, execution: None }).map_err(|error| {
                ErrorObject::new(Code::TASK_PARAMETER_ERROR, format!("step '{}': when: {error}", step.name))
                    .with("task_id", step.name.as_str())
            })?;
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The scope in which `${…}` of a run is resolved: views of its steps, its input, and the element of `for_each`.
#[derive(Clone, Copy, Debug)]
pub struct RunScope<'r> {
    /// The run.
    pub run: &'r Run,
    /// The execution that asks, if one does.
    pub execution: Option<&'r Execution>,
}

impl<'r> RunScope<'r> {
    fn element(&self) -> Option<(&'r Value, u32)> {
        let (of, index) = self.execution?.element?;
        let items = &self.run.exec(of).fan.as_ref()?.items;
        Some((items.get(index as usize)?, index))
    }
}

impl Scope for RunScope<'_> {
    fn root(&self, root: &Root) -> Option<View<'_>> {
        match root {
            Root::Input => Some(View::from(&**self.run.input())),
            Root::Step(name) => {
                let step = self.run.workflow.find(name)?;
                let execution = self.run.latest(step).filter(|e| e.status.is_terminal())?;
                match (execution.output.as_deref(), execution.error.as_deref()) {
                    (Some(Value::Object(result)), None) if result.contains_key("result") => {
                        let status = execution.status.as_str();
                        Some(View::Step(StepView { result: Some(result), status, error: None }))
                    }
                    _ => Some(View::from(view(execution))),
                }
            }
            Root::Item => self.element().map(|(item, _)| View::from(item)),
            Root::Index => self.element().map(|(_, index)| View::from(json!(index))),
        }
    }
}

/// Returns the main value of a result object; a result that is not one is its own main value.
fn main_result(output: &Payload) -> Payload {
    match output.as_object().and_then(|object| object.get("result")) {
        Some(result) => Arc::new(result.clone()),
        None => output.clone(),
    }
}

/// Returns the view of an execution: its result object with `status`, `success` and `error`.
pub fn view(execution: &Execution) -> Value {
    let mut view = match (&execution.output, execution.status) {
        (Some(output), ExecutionStatus::Completed) => match &**output {
            Value::Object(object) => object.clone(),
            other => Map::from_iter([("result".to_owned(), other.clone())]),
        },
        _ => Map::from_iter([("result".to_owned(), Value::Null)]),
    };
    view.entry("result").or_insert(Value::Null);
    view.insert("status".into(), json!(execution.status.as_str()));
    // What completed although some of its elements failed says so.
    let is_partial = execution.fan.is_some() && view.get("success") == Some(&Value::Bool(false));
    view.insert("success".into(), json!(execution.status == ExecutionStatus::Completed && !is_partial));
    view.insert("error".into(), execution.error.as_deref().map_or(Value::Null, ErrorObject::to_json));
    Value::Object(view)
}
