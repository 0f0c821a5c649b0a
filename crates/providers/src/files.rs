//! The roots a file parameter may point into.
//!
//! A path is judged after it was opened: what counts is the file behind the descriptor, so a link
//! that is exchanged between check and use gains nothing. Whoever opens a file here reads that
//! descriptor and never the path again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Directories whose files may be named by parameters.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    directories: Vec<PathBuf>,
}

/// A regular file inside the roots.
#[derive(Debug)]
pub struct RootedFile {
    /// The file that was checked: open for reading if it was opened, else nothing but a handle on it.
    pub file: File,
    /// Where it really is, links followed.
    pub path: PathBuf,
}

/// Why a file parameter was refused.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file behind the path lies in none of the roots.
    #[error("{} is outside the configured roots", path.display())]
    OutsideRoots {
        /// The path as it was given, made absolute.
        path: PathBuf,
    },
    /// The path names a directory, a pipe or a device.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path as it was given, made absolute.
        path: PathBuf,
    },
    /// The file is over the size that its use allows.
    #[error("{} is larger than {limit_bytes} bytes", path.display())]
    TooLarge {
        /// The path as it was given, made absolute.
        path: PathBuf,
        /// The largest size allowed.
        limit_bytes: u64,
    },
    /// The file is missing or cannot be read.
    #[error("{}", unreadable(path, source))]
    Unreadable {
        /// The path as it was given, made absolute.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn unreadable(path: &Path, source: &io::Error) -> String {
    match (source.kind(), path.parent(), path.file_name()) {
        (io::ErrorKind::NotFound, Some(dir), Some(name)) => {
            format!("there is no file {} in {}", name.display(), dir.display())
        }
        _ => format!("cannot open {}: {source}", path.display()),
    }
}

impl FileError {
    /// Returns a word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::OutsideRoots { .. } => "outside_roots",
            Self::NotAFile { .. } => "not_a_file",
            Self::TooLarge { .. } => "too_large",
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => "not_found",
            Self::Unreadable { .. } => "unreadable",
        }
    }
}

impl RootedFile {
    /// Reads an open file that is no larger than that.
    pub fn read(self, limit_bytes: u64) -> Result<Vec<u8>, FileError> {
        let Self { file, path } = self;
        let mut content = Vec::new();
        match file.take(limit_bytes.saturating_add(1)).read_to_end(&mut content) {
            Err(source) => Err(FileError::Unreadable { path, source }),
            Ok(size) if size as u64 > limit_bytes => Err(FileError::TooLarge { path, limit_bytes }),
            Ok(_) => Ok(content),
        }
    }
}

impl Roots {
    /// Takes the directories as roots; those that do not exist now hold no files.
    pub fn new(directories: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut roots = Self::default();
        for directory in directories {
            roots.add(&directory);
        }
        roots
    }

    /// Adds a directory, if it exists and is not among them.
    pub fn add(&mut self, directory: &Path) {
        let real = directory.canonicalize().ok();
        self.directories.extend(real.filter(|real| !self.directories.contains(real)));
    }

    /// Opens `path` (relative paths start at `base`) and checks what was opened.
    pub fn open(&self, base: &Path, path: &Path) -> Result<RootedFile, FileError> {
        let found = self.find(base, path)?;
        let unreadable = |source| FileError::Unreadable { path: base.join(path), source };
        let file = File::open(handle_of(&found.file)).map_err(unreadable)?;
        Ok(RootedFile { file, ..found })
    }

    /// Finds what `path` names without opening it, and checks what was found.
    pub fn find(&self, base: &Path, path: &Path) -> Result<RootedFile, FileError> {
        let path = base.join(path);
        // O_PATH only finds the file: nothing happens to a pipe or a device that is named here.
        let found = match OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&path) {
            Ok(found) => found,
            Err(source) => return Err(self.describe_unopened(path, source)),
        };
        let unreadable = |source| FileError::Unreadable { path: path.clone(), source };
        let real = std::fs::read_link(handle_of(&found)).map_err(unreadable)?;
        if !self.contain(&real) {
            return Err(FileError::OutsideRoots { path });
        }
        if !found.metadata().map_err(unreadable)?.is_file() {
            return Err(FileError::NotAFile { path });
        }
        Ok(RootedFile { file: found, path: real })
    }

    /// Says of a path outside the roots only that, and not whether something is there.
    fn describe_unopened(&self, path: PathBuf, source: io::Error) -> FileError {
        let nearest = path.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
        if nearest.is_some_and(|nearest| self.contain(&nearest)) {
            FileError::Unreadable { path, source }
        } else {
            FileError::OutsideRoots { path }
        }
    }

    /// Returns the directories, as they really are.
    pub(crate) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Returns whether a path, links followed, lies in them.
    pub(crate) fn contain(&self, real: &Path) -> bool {
        self.directories.iter().any(|root| real.starts_with(root))
    }
}

fn handle_of(found: &File) -> String {
    format!("/proc/self/fd/{}", found.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Fixture {
        _directory: tempfile::TempDir,
        inside: PathBuf,
        outside: PathBuf,
        roots: Roots,
    }

    fn fixture() -> Fixture {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (inside, outside) = (directory.path().join("inside"), directory.path().join("outside"));
        for folder in [&inside, &outside] {
            std::fs::create_dir(folder).expect("a new directory");
            std::fs::write(folder.join("a.py"), "result = 1").expect("a new file");
        }
        let roots = Roots::new([inside.clone()]);
        Fixture { _directory: directory, inside, outside, roots }
    }

    #[test]
    fn a_file_inside_the_roots_opens_by_relative_and_absolute_path() {
        let f = fixture();
        for path in [PathBuf::from("a.py"), PathBuf::from("./x/../a.py"), f.inside.join("a.py")] {
            std::fs::create_dir_all(f.inside.join("x")).expect("a new directory");
            let opened = f.roots.open(&f.inside, &path).expect("inside the roots");
            assert_eq!(opened.path, f.inside.canonicalize().expect("exists").join("a.py"));
        }
    }

    #[test]
    fn absolute_paths_dots_and_links_out_of_the_roots_are_refused() {
        let f = fixture();
        symlink(f.outside.join("a.py"), f.inside.join("link.py")).expect("a new link");
        symlink(&f.outside, f.inside.join("folder")).expect("a new link");
        let missing = f.outside.join("missing.py");
        for path in [
            f.outside.join("a.py"),
            PathBuf::from("../outside/a.py"),
            PathBuf::from("link.py"),
            PathBuf::from("folder/a.py"),
            missing,
        ] {
            let refused = f.roots.open(&f.inside, &path).expect_err("outside the roots");
            assert!(matches!(refused, FileError::OutsideRoots { .. }), "{}: {refused}", path.display());
        }
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused_without_waiting() {
        let f = fixture();
        let pipe = f.inside.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
        for path in [pipe, f.inside.clone()] {
            let refused = f.roots.open(&f.inside, &path).expect_err("not a file");
            assert!(matches!(refused, FileError::NotAFile { .. }), "{refused}");
        }
        let refused = f.roots.open(&f.inside, Path::new("missing.py")).expect_err("missing");
        assert!(matches!(refused, FileError::Unreadable { .. }), "{refused}");
        assert_eq!(refused.to_string(), format!("there is no file missing.py in {}", f.inside.display()));
    }
}
