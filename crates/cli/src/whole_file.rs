//! Files of results: written beside their place, synced, and renamed, so that nobody ever reads half of one.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use stepwell_core::error::{Code, ErrorObject};

/// Refuses a file that could not be written, before there is anything to write.
pub(crate) fn can_be_written(argument: &str, file: &Path) -> Result<(), ErrorObject> {
    let dir = dir(file);
    let why = if file.is_dir() {
        format!("{} is a directory", file.display())
    } else if !dir.is_dir() {
        format!("there is no directory {}", dir.display())
    } else {
        return Ok(());
    };
    Err(ErrorObject::new(Code::INVALID_PARAMS, format!("{argument}: {why}")).with("parameter", argument))
}

/// Writes a text and a line end to the file, in place of what was there.
pub(crate) fn write(argument: &str, file: &Path, text: &str) -> Result<(), ErrorObject> {
    let written = || -> std::io::Result<()> {
        // Who may read it is what the process was told (umask), as for any file; not only its user.
        let anybody = Permissions::from_mode(0o666);
        let mut beside = tempfile::Builder::new().permissions(anybody).tempfile_in(dir(file))?;
        writeln!(beside, "{text}")?;
        beside.as_file().sync_all()?;
        beside.persist(file)?;
        // The name is to be as durable as what it names.
        std::fs::File::open(dir(file))?.sync_all()
    };
    written().map_err(|error| {
        let message = format!("{argument}: {} cannot be written: {error}", file.display());
        ErrorObject::new(Code::CONFIGURATION_ERROR, message).with("reason", "output")
    })
}

fn dir(file: &Path) -> &Path {
    file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
