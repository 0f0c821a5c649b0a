//! Writing a file so that it is the old one or the new one, whatever happens meanwhile: a temporary file beside it,
//! synced, takes its name.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes a file. One that was there keeps its permissions; a link stays, and what it leads to is written.
pub(super) fn whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // What a new file may be is cut down by the umask of the process.
    let known = path.metadata().ok().map(|known| known.permissions());
    let permissions = known.clone().unwrap_or_else(|| Permissions::from_mode(0o666));
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
