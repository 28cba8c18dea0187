//! Tests of changes that are only on trial because they cut off the person who asks for them.

use jit_policy::{PortPolicy, Reload};

use super::{
    host::{Host, OPERATOR, SSH, is_open, passes, session},
    *,
};
use crate::config::{own::Edit, unloaded};

#[test]
fn a_change_that_cuts_off_who_asks_for_it_is_undone_unless_it_is_confirmed() {
    let mut host = Host::new();
    host.session = Some(session(OPERATOR));
    host.grant(22, OPERATOR, 7200);
    host.grant(22, "10.0.0.1", 7200);
    let narrow = |host: &mut Host| {
        Edit::Set(PortPolicy { allowed_sources: vec![parse_source("10.0.0.0/8").unwrap()], ..host.policy(SSH) })
    };
    let before = host.text();
    let edit = narrow(&mut host);
    let changed = host.change(edit, true).unwrap();
    assert!(changed.trial.is_some());
    assert!(!passes(&host, 22, OPERATOR) && passes(&host, 22, "10.0.0.1"));
    assert_eq!((host.text(), host.own_text()), (before.clone(), String::new()));
    host.begin(true);
    assert!(!passes(&host, 22, OPERATOR), "also after a restart");
    host.world.pass(CHANGE_TRIAL.as_secs());
    assert!(passes(&host, 22, OPERATOR) && !passes(&host, 22, "192.0.2.9"));
    assert_eq!((host.text(), host.own_text(), host.world.live()), (before, String::new(), vec![1, 2]));

    let edit = narrow(&mut host);
    host.change(edit, true).unwrap();
    host.confirm().unwrap();
    assert!(host.own_text().contains("10.0.0.0/8\"]") && host.world.live() == [2]);
    host.world.pass(CHANGE_TRIAL.as_secs() + 10);
    assert!(!passes(&host, 22, OPERATOR) && passes(&host, 22, "10.0.0.1"));

    host.session = Some(session("10.0.0.1"));
    let edit = Edit::Set(PortPolicy { quota: 7, ..host.policy(SSH) });
    assert_eq!(host.change(edit, true).unwrap().trial, None, "one that cuts off nobody is for good at once");
}

/// By how many seconds the agent may be late.
const LATE: [u64; 4] = [0, 5, 60, 5000];

/// Makes a host on which 192.0.2.7 is the operator, with a grant.
fn with_operator() -> Host {
    let mut host = Host::new();
    host.begin(true);
    host.session = Some(session(OPERATOR));
    host.grant(22, OPERATOR, 10_800);
    host
}

/// Begins a trial of another list of sources, which cuts off the operator, by a change of the port.
fn try_a_port(host: &mut Host) {
    let edit = Edit::Set(PortPolicy { allowed_sources: vec![parse_source("10.0.0.0/8").unwrap()], ..host.policy(SSH) });
    assert!(host.change(edit, true).unwrap().trial.is_some());
}

/// The same, by edited files.
fn try_files(host: &mut Host) {
    host.rewrite("'192.0.2.0/24', ", "");
    assert!(host.reload(&[], true).unwrap().trial.is_some());
}

/// Expects that the trial is in force: nobody gets in, not even the operator.
#[track_caller]
fn expect_tried(host: &Host) {
    assert!(!passes(host, 22, "192.0.2.9") && !passes(host, 3389, "203.0.113.1"), "the ports are open");
    assert!(!passes(host, 22, OPERATOR), "the trial has ended");
}

/// Expects that the configuration before the trial is in force.
#[track_caller]
fn expect_as_before(host: &Host) {
    assert!(!passes(host, 22, "192.0.2.9") && !passes(host, 3389, "203.0.113.1"), "the ports are open");
    assert!(passes(host, 22, OPERATOR), "the trial goes on");
}

#[test]
fn a_grant_that_a_trial_keeps_shut_is_no_fault() {
    let mut host = with_operator();
    try_a_port(&mut host);
    let status = host.status();
    assert_eq!((status.faults, status.grants.intended, status.grants.enforced), (Vec::<String>::new(), 0, 0));
    host.disable().unwrap();
    let status = host.status();
    assert_eq!((status.faults, status.grants.intended, status.grants.enforced), (Vec::<String>::new(), 1, 1));
}

#[test]
fn a_change_on_trial_lets_nobody_in_however_late_the_agent_is() {
    for (begin, late) in [try_a_port, try_files].into_iter().flat_map(|begin| LATE.map(|late| (begin, late))) {
        let mut host = with_operator();
        begin(&mut host);
        host.world.clock.advance(CHANGE_TRIAL + secs(late));
        expect_tried(&host);
        host.world.core().sweep();
        expect_as_before(&host);
        assert_eq!((host.status().trial, host.world.count("trial_ended")), (None, 1));
    }
}

