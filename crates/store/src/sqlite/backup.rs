//! A copy of the store, made while others write: beside its place first, looked at, and put there when it is whole.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::{errors, open};
use crate::error::Error;
use crate::scratch::{self, Scratch};

/// Copies the store of a connection to a file. One that exists is replaced only if asked for.
pub(super) fn to(conn: &Connection, store: &Path, target: &Path, replace: bool) -> Result<(), Error> {
    refuse_place(store, target, replace)?;
    let (dir, prefix) = (open::dir_of(target), prefix_of(target));
    scratch::sweep(dir, &prefix);
    // SQLite makes files beside the copy for a while.
    let scratch = Scratch::make(dir, &prefix).map_err(|error| not_written(target, &error))?;
    let draft = scratch.path().join("copy.db");
    copy(conn, &draft)?;
    put(&draft, target, replace)
}

/// Returns how the names of directories begin in which copies for that file are made.
fn prefix_of(target: &Path) -> String {
    format!("{}.copy-", target.file_name().unwrap_or_default().to_string_lossy())
}

/// Refuses a place where the copy would destroy something, or be destroyed by what lies beside it.
fn refuse_place(store: &Path, target: &Path, replace: bool) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::Invalid(format!("{} {why}", target.display())));
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let own = beside(store, suffix);
        if inode(&own).is_some_and(|own| Some(own) == inode(target)) {
            return refuse("belongs to the store itself; a backup goes to another file".into());
        }
    }
    if target.symlink_metadata().is_ok() && !replace {
        return refuse("exists; a backup goes to a new file".into());
    }
    if target.is_dir() {
        return refuse("is a directory; a backup goes to a file".into());
    }
    // A device or a pipe would be replaced, and so would a link.
    if target.symlink_metadata().is_ok_and(|there| !there.is_file()) {
        return refuse("is no regular file; a backup goes to a file".into());
    }
    // SQLite would take the log of another database for that of the copy.
    match ["-wal", "-journal"].iter().map(|suffix| beside(target, suffix)).find(|log| log.exists()) {
        None => Ok(()),
        Some(log) => refuse(format!(
            "is in use, or was not closed: its log {} is there; name another file",
            log.display()
        )),
    }
}

fn copy(conn: &Connection, draft: &Path) -> Result<(), Error> {
    let made = || -> rusqlite::Result<String> {
        let mut copy = Connection::open(draft)?;
        // In one step: whoever writes meanwhile cannot make it begin again.
        rusqlite::backup::Backup::new(conn, &mut copy)?.run_to_completion(i32::MAX, Duration::ZERO, None)?;
        let found = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        copy.close().map_err(|(_, error)| error)?;
        Ok(found)
    };
    match made().map_err(|error| errors::write(draft, &error))?.as_str() {
        "ok" => {
            File::open(draft).and_then(|file| file.sync_all()).map_err(|error| not_written(draft, &error))
        }
        found => Err(Error::Corrupt { what: format!("checking {}", draft.display()), reason: found.into() }),
    }
}

/// Moves the copy to its place, for good.
fn put(draft: &Path, target: &Path, replace: bool) -> Result<(), Error> {
    let moved = if replace { std::fs::rename(draft, target) } else { std::fs::hard_link(draft, target) };
    match moved {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Error::Invalid(format!("{} exists; a backup goes to a new file", target.display())))
        }
        moved => moved
            .and_then(|()| File::open(open::dir_of(target))?.sync_all())
            .map_err(|error| not_written(target, &error)),
    }
}

fn not_written(path: &Path, error: &std::io::Error) -> Error {
    Error::WriteFailed { what: format!("writing {}", path.display()), source: error.to_string().into() }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
