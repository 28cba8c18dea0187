//! Tests of the audit chain.

use serde_json::json;

use super::*;

/// A log of six rows: one request with two grants, the end of the grants, and an event.
fn logged() -> (TempDir, Store) {
    let (dir, mut store) = store();
    let (_, ids) = store.begin_request(&new_request()).unwrap();
    store.end_grants(&unused(&ids), &ending(GrantEnd::Revoked, Some("root"), "")).unwrap();
    store.record_event(wall(61), "stopped", &json!({})).unwrap();
    (dir, store)
}

#[test]
fn an_untouched_log_is_whole_and_each_row_changes_the_head() {
    let (dir, mut store) = store();
    assert_eq!(store.verify_audit().unwrap(), AuditHead { seq: 0, hash: [0; 32] });
    let mut heads = Vec::new();
    for _ in 0..3 {
        store.record_event(wall(0), "started", &json!({})).unwrap();
        heads.push(store.verify_audit().unwrap());
    }
    assert_eq!(heads.iter().map(|head| head.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(heads[0].hash != heads[1].hash && heads[1].hash != heads[2].hash);
    drop(store);
    assert_eq!(Store::open(dir.path()).unwrap().verify_audit().unwrap(), heads[2]);
}

#[test]
fn the_hash_is_the_one_that_is_documented() {
    let (_dir, mut store) = store();
    store.record_event(wall(0), "started", &json!({ "by": "test" })).unwrap();
    let mut bytes = b"jit-agent audit row 1\0".to_vec();
    bytes.extend([0; 32]);
    bytes.extend(1_i64.to_be_bytes());
    bytes.extend((1_772_366_400_i64 * 1_000_000_000).to_be_bytes());
    for text in ["started", "{\"by\":\"test\"}"] {
        bytes.extend((text.len() as u64).to_be_bytes());
        bytes.extend(text.bytes());
    }
    let expected: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(bytes).into();
    assert_eq!(store.verify_audit().unwrap().hash, expected);
}

#[test]
fn every_tampering_is_found_and_names_the_row() {
    let swap = "UPDATE audit SET seq = -1 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3; \
                UPDATE audit SET seq = 3 WHERE seq = -1";
    let renumber = "DELETE FROM audit WHERE seq = 3; UPDATE audit SET seq = seq - 1 WHERE seq > 3";
    for (tampering, expected) in [
        ("UPDATE audit SET detail = replace(detail, 'alice', 'mallory') WHERE seq = 2", ChainFault::Edited { seq: 2 }),
        ("UPDATE audit SET event = 'requested' WHERE seq = 3", ChainFault::Edited { seq: 3 }),
        ("UPDATE audit SET wall = wall + 1 WHERE seq = 1", ChainFault::Edited { seq: 1 }),
        ("UPDATE audit SET hash = zeroblob(32) WHERE seq = 6", ChainFault::Edited { seq: 6 }),
        ("UPDATE audit SET previous = zeroblob(32) WHERE seq = 4", ChainFault::Edited { seq: 4 }),
        ("DELETE FROM audit WHERE seq = 1", ChainFault::Removed { first: 1, last: 1 }),
        ("DELETE FROM audit WHERE seq IN (3, 4)", ChainFault::Removed { first: 3, last: 4 }),
        ("DELETE FROM audit WHERE seq > 4", ChainFault::Removed { first: 5, last: 6 }),
        ("DELETE FROM audit", ChainFault::Removed { first: 1, last: 6 }),
        (swap, ChainFault::Edited { seq: 2 }),
        (renumber, ChainFault::Edited { seq: 3 }),
    ] {
        let (_dir, store) = logged();
        assert_eq!(store.verify_audit().unwrap().seq, 6);
        store.connection.execute_batch(tampering).unwrap();
        match store.verify_audit() {
            Err(StoreError::Audit(fault)) => assert_eq!(fault, expected, "{tampering}"),
            other => panic!("{tampering}: {other:?}"),
        }
    }
}

#[test]
fn a_row_written_anew_with_a_fitting_hash_breaks_the_link_to_the_next() {
    let (_dir, store) = logged();
    let other = logged().1;
    other.connection.execute_batch("DELETE FROM audit; DELETE FROM sqlite_sequence").unwrap();
    let mut other = other;
    for _ in 0..3 {
        other.record_event(wall(7), "started", &json!({ "forged": true })).unwrap();
    }
    // The first two rows are replaced by rows of another chain, which are sound by themselves.
    for seq in 1..=2 {
        let select = "SELECT event, detail, wall, previous, hash FROM audit WHERE seq = ?";
        let row: (String, String, i64, Vec<u8>, Vec<u8>) = other
            .connection
            .query_row(select, [seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
            .unwrap();
        let update = "UPDATE audit SET event = ?, detail = ?, wall = ?, previous = ?, hash = ? WHERE seq = ?";
        store.connection.execute(update, (row.0, row.1, row.2, row.3, row.4, seq)).unwrap();
    }
    let error = store.verify_audit().unwrap_err();
    assert_eq!(
        error.to_string(),
        "audit row 3 does not follow row 2: one of them was written anew; from there on the log proves nothing, so \
         compare it with a backup and with the heads in the journal"
    );
}

#[test]
fn a_cut_tail_shows_after_new_rows_too() {
    let (_dir, mut store) = logged();
    store.connection.execute_batch("DELETE FROM audit WHERE seq > 4").unwrap();
    store.record_event(wall(70), "started", &json!({})).unwrap();
    match store.verify_audit() {
        Err(StoreError::Audit(fault)) => assert_eq!(fault, ChainFault::Removed { first: 5, last: 6 }),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trigger_that_silences_rows_is_told_and_lets_no_row_pass_as_recorded() {
    let (dir, mut store) = store();
    store.record_event(wall(0), "started", &json!({})).unwrap();
    assert_eq!(store.fault(), None);
    let foreign =
        "CREATE TRIGGER quiet BEFORE INSERT ON audit WHEN NEW.event = 'granted' BEGIN SELECT RAISE(IGNORE); END";
    store.connection.execute_batch(foreign).unwrap();
    let error = store.record_event(wall(1), "granted", &json!({})).unwrap_err();
    assert!(matches!(error, StoreError::Silenced { seq: 2 }), "{error}");
    store.record_event(wall(2), "stopped", &json!({})).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let fault = store.fault().unwrap();
    assert!(fault.contains("trigger quiet"), "{fault}");
    store.connection.execute_batch("DROP TRIGGER quiet; DROP TRIGGER audit_terms_added").unwrap();
    drop(store);
    let fault = Store::open(dir.path()).unwrap().fault().unwrap();
    assert!(fault.contains("trigger audit_terms_added") && !fault.contains("quiet"), "{fault}");
}

#[test]
fn parts_that_a_newer_agent_added_are_no_fault() {
    let (dir, store) = store();
    store.connection.execute_batch("CREATE VIEW more AS SELECT 1; PRAGMA user_version = 1900").unwrap();
    drop(store);
    assert_eq!(Store::open(dir.path()).unwrap().fault(), None);
}
