//! Deleting old runs with all that is theirs.

use rusqlite::{Connection, params};
use serde_json::{Map, Value};
use stepwell_core::ids::{RunId, Timestamp};

use super::batch::pairs;
use super::known::Known;

/// Tables whose rows belong to a run and can be found by it.
const OWNED: [&str; 9] =
    ["journal", "silent", "commands", "work", "timers", "waits", "snapshots", "blobs", "outbox"];

/// Deletes at most so many terminal runs that ended before then. A child stays as long as its root. Returns how many.
pub(super) fn some(
    conn: &Connection,
    known: &mut Known,
    before: Timestamp,
    max: i64,
) -> rusqlite::Result<u64> {
    let mut query = conn.prepare_cached(
        "SELECT r.key, r.id, r.metadata, r.created_at FROM runs r \
         WHERE r.status IN ('completed', 'failed', 'cancelled') AND r.finished_at < ?1 \
         AND NOT EXISTS (SELECT 1 FROM runs o WHERE o.id = r.root AND NOT \
             (o.status IN ('completed', 'failed', 'cancelled') AND o.finished_at < ?1)) LIMIT ?2",
    )?;
    let found = query
        .query_map(params![before.0, max], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, i64>(3)?,
            ))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for (key, id, metadata, created_at) in &found {
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
    Ok(found.len() as u64)
}

/// Deletes definitions that no run has any more.
pub(super) fn unused_definitions(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM definitions WHERE digest NOT IN (SELECT digest FROM runs)", []).map(|_| ())
}
