//! What the writer knows of runs and sessions without asking the file.

use foldhash::{HashMap, HashSet};
use rusqlite::{Connection, OptionalExtension, params};
use stepwell_core::ids::{Epoch, RunId, Timestamp};
use stepwell_core::status::{PauseReason, RunStatus};

use crate::model::{Revision, RowUpdate, SessionRef};

/// What the writer knows of runs without asking; dropped when another process has written.
#[derive(Default)]
pub(super) struct Known {
    /// Runs that were used lately.
    runs: HashMap<RunId, KnownRun>,
    /// Those that were used before them and not since.
    older: HashMap<RunId, KnownRun>,
    sessions: HashSet<SessionRef>,
    pub(super) data_version: i64,
}

/// The place of a run in the store.
#[derive(Clone, Copy)]
pub(super) struct KnownRun {
    pub(super) key: i64,
    pub(super) revision: Revision,
    pub(super) seq: u64,
    /// How its row stands, if that is known.
    pub(super) row: Option<PlainRow>,
}

/// How a run stands that has no error: what need not be written again if it is the same.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct PlainRow(RunStatus, Option<PauseReason>, Epoch, [Option<Timestamp>; 2]);

impl PlainRow {
    pub(super) fn of(row: &RowUpdate) -> Option<Self> {
        let plain = Self(row.status, row.pause_reason, row.epoch, [row.started_at, row.finished_at]);
        row.error.is_none().then_some(plain)
    }
}

/// When so many runs were used, those not used since as many were are forgotten.
const GENERATION: usize = 8_192;

impl Known {
    /// Knows nothing yet; the file is at that version.
    pub(super) fn nothing_at(data_version: i64) -> Self {
        Self { data_version, ..Self::default() }
    }

    pub(super) fn get(&self, run: &RunId) -> Option<KnownRun> {
        self.runs.get(run).or_else(|| self.older.get(run)).copied()
    }

    pub(super) fn put(&mut self, run: &RunId, known: KnownRun) {
        if let Some(place) = self.runs.get_mut(run) {
            *place = known;
            return;
        }
        if self.runs.len() >= GENERATION {
            self.older = std::mem::take(&mut self.runs);
        }
        self.older.remove(run);
        self.runs.insert(run.clone(), known);
    }

    pub(super) fn forget(&mut self, run: &RunId) {
        self.runs.remove(run);
        self.older.remove(run);
    }

    /// Returns whether a session is open.
    pub(super) fn is_open(&mut self, conn: &Connection, session: SessionRef) -> rusqlite::Result<bool> {
        if self.sessions.contains(&session) {
            return Ok(true);
        }
        let is_open = conn
            .prepare_cached("SELECT 1 FROM sessions WHERE id = ?1 AND generation = ?2 AND closed = 0")?
            .exists(params![session.id as i64, session.generation as i64])?;
        if is_open {
            self.sessions.insert(session);
        }
        Ok(is_open)
    }

    /// Forgets which sessions are open.
    pub(super) fn forget_sessions(&mut self) {
        self.sessions.clear();
    }
}

/// Looks a run up, in memory or in the store.
pub(super) fn find(conn: &Connection, known: &mut Known, run: &RunId) -> rusqlite::Result<Option<KnownRun>> {
    if let Some(found) = known.get(run) {
        return Ok(Some(found));
    }
    let mut query = conn.prepare_cached("SELECT key, revision, batch, seq FROM runs WHERE id = ?1")?;
    let found = query
        .query_row(params![run.as_str()], |row| {
            Ok(KnownRun {
                key: row.get(0)?,
                revision: Revision {
                    number: row.get::<_, i64>(1)? as u64,
                    batch: row.get::<_, i64>(2)? as u64,
                },
                seq: row.get::<_, i64>(3)? as u64,
                row: None,
            })
        })
        .optional()?;
    if let Some(found) = found {
        known.put(run, found);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known_run(key: usize) -> KnownRun {
        KnownRun { key: key as i64, revision: Revision::default(), seq: 0, row: None }
    }

    fn id(i: usize) -> RunId {
        RunId::from(format!("r{i}"))
    }

    #[test]
    fn a_run_in_use_is_not_forgotten_for_the_sake_of_many_others() {
        let mut known = Known::default();
        known.put(&id(0), known_run(0));
        for i in 1..10 * GENERATION {
            known.put(&id(i), known_run(i));
            if i % (GENERATION / 2) == 0 {
                let found = known.get(&id(0)).expect("it was used lately");
                known.put(&id(0), found);
            }
            assert!(known.runs.len() + known.older.len() <= 2 * GENERATION);
        }
        assert!(known.get(&id(1)).is_none(), "what was not used for long is forgotten");
        known.forget(&id(0));
        assert!(known.get(&id(0)).is_none());
    }

    #[test]
    fn what_was_known_before_never_comes_back() {
        let mut known = Known::default();
        known.put(&id(0), known_run(1));
        for i in 1..=GENERATION {
            known.put(&id(i), known_run(i));
        }
        known.put(&id(0), known_run(2));
        for i in 0..GENERATION - 2 {
            known.put(&id(i + 2 * GENERATION), known_run(i));
        }
        assert_eq!(known.get(&id(0)).map(|run| run.key), Some(2));
    }
}
