//! Timers of the store become commands when they are due, and delayed work wakes the worker.

use std::sync::Arc;

use stepwell_core::run::command::Command;
use stepwell_store::DueTimer;

use crate::shared::Shared;

/// However quiet it is, the store is asked for timers so often: another process may have set one.
const POLL_MS: u64 = 1_000;

/// At most so many timers are fired at once.
const AT_ONCE: usize = 256;

pub(crate) fn spawn(shared: &Arc<Shared>) {
    shared.tracker.spawn(timer_loop(shared.clone()));
}

async fn timer_loop(shared: Arc<Shared>) {
    loop {
        let woken = shared.timer.notified();
        let now = shared.clock.now();
        let due = shared.store.due_timers(now, AT_ONCE).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "timers could not be read");
            Vec::new()
        });
        let is_due = !due.is_empty();
        if is_due && fire(&shared, due).await {
            continue;
        }
        let next = shared.store.next_due(now).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the next timer could not be read");
            None
        });
        let poll = now.plus_ms(POLL_MS);
        // What could not be fired is still the next.
        let wake = next.filter(|_| !is_due).map_or(poll, |next| next.min(poll));
        tokio::select! {
            () = woken => {}
            () = shared.clock.sleep_until(wake) => shared.work.notify_one(),
            () = shared.shutdown.cancelled() => return,
        }
    }
}

/// Fires timers; returns whether all were. Those that were not stay due, and the store is given time.
async fn fire(shared: &Arc<Shared>, due: Vec<DueTimer>) -> bool {
    let fired = due.into_iter().map(|timer| async move {
        let command = Command::FireTimer { timer: timer.key };
        let fired = shared.submit(&timer.run, command, None).await;
        if let Err(refused) = fired {
            let error = refused.into_error();
            tracing::warn!(run = %timer.run, %error, "a timer could not be fired");
            return false;
        }
        true
    });
    futures_util::future::join_all(fired).await.into_iter().all(|fired| fired)
}
