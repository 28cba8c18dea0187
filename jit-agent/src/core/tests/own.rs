//! Tests of what the agent itself sets, which wins over the owner's files until it is reset.

use std::fs;

use jit_common::abi::Mode;
use jit_policy::{Approval, PortPolicy, Protocol, Reload};

use super::{
    change::Changed,
    host::{Host, SSH, asked, is_open},
    refusal::ChangeRefusal,
    *,
};
use crate::config::{own::Edit, trial};

const RDP: PortId = PortId { number: 3389, protocol: Protocol::Any };

/// Returns what a change would open without having named it.
#[track_caller]
fn unnamed(result: Result<Changed, Refusal>) -> Vec<String> {
    match result {
        Err(Refusal::Change(ChangeRefusal::Unconfirmed { unnamed, .. })) => unnamed,
        other => panic!("{other:?}"),
    }
}

fn reset(host: &mut Host, names: &[&str], allow_open: &[&str]) -> Result<Changed, Refusal> {
    let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let (reset, allow_open) = (texts(names), texts(allow_open));
    host.world.core().reload(Some(&root()), &Reload { reset, allow_open, confirm: true, session: host.session })
}

#[test]
fn what_the_agent_set_wins_over_edited_files_is_told_and_is_ended_by_its_name() {
    let mut host = Host::new();
    let shorter = PortPolicy { max_duration: secs(600), ..host.policy(SSH) };
    host.change(Edit::Set(shorter), true).unwrap();
    host.change(Edit::Remove(RDP), true).unwrap();
    // As configuration management would do it, with another opinion about both ports.
    host.rewrite("max_duration = '3h'", "max_duration = '2h'");
    assert_eq!(host.reload(&[], true).unwrap().changed, Vec::<String>::new());
    for start in [false, true] {
        if start {
            host.begin(true);
        }
        assert_eq!(host.policy(SSH).max_duration, secs(600));
        assert!(host.world.admits(3389, "192.0.2.9") && !host.world.admits(22, "192.0.2.9"));
        let warnings = (host.world.core().settings.warnings())().join("\n");
        let file = host.world.file.display().to_string();
        for part in
            ["port 22/tcp: the policy of", "port 3389/any is not protected", "policy.toml", &file, "ports reset 22"]
        {
            assert!(warnings.contains(part), "{part:?} is not in {warnings}");
        }
    }
    let own: Vec<bool> =
        host.world.core().port_list(&root()).unwrap().ports.iter().map(|port| port.activity.set_by_agent).collect();
    assert_eq!(own, [true, false]);

    assert_eq!(reset(&mut host, &["3389/any", "22"], &[]).unwrap().changed, ["22/tcp", "3389/any"]);
    assert_eq!((host.policy(SSH).max_duration, host.own_text()), (secs(2 * 3600), String::new()));
    assert!(!host.world.admits(3389, "192.0.2.9"));
    host.begin(true);
    assert_eq!(host.policy(SSH).max_duration, secs(2 * 3600));
    let refusal = reset(&mut host, &["22"], &[]).unwrap_err();
    assert_eq!(refusal, ChangeRefusal::NotSet("22".to_owned()).into());
}

#[test]
fn a_reset_opens_only_what_is_named_and_a_reload_that_names_what_it_opens_ends_what_the_agent_set() {
    let web = PortId { number: 80, protocol: Protocol::Tcp };
    let mut host = Host::new();
    host.change(Edit::Set(PortPolicy::new(web)), true).unwrap();
    assert_eq!(unnamed(reset(&mut host, &["80"], &[])), ["80/tcp"]);
    assert!(!host.world.admits(80, "192.0.2.9") && host.own_text().contains("80"));
    reset(&mut host, &["80"], &["80/tcp"]).unwrap();
    assert!(host.world.admits(80, "192.0.2.9") && host.own_text().is_empty());

    let mut host = Host::observing();
    host.enable(asked()).unwrap();
    host.confirm().unwrap();
    // An edit by hand, or of configuration management, does not end what `confirm` set: neither at a reload nor at a start.
    host.rewrite("# of this host", "# by hand");
    host.reload(&[], true).unwrap();
    host.begin(true);
    assert_eq!(host.world.core().settings.config().mode, Mode::Enforce);
    assert_eq!(unnamed(reset(&mut host, &["mode"], &[])), ["mode=observe"]);
    host.reload(&["mode=observe"], true).unwrap();
    assert_eq!((host.world.core().settings.config().mode, host.own_text()), (Mode::Observe, String::new()));
}

