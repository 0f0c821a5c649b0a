//! One task in one parent, from its descriptors to its end.
//!
//! Three streams are read side by side while the child lives. The task is over when the parent reports the end,
//! which it does after the last descendant is dead, and nothing holds the streams open after that.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

use super::failure::{PythonFailure, Raised};
use super::parent::{Descriptors, Parent, Ticket};
use super::task::PythonOutcome;
use super::wire::{Answer, CHANNEL_SLACK, End, Failure, Told, Verdict};
use crate::capture::{Budget, Captured, Overrun, Printed, read_all};
use crate::sandbox::Walls;
use crate::signals;
use crate::supervise::{Running, Stop, supervise};

/// A task ready to be given to any parent.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) frame: Vec<u8>,
    pub(super) timeout: Duration,
    pub(super) memory_bytes: u64,
    pub(super) output_limit: usize,
    pub(super) result_limit: usize,
    /// What the script may write to, where it has walls.
    pub(super) walls: Option<Walls>,
    pub(super) cancel: &'a CancellationToken,
}

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Attempted {
    /// The task is over.
    Over(Result<PythonOutcome, PythonFailure>),
    /// The parent died before the child took up its request: no line of the script ran.
    NeverBegun,
}

/// Which limit a stream passed.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Output,
    Result,
}

/// The engine's ends of a task's streams.
struct Wires {
    channel: UnixStream,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

/// What came over them.
#[derive(Default)]
struct Heard {
    channel: Vec<u8>,
    printed: Captured,
}

impl Job<'_> {
    /// Has the parent run the task and waits for its end.
    pub(super) async fn run_in(&self, parent: &Arc<Parent>) -> Attempted {
        let (mut wires, theirs) = match Wires::new(self.walls.as_ref()) {
            Ok(made) => made,
            Err(error) => {
                let reason = format!("cannot make its pipes: {error}");
                return Attempted::Over(Err(PythonFailure::NotStarted { reason }));
            }
        };
        // What fits the socket waits there for the child, which saves it one wake-up.
        let already = wires.channel.try_write(&self.frame).unwrap_or(0);
        let mut heard = Heard::default();
        let exchange = self.exchange(already, &mut wires, &mut heard);
        let mut ticket = parent.launch(theirs);
        let (stop, is_drained) = supervise(&mut ticket, exchange, self.timeout, self.cancel).await;
        self.judge(stop, is_drained, heard)
    }

    /// Sends the rest of the request and reads until all streams end or one passes its limit.
    async fn exchange(&self, already: usize, wires: &mut Wires, heard: &mut Heard) -> Result<(), Cut> {
        let (answers, mut requests) = wires.channel.split();
        let answer_budget = Budget::new(self.result_limit.saturating_add(CHANNEL_SLACK));
        let request = async {
            // A child that ends without reading has its own story to tell.
            let _broken = requests.write_all(&self.frame[already..]).await;
            Ok(())
        };
        let answer = async {
            read_all(answers, &mut heard.channel, &answer_budget).await.map_err(|Overrun| Cut::Result)
        };
        let printed = async {
            let read = heard.printed.read(&mut wires.stdout, &mut wires.stderr, self.output_limit);
            read.await.map_err(|Overrun| Cut::Output)
        };
        tokio::try_join!(request, answer, printed).map(|_| ())
    }

    /// Turns the end and all that was heard into an outcome or a failure.
    fn judge(&self, stop: Stop<End, Cut>, is_drained: bool, heard: Heard) -> Attempted {
        let printed = Printed::from(heard.printed);
        let end = match stop {
            Stop::Cancelled => return Attempted::Over(Err(PythonFailure::Cancelled { printed })),
            Stop::TimedOut => {
                return Attempted::Over(Err(PythonFailure::TimedOut { limit: self.timeout, printed }));
            }
            Stop::Cut(Cut::Output) => {
                let limit_bytes = self.output_limit;
                return Attempted::Over(Err(PythonFailure::OutputLimit { limit_bytes, printed }));
            }
            Stop::Cut(Cut::Result) => {
                let reason = format!("it is over the limit of {} bytes", self.result_limit);
                return Attempted::Over(Err(invalid(reason, printed)));
            }
            Stop::Ended(end) => end,
        };
        let answer = Answer::parse(&heard.channel);
        drop(heard.channel);
        match end {
            Some(End::NotForked(errno)) => {
                let reason = format!("cannot fork: {}", io::Error::from_raw_os_error(errno));
                Attempted::Over(Err(PythonFailure::NotStarted { reason }))
            }
            Some(end) => Attempted::Over(self.judge_answer(answer.verdict, end, printed)),
            None => self.judge_lost(answer, is_drained, printed),
        }
    }

