//! `EndChild`: a child run has ended; and the other direction, telling the parent.

use std::sync::Arc;

use serde_json::json;

use super::{MessageBody, Turn};
use crate::error::{Code, ErrorObject};
use crate::ids::WaitId;
use crate::run::event::Payload;
use crate::run::wait::Resolution;
use crate::status::RunStatus;

impl Turn<'_> {
    pub(super) fn end_child(&mut self, wait: &WaitId, outcome: &Result<Payload, ErrorObject>) {
        let is_open = self.run.waits.get(wait).is_some_and(|known| known.resolution.is_none());
        if !is_open || self.run.status.is_terminal() {
            return;
        }
        let resolution = match outcome {
            Ok(output) => Resolution::ChildCompleted { output: output.clone() },
            Err(error) => Resolution::ChildFailed { error: error.clone() },
        };
        self.finish_wait(wait, resolution);
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
                    Some(error) => (error.to_json(), error.message.clone()),
                    None => (json!(null), "it was cancelled".into()),
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
