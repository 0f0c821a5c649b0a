//! One warm interpreter: started, spoken to, and missed when it dies.
//!
//! The process and its control socket belong to one tokio task; everybody else holds a [`Parent`], which
//! only sends messages. The interpreter goes when the socket closes, whatever the reason, and takes every
//! task with it. The process that is started and waited for is its guard (`forkserver.py`): once that is
//! gone, nothing of any task runs any more.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::UnixDatagram;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::failure::PythonFailure;
use super::settings::PythonSettings;
use super::system;
use super::wire::{BOOTSTRAP, End, FORKSERVER, Notice, OPEN, Order, WALLED};
use crate::mark::Mark;
use crate::sandbox::Filter;
use crate::signals;

/// How long an interpreter may take to start, imports from a cold disk included.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long a parent may take to kill its tasks and go, before it is killed itself.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// How much of an interpreter's own stderr is kept for the log.
const STDERR_KEPT: usize = 8 << 10;

/// A handle on a running interpreter.
#[derive(Debug)]
pub(super) struct Parent {
    messages: mpsc::UnboundedSender<Message>,
    gone: CancellationToken,
    next_task: AtomicU64,
}

/// The child's ends of a task's channel, stdout and stderr, and the ruleset of its walls where it has any.
pub(super) type Descriptors = Vec<OwnedFd>;

enum Message {
    Start { task: u64, descriptors: Descriptors, ended: oneshot::Sender<End> },
    Kill(u64),
    Leave { patience: Duration },
}

impl Parent {
    /// Starts an interpreter and waits until it can fork.
    pub(super) async fn start(settings: &PythonSettings) -> Result<Self, PythonFailure> {
        let failed = |reason: String, was_killed: bool| PythonFailure::NoInterpreter {
            interpreter: settings.interpreter.clone(),
            reason,
            was_killed,
        };
        let is_walled = settings.isolation.sandbox.stands().map_err(PythonFailure::NoSandbox)?;
        let mark = Mark::new();
        let (process, socket) =
            spawn(settings, is_walled, mark).map_err(|error| failed(error.to_string(), false))?;
        let keeper = Keeper::new(process, socket, mark);
        match timeout(START_PATIENCE, keeper.receive()).await {
            Ok(Some(Notice::Ready)) => {}
            Ok(_) => {
                let (words, was_killed) = keeper.last_words().await;
                return Err(failed(words, was_killed));
            }
            Err(_) => {
                keeper.leave(Duration::ZERO).await;
                let reason = format!("it was not ready after {} s", START_PATIENCE.as_secs());
                return Err(failed(reason, false));
            }
        }
        let (messages, inbox) = mpsc::unbounded_channel();
        let gone = CancellationToken::new();
        tokio::spawn(keeper.serve(inbox, gone.clone()));
        Ok(Self { messages, gone, next_task: AtomicU64::new(1) })
    }

    /// Whether tasks can still be given to it.
    pub(super) fn is_alive(&self) -> bool {
        !self.messages.is_closed()
    }

    /// Has a child forked for a task.
    pub(super) fn launch(self: &Arc<Self>, descriptors: Descriptors) -> Ticket {
        let task = self.next_task.fetch_add(1, Ordering::Relaxed);
        let (ended, end) = oneshot::channel();
        // A parent that is gone drops the message, and with it the sender: the ticket says so.
        let _gone = self.messages.send(Message::Start { task, descriptors, ended });
        Ticket { parent: Arc::clone(self), task, end, over: false }
    }

    /// Ends the interpreter and all its tasks, and waits until they are gone.
    pub(super) async fn close(&self) {
        let _gone = self.messages.send(Message::Leave { patience: END_PATIENCE });
        self.gone.cancelled().await;
    }
}

/// A task that was given to a parent. Dropping it kills the task.
#[derive(Debug)]
pub(super) struct Ticket {
    parent: Arc<Parent>,
    task: u64,
    end: oneshot::Receiver<End>,
    over: bool,
}

