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

-- "order" is a word of SQL, so the table is called by what a customer does. The id is that of the saga that placed it.
-- 'pending' and 'cancelling' last as long as their sagas do.
CREATE TABLE IF NOT EXISTS purchase (
    id             TEXT PRIMARY KEY,
    customer       TEXT NOT NULL REFERENCES customer (id),
    total_cents    INTEGER NOT NULL CHECK (total_cents > 0),
    state          TEXT NOT NULL CHECK (state IN ('pending', 'confirmed', 'rejected', 'cancelling', 'cancelled')),
    reason         TEXT,
    created_at_ms  INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS purchase_line (
    order_id         TEXT NOT NULL REFERENCES purchase (id),
    sku              TEXT NOT NULL,
    name             TEXT NOT NULL,
    quantity         INTEGER NOT NULL CHECK (quantity > 0),
    unit_price_cents INTEGER NOT NULL CHECK (unit_price_cents > 0),
    PRIMARY KEY (order_id, sku)
) STRICT;
