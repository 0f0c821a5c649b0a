//! Deleting old runs with all that is theirs.

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, Params, params, params_from_iter};
use serde_json::{Map, Value};
use stepwell_core::ids::RunId;
use stepwell_core::status::RunStatus;

use super::batch::pairs;
use super::known::Known;
use crate::model::{Prune, Pruned};

/// Tables whose rows belong to a run and can be found by it.
const OWNED: [&str; 10] =
    ["journal", "silent", "commands", "work", "lingering", "timers", "waits", "snapshots", "blobs", "outbox"];

/// Runs of one tree, found from its root downwards by their ids: a store may hold very many of one status.
const OF_TREE: &str = "r.id IN (WITH RECURSIVE tree(id) AS (VALUES (?2) UNION ALL \
     SELECT child.id FROM runs child JOIN tree ON child.parent = tree.id) SELECT id FROM tree) \
     AND r.root = ?2 AND ";

/// Which runs go: a child with its root, and by itself only if its root is gone.
#[derive(Debug)]
pub(super) struct Old {
    condition: String,
    before: i64,
    tree: Option<RunId>,
}

impl Old {
    /// Returns what to look for; `statuses` end a run, all of them.
    pub(super) fn of(prune: &Prune, statuses: &[RunStatus]) -> Self {
        let list = |statuses: &[RunStatus]| {
            statuses.iter().map(|status| format!("'{status}'")).collect::<Vec<_>>().join(", ")
        };
        let (ended, wanted) = (list(RunStatus::TERMINAL), list(statuses));
        // The plus keeps SQLite from going over all runs that have ended.
        let (tree, status) = if prune.tree.is_some() { (OF_TREE, "+r.status") } else { ("", "r.status") };
        let condition = format!(
            "{tree}{status} IN ({ended}) AND r.finished_at < ?1 AND coalesce(\
             (SELECT o.status IN ({wanted}) AND o.finished_at < ?1 FROM runs o WHERE o.id = r.root), \
             r.status IN ({wanted}))"
        );
        Self { condition, before: prune.before.0, tree: prune.tree.clone() }
    }

    /// Returns whether it is about one run and those below it.
    pub(super) fn is_tree(&self) -> bool {
        self.tree.is_some()
    }

    fn params(&self) -> impl Params {
        let tree = self.tree.as_ref().map(|run| SqlValue::from(run.as_str().to_owned()));
        params_from_iter(std::iter::once(SqlValue::from(self.before)).chain(tree))
    }

    /// Returns how many there are and how large they are.
    pub(super) fn counted(&self, conn: &Connection) -> rusqlite::Result<Pruned> {
        let mut query = conn.prepare(&format!("SELECT r.key FROM runs r WHERE {}", self.condition))?;
        let mut rows = query.query(self.params())?;
        let mut counted = Pruned::default();
        while let Some(row) = rows.next()? {
            counted.runs += 1;
            counted.bytes += bytes(conn, row.get(0)?)?;
        }
        Ok(counted)
    }

    /// Deletes all of them. Its caller's transaction holds up other writers for that long.
    pub(super) fn all(&self, conn: &Connection, known: &mut Known) -> rusqlite::Result<Pruned> {
        let below = self.some(conn, known, false, i64::MAX)?;
        let roots = self.some(conn, known, true, i64::MAX)?;
        Ok(Pruned { runs: below.runs + roots.runs, bytes: below.bytes + roots.bytes })
    }

    /// Deletes at most so many. Roots go last, since a child without a root is judged by itself.
    pub(super) fn some(
        &self,
        conn: &Connection,
        known: &mut Known,
        is_root: bool,
        max: i64,
    ) -> rusqlite::Result<Pruned> {
        let place = if is_root { "r.root = r.id" } else { "r.root <> r.id" };
        let mut query = conn.prepare_cached(&format!(
            "SELECT r.key, r.id, r.metadata, r.created_at FROM runs r WHERE {place} AND {} LIMIT {max}",
            self.condition
        ))?;
        let found = query
            .query_map(self.params(), |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, i64>(3)?,
                ))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let mut pruned = Pruned { runs: found.len() as u64, bytes: 0 };
        for (key, id, metadata, created_at) in &found {
            pruned.bytes += bytes(conn, *key)?;
            for table in OWNED {
                let column = if table == "outbox" { "source" } else { "run" };
                conn.prepare_cached(&format!("DELETE FROM {table} WHERE {column} = ?1"))?.execute([key])?;
            }
            let metadata: Map<String, Value> = serde_json::from_str(metadata).unwrap_or_default();
            for pair in pairs(&metadata) {
                conn.prepare_cached("DELETE FROM tags WHERE pair = ?1 AND created_at = ?2 AND run = ?3")?
                    .execute(params![pair, created_at, key])?;
            }
            conn.prepare_cached("DELETE FROM runs WHERE key = ?1")?.execute([key])?;
            known.forget(&RunId::from(id.as_str()));
        }
        Ok(pruned)
    }
}

/// Returns the size of what a run has written.
fn bytes(conn: &Connection, key: i64) -> rusqlite::Result<u64> {
    let mut query = conn.prepare_cached(
        "SELECT coalesce((SELECT sum(octet_length(events)) FROM journal WHERE run = ?1), 0) \
         + coalesce((SELECT sum(octet_length(data)) FROM snapshots WHERE run = ?1), 0) \
         + coalesce((SELECT sum(octet_length(data)) FROM blobs WHERE run = ?1), 0)",
    )?;
    query.query_row([key], |row| row.get::<_, i64>(0)).map(|bytes| bytes as u64)
}

/// Deletes definitions that no run has any more.
pub(super) fn unused_definitions(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM definitions WHERE digest NOT IN (SELECT digest FROM runs)", []).map(|_| ())
}
