//! `FireTimer`: a time has come. A timer that no longer stands changes nothing.

use super::Turn;
use crate::error::{Code, ErrorObject};
use crate::ids::WaitId;
use crate::run::command::TimerKey;
use crate::run::event::Event;
use crate::run::wait::{Resolution, WaitKind};
use crate::status::ExecutionStatus;

impl Turn<'_> {
    pub(super) fn fire_timer(&mut self, timer: &TimerKey) {
        let is_due = self.run.timers.get(timer).is_some_and(|due| *due <= self.at);
        if !is_due || self.run.status.is_terminal() {
            return;
        }
        match timer {
            TimerKey::Run => {
                let (new, first) = (self.run.time_limit_ms, self.run.workflow.definition().timeout_ms);
                let within = match (new, first) {
                    (Some(limit), _) => format!("within the {limit} ms that it was given anew"),
                    (None, Some(limit)) => format!("within {limit} ms"),
                    (None, None) => "before the deadline that its checkpoint brought along".to_owned(),
                };
                let message = format!("run {} did not end {within}", self.run.id());
                let error = ErrorObject::new(Code::WORKFLOW_TIMEOUT, message)
                    .with("timeout_ms", new.or(first))
                    .with("workflow_id", self.run.id().as_str());
                self.fail_run(error);
            }
            TimerKey::Wait(wait) => self.pass_deadline(wait),
            TimerKey::Checkpoint => self.emit(Event::CheckpointTaken),
            TimerKey::Need(step, need) => {
                self.emit(Event::NeedTimedOut { step: step.clone(), need: need.clone() });
            }
            TimerKey::Retry(step, ordinal) => {
                let waiting = self.run.find(step.as_str(), *ordinal);
                if waiting.is_some_and(|ix| self.run.exec(ix).status == ExecutionStatus::Retrying) {
                    self.emit(Event::RetryDue { step: step.clone(), execution: *ordinal });
                }
            }
        }
    }

    pub(super) fn pass_deadline(&mut self, wait: &WaitId) {
        let spec = &self.run.waits[wait].spec;
        let resolution = match (&spec.kind, &spec.default) {
            (WaitKind::Timer, _) => Resolution::Fired,
            (_, Some(default)) => Resolution::Defaulted { value: default.clone() },
            (_, None) => Resolution::TimedOut,
        };
        self.cancel_child_of(wait);
        self.finish_wait(wait, resolution);
    }
}
