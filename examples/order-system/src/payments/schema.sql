CREATE TABLE IF NOT EXISTS card (
    token       TEXT PRIMARY KEY,
    limit_cents INTEGER NOT NULL CHECK (limit_cents >= 0)
) STRICT;

-- One row an order.
CREATE TABLE IF NOT EXISTS charge (
    order_id     TEXT PRIMARY KEY,
    amount_cents INTEGER NOT NULL CHECK (amount_cents >= 0),
    state        TEXT NOT NULL CHECK (state IN ('charged', 'declined', 'refunded'))
) STRICT;

-- What happened, in order. Nothing is unique here on purpose: the journal must be able to show a
-- charge that was booked twice, or the auditor could not find it.
CREATE TABLE IF NOT EXISTS entry (
    id           INTEGER PRIMARY KEY,
    order_id     TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('charge', 'refund')),
    amount_cents INTEGER NOT NULL CHECK (amount_cents > 0)
) STRICT;
