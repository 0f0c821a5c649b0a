//! `LimitTime`: a run gets another time limit, which counts from now on and takes the place of the one that it has. A new
//! epoch begins with that of its definition again.

use super::{Refusal, Turn};
use crate::run::event::Event;
use crate::status::RunStatus;

impl Turn<'_> {
    pub(super) fn limit_time(&mut self, timeout_ms: u64) -> Result<(), Refusal> {
        self.refuse_terminal("given another time limit")?;
        if self.run.status == RunStatus::Pending {
            return Err(self.refuse("not_started", format!("run {} has not started", self.run.id())));
        }
        self.emit(Event::TimeLimited { timeout_ms, deadline: self.at.plus_ms(timeout_ms) });
        Ok(())
    }
}
