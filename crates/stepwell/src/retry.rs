//! Further attempts of a state that failed.

use std::time::Duration;

use stepwell_core::policy::retry::{Backoff, RetryPolicy};

use crate::millis;

/// Further attempts of a state that failed.
///
/// The wait before them grows: `initial`, then `base` times as long each time, never longer than `max_delay`, and
/// with `jitter` between half and one and a half times of that. It is kept in the store, so a restart changes nothing
/// about it, and a state that waits for its next attempt holds nothing.
///
/// ```
/// use std::num::ParseIntError;
/// use std::time::Duration;
/// use stepwell::Retry;
///
/// let retry = Retry::times(5)
///     .initial(Duration::from_millis(200))
///     .base(3.0)
///     .max_delay(Duration::from_secs(20))
///     .jitter(false)
///     .non_retryable::<ParseIntError>();
/// # let _ = retry;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Retry {
    policy: RetryPolicy,
}

impl Retry {
    /// Returns so many attempts after the first: after 1 s, 2 s, 4 s … up to 60 s, with jitter.
    pub fn times(max_retries: u32) -> Self {
        let policy = RetryPolicy {
            max_retries,
            backoff: Backoff::Exponential,
            initial_ms: 1_000,
            max_ms: 60_000,
            base: 2.0,
            jitter_from: 0.5,
            jitter_span: 1.0,
            non_retryable: Vec::new(),
        };
        Self { policy }
    }

    /// Waits so long before the second attempt.
    pub fn initial(mut self, delay: Duration) -> Self {
        self.policy.initial_ms = millis(delay);
        self
    }

    /// Waits so many times as long before each further attempt; at least 1.
    pub fn base(mut self, base: f64) -> Self {
        self.policy.base = base;
        self
    }

    /// Waits no longer than this.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.policy.max_ms = millis(delay);
        self
    }

    /// Says whether chance stretches or shortens the waits, so that those who failed together do not come back together.
    pub fn jitter(mut self, jitter: bool) -> Self {
        (self.policy.jitter_from, self.policy.jitter_span) = if jitter { (0.5, 1.0) } else { (1.0, 0.0) };
        self
    }

    /// An error of this type, passed on with `?`, is not tried again.
    pub fn non_retryable<E: std::error::Error + 'static>(mut self) -> Self {
        self.policy.non_retryable.push(std::any::type_name::<E>().to_owned());
        self
    }

    pub(crate) fn into_policy(self) -> RetryPolicy {
        self.policy
    }
}
