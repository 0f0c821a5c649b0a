//! The reader of the side channel as fuzz targets reach it. It is no part of what the crate promises.

use super::wire::{Answer, Notice, Verdict};

/// Returns whether bytes are an answer with a result.
pub fn is_result(bytes: &[u8]) -> bool {
    matches!(Answer::parse(bytes).verdict, Verdict::Result { .. })
}

/// Reads a notice of a parent; returns whether it is one.
pub fn notice(bytes: &[u8]) -> bool {
    Notice::parse(bytes).is_some()
}
