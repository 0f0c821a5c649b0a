//! What the demo reads from the journal of its run.

use stepwell_core::run::event::Event;
use stepwell_core::run::wait::Resolution;
use stepwell_store::Recorded;

pub(crate) struct Journal(pub(crate) Vec<Recorded>);

impl Journal {
    /// Returns how many events are so.
    pub(crate) fn count(&self, is_so: impl Fn(&Event) -> bool) -> usize {
        self.0.iter().filter(|recorded| is_so(&recorded.event)).count()
    }

    /// Returns how often a step was attempted.
    pub(crate) fn attempts(&self, step: &str) -> usize {
        self.count(|event| matches!(event, Event::AttemptStarted(started) if started.step.as_str() == step))
    }

    /// Returns the steps that were completed, by name, as often as they were.
    pub(crate) fn completed(&self) -> Vec<&str> {
        let completed = self.0.iter().filter_map(|recorded| match &recorded.event {
            Event::StepCompleted { step, .. } => Some(step.as_str()),
            _ => None,
        });
        sorted(completed.collect())
    }

    /// Returns whether the first completion is followed at once by the activation of three steps: one commit.
    pub(crate) fn begins_branches_at_once(&self) -> bool {
        let is_completion = |recorded: &Recorded| matches!(recorded.event, Event::StepCompleted { .. });
        let Some(first) = self.0.iter().position(is_completion) else { return false };
        let then = self.0[first + 1..].iter();
        then.take_while(|recorded| matches!(recorded.event, Event::StepActivated { .. })).count() == 3
    }

    /// Returns the id of the question that the run has asked.
    pub(crate) fn question(&self) -> Option<String> {
        self.0.iter().find_map(|recorded| match &recorded.event {
            Event::WaitOpened { wait, .. } => Some(wait.to_string()),
            _ => None,
        })
    }

    /// Returns who answered, for every answer.
    pub(crate) fn answered_by(&self) -> Vec<String> {
        let answers = self.0.iter().filter_map(|recorded| match &recorded.event {
            Event::WaitResolved { resolution: Resolution::Answered { by, .. }, .. } => by.clone(),
            _ => None,
        });
        answers.collect()
    }

    /// Returns whether its events are numbered 1, 2, 3 …
    pub(crate) fn has_no_gap(&self) -> bool {
        self.0.iter().zip(1..).all(|(recorded, seq)| recorded.seq.0 == seq)
    }
}

pub(crate) fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names
}
