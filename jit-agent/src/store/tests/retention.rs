//! Tests of a noted head, and of a log whose beginning was removed.

use serde_json::json;

use super::*;

fn logged(rows: i64) -> (TempDir, Store) {
    let (dir, mut store) = store();
    for second in 0..rows {
        store.record_event(wall(second), "granted", &json!({ "requestor": "alice", "number": 22 })).unwrap();
    }
    (dir, store)
}

fn verify(store: &Store, head: Option<&str>) -> Verification {
    store.audit_reader().verify(head.map(|head| head.parse().unwrap())).unwrap()
}

fn head_at(store: &Store, seq: i64) -> AuditHead {
    let hash = store.connection.query_row("SELECT hash FROM audit WHERE seq = ?", [seq], |row| row.get(0)).unwrap();
    AuditHead { seq, hash }
}

#[test]
fn a_log_that_holds_the_noted_head_is_whole() {
    let (_dir, mut store) = logged(2500);
    let noted = store.verify_audit().unwrap().to_string();
    for second in 0..3 {
        store.record_event(wall(second), "more", &json!({})).unwrap();
    }
    let hash = noted.split_once(':').unwrap().1.to_owned();
    for head in [None, Some(noted.as_str()), Some(hash.as_str())] {
        let found = verify(&store, head);
        assert_eq!((found.first, found.rows, found.head.seq, found.fault), (1, 2503, 2503, None), "{head:?}");
    }
}

#[test]
fn a_cut_or_rewritten_tail_is_found_by_the_noted_head() {
    let (_dir, mut store) = logged(6);
    let noted = store.verify_audit().unwrap();
    let unnumbered = noted.to_string().split_off(2);
    // A person who cuts the log can also set SQLite's count back.
    let cut = "DELETE FROM audit WHERE seq > 4; UPDATE sqlite_sequence SET seq = 4 WHERE name = 'audit'";
    store.connection.execute_batch(cut).unwrap();
    assert_eq!(verify(&store, None).fault, None);
    let noted = noted.to_string();
    assert_eq!(verify(&store, Some(&noted)).fault, Some(ChainFault::HeadCut { first: 5, last: 6 }));
    assert_eq!(verify(&store, Some(&unnumbered)).fault, Some(ChainFault::HeadMissing { first: 1, last: 4 }));
    for second in 10..14 {
        store.record_event(wall(second), "granted", &json!({})).unwrap();
    }
    assert_eq!(verify(&store, None).fault, None);
    assert_eq!(verify(&store, Some(&noted)).fault, Some(ChainFault::HeadRewritten { seq: 6 }));
    assert_eq!(verify(&store, Some(&unnumbered)).fault, Some(ChainFault::HeadMissing { first: 1, last: 8 }));
}

#[test]
fn a_row_kept_from_filters_is_found() {
    for tampering in ["term = 'user:alice' AND seq = 3", "term = 'port:22' AND seq = 3", "seq = 3"] {
        let (_dir, store) = logged(4);
        store.connection.execute_batch(&format!("DELETE FROM audit_terms WHERE {tampering}")).unwrap();
        assert_eq!(verify(&store, None).fault, Some(ChainFault::Hidden { seq: 3 }), "{tampering}");
    }
}

