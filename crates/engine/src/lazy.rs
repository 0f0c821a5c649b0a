//! Lazy events: log lines, progress, messages. They ride with the next commit of their attempt, or go in a
//! flush every 50 ms, and cost no commit of their own per line.

use std::sync::Mutex;
use std::time::Duration;

use foldhash::HashMap;
use stepwell_core::ids::RunId;
use stepwell_store::{LazyEvent, LeaseRef};
use tokio::sync::Notify;

/// A flush comes so often while there is something to flush.
pub(crate) const FLUSH: Duration = Duration::from_millis(50);

/// Lazy events that are not in the store yet; bounded, the oldest of an attempt go first.
#[derive(Debug, Default)]
pub(crate) struct Lazy {
    waiting: Mutex<HashMap<(RunId, LeaseRef), Vec<LazyEvent>>>,
    pub(crate) more: Notify,
}

/// An attempt that says more between two flushes loses the oldest of it.
const MAX_WAITING: usize = 4_096;

impl Lazy {
    /// Takes an event.
    pub(crate) fn push(&self, event: LazyEvent) {
        let key = (event.run.clone(), event.lease.clone());
        let mut waiting = self.waiting.lock().expect("no panic happens under this lock");
        let list = waiting.entry(key).or_default();
        if list.len() >= MAX_WAITING {
            list.remove(0);
        }
        list.push(event);
        drop(waiting);
        self.more.notify_one();
    }

    /// Takes what waits for one attempt away, to ride with its commit.
    pub(crate) fn take(&self, run: &RunId, lease: &LeaseRef) -> Vec<LazyEvent> {
        let mut waiting = self.waiting.lock().expect("no panic happens under this lock");
        if waiting.is_empty() {
            return Vec::new();
        }
        waiting.remove(&(run.clone(), lease.clone())).unwrap_or_default()
    }

    /// Takes everything away, to be flushed.
    pub(crate) fn take_all(&self) -> Vec<LazyEvent> {
        let mut waiting = self.waiting.lock().expect("no panic happens under this lock");
        std::mem::take(&mut *waiting).into_values().flatten().collect()
    }
}
