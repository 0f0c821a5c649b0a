//! The mark of a task: by it everything that the task started is known, wherever it went, should its guard be dead.
//!
//! It is the hard limit of file locks (`RLIMIT_LOCKS`), with which Linux has limited nothing since 2.4.25: each process
//! inherits it, a new session or environment does not change it, and no user can raise it. What lowers it on purpose is
//! not found, nor is what the task has others start for it (`at`, `systemd-run`).
#![expect(unsafe_code, reason = "limits as nobody wraps them: of another process, and between fork and exec")]

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::mem::zeroed;
use std::os::fd::OwnedFd;
use std::ptr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long what bears a mark is killed, should it come faster than it dies.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long those that were killed may take to die before the next look.
const DEATH: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Half of a mark. The upper half is the task's; the lower one is that of a task of a Stepwell which is itself what a task
/// runs, all ones where there is none. So who looks for a task finds what is within it, too.
const HALF: u32 = 31;
const ONES: u64 = (1 << HALF) - 1;

/// A number that nobody else has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

impl Mark {
    /// Returns a new mark, lower than that of this process. None where that leaves no room: somebody has limited the locks,
    /// or it is a task within a task already.
    pub(crate) fn new() -> Option<Self> {
        Self::within(hard_limit(None)?, RandomState::new().hash_one(0))
    }

    fn within(limit: u64, random: u64) -> Option<Self> {
        // Neither nothing nor all ones.
        let half = 1 + random % (ONES - 1);
        if limit > ((ONES << HALF) | ONES) {
            Some(Self((half << HALF) | ONES))
        } else if limit & ONES == ONES {
            Some(Self((limit ^ ONES) | half))
        } else {
            None
        }
    }

    fn is_on(self, pid: i32) -> bool {
        hard_limit(Some(pid)).is_some_and(|limit| self.is_borne_by(limit))
    }

    /// Returns whether a process with that limit bears the mark, or that of a task within.
    fn is_borne_by(self, limit: u64) -> bool {
        limit == self.0 || (self.0 & ONES == ONES && limit >> HALF == self.0 >> HALF)
    }

    /// Makes this process bear the mark, and all that it will start. A system call and nothing else, for a fork before
    /// it executes something.
    pub(crate) fn bear(self) -> io::Result<()> {
        let limit = libc::rlimit { rlim_cur: self.0, rlim_max: self.0 };
        // SAFETY: the call reads the limit, which outlives it.
        let done = unsafe { libc::setrlimit(libc::RLIMIT_LOCKS, &raw const limit) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Kills all processes that bear the mark, until there is none.
    pub(crate) async fn kill_bearers(self) {
        let killed = tokio::task::spawn_blocking(move || self.kill_all()).await;
        if let Err(error) = killed.map_err(io::Error::other).flatten() {
            tracing::warn!(%error, "something of a task whose guard died may go on");
        }
    }

    fn kill_all(self) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            let found = self.bearers()?;
            if found.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{} processes do not die", found.len())));
            }
            for process in &found {
                // It may have ended meanwhile, or be another user's by now.
                let _gone = pidfd_send_signal(process, Signal::KILL);
            }
            for process in &found {
                has_ended(process, DEATH);
            }
        }
    }

    /// Returns the processes that bear the mark and have not ended.
    fn bearers(self) -> io::Result<Vec<OwnedFd>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if !self.is_on(pid) {
                continue;
            }
            let Some(Ok(process)) = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
                continue;
            };
            // Asked once more now that the number cannot become another's unseen: that one would have ended.
            if self.is_on(pid) && !has_ended(&process, Timespec::default()) {
                found.push(process);
            }
        }
        Ok(found)
    }
}

/// Returns the hard limit of a process, or of this one; none if it is gone or not ours to ask.
fn hard_limit(pid: Option<i32>) -> Option<u64> {
    // SAFETY: the limit is written to a value that outlives the call; nothing is set.
    unsafe {
        let mut limit: libc::rlimit = zeroed();
        let asked = libc::prlimit(pid.unwrap_or(0), libc::RLIMIT_LOCKS, ptr::null(), &raw mut limit);
        (asked == 0).then_some(limit.rlim_max)
    }
}

/// Waits at most so long for the end of a process, which is also when nobody has waited for it yet; false if it lives.
fn has_ended(process: &OwnedFd, patience: Timespec) -> bool {
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&patience)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_is_another_one_and_lower_than_what_this_process_bears() {
        let own = hard_limit(None).expect("everybody may ask for their own limits");
        let Some(marks) = (0..100).map(|_| Mark::new()).collect::<Option<Vec<_>>>() else {
            assert!(own & ONES != ONES, "there is room for marks");
            return;
        };
        let mut limits: Vec<u64> = marks.into_iter().map(|Mark(limit)| limit).collect();
        assert!(limits.iter().all(|limit| *limit < own));
        limits.sort_unstable();
        limits.dedup();
        assert_eq!(limits.len(), 100);
    }

    #[test]
    fn who_looks_for_a_task_finds_the_tasks_within_it() {
        let task = Mark::within(u64::MAX, 7).unwrap();
        let (one, two) = (Mark::within(task.0, 1).unwrap(), Mark::within(task.0, 2).unwrap());
        assert!([task, one, two].iter().all(|mark| task.is_borne_by(mark.0) && mark.0 <= task.0));
        assert!(one.is_borne_by(one.0) && !one.is_borne_by(two.0) && !one.is_borne_by(task.0));
        let other = Mark::within(u64::MAX, 8).unwrap();
        assert!(!task.is_borne_by(other.0) && !task.is_borne_by(u64::MAX) && !other.is_borne_by(one.0));
        assert!(Mark::within(one.0, 1).is_none(), "no deeper");
        assert!(Mark::within(1 << 40, 1).is_none(), "somebody has limited the locks");
    }
}
