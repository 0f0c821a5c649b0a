//! Files that a command writes its results to: judged before there are any, written whole or not at all.

use std::path::Path;

use stepwell_core::error::{Code, ErrorObject};
use stepwell_engine::whole_file;

/// Refuses a file that could not be written, before there is anything to write.
pub(crate) fn can_be_written(argument: &str, file: &Path) -> Result<(), ErrorObject> {
    has_place(argument, file)?;
    whole_file::place_of(file)
        .map(|_| ())
        .map_err(|error| refusal(argument, &format!("{} cannot be written: {error}", file.display())))
}

/// Refuses a file that has no directory to be in, or is one.
pub(crate) fn has_place(argument: &str, file: &Path) -> Result<(), ErrorObject> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if file.is_dir() {
        Err(refusal(argument, &format!("{} is a directory", file.display())))
    } else if !dir.is_dir() {
        Err(refusal(argument, &format!("there is no directory {}", dir.display())).with_hint("make it first"))
    } else {
        Ok(())
    }
}

fn refusal(argument: &str, why: &str) -> ErrorObject {
    ErrorObject::new(Code::INVALID_PARAMS, format!("{argument}: {why}")).with("parameter", argument)
}

/// Writes a text and a line end to the file, in place of what was there.
pub(crate) fn write(argument: &str, file: &Path, text: &str) -> Result<(), ErrorObject> {
    whole_file::write(file, |out| writeln!(out, "{text}")).map_err(|error| {
        let message = format!("{argument}: {} cannot be written: {error}", file.display());
        ErrorObject::new(Code::CONFIGURATION_ERROR, message).with("reason", "output")
    })
}
