//! Processes that are started, killed, stopped and continued, and never left behind.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// No life takes so long, however busy the machine is.
const DEADLINE: Duration = Duration::from_secs(90);

/// Ends this process as `kill -9` does.
pub(super) fn die() -> ! {
    send(std::process::id(), libc::SIGKILL);
    loop {
        std::thread::park();
    }
}

#[expect(unsafe_code, reason = "signals have no safe wrapper in the standard library")]
fn send(pid: u32, signal: i32) {
    // SAFETY: the call takes two numbers. The pid is our own, or that of a child that was not waited for yet.
    let sent = unsafe { libc::kill(pid as libc::pid_t, signal) };
    assert_eq!(sent, 0, "a process of ours can be signalled");
}

/// A process of this test. Dropping it kills it.
pub(super) struct Process {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Runs this very program again: the test of that name, with one variable set. What it says on stderr is ours.
    pub(super) fn of_test(name: &str, variable: &str, value: &str) -> Self {
        let program = std::env::current_exe().expect("a test knows its own program");
        let child = Command::new(program)
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(variable, value)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("a test can start its own program");
        Self { child, ended: None }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns how it ended, if it has.
    pub(super) fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended
    }

    /// Waits until it has ended: true if by itself and well, false if it was killed.
    pub(super) fn end(&mut self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        let begun = Instant::now();
        loop {
            if let Some(status) = self.poll() {
                let killed = status.signal() == Some(libc::SIGKILL);
                assert!(status.success() || killed, "a life went wrong: {status}");
                return !killed;
            }
            assert!(begun.elapsed() < DEADLINE, "a life takes longer than {DEADLINE:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn kill(&mut self) {
        self.signal(libc::SIGKILL);
    }

    pub(super) fn stop(&mut self) {
        self.signal(libc::SIGSTOP);
    }

    pub(super) fn go_on(&mut self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&mut self, signal: i32) {
        if self.poll().is_none() {
            send(self.child.id(), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if self.ended.is_none() {
            let _ended = self.child.wait();
        }
    }
}
