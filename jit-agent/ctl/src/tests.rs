//! `jitctl` from its arguments to its output, at a real agent.

mod audit;
mod newer;
mod packets;
mod ports;
mod requests;
mod status;

use std::{
    io,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use jit_agent::{
    core::peer::Peer,
    datapath::{Datapath as _, InterfaceView},
    testing::{
        MemoryDatapath,
        agent::Agent,
        machine::{Machine, USUAL, full_disk},
        people::{alice, bob, carol, mallory, root},
        scripted::Server,
    },
};
use jit_api::terminal::{Exit, Outcome, Surroundings};
use serde_json::{Value, json};

use super::{run, run_to};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// 17:00:22 in a zone one hour ahead of UTC.
fn surroundings() -> Surroundings {
    Surroundings {
        now: time("2026-11-22T16:00:22Z"),
        zone: TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
        ssh_session: Some("192.0.2.10 51234 192.0.2.1 22".to_owned()),
        ask: None,
    }
}

fn jitctl_at(socket: &Path, arguments: &[&str]) -> Outcome {
    let program = ["jitctl", "--socket", socket.to_str().unwrap()];
    run(program.iter().chain(arguments).map(Into::into), &surroundings())
}

/// The outcome of a command that a user runs.
fn jitctl_as(agent: &Agent, peer: &Peer, arguments: &[&str]) -> Outcome {
    jitctl_at(&agent.socket_of(peer), arguments)
}

/// The outcome of a command that root runs.
fn jitctl(agent: &Agent, arguments: &[&str]) -> Outcome {
    jitctl_as(agent, &root(), arguments)
}

#[track_caller]
fn shows(outcome: &Outcome, exit: Exit, stdout: &str) {
    assert_eq!(outcome.stdout, stdout, "{outcome:?}");
    assert_eq!((outcome.exit, outcome.stderr.as_str()), (exit, ""));
}

#[track_caller]
fn complains(outcome: &Outcome, exit: Exit, stderr: &str) {
    assert_eq!(outcome.stderr, stderr);
    assert_eq!((outcome.exit, outcome.stdout.as_str()), (exit, ""));
}

/// An agent at 17:00:12.
fn agent() -> Agent {
    Agent::start(Machine::usual())
}

const SSH: [&str; 9] = ["request", "--port", "22/tcp", "--from", "192.0.2.10", "--for", "30m", "-m", "ticket 7"];
/// A request that someone has to approve.
const WINRM: [&str; 9] = ["request", "--port", "5986", "--from", "me", "--for", "30m", "-m", "ticket 7"];

/// An agent from which alice got [`SSH`] ten seconds ago, as grant 17 by request 9.
fn granted() -> Agent {
    let agent = agent();
    assert_eq!(jitctl_as(&agent, &alice(), &SSH).exit, Exit::Done);
    agent.pass(Duration::from_secs(10));
    agent
}

#[test]
fn grants_are_a_table_with_local_times_and_what_remains() {
    let agent = granted();
    agent.machine.number_from(10, 118);
    // The host's database of users is not always as it should be.
    let bob = Peer { name: "bob\u{1b}[2J".to_owned(), ..bob() };
    let arguments = ["request", "--port", "3389", "--from", "2001:db8::/64", "--for", "24h", "-m", "x"];
    assert_eq!(jitctl_as(&agent, &bob, &arguments).exit, Exit::Done);
    assert!(agent.machine.admits(3389, "2001:db8::1"));
    let expected = "\
grant  port      source         until                          last connection  requestor     request
   17  22/tcp    192.0.2.10     17:30:12 (in 29 min 50 s)      never            alice               9
  118  3389/any  2001:db8::/64  2026-11-23 17:00:22 (in 24 h)  17:00:22         bob\\u{1b}[2J       10
";
    shows(&jitctl(&agent, &["grants"]), Exit::Done, expected);
    assert_eq!(jitctl(&agent, &["revoke", "--all"]).exit, Exit::Done);
    shows(&jitctl(&agent, &["grants"]), Exit::Done, "no live grants\n");
}

#[test]
fn requests_are_a_table_of_who_what_and_why() {
    let machine = Machine::new(USUAL, time("2026-11-21T16:00:12Z"));
    machine.number_from(8, 16);
    let agent = Agent::start(machine);
    shows(&jitctl(&agent, &["requests"]), Exit::Done, "no requests\n");
    agent.machine.kernel.fail(0..1);
    assert_eq!(jitctl_as(&agent, &alice(), &SSH[..7]).exit, Exit::Failed);
    agent.pass(Duration::from_secs(86_400));
    assert_eq!(jitctl_as(&agent, &alice(), &SSH).exit, Exit::Done);
    let expected = "\
request  time                 requestor  ports   status                                                                       justification
      9  17:00:12             alice      22/tcp  approved, 1 of 1 grant live                                                  ticket 7
      8  2026-11-21 17:00:12  alice      22/tcp  failed: nothing was opened: setting 22/tcp from 192.0.2.10/32: made to fail
";
    shows(&jitctl(&agent, &["requests"]), Exit::Done, expected);
}

#[test]
fn ports_are_a_table_of_what_may_be_requested() {
    let agent = granted();
    assert!(agent.machine.admits(22, "192.0.2.10") && !agent.machine.admits(22, "192.0.2.11"));
    assert!(!agent.machine.admits(22, "192.0.2.12") && !agent.machine.admits(3389, "192.0.2.10"));
    agent.pass(Duration::from_secs(1));
    let expected = "\
port      maximum  approval  justification  quota  live grants  7 days  passed  dropped  last connection  last user  allowed sources
22/tcp        3 h  auto      optional          32            1       1       1        2  17:00:22         alice      192.0.2.0/24, 2001:db8::/32
3389/any     24 h  auto      required          32            0       0       0        1  never            -          198.51.100.0/24, 2001:db8::/32
5986/tcp      3 h  required  optional          32            0       0       0        0  never            -          192.0.2.0/24
";
    shows(&jitctl(&agent, &["ports"]), Exit::Done, expected);
    let agent = Agent::start(Machine::usual_with("port = []"));
    shows(&jitctl(&agent, &["ports"]), Exit::Done, "no protected ports\n");
}

#[test]
fn a_request_says_what_is_open_and_how_to_end_it() {
    let agent = agent();
    let expected = "22/tcp open for 192.0.2.10 until 17:30:12 (in 30 min), grant 17\n\
                    end it early with: jitctl revoke 17\n";
    assert_eq!(jitctl_as(&agent, &alice(), &SSH), Outcome::done(expected.to_owned()));
    let two = ["request", "--port", "22", "--from", "me", "--from", "192.0.2.11", "--for", "1h"];
    let outcome = jitctl_as(&agent, &alice(), &two);
    assert!(outcome.stdout.ends_with("grant 19\nend them early with: jitctl revoke 18 19\n"), "{outcome:?}");
}

#[test]
fn what_was_written_reaches_the_core() {
    let port = |number: u16, protocol: &str| format!("[[port]]\nnumber = {number}\nprotocol = '{protocol}'\n");
    let ports = [port(22, "any"), port(3389, "any"), port(53, "any")].concat();
    let agent = Agent::start(Machine::usual_with(&ports));
    let arguments =
        ["request", "--port", "22", "--port", "3389/any", "53/udp", "--from", "me", "--from", "2001:db8::/64"];
    let arguments = [&arguments[..], &["--until", "17:30", "-m", "ticket 7", "--json"]].concat();
    let outcome = jitctl_as(&agent, &alice(), &arguments);
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    let request: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&request["justification"], &request["requestor"]), (&"ticket 7".into(), &"alice".into()));
    let grants: Vec<_> = request["grants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|grant| {
            assert_eq!(grant["endTimeUtc"], "2026-11-22T16:30:00Z");
            (grant["number"].as_u64().unwrap(), grant["protocol"].as_str().unwrap(), grant["source"].as_str().unwrap())
        })
        .collect();
    // Without a protocol, the request asks for the protocol of the port's policy.
    let expected = [(22, "*"), (3389, "*"), (53, "UDP")]
        .map(|(number, protocol)| ["192.0.2.10/32", "2001:db8::/64"].map(|source| (number, protocol, source)));
    assert_eq!(grants, expected.concat());
}

