//! Directories for what is needed for a while. Each goes with the value that made it; should its process be killed, with
//! the next [`sweep`].
//!
//! A living maker holds a lock on the directory (`flock`), which the system takes back from the dead. So nobody has to
//! know of the others, and nothing in the name tells whose it is.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::Builder;

/// A directory that only its user may look into. Dropping it removes it with all that is in it.
#[derive(Debug)]
pub struct Scratch {
    directory: PathBuf,
    /// Held until the directory is gone.
    _held: File,
}

impl Scratch {
    /// Makes a directory within another; its name begins with that prefix.
    pub fn make(within: &Path, prefix: &str) -> io::Result<Self> {
        let private = Permissions::from_mode(0o700);
        loop {
            let directory = Builder::new().prefix(prefix).permissions(private.clone()).tempdir_in(within)?;
            // Until it is held, somebody who sweeps may take it for one of the dead.
            if let Some(held) = hold(directory.path())? {
                return Ok(Self { directory: directory.keep(), _held: held });
            }
        }
    }

    /// Returns where it lies.
    pub fn path(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            tracing::warn!(%error, path = %self.directory.display(), "a directory that was needed for a while stays");
        }
    }
}

/// Removes what makers that are gone have left: own directories within another whose names begin with that prefix. Links
/// are not followed. What cannot be removed stays and is logged.
pub fn sweep(within: &Path, prefix: &str) {
    let entries = match fs::read_dir(within) {
        Ok(entries) => entries.flatten(),
        Err(error) => return tracing::debug!(%error, within = %within.display(), "not swept"),
    };
    for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes())) {
        let path = entry.path();
        let removed = match hold(&path) {
            Ok(Some(_held)) => remove(&path),
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::debug!(%error, path = %path.display(), "not swept");
        }
    }
}

/// Removes a directory with all that is in it. What lies deeper is moved up first, so that neither the stack nor the number
/// of open files grows with the depth, which whoever wrote there has chosen.
fn remove(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    let mut names = Names::new();
    loop {
        let mut is_empty = true;
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            is_empty = false;
            if entry.file_type()?.is_dir() {
                lift(&entry.path(), directory, &mut names)?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        if is_empty {
            return fs::remove_dir(directory);
        }
    }
}

/// Removes a directory whose own directories move to another.
fn lift(directory: &Path, to: &Path, names: &mut Names) -> io::Result<()> {
    // Its user may have taken away their own rights.
    let ours = || Permissions::from_mode(0o700);
    fs::set_permissions(directory, ours())?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::set_permissions(entry.path(), ours())?;
            fs::rename(entry.path(), to.join(names.next()))?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(directory)
}

/// Names that nobody could have thought of.
struct Names {
    random: u64,
    count: u64,
}

impl Names {
    fn new() -> Self {
        Self { random: RandomState::new().hash_one(0), count: 0 }
    }

    fn next(&mut self) -> String {
        self.count += 1;
        format!("{:016x}-{}", self.random, self.count)
    }
}

/// Locks an own directory; none if somebody else has, or has removed it.
fn hold(path: &Path) -> io::Result<Option<File>> {
    let no_link = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let directory = match OpenOptions::new().read(true).custom_flags(no_link).open(path) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match directory.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let locked = directory.metadata()?;
    let is_there =
        path.symlink_metadata().is_ok_and(|there| (there.dev(), there.ino()) == (locked.dev(), locked.ino()));
    Ok((is_there && locked.uid() == own_user()).then_some(directory))
}

#[expect(unsafe_code, reason = "std tells nobody who they are")]
fn own_user() -> u32 {
    // SAFETY: the call takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_the_dead_have_left_is_swept_and_nothing_else() {
        let within = tempfile::tempdir().unwrap();
        let at = |name: &str| within.path().join(name);
        for name in ["a-dead", "a-dead/folder", "other-dead", "target"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("file"), "kept").unwrap();
        }
        symlink(at("target"), at("a-dead/folder/link")).unwrap();
        symlink(at("target"), at("a-link")).unwrap();
        fs::write(at("a-file"), "kept").unwrap();
        let living = Scratch::make(within.path(), "a-").unwrap();
        fs::write(living.path().join("file"), "kept").unwrap();

        sweep(within.path(), "a-");
        assert!(!at("a-dead").exists());
        for kept in [at("other-dead/file"), at("target/file"), at("a-link/file"), living.path().join("file")]
        {
            assert_eq!(fs::read_to_string(kept).unwrap(), "kept");
        }
        assert!(at("a-file").is_file());
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
        sweep(&at("nowhere"), "a-");
    }

    #[test]
    fn what_is_nested_deeper_than_the_stack_is_removed() {
        let within = tempfile::tempdir().unwrap();
        let scratch = Scratch::make(within.path(), "a-").unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir(at("deep")).unwrap();
        for _ in 0..1_000 {
            fs::create_dir(at("next")).unwrap();
            fs::rename(at("deep"), at("next/deep")).unwrap();
            fs::rename(at("next"), at("deep")).unwrap();
        }
        fs::create_dir(at("closed")).unwrap();
        fs::create_dir(at("closed/inner")).unwrap();
        fs::write(at("closed/inner/file"), "").unwrap();
        for name in ["closed/inner", "closed"] {
            fs::set_permissions(at(name), Permissions::from_mode(0o000)).unwrap();
        }
        let small = std::thread::Builder::new().stack_size(64 << 10);
        small.spawn(move || drop(scratch)).unwrap().join().unwrap();
        assert_eq!(fs::read_dir(within.path()).unwrap().count(), 0);
    }

    #[test]
    fn who_sweeps_meanwhile_takes_no_directory_from_those_who_make_some() {
        let within = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                for _ in 0..200 {
                    let made = Scratch::make(within.path(), "a-").unwrap();
                    fs::write(made.path().join("file"), "").unwrap();
                }
            });
            while !made.is_finished() {
                sweep(within.path(), "a-");
            }
            made.join().unwrap();
        });
    }
}
