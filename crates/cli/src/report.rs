//! The report of a batch: a file in JSON or Markdown with everything that came of every file.

use std::io;
use std::path::{Path, PathBuf};

use stepwell_core::error::{Code, ErrorObject};
use stepwell_engine::batch::BatchResult;

use crate::whole_file;

/// Where a report goes.
pub(crate) struct Report {
    path: PathBuf,
    is_json: bool,
}

impl Report {
    /// Judges the file before anything runs.
    pub(crate) fn to(path: &Path) -> Result<Self, ErrorObject> {
        let suffix = path.extension().and_then(|suffix| suffix.to_str()).map(str::to_ascii_lowercase);
        let is_json = match suffix.as_deref() {
            Some("json") => true,
            Some("md") => false,
            _ => {
                let message =
                    format!("--output wants a file that ends in .json or .md, not '{}'", path.display());
                return Err(ErrorObject::new(Code::INVALID_PARAMS, message).with("parameter", "--output"));
            }
        };
        whole_file::can_be_written("--output", path)?;
        Ok(Self { path: path.to_owned(), is_json })
    }

    /// Writes it, whole or not at all.
    pub(crate) fn write(&self, result: &BatchResult) -> Result<(), ErrorObject> {
        let save = if self.is_json { BatchResult::save_to_json } else { BatchResult::save_to_markdown };
        save(result, &self.path).map_err(|why: io::Error| {
            let message = format!("the report {} cannot be written: {why}", self.path.display());
            ErrorObject::new(Code::CONFIGURATION_ERROR, message)
                .with("reason", "output")
                .with("path", self.path.display().to_string())
        })
    }
}
