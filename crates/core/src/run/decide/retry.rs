//! `Retry`: the next epoch of a failed run. What is completed stays; what failed lives again.

use super::{Refusal, Turn};
use crate::ids::Epoch;
use crate::run::event::{Event, Payload};
use crate::status::RunStatus;

impl Turn<'_> {
    pub(super) fn retry(&mut self, input: Option<Payload>, note: Option<String>) -> Result<(), Refusal> {
        if self.run.status != RunStatus::Failed {
            let message =
                format!("run {} is {}; only a failed run can be retried", self.run.id(), self.run.status);
            return Err(self.refuse("not_failed", message));
        }
        let deadline = self.run.workflow.definition().timeout_ms.map(|ms| self.at.plus_ms(ms));
        let epoch = Epoch(self.run.epoch.0 + 1);
        self.emit(Event::RunRetried { epoch, input, deadline, note });
        self.look_at_all_needs();
        Ok(())
    }
}
