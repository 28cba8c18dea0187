//! Tests of policies that change while grants are live.

use std::fs;

use jit_api::wire::Grant;
use jit_common::abi::Mode;
use jit_policy::{AuditFilter, PortPolicy, Protocol, Reload};
use serde_json::json;

use super::{
    change::{Changed, PortEdit},
    host::{Host, SSH},
    names::LookedUp,
    refusal::ChangeRefusal,
    *,
};
use crate::{
    accounts::number_of,
    config::{accepted, own::Edit},
};

const RDP: PortId = PortId { number: 3389, protocol: Protocol::Any };

/// Returns the effects of a change that must be confirmed: what is opened, and the ids of grants that end and of grants
/// that are shortened.
#[track_caller]
fn unconfirmed(result: Result<Changed, Refusal>) -> (Vec<String>, Vec<i64>, Vec<i64>) {
    match result {
        Err(Refusal::Change(ChangeRefusal::Unconfirmed { effects, .. })) => {
            (effects.opened, ids(&effects.ended), ids(&effects.shortened))
        }
        other => panic!("{other:?}"),
    }
}

fn ids(grants: &[Grant]) -> Vec<i64> {
    grants.iter().map(|grant| grant.id.0).collect()
}

fn narrowed(policy: &PortPolicy, source: &str) -> Edit {
    Edit::Set(PortPolicy { allowed_sources: vec![parse_source(source).unwrap()], ..policy.clone() })
}

#[test]
fn an_added_port_is_locked_and_in_the_agents_own_file_and_in_the_audit_log() {
    let mut host = Host::new();
    let text = host.text();
    assert!(host.world.admits(80, "192.0.2.7"));
    let before = host.version();
    let web = PortPolicy::new(PortId { number: 80, protocol: Protocol::Tcp });
    let done = host.change(Edit::Set(web), false).unwrap();
    assert!(!host.world.admits(80, "192.0.2.7"));
    assert!(done.durable && done.effects.is_empty() && done.port.is_some());
    assert_eq!((done.changed, done.version != before), (vec!["80/tcp".to_owned()], true));
    assert_eq!((host.text(), host.own_text().contains("number = 80")), (text, true), "{}", host.own_text());
    assert_eq!(host.world.count("policy_changed"), 1);
    let kept = accepted::recall(host.world.dir.path()).unwrap();
    assert_eq!(
        kept.unwrap().config,
        host.world.core().settings.config().clone(),
        "a start with a broken file would protect it too"
    );
    host.grant(80, "192.0.2.7", 100);
    assert!(host.world.admits(80, "192.0.2.7"));
}

#[test]
fn narrower_sources_end_the_grants_outside_of_them_once_that_is_confirmed() {
    let mut host = Host::new();
    host.grant(22, "192.0.2.7", 1000);
    host.grant(22, "10.1.0.0/16", 1000);
    let edit = narrowed(&host.policy(SSH), "10.0.0.0/8");
    let before = host.text();
    assert_eq!(unconfirmed(host.change(edit.clone(), false)), (vec![], vec![1], vec![]));
    assert!(host.world.admits(22, "192.0.2.7"), "nothing happens before it is confirmed");
    assert_eq!((host.text(), host.own_text(), host.world.count("policy_changed")), (before, String::new(), 0));

    let done = host.change(edit, true).unwrap();
    assert_eq!((ids(&done.effects.ended), done.durable), (vec![1], true));
    assert!(!host.world.admits(22, "192.0.2.7") && host.world.admits(22, "10.1.0.9"));
    assert_eq!(host.world.states(), ["ended", "live"]);
    assert_eq!(host.world.reasons()[0], "192.0.2.7/32 is no longer an allowed source of port 22/tcp");
}

#[test]
fn a_shorter_maximum_cuts_grants_to_it_in_kernel_and_store() {
    let mut host = Host::new();
    host.grant(22, "192.0.2.7", 3 * 3600);
    host.grant(22, "192.0.2.8", 300);
    let edit = Edit::Set(PortPolicy { max_duration: secs(600), ..host.policy(SSH) });
    assert_eq!(unconfirmed(host.change(edit.clone(), false)), (vec![], vec![], vec![1]));
    let done = host.change(edit, true).unwrap();
    assert_eq!(done.effects.shortened[0].remaining_seconds, 600);
    host.world.restart();
    host.world.pass(599);
    assert!(host.world.admits(22, "192.0.2.7"));
    host.world.pass(1);
    assert!(!host.world.admits(22, "192.0.2.7"));
    assert_eq!(host.world.count("shortened"), 1);
}

