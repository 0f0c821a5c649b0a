//! What this process holds: the leases of its attempts, and how to stop each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use stepwell_core::ids::{ExecutionRef, RunId};
use stepwell_store::LeaseRef;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The attempts under way in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    attempts: Arc<Mutex<Attempts>>,
    /// One has ended.
    ended: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Attempts {
    by_execution: HashMap<(RunId, ExecutionRef), Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    lease: LeaseRef,
    cancel: CancellationToken,
    abandon: CancellationToken,
}

/// A lease that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Held,
    run: RunId,
    pub(crate) lease: LeaseRef,
    /// Cancelled when the attempt should end.
    pub(crate) cancel: CancellationToken,
    /// Cancelled when nobody waits any longer for it to end.
    pub(crate) abandon: CancellationToken,
    number: u64,
}

impl Held {
    /// Takes note of a lease.
    pub(crate) fn hold(&self, run: &RunId, lease: LeaseRef, cancel: CancellationToken) -> Hold {
        let mut attempts = self.attempts.lock().expect("no panic happens under this lock");
        attempts.next += 1;
        let number = attempts.next;
        let abandon = CancellationToken::new();
        let entry = Entry { number, lease: lease.clone(), cancel: cancel.clone(), abandon: abandon.clone() };
        attempts.by_execution.insert((run.clone(), lease.execution.clone()), entry);
        drop(attempts);
        Hold { held: self.clone(), run: run.clone(), lease, cancel, abandon, number }
    }

    /// Tells an attempt to end.
    pub(crate) fn cancel(&self, run: &RunId, execution: &ExecutionRef) {
        let attempts = self.attempts.lock().expect("no panic happens under this lock");
        if let Some(entry) = attempts.by_execution.get(&(run.clone(), execution.clone())) {
            entry.cancel.cancel();
        }
    }

    /// Waits no longer for the attempts of a run that were told to end.
    pub(crate) fn abandon(&self, run: &RunId) {
        let attempts = self.attempts.lock().expect("no panic happens under this lock");
        let own =
            attempts.by_execution.iter().filter(|((of, _), entry)| of == run && entry.cancel.is_cancelled());
        own.for_each(|(_, entry)| entry.abandon.cancel());
    }

    /// Waits until no attempt of a run is under way.
    pub(crate) async fn all_ended(&self, run: &RunId) {
        loop {
            // Registered before it is looked, so that no end falls between.
            let ended = self.ended.notified();
            if !self.is_carrying(run) {
                return;
            }
            ended.await;
        }
    }

    fn is_carrying(&self, run: &RunId) -> bool {
        let attempts = self.attempts.lock().expect("no panic happens under this lock");
        attempts.by_execution.keys().any(|(of, _)| of == run)
    }

    /// Returns whether a lease is held.
    pub(crate) fn holds(&self, run: &RunId, lease: &LeaseRef) -> bool {
        let attempts = self.attempts.lock().expect("no panic happens under this lock");
        attempts
            .by_execution
            .get(&(run.clone(), lease.execution.clone()))
            .is_some_and(|entry| entry.lease == *lease)
    }

    /// Returns whether no attempt is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.attempts.lock().expect("no panic happens under this lock").by_execution.is_empty()
    }

    /// Returns the leases that are held.
    pub(crate) fn leases(&self) -> Vec<(RunId, LeaseRef)> {
        let attempts = self.attempts.lock().expect("no panic happens under this lock");
        attempts.by_execution.iter().map(|((run, _), entry)| (run.clone(), entry.lease.clone())).collect()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut attempts = self.held.attempts.lock().expect("no panic happens under this lock");
        let key = (self.run.clone(), self.lease.execution.clone());
        // The next attempt of the execution, or its re-run under the same number, may have begun already.
        if attempts.by_execution.get(&key).is_some_and(|entry| entry.number == self.number) {
            attempts.by_execution.remove(&key);
        }
        drop(attempts);
        self.held.ended.notify_waiters();
    }
}
