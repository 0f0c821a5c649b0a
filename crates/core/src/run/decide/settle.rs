//! `Settle`: a person decides about a stuck execution: one whose outcome is unknown, that is retrying, or that
//! nobody can carry out.

use std::sync::Arc;

use serde_json::Value;

use super::{Refusal, Turn};
use crate::error::{Code, ErrorObject};
use crate::ids::{Ordinal, StepName};
use crate::run::command::SettleVerb;
use crate::run::event::{Event, Payload, Target};
use crate::run::wait::Resolution;
use crate::status::ExecutionStatus;
use crate::workflow::definition::{END, HandsOn};
use crate::workflow::is_pattern;
use foldhash::HashSet;

/// What becomes of a stuck execution.
pub(super) enum Decided {
    Retry,
    Complete { output: Payload, to: Vec<Target> },
    Fail { reason: String },
}

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
        let decided = self.decided(ix, verb, value)?;
        if let Some(wait) = self.run.exec(ix).settle.clone() {
            let mut answer = serde_json::Map::new();
            answer.insert("verb".into(), serde_json::to_value(verb).expect("a word"));
            if let Some(value) = value {
                let key = if verb == SettleVerb::Fail { "reason" } else { "value" };
                answer.insert(key.into(), Value::clone(value));
            }
            self.resolve(&wait, Resolution::Answered { value: Arc::new(Value::Object(answer)), by: None });
        }
        self.carry_out(ix, decided);
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

    /// Returns what a decision comes to.
    ///
    /// # Errors
    /// Nobody but its function can complete the step.
    pub(super) fn decided(
        &self,
        ix: u32,
        verb: SettleVerb,
        value: Option<&Payload>,
    ) -> Result<Decided, Refusal> {
        match verb {
            SettleVerb::Retry => Ok(Decided::Retry),
            SettleVerb::Complete => {
                let value = value.cloned().unwrap_or_else(|| Arc::new(Value::Null));
                let to = self.way_on(ix, &value).map_err(|why| {
                    let step = &self.run.exec(ix).step;
                    self.refuse(
                        "only_its_function",
                        format!("step '{step}' cannot be completed by hand: {why}"),
                    )
                    .with("task_id", step.as_str())
                    .with_hint("let it be tried again (`retry`) or fail (`fail`)")
                })?;
                let output = serde_json::json!({ "result": value, "settled": true });
                Ok(Decided::Complete { output: Arc::new(output), to })
            }
            SettleVerb::Fail => {
                let reason = value.and_then(|value| value.as_str()).unwrap_or("settled as failed");
                Ok(Decided::Fail { reason: reason.to_owned() })
            }
        }
    }

    /// Returns where an execution leads that somebody completes with this value, as far as its definition says; or why it
    /// does not say.
    fn way_on(&self, ix: u32, value: &Payload) -> Result<Vec<Target>, String> {
        let execution = self.run.exec(ix);
        let step = self.run.workflow.step(execution.step_ix);
        // What undoes a failure ends.
        if execution.compensates.is_some() {
            return Ok(Vec::new());
        }
        if step.hands_on == HandsOn::Unknown {
            return Err("only its function knows what it hands on".into());
        }
        let Some(names) = step.next.known() else {
            return Err("it declares no `next`, so only its function knows where it leads".into());
        };
        let mut named = HashSet::default();
        let names: Vec<&StepName> = names.iter().filter(|name| named.insert(*name)).collect();
        match names.as_slice() {
            [] => Ok(Vec::new()),
            [end] if end.as_str() == END => Ok(Vec::new()),
            [only] if !is_pattern(only) => {
                let payload = (step.hands_on == HandsOn::Value).then(|| value.clone());
                Ok(vec![Target { payload, ..Target::to(only.as_str()) }])
            }
            several => {
                let told = |name: &&StepName| {
                    if name.as_str() == END { "the end".into() } else { format!("'{name}'") }
                };
                let named: Vec<String> = several.iter().map(told).collect();
                Err(format!("it can lead to {}, and only its function says where", named.join(" or ")))
            }
        }
    }

    /// Returns why nobody but its function can complete an execution, if that is so.
    pub(super) fn why_not_by_hand(&self, ix: u32) -> Option<String> {
        self.way_on(ix, &Payload::default()).err()
    }

    pub(super) fn carry_out(&mut self, ix: u32, decided: Decided) {
        let at = self.step_ref(ix);
        match decided {
            Decided::Retry => {
                if self.run.exec(ix).status != ExecutionStatus::Ready {
                    self.emit(Event::RetryDue { step: at.step, execution: at.execution });
                }
            }
            Decided::Complete { output, to } => self.complete_without_attempt(ix, output, to),
            Decided::Fail { reason } => {
                let error =
                    ErrorObject::new(Code::TASK_EXECUTION_FAILED, format!("step '{}': {reason}", at.step))
                        .never_again();
                self.fail_for_good(ix, &error, false);
            }
        }
    }
}
