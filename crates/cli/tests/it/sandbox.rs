//! A directory of its own for each test, and the command in it.

use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stepwell"));
        command
            .args(args)
            .current_dir(self.path())
            .env_remove("STEPWELL_STORE")
            .env_remove("STEPWELL_SANDBOX")
            .stdin(Stdio::null());
        command
    }

    /// Carries a command out and returns its exit code and what it printed.
    pub(crate) fn run(&self, args: &[&str]) -> Told {
        Told::of(&self.command(args).output().unwrap())
    }

    /// Carries a command out with more variables in its environment.
    pub(crate) fn run_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Told {
        Told::of(&self.command(args).envs(variables.iter().copied()).output().unwrap())
    }

    /// Carries a command out and returns also the most memory that it, or a script of it, ever had, in bytes.
    #[expect(unsafe_code, reason = "only wait4 tells what a process that has ended used")]
    #[expect(clippy::zombie_processes, reason = "wait4 is the wait")]
    pub(crate) fn run_measured(&self, args: &[&str]) -> (Told, u64) {
        let mut streams = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        let [out, err] = [0, 1].map(|stream: usize| streams[stream].try_clone().unwrap());
        let child = self.command(args).stdout(out).stderr(err).spawn().unwrap();
        let mut status = 0;
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: it waits for a child of ours that nobody else waits for; both pointers outlive the call.
        let waited = unsafe { libc::wait4(child.id().cast_signed(), &raw mut status, 0, usage.as_mut_ptr()) };
        assert_eq!(waited, child.id().cast_signed());
        // SAFETY: all zero is a valid rusage, and the call has filled it.
        let usage = unsafe { usage.assume_init() };
        let mut said = streams.each_mut().map(|stream| {
            let mut text = String::new();
            stream.rewind().and_then(|()| stream.read_to_string(&mut text)).unwrap();
            text
        });
        let [out, err] = said.each_mut().map(std::mem::take);
        let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 };
        (Told { code, out, err }, usage.ru_maxrss.cast_unsigned() * 1_024)
    }

    /// Starts a command and lets it go on.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Asks until an answer comes, for up to a minute.
    pub(crate) fn until<T>(&self, ask: impl Fn(&Self) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(begin.elapsed() < Duration::from_mins(1), "nothing comes of waiting");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What a command told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Told {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns the error that was told with `--json`.
    pub(crate) fn error(&self) -> Value {
        let line = self
            .err
            .lines()
            .find(|line| line.starts_with("{\"error\""))
            .unwrap_or_else(|| panic!("{self:?}"));
        serde_json::from_str::<Value>(line).unwrap()["error"].clone()
    }
}

/// Sends a signal to a process that was spawned here and not waited for yet.
#[expect(unsafe_code, reason = "the standard library sends no signals")]
pub(crate) fn send(process: u32, signal: libc::c_int) {
    // SAFETY: the number is that of a child of ours, which nobody has waited for.
    assert_eq!(unsafe { libc::kill(process.cast_signed(), signal) }, 0);
}
