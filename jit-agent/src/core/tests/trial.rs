//! Tests of enforcement on trial.

use std::fs;

use jit_common::abi::Mode;
use jit_policy::{EnableAsked, PortPolicy, Session, Span};
use serde_json::json;

use super::{
    host::{Host, LENGTH, OPERATOR, SSH, asked, is_open, is_shut, passes, session},
    refusal::{ChangeRefusal, Unavailable},
    *,
};
use crate::{
    config::{accepted, own::Edit, unloaded},
    datapath::DatapathError,
};

#[test]
fn a_trial_shuts_the_ports_for_all_but_the_operator_and_opens_them_again_at_its_end() {
    let mut host = Host::observing();
    let before = host.text();
    assert!(is_open(&host));
    let enabled = host.enable(asked()).unwrap();
    assert!(is_shut(&host) && enabled.durable);
    assert_eq!(enabled.grant.unwrap().source, parse_source(OPERATOR).unwrap());
    let status = host.status();
    assert_eq!((status.mode.text(), status.trial.unwrap().remaining), ("enforce", Span(secs(LENGTH)).iso()));
    assert_eq!(host.text(), before, "a reboot comes up observing");

    host.world.pass(LENGTH - 1);
    assert!(is_shut(&host));
    host.world.clock.advance(secs(1));
    assert!(is_open(&host), "without any act of the agent");
    host.world.core().sweep();
    assert!(is_open(&host) && !host.written());
    assert_eq!((host.status().mode.text(), host.status().trial), ("observe", None));
    assert_eq!((host.world.count("enabled"), host.world.count("trial_ended")), (1, 1));
    assert_eq!(host.world.last("trial_ended")["by"], serde_json::Value::Null);
    host.world.pass(LENGTH);
    assert_eq!(host.world.count("trial_ended"), 1);
}

#[test]
fn a_restart_goes_on_with_the_trial_and_another_boot_observes() {
    let mut host = Host::observing();
    host.enable(asked()).unwrap();
    host.world.clock.advance(secs(100));
    host.begin(true);
    assert!(is_shut(&host));
    assert_eq!(host.status().trial.unwrap().remaining, Span(secs(LENGTH - 100)).iso());
    host.world.pass(LENGTH - 100);
    assert!(is_open(&host) && !host.written());

    host.enable(asked()).unwrap();
    host.world.boot.boot_id.push('+');
    host.begin(false);
    assert!(is_open(&host));
    assert_eq!(host.status().trial, None);
}

#[test]
fn a_confirmed_trial_is_in_the_agents_own_file_and_has_no_end() {
    let mut host = Host::observing();
    let before = host.text();
    host.enable(asked()).unwrap();
    assert!(host.confirm().unwrap());
    assert!(host.own_text().contains("mode = \"enforce\""), "{}", host.own_text());
    assert_eq!(host.text(), before);
    assert!(!host.written());
    host.world.pass(LENGTH + 100);
    assert!(is_shut(&host));
    assert_eq!((host.status().mode.text(), host.status().trial), ("enforce", None));
    assert_eq!((host.world.count("confirmed"), host.world.count("trial_ended")), (1, 0));
    let kept = accepted::recall(host.world.dir.path()).unwrap();
    assert_eq!(kept.unwrap().config.mode, Mode::Enforce, "a start with a broken file would enforce too");
    host.begin(true);
    assert!(is_shut(&host));
    let refusal = host.confirm().unwrap_err();
    assert!(refusal.to_string().contains("no trial runs"), "{refusal}");
}

#[test]
fn a_file_edited_during_the_trial_is_not_written_over_and_the_trial_goes_on() {
    let mut host = Host::observing();
    host.enable(asked()).unwrap();
    host.rewrite("# of this host", "# by hand");
    let refusal = host.confirm().unwrap_err();
    assert!(matches!(&refusal, Refusal::Change(ChangeRefusal::Edited(_))), "{refusal}");
    assert!(host.text().contains("# by hand") && host.text().contains("observe"));
    assert!(is_shut(&host) && host.status().trial.is_some());
    host.world.pass(LENGTH);
    assert!(is_open(&host));
}

