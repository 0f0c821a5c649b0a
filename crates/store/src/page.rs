//! Pages of lists, and where the next one begins.

use crate::model::Paged;

/// Makes a page of one item more than it may have.
pub(crate) fn cut<T>(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Paged<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(cursor) } else { None };
    Paged { items, next }
}

/// Cursors: a time and an id.
pub(crate) mod cursor {
    use stepwell_core::ids::Timestamp;

    use crate::error::Error;

    pub(crate) fn write(at: Timestamp, id: &str) -> String {
        format!("{}~{id}", at.0)
    }

    pub(crate) fn read(text: &str) -> Result<(Timestamp, String), Error> {
        let parts =
            text.split_once('~').and_then(|(at, id)| Some((Timestamp(at.parse().ok()?), id.to_owned())));
        parts.ok_or_else(|| Error::Invalid(format!("{text:?} is no cursor of ours")))
    }
}
