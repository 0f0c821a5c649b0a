//! Where an event loop and the engine meet.
//!
//! What the engine asks of Python, and what it brings back, waits in a queue that the loop reads: one wake-up for however many
//! messages. No thread of the engine ever attaches to the interpreter. Answers come from whichever thread the function ran
//! on. Whether the loop still moves, `moves.rs` asks.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use rustix::event::{EventfdFlags, eventfd};
use serde_json::Value;
use stepwell::{Context, Next, StepError};
use stepwell_core::error::{Code, ErrorObject};
use tokio::sync::{oneshot, watch};

use crate::carrier::{carry_on, is_carrying_for};
use crate::context::PyContext;
use crate::errors::exception;
use crate::moves::{self, Expected, Watch};
use crate::route::next_of;
use crate::runtime;
use crate::value::{to_json, to_python};

/// What the loop is told.
enum Message {
    /// Call a function.
    Call { call: u64, function: u64, cx: Box<Context>, args: Vec<Value> },
    /// A call should end.
    Cancel { call: u64 },
    /// Nothing can call a function any more.
    Forget { function: u64 },
    /// A request has ended.
    Done { request: u64, result: Done },
}

/// Makes the result of a request on a thread of Python.
type Done = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// What a function came to.
pub(crate) enum Answer {
    Next(Next),
    Holds(bool),
    Value(Value),
}

/// Tells when the functions of an agent have been taken to another loop.
pub(crate) type Replaced = watch::Receiver<bool>;

type Reply = oneshot::Sender<Result<Answer, StepError>>;

pub(crate) struct Queue {
    messages: Mutex<Vec<Message>>,
    /// The loop listens to it.
    wake: OwnedFd,
    calls: Mutex<Option<HashMap<u64, Reply>>>,
    next_call: AtomicU64,
    pub(crate) watch: Watch,
}

impl Queue {
    /// Wakes the loop, which reads what waits.
    pub(crate) fn wake(&self) {
        // It fails only if it was written to 2^64 - 2 times and never read.
        let _woken = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Returns whether a call is under way.
    pub(crate) fn is_called(&self) -> bool {
        self.calls().as_ref().is_some_and(|calls| !calls.is_empty())
    }

    /// Brings a message to the loop.
    fn push(&self, message: Message) {
        let mut messages = self.messages.lock().expect("no panic happens under this lock");
        let is_first = messages.is_empty();
        messages.push(message);
        drop(messages);
        // Who carries attempts on looks by itself at what they say.
        if is_first && !is_carrying_for(self) {
            self.wake();
        }
    }

    /// Tells the loop what came of a request.
    pub(crate) fn done(&self, request: u64, result: Done) {
        self.push(Message::Done { request, result });
    }

    fn calls(&self) -> MutexGuard<'_, Option<HashMap<u64, Reply>>> {
        self.calls.lock().expect("no panic happens under this lock")
    }

    /// Lets a function be called, and waits for what it comes to. Told to end, it tells the function and waits on.
    async fn call(
        self: Arc<Self>,
        function: u64,
        cx: Context,
        args: Vec<Value>,
        expected: Expected,
        mut replaced: Replaced,
    ) -> Result<Answer, StepError> {
        let (reply, mut answer) = oneshot::channel();
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        if let Some(calls) = &mut *self.calls() {
            calls.insert(call, reply);
        }
        self.push(Message::Call { call, function, cx: Box::new(cx.clone()), args });
        moves::begin(&self);
        let _told = ToldToEnd { queue: self.clone(), call };
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            () = cx.cancelled() => {
                self.push(Message::Cancel { call });
                answer.await
            }
            never = moves::pass_on_signs(&self, &cx, expected) => match never {},
        };
        if let Ok(answer) = answered {
            return answer;
        }
        // It was let go, or its loop is closed. That is no fault of the step: it is attempted again when its agent is used in
        // another loop of this process, or given back when this process ends.
        tokio::select! {
            () = cx.cancelled() => Err(ErrorObject::new(Code::TASK_CANCELLED, "its event loop has ended").into()),
            _ = replaced.wait_for(|is_replaced| *is_replaced) => Err(StepError::Lost),
        }
    }

    fn answer(&self, call: u64, answer: Result<Answer, StepError>) {
        let reply = self.calls().as_mut().and_then(|calls| calls.remove(&call));
        if let Some(reply) = reply {
            // Its attempt may be over.
            let _gone = reply.send(answer);
        }
    }
}

/// A function that a loop knows by its number, for as long as anything here can call it: then the loop forgets it.
pub(crate) struct Registered {
    queue: Arc<Queue>,
    number: u64,
}

impl Registered {
    /// Takes over the number that a function was given at the border of that queue; once for each.
    pub(crate) fn new(queue: &Arc<Queue>, number: u64) -> Arc<Self> {
        Arc::new(Self { queue: queue.clone(), number })
    }

    /// Lets it be called, and waits for what it comes to. Told to end, it tells the function and waits on.
    pub(crate) async fn call(
        self: Arc<Self>,
        cx: Context,
        args: Vec<Value>,
        expected: Expected,
        replaced: Replaced,
    ) -> Result<Answer, StepError> {
        self.queue.clone().call(self.number, cx, args, expected, replaced).await
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let is_open = self.queue.calls().is_some();
        if is_open {
            self.queue.push(Message::Forget { function: self.number });
        }
    }
}

