-- Journals: one row a batch, append-only. The index is narrow; a table clustered by run is three times slower.
CREATE TABLE journal (
    id      INTEGER PRIMARY KEY,
    run     INTEGER NOT NULL,
    first   INTEGER NOT NULL,
    last    INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    batch   INTEGER,               -- null: starts and lazy events, which decide nothing
    number  INTEGER,               -- of the revision that the batch made
    blobs   INTEGER NOT NULL,      -- 1: values of it are in the blob table
    events  TEXT    NOT NULL       -- JSON array
);
CREATE UNIQUE INDEX journal_place ON journal (run, last);

-- Batches that decided something without an event; rare.
CREATE TABLE silent (
    run    INTEGER NOT NULL,
    batch  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (run, batch)
) WITHOUT ROWID;

CREATE TABLE runs (
    key          INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    workflow     TEXT    NOT NULL,
    version      TEXT    NOT NULL,
    digest       TEXT    NOT NULL,
    metadata     TEXT    NOT NULL,
    parent       TEXT,
    root         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    status       TEXT    NOT NULL,
    pause_reason TEXT,
    epoch        INTEGER NOT NULL,
    started_at   INTEGER,
    finished_at  INTEGER,
    error        TEXT,
    revision     INTEGER NOT NULL,
    batch        INTEGER NOT NULL,
    seq          INTEGER NOT NULL
);
CREATE INDEX runs_by_creation ON runs (created_at, id);
CREATE INDEX runs_by_status ON runs (status, created_at, id);
CREATE INDEX runs_by_workflow ON runs (workflow, created_at, id);
CREATE INDEX runs_by_parent ON runs (parent) WHERE parent IS NOT NULL;

-- Scalars of metadata by path, for containment queries.
CREATE TABLE tags (
    pair       INTEGER NOT NULL,   -- hash of path and value
    created_at INTEGER NOT NULL,
    run        INTEGER NOT NULL,
    PRIMARY KEY (pair, created_at, run)
) WITHOUT ROWID;

CREATE TABLE definitions (
    digest TEXT PRIMARY KEY,
    json   TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE commands (
    run INTEGER NOT NULL,
    id  TEXT    NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (run, id)
) WITHOUT ROWID;

-- One row a live execution, replaced in place. Small, so it may be clustered.
CREATE TABLE work (
    run        INTEGER NOT NULL,
    step       TEXT    NOT NULL,
    ordinal    INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    handler    TEXT    NOT NULL,
    priority   INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    purpose    INTEGER NOT NULL,
    limits     TEXT,
    place      INTEGER NOT NULL,
    session    INTEGER,
    generation INTEGER,
    stray      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, step, ordinal)
) WITHOUT ROWID;
CREATE INDEX work_ready ON work (priority DESC, place) WHERE session IS NULL;
CREATE INDEX work_delayed ON work (not_before) WHERE session IS NULL AND not_before > 0;
CREATE INDEX work_stray ON work (run) WHERE stray = 1;
CREATE INDEX work_limited ON work (run) WHERE limits IS NOT NULL AND session IS NOT NULL;

CREATE TABLE timers (
    run INTEGER NOT NULL,
    key TEXT    NOT NULL,
    at  INTEGER NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE INDEX timers_due ON timers (at);

CREATE TABLE waits (
    id        TEXT PRIMARY KEY,
    run       INTEGER NOT NULL,
    step      TEXT    NOT NULL,
    ordinal   INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    spec      TEXT    NOT NULL,
    assignee  TEXT,
    deadline  INTEGER,
    state     TEXT    NOT NULL,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER,
    closed_by TEXT
) WITHOUT ROWID;
CREATE INDEX waits_by_state ON waits (state, opened_at, id);
CREATE INDEX waits_by_run ON waits (run);

CREATE TABLE outbox (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    source  INTEGER NOT NULL,
    target  TEXT    NOT NULL,
    command TEXT    NOT NULL,
    body    TEXT    NOT NULL
);

CREATE TABLE snapshots (
    run  INTEGER PRIMARY KEY,
    seq  INTEGER NOT NULL,
    data BLOB    NOT NULL
);

CREATE TABLE blobs (
    run  INTEGER NOT NULL,
    hash TEXT    NOT NULL,
    data TEXT    NOT NULL,
    PRIMARY KEY (run, hash)
);

CREATE TABLE state (
    key        TEXT PRIMARY KEY,
    value      TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE sessions (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    generation INTEGER NOT NULL,
    label      TEXT    NOT NULL,
    closed     INTEGER NOT NULL DEFAULT 0
);
