//! The JSON that scripts rely on: one shape for each thing that is shown.

use serde_json::{Value, json};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::Seq;
use stepwell_core::run::wait::{Question, WaitKind};
use stepwell_core::run::{Execution, Run};
use stepwell_core::status::{ExecutionStatus, RunStatus};
use stepwell_store::{LostLease, Recorded, RunRow, WaitRow};

use crate::values::{shown, time, time_or_null};

fn error(error: Option<&ErrorObject>) -> Value {
    error.map_or(Value::Null, ErrorObject::to_json)
}

/// A run with its results: what `run --json` prints.
pub(crate) fn run(run: &Run, seq: Seq) -> Value {
    json!({
        "run_id": run.id(),
        "workflow": run.workflow().name(),
        "version": run.workflow().version(),
        "status": run.status().as_str(),
        "results": run.views(),
        "output": run.output(),
        "error": error(run.error()),
        "steps": run.executions().iter().map(step).collect::<Vec<_>>(),
        "seq": seq,
    })
}

fn step(execution: &Execution) -> Value {
    json!({
        "name": execution.step,
        "ordinal": execution.ordinal,
        "status": execution.status.as_str(),
        "attempts": execution.attempts,
        "started_at": time_or_null(execution.started_at),
        "finished_at": time_or_null(execution.finished_at),
        "error": error(execution.error.as_deref()),
    })
}

