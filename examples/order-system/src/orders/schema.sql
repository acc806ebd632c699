CREATE TABLE IF NOT EXISTS product (
    sku         TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    price_cents INTEGER NOT NULL CHECK (price_cents > 0)
) STRICT;

CREATE TABLE IF NOT EXISTS customer (
    id   TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    card TEXT NOT NULL
) STRICT;

-- "order" is a word of SQL, so the table is called by what a customer does.
CREATE TABLE IF NOT EXISTS purchase (
    id             TEXT PRIMARY KEY,
    customer       TEXT NOT NULL REFERENCES customer (id),
    total_cents    INTEGER NOT NULL CHECK (total_cents > 0),
    state          TEXT NOT NULL CHECK (state IN ('pending', 'confirmed', 'rejected')),
    reason         TEXT,
    created_at_ms  INTEGER NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS purchase_pending ON purchase (state) WHERE state = 'pending';

CREATE TABLE IF NOT EXISTS purchase_line (
    order_id         TEXT NOT NULL REFERENCES purchase (id),
    sku              TEXT NOT NULL,
    name             TEXT NOT NULL,
    quantity         INTEGER NOT NULL CHECK (quantity > 0),
    unit_price_cents INTEGER NOT NULL CHECK (unit_price_cents > 0),
    PRIMARY KEY (order_id, sku)
) STRICT;

-- What the order still owes another service. Written in the transaction that decides the order, taken
-- out when the other service has said that it is done: a decision can't be stored without its duties.
CREATE TABLE IF NOT EXISTS owed (
    order_id  TEXT NOT NULL REFERENCES purchase (id),
    duty      TEXT NOT NULL CHECK (duty IN ('refund', 'release', 'commit')),
    attempts  INTEGER NOT NULL DEFAULT 0,
    due_at_ms INTEGER NOT NULL,
    PRIMARY KEY (order_id, duty)
) STRICT;

CREATE INDEX IF NOT EXISTS owed_due ON owed (due_at_ms);

-- status and body are null while the first request is at work.
CREATE TABLE IF NOT EXISTS idempotency (
    key         TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    order_id    TEXT NOT NULL REFERENCES purchase (id),
    status      INTEGER,
    body        TEXT
) STRICT;