#[test]
fn a_revocation_says_what_is_closed() {
    let closed = "22/tcp closed for 192.0.2.10, grant 17 of alice\n";
    let both = format!("{closed}22/tcp closed for 192.0.2.11, grant 18 of bob\n");
    for (arguments, expected, reasons) in [
        (&["revoke", "17", "18", "-m", "done"][..], both.as_str(), ["done", "done"]),
        (&["revoke", "--user", "alice"], closed, ["", ""]),
        (&["revoke", "--all"], &both, ["", ""]),
    ] {
        let agent = granted();
        let other = ["request", "--port", "22", "--from", "192.0.2.11", "--for", "1h"];
        assert_eq!(jitctl_as(&agent, &bob(), &other).exit, Exit::Done);
        assert_eq!(jitctl(&agent, arguments), Outcome::done(expected.to_owned()));
        assert_eq!(agent.machine.reasons(), reasons);
        assert!(!agent.machine.admits(22, "192.0.2.10"));
    }
    shows(&jitctl(&agent(), &["revoke", "--all"]), Exit::Done, "no live grants to revoke\n");
}

#[test]
fn a_closing_that_is_not_written_is_reported_and_fails() {
    let agent = granted();
    agent.machine.forbid("UPDATE ON grants");
    let outcome = jitctl(&agent, &["revoke", "17"]);
    assert_eq!(outcome.exit, Exit::Failed);
    assert!(outcome.stdout.contains("22/tcp closed"), "{outcome:?}");
    assert!(outcome.stderr.contains("could not be written"), "{outcome:?}");
}

