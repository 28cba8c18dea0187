//! The routes through a real socket, in raw bytes.

mod audit;
mod hostile;
mod packets;
mod ports;
mod requests;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use jit_policy::{self, Submission, Until};
use serde_json::{Value, json};

use super::fake::{Agent, Script};
use crate::core::{presence::Presence, view::Refusal};

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Asserts that this is a problem with that status and code, and returns its text.
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

fn raw(agent: &Agent, bytes: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // An agent that has read enough may close before all is sent; its answer is still there.
    drop(stream.write_all(bytes));
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    // Where the agent leaves part of an endless head unread, a reset follows its answer.
    assert!(end.is_ok() || bytes.len() > 100_000, "{end:?}");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
    Answer { status, head: head.to_owned(), body }
}

fn send(agent: &Agent, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    raw(agent, &[head.as_bytes(), body].concat())
}

fn get(agent: &Agent, path: &str) -> Answer {
    send(agent, "GET", path, "", b"")
}

fn post(agent: &Agent, path: &str, body: impl AsRef<[u8]>) -> Answer {
    send(agent, "POST", path, "content-type: application/json; charset=utf-8\r\n", body.as_ref())
}

fn agent() -> Agent {
    Agent::start(Script::default())
}

fn grant(status: &str) -> Value {
    json!({
        "id": 17, "requestId": 9, "number": 22, "protocol": "TCP", "source": "192.0.2.10/32", "requestor": "ann",
        "startTimeUtc": "2026-11-22T16:00:00Z", "endTimeUtc": "2026-11-22T16:30:12Z", "remainingSeconds": 1790,
        "status": status, "statusReason": null, "lastPacketTimeUtc": null, "lastConnectionTimeUtc": null,
    })
}

