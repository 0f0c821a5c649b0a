//! One batch inside the writer's transaction: checked first, so that a refused one leaves no trace and does not sink
//! its neighbours.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use stepwell_core::ids::{ExecutionRef, RunId, Seq, Timestamp};
use stepwell_core::policy::resources::Resources;
use stepwell_core::run::event::Event;
use stepwell_core::workflow::definition::Priority;

use super::blob;
use super::known::{Known, KnownRun, PlainRow, find};
use crate::error::CommitError;
use crate::model::{
    Base, Batch, Committed, LazyEvent, LeaseRef, LimitUse, NewRun, Purpose, Revision, SessionRef,
    TimerChange, WaitChange, WaitState, WorkChange, WorkItem,
};

/// Why a batch was not applied.
pub(super) enum Refused {
    /// It alone does not fit; nothing of it was written.
    Batch(CommitError),
    /// SQLite failed; the transaction must be rolled back.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<CommitError> for Refused {
    fn from(error: CommitError) -> Self {
        Self::Batch(error)
    }
}

/// Checks and applies a batch.
pub(super) fn apply(conn: &Connection, known: &mut Known, batch: &Batch) -> Result<Committed, Refused> {
    let found = find(conn, known, &batch.run)?;
    check(conn, known, batch, found)?;
    let (key, mut seq, number) = match (&batch.base, found) {
        (Base::New(new), _) => (create(conn, batch, new)?, 0, 1),
        (Base::On(_), Some(found)) => (found.key, found.seq, found.revision.number + 1),
        (Base::On(_), None) => unreachable!("a missing run is refused by the check"),
    };
    for lazy in &batch.lazy {
        if lazy.run != batch.run {
            append_lazy(conn, known, std::slice::from_ref(lazy))?;
        } else if standing(conn, key, &lazy.lease)?.is_some() {
            seq = append(conn, key, seq, lazy.at, None, std::slice::from_ref(&lazy.event))?;
        }
    }
    for lease in batch.answered.iter().chain(&batch.lost) {
        remove_work(conn, key, lease.execution.step.as_str(), lease.execution.ordinal.0)?;
    }
    seq = append(conn, key, seq, batch.at, Some((batch.id, number)), &batch.events)?;
    let revision = Revision { number, batch: batch.id };
    let row = PlainRow::of(&batch.row);
    if row.is_some() && found.is_some_and(|found| found.row == row) {
        touch_row(conn, key, batch.at, revision, seq)?;
    } else {
        update_row(conn, key, batch, revision, seq)?;
    }
    for id in &batch.commands {
        conn.prepare_cached("INSERT OR IGNORE INTO commands (run, id, seq) VALUES (?1, ?2, ?3)")?
            .execute(params![key, id.as_str(), seq as i64])?;
    }
    for (i, change) in batch.work.iter().enumerate() {
        change_work(conn, key, batch.at, i, change)?;
    }
    for change in &batch.timers {
        change_timer(conn, key, change)?;
    }
    for change in &batch.waits {
        change_wait(conn, key, batch.at, change)?;
    }
    for message in &batch.outbox {
        conn.prepare_cached("INSERT INTO outbox (source, target, command, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                key,
                message.target.as_str(),
                message.command.as_str(),
                message.body.to_string()
            ])?;
    }
    for id in &batch.delivered {
        remove_message(conn, *id)?;
    }
    known.put(&batch.run, KnownRun { key, revision, seq, row });
    Ok(Committed { revision, seq: Seq(seq) })
}

fn check(
    conn: &Connection,
    known: &mut Known,
    batch: &Batch,
    found: Option<KnownRun>,
) -> Result<(), Refused> {
    let run = || batch.run.clone();
    match (&batch.base, found) {
        (Base::New(_), Some(_)) => return Err(CommitError::Exists(run()).into()),
        (Base::New(_), None) => {}
        (Base::On(_), None) => return Err(CommitError::NotFound(run()).into()),
        (Base::On(given), Some(found)) if *given != found.revision => {
            let current = found.revision;
            return Err(CommitError::Stale { run: run(), given: *given, current }.into());
        }
        (Base::On(_), Some(_)) => {}
    }
    if let Some(found) = found {
        check_answers(conn, known, found.key, batch)?;
    }
    for change in &batch.work {
        if let WorkChange::HandOver(_, session) = change
            && !known.is_open(conn, *session)?
        {
            return Err(CommitError::SessionGone(*session).into());
        }
    }
    Ok(())
}

