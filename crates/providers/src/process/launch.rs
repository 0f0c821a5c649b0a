//! Starts a guard with its program, and hears how that ends.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::guard::{AT_DIRECTORY, AT_PROGRAM, AT_SANDBOX, ENDED, FAILED, Plan, REPORT, STARTED, Texts};
use super::program::not_executable;
use crate::mark::Mark;
use crate::params::problem;
use crate::sandbox::Walls;
use crate::signals;
use crate::supervise::Running;

use super::failure::ProgramFailure;

/// How long a guard that has reported the end may take to go.
const GUARD_PATIENCE: Duration = Duration::from_secs(1);

/// A program with everything it is given, free of NUL bytes.
#[derive(Debug)]
pub(super) struct Launch {
    /// The file to execute.
    pub(super) program: PathBuf,
    /// Its arguments, the first of which is its own name.
    pub(super) args: Vec<CString>,
    /// Its environment, each as `NAME=value`.
    pub(super) env: Vec<CString>,
    pub(super) directory: PathBuf,
    pub(super) has_input: bool,
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
    pub(super) walls: Option<Walls>,
}

/// A program that runs under its guard, and what it was given to read and write. Dropping it kills the program.
#[derive(Debug)]
pub(super) struct Guarded {
    guard: Child,
    reports: OwnedReadHalf,
    /// Closed to have the program killed.
    leash: Option<OwnedWriteHalf>,
    heard: Vec<u8>,
    program: i32,
    mark: Option<Mark>,
    trouble: Option<(i32, io::Error)>,
    launch: (PathBuf, PathBuf),
    /// What the program may write to is there as long as it may run.
    walls: Option<Walls>,
}

/// Our ends of the program's streams.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

impl Launch {
    /// Starts the program under a guard. Forking takes a while, so this belongs on a thread that may wait.
    pub(super) fn start(self) -> io::Result<(Guarded, Streams)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        // A copy has a number above 2, where the program's streams will be.
        let theirs = OwnedFd::from(theirs).try_clone()?;
        ours.set_nonblocking(true)?;
        let mark = Mark::new();
        let plan = Plan {
            program: CString::new(self.program.as_os_str().as_bytes())?,
            args: Texts::new(self.args),
            env: Texts::new(self.env),
            directory: CString::new(self.directory.as_os_str().as_bytes())?,
            control: theirs.as_raw_fd(),
            memory_bytes: self.memory_bytes,
            cpu_seconds: self.cpu_seconds,
            mark,
            entrance: self.walls.as_ref().map(Walls::entrance).transpose()?,
        };
        let stdin = if self.has_input { Stdio::piped() } else { Stdio::null() };
        let mut guard = fork(plan, stdin)?;
        drop(theirs);
        let taken = "a piped stream is there to be taken once";
        let streams = Streams {
            stdin: guard.stdin.take(),
            stdout: guard.stdout.take().expect(taken),
            stderr: guard.stderr.take().expect(taken),
        };
        let (reports, leash) = UnixStream::from_std(ours)?.into_split();
        let guarded = Guarded {
            guard,
            reports,
            leash: Some(leash),
            heard: Vec::new(),
            program: 0,
            mark,
            trouble: None,
            launch: (self.program, self.directory),
            walls: self.walls,
        };
        Ok((guarded, streams))
    }
}

/// Forks the guard. `Command` brings the pipes and the reaping; no program of its own is ever executed.
#[expect(unsafe_code, reason = "what runs between fork and exec is called so")]
fn fork(plan: Plan, stdin: Stdio) -> io::Result<Child> {
    let mut command = Command::new("stepwell-guard");
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: the closure is called in the fork, where the streams are in their places, and only makes system calls.
    unsafe { command.pre_exec(move || plan.guard()) };
    command.spawn()
}

impl Guarded {
    /// Takes the reports that have arrived; the program's status once it is among them.
    fn read_reports(&mut self) -> Option<ExitStatus> {
        while let Some((report, _)) = self.heard.split_first_chunk::<REPORT>() {
            let [what, numbers @ ..] = *report;
            self.heard.drain(..REPORT);
            let (first, second) = numbers.split_at(4);
            let [first, second] =
                [first, second].map(|bytes| i32::from_le_bytes(bytes.try_into().expect("four bytes")));
            match what {
                STARTED => self.program = first,
                FAILED => self.trouble = Some((first, io::Error::from_raw_os_error(second))),
                ENDED => return Some(ExitStatus::from_raw(first)),
                _ => {}
            }
        }
        None
    }

    /// Returns why the program could not be set going, if that is how it ended.
    pub(super) fn trouble(&mut self) -> Option<ProgramFailure> {
        let (at, error) = self.trouble.take()?;
        let (program, directory) = &self.launch;
        Some(match (at, error.raw_os_error()) {
            (AT_DIRECTORY, _) => ProgramFailure::NotStarted {
                reason: format!("its directory {}: {error}", directory.display()),
            },
            (AT_SANDBOX, _) => ProgramFailure::NotStarted { reason: format!("its sandbox: {error}") },
            (AT_PROGRAM, Some(libc::E2BIG)) => {
                let message = "the arguments and the environment are longer than the system takes; hand it over by \
                               'stdin' or a file";
                ProgramFailure::Refused(problem("args", "too_long", message.into()))
            }
            (AT_PROGRAM, Some(libc::ENOENT)) => {
                let why = "it, or the interpreter that its first line names, is not there";
                ProgramFailure::Refused(not_executable(program, why))
            }
            (AT_PROGRAM, Some(libc::ENOEXEC)) => {
                let why = "it is no program of this machine, and its first line names no interpreter ('#!…')";
                ProgramFailure::Refused(not_executable(program, why))
            }
            (AT_PROGRAM, Some(libc::EACCES | libc::EPERM)) => {
                ProgramFailure::Refused(not_executable(program, &error.to_string()))
            }
            _ => ProgramFailure::NotStarted { reason: error.to_string() },
        })
    }

    /// Waits until the guard is gone, too, and what the program had for itself.
    pub(super) async fn leave(mut self) {
        // One that still kills ends by itself, and is reaped by whoever reaps what nobody waits for.
        let _late = timeout(GUARD_PATIENCE, self.guard.wait()).await;
        let walls = self.walls.take();
        let _gone = tokio::task::spawn_blocking(move || drop(walls)).await;
    }
}

impl Running for Guarded {
    type End = ExitStatus;

    async fn ended(&mut self) -> Option<ExitStatus> {
        loop {
            if let Some(status) = self.read_reports() {
                return Some(status);
            }
            match self.reports.read_buf(&mut self.heard).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    fn kill(&mut self) {
        self.leash = None;
        // Somebody may have stopped the guard. It is deaf to all other signals.
        if let Some(guard) = self.guard.id() {
            signals::terminate(guard);
        }
    }

    async fn abandon(&mut self) {
        match self.mark {
            Some(mark) => mark.kill_bearers().await,
            None => signals::kill_group(self.program),
        }
    }
}
