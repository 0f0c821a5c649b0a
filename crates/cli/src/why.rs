//! Why a run is not going on, and what to type about it.

use std::collections::HashMap;

use stepwell_core::ids::Timestamp;
use stepwell_core::run::{Execution, Run};
use stepwell_core::status::{ExecutionStatus, PauseReason, RunStatus};
use stepwell_store::{LostLease, WaitRow};

use crate::values::{counted, shown, shown_time, took};
use crate::{answering, shape, text};

/// What is known of the world around a run.
pub(crate) struct Around<'a> {
    /// Its open waits.
    pub(crate) waits: &'a [WaitRow],
    /// Leases whose workers are gone.
    pub(crate) lost: &'a [LostLease],
    /// Who carries out attempts of it, by session.
    pub(crate) holders: &'a HashMap<u64, String>,
    /// Whether a process is there that carries it.
    pub(crate) is_carried: bool,
    /// Whether this program has a handler.
    pub(crate) has_handler: &'a dyn Fn(&str) -> bool,
    /// When it is asked.
    pub(crate) now: Timestamp,
}

/// Returns, in words, why a run is not going on.
pub(crate) fn why(run: &Run, around: &Around<'_>) -> Vec<String> {
    let id = text::word(run.id().as_str());
    let mut why = Vec::new();
    match run.status() {
        RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled => return why,
        RunStatus::Pending => {
            why.push(format!("it is held until it is started: `stepwell resume {id}`"));
            return why;
        }
        RunStatus::Paused | RunStatus::Running => {}
    }
    let is_paused = run.pause_reason() == Some(PauseReason::Operator);
    if is_paused {
        why.push(format!("an operator paused it; `stepwell resume {id}` lifts that"));
    }
    why.extend(around.waits.iter().map(|row| of_wait(run, row, around.now)));
    let is_lost = |execution: &Execution| {
        execution.status == ExecutionStatus::Running && is_lost(run, execution, around.lost)
    };
    let of_execution = |execution: &Execution| {
        if is_lost(execution) {
            let step = &execution.step;
            return Some(format!(
                "step '{step}' was running, but its worker is gone: `stepwell resume {id}`"
            ));
        }
        of_execution(run, execution, is_paused, around)
    };
    why.extend(run.executions().iter().filter_map(of_execution));
    for (step, count) in run.held() {
        why.push(format!("{} at '{step}' until no other branch can come there", branches(count)));
    }
    if !around.is_carried && !is_paused && !run.executions().iter().any(is_lost) {
        why.push(format!(
            "nobody carries this run now: `stepwell worker` or `stepwell resume {id}` goes on with it"
        ));
    }
    why
}

fn branches(count: usize) -> String {
    if count == 1 { "a branch waits".into() } else { format!("{count} branches wait") }
}

fn is_lost(run: &Run, execution: &Execution, lost: &[LostLease]) -> bool {
    lost.iter().any(|lost| {
        lost.run == *run.id()
            && lost.lease.execution.step == execution.step
            && lost.lease.execution.ordinal == execution.ordinal
    })
}

fn of_wait(run: &Run, row: &WaitRow, now: Timestamp) -> String {
    let step = &row.step;
    let at = row.deadline.map_or_else(String::new, |at| format!(" until {}", shown(at)));
    match row.kind.as_str() {
        "human" => {
            let commands = answering::commands(row.wait.as_str(), &shape::question(row).unwrap_or_default());
            format!("step '{step}' waits for an answer{at}: {}", commands.join(" or "))
        }
        "signal" => {
            let name = row.spec["kind"]["name"].as_str().unwrap_or_default();
            let (id, word) = (text::word(row.run.as_str()), text::word(name));
            format!("step '{step}' waits for signal '{name}'{at}: `stepwell signal {id} {word}`")
        }
        "timer" if row.deadline.is_some_and(|at| at <= now) => {
            format!("step '{step}' slept{at}; that time has passed")
        }
        "timer" => format!("step '{step}' sleeps{at}"),
        _ => {
            let child = row.spec["kind"]["run"].as_str().unwrap_or_default();
            let paused = run.open_waits().iter().any(|wait| *wait.id == row.wait && wait.child_paused);
            let asks = if paused {
                format!(", which waits for input: `stepwell show {}`", text::word(child))
            } else {
                String::new()
            };
            format!("step '{step}' waits for child run {child}{asks}")
        }
    }
}

fn of_execution(run: &Run, execution: &Execution, is_paused: bool, around: &Around<'_>) -> Option<String> {
    let name = &execution.step;
    Some(match execution.status {
        ExecutionStatus::Retrying => {
            let due = execution.due_at.map(shown).unwrap_or_default();
            let tried = counted(execution.attempts as usize, "time");
            format!("step '{name}' failed {tried}; its next attempt is due at {due}")
        }
        ExecutionStatus::Ready => {
            let handler = stepwell_engine::handler_of(run.workflow(), execution.step_ix());
            match (around.has_handler)(&handler) {
                true if is_paused || !around.is_carried => return None,
                true => format!("step '{name}' is ready and waits for a free place of its worker"),
                false => format!("step '{name}' is ready, but nobody here has its handler {handler}"),
            }
        }
        ExecutionStatus::Running => {
            let since = execution.attempt_since().map_or_else(String::new, |since| {
                format!(", since {} ({})", shown_time(since, around.now), took(since, around.now))
            });
            let by = around.holders.get(&execution.session);
            let by = by.map_or_else(String::new, |by| format!(", by {by}"));
            format!("step '{name}' is running: attempt {}{since}{by}", execution.attempts)
        }
        ExecutionStatus::Blocked => {
            let step = run.workflow().step(execution.step_ix());
            let needs: Vec<&str> = step.needs.iter().map(|need| need.step.as_str()).collect();
            format!("step '{name}' waits for {}", needs.join(", "))
        }
        ExecutionStatus::Pending => format!("step '{name}' waits for a place under max_concurrent"),
        ExecutionStatus::Waiting
        | ExecutionStatus::Completed
        | ExecutionStatus::Failed
        | ExecutionStatus::TimedOut
        | ExecutionStatus::Cancelled
        | ExecutionStatus::Skipped => return None,
    })
}
