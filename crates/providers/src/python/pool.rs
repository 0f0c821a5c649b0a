//! The pool: who runs next, in which parent, and what happens when a parent dies.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard};

use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempted, Job};
use super::failure::PythonFailure;
use super::parent::Parent;
use super::settings::PythonSettings;
use super::task::{PythonOutcome, PythonTask, Source};
use super::wire::{Request, bytes_as_text, path_as_text};
use crate::capture::Printed;
use crate::files::FileError;
use crate::isolation::{WallsError, cpu_seconds};
use crate::sandbox::Walls;

/// How often a task whose parent died before it began is given to the next parent.
const FRESH_STARTS: usize = 3;

/// Tasks that run at once in interpreters of their own, each of which must start and takes its memory.
const ALONE: usize = 8;

/// Runs Python scripts in children of warm interpreters.
///
/// Clones share the interpreters. They start with the first task and end, with everything they run, when
/// the last clone is dropped, at [`shutdown`](Self::shutdown), or when this process dies.
#[derive(Clone, Debug)]
pub struct PythonPool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: PythonSettings,
    slots: Vec<Slot>,
    turns: Semaphore,
    /// Places of tasks that run alone, as long as they do.
    own_slots: StdMutex<Vec<Arc<Slot>>>,
    turns_alone: Semaphore,
}

/// A place for one interpreter.
#[derive(Debug, Default)]
struct Slot {
    parent: Mutex<Option<Arc<Parent>>>,
    taken: AtomicUsize,
}

/// A task's hold on a slot, which is counted.
struct Hold<'a>(&'a Slot);

/// A slot for one task only.
struct OwnSlot<'a> {
    pool: &'a Inner,
    slot: Arc<Slot>,
}

/// A task's right to run now; a task that runs alone needs two.
type Turn<'a> = (Option<SemaphorePermit<'a>>, SemaphorePermit<'a>);

impl PythonPool {
    /// Makes a pool; no interpreter starts yet.
    pub fn new(mut settings: PythonSettings) -> Self {
        settings.isolation = settings.isolation.settled();
        let inner = Inner {
            slots: std::iter::repeat_with(Slot::default).take(settings.parents.get()).collect(),
            turns: Semaphore::new(settings.max_running.get()),
            own_slots: StdMutex::default(),
            turns_alone: Semaphore::new(ALONE),
            settings,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Runs a script to its end and returns what it left.
    ///
    /// When this returns, or the future is dropped, nothing the script started runs any more (after a drop:
    /// within moments), also if its interpreter died. Excepted is what the kernel does not let this user kill, and what
    /// runs in sessions of its own when somebody kills the interpreter's guard together with it. The clock of the
    /// timeout starts once an interpreter takes the task.
    pub async fn run(
        &self,
        task: PythonTask,
        cancel: CancellationToken,
    ) -> Result<PythonOutcome, PythonFailure> {
        let inner = &self.inner;
        let (_turn, frame, walls) = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(PythonFailure::Cancelled { printed: Printed::default() }),
            prepared = inner.prepare(&task) => prepared?,
        };
        let job = Job {
            frame,
            timeout: task.timeout,
            memory_bytes: inner.settings.isolation.memory_bytes,
            output_limit: inner.settings.isolation.output_limit,
            result_limit: inner.settings.result_limit,
            walls,
            cancel: &cancel,
        };
        let outcome = if task.alone {
            inner.carry_out_alone(&job).await
        } else {
            let hold = inner.least_taken();
            inner.carry_out(&job, hold.0).await
        };
        if let Some(walls) = job.walls {
            // What the script has left in its directory may be much.
            let _gone = tokio::task::spawn_blocking(move || drop(walls)).await;
        }
        if matches!(outcome, Err(PythonFailure::ParentLost { .. })) && inner.turns.is_closed() {
            return Err(PythonFailure::Closed);
        }
        outcome
    }

    /// Ends all interpreters and tasks and waits until they are gone; later tasks are refused.
    pub async fn shutdown(&self) {
        // From now on no slot gets an interpreter, so those that are there now are all.
        self.inner.turns.close();
        self.inner.turns_alone.close();
        let own_slots = self.inner.own_slots().clone();
        for slot in self.inner.slots.iter().chain(own_slots.iter().map(|slot| &**slot)) {
            slot.close().await;
        }
    }
}

impl Inner {
    /// Waits for one of the places among the running tasks, then builds the walls and reads the script.
    async fn prepare(&self, task: &PythonTask) -> Result<(Turn<'_>, Vec<u8>, Option<Walls>), PythonFailure> {
        let closed = |_| PythonFailure::Closed;
        let alone = if task.alone { Some(self.turns_alone.acquire().await.map_err(closed)?) } else { None };
        let turn = self.turns.acquire().await.map_err(closed)?;
        let walls = self.walls(task).await?;
        let frame = self.frame(task, walls.as_ref()).await?;
        Ok(((alone, turn), frame, walls))
    }

