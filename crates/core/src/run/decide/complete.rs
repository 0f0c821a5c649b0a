//! `Complete`: an attempt ended well. Its outcome, its context writes and its route are one append.

use super::define::Addition;
use super::{Refusal, Turn};
use crate::context::{self, Misfit, Write};
use crate::error::{Code, ErrorObject};
use crate::ids::StepName;
use crate::nesting::{is_too_deep, too_deep};
use crate::run::command::Complete;
use crate::run::event::{Activation, Event, Target};
use crate::run::wait::{ChildStart, WaitKind, WaitSpec};
use crate::workflow::definition::Successors;
use crate::workflow::{Workflow, did_you_mean, is_pattern, matches};
use foldhash::HashSet;

/// Writes as they are journaled, and the conflicts among them.
type United = (Vec<Write>, Vec<Event>);

impl Turn<'_> {
    pub(super) fn complete(&mut self, complete: &Complete) -> Result<(), Refusal> {
        let ix = self.under_way(&complete.attempt)?;
        self.withdraw_settle_question(ix);
        let (addition, (writes, conflicts)) = match self.check(ix, complete) {
            Ok(checked) => checked,
            Err(error) => {
                self.fail_attempt(ix, &complete.attempt, &error);
                return Ok(());
            }
        };
        if let Some(addition) = addition {
            self.add(addition);
        }
        // A function that ends without having waited for everything it asked: nobody need answer the rest.
        self.withdraw_waits(ix);
        let at = self.step_ref(ix);
        self.emit(Event::StepCompleted {
            step: at.step,
            execution: at.execution,
            attempt: complete.attempt.attempt,
            output: complete.output.clone(),
            writes,
            to: complete.to.iter().cloned().chain(complete.children.iter().map(child_target)).collect(),
        });
        for conflict in conflicts {
            self.emit(conflict);
        }
        self.after_compensation(ix);
        for child in &complete.children {
            self.begin_child(ix, child);
        }
        Ok(())
    }

    /// Lets a child run go a branch of the route: an execution of the naming step stands for it, whose failure is the
    /// step's.
    fn begin_child(&mut self, ix: u32, child: &ChildStart) {
        let (step, of) = (self.run.exec(ix).step_ix, self.run.exec(ix).ordinal);
        if self.run.status.is_terminal() || self.refuse_endless(step) {
            return;
        }
        let (name, ordinal) = (self.run.exec(ix).step.clone(), self.next_ordinal(step));
        let by = Activation::Child { of };
        self.emit(Event::StepActivated { step: name.clone(), execution: ordinal, by, blocked: false });
        let Some(ix) = self.run.find(name.as_str(), ordinal) else { return };
        let mut child = child.clone();
        for (key, value) in self.run.context.values() {
            child.context.entry(key).or_insert_with(|| (**value).clone());
        }
        self.open_wait(ix, WaitSpec::step(WaitKind::Child(Box::new(child))));
    }

    /// Checks everything before anything takes effect: what is defined, where it leads, what is written.
    fn check(&self, ix: u32, complete: &Complete) -> Result<(Option<Addition>, United), ErrorObject> {
        check_nesting(complete)?;
        self.check_depth(&complete.attempt.step, !complete.children.is_empty())?;
        let addition = self.addition(&complete.defines)?;
        let workflow = addition.as_ref().map_or(&self.run.workflow, |addition| &addition.workflow);
        self.check_route(ix, workflow, &complete.to, &complete.children)?;
        Ok((addition, self.unite_writes(ix, complete)?))
    }

    fn check_route(
        &self,
        ix: u32,
        workflow: &Workflow,
        to: &[Target],
        children: &[ChildStart],
    ) -> Result<(), ErrorObject> {
        let execution = self.run.exec(ix);
        let name = &execution.step;
        let mut named =
            to.iter().map(|target| &target.step).chain(children.iter().filter_map(|c| c.entry.as_ref()));
        if execution.compensates.is_some()
            && let Some(named) = named.next()
        {
            let message = format!("step '{name}' undoes a failure and must end, but names '{named}'");
            return Err(ErrorObject::new(Code::TASK_RESULT_INVALID, message).with("task_id", name.as_str()));
        }
        if workflow.element_of(execution.step_ix).is_some() && !children.is_empty() {
            let message = format!("step '{name}' is an element of 'for_each' and cannot name what follows");
            return Err(ErrorObject::new(Code::TASK_RESULT_INVALID, message).with("task_id", name.as_str()));
        }
        let declared = match &workflow.step(execution.step_ix).next {
            Successors::Declared(names) => Some(names),
            Successors::Inferred(_) | Successors::Unknown => None,
        };
        // A wide fork looks each of its targets up among as many names; one target is found faster without a set.
        let looked_up = declared.filter(|_| to.len() > 1);
        let looked_up: HashSet<&StepName> = looked_up.into_iter().flatten().collect();
        let is_declared = |names: &Vec<StepName>, step: &StepName| {
            let is_meant = |name: &StepName| name == step || (is_pattern(name) && matches(name, step));
            looked_up.contains(step) || names.iter().any(is_meant)
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
            if declared.as_ref().is_some_and(|names| !is_declared(names, &target.step)) {
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
    fn unite_writes(&self, ix: u32, complete: &Complete) -> Result<United, ErrorObject> {
        let reducers = &self.run.workflow.definition().reducers;
        let writer = self.run.reference(ix);
        let mut writes = Vec::with_capacity(complete.writes.len());
        let mut conflicts = Vec::new();
        for change in &complete.writes {
            let reducer = reducers.get(&change.key).copied();
            let misfits = |misfit: Misfit| {
                ErrorObject::new(Code::TASK_RESULT_INVALID, format!("step '{}': {misfit}", writer.step))
                    .with("task_id", writer.step.as_str())
            };
            let write = context::reduce(change, reducer).map_err(misfits)?;
            if let Some(reducer) = reducer {
                let standing = self.run.context.get(&change.key);
                writes.push(context::unite(write, standing, reducer).map_err(misfits)?);
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

/// Returns how the journal names a branch that a child run goes.
fn child_target(child: &ChildStart) -> Target {
    let workflow = child.definition["name"].as_str().unwrap_or_default().to_owned();
    let step = child.entry.as_ref().map_or("", |entry| entry.as_str());
    Target { workflow: Some(workflow), ..Target::to(step) }
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
