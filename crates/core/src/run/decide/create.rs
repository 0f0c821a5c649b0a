//! `Create` and `Start`: a run comes to be, and its entries get their tokens.

use super::{Refusal, Turn};
use crate::run::command::Create;
use crate::run::event::{Activation, Event, RunCreated};
use crate::status::RunStatus;

impl Turn<'_> {
    pub(super) fn create(&mut self, create: &Create) -> Result<(), Refusal> {
        if self.run.exists() {
            return Err(self.refuse("exists", format!("run {} exists", self.run.id())));
        }
        if let Some(restore) = &create.restore {
            return self.restore(create, restore);
        }
        let definition = create.workflow.definition();
        create.workflow.check_entry(create.entry.as_ref())?;
        let mut metadata = definition.metadata.clone();
        metadata.extend(create.metadata.clone());
        self.emit(Event::RunCreated(Box::new(RunCreated {
            workflow: definition.name.clone(),
            version: create.workflow.version().to_owned(),
            input: create.input.clone(),
            context: create.context.clone(),
            metadata,
            parent: create.parent.clone(),
            base_dir: create.base_dir.clone(),
            entry: create.entry.clone(),
        })));
        if create.hold { Ok(()) } else { self.start() }
    }

    pub(super) fn start(&mut self) -> Result<(), Refusal> {
        match self.run.status {
            RunStatus::Pending => {}
            RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Completed
            | RunStatus::Failed
            | RunStatus::Cancelled => {
                return Err(self.refuse("started", format!("run {} has already started", self.run.id())));
            }
        }
        let workflow = self.run.workflow.clone();
        let deadline = workflow.definition().timeout_ms.map(|ms| self.at.plus_ms(ms));
        self.emit(Event::RunStarted { deadline });
        match self.run.entry.as_ref().and_then(|entry| workflow.find(entry.as_str())) {
            Some(entry) => self.activate(entry, Activation::Entry),
            None => workflow.graph().entries().for_each(|step| self.activate(step, Activation::Entry)),
        }
        for step in workflow.graph().steps_of(crate::workflow::Role::ByNeeds) {
            self.look_at_needs(step, None, false);
        }
        Ok(())
    }
}
