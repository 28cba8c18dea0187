//! Tests of requests, grants and checkpoints.

use super::*;

#[test]
fn a_request_and_its_grants_are_read_back_as_written() {
    let (dir, mut store) = store();
    let new = new_request();
    let (request, ids) = store.begin_request(&new).unwrap();
    assert_eq!((request, ids.as_slice()), (RequestId(1), [GrantId(1), GrantId(2)].as_slice()));
    assert_eq!(store.last_checkpoint().unwrap(), Some(clocks("boot-1", 0)));
    drop(store);

    let store = Store::open(dir.path()).unwrap();
    let row = store.request(request).unwrap().unwrap();
    let expected = |id, grant: &NewGrantRow| GrantRow {
        id,
        request,
        who: new.requestor.clone(),
        requestor: "alice".to_owned(),
        port: grant.port,
        source: grant.source,
        start: grant.start,
        end_wall: grant.end_wall,
        boot_id: new.clocks.boot_id.clone(),
        end_boot: grant.end_boot,
        prior_end: None,
        state: GrantState::Opening,
        first_connection: None,
        ended: None,
        ended_reason: None,
        ended_by: None,
    };
    let NewOutcome::Grants(made) = &new.outcome else { panic!("it waits") };
    let grants = vec![expected(ids[0], &made[0]), expected(ids[1], &made[1])];
    assert_eq!(
        row,
        RequestRow {
            id: request,
            requestor: new.requestor.clone(),
            identity: "alice".to_owned(),
            justification: new.asked.justification.clone(),
            start: new.start,
            status: RequestState::Approved,
            status_reason: None,
            decided_by: None,
            pending: None,
            grants: grants.clone(),
        }
    );
    assert_eq!(store.open_grants().unwrap(), grants);
    assert_eq!(store.grant(ids[1]).unwrap().as_ref(), Some(&grants[1]));
    assert_eq!(store.grant(GrantId(3)).unwrap(), None);
    assert_eq!(store.request(RequestId(2)).unwrap(), None);
}

#[test]
fn a_page_ends_after_so_many_bytes_and_says_whether_there_are_more() {
    let (_dir, mut store) = store();
    for _ in 0..3 {
        store.begin_request(&new_request()).unwrap();
    }
    let reader = store.request_reader();
    let read = |before: Option<i64>, bytes| {
        let page = RequestPage { before: before.map(RequestId), limit: 10, bytes, ..RequestPage::default() };
        let (rows, more) = reader.page(&page).unwrap();
        (rows.into_iter().map(|row| row.id.0).collect::<Vec<_>>(), more)
    };
    assert_eq!(read(None, 1), (vec![3], true));
    assert_eq!(read(None, 2000), (vec![3, 2], true));
    assert_eq!(read(Some(2), 1), (vec![1], false));
    assert_eq!(read(None, 1 << 20), (vec![3, 2, 1], false));
}

#[test]
fn requests_come_newest_first_and_no_more_than_asked_for() {
    let (_dir, mut store) = store();
    for _ in 0..3 {
        store.begin_request(&new_request()).unwrap();
    }
    let ids: Vec<i64> = store.request_reader().page(&page(2)).unwrap().0.iter().map(|request| request.id.0).collect();
    assert_eq!(ids, [3, 2]);
    assert_eq!(
        states(&store.request_reader().page(&page(1)).unwrap().0[0].grants),
        [(5, GrantState::Opening), (6, GrantState::Opening)]
    );
}

#[test]
fn live_grants_stay_live_when_the_store_is_opened_again() {
    let (dir, mut store) = store();
    let (first, _) = store.begin_request(&new_request()).unwrap();
    store.begin_request(&new_request()).unwrap();
    store.mark_live(&[first], &[]).unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    use GrantState::{Live, Opening};
    assert_eq!(states(&store.open_grants().unwrap()), [(1, Live), (2, Live), (3, Opening), (4, Opening)]);
}

