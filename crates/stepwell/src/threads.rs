//! Threads that functions run on.
//!
//! A function may block its thread or compute for long, although it should not. On a thread of the runtime it would hold up
//! what that thread is to do next, timers of others among it. So functions have threads of their own. An attempt goes from one
//! function to the next on its thread, commits included, as long as nothing has to be waited for; a state in memory wakes nobody.
//!
//! As many threads work at once as the machine has processors. One that stays away while others find no room is taken for
//! blocked, and another goes on in its place.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use async_task::{Runnable, ScheduleInfo, WithInfo};
use futures_util::future::BoxFuture;
use stepwell_engine::Executor;
use tokio::runtime::{Handle, RuntimeFlavor};

/// What carries functions out, of all engines of the process.
static FUNCTIONS: LazyLock<Arc<dyn Executor>> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    Arc::new(OnThreads(Arc::new(Threads::new(Limits { at_once: processors.max(2), ..Limits::default() }))))
});

/// Returns what carries out functions that have no executor of their own.
pub(crate) fn functions() -> &'static Arc<dyn Executor> {
    &FUNCTIONS
}

/// Carries attempts out on threads of their own; in a runtime of one thread, whose clock may be one that stands still, as its
/// tasks.
struct OnThreads(Arc<Threads>);

impl Executor for OnThreads {
    fn spawn(&self, attempt: BoxFuture<'static, ()>) {
        let runtime = Handle::current();
        if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            drop(runtime.spawn(attempt));
            return;
        }
        let threads = self.0.clone();
        let schedule = WithInfo(move |task, info| threads.take_in(task, info));
        let (task, handle) = async_task::Builder::new().metadata(runtime).spawn(|_| attempt, schedule);
        handle.detach();
        task.schedule();
    }
}

/// A task that can go on, in the context of its runtime.
type Task = Runnable<Handle>;

#[derive(Clone, Copy)]
struct Limits {
    /// So many threads work at once, blocked ones not counted.
    at_once: usize,
    /// There are never more threads than this.
    most: usize,
    /// A thread that stays away for so long while something waits for room is taken for blocked.
    patience: Duration,
    /// A thread with nothing to do ends after so long.
    keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            at_once: 2,
            most: 512,
            patience: Duration::from_millis(5),
            keep_alive: Duration::from_secs(10),
        }
    }
}

struct Threads {
    limits: Limits,
    state: Mutex<State>,
    /// There is something to do for one of those that wait.
    wanted: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Task>,
    threads: usize,
    /// Of these, so many wait, for something to do or for those that are busy.
    idle: usize,
    /// So many tasks were taken in hand, each under the next number.
    taken: u64,
    /// The tasks in hand, but for those whose threads are taken for blocked.
    busy: BTreeSet<u64>,
    /// One of those that wait looks whether the busy ones come back.
    is_watched: bool,
}

/// What a thread is to do to have what is ready seen to.
#[derive(Clone, Copy)]
enum Call {
    Nobody,
    Idle,
    New,
}

impl State {
    fn is_full(&self, limits: &Limits) -> bool {
        self.busy.len() >= limits.at_once
    }

    /// Returns who is to come because of what is ready: a thread to take it, or one to watch those that do not come back.
    fn call(&mut self, limits: &Limits) -> Call {
        if self.ready.is_empty() || (self.is_full(limits) && self.is_watched) {
            Call::Nobody
        } else if self.idle > 0 {
            Call::Idle
        } else if self.threads < limits.most {
            self.threads += 1;
            Call::New
        } else {
            Call::Nobody
        }
    }
}

