//! Tests of `jit-agent enable`, `confirm` and `disable` with a real agent.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::*;
use crate::testing::{
    agent::Agent as Served,
    machine::{Machine, USUAL},
    people::{pusher, root},
    scripted::Server,
};

/// The local time 17:00:22 in a zone one hour ahead of UTC.
fn surroundings() -> Surroundings {
    Surroundings {
        now: "2026-11-22T16:00:22Z".parse().unwrap(),
        zone: TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
        ssh_session: Some("192.0.2.10 51234 192.0.2.1 22".to_owned()),
        ask: None,
    }
}

#[track_caller]
fn complains(outcome: &Outcome, exit: Exit, stderr: &str) {
    assert_eq!(outcome.stderr, stderr);
    assert_eq!((outcome.exit, outcome.stdout.as_str()), (exit, ""));
}

const ENABLE: EnableOptions = EnableOptions { trial: Duration::from_secs(600), grant: None, console: false, yes: true };

/// An agent at 16:00:22 with a break-glass source and two connected clients. The mode decides whether the agent
/// enforces or observes.
fn served(mode: &str) -> Served {
    let mode = format!("break_glass = ['203.0.113.7']\n    mode = '{mode}'");
    let connected_to =
        |_: &[u16]| Ok(["192.0.2.10", "192.0.2.11"].map(|source| (source.parse().unwrap(), 22)).to_vec());
    let machine = Machine { connected_to, ..Machine::usual_with(&USUAL.replace("mode = 'enforce'", &mode)) };
    machine.clock.advance(Duration::from_secs(10));
    Served::start(machine)
}

fn switched(agent: &Served, switch: Switch, ask: Option<fn(&str) -> bool>) -> Outcome {
    run_switch(&agent.socket_of(&root()), switch, &Surroundings { ask, ..surroundings() })
}

#[test]
fn enable_shows_what_will_be_shut_and_who_is_cut_off_and_says_how_to_keep_it() {
    let agent = served("observe");
    let _connected = agent.connect(&pusher());
    let outcome = switched(&agent, Switch::Enable(ENABLE), None);
    let expected = "\
ports that will be shut: 22/tcp, 3389/any, 5986/tcp
2 sources are connected to them by TCP now:
source      port  what becomes of it
192.0.2.10    22  stays: you, with a grant for a time
192.0.2.11    22  WILL BE CUT
way back: break-glass sources 203.0.113.7/32
way back: connected delegates pusher
you work from 192.0.2.10 over port 22, so this address gets a grant for that port

the ports are shut for a trial of 10 min; unless `jit-agent confirm` comes in time, they open again
ENFORCING ON TRIAL: packets without a grant are dropped from now on
grant 17: 192.0.2.10 is let in to port 22 until 18:00:22; `jitctl extend 17 --for 1h` makes it last
the trial ends at 17:10:22 (in 10 min): the ports open again then
open a second connection now to see that you get in, and keep it: jit-agent confirm
";
    assert_eq!(outcome.stdout, expected);
    assert_eq!((outcome.exit, outcome.stderr.as_str()), (Exit::Done, ""));
    assert!(agent.machine.admits(22, "192.0.2.10") && !agent.machine.admits(22, "192.0.2.11"));
}

#[test]
fn nothing_is_shut_or_opened_before_whoever_sits_there_agrees() {
    let asking = Switch::Enable(EnableOptions { yes: false, ..ENABLE });
    let agent = served("observe");
    let outcome = switched(&agent, asking, Some(|_| false));
    complains(&outcome, Exit::Refused, "nothing was changed\n");
    let outcome = switched(&agent, asking, None);
    assert!(outcome.exit == Exit::Refused && outcome.stderr.ends_with("add --yes to go on\n"), "{outcome:?}");
    assert_eq!(agent.machine.count("enabled"), 0);
    let outcome = switched(&agent, asking, Some(|shown| shown.contains("WILL BE CUT")));
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    assert_eq!(agent.machine.count("enabled"), 1);

    let agent = served("enforce");
    let outcome = switched(&agent, Switch::Disable { yes: false }, None);
    let expected = "these ports are open to everybody from now on: 22/tcp, 3389/any, 5986/tcp\nadd --yes to go on\n";
    complains(&outcome, Exit::Refused, expected);
    assert!(!agent.machine.admits(22, "192.0.2.11") && agent.machine.count("disabled") == 0);
    let outcome = switched(&agent, Switch::Disable { yes: true }, None);
    let expected = "observing only: 22/tcp, 3389/any, 5986/tcp are open to everybody\n";
    assert_eq!(outcome, Outcome::done(expected.to_owned()));
}