    /// The parent died, and all its tasks with it; one may have handed over its result before.
    fn judge_lost(&self, answer: Answer, is_drained: bool, printed: Printed) -> Attempted {
        let Some(child) = answer.begun else {
            return if is_drained {
                Attempted::NeverBegun
            } else {
                Attempted::Over(Err(PythonFailure::ParentLost { printed }))
            };
        };
        // Whoever killed the parent may have killed its guard, too; the child's group is left then.
        signals::kill_group(child);
        Attempted::Over(match answer.verdict {
            Verdict::Missing | Verdict::Garbled => Err(PythonFailure::ParentLost { printed }),
            verdict => self.judge_answer(verdict, End::Exited(0), printed),
        })
    }

    fn judge_answer(
        &self,
        verdict: Verdict,
        end: End,
        printed: Printed,
    ) -> Result<PythonOutcome, PythonFailure> {
        match end {
            End::Exited(0) => {}
            End::Exited(code) => return Err(PythonFailure::Exit { code: i64::from(code), printed }),
            End::Signalled(signal) => return Err(PythonFailure::Signal { signal, printed }),
            End::NotForked(_) => {}
        }
        match verdict {
            Verdict::Result { value, seconds } => Ok(PythonOutcome {
                result: value,
                output: printed.output,
                stderr: printed.stderr,
                execution_time: seconds,
            }),
            Verdict::Failure(failure) => Err(self.told(failure, printed)),
            Verdict::Missing => {
                Err(invalid("the script ended before it could be handed over".to_owned(), printed))
            }
            Verdict::Garbled => {
                Err(invalid("the script wrote to the channel it is handed over by".to_owned(), printed))
            }
        }
    }

    /// A failure in the child's words.
    fn told(&self, failure: Failure, printed: Printed) -> PythonFailure {
        match failure {
            Failure::Setup { message } => PythonFailure::NotStarted { reason: message },
            Failure::Exit { code } => PythonFailure::Exit { code, printed },
            Failure::Result { path, reason } => PythonFailure::ResultInvalid { path, reason, printed },
            Failure::Syntax(told) => PythonFailure::Syntax { raised: told.into(), printed },
            Failure::Exception(told) => PythonFailure::Exception { raised: told.into(), printed },
            Failure::Memory(told) => {
                PythonFailure::Memory { limit_bytes: self.memory_bytes, raised: told.into(), printed }
            }
        }
    }
}

impl Running for Ticket {
    type End = End;

    async fn ended(&mut self) -> Option<End> {
        Ticket::ended(self).await
    }

    fn kill(&mut self) {
        Ticket::kill(self);
    }

    async fn abandon(&mut self) {
        self.give_up();
        Ticket::ended(self).await;
    }
}

impl Wires {
    /// Makes the streams of a task; the second part goes to the child.
    fn new(walls: Option<&Walls>) -> io::Result<(Self, Descriptors)> {
        let (channel, their_channel) = UnixStream::pair()?;
        let their_channel = their_channel.into_std()?;
        their_channel.set_nonblocking(false)?;
        let (stdout, their_stdout) = io::pipe()?;
        let (stderr, their_stderr) = io::pipe()?;
        let wires = Self {
            channel,
            stdout: pipe::Receiver::from_owned_fd(stdout.into())?,
            stderr: pipe::Receiver::from_owned_fd(stderr.into())?,
        };
        let mut theirs: Descriptors = vec![their_channel.into(), their_stdout.into(), their_stderr.into()];
        theirs.extend(walls.map(Walls::ruleset).transpose()?);
        Ok((wires, theirs))
    }
}

impl From<Told> for Box<Raised> {
    fn from(told: Told) -> Self {
        Box::new(Raised {
            exception_type: told.exception_type,
            message: told.message,
            traceback: told.traceback,
            line: told.line,
        })
    }
}

fn invalid(reason: String, printed: Printed) -> PythonFailure {
    PythonFailure::ResultInvalid { path: "result".to_owned(), reason, printed }
}
