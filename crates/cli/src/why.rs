//! Why a run is not going on, and what to type about it.

use std::collections::HashMap;

use stepwell_core::ids::Timestamp;
use stepwell_core::run::{Execution, Run};
use stepwell_core::status::{ExecutionStatus, PauseReason, RunStatus};
use stepwell_store::{LostLease, WaitRow};

use crate::values::{counted, shown, shown_time, took};
use crate::{answering, functions, shape, text};

/// What is known of the world around a run.
pub(crate) struct Around<'a> {
    /// Its open waits.
    pub(crate) waits: &'a [WaitRow],
    /// Open questions of its child runs, at any depth.
    pub(crate) below: &'a [WaitRow],
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
    why.extend(around.below.iter().map(of_question_below));
    let is_lost = |execution: &Execution| {
        execution.status == ExecutionStatus::Running && is_lost(run, execution, around.lost)
    };
    let of_execution = |execution: &Execution| {
        if is_lost(execution) {
            let step = &execution.step;
            let remedy = match program_of(run, execution) {
                Some(program) => format!("{program} goes on with it"),
                None => format!("`stepwell resume {id}`"),
            };
            return Some(format!("step '{step}' was running, but its worker is gone: {remedy}"));
        }
        of_execution(run, execution, is_paused, around)
    };
    why.extend(together(run.executions().iter().filter_map(of_execution)));
    for (step, count) in run.held() {
        why.push(format!("{} at '{step}' until no other branch can come there", branches(count)));
    }
    let is_told = |execution: &Execution| {
        is_lost(execution)
            || (execution.status == ExecutionStatus::Ready && program_of(run, execution).is_some())
    };
    if !around.is_carried && !is_paused && !run.executions().iter().any(is_told) {
        let who = functions::who_has(run.workflow());
        let who = who.unwrap_or_else(|| format!("`stepwell worker` or `stepwell resume {id}`"));
        why.push(format!("nobody carries this run now: {who} goes on with it"));
    }
    why
}

/// So many steps that stand still for one reason are told one by one.
const ONE_BY_ONE: usize = 3;

/// Tells many steps that stand still for one reason together, so that a batch of thousands is a few lines.
fn together(reasons: impl Iterator<Item = String>) -> Vec<String> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for reason in reasons {
        let alike = reason.split_once("' ").map_or(reason.as_str(), |(_, rest)| rest).to_owned();
        match groups.iter_mut().find(|(known, _)| *known == alike) {
            Some((_, group)) => group.push(reason),
            None => groups.push((alike, vec![reason])),
        }
    }
    let mut told = Vec::new();
    for (alike, group) in groups {
        let others = group.len().saturating_sub(ONE_BY_ONE);
        told.extend(group.into_iter().take(ONE_BY_ONE));
        if others > 0 {
            told.push(format!("so {} more: … {alike}", counted(others, "step")));
        }
    }
    told
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

fn of_question_below(row: &WaitRow) -> String {
    let (step, run) = (&row.step, &row.run);
    format!("step '{step}' of child run {run} waits for an answer{}: {}", until(row), answers(row))
}

fn until(row: &WaitRow) -> String {
    row.deadline.map_or_else(String::new, |at| format!(" until {}", shown(at)))
}

fn answers(row: &WaitRow) -> String {
    answering::commands(row.wait.as_str(), &shape::question(row).unwrap_or_default()).join(" or ")
}

fn of_wait(run: &Run, row: &WaitRow, now: Timestamp) -> String {
    let step = &row.step;
    let at = until(row);
    match row.kind.as_str() {
        "human" => format!("step '{step}' waits for an answer{at}: {}", answers(row)),
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

/// Returns what has the function of a step, if it is one.
fn program_of(run: &Run, execution: &Execution) -> Option<String> {
    functions::who_has(run.workflow()).filter(|_| functions::is_one(run, execution.step_ix()))
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
                false if let Some(program) = program_of(run, execution) => {
                    format!(
                        "step '{name}' is ready and waits for a process that has its function: {program} goes on with it"
                    )
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_steps_with_one_reason_are_a_few_lines() {
        let reasons = (0..300).map(|i| format!("step 's{i}' waits for a place under max_concurrent"));
        let told = together(reasons.chain(["step 'x' is running: attempt 1".to_owned()]));
        assert_eq!(told.len(), 5);
        assert_eq!(told[3], "so 297 steps more: … waits for a place under max_concurrent");
        assert_eq!(told[4], "step 'x' is running: attempt 1");
    }
}
