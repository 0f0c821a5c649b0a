//! The guard of a program: a fork of this process that starts the program, waits for it, and leaves nothing of it behind.
//!
//! All that runs here runs between fork and exec, in a copy of a process with many threads: whatever lock one of those
//! held is held for ever. So this file makes system calls and nothing else. It allocates nothing, and everything it needs
//! was made before the fork ([`Plan`]).
//!
//! The guard is the reaper of all that the program starts, also in sessions of its own. It reports over its control
//! socket and kills when that closes, because the engine wants it or because the engine is gone. Its memory is the
//! engine's at the moment of the fork; the kernel copies only what the engine changes meanwhile.
#![expect(unsafe_code, reason = "system calls between fork and exec, which nobody wraps")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::mem::{size_of, zeroed};
use std::os::fd::RawFd;
use std::ptr;

use crate::mark::Mark;
use crate::sandbox::Entrance;

/// How long descendants may take to die before the end of the program is told without them.
const SWEEP_MS: u32 = 500;
/// How long the guard goes on killing what comes faster than it dies.
const LAST_SWEEP_MS: u32 = 10_000;

/// A report of the guard: what, and two numbers.
pub(super) const REPORT: usize = 9;
/// The program was forked: its number.
pub(super) const STARTED: u8 = b'S';
/// It could not be set going: where it failed, and the system's error.
pub(super) const FAILED: u8 = b'X';
/// It ended, and nothing of it is left: its wait status.
pub(super) const ENDED: u8 = b'E';

/// Where setting a program going failed.
pub(super) const AT_FORK: i32 = 0;
pub(super) const AT_DIRECTORY: i32 = 1;
pub(super) const AT_SANDBOX: i32 = 2;
pub(super) const AT_PROGRAM: i32 = 3;

/// Texts as `execve` takes them.
pub(super) struct Texts {
    pointers: Vec<*const c_char>,
    _texts: Vec<CString>,
}

// SAFETY: the pointers lead into the heap of texts that are never changed and live as long as they.
unsafe impl Send for Texts {}
// SAFETY: as above; nothing is written through them.
unsafe impl Sync for Texts {}

impl Texts {
    pub(super) fn new(texts: Vec<CString>) -> Self {
        let pointers = texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
        Self { pointers, _texts: texts }
    }
}

/// Everything there is to know between fork and exec.
pub(super) struct Plan {
    /// The file to execute.
    pub(super) program: CString,
    /// Its arguments, the first of which is its own name.
    pub(super) args: Texts,
    /// Its environment.
    pub(super) env: Texts,
    /// Its working directory.
    pub(super) directory: CString,
    /// The guard's end of the control socket.
    pub(super) control: RawFd,
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
    /// What everything that the program starts is known by.
    pub(super) mark: Option<Mark>,
    /// The way into its walls, if it has any.
    pub(super) entrance: Option<Entrance>,
}

