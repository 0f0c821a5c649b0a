//! What a tag says a value is.

use granit_parser::{Span, Tag};

use super::place;
use crate::load::unreadable::{Unreadable, shown};

/// Returns which of the tags of the core schema it is, without its `!!`: `str`, `int` and so on. The tag `!` alone stands for
/// what any value of the sort is.
///
/// # Errors
/// A tag of others, which no value here can have.
pub(super) fn kind<'a>(tag: &'a Tag, any: &'static str, span: Span) -> Result<&'a str, Unreadable> {
    if tag.parts() == ("", "!") {
        return Ok(any);
    }
    tag.core_suffix().ok_or_else(|| {
        let message = format!("the tag '{}' is not known", shown(&tag.original()));
        Unreadable::new(message, place(span.tag_span().unwrap_or(span)))
            .hint("a text that begins with '!' stands in quotes")
    })
}

/// Checks the tag of a list or object.
///
/// # Errors
/// It says something else.
pub(super) fn check(tag: Option<&Tag>, sort: &'static str, span: Span) -> Result<(), Unreadable> {
    match tag {
        Some(tag) if kind(tag, sort, span)? != sort => Err(unfit(tag, span)),
        Some(_) | None => Ok(()),
    }
}

/// Returns the error of a tag on a value that is none such.
pub(super) fn unfit(tag: &Tag, span: Span) -> Unreadable {
    let message = format!("the value is not what its tag '{}' says", shown(&tag.original()));
    Unreadable::new(message, place(span.tag_span().unwrap_or(span)))
}