#[test]
fn retention_removes_a_prefix_and_the_rest_is_verified_from_its_anchor() {
    let (dir, mut store) = logged(10);
    let (old, anchor, kept) = (head_at(&store, 2), head_at(&store, 4), head_at(&store, 5));
    assert_eq!(store.prune_audit(wall(100), (wall(4), wall(100)), 3).unwrap(), 3);
    assert_eq!(store.prune_audit(wall(101), (wall(4), wall(101)), 3).unwrap(), 1);
    assert_eq!(store.prune_audit(wall(102), (wall(4), wall(102)), 3).unwrap(), 0);
    let found = verify(&store, Some(&kept.to_string()));
    assert_eq!((found.first, found.rows, found.head.seq, found.fault), (5, 8, 12, None));
    assert_eq!(verify(&store, Some(&anchor.to_string())).fault, None);
    let fault = verify(&store, Some(&old.to_string())).fault.unwrap();
    assert_eq!(fault, ChainFault::HeadPruned { seq: 2, first: 5 });
    let terms = "SELECT count(*) FROM audit_terms WHERE seq < 5";
    assert_eq!(store.connection.query_row(terms, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    drop(store);
    let mut store = Store::open(dir.path()).unwrap();
    store.record_event(wall(103), "more", &json!({})).unwrap();
    assert_eq!(store.verify_audit().unwrap().seq, 13);
}

#[test]
fn the_last_row_and_what_follows_a_newer_one_stay() {
    let (_dir, mut store) = logged(3);
    store.connection.execute_batch("UPDATE audit SET wall = wall + 9000000000000 WHERE seq = 2").unwrap();
    assert_eq!(store.prune_audit(wall(50), (wall(60), wall(10_000)), 100).unwrap(), 1);
    let (_dir, mut store) = logged(3);
    assert_eq!(store.prune_audit(wall(50), (wall(60), wall(10_000)), 100).unwrap(), 2);
    assert_eq!(verify(&store, None).first, 3);
}

#[test]
fn rows_of_a_clock_that_was_ahead_go_with_the_old_rows_behind_them() {
    let prune = |ahead: &str, limit| {
        let (_dir, mut store) = logged(9);
        let ahead = format!("UPDATE audit SET wall = wall + 9000000000000 WHERE seq {ahead}");
        store.connection.execute_batch(&ahead).unwrap();
        let removed = store.prune_audit(wall(50), (wall(7), wall(50)), limit).unwrap();
        assert_eq!(verify(&store, None).first, removed as i64 + 1);
        removed
    };
    assert_eq!(prune("BETWEEN 2 AND 5", 100), 7, "up to the first row that is not old");
    assert_eq!(prune("BETWEEN 2 AND 5", 3), 3, "no more than the limit");
    assert_eq!(prune("BETWEEN 1 AND 5", 1), 1);
    assert_eq!(prune("BETWEEN 5 AND 7", 100), 4, "what is followed by nothing old stays");
    assert_eq!(prune("< 9", 100), 0);
}

#[test]
fn a_removed_prefix_counts_only_with_an_anchor_that_the_log_confirms() {
    let forged = "DELETE FROM audit WHERE seq <= 6; UPDATE audit_anchor SET seq = 6, hash = \
                  (SELECT previous FROM audit WHERE seq = 7)";
    let added = "DELETE FROM audit WHERE seq <= 6; INSERT OR REPLACE INTO audit_anchor SELECT 1, 6, previous FROM \
                 audit WHERE seq = 7";
    for (pruned, tampering, expected) in [
        (4, "DELETE FROM audit_anchor", ChainFault::Removed { first: 1, last: 4 }),
        (4, "UPDATE audit_anchor SET seq = 3", ChainFault::Removed { first: 4, last: 4 }),
        (4, "UPDATE audit_anchor SET seq = 7", ChainFault::Unlinked { seq: 5 }),
        (4, "UPDATE audit_anchor SET hash = zeroblob(32)", ChainFault::Unlinked { seq: 5 }),
        (4, "DELETE FROM audit WHERE seq = 5", ChainFault::Removed { first: 5, last: 5 }),
        (4, forged, ChainFault::Anchor { seq: 6 }),
        (0, added, ChainFault::Anchor { seq: 6 }),
        (0, "DELETE FROM audit WHERE seq <= 6", ChainFault::Removed { first: 1, last: 6 }),
    ] {
        let (_dir, mut store) = logged(10);
        assert_eq!(store.prune_audit(wall(100), (wall(pruned), wall(100)), 100).unwrap() as i64, pruned);
        assert_eq!(verify(&store, None).fault, None);
        store.connection.execute_batch(tampering).unwrap();
        assert_eq!(verify(&store, None).fault, Some(expected), "{tampering}");
    }
}

#[test]
fn old_requests_go_when_all_their_grants_are_over() {
    let (_dir, mut store) = store();
    let mut make = |start| {
        let new = NewRequestRow { start: wall(start), ..new_request() };
        store.begin_request(&new).unwrap()
    };
    let (over, live, late, recent) = (make(0), make(0), make(0), make(5000));
    let end = |wall| Ending { wall, ..ending(GrantEnd::Expired, None, "") };
    store.end_grants(&unused(&over.1), &end(wall(10))).unwrap();
    store.end_grants(&unused(&live.1[..1]), &end(wall(10))).unwrap();
    store.end_grants(&unused(&late.1), &end(wall(4000))).unwrap();
    store.end_grants(&unused(&recent.1), &end(wall(5001))).unwrap();
    assert_eq!(store.prune_requests(wall(3000), 100).unwrap(), 1);
    assert_eq!((store.request(over.0).unwrap(), store.grant(over.1[0]).unwrap()), (None, None));
    let left: Vec<_> =
        store.request_reader().page(&page(10)).unwrap().0.into_iter().map(|row| (row.id, row.grants.len())).collect();
    assert_eq!(left, [(recent.0, 2), (late.0, 2), (live.0, 2)]);
    assert_eq!(store.prune_requests(wall(9000), 2).unwrap(), 1, "only the oldest two are looked at");
    assert_eq!(store.open_grants().unwrap().len(), 1);
}
