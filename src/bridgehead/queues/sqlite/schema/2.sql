-- SPDX-License-Identifier: MIT
-- Schema 2: the order of what waits. Each entry that is READY or in RETRY has a lane (priority, tried before or not) and
-- a turn within it (`fairness.py`). Entries that are ACTIVE stand in no index still.

ALTER TABLE item ADD COLUMN lane INTEGER NOT NULL DEFAULT 2;
ALTER TABLE item ADD COLUMN turn INTEGER NOT NULL DEFAULT 0; -- 0: none, as long as the entry did not wait

DROP INDEX item_ready;
DROP INDEX item_retry;
CREATE INDEX item_ready ON item (queue, next_hop, lane, turn, id, received_at) WHERE status = 0;
CREATE INDEX item_retry ON item (queue, next_hop, due, lane, turn, id, received_at) WHERE status = 2;
CREATE INDEX item_retry_turn ON item (queue, next_hop, lane, turn, due, id) WHERE status = 2;

-- What administrators did and ordered (`swapping.py`).
CREATE TABLE IF NOT EXISTS note (
    kind   INTEGER NOT NULL,
    id     INTEGER NOT NULL,
    part   INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (kind, id, part)
) WITHOUT ROWID;
