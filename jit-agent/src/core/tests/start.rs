//! Tests of starts whose files differ from what was accepted.

use std::fs;

use jit_common::abi::Mode;
use jit_policy::{Approval, CHANGE_TRIAL, Fragments, PortPolicy, Scope};

use super::{
    host::{Host, OPERATOR, SSH, is_open, is_shut, passes, session},
    *,
};
use crate::config::{accepted, mark, own::Edit, unloaded::Remover};

/// Makes a host that enforces, whose configuration was accepted.
fn accepted_host() -> Host {
    let mut host = Host::new();
    host.begin(true);
    host.grant(22, OPERATOR, 7200);
    host
}

/// Accepts the present files as `jit-agent accept` does.
fn accept(host: &Host) {
    let config = crate::config::files::load(&host.world.file).unwrap().config;
    let by = Remover { name: "root".to_owned(), login: None, time: "2026-11-22T16:00:00Z".parse().unwrap() };
    mark::set(host.world.dir.path(), &mark::Mark::new(by, &config)).unwrap();
}

#[test]
fn a_start_opens_nothing_that_nobody_named() {
    for (from, to, names) in [
        ("mode = 'enforce'", "mode = 'observe'", "jitctl reload --allow-open mode=observe`"),
        ("mode = 'enforce'", "", "jitctl reload --allow-open mode=observe`"),
        ("number = 3389", "number = 3390", "jitctl reload --allow-open 3389/any`"),
        ("protocol = 'any'", "protocol = 'tcp'", "jitctl reload --allow-open 3389/udp 3389/sctp`"),
        ("['eth0']", "['eth1']", "interfaces = \"eth0\""),
        ("mode", "break_glass = ['0.0.0.0/0']\nmode", "--allow-open break_glass=0.0.0.0/0`"),
        ("mode", "scope = 'local'\nmode", "--allow-open scope=local`"),
    ] {
        for (how, begin) in [("a restart", (|host| host.begin(true)) as fn(&mut Host)), ("a reboot", Host::reboot)] {
            let mut host = accepted_host();
            host.rewrite(from, to);
            // However often the agent starts, the files are not in force.
            for _ in 0..2 {
                begin(&mut host);
                assert!(is_shut(&host), "{to} over {how}");
                let faults = host.world.faults().join("\n");
                assert!(faults.contains(names) && faults.contains("`jit-agent accept`"), "{to} over {how}: {faults}");
                let config = host.world.core().settings.config();
                assert_eq!((config.mode, config.scope), (Mode::Enforce, Scope::All));
                assert_eq!(
                    (config.break_glass.as_slice(), config.interfaces.iter().count()),
                    (&[][..], 1 + usize::from(to == "['eth1']"))
                );
            }
        }
    }
}

#[test]
fn fragments_stay_dropped_over_a_start() {
    let mut host = Host::new();
    host.rewrite("mode", "fragments = 'drop'\nmode");
    host.begin(true);
    for text in ["fragments = 'pass'\n", ""] {
        host.rewrite("fragments = 'drop'\n", text);
        host.begin(true);
        assert_eq!(host.world.core().settings.config().fragments, Fragments::Drop, "{text:?}");
        assert!(host.world.faults().join("\n").contains("fragments=pass"));
        host.rewrite("mode", "fragments = 'drop'\nmode");
        if !text.is_empty() {
            host.rewrite(text, "");
        }
    }
}

#[test]
fn a_start_takes_what_shuts_more_or_opens_nothing() {
    let mut host = accepted_host();
    host.rewrite(
        "[[port]]\n    number = 22",
        "[[port]]\n    number = 80\n    protocol = 'tcp'\n    [[port]]\n    number = 22",
    );
    host.rewrite("'192.0.2.0/24', ", "");
    host.rewrite("mode", "retention = '30d'\nmode");
    host.begin(true);
    assert_eq!(host.world.faults(), [""; 0]);
    assert!(!passes(&host, 80, OPERATOR) && !passes(&host, 22, OPERATOR));
    assert_eq!(host.world.core().settings.config().retention, secs(30 * 86_400));
    // In the files that open something, what shuts more is in force.
    host.rewrite("mode = 'enforce'", "mode = 'observe'");
    host.rewrite("number = 80", "number = 81");
    host.begin(true);
    assert!(!passes(&host, 80, OPERATOR) && !passes(&host, 81, OPERATOR));
}

#[test]
fn a_reload_that_names_what_a_start_kept_shut_takes_the_files() {
    let mut host = accepted_host();
    host.rewrite("mode = 'enforce'", "mode = 'observe'");
    host.begin(true);
    host.reload(&[], true).unwrap_err();
    assert!(is_shut(&host));
    host.reload(&["mode=observe"], true).unwrap();
    assert!(is_open(&host) && host.world.faults().is_empty());
    host.begin(true);
    assert!(is_open(&host) && host.world.faults().is_empty());
}

#[test]
fn a_host_that_observes_takes_any_files() {
    let mut host = Host::observing();
    host.rewrite("number = 3389", "number = 3390");
    host.rewrite("['eth0']", "['eth1']");
    host.begin(true);
    assert_eq!(host.world.faults(), [""; 0]);
    assert!(is_open(&host));
}

