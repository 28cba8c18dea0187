//! What is in force for a time only.

use std::fs;

use jit_common::abi::Mode;

use super::{
    change::{ChangeRefusal, Reload},
    policies::{Host, SSH},
    view::{Cover, EnableAsked, Enabled, Session, StatusView},
    *,
};
use crate::{
    config::{accepted, edit::Edit, files, trial, unloaded},
    policy::PortPolicy,
};

const LENGTH: u64 = 600;
const OPERATOR: &str = "192.0.2.7";

fn session(source: &str) -> Session {
    Session { source: source.parse().unwrap(), port: 22 }
}

fn asked() -> EnableAsked {
    EnableAsked { trial: secs(LENGTH), session: Some(session(OPERATOR)), grant: None, console: true }
}

impl Host {
    /// A host whose agent observes.
    fn observing() -> Self {
        let mut host = Self::new();
        host.rewrite("mode = 'enforce'", "mode = 'observe' # for now");
        host.begin(true);
        host
    }

    /// Starts the agent with what the daemon would start it with; it has not been told of the files before.
    fn begin(&mut self, adopted: bool) {
        let loaded = files::load(&self.file).unwrap();
        let state = loaded.config.places.state.clone();
        self.world.config = loaded.config;
        accepted::remember(&state, &loaded.text).unwrap();
        let mut origin = Origin::loaded(&self.file, loaded.origin);
        let record = trial::recall(&state).unwrap();
        let now = self.world.clock.boot();
        if let Some(record) = record.filter(|record| record.runs(&self.world.boot.boot_id, now, LONGEST_TRIAL)) {
            let before = self.world.config.clone();
            self.world.config = record.config().unwrap();
            origin.trial = Some(Trial { record, before });
        }
        origin.unloaded = unloaded::marked(&state);
        let kernel = self.world.kernel.clone();
        self.world.origin = origin;
        self.world.start_on(Box::new(kernel), adopted);
    }

    fn enable(&mut self, asked: EnableAsked) -> Result<Enabled, Refusal> {
        self.world.ask(|reply| Command::Enable(root(), asked, Vec::new(), reply))
    }

    fn confirm(&mut self) -> Result<bool, Refusal> {
        self.world.ask(|reply| Command::Confirm(root(), Vec::new(), reply)).map(|(_, durable)| durable)
    }

    fn disable(&mut self) -> Result<bool, Refusal> {
        self.world.ask(|reply| Command::Disable(root(), Vec::new(), reply)).map(|(_, durable)| durable)
    }

    fn status(&mut self) -> StatusView {
        self.world.core().status(&root()).unwrap()
    }

    fn written(&self) -> bool {
        trial::recall(self.world.dir.path()).unwrap().is_some()
    }
}

/// Whether a TCP packet passes, be it that nothing is dropped at all.
fn passes(host: &Host, number: u16, source: &str) -> bool {
    let packet = crate::datapath::Packet {
        source: source.parse().unwrap(),
        number,
        transport: Transport::Tcp,
        destination: None,
        interface: None,
    };
    let trace = host.world.kernel.trace(&packet).unwrap();
    trace.mode == Mode::Observe || trace.reason.verdict() == Verdict::Pass
}

/// Whether only the operator gets in.
fn is_shut(host: &Host) -> bool {
    passes(host, 22, OPERATOR) && !passes(host, 22, "192.0.2.8") && !passes(host, 3389, "192.0.2.8")
}

fn is_open(host: &Host) -> bool {
    passes(host, 22, "192.0.2.8") && passes(host, 3389, "203.0.113.1")
}

#[test]
fn a_trial_shuts_the_ports_for_all_but_the_operator_and_opens_them_again_at_its_end() {
    let mut host = Host::observing();
    let before = host.text();
    assert!(is_open(&host));
    let enabled = host.enable(asked()).unwrap();
    assert!(is_shut(&host) && enabled.durable);
    assert_eq!(enabled.grant.unwrap().source, parse_source(OPERATOR).unwrap());
    let status = host.status();
    assert_eq!((status.mode, status.trial.unwrap().remaining), ("enforce", secs(LENGTH)));
    assert_eq!(host.text(), before, "a reboot comes up observing");

    host.world.pass(LENGTH - 1);
    assert!(is_shut(&host));
    host.world.clock.advance(secs(1));
    assert!(is_open(&host), "without any act of the agent");
    host.world.core().sweep();
    assert!(is_open(&host) && !host.written());
    assert_eq!((host.status().mode, host.status().trial), ("observe", None));
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
    assert_eq!(host.status().trial.unwrap().remaining, secs(LENGTH - 100));
    host.world.pass(LENGTH - 100);
    assert!(is_open(&host) && !host.written());

    host.enable(asked()).unwrap();
    host.world.boot.boot_id.push('+');
    host.begin(false);
    assert!(is_open(&host));
    assert_eq!(host.status().trial, None);
}

