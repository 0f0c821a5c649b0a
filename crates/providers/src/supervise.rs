//! Waits for the end of a task, whatever brings it: its own doing, a cancel, its time, or too much output.
//!
//! What ends a task early only has it killed. It is over when whoever keeps it reports the end, which is after the last
//! descendant is dead, and nothing holds its streams open after that.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long the end of a task that was killed may take.
const KILL_PATIENCE: Duration = Duration::from_secs(2);
/// How long the streams are read after the end, should a process have escaped with one of them.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// A task that somebody keeps: forked it, and waits for its end.
pub(crate) trait Running {
    /// How a task can end.
    type End;

    /// Waits until the task and all its descendants are dead; none if its keeper died first.
    async fn ended(&mut self) -> Option<Self::End>;

    /// Has the task killed; [`ended`](Self::ended) tells when that is done.
    fn kill(&mut self);

    /// Ends what a keeper that died or does not answer has not ended.
    async fn abandon(&mut self);
}

/// Why nobody waits for a task any more.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop<End, Cut> {
    /// It ended; none if its keeper died.
    Ended(Option<End>),
    Cancelled,
    TimedOut,
    /// A stream passed its limit.
    Cut(Cut),
}

/// Exchanges what there is to exchange with a task until it is over. Returns why, and whether its streams came to their
/// ends.
pub(crate) async fn supervise<R: Running, Cut>(
    task: &mut R,
    exchange: impl Future<Output = Result<(), Cut>>,
    limit: Duration,
    cancel: &CancellationToken,
) -> (Stop<R::End, Cut>, bool) {
    let mut exchange = pin!(exchange);
    let mut clock = pin!(sleep(limit));
    let mut is_drained = false;
    let stop = loop {
        tokio::select! {
            biased;
            end = task.ended() => break Stop::Ended(end),
            () = cancel.cancelled() => break Stop::Cancelled,
            () = &mut clock => break Stop::TimedOut,
            exchanged = &mut exchange, if !is_drained => match exchanged {
                Ok(()) => is_drained = true,
                Err(cut) => break Stop::Cut(cut),
            },
        }
    };
    let is_over = if let Stop::Ended(end) = &stop {
        end.is_some()
    } else {
        task.kill();
        timeout(KILL_PATIENCE, task.ended()).await.is_ok_and(|end| end.is_some())
    };
    if !is_over {
        task.abandon().await;
    }
    if is_drained || matches!(stop, Stop::Cut(_)) {
        return (stop, true);
    }
    // What the task wrote last is still in the pipes; a limit may be passed only now.
    match (stop, timeout(DRAIN_PATIENCE, exchange).await) {
        (Stop::Ended(Some(_)), Ok(Err(cut))) => (Stop::Cut(cut), true),
        (stop, drained) => (stop, drained.is_ok()),
    }
}
