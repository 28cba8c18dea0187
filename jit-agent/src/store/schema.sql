-- Times named *_wall and wall are nanoseconds since 1970; end_boot and boottime_ns are nanoseconds of CLOCK_BOOTTIME.

CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uid INTEGER NOT NULL,
    requestor TEXT NOT NULL,
    justification TEXT NOT NULL,
    start_wall INTEGER NOT NULL,
    status TEXT NOT NULL,
    status_reason TEXT
) STRICT;

-- end_boot counts in the boot that boot_id names.
CREATE TABLE grants (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id INTEGER NOT NULL REFERENCES requests (id),
    number INTEGER NOT NULL,
    protocol TEXT NOT NULL,
    source TEXT NOT NULL,
    start_wall INTEGER NOT NULL,
    end_wall INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    end_boot INTEGER NOT NULL,
    state TEXT NOT NULL,
    ended_wall INTEGER,
    ended_reason TEXT,
    ended_by_uid INTEGER,
    ended_by TEXT
) STRICT;

CREATE INDEX grants_of_request ON grants (request_id);
CREATE INDEX open_grants ON grants (id) WHERE state IN ('opening', 'live');

CREATE TABLE checkpoint (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    machine_id TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    boottime_ns INTEGER NOT NULL,
    wall INTEGER NOT NULL
) STRICT;

-- detail is JSON. hash is SHA-256 over all other columns, and previous the hash of the row before.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    wall INTEGER NOT NULL,
    event TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