/// Refuses commands that were carried out before, outcomes whose lease is lost, and to give back what is not.
fn check_answers(conn: &Connection, known: &mut Known, key: i64, batch: &Batch) -> Result<(), Refused> {
    let run = || batch.run.clone();
    for id in &batch.commands {
        let mut query = conn.prepare_cached("SELECT seq FROM commands WHERE run = ?1 AND id = ?2")?;
        let seq: Option<i64> = query.query_row(params![key, id.as_str()], |row| row.get(0)).optional()?;
        if let Some(seq) = seq {
            let seq = Seq(seq as u64);
            return Err(CommitError::Repeated { run: run(), id: id.clone(), seq }.into());
        }
    }
    let answered = batch.answered.iter().map(|lease| (lease, false));
    for (lease, should_be_lost) in answered.chain(batch.lost.iter().map(|lease| (lease, true))) {
        let is_lost = match standing(conn, key, lease)? {
            Some(is_stray) => Some(is_stray || !known.is_open(conn, lease.session)?),
            None => None,
        };
        if is_lost != Some(should_be_lost) {
            let execution = lease.execution.clone();
            return Err(CommitError::LeaseLost { run: run(), execution }.into());
        }
    }
    Ok(())
}

/// Returns whether a lease that stands is a stray; none if it does not stand.
fn standing(conn: &Connection, key: i64, lease: &LeaseRef) -> rusqlite::Result<Option<bool>> {
    let mut query = conn.prepare_cached(
        "SELECT stray FROM work WHERE run = ?1 AND step = ?2 AND ordinal = ?3 AND attempt = ?4 AND session = ?5 \
         AND generation = ?6",
    )?;
    let SessionRef { id, generation } = lease.session;
    let (step, ordinal) = (lease.execution.step.as_str(), lease.execution.ordinal.0);
    query
        .query_row(params![key, step, ordinal, lease.attempt, id as i64, generation as i64], |row| row.get(0))
        .optional()
}

fn create(conn: &Connection, batch: &Batch, new: &NewRun) -> rusqlite::Result<i64> {
    let workflow = &new.workflow;
    let mut exists = conn.prepare_cached("SELECT 1 FROM definitions WHERE digest = ?1")?;
    if !exists.exists(params![workflow.digest()])? {
        conn.prepare_cached("INSERT INTO definitions (digest, json) VALUES (?1, ?2)")?
            .execute(params![workflow.digest(), workflow.to_json_text()])?;
    }
    let metadata = Value::Object(new.metadata.clone());
    conn.prepare_cached(
        "INSERT INTO runs (id, workflow, version, digest, metadata, parent, root, created_at, updated_at, status, \
         epoch, revision, batch, seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, 0, 0, 0)",
    )?
    .execute(params![
        batch.run.as_str(),
        workflow.name(),
        workflow.version(),
        workflow.digest(),
        metadata.to_string(),
        new.parent.as_ref().map(RunId::as_str),
        new.root.as_str(),
        batch.at.0,
        batch.row.status.as_str(),
        batch.row.epoch.0,
    ])?;
    let key = conn.last_insert_rowid();
    for pair in pairs(&new.metadata) {
        conn.prepare_cached("INSERT OR IGNORE INTO tags (pair, created_at, run) VALUES (?1, ?2, ?3)")?
            .execute(params![pair, batch.at.0, key])?;
    }
    Ok(key)
}

fn update_row(
    conn: &Connection,
    key: i64,
    batch: &Batch,
    revision: Revision,
    seq: u64,
) -> rusqlite::Result<()> {
    let row = &batch.row;
    let error = row.error.as_ref().map(|error| serde_json::to_string(error).unwrap_or_default());
    conn.prepare_cached(
        "UPDATE runs SET updated_at = ?2, status = ?3, pause_reason = ?4, epoch = ?5, started_at = ?6, \
         finished_at = ?7, error = ?8, revision = ?9, batch = ?10, seq = ?11 WHERE key = ?1",
    )?
    .execute(params![
        key,
        batch.at.0,
        row.status.as_str(),
        row.pause_reason.map(stepwell_core::status::PauseReason::as_str),
        row.epoch.0,
        row.started_at.map(|at| at.0),
        row.finished_at.map(|at| at.0),
        error,
        revision.number as i64,
        revision.batch as i64,
        seq as i64,
    ])?;
    Ok(())
}

/// Writes what is new of a row that stands as it stood: none of it is indexed.
fn touch_row(
    conn: &Connection,
    key: i64,
    at: Timestamp,
    revision: Revision,
    seq: u64,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "UPDATE runs SET updated_at = ?2, revision = ?3, batch = ?4, seq = ?5 WHERE key = ?1",
    )?
    .execute(params![key, at.0, revision.number as i64, revision.batch as i64, seq as i64])
    .map(|_| ())
}

