//! Whether an event loop still moves.
//!
//! While functions are called at it, it is woken once a second. One that has not read for some seconds is blocked: by a function that
//! computes or waits without `await`. Everything at that loop stands still then, so it is said of the process, where people
//! look who carries a run. Which function it is only the interpreter knows: a thread of it waits to be asked.

use std::convert::Infallible;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use stepwell::{Context, Engine};

use crate::border::Queue;

/// A loop is asked so often whether it moves.
const EVERY: Duration = Duration::from_secs(1);

/// One that has not moved for so long is blocked.
const BLOCKED: Duration = Duration::from_secs(3);

/// The interpreter gets so long to say what blocks it; it cannot while native code keeps it to itself.
const NAMED_WITHIN: Duration = Duration::from_secs(1);

/// Which signs of life an attempt gives besides what it emits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    /// The loop moves, which is expected so often.
    pub(crate) of_loop: Option<Duration>,
}

/// What is known of a loop.
#[derive(Default)]
pub(crate) struct Watch {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    /// When it moved last; none: it has not yet.
    moved: Option<Instant>,
    /// Somebody watches.
    is_watched: bool,
    /// Somebody is to be told what blocks it.
    asks: bool,
    is_closed: bool,
    blocked_by: Option<String>,
    /// Those whose functions are called at it.
    engines: Vec<Engine>,
}

impl Watch {
    /// Takes note that the loop moves.
    pub(crate) fn note_move(&self) {
        self.seen().moved = Some(Instant::now());
    }

    /// Takes note of an engine whose functions are called at the loop.
    pub(crate) fn know(&self, engine: &Engine) {
        let mut seen = self.seen();
        if !seen.engines.iter().any(|known| known.is(engine)) {
            seen.engines.push(engine.clone());
        }
    }

    /// Waits until it is to be said what blocks the loop. False: the loop is closed.
    pub(crate) fn blocked(&self) -> bool {
        let waits = |seen: &mut Seen| !seen.asks && !seen.is_closed;
        let mut seen = self.changed.wait_while(self.seen(), waits).expect("no panic happens under this lock");
        seen.asks = false;
        !seen.is_closed
    }

    pub(crate) fn blocked_by(&self, what: String) {
        self.seen().blocked_by = Some(what);
        self.changed.notify_all();
    }

    pub(crate) fn close(&self) {
        let mut seen = self.seen();
        seen.is_closed = true;
        seen.engines.clear();
        self.changed.notify_all();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic happens under this lock")
    }

    fn moved_since(&self, moment: Instant) -> bool {
        self.seen().moved.is_some_and(|moved| moved > moment)
    }
}

/// Watches the loop of a queue as long as functions are called there, if nobody does yet.
pub(crate) fn begin(queue: &Arc<Queue>) {
    if !std::mem::replace(&mut queue.watch.seen().is_watched, true) {
        drop(tokio::spawn(watch(queue.clone())));
    }
}

async fn watch(queue: Arc<Queue>) {
    let mut asked = Instant::now();
    let mut is_told = false;
    loop {
        tokio::time::sleep(EVERY).await;
        let is_over = {
            let mut seen = queue.watch.seen();
            seen.is_watched = queue.is_called() && !seen.is_closed;
            !seen.is_watched
        };
        if is_over || queue.watch.moved_since(asked) {
            if std::mem::take(&mut is_told) {
                remark(&queue, None).await;
            }
            if is_over {
                return;
            }
            asked = Instant::now();
            queue.wake();
        } else if !is_told && asked.elapsed() >= BLOCKED {
            is_told = true;
            let what = what_blocks(&queue).await;
            let what = what.as_deref().unwrap_or("native code, which keeps the interpreter to itself,");
            let remark =
                format!("its event loop is blocked, {what} has not let it go on for {} s", BLOCKED.as_secs());
            self::remark(&queue, Some(&remark)).await;
        }
    }
}

/// Asks the interpreter what blocks the loop.
async fn what_blocks(queue: &Arc<Queue>) -> Option<String> {
    {
        let mut seen = queue.watch.seen();
        seen.asks = true;
        seen.blocked_by = None;
    }
    queue.watch.changed.notify_all();
    let patience = Instant::now() + NAMED_WITHIN;
    while Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if let Some(what) = queue.watch.seen().blocked_by.take() {
            return Some(what);
        }
    }
    None
}

async fn remark(queue: &Arc<Queue>, remark: Option<&str>) {
    let engines = queue.watch.seen().engines.clone();
    for engine in engines {
        engine.remark(remark).await;
    }
}

/// Passes each move of the loop on as a sign of life of an attempt, if that is expected.
pub(crate) async fn pass_on_signs(queue: &Arc<Queue>, cx: &Context, expected: Expected) -> Infallible {
    let Some(limit) = expected.of_loop else { return std::future::pending().await };
    // So often that a loop which moves is never late.
    let every = (limit / 4).clamp(Duration::from_millis(5), EVERY);
    loop {
        let asked = Instant::now();
        queue.wake();
        tokio::time::sleep(every).await;
        if queue.watch.moved_since(asked) {
            cx.heartbeat();
        }
    }
}
