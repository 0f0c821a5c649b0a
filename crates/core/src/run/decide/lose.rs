//! `Lose`: the worker of an attempt is gone. No failure; the next attempt starts, unless the effect may not
//! be made twice or it happens again and again.

use serde_json::json;

use super::{Refusal, Turn};
use crate::error::{Code, ErrorObject};
use crate::run::command::AttemptRef;
use crate::run::event::{Event, Payload};
use crate::run::wait::{Question, Then, WaitKind, WaitSpec};
use crate::status::ExecutionStatus;
use crate::workflow::definition::Effect;

/// An execution that loses its worker so often in one epoch fails: its own doing, most likely.
const MAX_LOSSES: u32 = 5;

impl Turn<'_> {
    pub(super) fn lose(&mut self, attempt: &AttemptRef, given_back: bool) -> Result<(), Refusal> {
        let ix = self.under_way(attempt)?;
        if self.run.exec(ix).status == ExecutionStatus::Waiting {
            return Err(self.refuse("asked", format!("a person is asked about step '{}'", attempt.step)));
        }
        let at = self.step_ref(ix);
        let name = at.step.clone();
        let AttemptRef { attempt, .. } = *attempt;
        self.emit(Event::AttemptLost { step: at.step, execution: at.execution, attempt, given_back });
        let execution = self.run.exec(ix);
        if execution.losses >= MAX_LOSSES && !given_back {
            let message = format!("step '{name}' lost its worker {} times", execution.losses);
            let error = ErrorObject::new(Code::WORKER_LOST, message).with_hint(
                "look for a crash or a lack of memory in what the step does, then `stepwell retry`",
            );
            self.fail_for_good(ix, &error, false);
        } else if self.run.workflow.step(execution.step_ix).effect == Effect::AtMostOnce {
            self.ask_to_settle(
                ix,
                if given_back { "its worker was shut down" } else { "its worker vanished" },
            );
        }
        Ok(())
    }

    /// Opens the question what became of an attempt that may not be made again.
    pub(super) fn ask_to_settle(&mut self, ix: u32, why: &str) {
        let execution = self.run.exec(ix);
        let (verbs, verbs_told) = match self.why_not_by_hand(ix) {
            None => {
                (vec!["retry", "complete", "fail"], "Retry it, complete it with a value, or fail it?".into())
            }
            Some(why) => (
                vec!["retry", "fail"],
                format!("Retry it, or fail it? Nobody can complete it by hand: {why}."),
            ),
        };
        let prompt = format!(
            "Attempt {} of step '{}' has no known outcome ({why}) and may not simply be made again. {verbs_told}",
            execution.attempts, execution.step
        );
        let schema = json!({
            "type": "object",
            "properties": { "verb": { "enum": verbs }, "value": {}, "reason": { "type": "string" } },
            "required": ["verb"],
            "additionalProperties": false,
        });
        let question = Question { prompt, schema: Some(schema), settles: true, ..Question::default() };
        let spec = WaitSpec {
            position: u32::MAX,
            name: None,
            kind: WaitKind::Human(question),
            deadline: None,
            default: None::<Payload>,
            then: Then::Rerun,
        };
        self.open_wait(ix, spec);
    }
}
