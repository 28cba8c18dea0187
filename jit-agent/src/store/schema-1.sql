-- What minor version 1 adds. Only additions, so that an older agent still reads and writes such a file.

-- Who sent a request, apart from its requestor; what it asks for while it waits for approval, and until when it waits
-- (decide_boot counts in the boot that decide_boot_id names); who decided.
ALTER TABLE requests ADD COLUMN sender TEXT;
ALTER TABLE requests ADD COLUMN login_uid INTEGER;
ALTER TABLE requests ADD COLUMN login TEXT;
ALTER TABLE requests ADD COLUMN named TEXT;
ALTER TABLE requests ADD COLUMN extends INTEGER;
ALTER TABLE requests ADD COLUMN asked TEXT;
ALTER TABLE requests ADD COLUMN decide_wall INTEGER;
ALTER TABLE requests ADD COLUMN decide_boot INTEGER;
ALTER TABLE requests ADD COLUMN decide_boot_id TEXT;
ALTER TABLE requests ADD COLUMN decided_wall INTEGER;
ALTER TABLE requests ADD COLUMN decided_uid INTEGER;
ALTER TABLE requests ADD COLUMN decided_by TEXT;

CREATE INDEX requests_of_user ON requests (uid, id);
CREATE INDEX pending_requests ON requests (id) WHERE status = 'pending';

-- prior_end_boot is the end before an extension that was not answered yet. first_connection is when a connection was
-- first seen, by the wall clock.
ALTER TABLE grants ADD COLUMN prior_end_boot INTEGER;
ALTER TABLE grants ADD COLUMN prior_end_wall INTEGER;
ALTER TABLE grants ADD COLUMN first_connection INTEGER;

CREATE INDEX grants_by_start ON grants (number, start_wall);

CREATE TABLE idempotency (
    uid INTEGER NOT NULL,
    key TEXT NOT NULL,
    wall INTEGER NOT NULL,
    body BLOB NOT NULL,
    request_id INTEGER NOT NULL,
    PRIMARY KEY (uid, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_age ON idempotency (wall);

CREATE TABLE port_use (
    number INTEGER NOT NULL,
    protocol TEXT NOT NULL,
    last_connection INTEGER NOT NULL,
    requestor TEXT NOT NULL,
    PRIMARY KEY (number, protocol)
) STRICT, WITHOUT ROWID;

CREATE TABLE break_glass_use (
    source TEXT PRIMARY KEY,
    boot_id TEXT NOT NULL,
    last_boot INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