/// Appends events to a journal as one row. `batch`: its id and the number of the revision it makes, if they decide
/// something. Returns the number of the last event.
pub(super) fn append(
    conn: &Connection,
    key: i64,
    seq: u64,
    at: Timestamp,
    batch: Option<(u64, u64)>,
    events: &[Event],
) -> rusqlite::Result<u64> {
    if events.is_empty() {
        if let Some((batch, number)) = batch {
            conn.prepare_cached("INSERT INTO silent (run, batch, number, seq) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![key, batch as i64, number as i64, seq as i64])?;
        }
        return Ok(seq);
    }
    let encoded = serde_json::to_string(events)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let (encoded, blobs) = blob::split(conn, key, encoded)?;
    let last = seq + events.len() as u64;
    conn.prepare_cached(
        "INSERT INTO journal (run, first, last, at, batch, number, blobs, events) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        key,
        seq as i64 + 1,
        last as i64,
        at.0,
        batch.map(|(id, _)| id as i64),
        batch.map(|(_, number)| number as i64),
        blobs,
        encoded,
    ])?;
    Ok(last)
}

/// Appends lazy events whose lease stands.
pub(super) fn append_lazy(
    conn: &Connection,
    known: &mut Known,
    events: &[LazyEvent],
) -> rusqlite::Result<()> {
    for lazy in events {
        let Some(mut found) = find(conn, known, &lazy.run)? else { continue };
        if standing(conn, found.key, &lazy.lease)?.is_some() {
            let event = std::slice::from_ref(&lazy.event);
            found.seq = append(conn, found.key, found.seq, lazy.at, None, event)?;
            set_seq(conn, &found)?;
            known.put(&lazy.run, found);
        }
    }
    Ok(())
}

pub(super) fn set_seq(conn: &Connection, found: &KnownRun) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE runs SET seq = ?2 WHERE key = ?1")?
        .execute(params![found.key, found.seq as i64])
        .map(|_| ())
}

fn remove_work(conn: &Connection, key: i64, step: &str, ordinal: u32) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM work WHERE run = ?1 AND step = ?2 AND ordinal = ?3")?
        .execute(params![key, step, ordinal])
        .map(|_| ())
}

/// Removes an item that nothing is to be done for any more. What its worker holds takes its units until it is let go.
fn withdraw_work(conn: &Connection, key: i64, execution: &ExecutionRef) -> rusqlite::Result<()> {
    let (step, ordinal) = (execution.step.as_str(), execution.ordinal.0);
    conn.prepare_cached(
        "INSERT INTO lingering (run, step, ordinal, attempt, session, generation, limits) \
         SELECT run, step, ordinal, attempt, session, generation, limits FROM work \
         WHERE run = ?1 AND step = ?2 AND ordinal = ?3 AND limits IS NOT NULL \
         AND session IN (SELECT id FROM sessions WHERE closed = 0)",
    )?
    .execute(params![key, step, ordinal])?;
    remove_work(conn, key, step, ordinal)
}

fn change_work(
    conn: &Connection,
    key: i64,
    at: Timestamp,
    i: usize,
    change: &WorkChange,
) -> rusqlite::Result<()> {
    // Older batches before younger ones, and within a batch in its order.
    let place = at.0.saturating_mul(1 << 10).saturating_add((i & 1_023) as i64);
    match change {
        WorkChange::Remove(execution) => withdraw_work(conn, key, execution),
        WorkChange::Put(item) => put_work(conn, key, place, item, None),
        WorkChange::HandOver(item, session) => put_work(conn, key, place, item, Some(*session)),
    }
}

fn put_work(
    conn: &Connection,
    key: i64,
    place: i64,
    item: &WorkItem,
    session: Option<SessionRef>,
) -> rusqlite::Result<()> {
    let limits = (!item.limits.is_empty()).then(|| write_limits(&item.limits));
    let resources = (!item.resources.is_empty()).then(|| write_resources(&item.resources));
    conn.prepare_cached(
        "INSERT OR REPLACE INTO work (run, step, ordinal, attempt, handler, priority, not_before, purpose, limits, \
         place, session, generation, resources, stray) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0)",
    )?
    .execute(params![
        key,
        item.execution.step.as_str(),
        item.execution.ordinal.0,
        item.attempt,
        item.handler,
        priority(item.priority),
        item.not_before.0,
        purpose(item.purpose),
        limits,
        place,
        session.map(|s| s.id as i64),
        session.map(|s| s.generation as i64),
        resources,
    ])?;
    Ok(())
}

fn change_timer(conn: &Connection, key: i64, change: &TimerChange) -> rusqlite::Result<()> {
    let text = |timer| serde_json::to_string(timer).unwrap_or_default();
    match change {
        TimerChange::Put(timer, at) => conn
            .prepare_cached("INSERT OR REPLACE INTO timers (run, key, at) VALUES (?1, ?2, ?3)")?
            .execute(params![key, text(timer), at.0]),
        TimerChange::Remove(timer) => conn
            .prepare_cached("DELETE FROM timers WHERE run = ?1 AND key = ?2")?
            .execute(params![key, text(timer)]),
    }
    .map(|_| ())
}

