//! Following a run: its journal as it grows, and where it comes to rest.

use std::time::Duration;

use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{RunId, Seq};
use stepwell_core::status::RunStatus;
use stepwell_store::{Among, Page, Recorded, RunFilter, RunRow};
use tokio::sync::watch;

use crate::engine::{Engine, Leases, Watched};
use crate::error::{from_store, shut_down_meanwhile};
use crate::shared::Shared;

/// However quiet it is, the journal is read so often: a lost wake-up costs no more.
const POLL: Duration = Duration::from_secs(1);

/// A journal is read, and a store's news looked at, at most so often.
const CALM: Duration = Duration::from_millis(10);

/// Events of a run as they are committed, by this process or another.
#[derive(Debug)]
pub struct Follow {
    engine: Engine,
    run: RunId,
    after: Seq,
    own: Watched<Seq>,
    store: watch::Receiver<u64>,
    ended: bool,
}

impl Follow {
    /// Returns the next events, waiting for them; empty once the run has ended and all were returned.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND`; `SYSTEM_SHUTDOWN` if the engine was shut down and the run has not ended; or the store.
    pub async fn next(&mut self) -> Result<Vec<Recorded>, ErrorObject> {
        const PAGE: usize = 1_000;
        loop {
            if self.ended {
                return Ok(Vec::new());
            }
            self.own.moves.mark_unchanged();
            self.store.mark_unchanged();
            let is_closed = self.engine.shared.closed.is_cancelled();
            let store = self.engine.store().clone();
            let events =
                store.events(&self.run, self.after, PAGE).await.map_err(|error| from_store(&error))?;
            if let Some(last) = events.last() {
                self.after = last.seq;
                return Ok(events);
            }
            let row = store.run(&self.run).await.map_err(|error| from_store(&error))?;
            if row.state.status.is_terminal() && row.seq <= self.after {
                self.ended = true;
                return Ok(Vec::new());
            }
            if row.seq <= self.after {
                if is_closed {
                    return Err(shut_down_meanwhile(&self.run));
                }
                self.moved().await;
            }
        }
    }

    async fn moved(&mut self) {
        tokio::select! {
            _ = self.own.moves.changed() => {}
            _ = self.store.changed() => {}
            () = self.engine.shared.closed.cancelled() => return,
            () = tokio::time::sleep(POLL) => {}
        }
        // What comes meanwhile is read with it, so that watching a fast run costs it little.
        tokio::time::sleep(CALM).await;
    }
}

/// What keeps a run that this process moves in memory when it has ended, for who looks at what came of it.
#[derive(Debug)]
pub struct KeptInMemory {
    _watched: Watched<RunStatus>,
}

impl Engine {
    /// Keeps a run in memory until what this returns is dropped.
    pub fn keep(&self, run: &RunId) -> KeptInMemory {
        KeptInMemory { _watched: self.watch_status(run) }
    }

    /// Follows the journal of a run from after that event.
    pub fn follow(&self, run: &RunId, after: Seq) -> Follow {
        Follow {
            engine: self.clone(),
            run: run.clone(),
            after,
            own: self.watch_run(run),
            store: self.store().changes(),
            ended: false,
        }
    }

    /// Waits until a run rests: it is over, or (`or_paused`) nothing but a person or signal can move it.
    ///
    /// # Errors
    /// `WORKFLOW_NOT_FOUND`; `SYSTEM_SHUTDOWN` if the engine was shut down and the run does not rest; or the store.
    pub async fn rest(&self, run: &RunId, or_paused: bool) -> Result<RunRow, ErrorObject> {
        let mut own = self.watch_status(run);
        let mut store = self.store().changes();
        let rests = |status: RunStatus| status.is_terminal() || (or_paused && status == RunStatus::Paused);
        loop {
            own.moves.mark_unchanged();
            store.mark_unchanged();
            let is_closed = self.shared.closed.is_cancelled();
            let row = self.store().run(run).await.map_err(|error| from_store(&error))?;
            if rests(row.state.status) {
                return Ok(row);
            }
            if is_closed {
                return Err(shut_down_meanwhile(run));
            }
            let rested_here = async {
                // What this process commits says by itself how the run stands.
                while own.moves.changed().await.is_ok() && !rests(*own.moves.borrow_and_update()) {}
            };
            let moved_elsewhere = async {
                if store.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(CALM).await;
            };
            tokio::select! {
                () = rested_here => {}
                () = moved_elsewhere => {}
                () = self.shared.closed.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Waits until the attempts of a run that has ended, this one, have ended too, and those of the runs that it began, as far as
    /// this process carries them out. Those that ignore that they are cancelled are abandoned when the clean-up time
    /// since the end of the run is over: that of the engine, if no other is given. Of an engine that was shut down none is under way.
    ///
    /// # Errors
    /// The store failed.
    pub async fn wind_down(&self, ended: &RunRow, cleanup: Option<Duration>) -> Result<(), ErrorObject> {
        let Shared { held, clock, options, closed, .. } = &*self.shared;
        if options.leases == Leases::None {
            return Ok(());
        }
        let cleanup_ms =
            cleanup.map_or(options.cleanup_ms, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let end = ended.state.finished_at.unwrap_or_else(|| clock.now());
        let mut tree = vec![ended.run.clone()];
        let all_ended = async {
            let mut at = 0;
            while let Some(run) = tree.get(at).cloned() {
                held.all_ended(&run).await;
                tree.extend(self.cut_short_with(&run).await?);
                at += 1;
            }
            Ok(())
        };
        tokio::select! {
            biased;
            () = closed.cancelled() => return Ok(()),
            wound_down = all_ended => return wound_down,
            () = clock.sleep_until(end.plus_ms(cleanup_ms)) => {}
        }
        for run in &tree {
            held.abandon(run);
        }
        Ok(())
    }

    /// Returns the runs that a run began and that did not complete, when they have ended: with it, if not before.
    async fn cut_short_with(&self, run: &RunId) -> Result<Vec<RunId>, ErrorObject> {
        const AT_ONCE: usize = 1_000;
        let children = RunFilter { among: Among::ChildrenOf(run.clone()), ..RunFilter::default() };
        let (mut cut_short, mut page) = (Vec::new(), Page::first(AT_ONCE));
        loop {
            let found = self.store().runs(&children, &page).await.map_err(|error| from_store(&error))?;
            for child in found.items.into_iter().filter(|row| row.state.status != RunStatus::Completed) {
                self.rest(&child.run, false).await?;
                cut_short.push(child.run);
            }
            if found.next.is_none() {
                return Ok(cut_short);
            }
            page.cursor = found.next;
        }
    }
}
