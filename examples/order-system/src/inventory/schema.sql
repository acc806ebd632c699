CREATE TABLE IF NOT EXISTS product (
    sku     TEXT PRIMARY KEY,
    initial INTEGER NOT NULL CHECK (initial >= 0),
    on_hand INTEGER NOT NULL CHECK (on_hand >= 0)
) STRICT;

-- 'committed' is sold, 'returned' is sold and taken back.
CREATE TABLE IF NOT EXISTS reservation (
    order_id TEXT PRIMARY KEY,
    state    TEXT NOT NULL CHECK (state IN ('held', 'committed', 'released', 'returned'))
) STRICT;

CREATE TABLE IF NOT EXISTS reservation_line (
    order_id TEXT NOT NULL REFERENCES reservation (order_id),
    sku      TEXT NOT NULL REFERENCES product (sku),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (order_id, sku)
) STRICT;
