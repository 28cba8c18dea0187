//! `ports` and `reload`.

use std::net::{IpAddr, Ipv4Addr};

use jit_agent::{config::edit::Edit, core::change::Effects, testing::scripted::Server};
use jit_policy::{Approval, PortPolicy, Reload, Session};
use serde_json::json;

use super::*;

/// Where [`surroundings`] says the caller works.
const SESSION: Session = Session { source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), port: 22 };
const RDP: PortId = PortId { number: 3389, protocol: Protocol::Any };

fn opening() -> Script {
    let effects = Effects { opened: vec!["22/tcp".to_owned()], ended: vec![fake::grant(17)], shortened: Vec::new() };
    Script { effects, ..Script::default() }
}

fn asked(agent: &Agent, arguments: &[&str], ask: fn(&str) -> bool) -> Outcome {
    let socket = agent.socket();
    let program = ["jitctl", "--socket", socket.to_str().unwrap()];
    run(program.iter().chain(arguments).map(Into::into), &Surroundings { ask: Some(ask), ..surroundings() })
}

#[test]
fn add_gives_a_port_what_is_named_and_refuses_one_that_has_a_policy() {
    let agent = Agent::start(Script::default());
    let arguments = ["ports", "add", "443", "--allow", "192.0.2.0/24", "--max", "90m", "--approval", "required"];
    let outcome = jitctl_at(&agent.socket(), &arguments);
    assert_eq!(outcome, Outcome::done("policy of 3389/any is in force\n".to_owned()));
    let expected = PortPolicy {
        allowed_sources: vec!["192.0.2.0/24".parse().unwrap()],
        max_duration: Duration::from_secs(5400),
        approval: Approval::Required,
        ..PortPolicy::new(PortId { number: 443, protocol: Protocol::Tcp })
    };
    let edit = agent.asked().edits.pop().unwrap();
    assert_eq!((edit.edit, edit.version.as_str(), edit.confirm), (Edit::Set(expected), "v1", false));
    let stderr = "error: 3389/any has a policy already; change it with: jitctl ports set 3389/any\n";
    complains(&jitctl_at(&agent.socket(), &["ports", "add", "3389/any"]), Exit::Failed, stderr);
    let stderr = "error: invalid value '192.0.2.1/24' for '--allow <PREFIX>': 192.0.2.1/24 has bits set beyond its \
                  prefix length; write 192.0.2.0/24 for the network or 192.0.2.1 for the host\n";
    let outcome = jitctl_at(&agent.socket(), &["ports", "add", "80", "--allow", "192.0.2.1/24"]);
    complains(&outcome, Exit::Usage, stderr);
    assert_eq!(agent.asked().edits.len(), 1);
}

#[test]
fn set_changes_only_what_is_named() {
    let agent = Agent::start(Script::default());
    assert_eq!(jitctl_at(&agent.socket(), &["ports", "set", "3389", "--quota", "2", "--yes"]).exit, Exit::Done);
    let edit = agent.asked().edits.pop().unwrap();
    assert_eq!((edit.edit, edit.confirm), (Edit::Set(PortPolicy { quota: 2, ..fake::port().policy }), true));
    let stderr = "error: there is no policy of port 22; `jitctl ports` lists those there are\n";
    complains(&jitctl_at(&agent.socket(), &["ports", "set", "22", "--quota", "2"]), Exit::Failed, stderr);
}

#[test]
fn a_number_with_two_policies_must_be_named_with_its_protocol() {
    let port = |protocol| {
        let mut port = fake::port();
        port.policy.id.protocol = protocol;
        port
    };
    let agent = Agent::start(Script { ports: vec![port(Protocol::Tcp), port(Protocol::Udp)], ..Script::default() });
    let stderr = "error: port 3389 has several policies; name one of 3389/tcp, 3389/udp\n";
    complains(&jitctl_at(&agent.socket(), &["ports", "remove", "3389"]), Exit::Usage, stderr);
    assert_eq!(jitctl_at(&agent.socket(), &["ports", "remove", "3389/udp"]).exit, Exit::Done);
    assert_eq!(agent.asked().edits[0].edit, Edit::Remove(PortId { protocol: Protocol::Udp, ..RDP }));
}

