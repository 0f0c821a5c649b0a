-- Leases that were removed while their workers held them: they take units of named limits until they are let go.
CREATE TABLE lingering (
    id         INTEGER PRIMARY KEY,
    run        INTEGER NOT NULL,
    step       TEXT    NOT NULL,
    ordinal    INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    session    INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    limits     TEXT    NOT NULL
);
CREATE INDEX lingering_session ON lingering (session);
