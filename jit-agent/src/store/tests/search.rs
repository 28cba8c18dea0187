//! The audit log by filters.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::*;

/// Rows of all kinds, one a minute.
fn logged() -> (TempDir, Store) {
    let (dir, mut store) = store();
    let by = json!({ "uid": 0, "name": "root" });
    let details: [(&str, Value); 7] = [
        ("started", json!({})),
        ("requested", json!({ "requestor": "alice", "ports": [{ "number": 22 }, { "number": 3389 }, 5] })),
        ("granted", json!({ "requestor": "alice", "number": 22, "source": "192.0.2.7/32" })),
        ("granted", json!({ "requestor": "alice", "number": 3389 })),
        ("revoked", json!({ "requestor": "alice", "number": 22, "by": by })),
        ("granted", json!({ "requestor": "bob", "number": 22, "by": Value::Null })),
        ("odd", json!({ "requestor": 7, "number": "22", "by": "root", "ports": "22", "name": "alice" })),
    ];
    for (minute, (event, detail)) in (0..).zip(details) {
        store.record_event(wall(60 * minute), event, &detail).unwrap();
    }
    (dir, store)
}

fn found(store: &Store, filter: &AuditFilter) -> Vec<i64> {
    let rows = store.audit_reader().rows(filter, 0).unwrap().next(100).unwrap();
    rows.into_iter().map(|row| row.seq).collect()
}

fn filter(user: Option<&str>, port: Option<u16>, event: Option<&str>) -> AuditFilter {
    AuditFilter { user: user.map(str::to_owned), port, event: event.map(str::to_owned), ..AuditFilter::default() }
}

#[test]
fn each_filter_and_every_combination_finds_the_rows_that_fit() {
    let (_dir, store) = logged();
    let all = [1, 2, 3, 4, 5, 6, 7];
    let (alice, root, bob) = (Some("alice"), Some("root"), Some("bob"));
    let (ssh, rdp, granted, none) = (Some(22), Some(3389), Some("granted"), None);
    let table: [(_, _, _, &[i64]); 14] = [
        (none, None, none, &all),
        (alice, None, none, &[2, 3, 4, 5]),
        (root, None, none, &[5]),
        (Some("carol"), None, none, &[]),
        (Some(""), None, none, &[]),
        (none, ssh, none, &[2, 3, 5, 6]),
        (none, rdp, none, &[2, 4]),
        (none, Some(5), none, &[]),
        (none, None, granted, &[3, 4, 6]),
        (alice, ssh, none, &[2, 3, 5]),
        (alice, None, granted, &[3, 4]),
        (none, ssh, granted, &[3, 6]),
        (alice, rdp, granted, &[4]),
        (bob, rdp, granted, &[]),
    ];
    for (user, port, event, rows) in table {
        assert_eq!(found(&store, &filter(user, port, event)), rows, "{user:?} {port:?} {event:?}");
        for (since, until) in [(0, 60), (60, 240), (61, 1000), (-5, 0), (120, 120), (300, 400)] {
            let filter =
                AuditFilter { since: Some(wall(since)), until: Some(wall(until)), ..filter(user, port, event) };
            let minutes = |seq: &&i64| (since..until).contains(&(60 * (**seq - 1)));
            let expected: Vec<i64> = rows.iter().filter(minutes).copied().collect();
            assert_eq!(found(&store, &filter), expected, "{filter:?}");
        }
    }
}

#[test]
fn a_clock_that_was_set_back_hides_nothing() {
    let (_dir, mut store) = logged();
    store.record_event(wall(90), "late", &json!({})).unwrap();
    store.record_event(wall(600), "later", &json!({})).unwrap();
    let between = |since, until| AuditFilter { since, until, ..AuditFilter::default() };
    assert_eq!(found(&store, &between(Some(wall(90)), Some(wall(130)))), [3, 8]);
    assert_eq!(found(&store, &between(None, Some(wall(60)))), [1]);
    assert_eq!(found(&store, &between(Some(wall(301)), None)), [7, 9]);
}