#[test]
fn a_confirmed_trial_is_in_the_file_and_has_no_end() {
    let mut host = Host::observing();
    host.enable(asked()).unwrap();
    assert!(host.confirm().unwrap());
    assert!(host.text().contains("mode = \"enforce\" # for now"), "{}", host.text());
    assert!(!host.written());
    host.world.pass(LENGTH + 100);
    assert!(is_shut(&host));
    assert_eq!((host.status().mode, host.status().trial), ("enforce", None));
    assert_eq!((host.world.count("confirmed"), host.world.count("trial_ended")), (1, 0));
    let kept = accepted::recall(host.world.dir.path()).unwrap();
    assert_eq!(kept.mode, Mode::Enforce, "a start with a broken file would enforce too");
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

    let enable = |connected: Vec<Peer>| |reply| Command::Enable(root(), no_console, connected, reply);
    assert!(host.world.ask(enable(vec![root(), alice(), bob()])).is_err(), "others are none");
    host.world.ask(enable(vec![peer(PUSHER, "pusher")])).unwrap();
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
    assert_eq!(enabled.grant.unwrap().remaining, secs(3600), "an admin needs no second person");
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
    host.begin(true);
    host.grant(22, "192.0.2.8", 1000);
    host.world.core().enforcement.connected_to = |ports| {
        assert_eq!(ports, [22, 3389, 5986]);
        let sources = ["10.0.0.1", "192.0.2.8", "192.0.2.9"];
        Ok(sources.map(|source| (source.parse().unwrap(), 22)).to_vec())
    };
    let view = host.world.ask(|reply| Command::Enforcement(root(), vec![peer(PUSHER, "pusher")], reply)).unwrap();
    let covers: Vec<Option<Cover>> = view.sessions.iter().map(|session| session.covered).collect();
    assert_eq!(covers, [Some(Cover::BreakGlass), Some(Cover::Grant(GrantId(1))), None]);
    assert_eq!((view.break_glass.len(), view.delegates), (1, vec!["pusher".to_owned()]));
    assert!(host.world.ask(|reply| Command::Enforcement(alice(), Vec::new(), reply)).is_err());
}

#[test]
fn disable_ends_a_trial_and_otherwise_writes_into_the_file_that_nothing_is_dropped() {
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
    assert!(is_open(&host) && host.text().contains("mode = \"observe\" # for now"));
    assert_eq!(host.world.count("disabled"), 1);
    assert!(host.disable().unwrap_err().to_string().contains("off already"));
}

#[test]
fn nothing_is_opened_that_could_not_be_audited_and_a_trial_ends_all_the_same() {
    let mut host = Host::observing();
    host.enable(asked()).unwrap();
    host.confirm().unwrap();
    host.world.core().store = Err("broken".to_owned());
    assert!(matches!(host.disable(), Err(Refusal::Unavailable(_))));
    assert!(is_shut(&host) && host.text().contains("enforce"));

    let mut host = Host::observing();
    host.enable(asked()).unwrap();
    host.world.core().store = Err("broken".to_owned());
    host.world.pass(LENGTH);
    assert!(is_open(&host) && host.status().mode == "observe");
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
    assert_eq!(host.text(), before);
    host.begin(true);
    assert!(!passes(&host, 22, OPERATOR), "also after a restart");
    host.world.pass(CHANGE_TRIAL.as_secs());
    assert!(passes(&host, 22, OPERATOR) && !passes(&host, 22, "192.0.2.9"));
    assert_eq!((host.text(), host.world.live()), (before, vec![1, 2]));

    let edit = narrow(&mut host);
    host.change(edit, true).unwrap();
    host.confirm().unwrap();
    assert!(host.text().contains("10.0.0.0/8\"]") && host.world.live() == [2]);
    host.world.pass(CHANGE_TRIAL.as_secs() + 10);
    assert!(!passes(&host, 22, OPERATOR) && passes(&host, 22, "10.0.0.1"));

    host.session = Some(session("10.0.0.1"));
    let edit = Edit::Set(PortPolicy { quota: 7, ..host.policy(SSH) });
    assert_eq!(host.change(edit, true).unwrap().trial, None, "one that cuts off nobody is for good at once");
}

#[test]
fn a_change_on_trial_lets_nobody_in_between_while_the_agent_lives() {
    let mut host = Host::new();
    host.session = Some(session(OPERATOR));
    host.grant(22, OPERATOR, 7200);
    let edit = Edit::Set(PortPolicy { allowed_sources: vec![parse_source("10.0.0.0/8").unwrap()], ..host.policy(SSH) });
    host.change(edit, true).unwrap();
    host.world.clock.advance(CHANGE_TRIAL);
    assert!(!passes(&host, 22, "192.0.2.9"), "the agent comes first");
    host.world.core().sweep();
    assert!(!passes(&host, 22, "192.0.2.9") && passes(&host, 22, OPERATOR));
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
    let by_signal = Reload { allow_open: Vec::new(), confirm: true, session: None };
    assert!(host.world.core().reload(None, &by_signal).is_err());
    assert!(passes(&host, 22, OPERATOR));
    host.session = None;
    assert_eq!(host.reload(&[], true).unwrap().trial, None, "from the console they are");
    assert!(!passes(&host, 22, OPERATOR) && !host.written());
    host.world.core().reload(None, &by_signal).unwrap();
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
    assert!(is_open(&host) && host.status().mode == "observe");
    assert!(host.world.faults().iter().any(|fault| fault.contains("unloaded by root")));
    host.enable(asked()).unwrap();
    host.confirm().unwrap();
    assert_eq!(unloaded::marked(host.world.dir.path()), None);
    host.world.pass(LENGTH);
    assert!(is_shut(&host));
    assert!(fs::read_to_string(&host.file).unwrap().contains("mode = 'enforce'"));
}
