//! What this process holds: the leases of its attempts, and how to stop each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use stepwell_core::ids::{ExecutionRef, RunId};
use stepwell_store::LeaseRef;
use tokio_util::sync::CancellationToken;

/// The attempts under way in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    attempts: Arc<Mutex<Attempts>>,
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
}

/// A lease that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Held,
    run: RunId,
    pub(crate) lease: LeaseRef,
    /// Cancelled when the attempt should end.
    pub(crate) cancel: CancellationToken,
    number: u64,
}

impl Held {
    /// Takes note of a lease.
    pub(crate) fn hold(&self, run: &RunId, lease: LeaseRef, cancel: CancellationToken) -> Hold {
        let mut attempts = self.attempts.lock().expect("no panic happens under this lock");
        attempts.next += 1;
        let number = attempts.next;
        let entry = Entry { number, lease: lease.clone(), cancel: cancel.clone() };
        attempts.by_execution.insert((run.clone(), lease.execution.clone()), entry);
        drop(attempts);
        Hold { held: self.clone(), run: run.clone(), lease, cancel, number }
    }

    /// Tells an attempt to end.
    pub(crate) fn cancel(&self, run: &RunId, execution: &ExecutionRef) {
        let attempts = self.attempts.lock().expect("no panic happens under this lock");
        if let Some(entry) = attempts.by_execution.get(&(run.clone(), execution.clone())) {
            entry.cancel.cancel();
        }
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
    }
}