/// A call that is told to end when nobody waits for it any more.
struct ToldToEnd {
    queue: Arc<Queue>,
    call: u64,
}

impl Drop for ToldToEnd {
    fn drop(&mut self) {
        let is_open = self.queue.calls().as_mut().is_some_and(|calls| calls.remove(&self.call).is_some());
        if is_open {
            self.queue.push(Message::Cancel { call: self.call });
        }
    }
}

/// The border between one event loop and the engine.
#[pyclass(frozen, module = "stepwell._native")]
pub(crate) struct Border {
    pub(crate) queue: Arc<Queue>,
}

impl Border {
    /// Takes the messages that wait.
    fn waiting<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let messages =
            std::mem::take(&mut *self.queue.messages.lock().expect("no panic happens under this lock"));
        let list = PyList::empty(py);
        for message in messages {
            match message {
                Message::Call { call, function, cx, args } => {
                    let args = args.iter().map(|arg| to_python(py, arg)).collect::<PyResult<Vec<_>>>()?;
                    list.append(("call", call, function, PyContext::new(*cx), args))?;
                }
                Message::Cancel { call } => list.append(("cancel", call, py.None(), py.None(), py.None()))?,
                Message::Forget { function } => {
                    list.append(("forget", function, py.None(), py.None(), py.None()))?;
                }
                Message::Done { request, result } => match result(py) {
                    Ok(value) => list.append(("done", request, value, py.None(), py.None()))?,
                    Err(error) => list.append(("failed", request, error, py.None(), py.None()))?,
                },
            }
        }
        Ok(list)
    }

    /// Brings an answer to its attempt. On the thread of the loop, carries on what goes on by it and returns the messages that
    /// wait then.
    fn bring<'py>(
        &self,
        py: Python<'py>,
        call: u64,
        answer: Result<Answer, StepError>,
        here: bool,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        if !here {
            self.queue.answer(call, answer);
            return Ok(None);
        }
        carry_on(runtime::hold(py)?.handle(), &self.queue, || self.queue.answer(call, answer));
        let messages = self.waiting(py)?;
        Ok((!messages.is_empty()).then_some(messages))
    }
}

#[pymethods]
impl Border {
    #[new]
    fn new() -> PyResult<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = eventfd(0, flags).map_err(|error| PyOSError::new_err(error.raw_os_error()))?;
        let calls = Mutex::new(Some(HashMap::new()));
        let queue = Queue {
            messages: Mutex::default(),
            wake,
            calls,
            next_call: AtomicU64::new(0),
            watch: Watch::default(),
        };
        Ok(Self { queue: Arc::new(queue) })
    }

    /// Returns the descriptor that can be read while messages wait.
    fn fileno(&self) -> i32 {
        self.queue.wake.as_raw_fd()
    }

    /// Returns the messages that wait: `(kind, number, a, b, args)`.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.queue.watch.note_move();
        // Before the queue is emptied: what comes after that wakes the loop again.
        let _was_woken = rustix::io::read(&self.queue.wake, &mut [0u8; 8]);
        self.waiting(py)
    }

    /// Takes what a function returned: where its step leads. On the thread of the loop (`here`), returns the messages that wait.
    fn finish<'py>(
        &self,
        py: Python<'py>,
        call: u64,
        returned: &Bound<'py, PyAny>,
        here: bool,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        let next = next_of(returned)?;
        self.bring(py, call, next.map(Answer::Next).map_err(StepError::from), here)
    }

    /// Takes the value that a function returned, which must be JSON.
    fn give<'py>(
        &self,
        py: Python<'py>,
        call: u64,
        value: &Bound<'py, PyAny>,
        here: bool,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        let value = to_json(value, &|| "what it returned".into())?;
        self.bring(py, call, Ok(Answer::Value(value)), here)
    }

    /// Takes what a condition came to.
    fn judge(&self, call: u64, holds: bool) {
        self.queue.answer(call, Ok(Answer::Holds(holds)));
    }

    /// Takes the failure of a function.
    fn fail(&self, py: Python<'_>, call: u64, error: &Bound<'_, PyDict>) -> PyResult<()> {
        let object = to_json(error, &|| "the error".into())?;
        let object: ErrorObject = serde_json::from_value(object).map_err(|wrong| {
            exception(
                py,
                &ErrorObject::new(Code::INTERNAL_ERROR, format!("an error cannot be read: {wrong}")),
            )
        })?;
        self.queue.answer(call, Err(object.into()));
        Ok(())
    }

    /// Takes note that a function waits, and was let go.
    fn suspend(&self, call: u64) {
        self.queue.answer(call, Err(StepError::Suspended));
    }

    /// Takes note that a function was let go with its loop, and came to nothing.
    fn let_go(&self, call: u64) {
        if let Some(calls) = &mut *self.queue.calls() {
            calls.remove(&call);
        }
    }

    /// Lets nothing be called here any more: the loop is closed.
    fn close(&self) {
        self.queue.calls().take();
        self.queue.watch.close();
    }

    /// Waits until the loop does not move; tells whether it is still open.
    fn blocked(&self, py: Python<'_>) -> bool {
        py.detach(|| self.queue.watch.blocked())
    }

    /// Takes note of what blocks the loop.
    fn blocked_by(&self, what: String) {
        self.queue.watch.blocked_by(what);
    }
}
