//! What a pool is told once: which interpreter, which limits.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::thread::available_parallelism;

/// Settings of a [`PythonPool`](super::PythonPool).
#[derive(Clone, Debug)]
pub struct PythonSettings {
    /// The interpreter, a name looked up in `PATH` or a path.
    pub interpreter: PathBuf,
    /// Names of environment variables that tasks may see; a trailing `*` stands for any ending.
    pub env_allow: Vec<String>,
    /// Directories that script files may lie in.
    pub roots: Vec<PathBuf>,
    /// Whether the directory a run was submitted from is a root for it too: where whoever submits is whom the store
    /// belongs to.
    pub trust_base_dir: bool,
    /// Address space of one process of a task.
    pub memory_bytes: u64,
    /// What a task may print, stdout and stderr together.
    pub output_limit: usize,
    /// Size of a result as JSON.
    pub result_limit: usize,
    /// Size of a script file.
    pub script_limit: u64,
    /// Warm interpreters kept. One serves tasks one after the other at full speed; more fork in parallel.
    pub parents: NonZeroUsize,
    /// Tasks that run at once; others wait for their turn before their clock starts.
    pub max_running: NonZeroUsize,
}

impl Default for PythonSettings {
    fn default() -> Self {
        let cores = cores();
        Self {
            interpreter: "python3".into(),
            env_allow: ["PATH", "HOME", "LANG", "LC_*", "TZ", "TMPDIR", "VIRTUAL_ENV"]
                .map(String::from)
                .to_vec(),
            trust_base_dir: false,
            roots: std::env::current_dir().into_iter().collect(),
            memory_bytes: 2 << 30,
            output_limit: 10 << 20,
            result_limit: 64 << 20,
            script_limit: 16 << 20,
            parents: cores.min(const { NonZeroUsize::new(4).expect("four is not zero") }),
            max_running: const { NonZeroUsize::new(64).expect("sixty-four is not zero") },
        }
    }
}

impl PythonSettings {
    /// Returns the variables of this process that tasks may see.
    pub(super) fn environment(&self) -> Vec<(OsString, OsString)> {
        std::env::vars_os().filter(|(name, _)| self.allows(name)).collect()
    }

    fn allows(&self, name: &OsStr) -> bool {
        self.env_allow.iter().any(|allowed| match allowed.strip_suffix('*') {
            Some(start) => name.as_bytes().starts_with(start.as_bytes()),
            None => name == OsStr::new(allowed),
        })
    }
}

/// Returns how many cores this process may use.
pub(super) fn cores() -> NonZeroUsize {
    available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_variables_pass_and_a_star_stands_for_any_ending() {
        let settings = PythonSettings::default();
        for passing in ["PATH", "HOME", "LC_ALL", "LC_CTYPE"] {
            assert!(settings.allows(OsStr::new(passing)), "{passing}");
        }
        for hidden in ["PATHS", "AWS_SECRET_ACCESS_KEY", "LC", "LANGUAGE", "PYTHONPATH", ""] {
            assert!(!settings.allows(OsStr::new(hidden)), "{hidden}");
        }
    }
}
