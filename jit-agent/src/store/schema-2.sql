-- What minor version 2 adds. Rows of older agents have ports and persons as texts, like "22/tcp" and "by ann at
-- 2026-11-22T16:00:00Z"; this makes searches find them. It stands beside audit_terms_due, which tells an older agent what
-- it must find itself, so that such an agent can go on writing and verifying the log.

CREATE VIEW IF NOT EXISTS audit_texts_due (term, seq) AS
    SELECT 'port:' || CAST(json_extract(detail, '$.port') AS INTEGER), seq FROM audit
    WHERE event = 'shortened' AND json_valid(detail) AND json_type(detail, '$.port') = 'text'
        AND json_extract(detail, '$.port') GLOB '[1-9]*/*'
    UNION ALL
    SELECT 'port:' || CAST(port.value AS INTEGER), seq
    FROM audit, json_each(CASE WHEN json_valid(detail) THEN detail ELSE '{}' END, '$.ports') AS port
    WHERE event = 'policy_changed' AND port.type = 'text' AND port.value GLOB '[1-9]*/*'
    UNION ALL
    SELECT 'user:' || CASE instr(who, ' (logged in as ') WHEN 0 THEN who ELSE substr(who, 1, instr(who, ' (logged in as ') - 1) END,
        seq
    FROM (
        SELECT substr(text, 4, instr(text, ' at ') - 4) AS who, seq
        FROM (
            SELECT CASE WHEN json_valid(detail) THEN json_extract(detail, '$.by') END AS text, seq FROM audit
            WHERE event = 'unloaded' AND json_valid(detail) AND json_type(detail, '$.by') = 'text'
        )
        WHERE text GLOB 'by ?* at [0-9]*'
    );

INSERT OR IGNORE INTO audit_terms (term, seq) SELECT term, seq FROM audit_texts_due;

CREATE TRIGGER IF NOT EXISTS audit_texts_added AFTER INSERT ON audit
WHEN NEW.event IN ('shortened', 'policy_changed', 'unloaded') AND json_valid(NEW.detail) AND 'text' IN
    (json_type(NEW.detail, '$.port'), json_type(NEW.detail, '$.ports[0]'), json_type(NEW.detail, '$.by')) BEGIN
    INSERT OR IGNORE INTO audit_terms (term, seq) SELECT term, seq FROM audit_texts_due WHERE seq = NEW.seq;
END;

CREATE TRIGGER IF NOT EXISTS audit_texts_removed BEFORE DELETE ON audit
WHEN OLD.event IN ('shortened', 'policy_changed', 'unloaded') BEGIN
    DELETE FROM audit_terms
    WHERE seq = OLD.seq AND term IN (SELECT CAST(term AS TEXT) FROM audit_texts_due WHERE seq = OLD.seq);
END;
