//! The JSON that scripts rely on: one shape for each thing that is shown.

use std::collections::HashMap;

use serde_json::{Value, json};
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::Seq;
use stepwell_core::run::wait::{Question, WaitKind};
use stepwell_core::run::{Execution, Run};
use stepwell_core::status::ExecutionStatus;
use stepwell_store::{Recorded, RunRow, WaitRow};

use crate::values::{time, time_or_null};

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
pub(crate) fn whole(
    run: &Run,
    row: &RunRow,
    waits: &[WaitRow],
    holders: &HashMap<u64, String>,
    why: &[String],
    with_context: bool,
) -> Value {
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
        "leases": run.executions().iter().filter_map(|execution| lease(execution, holders)).collect::<Vec<_>>(),
        "held": run.held(),
        "why": why,
    });
    merge(&mut shown, more);
    if with_context {
        merge(&mut shown, json!({ "context": run.context().values() }));
    }
    shown
}

/// An attempt that is under way, and who carries it out; nobody, if that process is gone.
fn lease(execution: &Execution, holders: &HashMap<u64, String>) -> Option<Value> {
    let since = execution.attempt_since()?;
    Some(json!({
        "name": execution.step,
        "ordinal": execution.ordinal,
        "attempt": execution.attempts,
        "since": time(since),
        "worker": holders.get(&execution.session),
    }))
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
        "parent": row.parent,
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
        "try": question.tries(),
        "rejected": question.rejected.map(|rejected| json!({ "answer": rejected.answer, "message": rejected.message })),
        "metadata": row.metadata,
        "state": row.state,
        "opened_at": time(row.opened_at),
    })
}
