//! Opening a file: ours, new, or refused and left as it is.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::lock::{self, LockFile};
use super::{SqliteOptions, errors};
use crate::error::Error;

/// "SWEL": marks a database as a Stepwell store.
const APPLICATION_ID: i32 = 0x5357_454C;

/// Numbered, forward only; the number of the last one is the file's `user_version`.
const MIGRATIONS: [&str; 3] = [
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_resources.sql"),
    include_str!("migrations/0003_lingering.sql"),
];

/// Returns the number of the newest schema.
pub(super) fn newest() -> usize {
    MIGRATIONS.len()
}

/// Looks at the file and brings it to the newest schema.
pub(super) fn prepare(path: &Path, options: &SqliteOptions, lock: &LockFile) -> Result<(), Error> {
    if !path.exists() {
        create(path)?;
    }
    look_at_header(path)?;
    let mut conn = raw(path).map_err(|error| errors::read(path, &error))?;
    conn.busy_timeout(options.busy_timeout).map_err(|error| errors::read(path, &error))?;
    let version = version(&conn, path)?;
    if version < MIGRATIONS.len() {
        if version > 0
            && let Some(pid) = lock.anybody_else().map_err(|error| errors::io("locking", path, &error))?
        {
            let what = format!("bringing {} to a newer schema", path.display());
            return Err(Error::Unavailable {
                what,
                source: format!("pid {pid} has it open; end it first").into(),
            });
        }
        migrate(&mut conn, path)?;
    }
    look_at_tables(&conn, path)
}

/// What the name of a draft has behind that of its store.
const DRAFT: &str = ".new-";

/// Returns the drafts that lie beside a store.
pub(super) fn drafts_of(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let mut prefix = name.to_owned();
    prefix.push(DRAFT);
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_draft = |entry: &std::fs::DirEntry| {
        entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes())
    };
    entries.filter(is_draft).map(|entry| entry.path()).collect()
}

/// Returns the name of a draft of this thread for a file.
pub(super) fn draft_of(path: &Path) -> PathBuf {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!("{DRAFT}{}-{:?}", std::process::id(), std::thread::current().id()));
    draft.into()
}

