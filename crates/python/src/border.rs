//! Where an event loop and the engine meet.
//!
//! What the engine asks of Python, and what it brings back, waits in a queue that the loop reads: one wake-up for however many
//! messages. No thread of the engine ever attaches to the interpreter. Answers come from whichever thread the function ran
//! on.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use rustix::event::{EventfdFlags, eventfd};
use stepwell::{Context, Next, StepError};
use stepwell_core::error::{Code, ErrorObject};
use tokio::sync::oneshot;

use crate::context::PyContext;
use crate::errors::exception;
use crate::route::next_of;
use crate::value::to_json;

/// What the loop is told.
enum Message {
    /// Call a function.
    Call { call: u64, function: u64, cx: Box<Context> },
    /// A call should end.
    Cancel { call: u64 },
    /// A request has ended.
    Done { request: u64, result: Done },
}

/// Makes the result of a request on a thread of Python.
type Done = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// What a function came to.
pub(crate) enum Answer {
    Next(Next),
    Holds(bool),
}

type Reply = oneshot::Sender<Result<Answer, StepError>>;

pub(crate) struct Queue {
    messages: Mutex<Vec<Message>>,
    /// The loop listens to it.
    wake: OwnedFd,
    calls: Mutex<Option<HashMap<u64, Reply>>>,
    next_call: AtomicU64,
}

impl Queue {
    /// Brings a message to the loop.
    fn push(&self, message: Message) {
        let mut messages = self.messages.lock().expect("no panic happens under this lock");
        let is_first = messages.is_empty();
        messages.push(message);
        drop(messages);
        if is_first {
            // It fails only if it was written to 2^64 - 2 times and never read.
            let _woken = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
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
    pub(crate) async fn call(self: Arc<Self>, function: u64, cx: Context) -> Result<Answer, StepError> {
        let (reply, mut answer) = oneshot::channel();
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        if let Some(calls) = &mut *self.calls() {
            calls.insert(call, reply);
        }
        self.push(Message::Call { call, function, cx: Box::new(cx.clone()) });
        let _told = ToldToEnd { queue: self.clone(), call };
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            () = cx.cancelled() => {
                self.push(Message::Cancel { call });
                answer.await
            }
        };
        if let Ok(answer) = answered {
            return answer;
        }
        // It was let go, or its loop is closed. That is no fault of the step: it stays under way until this process gives it
        // back, and the next one attempts it again.
        cx.cancelled().await;
        Err(ErrorObject::new(Code::TASK_CANCELLED, "its event loop has ended").into())
    }

    fn answer(&self, call: u64, answer: Result<Answer, StepError>) {
        let reply = self.calls().as_mut().and_then(|calls| calls.remove(&call));
        if let Some(reply) = reply {
            // Its attempt may be over.
            let _gone = reply.send(answer);
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

#[pymethods]
impl Border {
    #[new]
    fn new() -> PyResult<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = eventfd(0, flags).map_err(|error| PyOSError::new_err(error.raw_os_error()))?;
        let calls = Mutex::new(Some(HashMap::new()));
        let queue = Queue { messages: Mutex::default(), wake, calls, next_call: AtomicU64::new(0) };
        Ok(Self { queue: Arc::new(queue) })
    }

    /// Returns the descriptor that can be read while messages wait.
    fn fileno(&self) -> i32 {
        self.queue.wake.as_raw_fd()
    }

    /// Returns the messages that wait: `(kind, number, a, b)`.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        // Before the queue is emptied: what comes after that wakes the loop again.
        let _was_woken = rustix::io::read(&self.queue.wake, &mut [0u8; 8]);
        let messages =
            std::mem::take(&mut *self.queue.messages.lock().expect("no panic happens under this lock"));
        let list = PyList::empty(py);
        for message in messages {
            match message {
                Message::Call { call, function, cx } => {
                    list.append(("call", call, function, PyContext::new(*cx)))?;
                }
                Message::Cancel { call } => list.append(("cancel", call, py.None(), py.None()))?,
                Message::Done { request, result } => match result(py) {
                    Ok(value) => list.append(("done", request, value, py.None()))?,
                    Err(error) => list.append(("failed", request, error, py.None()))?,
                },
            }
        }
        Ok(list)
    }

    /// Takes what a function returned: where its step leads.
    fn finish(&self, call: u64, returned: &Bound<'_, PyAny>) -> PyResult<()> {
        let next = next_of(returned)?;
        self.queue.answer(call, next.map(Answer::Next).map_err(StepError::from));
        Ok(())
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
    }
}