impl Ticket {
    /// Waits until the task and all its descendants are dead; none if the parent died first, or if that was told already.
    pub(super) async fn ended(&mut self) -> Option<End> {
        if self.over {
            return None;
        }
        let end = (&mut self.end).await.ok();
        self.over = true;
        end
    }

    /// Has the task killed; [`ended`](Self::ended) tells when that is done.
    pub(super) fn kill(&self) {
        let _gone = self.parent.messages.send(Message::Kill(self.task));
    }

    /// Gives up on an interpreter that does not answer: it is killed, and its tasks with it.
    pub(super) fn give_up(&self) {
        let _gone = self.parent.messages.send(Message::Leave { patience: Duration::ZERO });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.over {
            self.kill();
        }
    }
}

/// Starts the process, with the text of the parent waiting in its socket. With walls, what its tasks may not ask of the
/// kernel is refused to itself already; where they may write, each is told of its own.
fn spawn(
    settings: &PythonSettings,
    is_walled: bool,
    mark: Option<Mark>,
) -> io::Result<(Child, UnixDatagram)> {
    let (ours, theirs) = system::packet_pair()?;
    system::send_packet(ours.as_fd(), FORKSERVER.as_bytes(), &[])?;
    // Only the type says "datagram": the calls are the same for every packet socket.
    let socket = std::os::unix::net::UnixDatagram::from(ours);
    socket.set_nonblocking(true)?;
    let socket = UnixDatagram::from_std(socket)?;
    let mut command = Command::new(&settings.interpreter);
    command
        .args(["-I", "-X", "utf8", "-c", BOOTSTRAP])
        .arg(if is_walled { WALLED } else { OPEN })
        .args(&settings.isolation.env_allow)
        .env_clear()
        .envs(settings.isolation.environment())
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Away from the terminal's group: an interrupt there is for the engine to handle.
        .process_group(0);
    if let Some(mark) = mark {
        before_exec(&mut command, move || mark.bear());
    }
    if is_walled {
        let filter = Filter::get()?;
        before_exec(&mut command, move || filter.install());
    }
    Ok((command.spawn()?, socket))
}

/// Has a process that is to be started make system calls, and nothing else, before it becomes the interpreter.
#[expect(unsafe_code, reason = "what runs between fork and exec is called so")]
fn before_exec(command: &mut Command, call: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: the closure only makes system calls.
    unsafe { command.pre_exec(call) };
}

/// Owns the process and its socket.
struct Keeper {
    process: Child,
    socket: UnixDatagram,
    /// Of the interpreter, its guard and all tasks.
    mark: Option<Mark>,
    stderr: Option<JoinHandle<String>>,
    running: HashMap<u64, oneshot::Sender<End>>,
    unsent: VecDeque<(Order, Option<Descriptors>)>,
}

impl Keeper {
    fn new(mut process: Child, socket: UnixDatagram, mark: Option<Mark>) -> Self {
        let stderr = process.stderr.take().map(|stderr| tokio::spawn(keep_tail(stderr)));
        Self { process, socket, mark, stderr, running: HashMap::new(), unsent: VecDeque::new() }
    }

