//! Tests of the routes through a real socket, in raw bytes.

mod audit;
mod connections;
mod hostile;
mod packets;
mod ports;
mod refusals;
mod requests;
mod roles;

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    sync::Arc,
    time::Duration,
};

use axum::http::Method;
use jit_api::wire::Effects;
use jit_policy::{PortId, Protocol, Role};
use serde_json::{Value, json};

use super::{document::NoQuery, failure::Failure, routes};
use crate::{
    core::{
        peer::Peer,
        presence::Presence,
        refusal::{ChangeRefusal, Refusal},
    },
    testing::{
        MemoryDatapath,
        agent::Agent,
        machine::{Machine, USUAL},
        people::{alice, bob, carol, mallory, peer, pusher, root, viewer},
    },
};

pub(super) struct Answer {
    status: u16,
    head: String,
    pub(super) body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Asserts that the answer is a problem with this status and code, and returns the problem's text.
    #[track_caller]
    fn problem(&self, status: u16, code: &str) -> &str {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{} {}", self.head, self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], "about:blank");
        assert!(self.body["title"].is_string());
        self.body["detail"].as_str().unwrap()
    }

    fn violations(&self) -> Vec<[&str; 4]> {
        let text =
            |violation: &'_ Value, name: &str| violation[name].as_str().map(|text| text.to_owned().leak() as &str);
        let list = self.body["violations"].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter()
            .map(|one| ["port", "field", "given", "allowed"].map(|name| text(one, name).unwrap_or_default()))
            .collect()
    }
}

fn raw(socket: &Path, bytes: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // An agent that has read enough may close the connection before everything is sent. The agent's answer can still be
    // read.
    drop(stream.write_all(bytes));
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    // If the agent leaves part of an endless head unread, a reset follows the agent's answer.
    assert!(end.is_ok() || bytes.len() > 100_000, "{end:?}");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
    Answer { status, head: head.to_owned(), body }
}

fn send_to(socket: &Path, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    raw(socket, &[head.as_bytes(), body].concat())
}

/// The agent's answer to a request of root.
fn send(agent: &Agent, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    send_to(&agent.socket_of(&root()), method, path, headers, body)
}

pub(super) fn get(agent: &Agent, path: &str) -> Answer {
    get_as(agent, &root(), path)
}

fn get_as(agent: &Agent, peer: &Peer, path: &str) -> Answer {
    send_to(&agent.socket_of(peer), "GET", path, "", b"")
}

fn post(agent: &Agent, path: &str, body: impl AsRef<[u8]>) -> Answer {
    post_as(agent, &root(), path, body)
}

pub(super) fn post_as(agent: &Agent, peer: &Peer, path: &str, body: impl AsRef<[u8]>) -> Answer {
    let headers = "content-type: application/json; charset=utf-8\r\n";
    send_to(&agent.socket_of(peer), "POST", path, headers, body.as_ref())
}

/// Ends a connection, and returns when the server has closed its end. The server runs on one thread, and closes a
/// connection and frees its place in one step. So the place is free before the server accepts another connection.
fn end(mut connection: UnixStream) {
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    connection.read_to_end(&mut Vec::new()).unwrap();
}

fn agent() -> Agent {
    Agent::start(Machine::usual())
}

const SSH: &str = r#"{"ports":[{"number":22,"allowedSourceAddressPrefix":"192.0.2.10","duration":"PT30M"}],
    "justification":"ticket 7"}"#;

/// A request that needs approval.
pub(super) const WINRM: &str = r#"{"ports":[{"number":5986,"allowedSourceAddressPrefix":"192.0.2.10","duration":"PT30M"}],
    "justification":"ticket 7"}"#;

/// An agent that granted [`SSH`] to alice ten seconds ago.
pub(super) fn granted() -> Agent {
    let agent = agent();
    assert_eq!(post_as(&agent, &alice(), "/v1/requests", SSH).status, 201);
    agent.pass(Duration::from_secs(10));
    agent
}

