//! What this process holds: the leases of its attempts, and how to end each.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use foldhash::HashMap;
use stepwell_core::ids::{ExecutionRef, RunId, Timestamp};
use stepwell_store::LeaseRef;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::slots::Slot;

/// The attempts under way in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    attempts: Arc<Mutex<Attempts>>,
    /// One has ended.
    ended: Arc<Notify>,
}

type Attempts = HashMap<(RunId, ExecutionRef), Arc<UnderWay>>;

/// An attempt under way, for those who may have to end it.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) run: RunId,
    pub(crate) lease: LeaseRef,
    /// Cancelled when it should end.
    pub(crate) cancel: CancellationToken,
    standing: Mutex<Standing>,
    /// When it gave the last sign of life, in µs.
    sign: AtomicI64,
    /// It ended or was abandoned.
    moved: Notify,
}

#[derive(Debug)]
struct Standing {
    /// Go with its outcome. None: somebody has taken that in hand.
    kept: Option<(Slot, TaskTrackerToken)>,
    /// It was told to end because of this.
    late: Option<Late>,
    /// Nobody waits any longer for it to end.
    is_abandoned: bool,
}

/// Why an attempt was told to end although its run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// Its time was over: the limit.
    Time(Duration),
    /// It gave no sign of life for so long.
    Silent(Duration),
}

/// The right to bring the outcome of an attempt home.
pub(crate) struct Ending {
    pub(crate) slot: Slot,
    /// Why it was told to end, if not because nobody wants it.
    pub(crate) late: Option<Late>,
    /// A shutdown waits for it until the outcome is home.
    pub(crate) awaited: TaskTrackerToken,
}

impl UnderWay {
    /// Takes its outcome in hand, once: of the attempt itself and those who abandon it, the first does.
    pub(crate) fn end(&self) -> Option<Ending> {
        let mut standing = self.standing();
        let late = standing.late;
        let ending = standing.kept.take().map(|(slot, awaited)| Ending { slot, late, awaited });
        drop(standing);
        self.moved.notify_waiters();
        ending
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.standing().kept.is_none()
    }

    /// Takes note of a sign of life.
    pub(crate) fn note_sign(&self, now: Timestamp) {
        self.sign.fetch_max(now.0, Ordering::Relaxed);
    }

    /// Returns when it gave the last sign of life; its beginning is one.
    pub(crate) fn last_sign(&self) -> Timestamp {
        Timestamp(self.sign.load(Ordering::Relaxed))
    }

    /// Returns why it was told to end, if not because nobody wants it.
    pub(crate) fn late(&self) -> Option<Late> {
        self.standing().late
    }

    /// Tells it to end for that reason. Returns false if it has ended, or was told to already.
    pub(crate) fn time_out(&self, late: Late) -> bool {
        let mut standing = self.standing();
        if standing.kept.is_none() || self.cancel.is_cancelled() {
            return false;
        }
        standing.late = Some(late);
        drop(standing);
        self.cancel.cancel();
        true
    }

    /// Waits until its outcome is in somebody's hands.
    pub(crate) async fn ended(&self) {
        self.until(|standing| standing.kept.is_none()).await;
    }

    /// Waits until it has ended, or nobody waits for that any longer.
    pub(crate) async fn ended_or_abandoned(&self) {
        self.until(|standing| standing.kept.is_none() || standing.is_abandoned).await;
    }

    async fn until(&self, holds: impl Fn(&Standing) -> bool) {
        loop {
            // Registered before it is looked, so that nothing falls between.
            let moved = self.moved.notified();
            if holds(&self.standing()) {
                return;
            }
            moved.await;
        }
    }

    fn abandon(&self) {
        self.standing().is_abandoned = true;
        self.moved.notify_waiters();
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().expect("no panic happens under this lock")
    }
}

/// A lease that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Held,
    pub(crate) attempt: Arc<UnderWay>,
}

impl Held {
    /// Takes note of an attempt that begins.
    pub(crate) fn hold(&self, run: &RunId, lease: LeaseRef, slot: Slot, awaited: TaskTrackerToken) -> Hold {
        let key = (run.clone(), lease.execution.clone());
        let standing = Standing { kept: Some((slot, awaited)), late: None, is_abandoned: false };
        let attempt = Arc::new(UnderWay {
            run: run.clone(),
            lease,
            cancel: CancellationToken::new(),
            standing: Mutex::new(standing),
            sign: AtomicI64::new(0),
            moved: Notify::new(),
        });
        self.attempts().insert(key, attempt.clone());
        Hold { held: self.clone(), attempt }
    }

    /// Forgets an attempt.
    pub(crate) fn release(&self, attempt: &Arc<UnderWay>) {
        let key = (attempt.run.clone(), attempt.lease.execution.clone());
        let mut attempts = self.attempts();
        // The next attempt of the execution, or its re-run under the same number, may have begun already.
        if attempts.get(&key).is_some_and(|known| Arc::ptr_eq(known, attempt)) {
            attempts.remove(&key);
        }
        drop(attempts);
        self.ended.notify_waiters();
    }

    /// Returns the attempt of an execution that is under way.
    pub(crate) fn get(&self, run: &RunId, execution: &ExecutionRef) -> Option<Arc<UnderWay>> {
        self.attempts().get(&(run.clone(), execution.clone())).cloned()
    }

    /// Returns all attempts under way.
    pub(crate) fn all(&self) -> Vec<Arc<UnderWay>> {
        self.attempts().values().cloned().collect()
    }

    /// Waits no longer for the attempts of a run that were told to end.
    pub(crate) fn abandon(&self, run: &RunId) {
        let all = self.all();
        let told = all.iter().filter(|attempt| attempt.run == *run && attempt.cancel.is_cancelled());
        told.for_each(|attempt| attempt.abandon());
    }

    /// Waits until no attempt of a run is under way.
    pub(crate) async fn all_ended(&self, run: &RunId) {
        loop {
            // Registered before it is looked, so that no end falls between.
            let ended = self.ended.notified();
            if !self.attempts().keys().any(|(of, _)| of == run) {
                return;
            }
            ended.await;
        }
    }

    /// Returns whether a lease is held.
    pub(crate) fn holds(&self, run: &RunId, lease: &LeaseRef) -> bool {
        self.get(run, &lease.execution).is_some_and(|attempt| attempt.lease == *lease)
    }

    /// Returns whether no attempt is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.attempts().is_empty()
    }

    /// Returns the leases that are held.
    pub(crate) fn leases(&self) -> Vec<(RunId, LeaseRef)> {
        self.attempts().values().map(|attempt| (attempt.run.clone(), attempt.lease.clone())).collect()
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().expect("no panic happens under this lock")
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.release(&self.attempt);
    }
}
