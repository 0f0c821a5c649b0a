//! Where a store lies: one name for whoever opens it, and whether it is still there.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::errors;
use crate::error::Error;

/// Returns the one name of a file that all its openers use, whatever links they come by: its lock and its log are found
/// by name.
pub(super) fn real_path(path: &Path) -> Result<PathBuf, Error> {
    match std::fs::canonicalize(path) {
        Ok(real) if real.is_dir() => Err(not_there(path, "it is a directory, and a store is a file")),
        // Whoever opens a pipe waits for somebody else.
        Ok(real) if !real.is_file() => {
            Err(not_there(path, "it is a pipe or a device, and a store is a file"))
        }
        Ok(real) => Ok(real),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => new_path(path),
        Err(error) => Err(errors::io("opening", path, &error)),
    }
}

fn not_there(path: &Path, reason: &str) -> Error {
    Error::NotThere { what: format!("opening {}", path.display()), reason: reason.to_owned() }
}

fn new_path(path: &Path) -> Result<PathBuf, Error> {
    if path.symlink_metadata().is_ok() {
        return Err(not_there(path, "it is a link to a file that does not exist"));
    }
    let Some(name) = path.file_name() else {
        return Err(not_there(path, "that names no file"));
    };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match std::fs::canonicalize(dir) {
        Ok(dir) => Ok(dir.join(name)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(not_there(path, &format!("the directory {} does not exist", dir.display())))
        }
        Err(error) => Err(errors::io("opening", path, &error)),
    }
}

/// The files of an open store.
#[derive(Clone, Debug)]
pub(super) struct Place {
    database: Known,
    lock: Known,
}

#[derive(Clone, Debug)]
struct Known {
    path: PathBuf,
    inode: (u64, u64),
}

impl Known {
    fn of(path: PathBuf) -> std::io::Result<Self> {
        let meta = std::fs::metadata(&path)?;
        Ok(Self { inode: (meta.dev(), meta.ino()), path })
    }

    /// Returns what became of the file, if it is not where it was.
    fn trouble(&self) -> Option<&'static str> {
        match std::fs::metadata(&self.path) {
            Ok(meta) if (meta.dev(), meta.ino()) == self.inode => None,
            Ok(_) => Some("was replaced by another file"),
            Err(_) => Some("was moved or deleted"),
        }
    }
}

impl Place {
    /// Takes note of the files of a store that has been opened.
    pub(super) fn of(database: &Path, lock: &Path) -> Result<Self, Error> {
        let known =
            |path: &Path| Known::of(path.to_owned()).map_err(|error| errors::io("opening", path, &error));
        Ok(Self { database: known(database)?, lock: known(lock)? })
    }

    /// Returns the path of the database.
    pub(super) fn database(&self) -> &Path {
        &self.database.path
    }

    /// Fails if one of the files is not what was opened any more: what is written now nobody else would see, and
    /// nobody would see that this process lives.
    pub(super) fn check(&self) -> Result<(), Error> {
        for file in [&self.database, &self.lock] {
            if let Some(trouble) = file.trouble() {
                return Err(Error::NotThere {
                    what: format!("using {}", self.database.path.display()),
                    reason: format!("{} {trouble} while it was in use", file.path.display()),
                });
            }
        }
        Ok(())
    }
}

/// Refuses a file with a second name (a hard link): each name would have a log of its own, which damages the database.
pub(super) fn refuse_second_name(path: &Path) -> Result<(), Error> {
    let links = |path: &Path| std::fs::metadata(path).map(|meta| (meta.nlink(), meta.dev(), meta.ino()));
    let found = links(path).map_err(|error| errors::io("opening", path, &error))?;
    if found.0 <= 1 {
        return Ok(());
    }
    // Whoever creates a store has a second name for it for a moment, and keeps it if it is killed in that moment.
    for draft in super::open::drafts_of(path) {
        if links(&draft).is_ok_and(|(_, dev, ino)| (dev, ino) == (found.1, found.2)) {
            // Its maker may be faster.
            let _gone = std::fs::remove_file(&draft);
        }
    }
    match links(path) {
        Ok((0 | 1, ..)) => Ok(()),
        Ok(_) => {
            let reason = "it has a second name (a hard link), and SQLite cannot keep a file under two; copy it instead";
            Err(not_there(path, reason))
        }
        Err(error) => Err(errors::io("opening", path, &error)),
    }
}