#[test]
fn rows_are_whole_and_read_in_steps() {
    let (_dir, store) = logged();
    let mut rows = store.audit_reader().rows(&filter(None, Some(22), None), 2).unwrap();
    let first = rows.next(2).unwrap();
    assert_eq!(first.iter().map(|row| row.seq).collect::<Vec<_>>(), [3, 5]);
    assert_eq!((first[0].event.as_str(), first[0].wall), ("granted", wall(120)));
    assert_eq!(first[0].detail, r#"{"requestor":"alice","number":22,"source":"192.0.2.7/32"}"#);
    assert_eq!(first[0].hash.len(), 32);
    assert_eq!(rows.next(2).unwrap().len(), 1);
    assert_eq!(rows.next(2).unwrap(), []);
}

#[test]
fn rows_added_or_removed_meanwhile_shift_nothing() {
    let (_dir, mut store) = logged();
    let mut rows = store.audit_reader().rows(&AuditFilter::default(), 0).unwrap();
    let mut seen: Vec<i64> = rows.next(3).unwrap().iter().map(|row| row.seq).collect();
    store.record_event(wall(500), "granted", &json!({ "number": 22 })).unwrap();
    store.prune_audit(wall(501), wall(100), 10).unwrap();
    seen.extend(rows.next(100).unwrap().iter().map(|row| row.seq));
    // Up to the last one of the beginning: a reading comes to an end however much is written.
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(found(&store, &filter(None, Some(22), None)), [3, 5, 6, 8]);
}

#[test]
fn a_row_that_was_tampered_with_can_still_be_read() {
    let (_dir, store) = logged();
    let tampering = "UPDATE audit SET detail = CAST(x'ff7b' AS TEXT), hash = x'01', wall = -1 WHERE seq = 3";
    store.connection.execute_batch(tampering).unwrap();
    let rows = store.audit_reader().rows(&filter(Some("alice"), None, None), 2).unwrap().next(1).unwrap();
    assert_eq!((rows[0].detail.as_str(), &rows[0].hash[..]), ("\u{fffd}{", &[1][..]));
}

#[test]
fn an_older_store_gets_what_it_lacks_and_an_older_agent_goes_on_writing_to_it() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("jit-agent.sqlite");
    let old = Connection::open(&path).unwrap();
    let schema = include_str!("../schema.sql");
    old.execute_batch(&format!(
        "PRAGMA application_id = {}; PRAGMA user_version = 1000; {schema} PRAGMA journal_mode = WAL;",
        0x4a49_5441
    ))
    .unwrap();
    let insert = |connection: &Connection, seq: i64, detail: &str| {
        let insert = "INSERT INTO audit (seq, wall, event, detail, previous, hash) VALUES (?, ?, ?, ?, ?, ?)";
        connection.execute(insert, (seq, seq, "granted", detail, [0; 32], [0; 32])).unwrap();
    };
    insert(&old, 1, r#"{"requestor":"alice","number":22}"#);
    insert(&old, 2, "no JSON");
    drop(old);
    let store = Store::open(dir.path()).unwrap();
    let version: i32 = store.connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 1001);
    // As the older agent's statements are, by a connection of its own.
    let old = Connection::open(&path).unwrap();
    insert(&old, 3, r#"{"requestor":"bob","by":{"name":"alice"},"ports":[{"number":22}]}"#);
    insert(&old, 4, "{");
    assert_eq!(found(&store, &filter(Some("alice"), Some(22), Some("granted"))), [1, 3]);
    assert_eq!(found(&store, &filter(None, None, Some("granted"))), [1, 2, 3, 4]);
    drop((store, old));
    let again = Store::open(dir.path()).unwrap();
    assert_eq!(found(&again, &filter(Some("bob"), None, None)), [3]);
}

#[test]
fn what_the_writer_notes_for_searches_is_what_the_database_would() {
    let (_dir, mut store) = store();
    let details = [
        json!({}),
        json!({ "requestor": "alice", "by": { "name": "alice" }, "number": 22 }),
        json!({ "requestor": "alice via pusher", "by": { "name": "pusher" }, "ports": [{ "number": 22 }, { "number": 3389 }] }),
        json!({ "requestor": 7, "by": "x", "number": "22", "ports": { "number": 1 } }),
        json!({ "number": 22, "ports": [{ "number": 22 }, 5, { "number": 2.5 }, {}] }),
    ];
    for detail in &details {
        store.record_event(wall(0), "event", detail).unwrap();
    }
    let terms = |table: &str| -> Vec<(i64, String)> {
        let select = format!("SELECT DISTINCT seq, term FROM {table} ORDER BY seq, term");
        let mut statement = store.connection.prepare(&select).unwrap();
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(terms("audit_terms"), terms("audit_terms_due"));
}