#[test]
fn a_removed_port_is_open_once_that_is_confirmed_and_its_grants_end() {
    let mut host = Host::new();
    host.grant(22, "192.0.2.7", 1000);
    let edit = Edit::Remove(SSH);
    assert_eq!(unconfirmed(host.change(edit.clone(), false)), (vec!["22/tcp".to_owned()], vec![1], vec![]));
    assert!(!host.world.admits(22, "192.0.2.9"));
    let done = host.change(edit.clone(), true).unwrap();
    assert!(done.port.is_none() && host.world.admits(22, "192.0.2.9"));
    assert_eq!(host.world.entries(), []);
    let refusal = host.change(edit, true).unwrap_err();
    assert_eq!(refusal.to_string(), "there is no policy of port 22/tcp");
}

#[test]
fn changes_on_an_older_list_or_over_an_edited_file_or_another_policy_change_nothing() {
    let mut host = Host::new();
    let edit = narrowed(&host.policy(SSH), "10.0.0.0/8");
    let old = PortEdit { edit: edit.clone(), version: "old".to_owned(), confirm: true, session: None };
    let refusal = host.world.core().change_port(&root(), &old).unwrap_err();
    assert_eq!(refusal, ChangeRefusal::OtherVersion.into());
    let other = PortId { protocol: Protocol::Any, ..SSH };
    let refusal = host.change(Edit::Set(PortPolicy::new(other)), true).unwrap_err();
    assert_eq!(refusal, ChangeRefusal::Overlap(other, SSH).into());
    host.rewrite("# of this host", "# by hand");
    let refusal = host.change(edit.clone(), true).unwrap_err().to_string();
    assert!(refusal.ends_with("was edited since it was loaded; run `jitctl reload` first"), "{refusal}");
    assert_eq!((host.policy(SSH).allowed_sources.len(), host.text().contains("# by hand")), (3, true));
    host.reload(&[], false).unwrap();
    host.change(edit, true).unwrap();
    assert!(host.text().contains("# by hand") && !host.own_text().is_empty());
}

#[test]
fn a_kernel_that_refuses_leaves_the_old_policy_in_force_and_the_agents_own_file_as_it_was() {
    for failing in [0..1, 1..2] {
        let mut host = Host::new();
        let before = host.text();
        let version = host.version();
        host.world.kernel.fail(failing);
        let refusal = host.change(Edit::Remove(SSH), true).unwrap_err();
        assert!(matches!(refusal, Refusal::Unavailable(_)), "{refusal:?}");
        assert!(refusal.to_string().ends_with("the policy before stays in force"), "{refusal}");
        assert_eq!((host.text(), host.own_text(), host.version()), (before, String::new(), version));
        assert!(!host.world.admits(22, "192.0.2.7"), "locked throughout");
        host.change(Edit::Remove(SSH), true).unwrap();
    }
}

#[test]
fn grants_that_a_failed_change_ended_stay_so_and_are_told() {
    let mut host = Host::new();
    host.grant(22, "192.0.2.7", 1000);
    let operations = host.world.kernel.operations();
    host.world.kernel.fail(2..3);
    let refusal = host.change(Edit::Remove(SSH), true).unwrap_err().to_string();
    assert!(refusal.contains("grants that were ended or shortened already: 1; the policy before stays"), "{refusal}");
    assert_eq!(host.world.kernel.operations() - operations, 4, "stricter, removal, looser, as before");
    assert!(!host.world.admits(22, "192.0.2.7"));
    assert_eq!((host.world.states(), host.own_text()), (vec!["ended".to_owned()], String::new()));
}

#[test]
fn what_is_new_is_locked_before_anything_else_and_stays_so_if_nothing_works_from_then_on() {
    let mut host = Host::new();
    host.grant(3389, "192.0.2.7", 1000);
    host.rewrite("number = 3389", "number = 80");
    host.world.kernel.fail(1..usize::MAX);
    assert!(matches!(host.reload(&["3389"], true), Err(Refusal::Unavailable(_))));
    for (number, source) in [(80, "192.0.2.9"), (3389, "192.0.2.9"), (3389, "192.0.2.7")] {
        assert!(!host.world.admits(number, source), "{number} from {source}");
    }
    assert!(host.world.faults().iter().any(|fault| fault.contains("the configuration files are not in force")));
}

