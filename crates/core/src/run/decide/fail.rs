//! `Fail`: an attempt ended with an error. Another attempt, or the end of the execution and its policy.

use serde_json::json;

use super::{Refusal, Turn};
use crate::error::{Code, ErrorObject};
use crate::run::command::Fail;
use crate::run::event::{Activation, Event};
use crate::run::execution::Execution;
use crate::status::ExecutionStatus;
use crate::workflow::definition::{Effect, OnFailure};

impl Turn<'_> {
    pub(super) fn fail(&mut self, fail: &Fail) -> Result<(), Refusal> {
        let error = fail.error.clone().readable();
        if let Some(ix) = self.judging(&fail.attempt) {
            self.fail_for_good(ix, &error, false);
            return Ok(());
        }
        let ix = self.under_way(&fail.attempt)?;
        let workflow = self.run.workflow.clone();
        let step = workflow.step(self.run.exec(ix).step_ix);
        if fail.timed_out && step.effect == Effect::AtMostOnce {
            if self.run.exec(ix).settle.is_some() {
                let message = format!("a person is asked about step '{}'", fail.attempt.step);
                return Err(self.refuse("asked", message));
            }
            self.ask_to_settle(ix, &error.message);
            return Ok(());
        }
        self.withdraw_settle_question(ix);
        let failures = self.run.exec(ix).failed_attempts.len() as u32 + 1;
        let retry_at = step
            .retry
            .as_ref()
            .filter(|_| error.retryable)
            .filter(|policy| failures <= policy.max_retries)
            .filter(|policy| !is_excluded(&policy.non_retryable, &error))
            .map(|policy| self.at.plus_ms(policy.delay_ms(failures, fail.jitter, fail.retry_after_ms)));
        let at = self.step_ref(ix);
        self.emit(Event::AttemptFailed {
            step: at.step,
            execution: at.execution,
            attempt: fail.attempt.attempt,
            error: Box::new(error.clone()),
            timed_out: fail.timed_out,
            retry_at,
        });
        if retry_at.is_none() {
            self.fail_for_good(ix, &error, fail.timed_out);
        }
        Ok(())
    }

    /// Ends an execution with an error: dead letter, compensation, policy.
    pub(super) fn fail_for_good(&mut self, ix: u32, error: &ErrorObject, timed_out: bool) {
        let error = over_all_attempts(self.run.exec(ix), error);
        let workflow = self.run.workflow.clone();
        let step = workflow.step(self.run.exec(ix).step_ix);
        let is_compensation = self.run.exec(ix).compensates.is_some();
        let compensation = step
            .compensation
            .as_ref()
            .filter(|_| !is_compensation)
            .and_then(|name| workflow.find(name.as_str()));
        self.withdraw_waits(ix);
        let at = self.step_ref(ix);
        let to = match &step.on_failure {
            OnFailure::Route(name) if compensation.is_none() && !is_compensation => Some(name.clone()),
            _ => None,
        };
        self.emit(Event::StepFailed {
            step: at.step,
            execution: at.execution,
            timed_out,
            error: Box::new(error),
            compensating: compensation.is_some() || is_compensation,
            to,
        });
        if is_compensation {
            self.after_compensation(ix);
        } else if let Some(compensation) = compensation {
            if step.on_failure == OnFailure::Stop {
                self.cancel_live(Some(ix));
            }
            let of = self.run.reference(ix);
            self.activate(compensation, Activation::Compensation(of));
        } else {
            self.after_failure(ix);
        }
    }

    /// Lets the policy of a failed execution take effect once its compensation has ended.
    pub(super) fn after_compensation(&mut self, compensation: u32) {
        let Some(failed) = self.run.exec(compensation).compensates else { return };
        let workflow = self.run.workflow.clone();
        let to = match &workflow.step(self.run.exec(failed).step_ix).on_failure {
            OnFailure::Route(name) => Some(name.clone()),
            OnFailure::Fail | OnFailure::Continue | OnFailure::Stop => None,
        };
        let at = self.step_ref(failed);
        self.emit(Event::FailureHandled { step: at.step, execution: at.execution, to });
        self.after_failure(failed);
    }

    fn after_failure(&mut self, ix: u32) {
        if self.run.workflow.step(self.run.exec(ix).step_ix).on_failure == OnFailure::Stop {
            let error = self.run_error(ix);
            self.fail_run(error);
        }
    }

    /// Returns what a run fails with when this execution failed: the step's own code and message.
    pub(super) fn run_error(&self, ix: u32) -> ErrorObject {
        let execution = self.run.exec(ix);
        let mut error = execution.error.as_deref().cloned().unwrap_or_else(|| {
            ErrorObject::new(Code::TASK_EXECUTION_FAILED, format!("step '{}' failed", execution.step))
        });
        let failed = self.run.executions.iter().filter(|e| e.status.is_failure());
        let failed: std::collections::BTreeSet<&str> = failed.map(|e| e.step.as_str()).collect();
        error.data.insert("task_id".into(), json!(execution.step));
        error.data.insert("workflow_id".into(), json!(self.run.id));
        error.data.insert("failed_tasks".into(), json!(failed));
        let suppressed: Vec<_> = self
            .run
            .executions
            .iter()
            .filter(|e| e.compensates == Some(ix))
            .filter_map(|e| e.error.as_deref().map(ErrorObject::to_json))
            .collect();
        if !suppressed.is_empty() {
            error.data.insert("suppressed".into(), json!(suppressed));
        }
        error
    }

    /// Ends the run with an error; everything live is cancelled first.
    pub(super) fn fail_run(&mut self, error: ErrorObject) {
        if self.run.status.is_terminal() {
            return;
        }
        self.cancel_live(None);
        self.emit(Event::RunFailed { error: Box::new(error) });
        self.tell_parent();
    }

    /// Cancels every live execution but one, withdraws their waits, cancels their children.
    pub(super) fn cancel_live(&mut self, except: Option<u32>) {
        let live: Vec<u32> = (0..self.run.executions.len() as u32)
            .filter(|ix| Some(*ix) != except && !self.run.exec(*ix).status.is_terminal())
            .collect();
        for ix in live {
            self.cancel_execution(ix);
        }
    }

    pub(super) fn cancel_execution(&mut self, ix: u32) {
        self.withdraw_waits(ix);
        if self.run.exec(ix).status != ExecutionStatus::Cancelled {
            let at = self.step_ref(ix);
            self.emit(Event::StepCancelled { step: at.step, execution: at.execution });
        }
        let elements = self.run.exec(ix).fan.as_ref().map(|fan| fan.elements.clone());
        for element in elements.into_iter().flatten() {
            if !self.run.exec(element).status.is_terminal() {
                self.cancel_execution(element);
            }
        }
    }
}

