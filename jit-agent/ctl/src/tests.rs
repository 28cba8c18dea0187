//! `jitctl` from its arguments to its output, against a core that answers by script over a real socket.

mod audit;
mod newer;
mod packets;
mod ports;
mod requests;

use std::{os::unix::net::UnixListener, path::Path, time::Duration};

use jiff::tz::TimeZone;
use jit_agent::{
    core::view::{GrantView, Refusal, RequestView, StatusView},
    datapath::InterfaceView,
    http::fake::{self, Agent, Script, time},
};
use jit_api::terminal::{Exit, Outcome, Surroundings};
use jit_policy::{PortId, Protocol, Until, Violation};
use serde_json::Value;

use super::run;

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

fn jitctl(script: Script, arguments: &[&str]) -> Outcome {
    jitctl_at(&Agent::start(script).socket(), arguments)
}

#[track_caller]
fn shows(script: Script, arguments: &[&str], exit: Exit, stdout: &str) {
    let outcome = jitctl(script, arguments);
    assert_eq!(outcome.stdout, stdout, "{outcome:?}");
    assert_eq!((outcome.exit, outcome.stderr.as_str()), (exit, ""));
}

#[track_caller]
fn complains(outcome: &Outcome, exit: Exit, stderr: &str) {
    assert_eq!(outcome.stderr, stderr);
    assert_eq!((outcome.exit, outcome.stdout.as_str()), (exit, ""));
}

fn request(more: &[&str]) -> Outcome {
    let arguments = [&["request", "--port", "22/tcp", "--from", "192.0.2.10", "--for", "30m"], more].concat();
    jitctl(Script::default(), &arguments)
}

