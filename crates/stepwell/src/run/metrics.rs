//! What a run did so far, in numbers.

use std::collections::{BTreeMap, HashSet};

use stepwell_core::run::Run as CoreRun;
use stepwell_core::run::event::Event;
use stepwell_core::status::ExecutionStatus;
use stepwell_store::Recorded;

/// What a run did so far, in numbers. The journal tells them, so they survive the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// How many executions there are of each status.
    pub executions: BTreeMap<ExecutionStatus, usize>,
    /// Attempts that were begun.
    pub attempts: usize,
    /// Failed attempts that are followed by another.
    pub retries: usize,
    /// Most executions that were under way at once.
    pub max_running: usize,
    /// Writes that overwrote those of another execution, for want of a reducer.
    pub conflicts: usize,
    /// Branches that came too late for a `join` of the first.
    pub absorbed: usize,
}

impl Metrics {
    pub(super) fn of(run: &CoreRun, journal: &[Recorded]) -> Self {
        let mut metrics = Self::default();
        for execution in run.executions() {
            *metrics.executions.entry(execution.status).or_default() += 1;
        }
        let mut running = HashSet::new();
        for recorded in journal {
            match &recorded.event {
                Event::AttemptStarted(started) => {
                    metrics.attempts += 1;
                    running.insert((&started.step, started.execution));
                    metrics.max_running = metrics.max_running.max(running.len());
                }
                Event::AttemptFailed { step, execution, retry_at, .. } => {
                    metrics.retries += usize::from(retry_at.is_some());
                    running.remove(&(step, *execution));
                }
                Event::StepCompleted { step, execution, .. }
                | Event::StepFailed { step, execution, .. }
                | Event::StepCancelled { step, execution }
                | Event::AttemptSuspended { step, execution, .. }
                | Event::AttemptLost { step, execution, .. } => {
                    running.remove(&(step, *execution));
                }
                Event::Conflict { .. } => metrics.conflicts += 1,
                Event::TokenAbsorbed { .. } => metrics.absorbed += 1,
                _ => {}
            }
        }
        metrics
    }

    /// Returns how many executions have that status.
    pub fn count(&self, status: ExecutionStatus) -> usize {
        self.executions.get(&status).copied().unwrap_or(0)
    }
}
