//! `Pause` and `Resume`: what an operator says. A paused run takes answers, signals and timers down; they
//! take effect when it is resumed, since no attempt starts before.

use super::{Refusal, Turn};
use crate::run::command::Answer;
use crate::run::event::Event;
use crate::status::{PauseReason, RunStatus};

impl Turn<'_> {
    pub(super) fn pause(&mut self, note: Option<String>) -> Result<(), Refusal> {
        self.refuse_terminal("paused")?;
        match self.run.status {
            RunStatus::Pending => {
                Err(self.refuse("not_started", format!("run {} has not started", self.run.id())))
            }
            _ if self.run.operator_paused => Ok(()),
            _ => {
                self.emit(Event::RunPaused { reason: PauseReason::Operator, note });
                Ok(())
            }
        }
    }

    pub(super) fn resume(&mut self, note: Option<String>, answer: Option<&Answer>) -> Result<(), Refusal> {
        self.refuse_terminal("resumed")?;
        if !self.run.operator_paused {
            return Err(self.refuse("not_paused", format!("nobody paused run {}", self.run.id())));
        }
        if let Some(Answer { wait, value, by }) = answer {
            self.answer(wait, value, by.as_deref())?;
        }
        self.emit(Event::RunResumed { reason: PauseReason::Operator, note });
        // A lifecycle of `session` counts from here, so what waits is asked again.
        self.look_at_all_needs();
        Ok(())
    }
}