#[test]
fn grants_are_a_table_with_local_times_and_what_remains() {
    let tomorrow = GrantView {
        port: PortId { number: 3389, protocol: Protocol::Any },
        source: "2001:db8::/64".parse().unwrap(),
        requestor: "bob\u{1b}[2J".to_owned(),
        end: time("2026-11-23T16:00:22Z"),
        remaining: Duration::from_secs(86_400),
        last_connection: Some(time("2026-11-22T15:59:58Z")),
        ..fake::grant(118)
    };
    let script = Script { grants: vec![fake::grant(17), tomorrow], ..Script::default() };
    let expected = "\
grant  port      source         until                          last connection  requestor     request
   17  22/tcp    192.0.2.10     17:30:12 (in 29 min 50 s)      never            ann                 9
  118  3389/any  2001:db8::/64  2026-11-23 17:00:22 (in 24 h)  16:59:58         bob\\u{1b}[2J        9
";
    shows(script, &["grants"], Exit::Done, expected);
    shows(Script { grants: Vec::new(), ..Script::default() }, &["grants"], Exit::Done, "no live grants\n");
}

#[test]
fn requests_are_a_table_of_who_what_and_why() {
    let failed = RequestView {
        id: fake::request().id,
        status: jit_agent::store::RequestState::Failed,
        status_reason: Some("the disk is full".to_owned()),
        grants: Vec::new(),
        start: time("2026-11-21T16:00:00Z"),
        justification: String::new(),
        ..fake::request()
    };
    let script = Script { requests: vec![fake::request(), failed], ..Script::default() };
    let expected = "\
request  time                 requestor  ports   status                       justification
      9  17:00:00             ann        22/tcp  approved, 1 of 1 grant live  ticket 7
      9  2026-11-21 17:00:00  ann                failed: the disk is full
";
    shows(script, &["requests"], Exit::Done, expected);
    shows(Script { requests: Vec::new(), ..Script::default() }, &["requests"], Exit::Done, "no requests\n");
}

#[test]
fn ports_are_a_table_of_what_may_be_requested() {
    let expected = "\
port      maximum  approval  justification  quota  live grants  7 days  passed  dropped  last connection  last user  allowed sources
3389/any      3 h  auto      required          32            1       4    1200       56  16:00:00         ann        198.51.100.0/24, 2001:db8::/32
";
    shows(Script::default(), &["ports"], Exit::Done, expected);
    shows(Script { ports: Vec::new(), ..Script::default() }, &["ports"], Exit::Done, "no protected ports\n");
}

#[test]
fn why_says_the_verdict_first_then_what_decides() {
    let agent = Agent::start(Script::default());
    let outcome = jitctl_at(&agent.socket(), &["why", "me", "22", "--to", "192.0.2.1", "--interface", "a&b"]);
    let expected = "\
PASSES  192.0.2.10 -> 22/tcp
because  grant 17 of ann lets in 192.0.2.10/32 to 22/tcp
counted  as host_grant, mode enforce
grant    17 of ann, until 17:30:12 (in 29 min 50 s)
";
    assert_eq!((outcome.exit, outcome.stdout.as_str(), outcome.stderr.as_str()), (Exit::Done, expected, ""));
    let [packet] = &agent.asked().packets[..] else { panic!("{:?}", agent.asked()) };
    assert_eq!((packet.interface.as_deref(), packet.destination), (Some("a&b"), "192.0.2.1".parse().ok()));
}

#[test]
fn why_takes_one_address_and_the_protocol_of_a_packet() {
    for (arguments, part) in [
        (["why", "192.0.2.0/24", "22"], "is a prefix; a packet comes from one address"),
        (["why", "192.0.2.1", "22/any"], "use tcp, udp or sctp"),
        (["why", "192.0.2.1", "0"], "use 1 to 65535"),
        (["why", "host", "22"], "is not an IPv4 or IPv6 address"),
    ] {
        let outcome = jitctl(Script::default(), &arguments);
        assert!(outcome.exit == Exit::Usage && outcome.stderr.contains(part), "{outcome:?}");
    }
}

#[test]
fn watch_ends_with_the_agent_and_says_so() {
    let mut agent = Agent::start(Script::default());
    let socket = agent.socket();
    let watching = std::thread::spawn(move || jitctl_at(&socket, &["watch"]));
    agent.wait_until_watched();
    agent.stop();
    let outcome = watching.join().unwrap();
    assert!(outcome.exit == Exit::Unreachable && outcome.stderr.contains("stopped"), "{outcome:?}");
}

#[test]
fn status_shows_packets_by_reason() {
    let expected = "\
mode     enforce
version  0.1.0
grants   1 intended, 1 enforced

interface  index  attached
eth0           2  native

packets  verdict  reason      mode
     56  dropped  no_grant    enforce
   1234  passed   host_grant  enforce
";
    shows(Script::default(), &["status"], Exit::Done, expected);
}

#[test]
fn status_of_a_broken_agent_ends_with_its_faults_and_the_code_for_degraded() {
    let lost =
        InterfaceView { name: "eth1".to_owned(), fault: Some("no such device".to_owned()), ..InterfaceView::default() };
    let status = StatusView {
        mode: "observe",
        interfaces: vec![lost],
        intended_grants: 3,
        enforced_grants: 1,
        counters: vec![("observe", jit_common::reason::Reason::NoGrant, 5)],
        faults: vec!["the store can't be written:\ndisk full".to_owned()],
        ..fake::status()
    };
    let script = Script { status, ..Script::default() };
    let expected = "\
mode     observe
version  0.1.0
grants   3 intended, 1 enforced

interface  index  attached
eth1        none  NOT ATTACHED

packets  verdict           reason    mode
      5  would be dropped  no_grant  observe

FAULTS
- 2 of 3 grants not enforced
- interface eth1: no such device
- the store can't be written:\\ndisk full
";
    shows(script.clone(), &["status"], Exit::Degraded, expected);
    assert_eq!(jitctl(script, &["--json", "status"]).exit, Exit::Degraded);
    for status in [
        StatusView { enforced_grants: 0, ..fake::status() },
        StatusView { faults: vec!["x".to_owned()], ..fake::status() },
    ] {
        assert_eq!(jitctl(Script { status, ..Script::default() }, &["status"]).exit, Exit::Degraded);
    }
}

#[test]
fn a_request_says_what_is_open_and_how_to_end_it() {
    let expected = "22/tcp open for 192.0.2.10 until 17:30:12 (in 29 min 50 s), grant 17\n\
                    end it early with: jitctl revoke 17\n";
    assert_eq!(request(&["-m", "ticket 7"]), Outcome::done(expected.to_owned()));
    let two = RequestView { grants: vec![fake::grant(17), fake::grant(18)], ..fake::request() };
    let script = Script { requests: vec![two], ..Script::default() };
    let outcome = jitctl(script, &["request", "--port", "22", "--from", "me", "--for", "1h"]);
    assert!(outcome.stdout.ends_with("grant 18\nend them early with: jitctl revoke 17 18\n"), "{outcome:?}");
}

#[test]
fn what_was_written_reaches_the_core() {
    let agent = Agent::start(Script::default());
    let arguments =
        ["request", "--port", "22", "--port", "3389/any", "53/udp", "--from", "me", "--from", "2001:db8::/64"];
    let outcome = jitctl_at(&agent.socket(), &[&arguments[..], &["--until", "17:30", "-m", "ticket 7"]].concat());
    assert_eq!(outcome.exit, Exit::Done, "{outcome:?}");
    let request = agent.asked().submissions.pop().unwrap().request;
    assert_eq!(request.justification, "ticket 7");
    let ports: Vec<_> = request.ports.iter().map(|port| (port.number, port.protocol)).collect();
    assert_eq!(ports, [(22, None), (3389, Some(Protocol::Any)), (53, Some(Protocol::Udp))]);
    for port in request.ports {
        let sources: Vec<_> = port.sources.iter().map(ToString::to_string).collect();
        assert_eq!(sources, ["192.0.2.10/32", "2001:db8::/64"]);
        assert_eq!(port.until, Until::Time(time("2026-11-22T16:30:00Z")));
    }
}

#[test]
fn a_revocation_says_what_is_closed() {
    let closed = "22/tcp closed for 192.0.2.10, grant 17 of ann\n";
    let agent = Agent::start(Script::default());
    for arguments in [&["revoke", "17", "18", "-m", "done"][..], &["revoke", "--user", "ann"], &["revoke", "--all"]] {
        assert_eq!(jitctl_at(&agent.socket(), arguments), Outcome::done(closed.to_owned()));
    }
    let expected = [r#"Ids([GrantId(17), GrantId(18)]) "done""#, r#"User("ann") """#, r#"All """#];
    assert_eq!(agent.asked().revocations, expected);
    let nothing = Script { grants: Vec::new(), ..Script::default() };
    shows(nothing, &["revoke", "--all"], Exit::Done, "no live grants to revoke\n");
}

#[test]
fn a_closing_that_is_not_written_is_reported_and_fails() {
    let outcome = jitctl(Script { durable: false, ..Script::default() }, &["revoke", "17"]);
    assert_eq!(outcome.exit, Exit::Failed);
    assert!(outcome.stdout.contains("22/tcp closed"), "{outcome:?}");
    assert!(outcome.stderr.contains("could not be written"), "{outcome:?}");
}

#[test]
fn json_is_what_the_agent_says() {
    let outcome = jitctl(Script::default(), &["grants", "--json"]);
    let value: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((outcome.exit, &value["value"][0]["id"]), (Exit::Done, &Value::from(17)));
    assert_eq!(value["value"][0]["endTimeUtc"], "2026-11-22T16:30:12Z");
    assert!(outcome.stdout.ends_with("}\n"));
    let outcome = jitctl(Script { grants: Vec::new(), ..Script::default() }, &["--json", "grants"]);
    assert_eq!(outcome, Outcome::done("{\n  \"value\": []\n}\n".to_owned()));
}

#[test]
fn a_refusal_by_policy_lists_every_violation() {
    let violation = |port: &str, field, given: &str, allowed: &str| Violation {
        port: port.to_owned(),
        field,
        given: given.to_owned(),
        allowed: allowed.to_owned(),
    };
    let violations = vec![
        violation("22/tcp", "duration", "PT9H", "at most PT3H"),
        violation("", "justification", "\u{1b}", "a text"),
    ];
    let script = Script { refusal: Some(Refusal::Violations(violations)), ..Script::default() };
    let arguments = ["request", "--port", "22", "--from", "192.0.2.1", "--for", "9h"];
    let expected = "\
error: the request asks for more than is allowed
  port    field          given   allowed
  22/tcp  duration       PT9H    at most PT3H
  -       justification  \\u{1b}  a text
";
    complains(&jitctl(script.clone(), &arguments), Exit::Refused, expected);
    let outcome = jitctl(script, &[&arguments[..], &["--json"]].concat());
    let problem: Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!((outcome.exit, problem["code"].as_str()), (Exit::Refused, Some("policy_violation")));
    assert_eq!(outcome.stdout, "");
}

#[test]
fn what_the_core_refuses_has_its_exit_code() {
    let not_permitted = Refusal::NotPermitted { name: "bob".to_owned(), uid: 1001, role: "viewer" };
    let table = [
        (not_permitted, Exit::NotPermitted),
        (Refusal::NotFound { what: "grant", id: 17 }, Exit::Failed),
        (Refusal::Full("x".to_owned()), Exit::Failed),
        (Refusal::Unavailable("x".to_owned()), Exit::Failed),
    ];
    for (refusal, exit) in table {
        let stderr = format!("error: {refusal}\n");
        complains(&jitctl(Script { refusal: Some(refusal), ..Script::default() }, &["revoke", "17"]), exit, &stderr);
    }
}

#[test]
fn an_agent_with_too_many_connections_says_so() {
    let agent = Agent::start(Script::default());
    let _held: Vec<_> = (0..32).map(|_| std::os::unix::net::UnixStream::connect(agent.socket()).unwrap()).collect();
    let stderr = "error: too many open connections; close some and try again\n";
    complains(&jitctl_at(&agent.socket(), &["grants"]), Exit::Failed, stderr);
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
    let outcome = request(&["-m", &long]);
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
