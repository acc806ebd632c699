CREATE TABLE saga (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    scope_key TEXT,
    fingerprint BLOB,
    exclusive TEXT,
    -- 0 running, 1 committed, 2 undoing, 3 done, 4 undone, 5 parked, 6 abandoned
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 6),
    owner TEXT,
    epoch INTEGER NOT NULL,
    lease_until INTEGER,
    wake_at INTEGER,
    takeovers INTEGER NOT NULL,
    parent BLOB,
    parent_step TEXT,
    deadline INTEGER,
    trace TEXT,
    created_at INTEGER NOT NULL,
    ended_at INTEGER,
    expires_at INTEGER,
    -- its last record
    lsn INTEGER,
    answer BLOB
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX saga_key ON saga (scope_key) WHERE scope_key IS NOT NULL;
CREATE UNIQUE INDEX saga_exclusive ON saga (exclusive) WHERE exclusive IS NOT NULL AND state IN (0, 1, 2, 5);
CREATE INDEX saga_unfinished ON saga (id) WHERE state IN (0, 1, 2, 5);
CREATE INDEX saga_expires ON saga (expires_at, id) WHERE expires_at IS NOT NULL;

CREATE TABLE journal (
    lsn INTEGER PRIMARY KEY,
    -- the record before it of the same saga
    prev INTEGER,
    saga BLOB NOT NULL,
    seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    at INTEGER NOT NULL,
    -- 1 begun, 2 intent, 3 done, 4 refused, 5 unknown, 6 then, 7 commit, 8 undo, 9 undone, 10 called, 11 failed,
    -- 12 parked, 13 operator, 14 takeover, 15 end
    kind INTEGER NOT NULL,
    -- which step or call
    n INTEGER,
    step TEXT,
    call TEXT,
    -- intent: settle; failed: attempt; operator: 0 retry, 1 skip, 2 abandon; takeover: epoch; end: state
    x INTEGER,
    -- reasons, an operator's words, a new owner
    note TEXT,
    -- arguments, input and output, as JSON
    body BLOB
) STRICT
