//! Letting others go on.

use std::future::poll_fn;
use std::task::Poll;

/// Lets go of the thread once, and goes on when it is this task's turn again.
///
/// In place of `tokio::task::yield_now`, which leaves the task with its thread until that has nothing else to do: a function
/// that blocks the thread meanwhile would keep it from going on elsewhere.
pub async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