pub(super) fn remove_message(conn: &Connection, id: u64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM outbox WHERE id = ?1")?.execute(params![id as i64]).map(|_| ())
}

fn change_wait(conn: &Connection, key: i64, at: Timestamp, change: &WaitChange) -> rusqlite::Result<()> {
    match change {
        WaitChange::Open(row) => conn
            .prepare_cached(
                "INSERT OR REPLACE INTO waits (id, run, step, ordinal, kind, spec, assignee, deadline, state, \
                 opened_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                row.wait.as_str(),
                key,
                row.step.as_str(),
                row.ordinal.0,
                row.kind,
                row.spec.to_string(),
                row.assignee,
                row.deadline.map(|at| at.0),
                wait_state(row.state),
                row.opened_at.0,
            ]),
        WaitChange::Close { wait, state, by } => conn
            .prepare_cached("UPDATE waits SET state = ?2, closed_at = ?3, closed_by = ?4 WHERE id = ?1")?
            .execute(params![wait.as_str(), wait_state(*state), at.0, by]),
    }
    .map(|_| ())
}

pub(super) fn priority(priority: Priority) -> i64 {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
        Priority::Critical => 3,
    }
}

pub(super) fn read_priority(number: i64) -> Priority {
    match number {
        0 => Priority::Low,
        2 => Priority::High,
        3 => Priority::Critical,
        _ => Priority::Normal,
    }
}

fn purpose(purpose: Purpose) -> i64 {
    match purpose {
        Purpose::Attempt => 0,
        Purpose::Rerun => 1,
        Purpose::Judge => 2,
    }
}

pub(super) fn read_purpose(number: i64) -> Purpose {
    match number {
        1 => Purpose::Rerun,
        2 => Purpose::Judge,
        _ => Purpose::Attempt,
    }
}

pub(super) fn wait_state(state: WaitState) -> &'static str {
    match state {
        WaitState::Open => "open",
        WaitState::Answered => "answered",
        WaitState::Expired => "expired",
        WaitState::Withdrawn => "withdrawn",
    }
}

fn write_limits(limits: &[LimitUse]) -> String {
    let list: Vec<Value> = limits.iter().map(|l| serde_json::json!([l.name, l.units, l.capacity])).collect();
    Value::Array(list).to_string()
}

pub(super) fn read_limits(text: Option<&str>) -> Vec<LimitUse> {
    let list = text.and_then(|text| serde_json::from_str::<Vec<(String, u32, u32)>>(text).ok());
    list.unwrap_or_default()
        .into_iter()
        .map(|(name, units, capacity)| LimitUse { name, units, capacity })
        .collect()
}

fn write_resources(resources: &Resources) -> String {
    serde_json::to_string(resources).expect("amounts are finite")
}

/// Reads the resources of a work item from a column.
pub(super) fn read_resources(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Resources> {
    let Some(text) = row.get::<_, Option<String>>(column)? else { return Ok(Resources::default()) };
    let damaged = |error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error));
    serde_json::from_str(&text).map_err(damaged)
}

/// Returns a hash for each path and scalar of metadata. Equal numbers hash alike (`1` = `1.0`).
pub(super) fn pairs(metadata: &Map<String, Value>) -> Vec<i64> {
    let mut pairs = Vec::new();
    flatten(&Value::Object(metadata.clone()), &mut Sha256::new(), &mut pairs);
    pairs
}

fn flatten(value: &Value, path: &mut Sha256, pairs: &mut Vec<i64>) {
    if let Value::Object(map) = value {
        for (key, inner) in map {
            let mut path = path.clone();
            path.update((key.len() as u64).to_le_bytes());
            path.update(key.as_bytes());
            flatten(inner, &mut path, pairs);
        }
        return;
    }
    let mut hash = path.clone();
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(yes) => hash.update([b'b', u8::from(*yes)]),
        Value::Number(number) => {
            hash.update(b"f");
            // Adding zero makes one zero of two.
            hash.update((number.as_f64().unwrap_or(0.0) + 0.0).to_bits().to_le_bytes());
        }
        Value::String(text) => {
            hash.update(b"s");
            hash.update(text.as_bytes());
        }
        // Lists are compared by the exact check; here it is enough that one is there.
        Value::Array(_) | Value::Object(_) => hash.update(b"l"),
    }
    let bytes = hash.finalize();
    pairs.push(i64::from_le_bytes(bytes[..8].try_into().expect("a hash has more than eight bytes")));
}