/// A run in full: what `show --json` prints.
pub(crate) fn whole(run: &Run, row: &RunRow, waits: &[WaitRow], why: &[String], with_context: bool) -> Value {
    let mut shown = self::run(run, row.seq);
    let timers: Vec<Value> =
        run.due()
            .timers
            .into_iter()
            .map(|(key, at)| json!({ "for": key, "at": time(at) }))
            .chain(
                run.executions().iter().filter(|e| e.status == ExecutionStatus::Retrying).map(
                    |e| json!({ "for": { "retry": [e.step, e.ordinal] }, "at": time_or_null(e.due_at) }),
                ),
            )
            .collect();
    let more = json!({
        "pause_reason": run.pause_reason().map(stepwell_core::status::PauseReason::as_str),
        "created_at": time(row.created_at),
        "updated_at": time(row.updated_at),
        "started_at": time_or_null(run.started_at()),
        "finished_at": time_or_null(run.finished_at()),
        "metadata": run.metadata(),
        "input": run.input(),
        "epoch": run.epoch(),
        "parent": run.parent().map(|parent| &parent.run),
        "open_waits": waits.iter().map(wait).collect::<Vec<_>>(),
        "timers": timers,
        "held": run.held(),
        "why": why,
    });
    merge(&mut shown, more);
    if with_context {
        merge(&mut shown, json!({ "context": run.context().values() }));
    }
    shown
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

/// A run as it is listed.
pub(crate) fn summary(row: &RunRow) -> Value {
    json!({
        "run_id": row.run,
        "workflow": row.workflow,
        "version": row.version,
        "status": row.state.status.as_str(),
        "pause_reason": row.state.pause_reason.map(stepwell_core::status::PauseReason::as_str),
        "created_at": time(row.created_at),
        "updated_at": time(row.updated_at),
        "started_at": time_or_null(row.state.started_at),
        "finished_at": time_or_null(row.state.finished_at),
        "metadata": row.metadata,
        "error": error(row.state.error.as_ref()),
        "seq": row.seq,
    })
}

/// An event of a journal.
pub(crate) fn event(recorded: &Recorded) -> Value {
    let mut data = serde_json::to_value(&recorded.event).unwrap_or(Value::Null);
    let mut take =
        |key: &str| data.as_object_mut().and_then(|data| data.shift_remove(key)).unwrap_or(Value::Null);
    let (kind, step, execution, attempt) = (take("type"), take("step"), take("execution"), take("attempt"));
    json!({
        "seq": recorded.seq, "at": time(recorded.at), "type": kind, "step": step, "execution": execution,
        "attempt": attempt, "data": data,
    })
}

/// The question of a wait, if it is one to a person.
pub(crate) fn question(row: &WaitRow) -> Option<Question> {
    match serde_json::from_value(row.spec["kind"].clone()) {
        Ok(WaitKind::Human(question)) => Some(question),
        _ => None,
    }
}

/// A wait as the inbox shows it.
pub(crate) fn wait(row: &WaitRow) -> Value {
    let question = question(row).unwrap_or_default();
    json!({
        "wait_id": row.wait,
        "run_id": row.run,
        "workflow": row.workflow,
        "step": row.step,
        "kind": row.kind,
        "prompt": question.prompt,
        "schema": question.schema,
        "options": question.options,
        "default": row.spec.get("default").cloned().unwrap_or(Value::Null),
        "deadline": time_or_null(row.deadline),
        "assignee": row.assignee,
        "metadata": row.metadata,
        "state": row.state,
        "opened_at": time(row.opened_at),
    })
}

fn is_lost(run: &Run, execution: &Execution, lost: &[LostLease]) -> bool {
    lost.iter().any(|lost| {
        lost.run == *run.id()
            && lost.lease.execution.step == execution.step
            && lost.lease.execution.ordinal == execution.ordinal
    })
}

/// Returns, in words, why a run is not going on.
pub(crate) fn why(
    run: &Run,
    waits: &[WaitRow],
    lost: &[LostLease],
    handlers: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let mut why = Vec::new();
    match run.status() {
        RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled => return why,
        RunStatus::Pending => why.push("it is held until it is started".into()),
        RunStatus::Paused | RunStatus::Running => {}
    }
    if run.pause_reason() == Some(stepwell_core::status::PauseReason::Operator) {
        why.push(format!("an operator paused it; `stepwell resume {}` lifts that", run.id()));
    }
    for row in waits {
        let at = row.deadline.map_or_else(String::new, |at| format!(" until {}", shown(at)));
        why.push(match row.kind.as_str() {
            "human" => format!("step '{}' waits for an answer{at}: `stepwell answer {}`", row.step, row.wait),
            "signal" => {
                let name = row.spec["kind"]["name"].as_str().unwrap_or_default();
                format!(
                    "step '{}' waits for signal '{name}'{at}: `stepwell signal {} {name}`",
                    row.step, row.run
                )
            }
            "timer" => format!("step '{}' sleeps{at}", row.step),
            _ => {
                let child = row.spec["kind"]["run"].as_str().unwrap_or_default();
                let paused = run.open_waits().iter().any(|wait| *wait.id == row.wait && wait.child_paused);
                let asks = if paused {
                    format!(", which waits for input: `stepwell show {child}`")
                } else {
                    String::new()
                };
                format!("step '{}' waits for child run {child}{asks}", row.step)
            }
        });
    }
    for execution in run.executions() {
        let step = run.workflow().step(execution.step_ix());
        match execution.status {
            ExecutionStatus::Retrying => {
                let due = execution.due_at.map(shown).unwrap_or_default();
                let tried = execution.attempts;
                why.push(format!(
                    "step '{}' failed {tried} times; its next attempt is due at {due}",
                    execution.step
                ));
            }
            ExecutionStatus::Ready => {
                let handler = stepwell_engine::handler_of(run.workflow(), execution.step_ix());
                why.push(if handlers(&handler) {
                    format!(
                        "step '{}' is ready and waits for a worker: `stepwell resume {}`",
                        execution.step,
                        run.id()
                    )
                } else {
                    format!("step '{}' is ready, but nobody here has its handler {handler}", execution.step)
                });
            }
            ExecutionStatus::Running if is_lost(run, execution, lost) => {
                why.push(format!(
                    "step '{}' was running, but its worker is gone: `stepwell resume {}`",
                    execution.step,
                    run.id()
                ));
            }
            ExecutionStatus::Running => {
                why.push(format!(
                    "step '{}' is running: attempt {} under session {}",
                    execution.step, execution.attempts, execution.session
                ));
            }
            ExecutionStatus::Blocked => {
                let needs: Vec<&str> = step.needs.iter().map(|need| need.step.as_str()).collect();
                why.push(format!("step '{}' waits for {}", execution.step, needs.join(", ")));
            }
            ExecutionStatus::Pending => {
                why.push(format!("step '{}' waits for a place under max_concurrent", execution.step));
            }
            ExecutionStatus::Waiting
            | ExecutionStatus::Completed
            | ExecutionStatus::Failed
            | ExecutionStatus::TimedOut
            | ExecutionStatus::Cancelled
            | ExecutionStatus::Skipped => {}
        }
    }
    for (step, count) in run.held() {
        why.push(format!("{count} tokens are held at '{step}' until no other can come there"));
    }
    why
}