#[test]
fn effects_are_shown_and_without_a_terminal_yes_must_be_said() {
    let agent = Agent::start(opening());
    let outcome = jitctl_at(&agent.socket(), &["ports", "remove", "3389"]);
    let stderr = "\
error: this would open ports, or end or shorten live grants; confirm it, if that is wanted
would be unprotected: 22/tcp
1 grant would end:
grant  port    source      until                      last connection  requestor  request
   17  22/tcp  192.0.2.10  17:30:12 (in 29 min 50 s)  never            ann              9
add --yes to go on
";
    complains(&outcome, Exit::Refused, stderr);
    let outcome = jitctl_at(&agent.socket(), &["ports", "remove", "3389", "--yes"]);
    assert_eq!(outcome.exit, Exit::Done);
    assert!(outcome.stdout.contains("no longer protected: 22/tcp\n1 grant ended:\n"), "{outcome:?}");
}

#[test]
fn at_a_terminal_the_answer_decides() {
    let agent = Agent::start(opening());
    let outcome = asked(&agent, &["ports", "remove", "3389"], |shown| {
        assert!(shown.contains("would be unprotected: 22/tcp"));
        false
    });
    complains(&outcome, Exit::Refused, "nothing was changed\n");
    assert_eq!(asked(&agent, &["ports", "remove", "3389"], |_| true).exit, Exit::Done);
    assert_eq!(agent.asked().edits.iter().map(|edit| edit.confirm).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(asked(&agent, &["reload"], |_| true).exit, Exit::Done);
    let named = Reload { allow_open: vec!["22/tcp".to_owned()], confirm: true, session: Some(SESSION) };
    assert_eq!(agent.asked().reloads, [Reload { session: Some(SESSION), ..Reload::default() }, named]);
}

#[test]
fn reload_says_what_changed_and_what_is_not_written() {
    let expected = "the configuration is in force; changed: 3389/any\n";
    shows(Script::default(), &["reload"], Exit::Done, expected);
    let agent = Agent::start(Script { durable: false, ..opening() });
    let outcome = jitctl_at(&agent.socket(), &["reload", "--allow-open", "22/tcp", "53", "--yes"]);
    assert_eq!(outcome.exit, Exit::Failed);
    assert!(outcome.stderr.starts_with("warning: the change is in force"), "{outcome:?}");
    let named =
        Reload { allow_open: vec!["22/tcp".to_owned(), "53".to_owned()], confirm: true, session: Some(SESSION) };
    assert_eq!(agent.asked().reloads, [named]);
}

#[test]
fn warnings_are_shown_and_are_no_faults() {
    let status = StatusView { warnings: vec!["port 22/tcp: any source".to_owned()], ..fake::status() };
    let outcome = jitctl(Script { status, ..Script::default() }, &["status"]);
    assert_eq!(outcome.exit, Exit::Done);
    assert!(outcome.stdout.ends_with("\nWARNINGS\n- port 22/tcp: any source\n"), "{outcome:?}");
}

/// What a reload that is refused advises, where the agent answers with this beside the effects.
fn advice(arguments: &[&str], detail: &str, unnamed: Option<Value>) -> String {
    let mut problem = json!({
        "type": "about:blank", "title": "", "status": 409, "detail": detail, "code": "needs_confirmation",
        "effects": { "opened": ["22/tcp"], "ended": [], "shortened": [] },
    });
    if let Some(unnamed) = unnamed {
        problem["unnamed"] = unnamed;
    }
    let mut answers = vec![(409, None, problem)];
    if arguments[0] == "ports" {
        let port = json!({
            "number": 22, "protocol": "TCP", "allowedSourceAddressPrefixes": [], "maxRequestAccessDuration": "PT1H",
            "justification": "optional", "liveGrants": 0, "lastConnectionTimeUtc": null,
        });
        answers.insert(0, (200, Some("\"1\""), json!({ "value": [port] })));
    }
    let server = Server::start(answers);
    let outcome = jitctl_at(&server.socket(), arguments);
    assert_eq!(outcome.exit, Exit::Refused, "{outcome:?}");
    outcome.stderr.lines().last().unwrap().to_owned()
}

#[test]
fn whether_openings_have_to_be_named_is_told_by_a_field_and_not_by_the_wording() {
    let (plain, naming) = ("add --yes to go on", "add --yes to go on (and --allow-open for what it opens)");
    let remove = ["ports", "remove", "22"];
    for (arguments, detail, unnamed, expected) in [
        (&["reload"][..], "other words", Some(json!(["22/tcp"])), naming),
        (&["reload"], "it was not named, but is", Some(json!([])), plain),
        (&remove, "it was not named, but need not be", Some(json!([])), plain),
        // Agents before the field.
        (&["reload"], "what was not named as to be opened: 22/tcp", None, naming),
        (&["reload"], "other words", None, naming),
        (&remove, "other words", None, plain),
    ] {
        assert_eq!(advice(arguments, detail, unnamed.clone()), expected, "{arguments:?} {detail} {unnamed:?}");
    }
}
