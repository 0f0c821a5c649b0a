//! What `SQLite` says, as the errors of a store.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::Error;

fn what(operation: &str, path: &Path) -> String {
    format!("{operation} {}", path.display())
}

fn corrupt(path: &Path, error: &rusqlite::Error) -> Option<Error> {
    let code = error.sqlite_error_code()?;
    matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        .then(|| Error::Corrupt { what: what("reading", path), reason: error.to_string() })
}

pub(super) fn read(path: &Path, error: &rusqlite::Error) -> Error {
    corrupt(path, error).unwrap_or_else(|| Error::Unavailable {
        what: what("reading", path),
        source: error.to_string().into(),
    })
}

pub(super) fn write(path: &Path, error: &rusqlite::Error) -> Error {
    corrupt(path, error).unwrap_or_else(|| Error::WriteFailed {
        what: what("writing", path),
        source: error.to_string().into(),
    })
}

pub(super) fn io(operation: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::Unavailable { what: what(operation, path), source: error.to_string().into() }
}

pub(super) fn closed() -> Error {
    Error::Unavailable { what: "the store".into(), source: "it was closed, or its writer has ended".into() }
}

pub(super) fn busy(path: &Path, holders: &[String]) -> Error {
    let by = if holders.is_empty() { "another process".to_owned() } else { holders.join(", ") };
    Error::Unavailable { what: what("writing", path), source: format!("{by} holds the file").into() }
}

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Says an error once more, for the next who must hear it.
pub(super) fn again(error: &Error) -> Error {
    match error {
        Error::NotFound(text) => Error::NotFound(text.clone()),
        Error::Unavailable { what, source } => {
            Error::Unavailable { what: what.clone(), source: source.to_string().into() }
        }
        Error::NotThere { what, reason } => Error::NotThere { what: what.clone(), reason: reason.clone() },
        Error::WriteFailed { what, source } => {
            Error::WriteFailed { what: what.clone(), source: source.to_string().into() }
        }
        Error::Corrupt { what, reason } => Error::Corrupt { what: what.clone(), reason: reason.clone() },
        Error::Invalid(text) => Error::Invalid(text.clone()),
    }
}