#[test]
fn only_marking_as_live_does_not_wait_for_the_disk() {
    let (_dir, mut store) = store();
    let level =
        |store: &Store| -> i64 { store.connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap() };
    let (request, ids) = store.begin_request(&new_request()).unwrap();
    assert_eq!(level(&store), 2);
    store.mark_live(&[request], &[]).unwrap();
    assert_eq!(level(&store), 1);
    store.end_grants(&unused(&ids), &ending(GrantEnd::Expired, None, "")).unwrap();
    assert_eq!(level(&store), 2);
}

#[test]
fn ended_grants_say_how_and_by_whom_and_stay_ended() {
    let (dir, mut store) = store();
    let (request, ids) = store.begin_request(&new_request()).unwrap();
    store.mark_live(&[request], &[]).unwrap();
    store.end_grants(&unused(&ids[..1]), &ending(GrantEnd::Revoked, Some("root"), "incident")).unwrap();
    store.end_grants(&unused(&[ids[0], ids[1], GrantId(99)]), &ending(GrantEnd::Expired, None, "")).unwrap();
    drop(store);

    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.open_grants().unwrap(), []);
    let revoked = store.grant(ids[0]).unwrap().unwrap();
    assert_eq!(revoked.state, GrantState::Revoked);
    assert_eq!(revoked.ended, Some(wall(60)));
    assert_eq!(revoked.ended_reason.as_deref(), Some("incident"));
    assert_eq!(revoked.ended_by, Some((0, "root".to_owned())));
    let expired = store.grant(ids[1]).unwrap().unwrap();
    assert_eq!((expired.state, expired.ended_reason, expired.ended_by), (GrantState::Expired, None, None));
    assert_eq!(events(&store), ["requested", "granted", "granted", "revoked", "expired"]);
}

#[test]
fn a_failed_request_leaves_no_open_grant() {
    let (_dir, mut store) = store();
    let (kept, _) = store.begin_request(&new_request()).unwrap();
    let (failed, _) = store.begin_request(&new_request()).unwrap();
    store.fail_request(failed, wall(1), "no room").unwrap();
    assert_eq!(states(&store.open_grants().unwrap()), [(1, GrantState::Opening), (2, GrantState::Opening)]);
    assert!(store.request(kept).unwrap().unwrap().status == RequestState::Approved);
    let row = store.request(failed).unwrap().unwrap();
    assert_eq!((row.status, row.status_reason.as_deref()), (RequestState::Failed, Some("no room")));
    assert_eq!(states(&row.grants), [(3, GrantState::Ended), (4, GrantState::Ended)]);
    assert_eq!(row.grants[0].ended_reason.as_deref(), Some("no room"));
    assert_eq!(events(&store)[6..], ["failed", "ended", "ended"]);
    let error = store.fail_request(RequestId(9), wall(1), "no room").unwrap_err();
    assert_eq!(error.to_string(), "there is no request 9 in the store");
    assert_eq!(events(&store).len(), 9);
}

#[test]
fn a_grant_is_moved_into_another_boot() {
    let (_dir, mut store) = store();
    let (_, ids) = store.begin_request(&new_request()).unwrap();
    store.rebase(&[(ids[0], BootTime(77))], &clocks("boot-2", 9)).unwrap();
    let rows = store.open_grants().unwrap();
    assert_eq!((rows[0].boot_id.as_str(), rows[0].end_boot), ("boot-2", BootTime(77)));
    assert_eq!((rows[0].state, rows[1].state), (GrantState::Live, GrantState::Opening));
    assert_eq!(store.last_checkpoint().unwrap(), Some(clocks("boot-2", 9)));
    assert_eq!(rows[0].end_wall, wall(3600));
    assert_eq!((rows[1].boot_id.as_str(), rows[1].end_boot), ("boot-1", BootTime(7_200_000_000_000)));
}

#[test]
fn only_the_last_checkpoint_is_kept() {
    let (dir, mut store) = store();
    assert_eq!(store.last_checkpoint().unwrap(), None);
    store.checkpoint(&clocks("boot-1", 1)).unwrap();
    store.checkpoint(&clocks("boot-2", 2)).unwrap();
    drop(store);
    assert_eq!(Store::open(dir.path()).unwrap().last_checkpoint().unwrap(), Some(clocks("boot-2", 2)));
}