#[test]
fn everything_that_can_be_read_is_answered_in_the_vocabulary_of_azure() {
    let agent = agent();
    let request = json!({
        "id": 9, "requestor": "ann", "requestorUid": 1000, "justification": "ticket 7",
        "startTimeUtc": "2026-11-22T16:00:00Z", "status": "Approved", "statusReason": null, "decidedBy": null, "pending": null, "grants": [grant("Live")],
    });
    let table = [
        ("/v1/grants", json!({"value": [grant("Live")]})),
        ("/v1/requests", json!({"value": [request]})),
        ("/v1/requests/9", request),
        (
            "/v1/ports",
            json!({"value": [{
                "number": 3389, "protocol": "*", "allowedSourceAddressPrefixes": ["198.51.100.0/24", "2001:db8::/32"],
                "maxRequestAccessDuration": "PT3H", "approval": "auto", "approvalTimeout": "PT1H",
                "justification": "required", "quota": 32, "liveGrants": 1,
                "passedPackets": 1200, "droppedPackets": 56, "observedPackets": 0,
                "approvedRequests": 4, "lastConnectionTimeUtc": "2026-11-22T15:00:00Z", "lastUser": "ann",
            }]}),
        ),
        (
            "/v1/status",
            json!({
                "mode": "enforce", "version": "0.1.0",
                "interfaces": [{
                    "name": "eth0", "index": 2, "attached": "native", "layer": "ethernet", "note": null,
                    "coveredAfterMs": null, "fault": null
                }],
                "uncovered": [],
                "grants": {"intended": 1, "enforced": 1},
                "counters": [
                    {"mode": "enforce", "reason": "host_grant", "verdict": "pass", "packets": 1234},
                    {"mode": "enforce", "reason": "no_grant", "verdict": "drop", "packets": 56},
                    {"mode": "enforce", "reason": "grant_expired", "verdict": "drop", "packets": 0},
                ],
                "faults": [],
                "warnings": [],
                "trial": null,
            }),
        ),
    ];
    for (path, expected) in table {
        let answer = get(&agent, path);
        assert_eq!((answer.status, &answer.body), (200, &expected), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

#[test]
fn the_core_learns_who_asks_from_the_kernel() {
    let agent = agent();
    send(&agent, "GET", "/v1/status", "x-user: mallory\r\n", b"");
    let peer = agent.asked().peers.pop().unwrap();
    assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
}

#[test]
fn a_request_reaches_the_core_as_it_was_written() {
    let agent = agent();
    let answer = post(
        &agent,
        "/v1/requests",
        r#"{"justification":"ticket 7","ports":[
            {"number":22,"protocol":"TCP","allowedSourceAddressPrefixes":["192.0.2.10","2001:db8::/64"],"duration":"PT30M"},
            {"number":53,"allowedSourceAddressPrefix":"192.0.2.10","endTimeUtc":"2026-11-22T17:00:00+01:00"}]}"#,
    );
    assert_eq!((answer.status, &answer.body["grants"]), (201, &json!([grant("Live")])));
    let expected = jit_policy::NewRequest {
        ports: vec![
            jit_policy::RequestedPort {
                number: 22,
                protocol: Some(jit_policy::Protocol::Tcp),
                sources: vec!["192.0.2.10/32".parse().unwrap(), "2001:db8::/64".parse().unwrap()],
                until: Until::For(Duration::from_secs(1800)),
            },
            jit_policy::RequestedPort {
                number: 53,
                protocol: None,
                sources: vec!["192.0.2.10/32".parse().unwrap()],
                until: Until::Time("2026-11-22T16:00:00Z".parse().unwrap()),
            },
        ],
        justification: "ticket 7".to_owned(),
    };
    let expected = Submission { request: expected, named: None, key: None };
    assert_eq!(agent.asked().submissions, [expected]);
}

#[test]
fn a_revocation_names_grants_a_user_or_all() {
    let agent = agent();
    for body in [r#"{"ids":[17,18],"reason":"done"}"#, r#"{"user":"ann"}"#, r#"{"all":true}"#] {
        let answer = post(&agent, "/v1/grants/revoke", body);
        assert_eq!((answer.status, answer.body), (200, json!({"revoked": [grant("Revoked")], "durable": true})));
    }
    let expected = [r#"Ids([GrantId(17), GrantId(18)]) "done""#, r#"User("ann") """#, r#"All """#];
    assert_eq!(agent.asked().revocations, expected);
}

#[test]
fn what_the_core_refuses_keeps_its_words() {
    let violation = jit_policy::Violation {
        port: "22/tcp".to_owned(),
        field: "duration",
        given: "PT9H".to_owned(),
        allowed: "at most PT3H".to_owned(),
    };
    let table = [
        (
            Refusal::NotPermitted { name: "bob".to_owned(), uid: 1001, role: "viewer" },
            403,
            "not_permitted",
            "bob (uid 1001)",
        ),
        (Refusal::Violations(vec![violation]), 422, "policy_violation", "more than is allowed"),
        (Refusal::NotFound { what: "request", id: 9 }, 404, "not_found", "there is no request 9"),
        (Refusal::Full("16384 of 16384 slots".to_owned()), 507, "table_full", "16384 of 16384 slots"),
        (Refusal::Unavailable("the disk is full".to_owned()), 503, "unavailable", "the disk is full"),
    ];
    for (refusal, status, code, text) in table {
        let agent = Agent::start(Script { refusal: Some(refusal), ..Script::default() });
        for path in ["/v1/status", "/v1/ports", "/v1/requests", "/v1/requests/9", "/v1/grants", "/v1/openapi.json"] {
            assert!(get(&agent, path).problem(status, code).contains(text), "{path}");
        }
        assert!(post(&agent, "/v1/grants/revoke", r#"{"all":true}"#).problem(status, code).contains(text));
        let body = r#"{"ports":[{"number":22,"allowedSourceAddressPrefix":"192.0.2.1","duration":"PT9H"}]}"#;
        let answer = post(&agent, "/v1/requests", body);
        assert!(answer.problem(status, code).contains(text));
        if code == "policy_violation" {
            assert_eq!(answer.violations(), [["22/tcp", "duration", "PT9H", "at most PT3H"]]);
        }
    }
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
        // PATCH is possible nowhere, but only a path that exists says so.
        send(&agent, "PATCH", &path.replace("{id}", "9"), "", b"").problem(405, "method_not_allowed");
    }
}

#[test]
fn one_connection_carries_many_requests() {
    let agent = agent();
    let one = "GET /v1/grants HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /v1/grants HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    stream.write_all(format!("{one}{one}{last}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
}

#[test]
fn a_user_with_too_many_connections_is_told_so() {
    let agent = agent();
    let open: Vec<_> = (0..32)
        .map(|_| {
            let mut stream = UnixStream::connect(agent.socket()).unwrap();
            stream.write_all(b"GET /v1/grants HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 12]).unwrap();
            stream
        })
        .collect();
    get(&agent, "/v1/grants").problem(503, "too_many_connections");
    drop(open);
    let served = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        get(&agent, "/v1/grants").status == 200
    });
    assert!(served, "connections that ended still count");
}

#[test]
fn stopping_does_not_wait_for_idle_connections() {
    let mut agent = agent();
    let mut idle = UnixStream::connect(agent.socket()).unwrap();
    idle.write_all(b"GET /v1/grants HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    idle.read_exact(&mut [0; 12]).unwrap();
    let start = std::time::Instant::now();
    agent.stop();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_peer_whom_the_kernel_does_not_name_may_do_nothing() {
    let (core, _commands) = crate::core::handle::CoreHandle::new();
    let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
    let (_stop, stopping) = tokio::sync::watch::channel(());
    let unknown = Err(std::io::Error::other("no credentials"));
    let place = super::take_place(&super::limit::Limits::default(), &unknown);
    let served = super::admit(ours, unknown, place, super::routes::router(core), Presence::default(), stopping);
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = theirs.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let ((), answer) = tokio::join!(served, client);
    let answer = answer.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\ncontent-type: application/problem+json"), "{answer}");
    assert!(answer.contains(r#""code":"peer_unknown""#), "{answer}");
}
