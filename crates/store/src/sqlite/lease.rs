//! Work inside the writer's transaction: leasing, sessions, leases that are lost.

use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, params};
use stepwell_core::ids::{ExecutionRef, Ordinal, RunId, StepName, Timestamp};
use stepwell_core::policy::resources::Room;
use stepwell_core::run::event::{AttemptStarted, Event};
use stepwell_core::workflow::definition::Priority;

use super::batch::{append, read_limits, read_priority, read_purpose, read_resources, set_seq};
use super::known::{Known, find};
use crate::model::{LeaseRef, LeaseRequest, Leased, LimitUse, LostLease, Purpose, SessionRef, WorkItem};

const ITEM: &str = "r.id, r.root, w.step, w.ordinal, w.attempt, w.handler, w.priority, w.not_before, w.purpose, \
                    w.limits, w.run, w.resources";

struct Candidate {
    run: RunId,
    root: RunId,
    key: i64,
    item: WorkItem,
}

fn candidate(row: &rusqlite::Row<'_>) -> rusqlite::Result<Candidate> {
    Ok(Candidate {
        run: RunId::from(row.get::<_, String>(0)?),
        root: RunId::from(row.get::<_, String>(1)?),
        item: WorkItem {
            execution: ExecutionRef {
                step: StepName::from(row.get::<_, String>(2)?),
                ordinal: Ordinal(row.get(3)?),
            },
            attempt: row.get(4)?,
            handler: row.get(5)?,
            priority: read_priority(row.get(6)?),
            not_before: Timestamp(row.get(7)?),
            purpose: read_purpose(row.get(8)?),
            limits: read_limits(row.get::<_, Option<String>>(9)?.as_deref()),
            resources: read_resources(row, 11)?,
        },
        key: row.get(10)?,
    })
}

/// Where a work item is kept.
#[derive(Clone, Debug)]
pub(super) struct Place {
    key: i64,
    execution: ExecutionRef,
}

/// Returns where the items are that a request would get, highest priority first, then oldest. This looks at every
/// ready item if need be, so it is asked beside the writer.
pub(super) fn look(conn: &Connection, request: &LeaseRequest) -> rusqlite::Result<Vec<Place>> {
    let chosen = choose(conn, request)?.into_iter();
    Ok(chosen.map(|found| Place { key: found.key, execution: found.item.execution }).collect())
}

/// Returns the highest priority among the items that a request would get.
pub(super) fn waiting(conn: &Connection, request: &LeaseRequest) -> rusqlite::Result<Option<Priority>> {
    Ok(choose(conn, request)?.first().map(|found| found.item.priority))
}

fn choose(conn: &Connection, request: &LeaseRequest) -> rusqlite::Result<Vec<Candidate>> {
    let sql = format!(
        "SELECT {ITEM} FROM work w INDEXED BY work_ready CROSS JOIN runs r ON r.key = w.run \
         WHERE {IS_READY} ORDER BY w.priority DESC, w.place"
    );
    let mut query = conn.prepare_cached(&sql)?;
    let mut rows = query.query(params![request.now.0])?;
    let mut choice = Choice::new(conn, request);
    while choice.chosen.len() < request.max
        && let Some(row) = rows.next()?
    {
        choice.consider(candidate(row)?)?;
    }
    Ok(choice.chosen)
}

/// Returns the items at those places, or none if one of them has gone since it was seen.
fn fetch(
    conn: &Connection,
    request: &LeaseRequest,
    places: &[Place],
) -> rusqlite::Result<Option<Vec<Candidate>>> {
    let sql = format!(
        "SELECT {ITEM} FROM work w CROSS JOIN runs r ON r.key = w.run \
         WHERE {IS_READY} AND w.run = ?2 AND w.step = ?3 AND w.ordinal = ?4"
    );
    let mut query = conn.prepare_cached(&sql)?;
    let mut choice = Choice::new(conn, request);
    for place in places {
        let (step, ordinal) = (place.execution.step.as_str(), place.execution.ordinal.0);
        let found =
            query.query_row(params![request.now.0, place.key, step, ordinal], candidate).optional()?;
        let Some(found) = found else { return Ok(None) };
        choice.consider(found)?;
    }
    Ok((choice.chosen.len() == places.len()).then_some(choice.chosen))
}

const IS_READY: &str = "w.session IS NULL AND w.not_before <= ?1 AND r.status = 'running'";

