//! Who carries attempts of Python functions on.
//!
//! An attempt waits for its function, which a thread of Python runs. That thread brings the outcome, and what follows from it, the
//! commit and the call of the next function, needs no other thread as long as nothing has to be waited for. So a state in
//! memory costs no change of threads, which would cost more than the state.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use async_task::Runnable;
use futures_util::future::BoxFuture;
use stepwell::Executor;
use tokio::runtime::Handle;

use crate::border::Queue;

thread_local! {
    /// Attempts that can go on, on a thread that carries them on.
    static READY: RefCell<Option<VecDeque<Runnable>>> = const { RefCell::new(None) };
    /// Whose outcome was brought.
    static BROUGHT_BY: Cell<*const Queue> = const { Cell::new(ptr::null()) };
}

/// Carries attempts on: on the thread that brings what they wait for if that is in [`carry_on`], else on threads of the
/// runtime. What is under way never stays with a thread that has turned to other things.
pub(crate) struct Carrier {
    pub(crate) runtime: Handle,
}

impl Executor for Carrier {
    fn spawn(&self, attempt: BoxFuture<'static, ()>) {
        let runtime = self.runtime.clone();
        let schedule = move |runnable: Runnable| {
            let elsewhere = READY.with_borrow_mut(|ready| match ready {
                Some(ready) => {
                    ready.push_back(runnable);
                    None
                }
                None => Some(runnable),
            });
            if let Some(runnable) = elsewhere {
                drop(runtime.spawn(async move { runnable.run() }));
            }
        };
        let (runnable, task) = async_task::spawn(attempt, schedule);
        task.detach();
        runnable.schedule();
    }
}

/// Returns whether this thread carries attempts on, and looks by itself then at what this queue holds. Loops of other threads,
/// whose functions are called by what one loop brings, are to be woken.
pub(crate) fn is_carrying_for(queue: &Queue) -> bool {
    ptr::eq(BROUGHT_BY.get(), queue)
}

/// Carries attempts on as tasks of the runtime, which is begun anew in a forked process.
pub(crate) struct OnRuntime {
    pub(crate) runtime: Handle,
}

impl Executor for OnRuntime {
    fn spawn(&self, attempt: BoxFuture<'static, ()>) {
        drop(self.runtime.spawn(attempt));
    }
}

/// Brings something of a queue to attempts, which does not panic, and carries those on that go on by it as far as they go without waiting.
pub(crate) fn carry_on(runtime: &Handle, queue: &Queue, bring: impl FnOnce()) {
    let _runtime = runtime.enter();
    BROUGHT_BY.set(queue);
    READY.set(Some(VecDeque::new()));
    bring();
    while let Some(runnable) = READY.with_borrow_mut(|ready| ready.as_mut()?.pop_front()) {
        // An attempt that panics, which the hook for panics has told, ends alone, as a task of the runtime does.
        let _ended = catch_unwind(AssertUnwindSafe(|| runnable.run()));
    }
    READY.take();
    BROUGHT_BY.set(ptr::null());
}
