//! `EndChild` and `NoteChild`: a child run has ended, was paused for input or goes on; and the other direction,
//! telling the parent.

use std::sync::Arc;

use serde_json::json;

use super::{MessageBody, Turn};
use crate::error::{Code, ErrorObject};
use crate::ids::WaitId;
use crate::nesting::{is_too_deep, too_deep};
use crate::run::Wait;
use crate::run::event::{Event, Parent, Payload};
use crate::run::wait::{Resolution, WaitKind};
use crate::status::RunStatus;

impl Turn<'_> {
    pub(super) fn end_child(&mut self, wait: &WaitId, outcome: &Result<Payload, ErrorObject>) {
        if self.open_child(wait).is_none() {
            return;
        }
        let resolution = match outcome {
            Ok(output) if is_too_deep(output) => {
                let what = format!("what the child run of {wait} results in");
                Resolution::ChildFailed { error: Box::new(too_deep(Code::TASK_RESULT_INVALID, &what)) }
            }
            Ok(output) => Resolution::ChildCompleted { output: output.clone() },
            Err(error) => Resolution::ChildFailed { error: Box::new(error.clone().readable()) },
        };
        self.finish_wait(wait, resolution);
    }

    /// Takes news of a child run, unless newer news was there before it.
    pub(super) fn note_child(&mut self, wait: &WaitId, turn: u32, paused: bool) {
        let Some(known) = self.open_child(wait).filter(|known| known.child.turn < turn) else { return };
        let (wait, at) = (wait.clone(), self.run.reference(known.execution));
        let (step, execution) = (at.step, at.ordinal);
        self.emit(if paused {
            Event::ChildPaused { wait, step, execution, turn }
        } else {
            Event::ChildResumed { wait, step, execution, turn }
        });
    }

    /// Returns the wait for a child run, if it is one and still open.
    fn open_child(&self, wait: &WaitId) -> Option<&Wait> {
        let known = self.run.waits.get(wait)?;
        (known.resolution.is_none() && matches!(known.spec.kind, WaitKind::Child(_))).then_some(known)
    }

    /// Tells the run that waits for this one that it is paused for input, or no longer. One that has ended says so
    /// instead.
    pub(super) fn tell_parent_of_turn(&mut self) {
        if self.run.status.is_terminal() {
            return;
        }
        let Some(Parent { run, wait, .. }) = self.run.parent.clone() else { return };
        let (turn, paused) = (self.run.turns, self.run.waits_for_input());
        self.tell(run, format!("turn:{wait}:{turn}"), MessageBody::NoteChild { wait, turn, paused });
    }

    /// Tells the run that waits for this one how it ended.
    pub(super) fn tell_parent(&mut self) {
        let Some(parent) = self.run.parent.clone() else { return };
        let run = &self.run;
        let (output, error) = match run.status {
            RunStatus::Completed => {
                let views = run.views();
                (Some(Arc::new(json!({ "result": views, "run_id": run.id }))), None)
            }
            RunStatus::Pending
            | RunStatus::Running
            | RunStatus::Paused
            | RunStatus::Failed
            | RunStatus::Cancelled => {
                let (cause, what) = match &run.error {
                    Some(error) => (error.to_json(), error.message.as_str()),
                    None => (json!(null), "without an error"),
                };
                let error =
                    ErrorObject::new(Code::CHILD_FAILED, format!("child run {} ended: {what}", run.id))
                        .with("run_id", run.id.as_str())
                        .with("cause", cause);
                (None, Some(error))
            }
        };
        let command = format!("end:{}:{}", parent.wait, run.epoch);
        self.tell(parent.run.clone(), command, MessageBody::EndChild { wait: parent.wait, output, error });
    }
}