#[test]
fn a_change_on_trial_stays_in_force_without_an_agent_until_a_successor_ends_it_at_its_start() {
    for (begin, late) in [try_a_port, try_files].into_iter().flat_map(|begin| LATE.map(|late| (begin, late))) {
        let mut host = with_operator();
        begin(&mut host);
        drop(host.world.core.take());
        host.world.clock.advance(CHANGE_TRIAL + secs(late));
        expect_tried(&host);
        host.begin(true);
        expect_as_before(&host);
        assert_eq!((host.status().trial, host.world.count("trial_ended")), (None, 1));
    }
}

#[test]
fn a_trial_whose_time_is_over_ends_before_any_command_that_waited() {
    let mut host = with_operator();
    try_a_port(&mut host);
    host.world.clock.advance(CHANGE_TRIAL);
    let refusal = host.confirm().unwrap_err();
    assert!(refusal.to_string().contains("no trial runs"), "{refusal}");
    expect_as_before(&host);
}

#[test]
fn a_change_on_trial_stays_in_force_while_the_kernel_refuses_its_end_and_the_status_says_so() {
    for begin in [try_a_port, try_files] {
        let mut host = with_operator();
        begin(&mut host);
        host.world.kernel.fail(0..1000);
        for late in LATE {
            host.world.pass(CHANGE_TRIAL.as_secs() + late);
            expect_tried(&host);
            let faults = host.world.faults();
            assert!(faults.iter().any(|fault| fault.contains("the trial can't be ended")), "{faults:?}");
        }
        host.world.kernel.fail(0..0);
        host.world.pass(10);
        expect_as_before(&host);
        let faults = host.world.faults();
        assert!(!faults.iter().any(|fault| fault.contains("the trial can't be ended")), "{faults:?}");
    }
}

#[test]
fn a_trial_that_began_from_observing_ends_in_the_kernel_even_if_what_was_before_can_not_be_read_any_more() {
    let mut host = with_operator();
    host.rewrite("mode = 'enforce'", "mode = 'observe'");
    host.reload(&["mode=observe"], true).unwrap();
    host.rewrite("mode = 'observe'", "mode = 'enforce'");
    host.rewrite("'192.0.2.0/24', ", "");
    assert!(host.reload(&[], true).unwrap().trial.is_some());
    expect_tried(&host);
    std::fs::remove_file(host.world.dir.path().join("accepted-config.toml")).unwrap();
    host.begin(true);
    expect_tried(&host);
    host.world.clock.advance(CHANGE_TRIAL);
    assert!(is_open(&host), "without any act of the agent");
}

#[test]
fn a_grant_revoked_during_a_trial_does_not_come_back_with_its_end() {
    let mut host = Host::new();
    host.session = Some(session(OPERATOR));
    host.grant(22, OPERATOR, 7200);
    let edit = Edit::Set(PortPolicy { allowed_sources: vec![parse_source("10.0.0.0/8").unwrap()], ..host.policy(SSH) });
    host.change(edit, true).unwrap();
    host.world.revoke(&Selection::All);
    host.world.pass(CHANGE_TRIAL.as_secs());
    assert!(!passes(&host, 22, OPERATOR));
}

#[test]
fn edited_files_that_were_tried_and_not_confirmed_are_not_taken_over_by_a_signal() {
    let mut host = Host::new();
    host.session = Some(session(OPERATOR));
    host.grant(22, OPERATOR, 7200);
    host.rewrite("'192.0.2.0/24', ", "");
    assert!(host.reload(&[], true).unwrap().trial.is_some());
    assert!(!passes(&host, 22, OPERATOR));
    host.world.pass(CHANGE_TRIAL.as_secs());
    assert!(passes(&host, 22, OPERATOR));
    assert!(host.world.faults().iter().any(|fault| fault.contains("tried and not confirmed")));
    let by_signal = Reload { confirm: true, ..Reload::default() };
    assert!(host.world.core().reload(None, &by_signal).is_err());
    assert!(passes(&host, 22, OPERATOR));
    host.session = None;
    assert_eq!(host.reload(&[], true).unwrap().trial, None, "from the console they are");
    assert!(!passes(&host, 22, OPERATOR) && !host.written());
    host.world.core().reload(None, &by_signal).unwrap();
}

#[test]
fn a_grant_that_is_closed_after_the_trial_that_shut_it_does_not_come_back() {
    let mut host = Host::new();
    host.begin(true);
    host.session = Some(session(OPERATOR));
    host.grant(22, OPERATOR, 7200);
    host.rewrite("'192.0.2.0/24', ", "");
    host.reload(&[], true).unwrap();
    host.world.pass(CHANGE_TRIAL.as_secs());
    assert!(passes(&host, 22, OPERATOR) && host.written(), "the files are remembered as not confirmed");
    // The entry is removed as by an agent that is killed before the closing is written to the store.
    host.world.kernel.remove(&entry(22, OPERATOR), None).unwrap();
    host.begin(true);
    assert_eq!(host.world.count("ended"), 1);
    assert!(!passes(&host, 22, OPERATOR));
}