#[test]
fn without_a_way_back_nothing_is_shut_and_a_delegate_that_is_connected_is_one() {
    let mut host = Host::observing();
    let no_console = EnableAsked { console: false, ..asked() };
    let refusal = host.enable(no_console).unwrap_err();
    assert_eq!(refusal, ChangeRefusal::NoWayBack.into());
    assert!(is_open(&host) && !host.written());
    assert_eq!(host.world.live(), Vec::<i64>::new(), "nor is anything opened");

    let enable = |host: &mut Host, connected: Vec<Peer>| {
        host.world.ask(async |core| {
            let _present: Vec<_> = connected.into_iter().map(|peer| core.presence().enter(peer)).collect();
            core.enable(root(), no_console).await
        })
    };
    assert!(enable(&mut host, vec![root(), alice(), bob()]).is_err(), "others are none");
    enable(&mut host, vec![peer(PUSHER, "pusher")]).unwrap();
    assert!(is_shut(&host));
    host.disable().unwrap();

    host.rewrite("mode =", "break_glass = ['203.0.113.1']\n    mode =");
    host.begin(true);
    host.enable(no_console).unwrap();
    assert!(is_shut(&host) && passes(&host, 22, "203.0.113.1"));
}

#[test]
fn an_operator_who_could_not_be_let_in_is_told_what_to_write() {
    let mut host = Host::observing();
    let refusal = host.enable(EnableAsked { session: Some(session("203.0.113.1")), ..asked() }).unwrap_err();
    let Refusal::Violations(violations) = refusal else { panic!("{refusal:?}") };
    assert!(violations[0].allowed.contains("allowed_sources of port 22/tcp") && violations[0].given == "203.0.113.1");
    assert!(is_open(&host) && !host.written());
    let own_approval = Session { port: 5986, ..session(OPERATOR) };
    let enabled = host.enable(EnableAsked { session: Some(own_approval), ..asked() }).unwrap();
    assert_eq!(enabled.grant.unwrap().remaining_seconds, 3600, "an admin needs no second person");
    assert!(passes(&host, 5986, OPERATOR) && !passes(&host, 22, OPERATOR));
}

#[test]
fn while_a_trial_runs_the_configuration_stays_as_it_is_and_grants_go_on() {
    let mut host = Host::observing();
    host.enable(asked()).unwrap();
    let policy = host.policy(SSH);
    for refusal in [
        host.change(Edit::Set(PortPolicy { quota: 7, ..policy }), true).unwrap_err(),
        host.reload(&[], true).unwrap_err(),
        host.enable(asked()).unwrap_err(),
    ] {
        assert!(refusal.to_string().contains("`jit-agent confirm`"), "{refusal}");
    }
    host.grant(22, "192.0.2.8", 1000);
    assert!(passes(&host, 22, "192.0.2.8"));
}

#[test]
fn who_is_connected_is_shown_with_what_lets_them_in() {
    let mut host = Host::observing();
    host.rewrite("mode =", "break_glass = ['10.0.0.1']\n    mode =");
    host.world.connected_to = |ports| {
        assert_eq!(ports, [22, 3389, 5986]);
        let sources = ["10.0.0.1", "192.0.2.8", "192.0.2.9"];
        Ok(sources.map(|source| (source.parse().unwrap(), 22)).to_vec())
    };
    host.begin(true);
    host.grant(22, "192.0.2.8", 1000);
    let asked = host.world.ask(async |core| {
        let _present = core.presence().enter(peer(PUSHER, "pusher"));
        core.enforcement(root()).await
    });
    let view = asked.unwrap();
    let covers: Vec<_> = view.connected.iter().map(|one| (one.break_glass, one.grant)).collect();
    assert_eq!(covers, [(true, None), (false, Some(GrantId(1))), (false, None)]);
    assert_eq!((view.ways_back.break_glass.len(), view.ways_back.delegates), (1, vec!["pusher".to_owned()]));
    assert!(host.world.ask(async |core| core.enforcement(alice()).await).is_err());
}

