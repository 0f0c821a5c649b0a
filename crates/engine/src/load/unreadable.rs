//! Why a text is no document, in YAML and JSON alike, and how large one may be.

use std::borrow::Cow;

use super::node::Position;

/// Why a text is no document.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) message: String,
    pub(super) at: Position,
    pub(super) hint: Option<&'static str>,
}

/// Lists and objects are nested no deeper, so that whatever goes over a node may recurse.
pub(super) const MAX_DEPTH: usize = 100;

/// Why a number is none that a definition can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoNumber {
    /// An integer that would lose digits.
    Over64Bits,
    /// Larger than the largest number with a fraction.
    TooLarge,
    /// An infinity or NaN by name.
    NotFinite,
}

/// Characters that are shown of what may be of any length.
const SHOWN: usize = 30;

impl Unreadable {
    pub(super) fn new(message: impl Into<String>, at: Position) -> Self {
        Self { message: message.into(), at, hint: None }
    }

    pub(super) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    pub(super) fn too_deep(at: Position) -> Self {
        Self::new(format!("it is nested deeper than {MAX_DEPTH} levels"), at)
    }

    /// Returns why a number as it is written cannot be held: a value that would silently change is worse than an error.
    pub(super) fn no_number(written: &str, why: NoNumber, at: Position) -> Self {
        let shown = shown(written);
        let message = match why {
            NoNumber::Over64Bits => format!("the number {shown} does not fit into 64 bits"),
            NoNumber::TooLarge => format!("the number {shown} is too large"),
            NoNumber::NotFinite => format!("a number must be finite, not {shown}"),
        };
        Self::new(message, at).hint("in quotes it is a text")
    }
}

/// Returns the beginning of what is written, if it is long.
pub(super) fn shown(written: &str) -> Cow<'_, str> {
    match written.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &written[..end]).into(),
        None => written.into(),
    }
}
