-- What minor version 3 adds: searches for a user also find what that user did after becoming another one (`sudo`), and
-- what a delegate requested in that name. It stands beside audit_terms_due, as the additions of minor version 2 do.

CREATE VIEW IF NOT EXISTS audit_persons_due (term, seq) AS
    SELECT 'user:' || json_extract(detail, '$.by.login_name'), seq FROM audit
    WHERE json_valid(detail) AND json_type(detail, '$.by.login_name') = 'text'
    UNION ALL
    SELECT 'user:' || substr(requestor, 1, instr(requestor, ' via ') - 1), seq
    FROM (
        SELECT CASE WHEN json_valid(detail) THEN json_extract(detail, '$.requestor') END AS requestor, seq FROM audit
        WHERE json_valid(detail) AND json_type(detail, '$.requestor') = 'text'
    )
    WHERE instr(requestor, ' via ') > 1;

INSERT OR IGNORE INTO audit_terms (term, seq) SELECT term, seq FROM audit_persons_due;

CREATE TRIGGER IF NOT EXISTS audit_persons_added AFTER INSERT ON audit
WHEN instr(NEW.detail, '"login_name"') OR instr(NEW.detail, ' via ') BEGIN
    INSERT OR IGNORE INTO audit_terms (term, seq) SELECT term, seq FROM audit_persons_due WHERE seq = NEW.seq;
END;

CREATE TRIGGER IF NOT EXISTS audit_persons_removed BEFORE DELETE ON audit
WHEN instr(OLD.detail, '"login_name"') OR instr(OLD.detail, ' via ') BEGIN
    DELETE FROM audit_terms
    WHERE seq = OLD.seq AND term IN (SELECT CAST(term AS TEXT) FROM audit_persons_due WHERE seq = OLD.seq);
END;