/// Items chosen so far, and what named limits and room they leave.
struct Choice<'a> {
    conn: &'a Connection,
    request: &'a LeaseRequest,
    used: Option<HashMap<String, u32>>,
    room: Room,
    chosen: Vec<Candidate>,
}

impl<'a> Choice<'a> {
    fn new(conn: &'a Connection, request: &'a LeaseRequest) -> Self {
        Self { conn, request, used: None, room: request.room.clone(), chosen: Vec::new() }
    }

    fn consider(&mut self, found: Candidate) -> rusqlite::Result<()> {
        if !self.request.asks_for(&found.root) || !self.request.handles(&found.item.handler) {
            return Ok(());
        }
        // Room last: what is kept waiting by something else reserves none of it.
        if !self.is_within_limits(&found.item)? || !self.room.take(&found.item.resources) {
            return Ok(());
        }
        if let Some(used) = &mut self.used {
            book(used, &found.item);
        }
        self.chosen.push(found);
        Ok(())
    }

    fn is_within_limits(&mut self, item: &WorkItem) -> rusqlite::Result<bool> {
        if item.limits.is_empty() {
            return Ok(true);
        }
        let used = match &mut self.used {
            Some(used) => used,
            none => none.insert(used_limits(self.conn)?),
        };
        let fits =
            |limit: &LimitUse| used.get(&limit.name).copied().unwrap_or(0) + limit.units <= limit.capacity;
        Ok(item.limits.iter().all(fits))
    }
}

/// Leases the items that were seen, or looks again if they have gone. None if the session is over.
pub(super) fn lease(
    conn: &Connection,
    known: &mut Known,
    request: &LeaseRequest,
    seen: &[Place],
) -> rusqlite::Result<Option<Vec<Leased>>> {
    if !known.is_open(conn, request.session)? {
        return Ok(None);
    }
    let chosen = match fetch(conn, request, seen)? {
        Some(chosen) => chosen,
        None => choose(conn, request)?,
    };
    let mut starts: BTreeMap<i64, (RunId, Vec<Event>)> = BTreeMap::new();
    for found in &chosen {
        conn.prepare_cached(
            "UPDATE work SET session = ?4, generation = ?5, stray = 0 WHERE run = ?1 AND step = ?2 AND ordinal = ?3",
        )?
        .execute(params![
            found.key,
            found.item.execution.step.as_str(),
            found.item.execution.ordinal.0,
            request.session.id as i64,
            request.session.generation as i64,
        ])?;
        if found.item.purpose != Purpose::Judge {
            let started = Event::AttemptStarted(AttemptStarted {
                step: found.item.execution.step.clone(),
                execution: found.item.execution.ordinal,
                attempt: found.item.attempt,
                session: request.session.id,
            });
            starts.entry(found.key).or_insert_with(|| (found.run.clone(), Vec::new())).1.push(started);
        }
    }
    for (run, events) in starts.values() {
        let Some(mut place) = find(conn, known, run)? else { continue };
        place.seq = append(conn, place.key, place.seq, request.now, None, events)?;
        set_seq(conn, &place)?;
        known.put(run, place);
    }
    let session = request.session;
    Ok(Some(chosen.into_iter().map(|found| Leased { run: found.run, item: found.item, session }).collect()))
}

fn used_limits(conn: &Connection) -> rusqlite::Result<HashMap<String, u32>> {
    let mut used = HashMap::new();
    let mut query = conn.prepare_cached(
        "SELECT limits FROM work WHERE limits IS NOT NULL AND session IS NOT NULL UNION ALL \
         SELECT limits FROM lingering WHERE session IN (SELECT id FROM sessions WHERE closed = 0)",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        for limit in read_limits(row.get::<_, Option<String>>(0)?.as_deref()) {
            *used.entry(limit.name).or_insert(0) += limit.units;
        }
    }
    Ok(used)
}

fn book(used: &mut HashMap<String, u32>, item: &WorkItem) {
    for limit in &item.limits {
        *used.entry(limit.name.clone()).or_insert(0) += limit.units;
    }
}

fn read_lease(row: &rusqlite::Row<'_>) -> rusqlite::Result<(RunId, LeaseRef)> {
    let lease = LeaseRef {
        execution: ExecutionRef {
            step: StepName::from(row.get::<_, String>(1)?),
            ordinal: Ordinal(row.get(2)?),
        },
        attempt: row.get(3)?,
        session: SessionRef { id: row.get::<_, i64>(4)? as u64, generation: row.get::<_, i64>(5)? as u64 },
    };
    Ok((RunId::from(row.get::<_, String>(0)?), lease))
}