impl Plan {
    /// Makes the forked copy of this process the guard of the program.
    ///
    /// # Safety
    /// To be called in the child of a fork only, with the program's streams at the descriptors 0, 1 and 2.
    pub(super) unsafe fn guard(&self) -> ! {
        // SAFETY: system calls with plain numbers and pointers to values that outlive them; the process is a fork, which
        // nothing else runs in.
        unsafe {
            let guard = libc::getpid();
            libc::setsid();
            // Where the host ignores the ends of its children, they leave no status behind.
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            libc::prctl(libc::PR_SET_NAME, c"stepwell-guard".as_ptr());
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
            let mut all = zeroed();
            libc::sigfillset(&raw mut all);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut());
            let program = libc::fork();
            if program == 0 {
                self.become_program(guard);
            }
            keep_only(self.control);
            if program < 0 {
                self.report(FAILED, AT_FORK, errno());
                libc::_exit(1);
            }
            self.report(STARTED, program, 0);
            let status = self.wait(program);
            let is_swept = sweep(SWEEP_MS);
            self.report(ENDED, status, 0);
            if !is_swept {
                sweep(LAST_SWEEP_MS);
            }
            libc::_exit(0)
        }
    }

    /// Waits until the program has ended, and kills it once the control socket closes.
    unsafe fn wait(&self, program: libc::pid_t) -> c_int {
        // SAFETY: as in `guard`.
        unsafe {
            let mut child = zeroed();
            libc::sigemptyset(&raw mut child);
            libc::sigaddset(&raw mut child, libc::SIGCHLD);
            let signals = libc::signalfd(-1, &raw const child, libc::SFD_NONBLOCK);
            let mut sources = [
                libc::pollfd { fd: signals, events: libc::POLLIN, revents: 0 },
                libc::pollfd { fd: self.control, events: libc::POLLIN, revents: 0 },
            ];
            loop {
                if let Some(status) = reap(program) {
                    return status;
                }
                libc::poll(sources.as_mut_ptr(), 2, -1);
                let mut room = [0_u8; size_of::<libc::signalfd_siginfo>()];
                while libc::read(signals, room.as_mut_ptr().cast(), room.len()) > 0 {}
                if sources[1].revents != 0 {
                    // Nothing is ever sent here, so it is closed. The program's end is all that is waited for now.
                    sources[1].fd = -1;
                    sources[1].revents = 0;
                    kill(program);
                }
            }
        }
    }

    /// Makes the guard's fork the program.
    unsafe fn become_program(&self, guard: libc::pid_t) -> ! {
        // SAFETY: as in `guard`; `Texts` end with a null pointer, as `execve` wants it.
        unsafe {
            libc::setsid();
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::getppid() != guard {
                libc::_exit(127);
            }
            libc::prctl(libc::PR_SET_NAME, c"stepwell-step".as_ptr());
            close_at_exec();
            self.limit();
            let _unmarked = self.mark.map(Mark::bear);
            prefer_as_victim();
            if libc::chdir(self.directory.as_ptr()) != 0 {
                self.fail(AT_DIRECTORY);
            }
            if let Some(entrance) = self.entrance
                && entrance.enter().is_err()
            {
                self.fail(AT_SANDBOX);
            }
            for signal in 1..=64 {
                libc::signal(signal, libc::SIG_DFL);
            }
            let mut none = zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
            // Not `execvp`, which hands what it cannot execute to a shell.
            libc::execve(self.program.as_ptr(), self.args.pointers.as_ptr(), self.env.pointers.as_ptr());
            self.fail(AT_PROGRAM)
        }
    }

    /// Sets the limits of each process of the program. Memory is counted where it is written: what is only reserved, as
    /// the virtual machines of Java and JavaScript do by the gigabyte, costs nothing.
    unsafe fn limit(&self) {
        for (kind, soft, hard) in [
            (libc::RLIMIT_CORE, 0, 0),
            (libc::RLIMIT_DATA, self.memory_bytes, self.memory_bytes),
            (libc::RLIMIT_CPU, self.cpu_seconds, self.cpu_seconds.saturating_add(1)),
        ] {
            // SAFETY: as in `guard`.
            unsafe {
                let mut now: libc::rlimit = zeroed();
                libc::getrlimit(kind, &raw mut now);
                let limit =
                    libc::rlimit { rlim_cur: soft.min(now.rlim_max), rlim_max: hard.min(now.rlim_max) };
                libc::setrlimit(kind, &raw const limit);
            }
        }
    }

    /// Says that the program could not be set going, and why.
    unsafe fn fail(&self, at: i32) -> ! {
        // SAFETY: as in `guard`.
        unsafe {
            self.report(FAILED, at, errno());
            libc::_exit(127)
        }
    }

    unsafe fn report(&self, what: u8, first: i32, second: i32) {
        let mut report = [what; REPORT];
        report[1..5].copy_from_slice(&first.to_le_bytes());
        report[5..9].copy_from_slice(&second.to_le_bytes());
        // SAFETY: as in `guard`. Nobody listens any more where the engine is gone.
        unsafe {
            libc::send(self.control, report.as_ptr().cast(), REPORT, libc::MSG_NOSIGNAL);
        }
    }
}