#[test]
fn a_value_edited_by_hand_is_named_and_not_believed() {
    for (edit, expected) in [
        ("UPDATE grants SET source = '192.0.2.7/24' WHERE id = 2", "table grants, id 2: source is `192.0.2.7/24`,"),
        ("UPDATE grants SET source = '' WHERE id = 1", "table grants, id 1: source is ``,"),
        ("UPDATE grants SET number = 65536", "table grants, id 1: number is `65536`,"),
        ("UPDATE grants SET number = 0", "table grants, id 1: number is `0`,"),
        ("UPDATE grants SET protocol = 'icmp'", "table grants, id 1: protocol is `icmp`,"),
        ("UPDATE grants SET end_boot = -1", "table grants, id 1: end_boot is `-1`,"),
        ("UPDATE grants SET ended_wall = 1, ended_by = 'x'", "table grants, id 1: ended_by_uid is `NULL`,"),
        ("UPDATE grants SET boot_id = CAST(x'ff' AS TEXT)", "table grants, id 1: boot_id is `\u{fffd}`,"),
        ("PRAGMA foreign_keys = OFF; DELETE FROM requests", "table grants, id 1: requestor is `NULL`,"),
        ("UPDATE requests SET uid = -5", "table grants, id 1: uid is `-5`,"),
    ] {
        let (_dir, mut store) = store();
        store.begin_request(&new_request()).unwrap();
        store.connection.execute_batch(edit).unwrap();
        let text = store.open_grants().unwrap_err().to_string();
        assert!(text.starts_with(expected), "{edit}: {text}");
        assert!(text.ends_with("which is not valid; correct it, or restore the store from a backup"), "{text}");
    }
}

#[test]
fn a_bad_value_does_not_keep_a_grant_from_being_closed() {
    let (_dir, mut store) = store();
    let (_, ids) = store.begin_request(&new_request()).unwrap();
    store.connection.execute_batch("UPDATE grants SET source = 'x', number = -1, protocol = ''").unwrap();
    store.end_grants(&unused(&ids), &ending(GrantEnd::Revoked, None, "")).unwrap();
    assert_eq!(store.open_grants().unwrap(), []);
    store.verify_audit().unwrap();
}

#[test]
fn other_bad_values_are_named_too() {
    let (_dir, mut store) = store();
    let (request, _) = store.begin_request(&new_request()).unwrap();
    store.checkpoint(&clocks("boot-1", 1)).unwrap();
    let edits = "UPDATE requests SET status = 'maybe'; UPDATE checkpoint SET boottime_ns = -2; \
                 UPDATE grants SET state = 'open' WHERE id = 2";
    store.connection.execute_batch(edits).unwrap();
    let text = store.grant(GrantId(2)).unwrap_err().to_string();
    assert!(text.starts_with("table grants, id 2: state is `open`,"), "{text}");
    let text = store.request(request).unwrap_err().to_string();
    assert!(text.starts_with("table requests, id 1: status is `maybe`,"), "{text}");
    let text = store.last_checkpoint().unwrap_err().to_string();
    assert!(text.starts_with("table checkpoint, id 1: boottime_ns is `-2`,"), "{text}");
}

#[test]
fn ten_thousand_grants_are_recorded_at_once() {
    let (_dir, mut store) = store();
    let grants = (0..10_000).map(|index| row(&format!("10.0.{}.{}", index / 256, index % 256), Protocol::Tcp, 60));
    let new = NewRequestRow { outcome: NewOutcome::Grants(grants.collect()), ..new_request() };
    let started = std::time::Instant::now();
    let (_, ids) = store.begin_request(&new).unwrap();
    store.end_grants(&unused(&ids), &ending(GrantEnd::Expired, None, "")).unwrap();
    assert_eq!(store.verify_audit().unwrap().seq, 20_001);
    // A commit for each grant would take minutes.
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}
