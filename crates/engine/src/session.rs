//! This process in the store: it says that it lives, notices who does not, and gives back what it lost.

use std::sync::Arc;

use stepwell_core::run::command::Command;
use stepwell_store::{Error as StoreError, SessionRef};

use crate::attempt::attempt_ref;
use crate::error::from_store;
use crate::mailbox::Refused;
use crate::shared::Shared;

/// A session says that it lives so often.
const RENEW_MS: u64 = 2_000;

/// What others write is looked at so much later: perhaps they ended a run that is carried here.
const NEWS_MS: u64 = 250;

/// Leases of sessions that are gone are looked for so often.
const LOOK_MS: u64 = 200;

pub(crate) fn spawn(shared: &Arc<Shared>, session: SessionRef) {
    shared.tracker.spawn(renew_loop(shared.clone(), session));
    shared.tracker.spawn(recover_loop(shared.clone()));
}

async fn renew_loop(shared: Arc<Shared>, session: SessionRef) {
    let mut changes = shared.store.changes();
    loop {
        changes.mark_unchanged();
        let renewed = shared.clock.now();
        let news = async {
            // A store that is gone says nothing any more.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            shared.clock.sleep_until(renewed.plus_ms(NEWS_MS)).await;
        };
        tokio::select! {
            () = shared.clock.sleep_until(renewed.plus_ms(RENEW_MS)) => {}
            () = news => {}
            () = shared.strays.notified() => {}
            () = shared.shutdown.cancelled() => return,
        }
        if !renew(&shared, session).await {
            return;
        }
    }
}

/// Cancels what others have ended meanwhile, for as long as it is polled: while the engine shuts down.
pub(crate) async fn watch_what_is_held(shared: &Arc<Shared>, session: SessionRef) {
    while renew(shared, session).await {
        shared.clock.sleep_until(shared.clock.now().plus_ms(NEWS_MS)).await;
    }
    std::future::pending::<()>().await;
}

/// Says that the session lives, and cancels the attempts whose leases are gone: their runs were cancelled or have
/// failed by somebody else's doing. Returns false once the session is over.
async fn renew(shared: &Arc<Shared>, session: SessionRef) -> bool {
    let renewed = {
        // What is leased but not yet held would look like a stray, and be attempted a second time.
        let _nothing_on_its_way = shared.leasing.write().await;
        shared.store.renew_session(session, shared.held.leases(), shared.clock.now()).await
    };
    match renewed {
        Ok(renewal) => {
            for (run, lease) in renewal.lost {
                tracing::info!(%run, execution = %lease.execution, "a lease is gone; its attempt is cancelled");
                shared.cancel(&run, &lease.execution);
            }
            true
        }
        Err(StoreError::NotFound(_)) => {
            shared.lose_session();
            false
        }
        Err(error @ StoreError::NotThere { .. }) => {
            shared.lose_session();
            shared.store_failed(&from_store(&error));
            false
        }
        Err(error) => {
            tracing::warn!(%error, "the session could not be renewed");
            true
        }
    }
}

async fn recover_loop(shared: Arc<Shared>) {
    loop {
        recover(&shared).await;
        let at = shared.clock.now().plus_ms(LOOK_MS);
        tokio::select! {
            () = shared.clock.sleep_until(at) => {}
            () = shared.shutdown.cancelled() => return,
        }
    }
}

/// Takes note of attempts whose worker is gone. Of two processes that notice, the store lets one win.
async fn recover(shared: &Arc<Shared>) {
    const AT_ONCE: usize = 256;
    let lost = match shared.store.lost_leases(shared.clock.now(), AT_ONCE).await {
        Ok(lost) => lost,
        Err(error) => {
            tracing::warn!(%error, "lost leases could not be looked for");
            return;
        }
    };
    let all = lost.into_iter().map(|lost| {
        let shared = shared.clone();
        async move {
            let command = Command::Lose { attempt: attempt_ref(&lost.lease), given_back: false };
            match shared.submit_leased(&lost.run, command, lost.lease).await {
                Ok(_) | Err(Refused::LeaseLost) => {}
                Err(Refused::Rejected(error) | Refused::Store(error)) => {
                    tracing::warn!(run = %lost.run, %error, "a lost attempt could not be given back");
                }
            }
        }
    });
    futures_util::future::join_all(all).await;
}