    async fn walls(&self, task: &PythonTask) -> Result<Option<Walls>, PythonFailure> {
        let not_started = |reason: String| PythonFailure::NotStarted { reason };
        if !self.settings.isolation.sandbox.stands().map_err(PythonFailure::NoSandbox)? {
            return Ok(None);
        }
        let (isolation, base) = (self.settings.isolation.clone(), task.base_dir.clone());
        let built = tokio::task::spawn_blocking(move || isolation.walls(&isolation.roots_at(&base)));
        let built = built.await.map_err(|error| not_started(error.to_string()))?;
        built.map_err(|error| match error {
            WallsError::Impossible(error) => PythonFailure::NoSandbox(error),
            WallsError::NotBuilt(error) => not_started(format!("its sandbox: {error}")),
        })
    }

    /// Gives the job to an interpreter that runs nothing else and ends with it.
    async fn carry_out_alone(&self, job: &Job<'_>) -> Result<PythonOutcome, PythonFailure> {
        let own = self.own_slot();
        let outcome = self.carry_out(job, &own.slot).await;
        own.slot.close().await;
        outcome
    }

    /// Gives the job to the slot's parent, and to the next one should that die before the script began, or as it started.
    async fn carry_out(&self, job: &Job<'_>, slot: &Slot) -> Result<PythonOutcome, PythonFailure> {
        for start in 1..=FRESH_STARTS {
            let parent = tokio::select! {
                biased;
                () = job.cancel.cancelled() => break,
                parent = self.parent(slot) => parent,
            };
            let parent = match parent {
                Err(PythonFailure::NoInterpreter { was_killed: true, .. }) if start < FRESH_STARTS => {
                    continue;
                }
                parent => parent?,
            };
            if let Attempted::Over(outcome) = job.run_in(&parent).await {
                return outcome;
            }
        }
        let printed = Printed::default();
        if job.cancel.is_cancelled() {
            Err(PythonFailure::Cancelled { printed })
        } else {
            Err(PythonFailure::ParentLost { printed })
        }
    }

    /// Returns the slot's interpreter, started or replaced where needed.
    async fn parent(&self, slot: &Slot) -> Result<Arc<Parent>, PythonFailure> {
        let mut place = slot.parent.lock().await;
        if self.turns.is_closed() {
            return Err(PythonFailure::Closed);
        }
        if let Some(parent) = place.as_ref().filter(|parent| parent.is_alive()) {
            return Ok(Arc::clone(parent));
        }
        let parent = Arc::new(Parent::start(&self.settings).await?);
        *place = Some(Arc::clone(&parent));
        Ok(parent)
    }

    fn least_taken(&self) -> Hold<'_> {
        let slot = self
            .slots
            .iter()
            .min_by_key(|slot| slot.taken.load(Ordering::Relaxed))
            .expect("a pool has at least one slot");
        slot.taken.fetch_add(1, Ordering::Relaxed);
        Hold(slot)
    }

    fn own_slot(&self) -> OwnSlot<'_> {
        let slot = Arc::new(Slot::default());
        self.own_slots().push(Arc::clone(&slot));
        OwnSlot { pool: self, slot }
    }

    fn own_slots(&self) -> MutexGuard<'_, Vec<Arc<Slot>>> {
        self.own_slots.lock().expect("no panic happens under this lock")
    }

    /// Writes the task as the child reads it. A file is read here, from the descriptor that was checked.
    async fn frame(&self, task: &PythonTask, walls: Option<&Walls>) -> Result<Vec<u8>, PythonFailure> {
        let (source, file) = match &task.source {
            Source::Code(code) => (code.clone(), None),
            Source::File(path) => {
                let (base, path) = (task.base_dir.clone(), path.clone());
                let roots = self.settings.isolation.roots_at(&base);
                let limit = self.settings.script_limit;
                let read = tokio::task::spawn_blocking(move || {
                    let opened = roots.open(&base, &path)?;
                    let file = path_as_text(&opened.path);
                    Ok::<_, FileError>((bytes_as_text(&opened.read(limit)?), Some(file)))
                });
                read.await.map_err(|error| PythonFailure::NotStarted { reason: error.to_string() })??
            }
        };
        let request = Request {
            source,
            file,
            directory: path_as_text(&task.base_dir),
            temporary: walls.map(|walls| path_as_text(walls.temporary())),
            args: &task.args,
            bindings: &task.bindings,
            memory_bytes: self.settings.isolation.memory_bytes,
            cpu_seconds: cpu_seconds(task.timeout),
            result_limit: self.settings.result_limit,
        };
        Ok(request.frame())
    }
}

impl Slot {
    /// Ends the interpreter and all its tasks, and waits until they are gone.
    async fn close(&self) {
        let parent = self.parent.lock().await.take();
        if let Some(parent) = parent {
            parent.close().await;
        }
    }
}

impl Drop for OwnSlot<'_> {
    fn drop(&mut self) {
        self.pool.own_slots().retain(|slot| !Arc::ptr_eq(slot, &self.slot));
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
