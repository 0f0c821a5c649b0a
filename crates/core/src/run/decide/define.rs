//! `Define`, and what an attempt defines: a run's own definition has further steps from here on.

use std::sync::Arc;

use super::{Refusal, Turn};
use crate::error::ErrorObject;
use crate::run::event::{Activation, Event};
use crate::status::RunStatus;
use crate::workflow::definition::Step;
use crate::workflow::{Role, Workflow, problems_error, refuse_other};

/// Steps that a run has not got yet, and its workflow with them.
pub(super) struct Addition {
    steps: Vec<Step>,
    pub(super) workflow: Arc<Workflow>,
}

impl Turn<'_> {
    pub(super) fn define(&mut self, steps: &[Step]) -> Result<(), Refusal> {
        self.refuse_terminal("given further steps")?;
        if let Some(addition) = self.addition(steps)? {
            self.add(addition);
        }
        Ok(())
    }

    /// Checks steps that are to be added. A function that runs again adds the same again: what is there already, the
    /// same in everything, is left out.
    pub(super) fn addition(&self, steps: &[Step]) -> Result<Option<Addition>, ErrorObject> {
        let workflow = &self.run.workflow;
        let mut new: Vec<Step> = Vec::new();
        for step in steps {
            if workflow.has(step)? {
                continue;
            }
            match new.iter().find(|other| other.name == step.name) {
                Some(other) => refuse_other(other, step)?,
                None => new.push(step.clone()),
            }
        }
        if new.is_empty() {
            return Ok(None);
        }
        let extended = workflow.with_steps(&new).map_err(|problems| problems_error(&problems))?;
        Ok(Some(Addition { steps: new, workflow: extended }))
    }

    /// Adds steps. One that is marked as an entry begins at once, one with needs when they are met, any other when a
    /// route names it.
    pub(super) fn add(&mut self, addition: Addition) {
        let names: Vec<_> = addition.steps.iter().map(|step| step.name.clone()).collect();
        self.emit(Event::StepsDefined { steps: addition.steps });
        if self.run.status == RunStatus::Pending {
            return;
        }
        let workflow = self.run.workflow.clone();
        for step in names.iter().filter_map(|name| workflow.find(name.as_str())) {
            if workflow.step(step).entry {
                self.activate(step, Activation::Entry);
            } else if workflow.graph().role(step) == Role::ByNeeds {
                self.look_at_needs(step, None, false);
            }
        }
    }
}
