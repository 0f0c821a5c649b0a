//! `Cancel` and `CancelStep`: a run, or the live executions of one step, end by request.

use super::{Refusal, Turn};
use crate::ids::StepName;
use crate::run::event::Event;
use crate::status::RunStatus;

impl Turn<'_> {
    pub(super) fn cancel(&mut self, reason: Option<String>) -> Result<(), Refusal> {
        match self.run.status {
            RunStatus::Cancelled => return Ok(()),
            RunStatus::Completed | RunStatus::Failed => return self.refuse_terminal("cancelled"),
            RunStatus::Pending | RunStatus::Running | RunStatus::Paused => {}
        }
        self.cancel_live(None);
        self.emit(Event::RunCancelled { reason });
        self.tell_parent();
        Ok(())
    }

    pub(super) fn cancel_step(&mut self, step: &StepName) -> Result<(), Refusal> {
        self.refuse_terminal("changed")?;
        let Some(step_ix) = self.run.workflow.find(step.as_str()) else {
            return Err(self.refuse("no_such_step", format!("run {} has no step '{step}'", self.run.id())));
        };
        for ix in self.run.steps[step_ix.at()].executions.clone() {
            if !self.run.exec(ix).status.is_terminal() {
                self.cancel_execution(ix);
                self.after_compensation(ix);
            }
        }
        Ok(())
    }
}
