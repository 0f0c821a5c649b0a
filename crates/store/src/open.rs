//! From a URL to a store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Store;
use crate::error::Error;
use crate::memory::MemoryStore;
use crate::sqlite::{SqliteOptions, SqliteStore};

/// Opens the store that a URL names: `memory:`, or `sqlite://PATH` with `?durability=fsync|crash` and
/// `?busy_timeout=SECONDS`.
///
/// # Errors
/// `Invalid` for a URL that names no store, else what opening it came to. There is no falling back.
pub async fn open(url: &str) -> Result<Arc<dyn Store>, Error> {
    match Named::by(url)? {
        Named::Memory => Ok(Arc::new(MemoryStore::default())),
        Named::Sqlite(path, options) => Ok(Arc::new(SqliteStore::open(&path, options).await?)),
    }
}

/// Reads a URL and opens nothing.
///
/// # Errors
/// `Invalid` for a URL that names no store.
pub fn check_url(url: &str) -> Result<(), Error> {
    Named::by(url).map(|_| ())
}

/// What a URL names.
enum Named {
    Memory,
    Sqlite(PathBuf, SqliteOptions),
}

impl Named {
    fn by(url: &str) -> Result<Self, Error> {
        if url == "memory:" {
            return Ok(Self::Memory);
        }
        if let Some(rest) = url.strip_prefix("sqlite://") {
            let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
            if path.is_empty() {
                return Err(Error::Invalid(
                    "sqlite:// wants a path, such as sqlite://.stepwell/stepwell.db".into(),
                ));
            }
            return Ok(Self::Sqlite(PathBuf::from(path), options(query)?));
        }
        if !url.contains(':') {
            let message = format!("{url:?} is no URL of a store; for a file write sqlite://{url}");
            return Err(Error::Invalid(message));
        }
        let scheme = url.split(':').next().unwrap_or_default();
        Err(Error::Invalid(format!("no store is known for '{scheme}:'; known: memory:, sqlite://PATH")))
    }
}

fn options(query: &str) -> Result<SqliteOptions, Error> {
    let mut options = SqliteOptions::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (key, value) {
            ("durability", "fsync") => options.fsync = true,
            ("durability", "crash") => options.fsync = false,
            ("busy_timeout", seconds) => {
                let seconds = seconds
                    .parse()
                    .map_err(|_| Error::Invalid(format!("busy_timeout wants seconds, not {seconds:?}")))?;
                options.busy_timeout = Duration::from_secs(seconds);
            }
            _ => return Err(Error::Invalid(format!("a sqlite store has no setting {pair:?}"))),
        }
    }
    Ok(options)
}
