//! What a run did so far, in numbers.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use stepwell_core::ids::{StepName, Timestamp};
use stepwell_core::run::Execution;
use stepwell_core::run::Run as CoreRun;
use stepwell_core::run::event::{Activation, Event, Target};
use stepwell_core::status::ExecutionStatus;
use stepwell_store::Recorded;

/// What a run did so far, in numbers. The journal tells them, so they survive the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// How many executions there are of each status.
    pub executions: BTreeMap<ExecutionStatus, usize>,
    /// How long attempts were under way, all together. What runs now does not count yet.
    pub run_time: Duration,
    /// How long attempts that could have begun did not, all together: for want of a place, of resources, of a limit, of a worker,
    /// or since the run was paused. What waits for its needs, for a person or for the time of its next attempt does not count,
    /// nor does what has not begun yet.
    pub queued_time: Duration,
    /// Merges: executions that several branches became.
    pub joins: usize,
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
        let (mut running, mut arrived) = (HashMap::new(), Arrivals::default());
        let mut then = CoreRun::blank(run.id().clone(), run.workflow().origin().clone());
        for recorded in journal {
            metrics.joins += usize::from(arrived.unites(&recorded.event));
            match &recorded.event {
                Event::AttemptStarted(started) => {
                    metrics.attempts += 1;
                    let begins = then.execution(started.step.as_str(), started.execution);
                    metrics.queued_time += since(begins.and_then(Execution::ready_since), recorded.at);
                    running.insert((&started.step, started.execution), recorded.at);
                    metrics.max_running = metrics.max_running.max(running.len());
                }
                Event::AttemptFailed { step, execution, retry_at, .. } => {
                    metrics.retries += usize::from(retry_at.is_some());
                    metrics.run_time += since(running.remove(&(step, *execution)), recorded.at);
                }
                Event::StepCompleted { step, execution, .. }
                | Event::StepFailed { step, execution, .. }
                | Event::StepCancelled { step, execution }
                | Event::AttemptSuspended { step, execution, .. }
                | Event::AttemptLost { step, execution, .. } => {
                    metrics.run_time += since(running.remove(&(step, *execution)), recorded.at);
                }
                Event::Conflict { .. } => metrics.conflicts += 1,
                Event::TokenAbsorbed { .. } => metrics.absorbed += 1,
                _ => {}
            }
            then.apply(&recorded.event, recorded.at);
        }
        metrics
    }

    /// Returns how many executions there are.
    pub fn total(&self) -> usize {
        self.executions.values().sum()
    }

    /// Returns how many executions have that status.
    pub fn count(&self, status: ExecutionStatus) -> usize {
        self.executions.get(&status).copied().unwrap_or(0)
    }
}

/// Plain branches that have come to each step since it was last activated by what was held there.
#[derive(Default)]
struct Arrivals<'e>(HashMap<&'e StepName, usize>);

impl<'e> Arrivals<'e> {
    /// Takes an event in; returns whether it made one execution of several branches.
    fn unites(&mut self, event: &'e Event) -> bool {
        match event {
            Event::StepCompleted { to, .. } => {
                let plain = to.iter().filter(|target| target.payload.is_none() && target.workflow.is_none());
                // Of a name that is there twice one branch goes.
                let mut names: Vec<&Target> = plain.collect();
                names.sort_by_key(|target| &target.step);
                names.dedup_by_key(|target| &target.step);
                for target in names {
                    self.comes(&target.step);
                }
            }
            Event::StepFailed { to: Some(step), .. } | Event::FailureHandled { to: Some(step), .. } => {
                self.comes(step);
            }
            Event::StepActivated { step, by: Activation::Held, .. } => {
                return self.0.remove(step).is_some_and(|count| count > 1);
            }
            _ => {}
        }
        false
    }

    fn comes(&mut self, step: &'e StepName) {
        *self.0.entry(step).or_default() += 1;
    }
}

fn since(begin: Option<Timestamp>, end: Timestamp) -> Duration {
    let micros = begin.map_or(0, |begin| end.0.saturating_sub(begin.0));
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
