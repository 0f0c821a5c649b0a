//! `Settle`: a person decides about a stuck execution: one whose outcome is unknown, that is retrying, or that
//! nobody can carry out.

use std::sync::Arc;

use serde_json::Value;

use super::{Refusal, Turn};
use crate::error::{Code, ErrorObject};
use crate::ids::{Ordinal, StepName};
use crate::run::command::SettleVerb;
use crate::run::event::{Event, Payload};
use crate::run::wait::Resolution;
use crate::status::ExecutionStatus;

impl Turn<'_> {
    pub(super) fn settle_by_hand(
        &mut self,
        step: &StepName,
        ordinal: Option<Ordinal>,
        verb: SettleVerb,
        value: Option<&Payload>,
    ) -> Result<(), Refusal> {
        self.refuse_terminal("settled")?;
        let ix = self.stuck(step, ordinal)?;
        if let Some(wait) = self.run.exec(ix).settle.clone() {
            let mut answer = serde_json::Map::new();
            answer.insert("verb".into(), serde_json::to_value(verb).expect("a word"));
            if let Some(value) = value {
                let key = if verb == SettleVerb::Fail { "reason" } else { "value" };
                answer.insert(key.into(), Value::clone(value));
            }
            self.resolve(&wait, Resolution::Answered { value: Arc::new(Value::Object(answer)), by: None });
        }
        self.carry_out(ix, verb, value);
        Ok(())
    }

    fn stuck(&self, step: &StepName, ordinal: Option<Ordinal>) -> Result<u32, Refusal> {
        let Some(step_ix) = self.run.workflow.find(step.as_str()) else {
            return Err(self.refuse("no_such_step", format!("run {} has no step '{step}'", self.run.id())));
        };
        let is_stuck = |ix: &u32| {
            let execution = self.run.exec(*ix);
            ordinal.is_none_or(|wanted| wanted == execution.ordinal)
                && match execution.status {
                    ExecutionStatus::Waiting => execution.settle.is_some(),
                    ExecutionStatus::Ready | ExecutionStatus::Retrying => true,
                    ExecutionStatus::Pending
                    | ExecutionStatus::Blocked
                    | ExecutionStatus::Running
                    | ExecutionStatus::Completed
                    | ExecutionStatus::Failed
                    | ExecutionStatus::TimedOut
                    | ExecutionStatus::Cancelled
                    | ExecutionStatus::Skipped => false,
                }
        };
        let stuck: Vec<u32> =
            self.run.steps[step_ix.at()].executions.iter().copied().filter(is_stuck).collect();
        match stuck[..] {
            [only] => Ok(only),
            [] => Err(self.refuse("not_stuck", format!("step '{step}' is not stuck"))),
            _ => Err(self
                .refuse("ambiguous", format!("{} executions of step '{step}' are stuck", stuck.len()))
                .with_hint("say which with its ordinal (`--ordinal`)")),
        }
    }

    pub(super) fn carry_out(&mut self, ix: u32, verb: SettleVerb, value: Option<&Payload>) {
        let at = self.step_ref(ix);
        match verb {
            SettleVerb::Retry => {
                if self.run.exec(ix).status != ExecutionStatus::Ready {
                    self.emit(Event::RetryDue { step: at.step, execution: at.execution });
                }
            }
            SettleVerb::Complete => {
                let value = value.cloned().unwrap_or_else(|| Arc::new(Value::Null));
                let output = serde_json::json!({ "result": value, "settled": true });
                self.complete_by_hand(ix, Arc::new(output));
            }
            SettleVerb::Fail => {
                let reason = value.and_then(|value| value.as_str()).unwrap_or("settled as failed");
                let error =
                    ErrorObject::new(Code::TASK_EXECUTION_FAILED, format!("step '{}': {reason}", at.step))
                        .never_again();
                self.fail_for_good(ix, &error, false);
            }
        }
    }
}