#[test]
fn a_damaged_own_file_opens_nothing() {
    let mut host = Host::observing();
    host.enable(asked()).unwrap();
    host.confirm().unwrap();
    let own = host.world.dir.path().join("policy.toml");
    for text in ["", "# sha256 00\nmode = 'observe'\n"] {
        fs::write(&own, text).unwrap();
        assert!(host.reload(&["mode=observe"], true).is_err());
        host.begin(true);
        assert_eq!(host.world.core().settings.config().mode, Mode::Enforce, "what was accepted last");
        assert!(host.world.faults().iter().any(|fault| fault.contains("policy.toml")), "{:?}", host.world.faults());
    }
}

#[test]
fn a_trial_that_an_agent_of_version_0_1_began_is_confirmed_without_writing_the_owners_file() {
    let mut host = Host::observing();
    let before = host.text();
    host.enable(asked()).unwrap();
    let mut record = trial::recall(host.world.dir.path()).unwrap().unwrap();
    record.change = Some((host.world.file.clone(), before.replace("'observe'", "\"enforce\"")));
    trial::keep(host.world.dir.path(), &record).unwrap();
    host.begin(true);
    host.confirm().unwrap();
    assert!(host.own_text().contains("enforce"));
    assert_eq!((host.text(), host.world.core().settings.config().mode), (before, Mode::Enforce));
}

#[test]
fn a_policy_of_the_files_that_overlaps_one_of_the_agents_is_refused_until_that_is_reset() {
    let web = PortId { number: 80, protocol: Protocol::Tcp };
    let mut host = Host::new();
    host.change(Edit::Set(PortPolicy::new(web)), true).unwrap();
    let text = format!("{}\n[[port]]\nnumber = 80\nprotocol = 'any'\n", host.text());
    fs::write(&host.world.file, text).unwrap();
    host.begin(true);
    let faults = host.world.faults().join("\n");
    assert!(faults.contains("80/tcp and 80/any overlap") && faults.contains("jitctl ports reset"), "{faults}");
    assert!(!host.world.admits(80, "192.0.2.9"));
    reset(&mut host, &["80/tcp"], &[]).unwrap();
    assert_eq!(
        (host.policy(PortId { protocol: Protocol::Any, ..web }).id.number, host.own_text()),
        (80, String::new())
    );
    assert_eq!(host.world.faults(), Vec::<String>::new());
}

#[test]
fn to_name_what_a_reload_opens_ends_nothing_that_shuts_no_more_than_the_files() {
    let mut host = Host::new();
    let strict = PortPolicy { approval: Approval::Required, ..host.policy(SSH) };
    host.change(Edit::Set(strict.clone()), true).unwrap();
    host.change(Edit::Remove(RDP), true).unwrap();
    host.disable().unwrap();
    for name in ["22/tcp", "22", "3389/any", "mode=observe"] {
        host.reload(&[name], true).unwrap();
        assert_eq!(host.policy(SSH), strict, "{name}");
        assert!(is_open(&host), "{name} turned enforcement on");
        assert!(host.world.core().settings.config().ports.for_port(RDP).is_none(), "{name}");
    }
}

#[test]
fn to_name_a_port_that_only_the_agent_protects_opens_that_port_alone() {
    let mut host = Host::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        host.change(Edit::Set(PortPolicy::new(PortId { number: 53, protocol })), true).unwrap();
    }
    host.reload(&["53/tcp"], true).unwrap();
    let left: Vec<_> = host.world.core().settings.config().ports.for_number(53).map(|policy| policy.id).collect();
    assert_eq!(left, [PortId { number: 53, protocol: Protocol::Udp }]);
}
