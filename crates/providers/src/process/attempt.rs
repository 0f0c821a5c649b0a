//! One run of one program, from its file to its end.

use std::io;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;
use tokio_util::sync::CancellationToken;

use super::failure::ProgramFailure;
use super::launch::{Launch, Streams};
use crate::capture::{Captured, Overrun, Printed};
use crate::supervise::{Stop, supervise};

/// A program, and when it has done what it should.
pub(super) struct Job<'a> {
    pub(super) launch: Launch,
    pub(super) stdin: Option<String>,
    pub(super) timeout: Duration,
    pub(super) output_limit: usize,
    /// The exit codes that mean success.
    pub(super) expected: Vec<i64>,
    pub(super) parses_json: bool,
    pub(super) cancel: &'a CancellationToken,
}

/// What a program that ended well left behind.
pub(super) struct Ended {
    pub(super) result: Value,
    pub(super) printed: Printed,
    pub(super) exit_code: i32,
    pub(super) execution_time: f64,
}

impl Job<'_> {
    /// Runs the program to its end.
    ///
    /// When this returns, or soon after the future is dropped, nothing of the program runs any more. Excepted is what the
    /// kernel does not let this user kill, and, if somebody kills the guard, what took off the program's mark.
    pub(super) async fn run(self) -> Result<Ended, ProgramFailure> {
        let Self { launch, stdin, timeout, output_limit, expected, parses_json, cancel } = self;
        let cannot = |error: io::Error| ProgramFailure::NotStarted { reason: error.to_string() };
        let started = tokio::task::spawn_blocking(move || launch.start()).await;
        let (mut program, streams) =
            started.map_err(io::Error::other).and_then(|made| made).map_err(cannot)?;
        let begun = Instant::now();
        let mut captured = Captured::default();
        let exchange = exchange(streams, stdin, &mut captured, output_limit);
        let (stop, _) = supervise(&mut program, exchange, timeout, cancel).await;
        let execution_time = begun.elapsed().as_secs_f64();
        let trouble = program.trouble();
        program.leave().await;
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        let status = match stop {
            Stop::Ended(Some(status)) => status,
            Stop::Ended(None) => return Err(ProgramFailure::GuardLost),
            Stop::Cancelled => return Err(ProgramFailure::Cancelled { printed: captured.into() }),
            Stop::TimedOut => {
                return Err(ProgramFailure::TimedOut { limit: timeout, printed: captured.into() });
            }
            Stop::Cut(Overrun) => {
                let printed = captured.into();
                return Err(ProgramFailure::OutputLimit { limit_bytes: output_limit, printed });
            }
        };
        let Some(exit_code) = status.code() else {
            let signal = std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or_default();
            return Err(ProgramFailure::Signal { signal, printed: captured.into() });
        };
        if !expected.contains(&i64::from(exit_code)) {
            return Err(ProgramFailure::Exit { code: exit_code, printed: captured.into() });
        }
        let parsed = parses_json.then(|| serde_json::from_slice(&captured.stdout));
        let printed = Printed::from(captured);
        let result = match parsed {
            None => Value::String(printed.output.clone()),
            Some(Ok(value)) => value,
            Some(Err(error)) => return Err(ProgramFailure::NotJson { reason: error.to_string(), printed }),
        };
        Ok(Ended { result, printed, exit_code, execution_time })
    }
}

/// Hands the program its input and reads what it writes.
async fn exchange(
    streams: Streams,
    input: Option<String>,
    captured: &mut Captured,
    limit_bytes: usize,
) -> Result<(), Overrun> {
    let given = async {
        if let (Some(mut stdin), Some(input)) = (streams.stdin, input) {
            hand_over(&mut stdin, &input).await;
        }
        Ok(())
    };
    tokio::try_join!(given, captured.read(streams.stdout, streams.stderr, limit_bytes)).map(|_| ())
}

async fn hand_over(stdin: &mut ChildStdin, input: &str) {
    // A program need not read what it is given.
    let _unread = stdin.write_all(input.as_bytes()).await;
}