#[test]
fn a_signal_that_changes_nothing_leaves_a_fault() {
    let mut host = Host::new();
    host.rewrite("number = 3389", "number = 3390");
    let asked = Reload { confirm: true, ..Reload::default() };
    assert!(host.world.core().reload(None, &asked).is_err());
    assert!(host.world.faults()[0].contains("3389/any"));
    host.reload(&["3389"], true).unwrap();
    assert_eq!(host.world.faults(), Vec::<String>::new());
}

#[test]
fn what_opens_a_port_is_refused_without_an_audit_log_and_what_locks_one_is_not() {
    let mut host = Host::new();
    host.world.core().records.set_fault(full_disk());
    assert!(matches!(host.change(Edit::Remove(SSH), true), Err(Refusal::Unavailable(_))));
    let web = PortPolicy::new(PortId { number: 80, protocol: Protocol::Tcp });
    let done = host.change(Edit::Set(web), true).unwrap();
    assert!(!done.durable && !host.world.admits(80, "192.0.2.7"));
}

#[test]
fn a_reload_opens_only_what_is_named() {
    let mut host = Host::new();
    host.rewrite("number = 3389", "number = 3390");
    host.rewrite("mode = 'enforce'", "mode = 'observe'");
    let opened = vec!["mode=observe".to_owned(), "3389/any".to_owned()];
    for allowed in [&[][..], &["3389"], &["3389/tcp", "mode=observe"], &["3388/any", "mode=observe"]] {
        assert_eq!(unconfirmed(host.reload(allowed, true)).0, opened, "{allowed:?}");
    }
    assert!(!host.world.admits(3389, "192.0.2.7"));
    let done = host.reload(&["3389/any", "mode=observe"], false).unwrap();
    assert_eq!((done.effects.opened, done.changed), (opened, vec!["3389/any".to_owned(), "3390/any".to_owned()]));
    assert_eq!(host.world.core().settings.config().mode, Mode::Observe);
    assert!(host.world.admits(3389, "192.0.2.7"));
}

#[test]
fn a_narrowed_protocol_opens_the_transports_it_loses() {
    let mut host = Host::new();
    host.grant(3389, "192.0.2.7", 1000);
    host.rewrite("protocol = 'any'", "protocol = 'tcp'");
    let opened = vec!["3389/udp".to_owned(), "3389/sctp".to_owned()];
    assert_eq!(unconfirmed(host.reload(&["3389/udp"], true)), (opened, vec![1], vec![]));
    let done = host.reload(&["3389/udp", "3389/sctp"], true).unwrap();
    assert_eq!(done.changed, ["3389/tcp", "3389/any"]);
    assert!(!host.world.admits(3389, "192.0.2.7"), "locked, and its grant for any protocol is over");
    assert!(host.world.core().settings.config().ports.for_port(RDP).is_none());
}

#[test]
fn a_bad_file_leaves_the_old_policy_in_force_and_says_so_until_the_next_good_one() {
    let mut host = Host::new();
    host.rewrite("number = 22", "number = 0");
    let refusal = host.reload(&[], true).unwrap_err().to_string();
    assert!(refusal.contains("port number 0") && refusal.ends_with("stays in force"), "{refusal}");
    assert!(!host.world.admits(22, "192.0.2.7"));
    assert_eq!(host.world.faults().len(), 1);
    host.rewrite("number = 0", "number = 22");
    host.reload(&[], false).unwrap();
    assert_eq!(host.world.faults(), Vec::<String>::new());
}

#[test]
fn keys_that_need_a_restart_are_named_and_the_rest_of_that_reload_waits() {
    let mut host = Host::new();
    host.rewrite("interfaces = ['eth0']", "interfaces = ['eth0']\nsocket = '/run/other'");
    host.rewrite("max_duration = '3h'", "max_duration = '1h'");
    let refusal = host.reload(&[], true).unwrap_err();
    assert_eq!(refusal, ChangeRefusal::Restart(vec!["socket"]).into());
    assert_eq!(host.policy(SSH).max_duration, secs(3 * 3600));
}