const LEASE: &str = "SELECT r.id, w.step, w.ordinal, w.attempt, w.session, w.generation \
                     FROM work w JOIN runs r ON r.key = w.run";

/// Returns the leases of a session.
pub(super) fn leases_of(
    conn: &Connection,
    session: SessionRef,
) -> rusqlite::Result<HashSet<(RunId, LeaseRef)>> {
    let sql = format!("{LEASE} WHERE w.session = ?1 AND w.generation = ?2");
    let mut query = conn.prepare_cached(&sql)?;
    query.query_map(params![session.id as i64, session.generation as i64], read_lease)?.collect()
}

/// Returns the removed leases of a session that take units of named limits, each with its row.
pub(super) fn lingering_of(
    conn: &Connection,
    session: SessionRef,
) -> rusqlite::Result<HashMap<i64, (RunId, LeaseRef)>> {
    let mut query = conn.prepare_cached(
        "SELECT r.id, l.step, l.ordinal, l.attempt, l.session, l.generation, l.id \
         FROM lingering l JOIN runs r ON r.key = l.run WHERE l.session = ?1 AND l.generation = ?2",
    )?;
    let found = query.query_map(params![session.id as i64, session.generation as i64], |row| {
        Ok((row.get(6)?, read_lease(row)?))
    })?;
    found.collect()
}

/// Lets removed leases go: their units are free again.
pub(super) fn let_go(conn: &Connection, rows: &[i64]) -> rusqlite::Result<()> {
    for row in rows {
        conn.prepare_cached("DELETE FROM lingering WHERE id = ?1")?.execute(params![row])?;
    }
    Ok(())
}

/// Lets everything go that a session which is over has left.
pub(super) fn let_all_go(conn: &Connection, session: u64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM lingering WHERE session = ?1")?.execute(params![session as i64])?;
    Ok(())
}

/// Marks leases of a session whose worker knows nothing of them.
pub(super) fn mark_strays(conn: &Connection, strays: &[(RunId, LeaseRef)]) -> rusqlite::Result<()> {
    for (run, lease) in strays {
        conn.prepare_cached(
            "UPDATE work SET stray = 1 WHERE run = (SELECT key FROM runs WHERE id = ?1) AND step = ?2 \
             AND ordinal = ?3 AND session = ?4",
        )?
        .execute(params![
            run.as_str(),
            lease.execution.step.as_str(),
            lease.execution.ordinal.0,
            lease.session.id as i64
        ])?;
    }
    Ok(())
}

/// Closes sessions whose processes have died: what they held is lost, whatever they still send.
pub(super) fn declare_dead(conn: &Connection, sessions: &[u64]) -> rusqlite::Result<()> {
    for id in sessions {
        conn.execute("UPDATE sessions SET closed = 1 WHERE id = ?1", params![*id as i64])?;
        let_all_go(conn, *id)?;
    }
    Ok(())
}

/// Forgets sessions that hold nothing.
pub(super) fn forget_sessions(conn: &Connection, sessions: &[u64]) -> rusqlite::Result<()> {
    for id in sessions {
        conn.execute(
            "DELETE FROM sessions WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM work WHERE session = ?1)",
            params![*id as i64],
        )?;
    }
    Ok(())
}

/// Returns strays and the leases of those sessions.
pub(super) fn lost(conn: &Connection, dead: &[u64], max: usize) -> rusqlite::Result<Vec<LostLease>> {
    let mut lost = Vec::new();
    let mut add = |sql: &str, session: Option<u64>| -> rusqlite::Result<()> {
        let mut query = conn.prepare_cached(sql)?;
        let mut rows = match session {
            Some(session) => query.query(params![session as i64])?,
            None => query.query([])?,
        };
        while lost.len() < max
            && let Some(row) = rows.next()?
        {
            let (run, lease) = read_lease(row)?;
            lost.push(LostLease { run, lease });
        }
        Ok(())
    };
    add(&format!("{LEASE} WHERE w.stray = 1"), None)?;
    for session in dead {
        add(&format!("{LEASE} WHERE w.session = ?1 AND w.stray = 0"), Some(*session))?;
    }
    Ok(lost)
}
