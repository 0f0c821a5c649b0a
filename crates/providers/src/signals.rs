//! Signals to the processes of tasks.
#![expect(unsafe_code, reason = "std sends no signals")]

/// Asks a process to end, also one that somebody has stopped. It must be a child that was not waited for.
pub(crate) fn terminate(child: u32) {
    for signal in [libc::SIGTERM, libc::SIGCONT] {
        // SAFETY: the call takes plain numbers; a child that was not waited for keeps its own.
        let _gone = unsafe { libc::kill(child.cast_signed(), signal) };
    }
}

/// Kills every process of a group; a group that is gone is no error.
pub(crate) fn kill_group(leader: i32) {
    if leader > 1 {
        // SAFETY: the call takes plain numbers; a leader above 1 never means "all processes".
        let _gone = unsafe { libc::killpg(leader, libc::SIGKILL) };
    }
}
