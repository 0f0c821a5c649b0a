//! What failed for good.

use std::collections::HashMap;
use std::time::SystemTime;

use stepwell_core::error::ErrorObject;
use stepwell_core::run::event::Event;
use stepwell_store::Recorded;

use crate::context::system_time;

/// The final failure of a state, as the journal keeps it, whatever was done about it;
/// [`Run::dead_letters`](super::Run::dead_letters) returns them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The state.
    pub step: String,
    /// Which activation of it.
    pub ordinal: u32,
    /// What went wrong, over all attempts.
    pub error: ErrorObject,
    /// How many attempts were made.
    pub attempts: u32,
    /// The last one ran out of time.
    pub timed_out: bool,
    /// When it failed.
    pub failed_at: SystemTime,
}

impl DeadLetter {
    /// Returns those of a journal, oldest first.
    pub(super) fn of(journal: Vec<Recorded>) -> Vec<Self> {
        let (mut attempts, mut letters) = (HashMap::new(), Vec::new());
        for recorded in journal {
            match recorded.event {
                Event::AttemptStarted(started) => {
                    attempts.insert((started.step, started.execution), started.attempt);
                }
                Event::StepFailed { step, execution, timed_out, error, .. } => letters.push(Self {
                    attempts: attempts.get(&(step.clone(), execution)).copied().unwrap_or(0),
                    step: step.to_string(),
                    ordinal: execution.0,
                    error: *error,
                    timed_out,
                    failed_at: system_time(recorded.at),
                }),
                _ => {}
            }
        }
        letters
    }
}
