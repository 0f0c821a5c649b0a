//! How a file stands, for people who ask. Looked at without taking part: nothing is made, migrated or written.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use stepwell_core::ids::Timestamp;
use stepwell_core::status::RunStatus;

use super::lock::LockFile;
use super::{errors, lease, open, place, sessions};
use crate::error::Error;

/// What was found in a file.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Its name without links.
    pub path: PathBuf,
    /// The version of its schema, and the newest that is known.
    pub schema: (u32, u32),
    /// What a quick check found; none: it is sound.
    pub damage: Option<String>,
    /// Bytes of the database.
    pub bytes: u64,
    /// Bytes of what has been written and not been put into it yet.
    pub wal_bytes: u64,
    /// Who has it open, in words.
    pub sessions: Vec<String>,
    /// Attempts whose workers are gone, up to a thousand.
    pub lost_leases: usize,
    /// How many runs there are of each status.
    pub runs: Vec<(RunStatus, u64)>,
    /// Of the paused ones those that only people and signals can move.
    pub waiting: u64,
    /// Questions to people that nobody has answered.
    pub open_questions: u64,
    /// When the earliest timer is due.
    pub next_timer: Option<Timestamp>,
    /// When it was last written to.
    pub updated_at: Option<Timestamp>,
}

/// Looks at a file.
///
/// # Errors
/// As opening it: `NotThere`, `Corrupt` if it is no store, is newer or cannot be read at all, `Unavailable`.
pub fn survey(path: &Path) -> Result<Survey, Error> {
    let path = &place::real_path(path)?;
    if !path.exists() {
        return Err(Error::NotThere {
            what: format!("looking at {}", path.display()),
            reason: "it does not exist".into(),
        });
    }
    open::refuse_network(path)?;
    open::look_at_header(path)?;
    // A file that nobody has open has no log, and reading it the usual way would make one.
    let wal = open::wal_of(path);
    let had_log = wal.exists();
    let found = look(path, had_log);
    if !had_log && wal.exists() {
        // Somebody came in between.
        return look(path, true);
    }
    found
}

fn look(path: &Path, is_open: bool) -> Result<Survey, Error> {
    let wrong = |error: rusqlite::Error| errors::read(path, &error);
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    let conn = read_only(path, is_open).map_err(wrong)?;
    let lock =
        LockFile::existing(path).map_err(|error| errors::io("looking at the lock of", path, &error))?;
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
    let read = || -> rusqlite::Result<Survey> {
        let found: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        let mut survey = Survey {
            path: path.to_owned(),
            schema: (number("PRAGMA user_version")?.unwrap_or_default() as u32, open::newest() as u32),
            damage: Some(found).filter(|found| found != "ok"),
            bytes: size(path),
            wal_bytes: size(&open::wal_of(path)),
            ..Survey::default()
        };
        if survey.schema.0 == 0 {
            return Ok(survey);
        }
        let live = match &lock {
            Some(lock) => sessions(&conn, lock)?,
            None => Vec::new(),
        };
        let ids: HashSet<u64> = live.iter().map(|session| session.id).collect();
        let all = conn
            .prepare("SELECT id FROM sessions")?
            .query_map([], |row| row.get::<_, i64>(0))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let gone: Vec<u64> = all.into_iter().map(|id| id as u64).filter(|id| !ids.contains(id)).collect();
        survey.lost_leases = lease::lost(&conn, &gone, 1_000)?.len();
        survey.sessions = live.into_iter().map(|session| session.to_string()).collect();
        for status in RunStatus::ALL {
            let sql = format!("SELECT count(*) FROM runs WHERE status = '{status}'");
            survey.runs.push((*status, number(&sql)?.unwrap_or_default() as u64));
        }
        let waiting = "SELECT count(*) FROM runs WHERE status = 'paused' AND pause_reason = 'input'";
        survey.waiting = number(waiting)?.unwrap_or_default() as u64;
        let asked = "SELECT count(*) FROM waits WHERE state = 'open' AND kind = 'human'";
        survey.open_questions = number(asked)?.unwrap_or_default() as u64;
        survey.next_timer = number("SELECT min(at) FROM timers")?.map(Timestamp);
        survey.updated_at = number("SELECT max(updated_at) FROM runs")?.map(Timestamp);
        Ok(survey)
    };
    read().map_err(wrong)
}

fn read_only(path: &Path, is_open: bool) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = if is_open {
        Connection::open_with_flags(path, flags)?
    } else {
        let name = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        Connection::open_with_flags(format!("file:{name}?immutable=1"), flags | OpenFlags::SQLITE_OPEN_URI)?
    };
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(conn)
}