#[test]
fn disable_ends_a_trial_and_otherwise_keeps_that_nothing_is_dropped() {
    let mut host = Host::observing();
    let before = host.text();
    host.enable(asked()).unwrap();
    assert!(host.disable().unwrap());
    assert!(is_open(&host) && !host.written());
    assert_eq!(host.text(), before);
    assert_eq!(host.world.last("trial_ended")["by"]["name"], "root");

    host.enable(asked()).unwrap();
    host.confirm().unwrap();
    assert!(host.disable().unwrap());
    assert_eq!((is_open(&host), host.own_text()), (true, String::new()), "as the file says");
    assert_eq!(host.world.count("disabled"), 1);
    assert!(host.disable().unwrap_err().to_string().contains("off already"));
}

#[test]
fn nothing_is_opened_that_could_not_be_audited_and_a_trial_ends_all_the_same() {
    let mut host = Host::observing();
    host.enable(asked()).unwrap();
    host.confirm().unwrap();
    host.world.core().records.set_fault(full_disk());
    assert!(matches!(host.disable(), Err(Refusal::Unavailable(_))));
    assert!(is_shut(&host) && host.own_text().contains("enforce"));

    let mut host = Host::observing();
    host.enable(asked()).unwrap();
    host.world.core().records.set_fault(full_disk());
    host.world.pass(LENGTH);
    assert!(is_open(&host) && host.status().mode == Mode::Observe);
}

#[test]
fn whatever_fails_while_a_trial_begins_or_ends_leaves_one_of_the_two_configurations() {
    for failing in 0..6 {
        let mut host = Host::observing();
        host.world.kernel.fail(failing..failing + 1);
        match host.enable(asked()) {
            Ok(_) => assert!(is_shut(&host), "{failing}"),
            Err(_) => {
                assert!(is_open(&host) && !host.written(), "{failing}");
                assert_eq!(host.status().trial, None);
            }
        }
        host.world.kernel.fail(0..0);
        if host.status().trial.is_none() {
            host.enable(asked()).unwrap();
        }
        host.world.kernel.fail(failing..failing + 1);
        if host.confirm().is_err() {
            assert!(host.status().trial.is_some() && !host.text().contains("\"enforce\""), "{failing}");
            host.world.pass(LENGTH + 60);
            host.world.pass(60);
            assert!(is_open(&host) && host.status().trial.is_none(), "{failing}");
        } else {
            host.world.pass(LENGTH + 60);
            assert!(is_shut(&host), "{failing}");
        }
    }
}

#[test]
fn what_was_unloaded_stays_so_until_it_is_enabled_and_confirmed() {
    let mut host = Host::new();
    unloaded::mark(host.world.dir.path(), "by root").unwrap();
    host.world.pass(10);
    assert!(host.world.faults().iter().any(|fault| fault.contains("unloaded by root")), "{:?}", host.world.faults());
    host.enable(asked()).unwrap();
    assert!(host.world.faults().iter().all(|fault| !fault.contains("unloaded")));
    host.world.pass(LENGTH);
    assert!(is_open(&host) && host.status().mode == Mode::Observe);
    assert!(host.world.faults().iter().any(|fault| fault.contains("unloaded by root")));
    host.enable(asked()).unwrap();
    host.confirm().unwrap();
    assert_eq!(unloaded::marked(host.world.dir.path()), None);
    host.world.pass(LENGTH);
    assert!(is_shut(&host));
    assert!(fs::read_to_string(&host.world.file).unwrap().contains("mode = 'enforce'"));
}

