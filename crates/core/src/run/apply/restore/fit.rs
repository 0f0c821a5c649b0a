//! What must fit together in a checkpoint before a run is made of it: nobody may make a run that says it is over and is
//! not, or one that nothing can move. It looks at the checkpoint alone, whatever it is restored with.

use crate::error::ErrorObject;
use crate::ids::{Ordinal, StepName};
use crate::run::checkpoint::{Awaited, Checkpoint, KeptExecution, TokenState, invalid};
use crate::status::{AgentStatus, ExecutionStatus};
use foldhash::{HashMap, HashSet};

/// Counts of a checkpoint are no larger, so that a run can go on counting.
const MOST: u32 = 1 << 30;

/// Refuses counts that no run can have reached.
///
/// # Errors
/// `CHECKPOINT_INVALID`, as for all that does not fit.
pub(super) fn check_counts(from: &Checkpoint) -> Result<(), ErrorObject> {
    let executions =
        from.executions.iter().flat_map(|one| [one.attempt, one.losses, one.epoch.0, one.next_item]);
    let steps = from.state_metadata.values().map(|state| state.completions);
    let most = executions.chain(steps).chain([from.epoch.0, from.routed]).max();
    if most > Some(MOST) || from.tick > u64::from(MOST) << 16 {
        return Err(invalid("it counts more than any run can have done"));
    }
    if from.epoch.0 == 0 {
        return Err(invalid("`epoch` begins with 1"));
    }
    Ok(())
}

/// Refuses a status that what is there contradicts.
pub(super) fn check_status(from: &Checkpoint) -> Result<(), ErrorObject> {
    let status = from.agent_status;
    let live = || from.executions.iter().position(|one| !one.status.is_terminal());
    match status {
        AgentStatus::Idle if !from.executions.is_empty() || from.started_at.is_some() => {
            Err(invalid("`agent_status` is idle, but it has begun"))
        }
        AgentStatus::Running | AgentStatus::Paused if from.started_at.is_none() => {
            Err(invalid(format!("`started_at` is missing, and `agent_status` is {status}")))
        }
        AgentStatus::Completed | AgentStatus::Failed | AgentStatus::Cancelled => live().map_or(Ok(()), |i| {
            Err(invalid(format!("`agent_status` is {status}, but `executions[{i}]` is not over")))
        }),
        AgentStatus::Idle | AgentStatus::Running | AgentStatus::Paused => Ok(()),
    }
}

/// What is live stands where its token is, but for what undoes a failure, and elements, which have none.
pub(super) fn check_tokens(from: &Checkpoint) -> Result<(), ErrorObject> {
    let executions = executions(from);
    let mut occupied = HashSet::default();
    for (i, token) in from.tokens.iter().enumerate().filter(|(_, token)| token.state == TokenState::Active) {
        let Some(place) = token.ordinal.map(|ordinal| (&token.step, ordinal)) else { continue };
        let status = executions.get(&place).map(|one| one.status);
        if matches!(status, Some(ExecutionStatus::Completed | ExecutionStatus::Skipped)) {
            return Err(invalid(format!("`tokens[{i}]` is active, but its execution is over")));
        }
        occupied.insert(place);
    }
    for (i, one) in from.executions.iter().enumerate().filter(|(_, one)| !one.status.is_terminal()) {
        let has_none = one.compensates.is_some() || one.element.is_some();
        if !has_none && !occupied.contains(&(&one.step, one.ordinal)) {
            return Err(invalid(format!(
                "`executions[{i}]` is {}, but has no token in `tokens`",
                one.status
            )));
        }
    }
    Ok(())
}

/// An open wait is that of an execution which is not over, the only one at its place, and can come to an end.
pub(super) fn check_waits(from: &Checkpoint) -> Result<(), ErrorObject> {
    let executions = executions(from);
    let mut places = HashSet::default();
    for (i, wait) in from.waits.iter().enumerate() {
        let of = (&wait.step, wait.ordinal);
        if executions.get(&of).is_some_and(|one| one.status.is_terminal()) {
            return Err(invalid(format!("`waits[{i}]` is open, but its execution is over")));
        }
        if wait.kind == Awaited::Timer && wait.deadline.is_none() {
            return Err(invalid(format!("`waits[{i}].deadline` is missing")));
        }
        let position = wait.name.is_none().then_some(wait.position);
        if !places.insert((of, &wait.name, position)) {
            return Err(invalid(format!("`waits[{i}]` is the second at its place")));
        }
    }
    Ok(())
}

fn executions(from: &Checkpoint) -> HashMap<(&StepName, Ordinal), &KeptExecution> {
    from.executions.iter().map(|one| ((&one.step, one.ordinal), one)).collect()
}