#[test]
fn json_is_what_the_agent_says() {
    let outcome = jitctl(&granted(), &["grants", "--json"]);
    let value: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((outcome.exit, &value["value"][0]["id"]), (Exit::Done, &Value::from(17)));
    assert_eq!(value["value"][0]["endTimeUtc"], "2026-11-22T16:30:12Z");
    assert!(outcome.stdout.ends_with("}\n"));
    let outcome = jitctl(&agent(), &["--json", "grants"]);
    assert_eq!(outcome, Outcome::done("{\n  \"value\": []\n}\n".to_owned()));
}

#[test]
fn a_refusal_by_policy_lists_every_violation() {
    let agent = agent();
    let arguments = ["request", "--port", "22", "3389", "--from", "192.0.2.1", "--for", "9h"];
    let expected = "\
error: the request asks for more than is allowed
  port      field                         given         allowed
  22/tcp    duration                      9 h           at most 3 h
  3389/any  allowedSourceAddressPrefixes  192.0.2.1/32  within 198.51.100.0/24 or 2001:db8::/32
  3389/any  justification                 none          a text that says why
";
    complains(&jitctl_as(&agent, &alice(), &arguments), Exit::Refused, expected);
    let outcome = jitctl_as(&agent, &alice(), &[&arguments[..], &["--json"]].concat());
    let problem: Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!((outcome.exit, problem["code"].as_str()), (Exit::Refused, Some("policy_violation")));
    assert_eq!(outcome.stdout, "");
}

#[test]
fn a_violation_without_a_port_has_a_dash_and_what_no_terminal_should_see_is_escaped() {
    let violation = json!({ "port": null, "field": "justification", "given": "\u{1b}", "allowed": "a text" });
    let problem = json!({
        "type": "about:blank", "title": "", "status": 422, "detail": "no", "code": "policy_violation",
        "violations": [violation],
    });
    let server = Server::start(vec![(422, None, problem)]);
    let expected = "error: no\n  port  field          given   allowed\n  -     justification  \\u{1b}  a text\n";
    complains(&jitctl_at(&server.socket(), &SSH), Exit::Refused, expected);
}

#[test]
fn what_the_core_refuses_has_its_exit_code() {
    let agent = granted();
    let stderr = "error: mallory (uid 4000000006) has no role that allows this; an admin can add the user or a group to \
                  `requester` in [roles]\n";
    complains(&jitctl_as(&agent, &mallory(), &["revoke", "17"]), Exit::NotPermitted, stderr);
    complains(&jitctl(&agent, &["revoke", "16"]), Exit::Failed, "error: there is no grant 16\n");
    let machine = Machine::usual();
    let kernel = MemoryDatapath::new(Arc::new(machine.clock.clone()), 0);
    let agent = Agent::start(Machine { kernel, ..machine });
    let stderr = "error: no room for more grants: the table MEMORY holds 0 entries and is full; revoke some, or wait \
                  until some end\n";
    complains(&jitctl_as(&agent, &alice(), &SSH), Exit::Failed, stderr);
    let agent = Agent::start(Machine { store_fault: Some(full_disk()), ..Machine::usual() });
    complains(&jitctl_as(&agent, &alice(), &SSH), Exit::Failed, &format!("error: {}\n", full_disk()));
}

