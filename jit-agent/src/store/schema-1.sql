-- What minor version 1 adds. An older agent opens the file all the same, so nothing here may get in the way of its
-- statements, and triggers fill in what it does not know of.

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

-- What the audit log can be searched for besides time: `event:`, `user:` and `port:` with the value. Detail that is no
-- JSON is only found by its event.
CREATE VIEW IF NOT EXISTS audit_terms_due (term, seq) AS
    SELECT 'event:' || event, seq FROM audit
    UNION ALL
    SELECT 'user:' || json_extract(detail, '$.requestor'), seq FROM audit
    WHERE json_valid(detail) AND json_type(detail, '$.requestor') = 'text'
    UNION ALL
    SELECT 'user:' || json_extract(detail, '$.by.name'), seq FROM audit
    WHERE json_valid(detail) AND json_type(detail, '$.by.name') = 'text'
    UNION ALL
    SELECT 'port:' || json_extract(detail, '$.number'), seq FROM audit
    WHERE json_valid(detail) AND json_type(detail, '$.number') = 'integer'
    UNION ALL
    SELECT 'port:' || json_extract(port.value, '$.number'), seq
    FROM audit, json_each(CASE WHEN json_valid(detail) THEN detail ELSE '{}' END, '$.ports') AS port
    WHERE port.type = 'object' AND json_type(port.value, '$.number') = 'integer';

CREATE TABLE IF NOT EXISTS audit_terms (
    term TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (term, seq)
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO audit_terms (term, seq) SELECT term, seq FROM audit_terms_due ORDER BY term, seq;

CREATE TRIGGER IF NOT EXISTS audit_terms_added AFTER INSERT ON audit
WHEN NOT EXISTS (SELECT 1 FROM audit_terms WHERE term = 'event:' || NEW.event AND seq = NEW.seq) BEGIN
    INSERT OR IGNORE INTO audit_terms (term, seq) SELECT term, seq FROM audit_terms_due WHERE seq = NEW.seq;
END;

CREATE TRIGGER IF NOT EXISTS audit_terms_removed BEFORE DELETE ON audit BEGIN
    DELETE FROM audit_terms
    WHERE seq = OLD.seq AND term IN (SELECT CAST(term AS TEXT) FROM audit_terms_due WHERE seq = OLD.seq);
END;

CREATE INDEX IF NOT EXISTS audit_by_wall ON audit (wall);

-- The last row that retention removed from the log's beginning.
CREATE TABLE IF NOT EXISTS audit_anchor (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
