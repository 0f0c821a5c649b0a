//! The names things go by: newtypes, so that a run id cannot be handed over where a wait id is meant.
//!
//! Ids that people see carry a readable prefix (`run_…`, `wait_…`). Nothing here invents an id: the shell
//! passes random ones in, and the core derives the rest from them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text as it is; limits are checked where text comes in from outside.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// Returns the text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// A run. Given by the caller (1–200 characters) or `run_` and a random part.
    RunId
);
text_id!(
    /// A step of a workflow, unique within it.
    StepName
);
text_id!(
    /// An open or resolved question of a run, unique across runs: `wait_` and a hash.
    WaitId
);
text_id!(
    /// A command; submitting the same id to the same run again returns the first outcome.
    CommandId
);

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// Which activation of a step this is: 1, 2, 3 … A loop makes several.
    Ordinal(u32)
);
number_id!(
    /// Position of an event in its run's journal: 1, 2, 3 … without gaps.
    Seq(u64)
);
number_id!(
    /// One life of a run; a retry opens the next. The first is 1.
    Epoch(u32)
);

/// A moment on the wall clock: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Returns the moment `ms` milliseconds later, saturating at the end of time.
    ///
    /// ```
    /// use stepwell_core::ids::Timestamp;
    /// assert_eq!(Timestamp(5).plus_ms(2), Timestamp(2_005));
    /// ```
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000)))
    }

    /// Returns the moment as programs read it: RFC 3339 in UTC, always with six digits, so that text sorts as time does.
    /// What lies outside the years 0000 to 9999 is told as their first or last moment.
    ///
    /// The date is reckoned as in "`chrono`-Compatible Low-Level Date Algorithms" (H. Hinnant), `civil_from_days`.
    ///
    /// ```
    /// use stepwell_core::ids::Timestamp;
    /// assert_eq!(Timestamp(0).rfc3339(), "1970-01-01T00:00:00.000000Z");
    /// assert_eq!(Timestamp(1_709_210_096_050_000).rfc3339(), "2024-02-29T12:34:56.050000Z");
    /// ```
    pub fn rfc3339(self) -> String {
        const DAY: i64 = 86_400_000_000;
        const FIRST: i64 = -62_167_219_200_000_000;
        const LAST: i64 = 253_402_300_799_999_999;
        let micros = self.0.clamp(FIRST, LAST);
        let (days, rest) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
        // Days since 0000-03-01, in eras of 400 years; a year begins in March, so that its leap day is the last.
        let days = days + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (seconds, micros) = (rest / 1_000_000, rest % 1_000_000);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }

    /// Returns how many milliseconds `self` lies after `earlier`; 0 if it does not.
    pub fn ms_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0) / 1_000).unwrap_or(0)
    }
}

/// An execution of a run, as commands and work items name it: the step and which activation of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExecutionRef {
    /// The step.
    pub step: StepName,
    /// Which activation.
    #[serde(rename = "execution")]
    pub ordinal: Ordinal,
}

impl fmt::Display for ExecutionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.step, self.ordinal)
    }
}

/// Returns the first `bytes` bytes, in hex, of SHA-256 over the parts, each preceded by its length so that
/// no two lists of parts hash alike.
pub(crate) fn digest(parts: &[&[u8]], bytes: usize) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize()[..bytes])
}

/// Returns the same text for the same value, whatever the order of its keys, and most likely another for any other.
pub fn digest_of(value: &serde_json::Value) -> String {
    digest(&[crate::canonical::canonical(value).as_bytes()], 8)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
