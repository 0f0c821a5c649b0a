//! Keeps the timers of the runtime going while functions block its threads.
//!
//! One thread of a runtime waits for its timers, and carries out itself what one of them wakes. If that blocks, the other
//! threads sleep until somebody brings a task, and no timer ends any more: not even the one that is to end what blocks. So a
//! thread of ours brings a task now and then, and whoever takes it waits for the timers from then on.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::shared::Shared;

/// So late may a timer be beside a function that blocks its thread.
const EVERY: Duration = Duration::from_millis(100);

/// Begins, until the engine is closed or gone. On a runtime of one thread there is nobody else to go on.
pub(crate) fn start(shared: &Arc<Shared>) {
    let runtime = Handle::current();
    if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return;
    }
    let engine = Arc::downgrade(shared);
    // The thread does not sleep on when it is wanted no more.
    let (end, ended) = mpsc::channel::<()>();
    let closed = shared.closed.clone();
    runtime.spawn(async move {
        closed.cancelled().await;
        drop(end);
    });
    let beat = move || {
        while engine.strong_count() > 0 {
            runtime.spawn(std::future::ready(()));
            if ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("stepwell-pulse".into()).spawn(beat) {
        tracing::warn!(%error, "timers may stand still while functions block the threads of the runtime");
    }
}