#[test]
fn edited_files_that_were_confirmed_are_in_force_after_a_restart_without_a_fault() {
    let mut host = Host::new();
    host.begin(true);
    host.session = Some(session(OPERATOR));
    host.grant(22, OPERATOR, 7200);
    host.rewrite("'192.0.2.0/24', ", "");
    assert!(host.reload(&[], true).unwrap().trial.is_some());
    host.confirm().unwrap();
    host.begin(true);
    assert!(!passes(&host, 22, OPERATOR) && !host.written());
    assert_eq!(host.world.faults(), Vec::<String>::new());
    assert_eq!(host.world.count("confirmed"), 1);
}

#[test]
fn a_change_of_what_is_unloaded_loads_nothing_and_needs_no_trial() {
    let mut host = Host::new();
    host.session = Some(session(OPERATOR));
    host.grant(22, OPERATOR, 7200);
    unloaded::mark(host.world.dir.path(), "by root").unwrap();
    let edit = Edit::Set(PortPolicy { allowed_sources: vec![parse_source("10.0.0.0/8").unwrap()], ..host.policy(SSH) });
    assert_eq!(host.change(edit, true).unwrap().trial, None);
    assert!(host.unloaded());
}

#[test]
fn the_interfaces_of_both_configurations_are_covered_during_a_trial_and_those_in_force_after_it() {
    for confirmed in [true, false] {
        let mut host = Host::new();
        host.session = Some(session(OPERATOR));
        host.grant(22, OPERATOR, 7200);
        host.rewrite("interfaces = ['eth0']", "interfaces = ['eth1']");
        host.rewrite("'192.0.2.0/24', ", "");
        let asked = ["interface=eth0"];
        assert!(host.reload(&asked, true).unwrap().trial.is_some());
        assert_eq!(host.world.kernel.selected(), "eth0, eth1");
        host.world.kernel.fail(0..1);
        if confirmed {
            assert!(host.confirm().unwrap_err().to_string().contains("the trial goes on"));
        } else {
            assert!(host.disable().unwrap_err().to_string().contains("the trial can't be ended"));
        }
        assert_eq!(host.world.kernel.selected(), "eth0, eth1", "as long as the trial runs");
        host.world.kernel.fail(0..0);
        if confirmed {
            host.confirm().unwrap();
        } else {
            host.world.pass(CHANGE_TRIAL.as_secs());
        }
        assert_eq!(host.world.kernel.selected(), if confirmed { "eth1" } else { "eth0" });
    }
}

#[test]
fn a_grant_that_only_the_tried_policies_allow_ends_with_the_trial() {
    let mut host = Host::new();
    host.session = Some(session(OPERATOR));
    host.grant(22, OPERATOR, 7200);
    let wide = vec![parse_source("198.51.100.0/24").unwrap()];
    let edit = Edit::Set(PortPolicy { allowed_sources: wide, ..host.policy(SSH) });
    assert!(host.change(edit, true).unwrap().trial.is_some());
    host.grant(22, "198.51.100.9", 7200);
    assert!(passes(&host, 22, "198.51.100.9"));
    host.begin(true);
    assert!(passes(&host, 22, "198.51.100.9"), "also after a restart during the trial");
    host.world.pass(CHANGE_TRIAL.as_secs());
    assert!(!passes(&host, 22, "198.51.100.9") && passes(&host, 22, OPERATOR));
    assert_eq!((host.world.states(), host.world.live()), (vec!["live".to_owned(), "ended".to_owned()], vec![1]));
}

#[test]
fn a_tried_retention_removes_nothing() {
    let mut host = Host::new();
    host.session = Some(session(OPERATOR));
    host.grant(22, OPERATOR, 7200);
    host.world.pass(2 * 86_400);
    host.grant(22, OPERATOR, 7200);
    // Old rows are removed every 10 minutes.
    host.world.pass(300);
    let before = host.world.events();
    host.rewrite("mode = 'enforce'", "mode = 'enforce'\nretention = '1d'");
    host.rewrite("'192.0.2.0/24', ", "");
    assert!(host.reload(&[], true).unwrap().trial.is_some());
    host.world.pass(400);
    assert_eq!(host.world.events()[..before.len()], before);
    host.confirm().unwrap();
    host.world.pass(600);
    assert!(!host.world.events().starts_with(&before), "the retention is in force once it is confirmed");
}
