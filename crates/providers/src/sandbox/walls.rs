//! The walls of one task: where it may write.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Once;

use landlock::{
    ABI, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, Scope,
};
use stepwell_store::scratch::{self, Scratch};

use super::Entrance;

/// Files outside of all roots that everybody writes to, and that keep nothing.
const SINKS: [&str; 2] = ["/dev/null", "/dev/zero"];

/// How the names of temporary directories of tasks begin. The first task of a process removes those of the dead.
const TEMPORARY: &str = "stepwell-step-";

/// Where a task may write: its roots, and a directory for what it needs for a while, which goes with this value.
#[derive(Debug)]
pub(crate) struct Walls {
    ruleset: OwnedFd,
    temporary: Scratch,
}

impl Walls {
    /// Builds walls around those roots. Reads directories, so this belongs on a thread that may wait.
    pub(crate) fn build(roots: &[PathBuf]) -> io::Result<Self> {
        static SWEPT: Once = Once::new();
        let common = std::env::temp_dir();
        SWEPT.call_once(|| scratch::sweep(&common, TEMPORARY));
        let temporary = Scratch::make(&common, TEMPORARY)?;
        let own = temporary.path().canonicalize()?;
        let ruleset = ruleset(roots.iter().map(PathBuf::as_path).chain([own.as_path()]))?;
        Ok(Self { ruleset, temporary })
    }

    /// Returns the directory that is the task's own.
    pub(crate) fn temporary(&self) -> &Path {
        self.temporary.path()
    }

    /// Returns a copy of the ruleset for another process.
    pub(crate) fn ruleset(&self) -> io::Result<OwnedFd> {
        self.ruleset.try_clone()
    }

    /// Returns how a forked process gets in while this value lives.
    pub(crate) fn entrance(&self) -> io::Result<Entrance> {
        Entrance::new(self.ruleset.as_raw_fd())
    }
}

/// Everything that writes. Devices are not made anywhere, since whoever may make one may write to any disk.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_write(ABI::V5)
}

/// Finds a directory that is to have no link on its way: a task may have put one there since it was found.
fn find(directory: &Path) -> io::Result<File> {
    let found =
        OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(directory)?;
    let real = std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    if real != directory {
        let why = format!("{} leads to {} now", directory.display(), real.display());
        return Err(io::Error::other(why));
    }
    Ok(found)
}

fn ruleset<'a>(directories: impl Iterator<Item = &'a Path>) -> io::Result<OwnedFd> {
    let in_directories = writing() & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    // A kernel that knows fewer of these has them all refused or none, but for signals and devices: `support` sees to it.
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(writing())
        .and_then(|rules| rules.scope(Scope::Signal))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    for directory in directories {
        let beneath = PathBeneath::new(find(directory)?, in_directories);
        rules = rules.add_rule(beneath).map_err(io::Error::other)?;
    }
    for sink in SINKS.iter().filter_map(|sink| PathFd::new(sink).ok()) {
        let beneath = PathBeneath::new(sink, AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev);
        rules = rules.add_rule(beneath).map_err(io::Error::other)?;
    }
    Option::<OwnedFd>::from(rules).ok_or_else(|| io::Error::other("landlock is not switched on"))
}
