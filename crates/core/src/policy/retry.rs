//! When a failed attempt is followed by another, and how long after.

use serde::{Deserialize, Serialize};

/// Further attempts after a failed one. Delays are milliseconds.
///
/// Two published formulas meet here. spec/gleitzeit.md §1.3 stretches by `1 + u·0.3`, spec/fluffy.md §6 by
/// `0.5 + u`; both are `jitter_from + u·jitter_span` with `u` uniform in [0, 1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub max_retries: u32,
    /// How the delay grows.
    #[serde(default)]
    pub backoff: Backoff,
    /// Delay before the first retry.
    pub initial_ms: u64,
    /// No delay is longer.
    pub max_ms: u64,
    /// Base of the exponential growth.
    #[serde(default = "two")]
    pub base: f64,
    /// Smallest factor of the jitter.
    #[serde(default = "one")]
    pub jitter_from: f64,
    /// Width of the jitter; 0: none.
    #[serde(default)]
    pub jitter_span: f64,
    /// Names of exception types that are tried once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub non_retryable: Vec<String>,
}

/// How delays grow from one retry to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Always the initial delay.
    Fixed,
    /// Initial delay times the number of the retry.
    Linear,
    /// Initial delay times base to the number of the retry less one.
    #[default]
    Exponential,
}

fn one() -> f64 {
    1.0
}

fn two() -> f64 {
    2.0
}

impl RetryPolicy {
    /// Returns `max_retries` further attempts with the given fixed delay and no jitter.
    pub fn fixed(max_retries: u32, delay_ms: u64) -> Self {
        Self {
            max_retries,
            backoff: Backoff::Fixed,
            initial_ms: delay_ms,
            max_ms: delay_ms,
            base: 2.0,
            jitter_from: 1.0,
            jitter_span: 0.0,
            non_retryable: Vec::new(),
        }
    }

    /// Returns the delay before retry `number` (1, 2, …) in milliseconds.
    ///
    /// `u` is a random number in [0, 1) from the shell. `retry_after_ms` is what the failed party asked for;
    /// it can lengthen the delay, never beyond `max_ms`.
    ///
    /// ```
    /// use stepwell_core::policy::retry::{Backoff, RetryPolicy};
    /// let policy = RetryPolicy { backoff: Backoff::Exponential, initial_ms: 100, max_ms: 350, ..RetryPolicy::fixed(5, 0) };
    /// let delays: Vec<u64> = (1..=4).map(|n| policy.delay_ms(n, 0.5, None)).collect();
    /// assert_eq!(delays, [100, 200, 350, 350]);
    /// ```
    pub fn delay_ms(&self, number: u32, u: f64, retry_after_ms: Option<u64>) -> u64 {
        let initial = self.initial_ms as f64;
        let grown = match self.backoff {
            Backoff::Fixed => initial,
            Backoff::Linear => initial * f64::from(number),
            Backoff::Exponential => {
                initial * self.base.powi(i32::try_from(number.saturating_sub(1)).unwrap_or(i32::MAX))
            }
        };
        let stretched = grown * (self.jitter_from + u * self.jitter_span);
        let asked = retry_after_ms.unwrap_or(0) as f64;
        // `as` saturates, so an overflowing power becomes the longest delay and `min` cuts it.
        (stretched.max(asked).round() as u64).min(self.max_ms)
    }
}