/// Returns the directory that a file lies in.
pub(super) fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a new file beside the place and moves it there when it is complete: whoever is killed in between leaves
/// nothing that looks like a store, and of two who create it one wins.
fn create(path: &Path) -> Result<(), Error> {
    let draft = draft_of(path);
    // What a process of the same number left behind when it was killed.
    let _nothing = std::fs::remove_file(&draft);
    let made = (|| {
        let mut conn = Connection::open(&draft).map_err(|error| errors::write(path, &error))?;
        migrate(&mut conn, path)?;
        // Now, while nobody else can have it open: of two connections that change the mode at once SQLite refuses one
        // without waiting.
        conn.pragma_update(None, "journal_mode", "WAL").map_err(|error| errors::write(path, &error))?;
        conn.close().map_err(|(_, error)| errors::write(path, &error))?;
        match std::fs::hard_link(&draft, path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(errors::io("creating", path, &error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    })();
    let _nothing = std::fs::remove_file(&draft);
    made
}

/// Returns the schema's version; 0 for an empty database.
fn version(conn: &Connection, path: &Path) -> Result<usize, Error> {
    let read =
        |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(|e| errors::read(path, &e));
    let (application, version) = (read("PRAGMA application_id")?, read("PRAGMA user_version")?);
    let tables = read("SELECT count(*) FROM sqlite_master")?;
    let what = || format!("opening {}", path.display());
    if application != i64::from(APPLICATION_ID) && (application != 0 || tables > 0) {
        return Err(Error::Corrupt { what: what(), reason: "it is a database of another program".into() });
    }
    match usize::try_from(version) {
        _ if application == 0 => Ok(0),
        Ok(0) => Err(Error::Corrupt { what: what(), reason: "the version of its schema is lost".into() }),
        Ok(version) if version <= MIGRATIONS.len() => Ok(version),
        _ => Err(Error::Corrupt { what: what(), reason: newer(version) }),
    }
}

fn newer(version: i64) -> String {
    let known = MIGRATIONS.len();
    format!("its schema has version {version}, this Stepwell knows {known}; use a newer one")
}

fn migrate(conn: &mut Connection, path: &Path) -> Result<(), Error> {
    let wrong = |error: rusqlite::Error| errors::write(path, &error);
    // Before the file is in WAL mode, so that its header says at once whose it is.
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Exclusive).map_err(wrong)?;
    // Another process may have been faster.
    let from = version(&transaction, path)?;
    for migration in &MIGRATIONS[from..] {
        transaction.execute_batch(migration).map_err(wrong)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(wrong)?;
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64).map_err(wrong)?;
    transaction.commit().map_err(wrong)
}

/// Looks at the beginning of every table, so that a file whose middle is damaged is refused before it is written to.
fn look_at_tables(conn: &Connection, path: &Path) -> Result<(), Error> {
    const TABLES: [&str; 14] = [
        "journal",
        "silent",
        "runs",
        "tags",
        "definitions",
        "commands",
        "work",
        "timers",
        "waits",
        "outbox",
        "snapshots",
        "blobs",
        "state",
        "sessions",
    ];
    for table in TABLES {
        let look =
            conn.prepare(&format!("SELECT * FROM {table} LIMIT 1")).and_then(|mut query| query.exists([]));
        if let Err(error) = look {
            return Err(match errors::read(path, &error) {
                Error::Unavailable { what, source } if !errors::is_busy(&error) => {
                    Error::Corrupt { what, reason: source.to_string() }
                }
                other => other,
            });
        }
    }
    Ok(())
}

/// What a connection that writes keeps of the file, in KiB: the ends of its tables, where new rows go.
const WRITER_CACHE: u32 = 8_192;

/// What a connection that only reads keeps, in KiB. There are several of them, and what they read the operating system has in
/// memory too.
const READER_CACHE: u32 = 1_024;

/// Opens a connection to a prepared file that only reads.
pub(super) fn connect_reader(path: &Path, options: &SqliteOptions) -> Result<Connection, Error> {
    connect_with(path, options, READER_CACHE)
}

/// Opens a connection to a prepared file.
pub(crate) fn connect(path: &Path, options: &SqliteOptions) -> Result<Connection, Error> {
    connect_with(path, options, WRITER_CACHE)
}

fn connect_with(path: &Path, options: &SqliteOptions, cache_kib: u32) -> Result<Connection, Error> {
    let open = || -> rusqlite::Result<Connection> {
        let conn = raw(path)?;
        // Waiting for the writer's lock is the writer's own affair (`writer.rs`); this covers the short ones.
        conn.busy_timeout(Duration::from_secs(5))?;
        wal_mode(&conn)?;
        conn.pragma_update(None, "synchronous", if options.fsync { "FULL" } else { "NORMAL" })?;
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        conn.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        conn.set_prepared_statement_cache_capacity(128);
        // Otherwise a statement is planned again whenever a value that is bound to it is another one.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(conn)
    };
    open().map_err(|error| errors::read(path, &error))
}

/// Puts a file that somebody else made, an empty one for instance, into WAL mode. While two do so at once SQLite
/// refuses one of them without asking its busy handler.
fn wal_mode(conn: &Connection) -> rusqlite::Result<()> {
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        match conn.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if errors::is_busy(&error) && Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

/// Opens a file that is there. One that was taken away is not made anew: that would be a store nobody knows of.
fn raw(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// Refuses a file that is no store, without SQLite touching it.
pub(super) fn look_at_header(path: &Path) -> Result<(), Error> {
    let wrong = |error: std::io::Error| errors::io("opening", path, &error);
    let file = lock::keep_open(path).map_err(wrong)?;
    // Asked before and after: whoever closes the store writes the log into the file and then takes it away.
    let had_log = wal_of(path).exists();
    let mut header = [0; 100];
    let mut filled = 0;
    while filled < header.len() {
        match file.read_at(&mut header[filled..], filled as u64).map_err(wrong)? {
            0 => break,
            more => filled += more,
        }
    }
    let (header, length) = (&header[..filled], file.metadata().map_err(wrong)?.len());
    match header_problem(header, length, had_log || wal_of(path).exists()) {
        None => Ok(()),
        Some(reason) => Err(Error::Corrupt { what: format!("opening {}", path.display()), reason }),
    }
}

/// Returns why a file with this header cannot be a store of ours. An empty file can become one.
fn header_problem(header: &[u8], length: u64, has_log: bool) -> Option<String> {
    const MAGIC: &[u8; 16] = b"SQLite format 3\0";
    if header.is_empty() {
        return None;
    }
    if !header.starts_with(MAGIC) {
        return Some("it is not a SQLite database".into());
    }
    if header.len() < 100 {
        return Some("its header is cut off".into());
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if number(68) != APPLICATION_ID as u32 {
        return Some("it is a database of another program".into());
    }
    if number(60) as usize > MIGRATIONS.len() {
        return Some(newer(i64::from(number(60))));
    }
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    // What every SQLite database says in these places; where it does not, SQLite would make a log beside the file
    // before it finds out.
    let is_sound = page.is_power_of_two()
        && page >= 512
        && header[18..20].iter().all(|version| matches!(version, 1 | 2))
        && header[21..24] == [64, 32, 32];
    if !is_sound {
        return Some("its header is damaged".into());
    }
    if length < u64::from(number(28)) * page && !has_log {
        return Some("its end is missing".into());
    }
    None
}

pub(super) fn wal_of(path: &Path) -> PathBuf {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}

/// SQLite's locks and shared memory do not work over a network.
pub(super) fn refuse_network(path: &Path) -> Result<(), Error> {
    const NETWORK: [(i64, &str); 5] =
        [(0x6969, "NFS"), (0x517B, "SMB"), (0xFF53_4D42, "CIFS"), (0xFE53_4D42, "SMB2"), (0x0102_1997, "9P")];
    let Some(kind) = file_system(dir_of(path)) else { return Ok(()) };
    match NETWORK.iter().find(|(magic, _)| *magic == kind) {
        None => Ok(()),
        Some((_, name)) => Err(Error::Unavailable {
            what: format!("opening {}", path.display()),
            source: format!("it lies on a network file system ({name}), where SQLite cannot keep it safe")
                .into(),
        }),
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "statfs has no safe wrapper in the standard library")]
fn file_system(dir: &Path) -> Option<i64> {
    use std::os::unix::ffi::OsStrExt;
    let dir = std::ffi::CString::new(dir.as_os_str().as_bytes()).ok()?;
    let mut answer = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path is a C string and the struct is written by the call before it is read.
    unsafe {
        if libc::statfs(dir.as_ptr(), answer.as_mut_ptr()) != 0 {
            return None;
        }
        #[allow(clippy::unnecessary_cast, reason = "the type of the field differs between platforms")]
        Some(answer.assume_init().f_type as i64 & 0xFFFF_FFFF)
    }
}

#[cfg(not(target_os = "linux"))]
fn file_system(_dir: &Path) -> Option<i64> {
    None
}