#[test]
fn roles_and_the_other_keys_change_with_a_reload() {
    let mut host = Host::new();
    let daemon = peer(1, "daemon");
    assert!(host.world.core().port_list(&daemon).is_err());
    host.rewrite("mode = 'enforce'", "mode = 'enforce'\nbreak_glass = ['192.0.2.99']\nretention = '30d'");
    fs::write(&host.world.file, format!("{}\n[roles]\nviewer = ['daemon', 'no-such-user']\n", host.text())).unwrap();
    host.reload(&["break_glass=192.0.2.99"], false).unwrap();
    let numbers = Numbers::default().looked_up(&["daemon", "no-such-user"].map(str::to_owned), number_of);
    host.world.core().settings.names_mut().take(LookedUp { numbers, not_kept: None });
    assert!(host.world.core().port_list(&daemon).is_ok());
    assert!(host.world.admits(22, "192.0.2.99"));
    assert!(host.world.faults()[0].contains("no-such-user"));
    assert_eq!(host.world.core().settings.config().retention, secs(30 * 86_400));
    assert_eq!(host.world.count("policy_changed"), 1);
}

#[test]
fn a_reload_is_found_in_the_audit_log_by_each_port_that_it_changes() {
    let mut host = Host::new();
    host.rewrite("max_duration = '3h'", "max_duration = '1h'");
    host.rewrite(
        "max_duration = '1h'\n    quota = 20_000\n    justification",
        "max_duration = '2h'\n    quota = 20_000\n    justification",
    );
    assert_eq!(host.reload(&[], false).unwrap().changed, ["22/tcp", "3389/any"]);
    let expected = json!([{ "number": 22, "protocol": "tcp" }, { "number": 3389, "protocol": "any" }]);
    assert_eq!(host.world.last("policy_changed")["ports"], expected);
    for (port, rows) in [(22, 2), (3389, 2), (5986, 0)] {
        let reader = host.world.core().audit(&root()).unwrap();
        let filter = AuditFilter { port: Some(port), ..AuditFilter::default() };
        assert_eq!(reader.0.rows(&filter, 0).unwrap().next(100).unwrap().len(), rows, "{port}");
    }
}

#[test]
fn what_admits_packets_without_a_grant_must_be_named_and_audited() {
    let loosened = [
        ("break_glass = ['10.0.0.0/8', '0.0.0.0/0']\nfragments = 'drop'", "break_glass=0.0.0.0/0"),
        ("break_glass = ['10.0.0.0/8']\nfragments = 'drop'\nscope = 'local'", "scope=local"),
        ("break_glass = ['10.0.0.0/8']", "fragments=pass"),
    ];
    for (keys, name) in loosened {
        let mut host = Host::new();
        host.rewrite("mode = 'enforce'", "mode = 'enforce'\nbreak_glass = ['10.0.0.0/8']\nfragments = 'drop'");
        host.begin(true);
        host.rewrite("break_glass = ['10.0.0.0/8']\nfragments = 'drop'", keys);
        let by_signal = host.world.core().reload(None, &Reload::default());
        let Err(Refusal::Change(ChangeRefusal::Unconfirmed { unnamed, .. })) = by_signal else { panic!("{name}") };
        assert_eq!(unnamed, [name]);
        assert!(host.reload(&["22/tcp", "mode=observe", "interface=eth0"], true).is_err(), "{name}");
        assert!(!host.world.admits(22, "198.51.100.9"));
        host.reload(&[name], true).unwrap();

        let mut host = Host::new();
        host.rewrite("mode = 'enforce'", "mode = 'enforce'\nbreak_glass = ['10.0.0.0/8']\nfragments = 'drop'");
        host.begin(true);
        host.rewrite("break_glass = ['10.0.0.0/8']\nfragments = 'drop'", keys);
        host.world.core().records.set_fault(full_disk());
        assert!(matches!(host.reload(&[name], true), Err(Refusal::Unavailable(_))), "{name} without an audit log");
    }
}

#[test]
fn what_only_narrows_or_what_an_observing_host_changes_needs_no_name() {
    let mut host = Host::new();
    host.rewrite("mode = 'enforce'", "mode = 'enforce'\nbreak_glass = ['10.0.0.0/8']");
    host.begin(true);
    host.rewrite("['10.0.0.0/8']", "['10.1.0.0/16']\nfragments = 'drop'");
    host.reload(&[], false).unwrap();
    let mut host = Host::observing();
    host.rewrite("mode =", "break_glass = ['192.0.2.99']\nscope = 'local'\nmode =");
    host.reload(&[], false).unwrap();
}