#[test]
fn a_trial_is_kept_or_ended() {
    let agent = served("observe");
    assert_eq!(switched(&agent, Switch::Enable(ENABLE), None).exit, Exit::Done);
    let ended = "the trial has ended; observing only: 22/tcp, 3389/any, 5986/tcp are open to everybody\n";
    assert_eq!(switched(&agent, Switch::Disable { yes: false }, None), Outcome::done(ended.to_owned()));
    assert_eq!(switched(&agent, Switch::Enable(ENABLE), None).exit, Exit::Done);
    let kept = "confirmed: enforcement is on, and stays on over restarts and reboots\n";
    assert_eq!(switched(&agent, Switch::Confirm, None), Outcome::done(kept.to_owned()));
    let own = agent.machine.own_text();
    assert!(own.contains("mode = \"enforce\""), "{own}");
}

#[test]
fn refusals_and_what_is_not_written_have_exit_codes_of_their_own() {
    let agent = Served::start(Machine::usual_with(&USUAL.replace("'enforce'", "'observe'")));
    let outcome = switched(&agent, Switch::Enable(ENABLE), None);
    assert!(outcome.exit == Exit::Refused && outcome.stderr.contains("--console"), "{outcome:?}");
    let agent = served("observe");
    assert_eq!(switched(&agent, Switch::Enable(ENABLE), None).exit, Exit::Done);
    agent.machine.forbid("INSERT ON audit");
    let outcome = switched(&agent, Switch::Confirm, None);
    assert_eq!(outcome.exit, Exit::Failed);
    assert!(outcome.stdout.starts_with("confirmed: enforcement is on") && outcome.stderr.contains("warning"));
    let nobody = run_switch(Path::new("/nowhere/socket"), Switch::Confirm, &surroundings());
    assert!(nobody.exit == Exit::Unreachable && nobody.stderr.contains("systemctl start jit-agent"), "{nobody:?}");
}

/// The outcome that `jit-agent` derives from an answer.
fn answered(switch: Switch, surroundings: &Surroundings, answers: &[Value]) -> Outcome {
    let server = Server::start(answers.iter().map(|answer| (200, None, answer.clone())).collect());
    run_switch(&server.socket(), switch, surroundings)
}

fn trial() -> Value {
    json!({ "kind": "roles", "untilUtc": "2026-11-22T16:10:22Z", "remaining": "PT10M" })
}

fn enforcement(mode: &str, trial: &Value) -> Value {
    json!({
        "mode": mode, "trial": trial, "unloaded": null, "ports": ["22/tcp"], "connected": [], "connectedFault": null,
        "waysBack": { "breakGlass": [], "delegates": [] },
    })
}

fn change(mode: &str) -> Value {
    json!({ "enforcement": enforcement(mode, &Value::Null), "grant": null, "durable": true })
}

#[test]
fn an_unknown_mode_or_trial_is_not_taken_for_one_that_is_known() {
    let kept = answered(Switch::Confirm, &surroundings(), &[enforcement("enforce", &trial()), change("enforce")]);
    assert_eq!(kept.stdout, "confirmed: what was tried (roles) is in force for good\n");

    // An unknown mode may drop packets, and `disable` would turn it off. So the command asks first.
    let off = Switch::Disable { yes: false };
    let refused = answered(off, &surroundings(), &[enforcement("quarantine", &Value::Null)]);
    assert_eq!(refused.exit, Exit::Refused, "{refused:?}");
    assert!(refused.stderr.contains("open to everybody from now on: 22/tcp"), "{refused:?}");

    let agreed = Surroundings { ask: Some(|_| true), ..surroundings() };
    let done = answered(off, &agreed, &[enforcement("enforce", &Value::Null), change("quarantine")]);
    assert_eq!(done.stdout, "the mode is quarantine now\n");
}
