//! Who was there when an interpreter died. Any of them may have killed it and may do so again, so each runs alone the
//! next time: whoever did nothing wrong is lost once, and not as often as the one who did.
//!
//! This is known to one process and until it ends. Another one that makes the next attempt may learn it anew.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};

/// So many are remembered; then all are forgotten, since most of them have ended long ago.
const MAX: usize = 10_000;

/// Executions, by their idempotency key.
#[derive(Debug, Default)]
pub(super) struct Suspects(Mutex<HashSet<String>>);

impl Suspects {
    pub(super) fn contain(&self, execution: &str) -> bool {
        self.known().contains(execution)
    }

    /// Takes note of how an attempt ended: with its interpreter, or otherwise.
    pub(super) fn note(&self, execution: &str, was_lost: bool) {
        let mut known = self.known();
        if !was_lost {
            known.remove(execution);
            return;
        }
        if known.len() >= MAX {
            known.clear();
        }
        known.insert(execution.to_owned());
    }

    fn known(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().expect("no panic happens under this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_lost_is_suspect_until_an_attempt_ends_otherwise() {
        let suspects = Suspects::default();
        for (was_lost, is_suspect) in [(false, false), (true, true), (true, true), (false, false)] {
            suspects.note("a", was_lost);
            assert_eq!(suspects.contain("a"), is_suspect);
        }
        assert!(!suspects.contain("b"));
    }

    #[test]
    fn no_more_are_remembered_than_fit() {
        let suspects = Suspects::default();
        for number in 0..=MAX {
            suspects.note(&number.to_string(), true);
        }
        assert!(suspects.contain(&MAX.to_string()));
        assert!(suspects.known().len() <= MAX);
    }
}