/// Reaps all children that have ended. Returns the status of the program once it is among them.
unsafe fn reap(program: libc::pid_t) -> Option<c_int> {
    // SAFETY: as in `guard`.
    unsafe {
        loop {
            let mut ended: libc::siginfo_t = zeroed();
            let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            if libc::waitid(libc::P_ALL, 0, &raw mut ended, options) != 0 || ended.si_pid() == 0 {
                return None;
            }
            let pid = ended.si_pid();
            let mut status = 0;
            if pid == program {
                // The zombie stays until its group is killed: so long its number cannot be reused.
                kill(program);
                libc::waitpid(program, &raw mut status, 0);
                return Some(status);
            }
            libc::waitpid(pid, &raw mut status, 0);
        }
    }
}

/// Kills what the program left behind, also in sessions of its own, until nothing is left; false if that takes longer.
unsafe fn sweep(patience_ms: u32) -> bool {
    for _ in 0..=patience_ms {
        // SAFETY: as in `guard`. Without children waiting fails at once.
        unsafe {
            kill_children();
            while libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) > 0 {}
            if libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) < 0 {
                return true;
            }
            libc::poll(ptr::null_mut(), 0, 1);
        }
    }
    false
}

/// Kills the children that the kernel lists, as many as fit; whoever calls looks again.
unsafe fn kill_children() {
    // SAFETY: as in `guard`; no more is read than there is room for.
    unsafe {
        let list = libc::open(c"/proc/thread-self/children".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if list < 0 {
            return;
        }
        let mut room = [0_u8; 4096];
        let read = libc::read(list, room.as_mut_ptr().cast(), room.len());
        libc::close(list);
        let mut pid = 0;
        // Each number has a blank behind it; one that was cut has none and is left to the next look.
        for byte in room.iter().take(usize::try_from(read).unwrap_or(0)) {
            if byte.is_ascii_digit() {
                pid = pid * 10 + c_int::from(byte - b'0');
            } else {
                kill(pid);
                pid = 0;
            }
        }
    }
}

/// Kills a child, and the group it leads.
unsafe fn kill(pid: libc::pid_t) {
    if pid > 1 {
        // SAFETY: a number above 1 never means "all processes"; a child that was not waited for keeps its own.
        unsafe {
            libc::killpg(pid, libc::SIGKILL);
            libc::kill(pid, libc::SIGKILL);
        }
    }
}

/// Closes every descriptor but one, which is above 2.
unsafe fn keep_only(kept: RawFd) {
    // SAFETY: the guard uses no descriptor but that one.
    unsafe {
        let number = kept.cast_unsigned();
        if !close_range(0, number - 1, 0) || !close_range(number + 1, c_uint::MAX, 0) {
            for fd in (0..most_descriptors()).filter(|fd| *fd != kept) {
                libc::close(fd);
            }
        }
    }
}

/// Has every descriptor but 0, 1 and 2 closed when the program begins.
unsafe fn close_at_exec() {
    // SAFETY: only a flag of descriptors is set; those that are not open are refused.
    unsafe {
        if !close_range(3, c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) {
            for fd in 3..most_descriptors() {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

/// Calls `close_range`; false where the kernel does not have it.
unsafe fn close_range(from: c_uint, to: c_uint, flags: c_uint) -> bool {
    // SAFETY: the caller answers for the descriptors.
    unsafe { libc::syscall(libc::SYS_close_range, from, to, flags) == 0 }
}

/// Returns the number that no open descriptor reaches.
unsafe fn most_descriptors() -> RawFd {
    // SAFETY: it only asks.
    let most = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    RawFd::try_from(most).unwrap_or(RawFd::MAX).max(1024)
}

/// Lets a machine without memory end programs before it ends the engine.
unsafe fn prefer_as_victim() {
    const SCORE: &CStr = c"500";
    // SAFETY: as in `guard`.
    unsafe {
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            libc::write(file, SCORE.as_ptr().cast(), SCORE.count_bytes());
            libc::close(file);
        }
    }
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