#[test]
fn what_root_accepted_by_hand_is_taken_once_and_audited() {
    let mut host = accepted_host();
    host.rewrite("mode = 'enforce'", "mode = 'observe'");
    accept(&host);
    // Other files than those that were accepted don't count.
    host.rewrite("number = 3389", "number = 3390");
    host.begin(true);
    assert!(is_shut(&host));
    assert!(host.world.faults().join("\n").contains("changed after `jit-agent accept`"));
    assert_eq!(host.world.count("accepted"), 0);
    // The mark is used up, even if the files are as they were.
    host.rewrite("number = 3390", "number = 3389");
    host.begin(true);
    assert!(is_shut(&host));

    accept(&host);
    host.begin(true);
    assert!(is_open(&host) && host.world.faults().is_empty());
    assert_eq!(host.world.last("accepted")["by"]["name"], "root");
    assert_eq!(mark::recall(host.world.dir.path()).unwrap(), None);
    let changed = host.world.last("policy_changed");
    assert_eq!((&changed["before"]["mode"], &changed["after"]["mode"]), (&"enforce".into(), &"observe".into()));
}

#[test]
fn a_mark_that_can_not_be_read_opens_nothing_and_is_a_fault() {
    let mut host = accepted_host();
    host.rewrite("mode = 'enforce'", "mode = 'observe'");
    accept(&host);
    fs::write(host.world.dir.path().join("accept"), "by root").unwrap();
    host.begin(true);
    assert!(is_shut(&host));
    assert!(host.world.faults().join("\n").contains("mode=observe"));
}

#[test]
fn what_changed_while_the_agent_was_down_is_audited_once() {
    let mut host = accepted_host();
    host.rewrite("max_duration = '2h'", "max_duration = '1h'");
    host.rewrite("mode", "roles.viewer = ['root']\nmode");
    host.begin(true);
    let changed: Vec<String> = host.world.events().into_iter().filter(|event| event == "policy_changed").collect();
    assert_eq!(changed.len(), 2, "a row of the port, and a row of the rest");
    let last = host.world.last("policy_changed");
    assert_eq!((&last["by"]["at"], &last["ports"][0]["number"]), (&"start".into(), &5986.into()));
    assert_eq!(last["after"]["roles"]["viewer"][0], "root");
    host.begin(true);
    // What is kept shut differs from the files at each start, but nothing changes any more.
    host.rewrite("mode = 'enforce'", "mode = 'observe'\nretention = '1d'");
    host.begin(true);
    host.begin(true);
    assert_eq!(host.world.count("policy_changed"), 3);
}

#[test]
fn without_a_record_the_files_count_and_with_a_damaged_record_they_are_a_fault() {
    let mut host = accepted_host();
    let record = host.world.dir.path().join("accepted-config.toml");
    fs::remove_file(&record).unwrap();
    host.begin(true);
    assert_eq!(host.world.faults(), [""; 0]);
    fs::write(&record, "# sha256 0\n").unwrap();
    // The tables in memory are not pinned, so nobody knows that the host enforces.
    host.begin(true);
    assert!(host.world.origin.fault.is_none());
    assert!(accepted::recall(host.world.dir.path()).unwrap().is_some(), "the record is replaced");
}

#[test]
fn of_a_broken_file_a_port_that_can_not_be_read_can_not_be_requested() {
    let mut host = Host::new();
    host.rewrite("approval = 'required'", "aproval = 'required'");
    // Nothing was accepted before.
    host.begin(true);
    assert!(!passes(&host, 5986, "192.0.2.1") && !passes(&host, 22, "192.0.2.1"));
    host.world.submit_as(&alice(), request(vec![port(22, &["192.0.2.1"], 100)])).unwrap();
    let refused = host.world.submit_as(&alice(), request(vec![port(5986, &["192.0.2.1"], 100)])).unwrap_err();
    let Refusal::Violations(violations) = refused else { panic!("{refused}") };
    assert!(violations[0].allowed.contains("the port's policy can't be read"), "{violations:?}");
    assert!(host.world.submit_as(&root(), request(vec![port(5986, &["192.0.2.1"], 100)])).is_err());
}

#[test]
fn files_of_a_trial_that_lapsed_are_not_confirmed_by_another_comment_in_them() {
    let mut host = accepted_host();
    host.session = Some(session(OPERATOR));
    host.rewrite("'192.0.2.0/24', ", "");
    host.rewrite("number = 3389", "number = 3390");
    assert!(host.reload(&["3389/any"], true).unwrap().trial.is_some());
    host.world.pass(CHANGE_TRIAL.as_secs());
    host.rewrite("# of this host", "# of this host, by a tool");
    host.begin(true);
    assert!(!passes(&host, 3389, "192.0.2.8"), "nobody confirmed that this port is open");
    assert_eq!(host.world.count("confirmed"), 0);
    assert!(host.world.faults().join("\n").contains("--allow-open 3389/any"));
}

#[test]
fn a_start_without_the_agents_own_file_keeps_what_was_accepted() {
    let mut host = accepted_host();
    let strict = PortPolicy { approval: Approval::Required, ..host.policy(SSH) };
    host.change(Edit::Set(strict.clone()), true).unwrap();
    fs::remove_file(host.world.dir.path().join("policy.toml")).unwrap();
    assert!(host.world.core().reload(None, &jit_policy::Reload::default()).is_err(), "a signal takes it for lost");
    host.begin(true);
    assert_eq!(host.policy(SSH), strict);
    assert!(host.world.faults().join("\n").contains("policy.toml in state_dir is gone"));
    host.reload(&[], true).unwrap();
    assert_eq!((host.policy(SSH).approval, host.world.faults()), (Approval::Auto, Vec::new()));
}

#[test]
fn what_root_accepted_by_hand_counts_for_files_that_were_not_confirmed_too() {
    let mut host = accepted_host();
    host.session = Some(session(OPERATOR));
    host.rewrite("'192.0.2.0/24', ", "");
    assert!(host.reload(&[], true).unwrap().trial.is_some());
    host.world.pass(CHANGE_TRIAL.as_secs());
    accept(&host);
    host.begin(true);
    assert!(!passes(&host, 22, OPERATOR) && host.world.faults().is_empty());
}
