//! Who is alive: one byte of a lock file per session, locked by the operating system for as long as the process
//! lives. A process that is stopped keeps its lock; one that is killed loses it at once.
//!
//! The lock is the process's own (POSIX `fcntl`): children do not inherit it. The price is that a process does not
//! see its own locks, and that closing any descriptor of a file drops all locks on it. So each process opens a lock
//! file once, keeps it open for ever, and remembers which bytes are its own. SQLite locks the database itself in the
//! same way; whoever looks into that file without SQLite must keep it open too ([`keep_open`]).

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

/// The byte of the process that checkpoints; sessions never get so far.
pub(super) const CHECKPOINTER: u64 = 1 << 62;

/// The lock file of a store, as this process has it open.
#[derive(Debug)]
pub(super) struct LockFile {
    path: PathBuf,
    file: File,
    own: Mutex<HashSet<u64>>,
}

/// A file, whatever it is called.
type Inode = (u64, u64);

static LOCK_FILES: LazyLock<Mutex<HashMap<Inode, Arc<LockFile>>>> = LazyLock::new(Mutex::default);

static KEPT_OPEN: LazyLock<Mutex<HashMap<Inode, Arc<File>>>> = LazyLock::new(Mutex::default);

/// Returns a file to be read beside SQLite. It stays open until the process ends, because closing it would drop
/// SQLite's locks on it.
pub(super) fn keep_open(path: &Path) -> io::Result<Arc<File>> {
    let mut kept = KEPT_OPEN.lock().expect("no panic happens under this lock");
    let meta = std::fs::metadata(path)?;
    if let Some(file) = kept.get(&(meta.dev(), meta.ino())) {
        return Ok(file.clone());
    }
    let file = Arc::new(File::open(path)?);
    let meta = file.metadata()?;
    kept.insert((meta.dev(), meta.ino()), file.clone());
    Ok(file)
}

impl LockFile {
    /// Opens the lock file beside a database, or returns it if this process has it open already.
    pub(super) fn open(database: &Path) -> io::Result<Arc<Self>> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let mut files = LOCK_FILES.lock().expect("no panic happens under this lock");
        if let Ok(known) = std::fs::metadata(&path)
            && let Some(file) = files.get(&(known.dev(), known.ino()))
        {
            return Ok(file.clone());
        }
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        let meta = file.metadata()?;
        let lock = Arc::new(Self { path, file, own: Mutex::default() });
        files.insert((meta.dev(), meta.ino()), lock.clone());
        Ok(lock)
    }

    /// Returns the lock file beside a database, if there is one.
    pub(super) fn existing(database: &Path) -> io::Result<Option<Arc<Self>>> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        if Path::new(&path).try_exists()? { Self::open(database).map(Some) } else { Ok(None) }
    }

    /// Returns where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Locks a byte for this process. Returns false if somebody has it: another process, or another store of this one.
    pub(super) fn try_hold(&self, byte: u64) -> io::Result<bool> {
        let mut own = self.own.lock().expect("no panic happens under this lock");
        if own.contains(&byte) {
            return Ok(false);
        }
        match self.control(libc::F_SETLK, &mut region(byte, 1, libc::F_WRLCK)) {
            Ok(()) => {
                own.insert(byte);
                Ok(true)
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets a byte go.
    pub(super) fn release(&self, byte: u64) -> io::Result<()> {
        let mut own = self.own.lock().expect("no panic happens under this lock");
        if !own.remove(&byte) {
            return Ok(());
        }
        self.control(libc::F_SETLK, &mut region(byte, 1, libc::F_UNLCK))
    }

    /// Returns the pid of the living process that holds a byte, this one included.
    pub(super) fn holder(&self, byte: u64) -> io::Result<Option<u32>> {
        if self.own.lock().expect("no panic happens under this lock").contains(&byte) {
            return Ok(Some(std::process::id()));
        }
        self.other(byte, 1)
    }

    /// Returns the pid of another process that holds any byte of the file.
    pub(super) fn anybody_else(&self) -> io::Result<Option<u32>> {
        self.other(0, 0)
    }

    fn other(&self, byte: u64, length: u64) -> io::Result<Option<u32>> {
        let mut lock = region(byte, length, libc::F_WRLCK);
        self.control(libc::F_GETLK, &mut lock)?;
        Ok((i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid as u32))
    }

    #[expect(unsafe_code, reason = "record locks have no safe wrapper in the standard library")]
    fn control(&self, command: i32, lock: &mut libc::flock) -> io::Result<()> {
        // SAFETY: the descriptor is open as long as `self`, and `lock` is a valid struct that the call may write.
        let result = unsafe { libc::fcntl(self.file.as_raw_fd(), command, std::ptr::from_mut(lock)) };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// A region of a lock file; a length of 0 reaches to the end.
fn region(byte: u64, length: u64, kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte as libc::off_t,
        l_len: length as libc::off_t,
        l_pid: 0,
    }
}
