//! Deleting old runs with all that is theirs.

use std::collections::HashSet;

use stepwell_core::ids::{RunId, Timestamp};

use super::state::State;
use crate::model::RunRow;

impl State {
    /// Deletes terminal runs that ended before then. A child stays as long as its root. Returns how many.
    pub(super) fn prune(&mut self, before: Timestamp) -> u64 {
        let is_old = |row: &RunRow| {
            row.state.status.is_terminal() && row.state.finished_at.is_some_and(|finished| finished < before)
        };
        let root_goes = |root: &RunId| self.runs.get(root).is_none_or(|run| is_old(&run.row));
        let old = self.runs.values().map(|run| &run.row).filter(|row| is_old(row) && root_goes(&row.root));
        let old: HashSet<RunId> = old.map(|row| row.run.clone()).collect();
        for id in &old {
            let Some(run) = self.runs.remove(id) else { continue };
            self.by_creation.remove(&(run.row.created_at, id.clone()));
            for work in run.work.into_values() {
                self.forget_work(id, work);
            }
            for (key, at) in run.timers {
                self.timers.remove(&(at, id.clone(), key));
            }
        }
        self.waits.retain(|_, wait| !old.contains(&wait.run));
        self.outbox.retain(|_, (source, _)| !old.contains(source));
        old.len() as u64
    }
}