impl Threads {
    fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default(), wanted: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic happens under this lock")
    }

    /// Takes in a task that can go on.
    fn take_in(self: &Arc<Self>, task: Task, info: ScheduleInfo) {
        let mut state = self.state();
        state.ready.push_back(task);
        // The thread that had it in hand looks here next.
        let call = if info.woken_while_running { Call::Nobody } else { state.call(&self.limits) };
        drop(state);
        self.carry(call);
    }

    fn carry(self: &Arc<Self>, call: Call) {
        match call {
            Call::Nobody => {}
            Call::Idle => self.wanted.notify_one(),
            Call::New => {
                let threads = self.clone();
                let begun = std::thread::Builder::new()
                    .name("stepwell-function".into())
                    .spawn(move || threads.work());
                if let Err(error) = begun {
                    self.do_without(&error);
                }
            }
        }
    }

    /// Goes on with the threads there are; if there is none, on those of the runtime.
    fn do_without(self: &Arc<Self>, error: &std::io::Error) {
        tracing::warn!(%error, "no further thread for functions could be begun");
        let mut state = self.state();
        state.threads -= 1;
        let homeless = if state.threads == 0 { std::mem::take(&mut state.ready) } else { VecDeque::new() };
        drop(state);
        for task in homeless {
            let (runtime, threads) = (task.metadata().clone(), self.clone());
            drop(runtime.spawn(async move {
                if task.run() {
                    threads.look_here();
                }
            }));
        }
    }

    /// Has somebody see to a task that was woken while it ran where nobody looks here next.
    fn look_here(self: &Arc<Self>) {
        let call = self.state().call(&self.limits);
        self.carry(call);
    }

    /// Carries out what is ready, until there has been nothing to do for long.
    fn work(self: &Arc<Self>) {
        let mut state = self.state();
        while let Some(task) = {
            let taken;
            (state, taken) = self.next(state);
            taken
        } {
            state.taken += 1;
            let number = state.taken;
            state.busy.insert(number);
            let call = state.call(&self.limits);
            drop(state);
            self.carry(call);
            run(task);
            state = self.state();
            state.busy.remove(&number);
        }
        state.threads -= 1;
    }

    /// Waits for a task. None: there has been nothing to do for long.
    fn next<'s>(&'s self, mut state: MutexGuard<'s, State>) -> (MutexGuard<'s, State>, Option<Task>) {
        loop {
            let has_room = !state.is_full(&self.limits);
            if has_room && let Some(task) = state.ready.pop_front() {
                return (state, Some(task));
            }
            let watches = !has_room && !state.ready.is_empty() && !state.is_watched;
            let taken = state.taken;
            let patience = if watches { self.limits.patience } else { self.limits.keep_alive };
            state.is_watched |= watches;
            state.idle += 1;
            let waited;
            (state, waited) =
                self.wanted.wait_timeout(state, patience).expect("no panic happens under this lock");
            state.idle -= 1;
            state.is_watched &= !watches;
            if !waited.timed_out() {
                continue;
            }
            if !watches && state.ready.is_empty() {
                return (state, None);
            }
            if watches && !state.ready.is_empty() {
                // Who had something in hand before has it still.
                state.busy = state.busy.split_off(&(taken + 1));
            }
        }
    }
}

