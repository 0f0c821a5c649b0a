//! What the processes of a test really did: one line each, appended in one write, so that a kill loses none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Something that a process did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Line {
    /// It opened the store, where the journals of the run and its children ended at these numbers.
    Life { pid: u32, ends: BTreeMap<String, u64> },
    /// It carried out an attempt.
    Did { run: String, step: String, ordinal: u32, attempt: u32, pid: u32 },
    /// It called the function of a `once`.
    Once,
    /// It was told that its signal is taken.
    Acked,
    /// The run rests in that status, after so many commits and writes of this process.
    Rests { status: String, begun: u32, done: u32, views: Value },
}

#[derive(Clone, Debug)]
pub(super) struct Log {
    path: PathBuf,
}

impl Log {
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write(&self, line: &Line) {
        let mut text = serde_json::to_string(line).expect("a line is plain data");
        text.push('\n');
        let mut file =
            File::options().append(true).create(true).open(&self.path).expect("the log can be opened");
        file.write_all(text.as_bytes()).expect("the log can be written");
    }

    pub(super) fn read(&self) -> Vec<Line> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("lines are written whole")).collect()
    }
}
