//! Tests that kill the agent at each step of a trial. The successor continues that trial until its end, or restores the
//! configuration from before it. If the agent was confirming the trial, the trial may count as confirmed, and then the
//! audit log says so.

use jit_policy::{PortPolicy, Span};

use super::{
    crash::Deadly,
    host::{Host, LENGTH, OPERATOR, SSH, asked, passes, session},
    *,
};
use crate::{
    config::{own::Edit, unloaded},
    crash::killed_after,
};

/// A number of steps that no work in these tests reaches.
const MANY: usize = 100;

/// The work that is done to a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Begin,
    Confirm,
    Disable,
    Expire,
}

/// How a successor is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Successor {
    AtOnce,
    AfterTheEnd,
    AfterAReboot,
}

/// A kind of trial: the host before the trial, and how the trial begins.
struct Kind {
    host: fn() -> Host,
    begin: fn(&mut Host),
    is_of_edited_files: bool,
    /// Whether enforcement was on before the trial. Then only an agent ends the trial.
    was_enforcing: bool,
}

fn unloaded_host() -> Host {
    let mut host = Host::new();
    unloaded::mark(host.world.dir.path(), "by root").unwrap();
    host.begin(true);
    host
}

fn granted_host() -> Host {
    let mut host = Host::new();
    host.begin(true);
    host.session = Some(session(OPERATOR));
    host.grant(22, OPERATOR, 7200);
    host.grant(22, "10.0.0.1", 7200);
    host
}

fn edited_host() -> Host {
    let host = granted_host();
    host.rewrite("'192.0.2.0/24', ", "");
    host
}

fn narrow(host: &mut Host) {
    let sources = vec![parse_source("10.0.0.0/8").unwrap()];
    let edit = Edit::Set(PortPolicy { allowed_sources: sources, ..host.policy(SSH) });
    drop(host.change(edit, true));
}

/// Returns who is admitted according to the kernel's tables.
fn admitted(host: &Host) -> [bool; 4] {
    [(22, OPERATOR), (22, "10.0.0.1"), (22, "192.0.2.8"), (3389, "192.0.2.8")]
        .map(|(port, source)| passes(host, port, source))
}

/// Returns who is admitted, even by unloaded enforcement.
fn seen(host: &mut Host) -> [bool; 4] {
    if host.unloaded() { [true; 4] } else { admitted(host) }
}

/// Who is admitted before a trial and during the trial.
#[derive(Clone, Copy)]
struct Expected {
    before: [bool; 4],
    tried: [bool; 4],
    was_enforcing: bool,
}

fn expected(kind: &Kind) -> Expected {
    let mut host = (kind.host)();
    let before = seen(&mut host);
    (kind.begin)(&mut host);
    let tried = seen(&mut host);
    assert_ne!(before, tried);
    Expected { before, tried, was_enforcing: kind.was_enforcing }
}

/// Prepares a host for some work. Returns the host with the moment when the trial ends.
fn prepared(kind: &Kind, work: Work) -> (Host, BootTime) {
    let mut host = (kind.host)();
    let until = host.world.clock.boot().after(secs(LENGTH));
    if work != Work::Begin {
        (kind.begin)(&mut host);
        assert!(host.status().trial.is_some());
        host.world.clock.advance(secs(if work == Work::Expire { LENGTH } else { 100 }));
    }
    let kernel = host.world.kernel.clone();
    host.world.core().live.replace_datapath(Box::new(Deadly::at_steps(kernel)));
    (host, until)
}

fn done(host: &mut Host, kind: &Kind, work: Work) {
    match work {
        Work::Begin => (kind.begin)(host),
        Work::Confirm => drop(host.confirm()),
        Work::Disable => drop(host.disable()),
        Work::Expire => host.world.core().sweep(),
    }
}

