-- SPDX-License-Identifier: MIT
-- Schema 1 of the queue database. Entries that are ACTIVE (status 1) stand in no index: the common case, a message
-- that is delivered right after it came, costs no index work at all.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE item (
    id          INTEGER PRIMARY KEY, -- internal message id
    queue       INTEGER NOT NULL,    -- QueueKind
    next_hop    TEXT NOT NULL,       -- JSON array of delivery type, domain, connector; '' outside delivery queues
    status      INTEGER NOT NULL,    -- MessageStatus
    priority    INTEGER NOT NULL,
    due         REAL NOT NULL,
    deadline    REAL NOT NULL,
    received_at REAL NOT NULL,
    content_id  INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    retry_count INTEGER NOT NULL,
    in_doubt    INTEGER NOT NULL,
    crash_count INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,    -- run of the server that wrote or leased the entry
    last_error  TEXT NOT NULL,
    record      BLOB NOT NULL        -- MailItem as MessagePack
);

CREATE INDEX item_ready ON item (queue, next_hop, priority, received_at, id) WHERE status = 0;
CREATE INDEX item_retry ON item (queue, next_hop, due, priority, received_at, id) WHERE status = 2;
CREATE INDEX item_deadline ON item (deadline) WHERE queue IN (1, 2) AND status IN (0, 2) AND deadline > 0;

CREATE TABLE content (
    id   INTEGER PRIMARY KEY,
    size INTEGER NOT NULL,
    crc  INTEGER NOT NULL, -- CRC-32 of data
    data BLOB NOT NULL
);

CREATE TABLE content_file (
    id   INTEGER PRIMARY KEY,
    size INTEGER NOT NULL,
    crc  INTEGER NOT NULL,
    name TEXT NOT NULL -- within the folder `content`
);

-- Content held by several entries. Content without a row here is held by exactly one.
CREATE TABLE sharing (
    content_id INTEGER PRIMARY KEY,
    holders    INTEGER NOT NULL
);

CREATE TABLE queue_state (
    queue    INTEGER NOT NULL,
    next_hop TEXT NOT NULL,
    record   BLOB NOT NULL, -- QueueState as MessagePack
    PRIMARY KEY (queue, next_hop)
) WITHOUT ROWID;
