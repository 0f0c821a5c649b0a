//! What a task may see and use, the same for scripts and programs: roots, environment, memory, output.

use std::ffi::{OsStr, OsString};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;
use std::time::Duration;

use stepwell_core::error::ErrorObject;

use crate::files::Roots;
use crate::sandbox::{Mode, Sandbox, Walls};

/// The confines of every task of a provider.
#[derive(Clone, Debug)]
pub struct Isolation {
    /// Directories that the files named by parameters may lie in.
    pub roots: Vec<PathBuf>,
    /// Directories that became roots since.
    pub later_roots: LaterRoots,
    /// Whether the directory a run was submitted from is a root for it too: where whoever submits is whom the store
    /// belongs to.
    pub trust_base_dir: bool,
    /// Names of environment variables that tasks may see; a trailing `*` stands for any ending.
    pub env_allow: Vec<String>,
    /// Memory of one process of a task.
    pub memory_bytes: u64,
    /// What a task may print, stdout and stderr together.
    pub output_limit: usize,
    /// Whether the kernel confines tasks to the roots and refuses them what changes the machine.
    pub sandbox: Sandbox,
}

/// Directories that become roots while tasks are carried out: those of the workflow files that a program names one by one.
/// Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct LaterRoots(Arc<Mutex<Vec<PathBuf>>>);

impl LaterRoots {
    /// Adds a directory. Links are followed now; what leads elsewhere later is none.
    pub fn add(&self, directory: &Path) {
        let Ok(real) = directory.canonicalize() else { return };
        let mut known = self.0.lock().expect("no panic happens under this lock");
        if !known.contains(&real) {
            known.push(real);
        }
    }

    /// Returns the directories, as they really are.
    pub fn all(&self) -> Vec<PathBuf> {
        self.0.lock().expect("no panic happens under this lock").clone()
    }
}

impl Default for Isolation {
    fn default() -> Self {
        Self {
            roots: std::env::current_dir().into_iter().collect(),
            later_roots: LaterRoots::default(),
            trust_base_dir: false,
            env_allow: ["PATH", "HOME", "LANG", "LC_*", "TZ", "TMPDIR", "VIRTUAL_ENV"]
                .map(String::from)
                .to_vec(),
            memory_bytes: 2 << 30,
            output_limit: 10 << 20,
            sandbox: Sandbox::default(),
        }
    }
}

impl Isolation {
    /// Finds the roots once, before any task runs. A task may put a link in the place of one; what that leads to is none.
    /// One that is not there keeps its name, for the error.
    pub(crate) fn settled(mut self) -> Self {
        self.roots = self.roots.into_iter().map(|root| root.canonicalize().unwrap_or(root)).collect();
        self
    }

    /// Returns the variables of this process that tasks may see.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        std::env::vars_os().filter(|(name, _)| self.allows(name)).collect()
    }

    fn allows(&self, name: &OsStr) -> bool {
        self.env_allow.iter().any(|allowed| match allowed.strip_suffix('*') {
            Some(start) => name.as_bytes().starts_with(start.as_bytes()),
            None => name == OsStr::new(allowed),
        })
    }

    /// Returns where relative paths of a run start: where it was submitted, if that lies in the roots, else the first
    /// root.
    pub(crate) fn base_dir(&self, given: Option<&str>) -> PathBuf {
        let resolved = given.and_then(|dir| Path::new(dir).canonicalize().ok());
        let inside = |dir: &PathBuf| self.trust_base_dir || self.roots.iter().any(|root| within(dir, root));
        // It was recorded as it was; within walls, one that leads elsewhere since is not followed.
        let is_itself = |dir: &PathBuf| {
            self.sandbox.mode() == Mode::Off || given.is_some_and(|given| dir == Path::new(given))
        };
        resolved
            .filter(is_itself)
            .filter(inside)
            .or_else(|| self.roots.first().cloned())
            .unwrap_or_else(|| PathBuf::from("."))
    }

    /// Builds the walls of a task with those roots, if it is to have any.
    pub(crate) fn walls(&self, roots: &Roots) -> Result<Option<Walls>, WallsError> {
        if !self.sandbox.stands().map_err(WallsError::Impossible)? {
            return Ok(None);
        }
        Walls::build(roots.directories()).map(Some).map_err(WallsError::NotBuilt)
    }

    /// Adds to the error of a task what its walls were, if they may be why: `told` is what was said of it.
    pub(crate) fn explain(&self, error: ErrorObject, base_dir: Option<&str>, told: &[&str]) -> ErrorObject {
        if !self.sandbox.stands().unwrap_or(false) {
            return error;
        }
        Sandbox::explain(error, self.roots_at(&self.base_dir(base_dir)).directories(), told)
    }

    /// Returns the roots of a run with that base directory.
    pub(crate) fn roots_at(&self, base_dir: &Path) -> Roots {
        let stands = |root: &&PathBuf| root.canonicalize().is_ok_and(|real| real == **root);
        let mut roots = Roots::new(self.roots.iter().filter(stands).cloned());
        for later in self.later_roots.all().iter().filter(stands) {
            roots.add(later);
        }
        if self.trust_base_dir && base_dir.canonicalize().is_ok_and(|real| real == base_dir) {
            roots.add(base_dir);
        }
        roots
    }
}

/// Why a task that is to have walls has none.
#[derive(Debug)]
pub(crate) enum WallsError {
    /// There can be none.
    Impossible(ErrorObject),
    /// These could not be built now.
    NotBuilt(io::Error),
}

fn within(dir: &Path, root: &Path) -> bool {
    root.canonicalize().is_ok_and(|root| dir.starts_with(root))
}

/// Returns how many cores this process may use.
pub(crate) fn cores() -> NonZeroUsize {
    available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Returns the processor time that one process of a task may use: all that it could in its time.
pub(crate) fn cpu_seconds(timeout: Duration) -> u64 {
    let seconds = timeout.as_secs().saturating_add(1).saturating_mul(cores().get() as u64);
    // The kernel keeps this as a signed number; a timeout of centuries is no limit.
    seconds.min(1 << 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_becomes_a_root_later_is_one_for_all_who_share_the_list() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("a.py");
        std::fs::write(&file, "result = 1").expect("a new file");
        let isolation = Isolation { roots: Vec::new(), ..Isolation::default() };
        let settled = isolation.clone().settled();
        let opens = || settled.roots_at(Path::new("/")).open(Path::new("/"), &file).is_ok();
        assert!(!opens());
        isolation.later_roots.add(&directory.path().join("missing"));
        isolation.later_roots.add(directory.path());
        isolation.later_roots.add(directory.path());
        assert!(opens());
        assert_eq!(settled.later_roots.all().len(), 1);
    }

    #[test]
    fn only_listed_variables_pass_and_a_star_stands_for_any_ending() {
        let isolation = Isolation::default();
        for passing in ["PATH", "HOME", "LC_ALL", "LC_CTYPE"] {
            assert!(isolation.allows(OsStr::new(passing)), "{passing}");
        }
        for hidden in ["PATHS", "AWS_SECRET_ACCESS_KEY", "LC", "LANGUAGE", "PYTHONPATH", ""] {
            assert!(!isolation.allows(OsStr::new(hidden)), "{hidden}");
        }
    }
}