    /// Passes messages on until the interpreter is gone or should go.
    async fn serve(mut self, mut inbox: mpsc::UnboundedReceiver<Message>, gone: CancellationToken) {
        let _gone = gone.drop_guard();
        let patience = loop {
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(Message::Start { task, descriptors, ended }) => {
                        self.running.insert(task, ended);
                        self.unsent.push_back((Order::Start(task), Some(descriptors)));
                    }
                    Some(Message::Kill(task)) => self.unsent.push_back((Order::Kill(task), None)),
                    Some(Message::Leave { patience }) => break Some(patience),
                    None => break Some(END_PATIENCE),
                },
                notice = self.receive() => match notice {
                    Some(Notice::Ended { task, end }) => {
                        if let Some(ended) = self.running.remove(&task) {
                            // Nobody listens any more where the caller was dropped.
                            let _dropped = ended.send(end);
                        }
                    }
                    Some(Notice::Ready) => {}
                    None => break None,
                },
                () = writable(&self.socket), if !self.unsent.is_empty() => {}
            }
            if self.send_waiting().is_err() {
                break None;
            }
        };
        inbox.close();
        drop(inbox);
        let (running, mark) = (std::mem::take(&mut self.running), self.mark);
        let is_well = if let Some(patience) = patience {
            self.leave(patience).await
        } else {
            let (words, _) = self.last_words().await;
            tracing::warn!(reason = %words, "a python interpreter died and will be replaced");
            false
        };
        // Somebody may have killed the guard as well as the parent.
        if let Some(mark) = mark.filter(|_| !is_well) {
            mark.kill_bearers().await;
        }
        // Tasks are told that they are lost only now that nothing of them goes on.
        drop(running);
    }

    /// Sends what the socket takes now.
    fn send_waiting(&mut self) -> io::Result<()> {
        while let Some((order, descriptors)) = self.unsent.front() {
            let packet = order.packet();
            let passed: Vec<_> = descriptors.iter().flatten().map(OwnedFd::as_fd).collect();
            let sent = self
                .socket
                .try_io(Interest::WRITABLE, || system::send_packet(self.socket.as_fd(), &packet, &passed));
            match sent {
                Ok(()) => drop(self.unsent.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for the next notice; none once the interpreter is gone or speaks nonsense.
    async fn receive(&self) -> Option<Notice> {
        let mut packet = [0; 64];
        let length = self.socket.recv(&mut packet).await.ok()?;
        Notice::parse(&packet[..length])
    }

    /// Closes the socket, at which the interpreter kills its tasks and ends, and waits for that. Returns whether it did.
    async fn leave(self, patience: Duration) -> bool {
        let Self { mut process, socket, .. } = self;
        drop(socket);
        matches!(end(&mut process, patience).await, Some(Ok(status)) if status.success())
    }

    /// Waits for the end of an interpreter that died, says what it left on its stderr, and whether it was killed.
    async fn last_words(self) -> (String, bool) {
        let Self { mut process, socket, stderr, .. } = self;
        drop(socket);
        let ended = end(&mut process, END_PATIENCE).await;
        let was_killed = matches!(&ended, Some(Ok(status)) if status.signal().is_some());
        let status = match ended {
            Some(Ok(status)) => status.to_string(),
            Some(Err(error)) => error.to_string(),
            None => "it stopped answering".to_owned(),
        };
        let words = match stderr {
            Some(stderr) => timeout(END_PATIENCE, stderr).await.ok().and_then(Result::ok).unwrap_or_default(),
            None => String::new(),
        };
        let told = if words.trim().is_empty() { status } else { format!("{status}: {}", words.trim()) };
        (told, was_killed)
    }
}

/// Waits for the end of an interpreter whose socket is closed; none if it had to be killed.
async fn end(process: &mut Child, patience: Duration) -> Option<io::Result<ExitStatus>> {
    if let Ok(ended) = timeout(patience, process.wait()).await {
        return Some(ended);
    }
    // Not the guard is to die: it kills the parent, and then all that is left of its tasks.
    if let Some(guard) = process.id() {
        signals::terminate(guard);
    }
    if timeout(END_PATIENCE, process.wait()).await.is_err() {
        let _dead = process.kill().await;
    }
    None
}

/// Waits until the socket takes another packet; an error shows at the next send.
async fn writable(socket: &UnixDatagram) {
    let _error = socket.writable().await;
}

/// Reads a stream to its end and returns the last part.
async fn keep_tail(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut piece).await {
        kept.extend_from_slice(&piece[..length]);
        kept.drain(..kept.len().saturating_sub(STDERR_KEPT));
    }
    String::from_utf8_lossy(&kept).into_owned()
}
