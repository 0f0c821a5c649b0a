//! One script to run, and what came of it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// A script with everything it is given.
#[derive(Clone, Debug)]
pub struct PythonTask {
    /// The script.
    pub source: Source,
    /// An object; the script sees it as the globals `args` and `context`, one and the same dict.
    pub args: Value,
    /// Further globals, set before the script starts.
    pub bindings: Vec<(String, Value)>,
    /// How long the script may run.
    pub timeout: Duration,
    /// The script's working directory, absolute, and where a relative file path starts.
    pub base_dir: PathBuf,
    /// Whether it runs in an interpreter of its own, where it can take nobody along. That one must start first.
    pub alone: bool,
}

/// Where a script comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Its text.
    Code(String),
    /// A file inside the roots of the settings.
    File(PathBuf),
}

/// What a script that ended well left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct PythonOutcome {
    /// The global `result`, `null` if the script set none.
    pub result: Value,
    /// What was written to stdout; bytes that are not UTF-8 became U+FFFD.
    pub output: String,
    /// What was written to stderr.
    pub stderr: String,
    /// Seconds the script ran.
    pub execution_time: f64,
}
