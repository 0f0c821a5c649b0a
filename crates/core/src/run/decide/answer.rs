//! `Answer`: a person answers. Compare-and-set on the wait id: of several answers one is taken.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Refusal, Turn};
use crate::error::{Code, ErrorObject};
use crate::ids::WaitId;
use crate::run::command::SettleVerb;
use crate::run::event::{Event, Payload, Target};
use crate::run::wait::{Resolution, Then, WaitKind};

impl Turn<'_> {
    pub(super) fn answer(&mut self, wait: &WaitId, value: &Payload, by: Option<&str>) -> Result<(), Refusal> {
        let Some(known) = self.run.waits.get(wait) else {
            return Err(self.refuse("no_such_wait", format!("run {} asks no question {wait}", self.run.id())));
        };
        if let Some(resolution) = &known.resolution {
            let state = match resolution {
                Resolution::Answered { .. } => "answered",
                Resolution::Defaulted { .. } | Resolution::TimedOut => "expired",
                Resolution::Withdrawn => "withdrawn",
                Resolution::Signalled { .. }
                | Resolution::Fired
                | Resolution::ChildCompleted { .. }
                | Resolution::ChildFailed { .. } => "answered",
            };
            let same = matches!(resolution, Resolution::Answered { value: given, .. } if given == value);
            let (run, status) = (self.run.id(), self.run.status);
            let message = match resolution {
                Resolution::Withdrawn if status.is_terminal() => {
                    format!("question {wait} is withdrawn: run {run} is {status}")
                }
                _ => format!("question {wait} is {state} already"),
            };
            return Err(self.refuse("wait_closed", message).with("state", state).with("same_answer", same));
        }
        self.refuse_terminal("answered")?;
        // Whether anybody was up to take note of it or not.
        if known.has_expired(self.at) {
            return Err(self
                .refuse("wait_closed", format!("question {wait} has expired: its deadline has passed"))
                .with("state", "expired")
                .with("same_answer", false));
        }
        let WaitKind::Human(question) = &known.spec.kind else {
            return Err(self.refuse("not_a_question", format!("{wait} does not wait for a person")));
        };
        let resolution = Resolution::Answered { value: value.clone(), by: by.map(str::to_owned) };
        if !question.settles {
            self.finish_wait(wait, resolution);
            return Ok(());
        }
        let ix = known.execution;
        let verb = value.get("verb").cloned().and_then(|verb| serde_json::from_value(verb).ok());
        let Some(verb) = verb else {
            let message = format!("the answer to {wait} must name a verb: retry, complete or fail");
            return Err(ErrorObject::new(Code::ANSWER_INVALID, message));
        };
        let given = match verb {
            SettleVerb::Fail => value.get("reason"),
            SettleVerb::Retry | SettleVerb::Complete => value.get("value"),
        };
        let given = given.cloned().map(Arc::new);
        let decided = self.decided(ix, verb, given.as_ref())?;
        self.resolve(wait, resolution);
        self.carry_out(ix, decided);
        Ok(())
    }

    /// Resolves a wait; a step that is nothing but a wait ends with it.
    pub(super) fn finish_wait(&mut self, wait: &WaitId, resolution: Resolution) {
        let known = &self.run.waits[wait];
        let (ix, then, opened_at) = (known.execution, known.spec.then, known.opened_at);
        let kind = known.spec.kind.clone();
        let due_at = known.spec.deadline.unwrap_or(opened_at);
        self.resolve(wait, resolution.clone());
        if then == Then::Rerun || !self.is_waiting(ix) {
            return;
        }
        let result = |pairs: Value| -> Payload {
            let mut view = Map::new();
            if let Value::Object(pairs) = pairs {
                view.extend(pairs);
            }
            Arc::new(Value::Object(view))
        };
        let step = self.run.exec(ix).step.clone();
        let output = match resolution {
            Resolution::Answered { value, by } => result(json!({
                "result": value, "answered_by": by, "answered_at": self.at.rfc3339(), "wait_id": wait, "defaulted": false,
            })),
            Resolution::Signalled { id, value } => {
                result(json!({ "result": value, "signal_id": id, "defaulted": false }))
            }
            Resolution::Fired => {
                result(json!({ "result": null, "due_at": due_at.rfc3339(), "fired_at": self.at.rfc3339() }))
            }
            Resolution::Defaulted { value } => match kind {
                WaitKind::Human(_) => result(json!({
                    "result": value, "answered_by": null, "answered_at": null, "wait_id": wait, "defaulted": true,
                })),
                WaitKind::Signal { .. } | WaitKind::Timer | WaitKind::Child(_) => {
                    result(json!({ "result": value, "signal_id": null, "defaulted": true }))
                }
            },
            Resolution::ChildCompleted { output } => output,
            Resolution::TimedOut => {
                let (code, what) = match kind {
                    WaitKind::Human(_) => (Code::HUMAN_TIMEOUT, "nobody answered"),
                    WaitKind::Signal { .. } | WaitKind::Timer => (Code::SIGNAL_TIMEOUT, "no signal came"),
                    WaitKind::Child(_) => (Code::TASK_TIMEOUT, "its child run did not end"),
                };
                let error = ErrorObject::new(code, format!("step '{step}': {what} in time"));
                self.fail_for_good(ix, &error.with("wait_id", wait.as_str()), true);
                return;
            }
            Resolution::ChildFailed { error } => {
                self.fail_for_good(ix, &error, false);
                return;
            }
            Resolution::Withdrawn => return,
        };
        self.complete_without_attempt(ix, output, Vec::new());
    }

    /// Completes an execution with a value that no attempt brought.
    pub(super) fn complete_without_attempt(&mut self, ix: u32, output: Payload, to: Vec<Target>) {
        self.withdraw_waits(ix);
        let at = self.step_ref(ix);
        self.emit(Event::StepCompleted {
            step: at.step,
            execution: at.execution,
            attempt: 0,
            output,
            writes: Vec::new(),
            to,
        });
        self.after_compensation(ix);
    }
}
