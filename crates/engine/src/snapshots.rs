//! Snapshots of runs: what keeps the cost of loading a run within that of its state, however long its journal grows.
//!
//! A snapshot is written beside the commits, never within one. It is made of the journal and not of the run in memory,
//! which may not know yet what other processes have leased. Whoever cannot read one folds the whole journal.

use std::sync::{Arc, Mutex};

use foldhash::HashSet;
use stepwell_core::error::ErrorObject;
use stepwell_core::ids::{RunId, Seq};
use stepwell_core::run::Run;
use stepwell_core::workflow::Workflow;
use stepwell_store::LoadedRun;
use tokio::runtime::Handle;

use crate::error::from_store;
use crate::shared::Shared;

/// What an event takes in a journal beside its values, about.
const EVENT_BYTES: u64 = 64;

/// A shorter tail is folded within some milliseconds; most runs end before they ever need a snapshot.
const SHORT: u64 = 8_000 * EVENT_BYTES;

/// A tail outgrows a snapshot when it is so many times as large. So all snapshots of a run together cost a fixed share
/// of its journal, and to load a run costs no more than a few times what its state does.
const TIMES: u64 = 4;

/// The newest snapshot of a run: how much of the journal it holds, and its size.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    seq: Seq,
    journaled: u64,
    bytes: u64,
}

impl Kept {
    /// Returns whether the events after it should be in a snapshot too.
    fn is_outgrown(self, seq: Seq, journaled: u64) -> bool {
        let events = seq.0.saturating_sub(self.seq.0) * EVENT_BYTES;
        events + journaled.saturating_sub(self.journaled) > SHORT.max(TIMES * self.bytes)
    }
}

/// The runs that a snapshot is being written of.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    under_way: Mutex<HashSet<RunId>>,
}

impl Snapshots {
    /// Returns whether nobody was writing one of this run.
    fn begin(&self, run: &RunId) -> bool {
        self.under_way.lock().expect("no panic happens under this lock").insert(run.clone())
    }

    fn end(&self, run: &RunId) {
        self.under_way.lock().expect("no panic happens under this lock").remove(run);
    }
}

/// Makes a run of what the store holds of it.
pub(crate) async fn fold(
    shared: &Shared,
    run: &RunId,
    workflow: Arc<Workflow>,
    loaded: LoadedRun,
) -> Result<(Run, Kept), ErrorObject> {
    let LoadedRun { row, snapshot, mut tail, .. } = loaded;
    let mut start = None;
    if let Some((seq, bytes)) = snapshot {
        start = Run::from_snapshot(run.clone(), workflow.clone(), &bytes).map(|start| {
            let kept = Kept { seq, journaled: start.journaled_bytes_hint(), bytes: bytes.len() as u64 };
            (start, kept)
        });
        if start.is_none() {
            tracing::warn!(%run, %seq, "a snapshot cannot be read; the whole journal is folded");
            let whole = shared.store.events(run, Seq(0), row.seq.0 as usize).await;
            tail = whole.map_err(|error| from_store(&error))?;
        }
    }
    let (start, kept) = start.unwrap_or_else(|| (Run::blank(run.clone(), workflow), Kept::default()));
    let folded = start.fold(tail.iter().map(|recorded| (&recorded.event, recorded.at)));
    Ok((folded, kept))
}

/// Has a snapshot written if the journal has outgrown the last one. `run` is how it stands in memory, after `seq`.
pub(crate) fn keep_up(shared: &Arc<Shared>, run: &Run, seq: Seq, kept: &Arc<Mutex<Kept>>) {
    let mut newest = kept.lock().expect("no panic happens under this lock");
    let journaled = run.journaled_bytes_hint();
    if !newest.is_outgrown(seq, journaled)
        || shared.shutdown.is_cancelled()
        || !shared.snapshots.begin(run.id())
    {
        return;
    }
    // Written or not, the next one comes when as much again is journaled.
    *newest = Kept { seq, journaled, ..*newest };
    let (shared, run, kept, runtime) = (shared.clone(), run.id().clone(), kept.clone(), Handle::current());
    // Reading and folding a long tail would hold up the tasks of its thread.
    shared.clone().tracker.spawn_blocking(move || {
        match runtime.block_on(write(&shared, &run)) {
            Ok(bytes) => kept.lock().expect("no panic happens under this lock").bytes = bytes,
            Err(error) => tracing::warn!(%run, %error, "a snapshot could not be written"),
        }
        shared.snapshots.end(&run);
    });
}

/// Writes a snapshot of a run as the store has it; returns its size.
async fn write(shared: &Shared, run: &RunId) -> Result<u64, ErrorObject> {
    let loaded = shared.load(run).await?;
    let snapshot = loaded.run.to_snapshot();
    let bytes = snapshot.len() as u64;
    shared.store.put_snapshot(run, loaded.seq, snapshot).await.map_err(|error| from_store(&error))?;
    Ok(bytes)
}