/// Lets a task go on in the context of its runtime.
fn run(task: Task) {
    let runtime = task.metadata().clone();
    let _context = runtime.enter();
    // An attempt that panics, which the hook for panics has told, ends alone, as a task of the runtime does.
    let _ended = catch_unwind(AssertUnwindSafe(|| task.run()));
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    const FOREVER: Duration = Duration::from_hours(1);

    fn threads(limits: Limits) -> (Arc<Threads>, OnThreads) {
        let threads = Arc::new(Threads::new(limits));
        (threads.clone(), OnThreads(threads))
    }

    /// Runs so many copies of a function as tasks of their own, and waits for them all.
    async fn run_all(on: &OnThreads, count: usize, function: impl Fn() + Clone + Send + 'static) {
        let (tell, mut told) = mpsc::unbounded_channel();
        for _ in 0..count {
            let (tell, function) = (tell.clone(), function.clone());
            on.spawn(Box::pin(async move {
                function();
                tell.send(()).unwrap();
            }));
        }
        for _ in 0..count {
            told.recv().await.unwrap();
        }
    }

    fn pass(barrier: &Barrier) {
        barrier.wait();
    }

    async fn until(holds: impl Fn() -> bool) {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn no_more_work_at_once_than_there_is_room_for() {
        let (_, on) = threads(Limits { at_once: 3, patience: FOREVER, ..Limits::default() });
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let at_once = most.clone();
        run_all(&on, 1_000, move || {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
        })
        .await;
        let at_once = at_once.load(Ordering::SeqCst);
        assert!((1..=3).contains(&at_once), "{at_once}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_in_place_of_those_that_block() {
        let patience = Duration::from_millis(1);
        let (threads, on) = threads(Limits { patience, keep_alive: patience, ..Limits::default() });
        // Each blocks its thread until all twenty do.
        let barrier = Arc::new(Barrier::new(20));
        run_all(&on, 20, move || pass(&barrier)).await;
        until(|| threads.state().threads == 0).await;
        let state = threads.state();
        assert_eq!((state.busy.len(), state.idle, state.is_watched), (0, 0, false));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn one_that_blocks_beside_many_short_ones_is_taken_for_blocked() {
        let (threads, on) = threads(Limits { patience: Duration::from_millis(1), ..Limits::default() });
        let (barrier, is_over) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
        let blocks = barrier.clone();
        on.spawn(Box::pin(async move { pass(&blocks) }));
        until(|| threads.state().busy.contains(&1)).await;
        for _ in 0..3 {
            let is_over = is_over.clone();
            on.spawn(Box::pin(async move {
                while !is_over.load(Ordering::SeqCst) {
                    stepwell_engine::yield_once().await;
                }
            }));
        }
        until(|| !threads.state().busy.contains(&1)).await;
        is_over.store(true, Ordering::SeqCst);
        pass(&barrier);
        until(|| threads.state().busy.is_empty()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_finds_no_thread_waits_until_one_comes_back() {
        let patience = Duration::from_millis(1);
        let (threads, on) = threads(Limits { most: 3, patience, ..Limits::default() });
        let barrier = Arc::new(Barrier::new(4));
        let blocks = barrier.clone();
        let all = tokio::spawn(async move { run_all(&on, 6, move || pass(&blocks)).await });
        for waiting in [3, 0] {
            until(|| threads.state().idle == 0 && threads.state().ready.len() == waiting).await;
            assert_eq!(threads.state().threads, 3);
            let joins = barrier.clone();
            tokio::task::spawn_blocking(move || pass(&joins)).await.unwrap();
        }
        all.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_task_goes_on_where_it_waited_in_the_context_of_its_runtime() {
        let (_, on) = threads(Limits::default());
        let ((tell, told), (go, wait)) = (oneshot::channel(), oneshot::channel());
        on.spawn(Box::pin(async move {
            wait.await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            let name = std::thread::current().name().map(str::to_owned);
            tell.send((name, Handle::try_current().is_ok())).unwrap();
        }));
        go.send(()).unwrap();
        assert_eq!(told.await.unwrap(), (Some("stepwell-function".to_owned()), true));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_task_that_panics_ends_alone() {
        let (threads, on) = threads(Limits { at_once: 1, ..Limits::default() });
        on.spawn(Box::pin(async { panic!("as it is tested") }));
        run_all(&on, 1, || {}).await;
        until(|| threads.state().busy.is_empty()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_thread_that_watched_in_vain_is_kept_for_what_comes() {
        let patience = Duration::from_millis(50);
        let (threads, on) =
            threads(Limits { at_once: 1, patience, keep_alive: FOREVER, ..Limits::default() });
        let barrier = Arc::new(Barrier::new(2));
        let blocks = barrier.clone();
        on.spawn(Box::pin(async move { pass(&blocks) }));
        until(|| threads.state().busy.len() == 1).await;
        on.spawn(Box::pin(async {}));
        until(|| threads.state().is_watched || threads.state().ready.is_empty()).await;
        barrier.wait();
        until(|| threads.state().busy.is_empty() && !threads.state().is_watched).await;
        assert_eq!(threads.state().threads, 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_no_thread_could_be_begun_for_goes_on_also_after_it_was_woken_while_it_ran() {
        let (threads, on) = threads(Limits { most: 1, ..Limits::default() });
        // As if one were just being begun.
        threads.state().threads = 1;
        let (tell, told) = oneshot::channel();
        on.spawn(Box::pin(async move {
            stepwell_engine::yield_once().await;
            tell.send(()).unwrap();
        }));
        threads.do_without(&std::io::Error::other("as it is tested"));
        told.await.unwrap();
    }

    #[tokio::test]
    async fn in_a_runtime_of_one_thread_all_happens_there() {
        let (threads, on) = threads(Limits::default());
        run_all(&on, 10, || {}).await;
        assert_eq!(threads.state().threads, 0);
    }
}
