//! Tests of closing while the store or the kernel is broken.

use super::*;

#[test]
fn a_closing_that_can_not_be_written_holds_and_is_written_later() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1", "192.0.2.2"], 1000)]).unwrap();
    world.forbid("UPDATE ON grants");
    let done = world.revoke(&Selection::Ids(vec![GrantId(1)]));
    assert_eq!((done.revoked.len(), done.durable), (1, false));
    assert!(!world.admits(22, "192.0.2.1") && world.admits(22, "192.0.2.2"));
    assert_eq!(world.states(), ["live", "live"]);
    assert!(!world.revoke(&Selection::Ids(vec![GrantId(1)])).durable, "still not written");
    let faults = world.faults().join("\n");
    assert!(faults.starts_with("1 closings are in force but not written: recording the end of grants"), "{faults}");

    world.allow_all();
    world.pass(4);
    assert_eq!(world.states(), ["live", "live"], "not tried again yet");
    world.pass(1);
    assert_eq!(world.states(), ["revoked", "live"]);
    assert_eq!((world.count("revoked"), world.faults()), (1, Vec::new()));
}

#[test]
fn a_closing_that_was_never_written_still_holds_after_a_restart() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1"], 1000)]).unwrap();
    world.forbid("UPDATE ON grants");
    world.revoke(&Selection::All);
    world.allow_all();
    world.restart();
    assert!(!world.admits(22, "192.0.2.1"));
    assert_eq!(
        (world.states(), world.reasons()),
        (vec!["ended".to_owned()], vec!["closed just before the agent stopped".to_owned()])
    );
}

#[test]
fn without_a_store_all_can_be_closed_and_nothing_is_guessed() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1", "10.0.0.0/8"], 1000)]).unwrap();
    world.sql().execute("UPDATE grants SET source = 'nonsense' WHERE id = 2", []).unwrap();
    world.restart();
    assert!(world.admits(22, "192.0.2.1"), "ends on time");
    let faults = world.faults().join("\n");
    assert!(faults.contains("`nonsense`") && faults.contains("2 open entries"), "{faults}");
    for selection in [Selection::Ids(vec![GrantId(1)]), Selection::User("root".to_owned())] {
        let refusal = world.core().revoke(&root(), &selection, "").unwrap_err();
        assert!(refusal.to_string().contains("`jitctl revoke --all` closes every one"), "{refusal}");
    }
    world.submit(vec![port(22, &["192.0.2.1"], 1000)]).unwrap_err();
    let done = world.revoke(&Selection::All);
    assert_eq!((done.revoked.len(), done.other_entries, done.durable), (0, 2, false));
    assert_eq!(world.entries(), []);
}

#[test]
fn an_entry_the_kernel_keeps_is_shut_and_a_fault_until_it_is_gone() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1"], 1000)]).unwrap();
    world.kernel.fail(0..usize::MAX);
    assert_eq!(world.revoke(&Selection::All).revoked.len(), 1);
    assert!(!world.admits(22, "192.0.2.1"));
    assert_eq!(world.entries().len(), 1);
    let faults = world.faults().join("\n");
    assert!(faults.starts_with("1 entries of the kernel's tables are shut"), "{faults}");
    assert!(faults.contains("22/tcp from 192.0.2.1/32: removing"), "{faults}");
    world.kernel.fail(0..0);
    world.pass(5);
    assert_eq!((world.entries(), world.faults()), (Vec::new(), Vec::new()));
}

#[test]
fn an_inner_entry_the_kernel_keeps_does_not_outlive_the_outer_grant() {
    let mut world = World::new();
    world.submit(vec![port(22, &["10.0.0.0/8"], 1000)]).unwrap();
    world.submit(vec![port(22, &["10.1.0.0/16"], 500)]).unwrap();
    world.kernel.fail(0..usize::MAX);
    world.revoke(&Selection::Ids(vec![GrantId(2)]));
    assert!(world.admits(22, "10.1.0.1"), "by the outer grant");
    world.revoke(&Selection::Ids(vec![GrantId(1)]));
    assert!(!world.admits(22, "10.1.0.1") && !world.admits(22, "10.2.0.1"));
}

#[test]
fn a_deadline_the_kernel_does_not_bring_forward_shuts_the_entry() {
    let mut world = World::new();
    world.submit(vec![port(22, &["192.0.2.1"], 100)]).unwrap();
    world.submit(vec![port(22, &["192.0.2.1"], 1000)]).unwrap();
    world.kernel.fail(0..usize::MAX);
    world.revoke(&Selection::Ids(vec![GrantId(2)]));
    assert!(!world.admits(22, "192.0.2.1"), "its entry would last until the revoked grant's end");
    world.kernel.fail(0..0);
    world.pass(5);
    assert!(world.admits(22, "192.0.2.1"), "the other grant is live again");
    world.pass(95);
    assert!(!world.admits(22, "192.0.2.1"));
}

#[test]
fn clocks_that_can_not_be_noted_are_a_fault_until_they_are() {
    let mut world = World::new();
    world.forbid("INSERT ON checkpoint");
    world.pass(60);
    let faults = world.faults().join("\n");
    assert!(faults.starts_with("the clocks could not be noted:"), "{faults}");
    world.allow_all();
    world.pass(60);
    assert_eq!(world.faults(), Vec::<String>::new());
}

#[test]
fn what_is_missing_in_the_audit_log_is_a_fault() {
    let mut world = World::new();
    world.forbid("INSERT ON audit");
    world.submit(vec![port(80, &["192.0.2.1"], 60)]).unwrap_err();
    let faults = world.faults().join("\n");
    assert!(faults.starts_with("1 events since the agent's start are missing"), "{faults}");
}