/// The grant of [`granted`].
fn grant() -> Value {
    json!({
        "id": 17, "requestId": 9, "number": 22, "protocol": "TCP", "source": "192.0.2.10/32", "requestor": "alice",
        "startTimeUtc": "2026-11-22T16:00:12Z", "endTimeUtc": "2026-11-22T16:30:12Z", "remainingSeconds": 1790,
        "status": "Live", "statusReason": null, "lastPacketTimeUtc": null, "lastConnectionTimeUtc": null,
    })
}

/// The grant of [`granted`] after it was revoked.
fn revoked(reason: Option<&str>) -> Value {
    let mut revoked = grant();
    for (name, value) in [
        ("status", json!("Revoked")),
        ("statusReason", json!(reason)),
        ("endTimeUtc", json!("2026-11-22T16:00:22Z")),
        ("remainingSeconds", json!(0)),
    ] {
        revoked[name] = value;
    }
    revoked
}

#[test]
fn everything_that_can_be_read_is_answered_in_the_vocabulary_of_azure() {
    let machine = Machine::new(USUAL, "2026-11-22T15:30:12Z".parse().unwrap());
    machine.cover_eth0();
    machine.number_from(8, 16);
    let agent = Agent::start(machine);
    let rdp = r#"{"ports":[{"number":3389,"allowedSourceAddressPrefix":"198.51.100.7","duration":"PT10M"}],
        "justification":"ticket 6"}"#;
    assert_eq!(post_as(&agent, &bob(), "/v1/requests", rdp).status, 201);
    assert!(agent.machine.admits(3389, "198.51.100.7") && !agent.machine.admits(3389, "198.51.100.8"));
    // First the connection is noted, then the grant ends.
    for seconds in [1, 599, 1200] {
        agent.pass(Duration::from_secs(seconds));
    }
    assert_eq!(post_as(&agent, &alice(), "/v1/requests", SSH).status, 201);
    agent.pass(Duration::from_secs(10));
    let expired = json!({
        "id": 16, "requestId": 8, "number": 3389, "protocol": "*", "source": "198.51.100.7/32", "requestor": "bob",
        "startTimeUtc": "2026-11-22T15:30:12Z", "endTimeUtc": "2026-11-22T15:40:12Z", "remainingSeconds": 0,
        "status": "Expired", "statusReason": null, "lastPacketTimeUtc": null, "lastConnectionTimeUtc": null,
    });
    let request = |id: i64, peer: &Peer, why: &str, start: &str, grant: Value| {
        json!({
            "id": id, "requestor": peer.name, "requestorUid": peer.uid, "justification": why, "startTimeUtc": start,
            "status": "Approved", "statusReason": null, "decidedBy": null, "pending": null, "grants": [grant],
        })
    };
    let latest = request(9, &alice(), "ticket 7", "2026-11-22T16:00:12Z", grant());
    let earlier = request(8, &bob(), "ticket 6", "2026-11-22T15:30:12Z", expired);
    let table = [
        ("/v1/grants", json!({"value": [grant()]})),
        ("/v1/requests", json!({"value": [latest, earlier]})),
        ("/v1/requests/9", latest),
        (
            "/v1/ports",
            json!({"value": [
                {
                    "number": 22, "protocol": "TCP", "allowedSourceAddressPrefixes": ["192.0.2.0/24", "2001:db8::/32"],
                    "maxRequestAccessDuration": "PT3H", "approval": "auto", "approvalTimeout": "PT1H",
                    "justification": "optional", "quota": 32, "requesters": [], "approvers": [], "liveGrants": 1,
                    "passedPackets": 0, "droppedPackets": 0, "observedPackets": 0,
                    "approvedRequests": 1, "lastConnectionTimeUtc": null, "lastUser": null,
                },
                {
                    "number": 3389, "protocol": "*",
                    "allowedSourceAddressPrefixes": ["198.51.100.0/24", "2001:db8::/32"],
                    "maxRequestAccessDuration": "PT24H", "approval": "auto", "approvalTimeout": "PT1H",
                    "justification": "required", "quota": 32, "requesters": [], "approvers": [], "liveGrants": 0,
                    "passedPackets": 1, "droppedPackets": 1, "observedPackets": 0,
                    "approvedRequests": 1, "lastConnectionTimeUtc": "2026-11-22T15:30:12Z", "lastUser": "bob",
                },
                {
                    "number": 5986, "protocol": "TCP", "allowedSourceAddressPrefixes": ["192.0.2.0/24"],
                    "maxRequestAccessDuration": "PT3H", "approval": "required", "approvalTimeout": "PT1H",
                    "justification": "optional", "quota": 32, "requesters": [], "approvers": [], "liveGrants": 0,
                    "passedPackets": 0, "droppedPackets": 0, "observedPackets": 0,
                    "approvedRequests": 0, "lastConnectionTimeUtc": null, "lastUser": null,
                },
            ]}),
        ),
    ];
    for (path, expected) in table {
        let answer = get(&agent, path);
        assert_eq!((answer.status, &answer.body), (200, &expected), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let mut status = get(&agent, "/v1/status");
    let counters = status.body["counters"].take();
    let (counted, others): (Vec<_>, Vec<_>) =
        counters.as_array().unwrap().iter().partition(|counter| counter["packets"] != 0);
    let expected = [
        json!({"mode": "enforce", "reason": "host_grant", "verdict": "pass", "packets": 1}),
        json!({"mode": "enforce", "reason": "no_grant", "verdict": "drop", "packets": 1}),
    ];
    assert!(counted.iter().all(|counter| expected.contains(counter)) && counted.len() == 2, "{counted:?}");
    assert!(others.contains(&&json!({"mode": "enforce", "reason": "grant_expired", "verdict": "drop", "packets": 0})));
    let expected = json!({
        "mode": "enforce", "version": "0.1.0",
        "interfaces": [{
            "name": "eth0", "index": 2, "attached": "native", "layer": "ethernet", "note": null,
            "coveredAfterMs": null, "fault": null
        }],
        "uncovered": [],
        "grants": {"intended": 1, "enforced": 1},
        "counters": null,
        "faults": [],
        "warnings": [],
        "trial": null,
    });
    assert_eq!((status.status, &status.body), (200, &expected));
    assert_eq!(status.header("content-type"), Some("application/json"));
}

#[test]
fn the_core_learns_who_asks_from_the_kernel() {
    let uid = nix::unistd::geteuid().as_raw();
    let machine = Machine { access: vec![(Role::Admin, uid)], ..Machine::usual() };
    let agent = Agent::start(machine);
    let headers = "x-user: mallory\r\ncontent-type: application/json\r\n";
    let answer = send_to(&agent.socket(), "POST", "/v1/requests", headers, SSH.as_bytes());
    assert_eq!((answer.status, &answer.body["requestorUid"]), (201, &json!(uid)));
}

#[test]
fn a_request_reaches_the_core_as_it_was_written() {
    let dns = "[[port]]\nnumber = 53\nprotocol = 'udp'\n";
    let agent = Agent::start(Machine::usual_with(&format!("{USUAL}{dns}")));
    let answer = post_as(
        &agent,
        &alice(),
        "/v1/requests",
        r#"{"justification":"ticket 7","ports":[
            {"number":22,"protocol":"TCP","allowedSourceAddressPrefixes":["192.0.2.10","2001:db8::/64"],"duration":"PT30M"},
            {"number":53,"allowedSourceAddressPrefix":"192.0.2.10","endTimeUtc":"2026-11-22T18:00:00+01:00"}]}"#,
    );
    assert_eq!((answer.status, &answer.body["requestor"]), (201, &json!("alice")), "{}", answer.body);
    assert_eq!(answer.body["justification"], "ticket 7");
    let grants: Vec<_> = answer.body["grants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|grant| {
            ["number", "protocol", "source", "endTimeUtc"].map(|field| grant[field].to_string().replace('"', ""))
        })
        .collect();
    let expected = [
        ["22", "TCP", "192.0.2.10/32", "2026-11-22T16:30:12Z"],
        ["22", "TCP", "2001:db8::/64", "2026-11-22T16:30:12Z"],
        ["53", "UDP", "192.0.2.10/32", "2026-11-22T17:00:00Z"],
    ];
    assert_eq!(grants, expected);
}

