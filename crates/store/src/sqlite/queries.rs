//! Reading beside the writer: rows, journals, lists.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter, types::Value as Sql};
use serde_json::Value;
use stepwell_core::ids::{CommandId, Epoch, Ordinal, RunId, Seq, StepName, Timestamp, WaitId};
use stepwell_core::run::event::Event;
use stepwell_core::status::RunStatus;

use super::batch::{pairs, wait_state};
use super::blob;
use super::errors;
use crate::error::Error;
use crate::metadata;
use crate::model::{
    Among, Committed, DueTimer, LoadedRun, OutboxMessage, Page, Paged, Recorded, Revision, RowUpdate,
    RunFilter, RunRow, StateRow, Undelivered, WaitFilter, WaitRow, WaitState,
};
use crate::page::{cursor, cut};

/// What a read came to.
pub(super) type Read<T> = Result<T, ReadError>;

/// Why a read failed.
pub(super) enum ReadError {
    Sqlite(rusqlite::Error),
    /// Something kept does not parse.
    Damaged(String),
    /// An error of its own.
    Invalid(crate::error::Error),
}

impl ReadError {
    /// Returns what whoever reads that file is told.
    pub(super) fn told(self, path: &Path) -> Error {
        match self {
            Self::Sqlite(error) => errors::read(path, &error),
            Self::Damaged(reason) => Error::Corrupt { what: format!("reading {}", path.display()), reason },
            Self::Invalid(error) => error,
        }
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

const RUN: &str = "id, workflow, version, digest, metadata, parent, root, created_at, updated_at, status, \
                   pause_reason, epoch, started_at, finished_at, error, revision, batch, seq, key";

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let text = |i| row.get::<_, String>(i);
    let time = |i| row.get::<_, Option<i64>>(i).map(|at| at.map(Timestamp));
    let reason: Option<String> = row.get(10)?;
    let error: Option<String> = row.get(14)?;
    Ok(RunRow {
        run: RunId::from(text(0)?),
        workflow: text(1)?,
        version: text(2)?,
        digest: text(3)?,
        metadata: serde_json::from_str(&text(4)?).unwrap_or_default(),
        parent: row.get::<_, Option<String>>(5)?.map(RunId::from),
        root: RunId::from(text(6)?),
        created_at: Timestamp(row.get(7)?),
        updated_at: Timestamp(row.get(8)?),
        state: RowUpdate {
            status: text(9)?.parse().unwrap_or(RunStatus::Failed),
            pause_reason: reason.and_then(|word| word.parse().ok()),
            epoch: Epoch(row.get(11)?),
            started_at: time(12)?,
            finished_at: time(13)?,
            error: error.and_then(|text| serde_json::from_str(&text).ok()),
        },
        revision: Revision { number: row.get::<_, i64>(15)? as u64, batch: row.get::<_, i64>(16)? as u64 },
        seq: Seq(row.get::<_, i64>(17)? as u64),
    })
}

/// Returns a run and its key.
pub(super) fn run(conn: &Connection, run: &RunId) -> Read<Option<(RunRow, i64)>> {
    let mut query = conn.prepare_cached(&format!("SELECT {RUN} FROM runs WHERE id = ?1"))?;
    Ok(query.query_row(params![run.as_str()], |row| Ok((run_row(row)?, row.get(18)?))).optional()?)
}

/// Returns events of a run after a number, at most `limit`.
pub(super) fn events(conn: &Connection, key: i64, after: Seq, limit: usize) -> Read<Vec<Recorded>> {
    let mut query = conn.prepare_cached(
        "SELECT first, at, blobs, events FROM journal WHERE run = ?1 AND last > ?2 ORDER BY last",
    )?;
    let mut rows = query.query(params![key, after.0 as i64])?;
    let mut recorded = Vec::new();
    while recorded.len() < limit
        && let Some(row) = rows.next()?
    {
        let (first, at, blobs): (i64, i64, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let text = row.get_ref(3)?.as_str().map_err(|error| ReadError::Damaged(error.to_string()))?;
        let damaged = |error: serde_json::Error| ReadError::Damaged(format!("event {first}: {error}"));
        let events: Vec<Event> = if blobs {
            let mut value: Value = serde_json::from_str(text).map_err(damaged)?;
            blob::join(conn, key, &mut value)?;
            serde_json::from_value(value).map_err(damaged)?
        } else {
            serde_json::from_str(text).map_err(damaged)?
        };
        for (event, seq) in events.into_iter().zip(first as u64..) {
            if seq > after.0 && recorded.len() < limit {
                recorded.push(Recorded { seq: Seq(seq), at: Timestamp(at), event });
            }
        }
    }
    Ok(recorded)
}

/// Returns what a batch came to, if it was committed.
pub(super) fn batch(conn: &Connection, key: i64, batch: u64) -> Read<Option<Committed>> {
    let mut query = conn.prepare_cached(
        "SELECT number, last FROM journal WHERE run = ?1 AND batch = ?2 \
         UNION ALL SELECT number, seq FROM silent WHERE run = ?1 AND batch = ?2",
    )?;
    let found = query.query_row(params![key, batch as i64], |row| {
        Ok(Committed {
            revision: Revision { number: row.get::<_, i64>(0)? as u64, batch },
            seq: Seq(row.get::<_, i64>(1)? as u64),
        })
    });
    Ok(found.optional()?)
}

pub(super) fn command(conn: &Connection, key: i64, command: &CommandId) -> Read<Option<Seq>> {
    let mut query = conn.prepare_cached("SELECT seq FROM commands WHERE run = ?1 AND id = ?2")?;
    let seq: Option<i64> = query.query_row(params![key, command.as_str()], |row| row.get(0)).optional()?;
    Ok(seq.map(|seq| Seq(seq as u64)))
}

pub(super) fn snapshot(conn: &Connection, key: i64) -> Read<Option<(Seq, Vec<u8>)>> {
    let mut query = conn.prepare_cached("SELECT seq, data FROM snapshots WHERE run = ?1")?;
    let found = query
        .query_row(params![key], |row| Ok((Seq(row.get::<_, i64>(0)? as u64), row.get(1)?)))
        .optional()?;
    Ok(found)
}

/// What the reading of a run comes to.
pub(super) enum Loading {
    Loaded(Box<LoadedRun>),
    /// There is none.
    Missing,
    /// It takes longer than the caller has time for.
    Long,
}

/// Reads what a run is folded from; where that is `short`, only if its journal has at most so many events and it holds no large
/// values.
pub(super) fn load(conn: &Connection, run: &RunId, short: Option<u64>) -> Read<Loading> {
    // One read transaction is one moment.
    let moment = conn.unchecked_transaction()?;
    let Some((row, key)) = self::run(&moment, run)? else { return Ok(Loading::Missing) };
    if let Some(most) = short {
        let mut large = moment.prepare_cached("SELECT 1 FROM blobs WHERE run = ?1 LIMIT 1")?;
        if row.seq.0 > most || large.exists(params![key])? {
            return Ok(Loading::Long);
        }
    }
    let definition = definition(&moment, &row.digest)?
        .ok_or_else(|| ReadError::Damaged(format!("definition {} is missing", row.digest)))?;
    let snapshot = snapshot(&moment, key)?;
    let after = snapshot.as_ref().map_or(Seq(0), |(seq, _)| *seq);
    let tail = events(&moment, key, after, usize::MAX)?;
    Ok(Loading::Loaded(Box::new(LoadedRun { row, definition, snapshot, tail })))
}

pub(super) fn definition(conn: &Connection, digest: &str) -> Read<Option<Arc<str>>> {
    let mut query = conn.prepare_cached("SELECT json FROM definitions WHERE digest = ?1")?;
    Ok(query.query_row(params![digest], |row| row.get(0)).optional()?)
}

pub(super) fn newest_definition(
    conn: &Connection,
    workflow: &str,
    version: Option<&str>,
) -> Read<Option<Arc<str>>> {
    let mut query = conn.prepare_cached(
        "SELECT digest FROM runs WHERE workflow = ?1 AND (?2 IS NULL OR version = ?2)
         ORDER BY created_at DESC, id DESC LIMIT 1",
    )?;
    let digest: Option<String> = query.query_row(params![workflow, version], |row| row.get(0)).optional()?;
    digest.map_or(Ok(None), |digest| definition(conn, &digest))
}

pub(super) fn due_timers(conn: &Connection, now: Timestamp, max: usize) -> Read<Vec<DueTimer>> {
    let mut query = conn.prepare_cached(
        "SELECT r.id, t.key, t.at FROM timers t JOIN runs r ON r.key = t.run WHERE t.at <= ?1 ORDER BY t.at LIMIT ?2",
    )?;
    let mut rows = query.query(params![now.0, max as i64])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get(1)?;
        let key =
            serde_json::from_str(&key).map_err(|error| ReadError::Damaged(format!("timer: {error}")))?;
        due.push(DueTimer { run: RunId::from(row.get::<_, String>(0)?), key, at: Timestamp(row.get(2)?) });
    }
    Ok(due)
}

pub(super) fn next_due(conn: &Connection, now: Timestamp) -> Read<Option<Timestamp>> {
    let mut timers = conn.prepare_cached("SELECT min(at) FROM timers")?;
    let timer: Option<i64> = timers.query_row([], |row| row.get(0))?;
    let mut work = conn.prepare_cached(
        "SELECT min(not_before) FROM work WHERE session IS NULL AND not_before > 0 AND not_before > ?1",
    )?;
    let work: Option<i64> = work.query_row(params![now.0], |row| row.get(0))?;
    Ok([timer, work].into_iter().flatten().min().map(Timestamp))
}

pub(super) fn outbox(conn: &Connection, max: usize) -> Read<Vec<Undelivered>> {
    let mut query = conn.prepare_cached(
        "SELECT o.id, r.id, o.target, o.command, o.body FROM outbox o JOIN runs r ON r.key = o.source \
         ORDER BY o.id LIMIT ?1",
    )?;
    let mut rows = query.query(params![max as i64])?;
    let mut waiting = Vec::new();
    while let Some(row) = rows.next()? {
        let body: String = row.get(4)?;
        waiting.push(Undelivered {
            id: row.get::<_, i64>(0)? as u64,
            source: RunId::from(row.get::<_, String>(1)?),
            message: OutboxMessage {
                target: RunId::from(row.get::<_, String>(2)?),
                command: CommandId::from(row.get::<_, String>(3)?),
                body: serde_json::from_str(&body).map_err(|error| ReadError::Damaged(error.to_string()))?,
            },
        });
    }
    Ok(waiting)
}

pub(super) fn with_prefix(conn: &Connection, prefix: &str, max: usize) -> Read<Vec<RunId>> {
    let mut query = conn.prepare_cached(
        "SELECT id FROM runs WHERE id >= ?1 AND substr(id, 1, length(?1)) = ?1 ORDER BY id LIMIT ?2",
    )?;
    let found =
        query.query_map(params![prefix, max as i64], |row| row.get::<_, String>(0).map(RunId::from))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Rows of an index are counted up to here, to see which of two narrows a list more.
const COUNTED: i64 = 4_096;

fn count(conn: &Connection, sql: &str, value: Sql) -> rusqlite::Result<i64> {
    let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {sql} = ?1 LIMIT {COUNTED})");
    conn.prepare_cached(&sql)?.query_row([value], |row| row.get(0))
}

/// Returns the hashes of a metadata filter, the rarest first, and how many runs have that one.
fn rarest_first(conn: &Connection, filter: &RunFilter) -> rusqlite::Result<(Vec<i64>, i64)> {
    let mut counted = Vec::new();
    for pair in pairs(&filter.metadata) {
        counted.push((count(conn, "tags WHERE pair", Sql::Integer(pair))?, pair));
    }
    counted.sort_unstable();
    let fewest = counted.first().map_or(0, |(count, _)| *count);
    Ok((counted.into_iter().map(|(_, pair)| pair).collect(), fewest))
}

/// Lists runs: through the tags if there is a metadata filter, through the status if that narrows more, else by
/// creation.
pub(super) fn runs(conn: &Connection, filter: &RunFilter, page: &Page) -> Read<Paged<RunRow>> {
    let mut wheres: Vec<String> = Vec::new();
    let mut values: Vec<Sql> = Vec::new();
    let bind = |values: &mut Vec<Sql>, value: Sql| {
        values.push(value);
        format!("?{}", values.len())
    };
    let columns = RUN.split(", ").map(|name| format!("r.{name}")).collect::<Vec<_>>().join(", ");
    let (hashes, tagged) = rarest_first(conn, filter)?;
    let mut of_status = 0;
    for status in &filter.status {
        of_status += count(conn, "runs WHERE status", Sql::Text(status.as_str().into()))?;
    }
    let (from, at, skipped) = match hashes.first() {
        Some(_) if !filter.status.is_empty() && of_status < tagged => {
            ("runs r INDEXED BY runs_by_status", "r.created_at", 0)
        }
        Some(rarest) => {
            let pair = bind(&mut values, Sql::Integer(*rarest));
            wheres.push(format!("t.pair = {pair}"));
            ("tags t CROSS JOIN runs r ON r.key = t.run", "t.created_at", 1)
        }
        None => ("runs r", "r.created_at", 0),
    };
    for pair in hashes.iter().skip(skipped) {
        let pair = bind(&mut values, Sql::Integer(*pair));
        wheres.push(format!(
            "EXISTS (SELECT 1 FROM tags u WHERE u.pair = {pair} AND u.created_at = {at} AND u.run = r.key)"
        ));
    }
    if !filter.status.is_empty() {
        let words: Vec<String> =
            filter.status.iter().map(|s| bind(&mut values, Sql::Text(s.as_str().into()))).collect();
        wheres.push(format!("r.status IN ({})", words.join(", ")));
    }
    if let Some(workflow) = &filter.workflow {
        let workflow = bind(&mut values, Sql::Text(workflow.clone()));
        wheres.push(format!("r.workflow = {workflow}"));
    }
    match &filter.among {
        Among::All => {}
        Among::Roots => wheres.push("r.parent IS NULL".into()),
        Among::ChildrenOf(parent) => {
            let parent = bind(&mut values, Sql::Text(parent.as_str().into()));
            wheres.push(format!("r.parent = {parent}"));
        }
    }
    if let Some(reason) = filter.pause_reason {
        let reason = bind(&mut values, Sql::Text(reason.as_str().into()));
        wheres.push(format!("(r.status <> 'paused' OR r.pause_reason = {reason})"));
    }
    if let Some(since) = filter.since {
        values.push(Sql::Integer(since.0));
        wheres.push(format!("{at} >= ?{}", values.len()));
    }
    if let Some(until) = filter.until {
        values.push(Sql::Integer(until.0));
        wheres.push(format!("{at} < ?{}", values.len()));
    }
    if let Some(text) = &page.cursor {
        let (time, id) = cursor::read(text).map_err(ReadError::Invalid)?;
        values.push(Sql::Integer(time.0));
        values.push(Sql::Text(id));
        let (t, i) = (values.len() - 1, values.len());
        wheres.push(format!("({at} < ?{t} OR ({at} = ?{t} AND r.id < ?{i}))"));
    }
    let filtered = if wheres.is_empty() { String::new() } else { format!("WHERE {}", wheres.join(" AND ")) };
    let sql = format!("SELECT {columns} FROM {from} {filtered} ORDER BY {at} DESC, r.id DESC");
    let mut query = conn.prepare_cached(&sql)?;
    let mut rows = query.query(params_from_iter(values))?;
    let mut items = Vec::new();
    while items.len() <= page.limit
        && let Some(row) = rows.next()?
    {
        let row = run_row(row)?;
        // Hashes can collide and lists are only hinted at: the exact rule decides.
        if metadata::contains(&row.metadata, &filter.metadata) {
            items.push(row);
        }
    }
    Ok(cut(items, page.limit, |row| cursor::write(row.created_at, row.run.as_str())))
}

const WAIT: &str = "w.id, r.id, r.workflow, w.step, w.ordinal, w.kind, w.spec, w.assignee, w.deadline, r.metadata, \
                    w.state, w.opened_at, w.closed_at, w.closed_by";

fn wait_row(row: &Row<'_>) -> rusqlite::Result<WaitRow> {
    let text = |i| row.get::<_, String>(i);
    let time = |i| row.get::<_, Option<i64>>(i).map(|at| at.map(Timestamp));
    Ok(WaitRow {
        wait: WaitId::from(text(0)?),
        run: RunId::from(text(1)?),
        workflow: text(2)?,
        step: StepName::from(text(3)?),
        ordinal: Ordinal(row.get(4)?),
        kind: text(5)?,
        spec: serde_json::from_str(&text(6)?).unwrap_or(Value::Null),
        assignee: row.get(7)?,
        deadline: time(8)?,
        metadata: serde_json::from_str(&text(9)?).unwrap_or_default(),
        state: match text(10)?.as_str() {
            "open" => WaitState::Open,
            "answered" => WaitState::Answered,
            "expired" => WaitState::Expired,
            _ => WaitState::Withdrawn,
        },
        opened_at: Timestamp(row.get(11)?),
        closed_at: time(12)?,
        closed_by: row.get(13)?,
    })
}

pub(super) fn wait(conn: &Connection, wait: &WaitId) -> Read<Option<WaitRow>> {
    let sql = format!("SELECT {WAIT} FROM waits w JOIN runs r ON r.key = w.run WHERE w.id = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row(params![wait.as_str()], wait_row).optional()?)
}

/// Lists waits, oldest first.
pub(super) fn waits(conn: &Connection, filter: &WaitFilter, page: &Page) -> Read<Paged<WaitRow>> {
    let mut wheres: Vec<String> = Vec::new();
    let mut values: Vec<Sql> = Vec::new();
    let mut equal = |column: &str, value: Option<String>| {
        if let Some(value) = value {
            values.push(Sql::Text(value));
            wheres.push(format!("{column} = ?{}", values.len()));
        }
    };
    equal("w.state", filter.state.map(|state| wait_state(state).to_owned()));
    equal("w.kind", filter.kind.clone());
    equal("w.assignee", filter.assignee.clone());
    equal("r.workflow", filter.workflow.clone());
    equal("r.id", filter.run.as_ref().map(ToString::to_string));
    equal("r.root", filter.root.as_ref().map(ToString::to_string));
    if let Some(due) = filter.due_before {
        values.push(Sql::Integer(due.0));
        wheres.push(format!("w.deadline < ?{}", values.len()));
    }
    if let Some(text) = &page.cursor {
        let (time, id) = cursor::read(text).map_err(ReadError::Invalid)?;
        values.push(Sql::Integer(time.0));
        values.push(Sql::Text(id));
        let (t, i) = (values.len() - 1, values.len());
        wheres.push(format!("(w.opened_at > ?{t} OR (w.opened_at = ?{t} AND w.id > ?{i}))"));
    }
    let filtered = if wheres.is_empty() { String::new() } else { format!("WHERE {}", wheres.join(" AND ")) };
    let sql = format!(
        "SELECT {WAIT} FROM waits w JOIN runs r ON r.key = w.run {filtered} ORDER BY w.opened_at, w.id"
    );
    let mut query = conn.prepare_cached(&sql)?;
    let mut rows = query.query(params_from_iter(values))?;
    let mut items = Vec::new();
    while items.len() <= page.limit
        && let Some(row) = rows.next()?
    {
        let row = wait_row(row)?;
        if metadata::contains(&row.metadata, &filter.metadata) {
            items.push(row);
        }
    }
    Ok(cut(items, page.limit, |row| cursor::write(row.opened_at, row.wait.as_str())))
}

fn state_row(row: &Row<'_>) -> rusqlite::Result<StateRow> {
    Ok(StateRow {
        key: row.get(0)?,
        value: serde_json::from_str(&row.get::<_, String>(1)?).unwrap_or(Value::Null),
        version: row.get::<_, i64>(2)? as u64,
        updated_at: Timestamp(row.get(3)?),
    })
}

pub(super) fn state(conn: &Connection, key: &str) -> rusqlite::Result<Option<StateRow>> {
    let mut query =
        conn.prepare_cached("SELECT key, value, version, updated_at FROM state WHERE key = ?1")?;
    query.query_row(params![key], state_row).optional()
}

pub(super) fn states(conn: &Connection, prefix: &str, page: &Page) -> Read<Paged<StateRow>> {
    let mut query = conn.prepare_cached(
        "SELECT key, value, version, updated_at FROM state WHERE key > ?1 AND substr(key, 1, length(?2)) = ?2 \
         ORDER BY key LIMIT ?3",
    )?;
    let after = page.cursor.clone().unwrap_or_default();
    let limit = i64::try_from(page.limit).unwrap_or(i64::MAX).saturating_add(1);
    let items =
        query.query_map(params![after, prefix, limit], state_row)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(cut(items, page.limit, |row| row.key.clone()))
}