/// Returns whether the policy names the error's exception type among those that are tried once.
fn is_excluded(non_retryable: &[String], error: &ErrorObject) -> bool {
    let given = error.data.get("exception_type").and_then(|value| value.as_str());
    let bases = error.data.get("exception_bases").and_then(|value| value.as_array());
    let is_named = |name: &str| {
        non_retryable.iter().any(|excluded| excluded == name || name.rsplit('.').next() == Some(excluded))
    };
    given.is_some_and(is_named)
        || bases.is_some_and(|bases| bases.iter().filter_map(|base| base.as_str()).any(is_named))
}

/// Returns the error of an execution over all its attempts: its own if it made one, else
/// `TASK_RETRY_EXHAUSTED` with the history.
fn over_all_attempts(execution: &Execution, error: &ErrorObject) -> ErrorObject {
    let notes = &execution.failed_attempts;
    let mut own = error.clone();
    own.data.entry("task_id").or_insert_with(|| json!(execution.step));
    if notes.len() < 2 {
        return own;
    }
    let attempts: Vec<_> = notes
        .iter()
        .map(|note| {
            json!({
                "attempt": note.attempt, "code": note.code.number(), "message": note.message,
                "started_at": note.started_at.rfc3339(), "ended_at": note.ended_at.rfc3339(),
            })
        })
        .collect();
    let name = &execution.step;
    let last = error.message.strip_prefix(&format!("step '{name}': ")).unwrap_or(&error.message);
    let message = format!("step '{name}' failed after {} attempts: {last}", notes.len());
    let mut whole = ErrorObject::new(Code::TASK_RETRY_EXHAUSTED, message)
        .with("task_id", execution.step.as_str())
        .with("last_error", error.to_json())
        .with("attempts", attempts);
    whole.hint.clone_from(&error.hint);
    whole
}