#[test]
fn an_agent_with_too_many_connections_says_so() {
    let agent = agent();
    let _held: Vec<_> = (0..32).map(|_| UnixStream::connect(agent.socket_of(&root())).unwrap()).collect();
    let stderr = "error: too many open connections; close some and try again\n";
    complains(&jitctl(&agent, &["grants"]), Exit::Failed, stderr);
}

#[test]
fn arguments_that_can_not_be_used_say_what_to_write() {
    let nowhere = Path::new("/nonexistent/agent.sock");
    let port = ["request", "--port", "22"];
    let source = ["--from", "192.0.2.10"];
    let table: [(Vec<&str>, &str); 13] = [
        (vec![], "Usage: jitctl"),
        (vec!["open"], "unrecognized subcommand 'open'"),
        (vec!["revoke"], "<ID|--user <NAME>|--all>"),
        (vec!["revoke", "0"], "0 is not in 1.."),
        (vec!["revoke", "1", "--all"], "cannot be used with"),
        (
            ["request", "--port", "0"].into_iter().chain(source).collect(),
            "port number `0` is out of range; use 1 to 65535",
        ),
        ([&port[..], &source].concat(), "<--for <DURATION>|--until <TIME>>"),
        ([&port[..], &source, &["--for", "30"]].concat(), "`30` is not a duration; write one like 90s"),
        ([&port[..], &source, &["--for", "1h", "--until", "17:30"]].concat(), "cannot be used with"),
        ([&port[..], &source, &["--until", "5pm"]].concat(), "`5pm` is not a time; write one like 17:30"),
        (
            [&port[..], &["--from", "192.0.2.7/24", "--for", "1h"]].concat(),
            "write 192.0.2.0/24 for the network or 192.0.2.7",
        ),
        ([&port[..], &["--from", "fe80::1%eth0", "--for", "1h"]].concat(), "has a zone, which no packet carries"),
        ([&port[..], &["--for", "1h"]].concat(), "--from <PREFIX|me>"),
    ];
    for (arguments, text) in table {
        let outcome = jitctl_at(nowhere, &arguments);
        assert_eq!((outcome.exit, outcome.stdout.as_str()), (Exit::Usage, ""), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.contains(text), "{arguments:?}: {}", outcome.stderr);
    }
    let long = "x".repeat(1001);
    let outcome = jitctl_as(&agent(), &alice(), &[&SSH[..7], &["-m", &long]].concat());
    assert_eq!(outcome.exit, Exit::Usage);
    assert!(outcome.stderr.contains("1001 characters  at most 1000 characters"), "{}", outcome.stderr);
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (argument, text) in [("--help", "Exit codes: 0 done"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let outcome = jitctl_at(Path::new("/nonexistent"), &[argument]);
        assert_eq!((outcome.exit, outcome.stderr.as_str()), (Exit::Done, ""));
        assert!(outcome.stdout.contains(text), "{}", outcome.stdout);
    }
}

#[test]
fn an_agent_that_is_not_there_is_told_by_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent.sock");
    let path = socket.display();
    let remedy = "is jit-agent running? see `systemctl status jit-agent`";
    let missing =
        format!("error: no agent at {path}: there is no such socket; {remedy}, or name its socket with --socket\n");
    complains(&jitctl_at(&socket, &["status"]), Exit::Unreachable, &missing);
    drop(UnixListener::bind(&socket).unwrap());
    let refused = format!("error: no agent at {path}: nobody listens there; {remedy}\n");
    complains(&jitctl_at(&socket, &["status"]), Exit::Unreachable, &refused);
    let file = directory.path().join("x").join("agent.sock");
    std::fs::write(directory.path().join("x"), "").unwrap();
    let outcome = jitctl_at(&file, &["status"]);
    assert_eq!(outcome.exit, Exit::Unreachable);
    assert!(outcome.stderr.contains("can't connect to"), "{}", outcome.stderr);
}