#[test]
fn a_failed_enable_takes_the_operators_own_grant_back_unless_the_trial_goes_on() {
    let mut host = Host::observing();
    let operations = {
        let mut host = Host::observing();
        let before = host.world.kernel.operations();
        host.grant(22, OPERATOR, 3600);
        host.world.kernel.operations() - before
    };
    host.world.kernel.fail(operations..operations + 1);
    let refusal = host.enable(asked()).unwrap_err();
    assert!(refusal.to_string().contains("the configuration before stays in force"), "{refusal}");
    assert_eq!((host.world.states(), host.world.live()), (vec!["revoked".to_owned()], vec![]));

    // If the trial continues nevertheless, the grant may be what admits the operator.
    let enabled = host.enable(asked()).unwrap();
    let kernel = DatapathError::Full { table: "MEMORY", capacity: 0 };
    let failed = Unavailable::NotLoaded(kernel.into()).into();
    let refusal = host.world.core().undo_own_grant(&root(), enabled.grant.as_ref(), failed);
    assert!(refusal.to_string().contains("nothing was enabled; grant 2 of 192.0.2.7/32"), "{refusal}");
    assert!(refusal.to_string().contains("`jitctl revoke 2` ends it"), "{refusal}");
    assert_eq!(host.world.live(), [2]);
}

#[test]
fn a_confirmation_that_fails_leaves_the_mark_of_what_was_unloaded() {
    for failing in 0..3 {
        let mut host = Host::new();
        unloaded::mark(host.world.dir.path(), "by root").unwrap();
        host.begin(true);
        host.enable(asked()).unwrap();
        host.world.kernel.fail(failing..failing + 1);
        if host.confirm().is_err() {
            assert_eq!(unloaded::marked(host.world.dir.path()).as_deref(), Some("by root"));
            host.world.pass(LENGTH + 60);
            host.begin(true);
            assert!(host.unloaded() && host.status().trial.is_none(), "{failing}");
        } else {
            assert!(failing > 1, "{failing}");
        }
    }
}

#[test]
fn what_is_unloaded_while_a_trial_runs_stays_so_over_a_restart_and_can_not_be_confirmed() {
    let mut host = Host::observing();
    host.enable(asked()).unwrap();
    unloaded::mark(host.world.dir.path(), "by root").unwrap();
    let refusal = host.confirm().unwrap_err();
    assert!(refusal.to_string().contains("was unloaded by root, after the trial had begun"), "{refusal}");
    host.world.pass(10);
    assert!(host.world.faults().iter().any(|fault| fault.contains("unloaded by root")), "{:?}", host.world.faults());
    host.begin(true);
    assert_eq!((host.status().trial, host.unloaded()), (None, true));
    assert_eq!(host.world.count("confirmed"), 0);
}

#[test]
fn who_unloaded_enforcement_is_a_person_in_the_audit_log_if_that_is_known() {
    let moment = "2026-03-01T12:00:00Z";
    let root = json!({ "uid": 0, "name": "root" });
    let logged_in = json!({ "uid": 0, "name": "root", "login_uid": 1, "login_name": "daemon" });
    for (mark, expected) in [
        (format!("by root at {moment}"), json!({ "by": root, "time": moment })),
        (format!("by root (logged in as daemon, uid 1) at {moment}"), json!({ "by": logged_in, "time": moment })),
        (format!("by no-such-user at {moment}"), json!({ "by": { "name": "no-such-user" }, "time": moment })),
        (
            format!("by 4000000009 at {moment}"),
            json!({ "by": { "uid": 4_000_000_009_u32, "name": "4000000009" }, "time": moment }),
        ),
        ("by root".to_owned(), json!({ "by": null, "reason": "by root" })),
        (String::new(), json!({ "by": null, "reason": "" })),
        (
            "by x, at a time that is not known".to_owned(),
            json!({ "by": null, "reason": "by x, at a time that is not known" }),
        ),
    ] {
        let mut host = Host::new();
        unloaded::mark(host.world.dir.path(), &mark).unwrap();
        assert!(host.unloaded());
        assert_eq!(host.world.last("unloaded"), expected, "{mark}");
    }
}
