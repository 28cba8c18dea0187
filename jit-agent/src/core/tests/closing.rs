//! Tests of expiry and revocation.

use super::*;

#[test]
fn a_grant_ends_by_the_clock_and_the_sweep_frees_its_entry() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.7"], 100)]).unwrap();
    world.pass(99);
    assert!(world.admits(22, "192.0.2.7"));
    world.clock.advance(secs(1));
    assert!(!world.admits(22, "192.0.2.7"), "ended without the agent's help");
    assert_eq!(world.live(), Vec::<i64>::new());
    assert_eq!(world.entries().len(), 1);
    world.core().sweep();
    assert_eq!((world.entries(), world.states()), (Vec::new(), vec!["expired".to_owned()]));
    assert_eq!(world.count("expired"), 1);
}

#[test]
fn the_wall_clock_changes_nothing_within_a_boot() {
    for now in [-86_400, 86_400] {
        let mut world = World::new();
        world.submit(vec![port(22, &["192.0.2.7"], 100)]).unwrap();
        world.clock.set_wall(wall(now));
        world.pass(50);
        world.restart();
        assert!(world.admits(22, "192.0.2.7"));
        assert_eq!(world.core().grants(&root(), ALL).unwrap().value[0].remaining_seconds, 50);
        world.pass(50);
        assert!(!world.admits(22, "192.0.2.7"));
        assert_eq!(world.states(), ["expired"]);
    }
}

#[test]
fn ending_a_grant_never_shortens_another() {
    let mut world = World::new();
    for (source, seconds) in [("10.1.0.0/16", 100), ("10.0.0.0/8", 300), ("10.1.0.9", 200), ("10.1.0.9", 400)] {
        world.submit(vec![port(22, &[source], seconds)]).unwrap();
    }
    world.revoke(&Selection::Ids(vec![GrantId(4)]));
    world.pass(100);
    assert!(world.admits(22, "10.1.0.1"), "by the outer prefix");
    world.revoke(&Selection::Ids(vec![GrantId(2)]));
    assert!(!world.admits(22, "10.1.0.1"));
    assert!(world.admits(22, "10.1.0.9"), "by its own grant");
    world.pass(100);
    assert!(!world.admits(22, "10.1.0.9"));
    assert_eq!(world.states(), ["expired", "revoked", "expired", "revoked"]);
}

#[test]
fn grants_are_revoked_by_number_by_user_or_all() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1", "192.0.2.2"], 1000)]).unwrap();
    let other = Peer { groups: vec![], ..peer(0, "toor") };
    world.submit_as(&other, request(vec![port(22, &["192.0.2.3", "192.0.2.4"], 1000)])).unwrap();

    let done = world.revoke(&Selection::Ids(vec![GrantId(1), GrantId(1)]));
    assert_eq!((done.revoked.len(), done.other_entries, done.durable), (1, 0, true));
    assert_eq!(done.revoked[0].status_reason.as_deref(), Some("over"));
    assert_eq!(world.live(), [2, 3, 4]);
    world.revoke(&Selection::User("toor".to_owned()));
    assert_eq!(world.live(), [2]);
    assert!(!world.admits(22, "192.0.2.3") && world.admits(22, "192.0.2.2"));
    assert!(world.revoke(&Selection::User("nobody".to_owned())).revoked.is_empty());
    assert_eq!(world.revoke(&Selection::All).revoked.len(), 1);
    assert_eq!(world.entries(), []);
    assert_eq!((world.states(), world.count("revoked")), (vec!["revoked".to_owned(); 4], 4));
}

#[test]
fn an_unknown_grant_is_named_and_none_is_revoked() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1"], 1000)]).unwrap();
    let refusal = world.core().revoke(&root(), &Selection::Ids(vec![GrantId(1), GrantId(9)]), "").unwrap_err();
    assert_eq!(refusal.to_string(), "there is no grant 9");
    assert_eq!(world.live(), [1]);
}

#[test]
fn many_grants_that_end_at_once_are_swept_in_batches() {
    let mut world = World::new();
    let sources: Vec<String> = (0..=255).map(|n| format!("10.0.0.{n}")).chain(["10.0.1.0".to_owned()]).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    world.submit(vec![port(22, &sources, 100)]).unwrap();
    world.pass(100);
    assert_eq!(world.entries().len(), 1, "one more than a batch");
    assert_eq!(world.core().until_next_sweep(), Duration::ZERO);
    world.core().sweep();
    assert_eq!(world.entries(), []);
    assert_eq!(world.core().until_next_sweep(), secs(1), "the datapath is tended every second");
}

#[test]
fn records_older_than_the_retention_go_and_what_is_left_is_still_proved() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1"], 100)]).unwrap();
    world.pass(100);
    let day = 24 * 3600;
    for (days, requests) in [(399, 1), (401, 0)] {
        let until = Duration::try_from(wall(days * day).duration_since(world.clock.wall())).unwrap();
        world.clock.advance(until);
        world.pass(600);
        assert_eq!(world.statuses().len(), requests, "after {days} days");
    }
    assert_eq!(world.core().records.store().unwrap().verify_audit().unwrap().seq, 5);
    assert_eq!(world.events(), ["expired", "pruned"], "never all of it");
}

#[test]
fn who_closes_what_belongs_to_no_grant_is_told_with_who_logged_in() {
    let mut world = World::new();
    world.kernel.set(&entry(22, "192.0.2.66"), BootTime(u64::MAX)).unwrap();
    let by = after_login(root(), ALICE, "alice");
    assert_eq!(world.core().revoke(&by, &Selection::All, "incident").unwrap().other_entries, 1);
    let expected = serde_json::json!({
        "entries": 1, "reason": "incident",
        "by": { "uid": 0, "name": "root", "login_uid": ALICE, "login_name": "alice" },
    });
    assert_eq!(world.last("entries_closed"), expected);
}
