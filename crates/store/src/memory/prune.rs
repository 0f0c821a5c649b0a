//! Deleting old runs with all that is theirs.

use foldhash::HashSet;
use stepwell_core::ids::RunId;

use super::state::{State, StoredRun};
use crate::error::Error;
use crate::model::{Prune, Pruned};

impl State {
    /// Deletes old runs: a child with its root, and by itself only if its root is gone.
    pub(super) fn prune(&mut self, prune: &Prune) -> Result<Pruned, Error> {
        let statuses = prune.statuses()?;
        let is_old = |run: &StoredRun| {
            let state = &run.row.state;
            state.status.is_terminal() && state.finished_at.is_some_and(|finished| finished < prune.before)
        };
        let is_wanted = |run: &StoredRun| statuses.contains(&run.row.state.status);
        let goes = |run: &&StoredRun| {
            let root = self.runs.get(&run.row.root).unwrap_or(run);
            let is_of_it = prune.tree.as_ref().is_none_or(|tree| run.row.root == *tree);
            is_of_it && is_old(run) && is_old(root) && is_wanted(root)
        };
        let old: Vec<&StoredRun> = self.runs.values().filter(goes).collect();
        let pruned = Pruned {
            runs: old.len() as u64,
            bytes: old.into_iter().map(StoredRun::bytes).sum::<usize>() as u64,
        };
        if prune.dry_run {
            return Ok(pruned);
        }
        let old: HashSet<RunId> = self.runs.values().filter(goes).map(|run| run.row.run.clone()).collect();
        for id in &old {
            let Some(run) = self.runs.remove(id) else { continue };
            self.by_creation.remove(&(run.row.created_at, id.clone()));
            for work in run.work.into_values() {
                self.leases.forget(id, work);
            }
            for (key, at) in run.timers {
                self.timers.remove(&(at, id.clone(), key));
            }
        }
        self.waits.retain(|_, wait| !old.contains(&wait.run));
        self.leases.lingering.retain(|lease| !old.contains(&lease.run));
        self.outbox.retain(|_, (source, _)| !old.contains(source));
        Ok(pruned)
    }
}

impl StoredRun {
    /// Returns about the size of what the run has written.
    fn bytes(&self) -> usize {
        let event = |recorded: &crate::model::Recorded| {
            serde_json::to_vec(&recorded.event).map_or(0, |encoded| encoded.len())
        };
        self.journal.iter().map(event).sum::<usize>()
            + self.snapshot.as_ref().map_or(0, |(_, snapshot)| snapshot.len())
    }
}
