//! What the machine has for us: room, files, a file system. Asked of the operating system, nothing is changed.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Returns how many bytes may still be written where a file or directory lies.
#[expect(unsafe_code, reason = "statvfs has no safe wrapper in the standard library")]
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = c_string(path)?;
    let mut answer = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path is a C string, and the struct is written by the call before it is read.
    let answer = unsafe {
        if libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        answer.assume_init()
    };
    #[allow(clippy::unnecessary_cast, reason = "the types of the fields differ between platforms")]
    Ok((answer.f_bavail as u64).saturating_mul(answer.f_frsize as u64))
}

/// Returns whether this process may write a file, or into a directory.
#[expect(unsafe_code, reason = "access has no safe wrapper in the standard library")]
pub(crate) fn is_writable(path: &Path) -> bool {
    // SAFETY: the path is a C string.
    c_string(path).is_ok_and(|path| unsafe { libc::access(path.as_ptr(), libc::W_OK) } == 0)
}

/// Returns how many files this process may have open.
#[expect(unsafe_code, reason = "getrlimit has no safe wrapper in the standard library")]
pub(crate) fn open_files() -> io::Result<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the struct is written by the call before it is read.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        #[allow(clippy::useless_conversion, reason = "the type of the field differs between platforms")]
        Ok(limit.assume_init().rlim_cur.into())
    }
}

/// Returns the kind of file system that a directory lies on, by the name that its makers gave it.
pub(crate) fn file_system(dir: &Path) -> Option<String> {
    let real = dir.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let of = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let at = words.next()?.replace("\\040", " ");
        let kind = words.next()?;
        real.starts_with(&at).then(|| (at.len(), kind.to_owned()))
    };
    // The last of the deepest is on top.
    mounts.lines().filter_map(of).max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}
