//! The key under which a step's effects are made only once.

use std::fmt;

use crate::ids::{Ordinal, RunId, StepName, digest};

/// The key under which the effects of an execution are made only once: hexadecimal digits. Most steps never ask for it, so it is
/// made when it is shown.
#[derive(Clone, Debug)]
pub enum IdempotencyKey {
    /// Of the execution that a restored run has from a checkpoint.
    Kept(Box<str>),
    /// Of what the execution is.
    Of {
        /// The run.
        run: RunId,
        /// The step.
        step: StepName,
        /// Which activation.
        ordinal: Ordinal,
        /// How often the input was replaced before it began.
        generation: u32,
    },
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(key) => f.write_str(key),
            Self::Of { run, step, ordinal, generation } => {
                let numbers = (ordinal.0.to_le_bytes(), generation.to_le_bytes());
                let parts = [run.as_str().as_bytes(), step.as_str().as_bytes(), &numbers.0, &numbers.1];
                f.write_str(&digest(&parts, 16))
            }
        }
    }
}

/// Two are the same if they show the same.
impl PartialEq for IdempotencyKey {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}