/// Kills the agent at each step of all work that can be done to a trial.
fn kill_everywhere(kind: &Kind) {
    let expected = expected(kind);
    for work in [Work::Begin, Work::Confirm, Work::Disable, Work::Expire] {
        // Before the trial is recorded, a start considers the edited files intended.
        let first = usize::from(kind.is_of_edited_files && work == Work::Begin);
        let mut steps = first;
        while steps < MANY {
            let mut killed = false;
            for successor in [Successor::AtOnce, Successor::AfterTheEnd, Successor::AfterAReboot] {
                let (mut host, until) = prepared(kind, work);
                killed = killed_after(steps, || done(&mut host, kind, work));
                if killed {
                    let place = format!("{work:?}, {steps} steps, {successor:?}");
                    follow(&mut host, (until, expected), (successor, work), &place);
                }
            }
            if !killed {
                break;
            }
            steps += 1;
        }
        assert!((2..MANY).contains(&steps), "{work:?} has {steps} steps");
    }
}

#[test]
fn an_agent_killed_at_any_step_of_enabling_tells_of_a_confirmation_or_observes_in_the_end() {
    let begin: fn(&mut Host) = |host| drop(host.enable(asked()));
    kill_everywhere(&Kind { host: Host::observing, begin, is_of_edited_files: false, was_enforcing: false });
}

#[test]
fn an_agent_killed_at_any_step_of_enabling_what_was_unloaded_tells_of_a_confirmation_or_is_unloaded_in_the_end() {
    let begin: fn(&mut Host) = |host| drop(host.enable(asked()));
    kill_everywhere(&Kind { host: unloaded_host, begin, is_of_edited_files: false, was_enforcing: false });
}

#[test]
fn an_agent_killed_at_any_step_of_a_ports_trial_tells_of_a_confirmation_or_lets_back_in_who_was_cut_off() {
    kill_everywhere(&Kind { host: granted_host, begin: narrow, is_of_edited_files: false, was_enforcing: true });
}

#[test]
fn an_agent_killed_at_any_step_of_a_trial_of_edited_files_tells_of_a_confirmation_or_puts_the_old_ones_in_force() {
    let begin: fn(&mut Host) = |host| drop(host.reload(&[], true));
    kill_everywhere(&Kind { host: edited_host, begin, is_of_edited_files: true, was_enforcing: true });
}

/// Checks what a successor finds, and what it makes of the trial.
fn follow(
    host: &mut Host,
    (until, Expected { before, tried, was_enforcing }): (BootTime, Expected),
    (successor, work): (Successor, Work),
    place: &str,
) {
    drop(host.world.core.take());
    match successor {
        Successor::AtOnce => host.begin(true),
        Successor::AfterTheEnd => {
            host.world.clock.advance(secs(LENGTH + 10));
            // An unattached program drops nothing, whatever the tables say.
            let is_unloaded = unloaded::marked(host.world.dir.path()).is_some();
            let by_kernel = if is_unloaded { [true; 4] } else { admitted(host) };
            let without_agent = if was_enforcing { tried } else { [true; 4] };
            // Between two steps, what is shut by any of the two is shut.
            let shut = std::array::from_fn(|place| before[place] && tried[place]);
            let is_as_expected = [without_agent, before, shut].contains(&by_kernel);
            host.begin(true);
            assert!(is_as_expected || host.world.count("confirmed") > 0, "{place}: without an agent, {by_kernel:?}");
        }
        Successor::AfterAReboot => host.reboot(),
    }
    let trial = host.status().trial;
    let now = host.world.clock.boot();
    if let Some(trial) = &trial {
        assert_eq!(trial.remaining, Span(until.since(now)).iso(), "{place}: the original end");
        assert_eq!((successor, seen(host)), (Successor::AtOnce, tried), "{place}");
        host.world.pass(until.since(now).as_secs());
    }
    let confirmed = host.world.count("confirmed");
    assert!(confirmed == 0 || (trial.is_none() && work == Work::Confirm), "{place}: {confirmed} times confirmed");
    let expected = if confirmed > 0 { tried } else { before };
    assert_eq!(seen(host), expected, "{place}: confirmed {confirmed} times, trial {trial:?}");
    host.world.pass(LENGTH + 10);
    host.begin(true);
    assert_eq!((seen(host), host.status().trial), (expected, None), "{place}: later");
    host.reboot();
    assert_eq!((seen(host), host.status().trial), (expected, None), "{place}: after a reboot");
    assert_eq!(host.world.count("confirmed"), confirmed, "{place}: told already");
}
