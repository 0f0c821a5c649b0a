//! The system calls by which a process steps within its walls, and by which one asks whether there can be any.
//!
//! What enters runs between fork and exec: it allocates nothing.
#![expect(unsafe_code, reason = "system calls between fork and exec, which nobody wraps")]

use std::io;
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_int, c_ulong, sock_filter, sock_fprog};

use super::filter;

/// The system calls that tasks may not make.
#[derive(Clone, Copy)]
pub(crate) struct Filter(&'static [sock_filter]);

impl Filter {
    /// Returns the filter; an error on a processor that it was not made for. To be called before a fork.
    pub(crate) fn get() -> io::Result<Self> {
        let absent = || io::Error::other("there is no filter of system calls for this processor");
        filter::program().map(Self).ok_or_else(absent)
    }

    /// Has the kernel refuse these calls to this thread and all that it will start.
    ///
    /// # Errors
    /// The system's, after which the process must not go on.
    pub(crate) fn install(self) -> io::Result<()> {
        gain_no_rights()?;
        let program = sock_fprog { len: self.0.len() as u16, filter: self.0.as_ptr().cast_mut() };
        prctl(libc::PR_SET_SECCOMP, c_ulong::from(libc::SECCOMP_MODE_FILTER), &raw const program)
    }
}

/// What a forked process needs to step within walls: made before the fork.
#[derive(Clone, Copy)]
pub(crate) struct Entrance {
    ruleset: RawFd,
    filter: Filter,
}

impl Entrance {
    /// Returns the way into the walls of that ruleset, which must stay open until it was gone.
    pub(super) fn new(ruleset: RawFd) -> io::Result<Self> {
        Ok(Self { ruleset, filter: Filter::get()? })
    }

    /// Puts this thread, and all that it will start, within the walls.
    ///
    /// # Errors
    /// The system's, after which the process must not go on.
    pub(crate) fn enter(self) -> io::Result<()> {
        gain_no_rights()?;
        // SAFETY: the call takes plain numbers.
        let entered = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.ruleset, 0) };
        if entered != 0 {
            return Err(io::Error::last_os_error());
        }
        self.filter.install()
    }
}

fn gain_no_rights() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, ptr::null())
}

fn prctl(option: c_int, first: c_ulong, second: *const sock_fprog) -> io::Result<()> {
    // SAFETY: the second argument is null, or a filter that the kernel copies.
    let done = unsafe { libc::prctl(option, first, second, 0, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns the version of landlock that this kernel has switched on.
pub(super) fn landlock_version() -> Option<u32> {
    const VERSION: c_int = 1;
    // SAFETY: with this flag the call takes nothing and returns a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<libc::c_void>(), 0_usize, VERSION)
    };
    u32::try_from(version).ok().filter(|version| *version > 0)
}

/// Returns whether this kernel filters system calls and can answer with an error.
pub(super) fn has_seccomp() -> bool {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the call reads the action, which outlives it.
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}
