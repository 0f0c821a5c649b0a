//! Writing a file so that it is the old one or the new one, whatever happens meanwhile: a temporary file beside it,
//! synced, takes its name.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Writes a file, durably. One that was there keeps its permissions; a link stays, and what it leads to is written.
pub fn write(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let path = &place_of(path)?;
    let known = path.metadata().ok().map(|known| known.permissions());
    // What a new file may be is cut down by the umask of the process.
    replace(path, 0o666, known, write)
}

/// Writes a file as [`write()`] does, which nobody but its owner may read or write, also if it was there.
pub fn write_private(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    replace(&place_of(path)?, 0o600, None, write)
}

fn replace(
    path: &Path,
    mode: u32,
    known: Option<Permissions>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let permissions = known.clone().unwrap_or_else(|| Permissions::from_mode(mode));
    let mut temporary = tempfile::Builder::new();
    temporary.prefix(".stepwell-").suffix(".tmp").permissions(permissions);
    let temporary = temporary.tempfile_in(directory)?;
    let mut out = BufWriter::new(temporary);
    write(&mut out)?;
    let temporary = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    if let Some(known) = known {
        temporary.as_file().set_permissions(known)?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|failed| failed.error)?;
    File::open(directory)?.sync_all()
}

/// Returns the file that a path means, for [`write()`]. It is to be a file or nothing: a device or a pipe would be replaced, a link that
/// leads to nothing too.
pub fn place_of(path: &Path) -> io::Result<PathBuf> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(error),
        Ok(_) => {
            let real = path.canonicalize()?;
            if real.metadata()?.is_file() {
                return Ok(real);
            }
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_stays_and_what_is_no_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("old"), "old").unwrap();
        symlink(at("old"), at("link")).unwrap();
        write(&at("link"), |out| out.write_all(b"new")).unwrap();
        assert!(at("link").is_symlink());
        assert_eq!(std::fs::read_to_string(at("old")).unwrap(), "new");

        symlink(at("nothing"), at("dangling")).unwrap();
        symlink("/dev/null", at("null")).unwrap();
        for wrong in [at("dangling"), at("null"), dir.path().to_owned(), "/dev/null".into()] {
            assert!(write(&wrong, |_| Ok(())).is_err(), "{}", wrong.display());
        }
        assert!(at("dangling").is_symlink() && at("null").is_symlink());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4, "nothing is left beside them");
    }
}