#[test]
fn a_revocation_names_grants_a_user_or_all() {
    for (body, reason, ended) in [
        (r#"{"ids":[17,17],"reason":"done"}"#, Some("done"), vec![17]),
        (r#"{"user":"alice"}"#, None, vec![17]),
        (r#"{"all":true}"#, None, vec![17, 18]),
    ] {
        let agent = granted();
        assert_eq!(post_as(&agent, &bob(), "/v1/requests", SSH.replace("2.10", "2.11")).status, 201);
        let answer = post(&agent, "/v1/grants/revoke", body);
        assert_eq!((answer.status, &answer.body["durable"]), (200, &json!(true)));
        assert_eq!(answer.body["revoked"][0], revoked(reason));
        let ids: Vec<_> = answer.body["revoked"].as_array().unwrap().iter().map(|grant| &grant["id"]).collect();
        assert_eq!(ids, ended, "{body}");
        assert_eq!(
            (agent.machine.admits(22, "192.0.2.10"), agent.machine.admits(22, "192.0.2.11")),
            (false, ended.len() == 1)
        );
    }
}

#[test]
fn an_operation_takes_a_query_if_and_only_if_the_document_says_so() {
    let agent = agent();
    let document = get(&agent, "/v1/openapi.json").body;
    let takes_query = |operation: &Value| {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters.into_iter().any(|parameter| parameter["in"] == "query")
    };
    let (mut with, mut without) = (0, 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        let place = path.replace("{id}", "1").replace("{number}", "22").replace("{protocol}", "tcp") + "?nonsense=1";
        for (method, operation) in item.as_object().unwrap() {
            let answer = send(&agent, &method.to_uppercase(), &place, "", b"");
            let refused = answer.body["detail"].as_str().is_some_and(|detail| detail.contains("takes no query"));
            assert_eq!(refused, !takes_query(operation), "{method} {place}: {}", answer.body);
            *(if refused { &mut without } else { &mut with }) += 1;
        }
    }
    assert!(with >= 7 && without >= 10, "{with} {without}");
    let no_query = NoQuery::of(routes::documented().get_openapi());
    let refuses_head = |path| no_query.has(&Method::HEAD, path);
    assert!(refuses_head("/v1/status") && !refuses_head("/v1/grants"));
}

#[test]
fn a_path_a_method_or_a_query_that_does_not_exist_is_named() {
    let agent = agent();
    assert!(get(&agent, "/v2/status").problem(404, "not_found").contains("`/v2/status`"));
    assert!(get(&agent, "/").problem(404, "not_found").contains("begin with /v1/"));
    assert!(get(&agent, "/v1/requests/seven").problem(404, "not_found").contains("`seven`"));
    assert!(get(&agent, "/v1/requests/%ff").problem(404, "not_found").contains("`%ff`"));
    assert!(get(&agent, "/v1/ports?live=1").problem(400, "unexpected_query").contains("`?live=1`"));
    assert!(get(&agent, "/v1/requests?pending=1").problem(400, "invalid_field").contains("unknown field `pending`"));
    for (method, path, allow) in [
        ("DELETE", "/v1/requests", "GET,HEAD,POST"),
        ("GET", "/v1/grants/revoke", "POST"),
        ("POST", "/v1/status", "GET,HEAD"),
        ("PUT", "/v1/status?live=1", "GET,HEAD"),
    ] {
        let answer = send(&agent, method, path, "", b"");
        assert!(answer.problem(405, "method_not_allowed").contains(method));
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
}

#[test]
fn the_document_describes_the_routes_that_there_are() {
    let agent = agent();
    let document = get(&agent, "/v1/openapi.json");
    assert_eq!((document.status, document.header("content-type")), (200, Some("application/json")));
    for path in document.body["paths"].as_object().unwrap().keys() {
        // No path takes PATCH, but only an existing path answers 405.
        send(&agent, "PATCH", &path.replace("{id}", "9"), "", b"").problem(405, "method_not_allowed");
    }
}
