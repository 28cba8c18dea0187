//! Tests of filters on the audit log.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::*;

/// A log with rows of all kinds, one row per minute.
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
    store.prune_audit(wall(501), (wall(100), wall(501)), 10).unwrap();
    seen.extend(rows.next(100).unwrap().iter().map(|row| row.seq));
    // A reading goes up to the row that was last when it began. So the reading ends, however much is written meanwhile.
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
    assert_eq!(version, 1003);
    // The rows are written with the older agent's statements, on a separate connection.
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
    let due = "(SELECT * FROM audit_terms_due UNION SELECT * FROM audit_persons_due)";
    let terms = |table: &str| -> Vec<(i64, String)> {
        let select = format!("SELECT DISTINCT seq, term FROM {table} ORDER BY seq, term");
        let mut statement = store.connection.prepare(&select).unwrap();
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(terms("audit_terms"), terms(due));
}

/// Details as agents before schema 1.2 wrote them: ports and persons as texts.
fn older() -> [(&'static str, Value); 5] {
    [
        ("shortened", json!({ "port": "22/tcp", "grants": [3, 4], "reason": "less time" })),
        ("policy_changed", json!({ "by": { "name": "alice" }, "number": null, "ports": ["22/tcp", "3389/any"] })),
        ("unloaded", json!({ "by": "by root (logged in as alice) at 2026-11-22T16:00:00Z" })),
        ("unloaded", json!({ "by": "by bob at 2026-11-22T16:00:00Z" })),
        ("unloaded", json!({ "by": "by somebody, at a time that is not known" })),
    ]
}

/// The filters that must find the rows of [`older`], with the numbers of the rows.
const OLDER_FOUND: [(Option<&str>, Option<u16>, &[i64]); 7] = [
    (None, Some(22), &[1, 2]),
    (None, Some(3389), &[2]),
    (Some("alice"), None, &[2]),
    (Some("root"), None, &[3]),
    (Some("bob"), None, &[4]),
    (Some("somebody,"), None, &[]),
    (Some("alice"), Some(22), &[2]),
];

/// A store as the agent of schema 1.1 made it.
fn store_before() -> (TempDir, Connection) {
    let dir = TempDir::new().unwrap();
    let old = Connection::open(dir.path().join("jit-agent.sqlite")).unwrap();
    let (schema, additions) = (include_str!("../schema.sql"), include_str!("../schema-1.sql"));
    old.execute_batch(&format!(
        "PRAGMA application_id = {}; PRAGMA user_version = 1001; {schema} {additions} PRAGMA journal_mode = WAL;",
        0x4a49_5441
    ))
    .unwrap();
    (dir, old)
}

/// Writes a row as the agent of schema 1.1 does: first the row's search terms, then the row.
fn write_before(old: &Connection, seq: i64, event: &str, detail: &Value) {
    let mut terms = vec![format!("event:{event}")];
    terms.extend(detail["by"]["name"].as_str().map(|name| format!("user:{name}")));
    for term in terms {
        old.execute("INSERT INTO audit_terms (term, seq) VALUES (?, ?)", (term, seq)).unwrap();
    }
    let insert = "INSERT INTO audit (seq, wall, event, detail, previous, hash) VALUES (?, ?, ?, ?, ?, ?)";
    old.execute(insert, (seq, seq, event, detail.to_string(), [0; 32], [0; 32])).unwrap();
}

#[test]
fn rows_of_older_agents_are_found_by_port_and_user_written_before_or_after_this_one_ran() {
    for opened_first in [false, true] {
        let (dir, old) = store_before();
        let opened = opened_first.then(|| Store::open(dir.path()).unwrap());
        for (seq, (event, detail)) in (1..).zip(older()) {
            write_before(&old, seq, event, &detail);
        }
        drop((opened, old));
        let store = Store::open(dir.path()).unwrap();
        for (user, port, rows) in OLDER_FOUND {
            assert_eq!(found(&store, &filter(user, port, None)), rows, "{user:?} {port:?} {opened_first}");
        }
        assert_eq!(found(&store, &AuditFilter::default()), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn what_rows_of_older_agents_are_found_by_is_verified_and_goes_with_them() {
    let (_dir, mut store) = store();
    for (second, (event, detail)) in (0..).zip(older()) {
        store.record_event(wall(second), event, &detail).unwrap();
    }
    let verify = |store: &Store| store.audit_reader().verify(None).unwrap().fault;
    assert_eq!(verify(&store), None);
    for (term, seq) in [("port:22", 1), ("port:3389", 2), ("user:root", 3), ("user:bob", 4)] {
        let delete = "DELETE FROM audit_terms WHERE term = ? AND seq = ?";
        assert_eq!(store.connection.execute(delete, (term, seq)).unwrap(), 1, "{term}");
        assert_eq!(verify(&store), Some(ChainFault::Hidden { seq }), "{term}");
        store.connection.execute("INSERT INTO audit_terms (term, seq) VALUES (?, ?)", (term, seq)).unwrap();
    }
    assert_eq!(store.prune_audit(wall(100), (wall(50), wall(100)), 100).unwrap(), 4);
    let left = "SELECT count(*) FROM audit_terms WHERE seq < 5";
    assert_eq!(store.connection.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[test]
fn what_somebody_did_by_sudo_and_through_a_delegate_is_found_in_old_rows_and_new_ones_and_verified() {
    let by_sudo = json!({ "by": { "uid": 0, "name": "root", "login_uid": 1000, "login_name": "alice" } });
    let pushed = json!({ "requestor": "alice via pusher", "number": 22 });
    let neither = json!({ "requestor": "bob", "reason": "alice via letter", "by": { "login_name": 7 } });
    for opened_first in [false, true] {
        let (dir, old) = store_before();
        let opened = opened_first.then(|| Store::open(dir.path()).unwrap());
        for (seq, detail) in (1..).zip([&by_sudo, &pushed, &neither]) {
            write_before(&old, seq, "requested", detail);
        }
        drop((opened, old));
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(found(&store, &filter(Some("alice"), None, None)), [1, 2], "{opened_first}");
    }
    let (_dir, mut store) = store();
    for (second, detail) in (0..).zip([&by_sudo, &pushed, &neither]) {
        store.record_event(wall(second), "requested", detail).unwrap();
    }
    assert_eq!(found(&store, &filter(Some("alice"), None, None)), [1, 2]);
    assert_eq!(found(&store, &filter(Some("alice"), Some(22), None)), [2]);
    let verify = |store: &Store| store.audit_reader().verify(None).unwrap().fault;
    assert_eq!(verify(&store), None);
    store.connection.execute("DELETE FROM audit_terms WHERE term = 'user:alice' AND seq = 2", []).unwrap();
    assert_eq!(verify(&store), Some(ChainFault::Hidden { seq: 2 }));
    store.connection.execute("INSERT INTO audit_terms (term, seq) VALUES ('user:alice', 2)", []).unwrap();
    assert_eq!(store.prune_audit(wall(100), (wall(50), wall(100)), 100).unwrap(), 2);
    let left = "SELECT count(*) FROM audit_terms WHERE seq < 3";
    assert_eq!(store.connection.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}
