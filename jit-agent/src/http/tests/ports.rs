//! Port policies: listed with a version, changed on condition of it.

use jit_policy::{Approval, Justification, PortId, PortPolicy, Protocol};

use super::*;
use crate::{
    config::edit::Edit,
    core::change::{ChangeRefusal, Effects},
    http::fake,
};

const PATH: &str = "/v1/ports/22/tcp";
const MATCHES: &str = "if-match: \"v1\"\r\ncontent-type: application/json\r\n";

fn put(agent: &Agent, path: &str, body: &str) -> Answer {
    send(agent, "PUT", path, MATCHES, body.as_bytes())
}

fn effects() -> Effects {
    Effects { opened: vec!["22/tcp".to_owned()], ended: vec![fake::grant(17)], shortened: Vec::new() }
}

#[test]
fn a_change_names_the_version_it_was_decided_on_and_is_answered_with_the_next() {
    let agent = agent();
    let listed = get(&agent, "/v1/ports");
    assert_eq!(listed.header("etag"), Some("\"v1\""));
    let body = r#"{"allowedSourceAddressPrefixes":["192.0.2.0/24"],"maxRequestAccessDuration":"PT90M",
        "approval":"required","approvalTimeout":"P2D","justification":"optional","quota":5}"#;
    let answer = put(&agent, PATH, body);
    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"v2\"")), "{}", answer.body);
    assert_eq!(answer.body["port"]["number"], 3389);
    assert_eq!((&answer.body["opened"], &answer.body["durable"]), (&json!([]), &json!(true)));
    assert_eq!(put(&agent, "/v1/ports/80/any?confirm=true", "{}").status, 200);
    let removed = send(&agent, "DELETE", "/v1/ports/53/udp", "if-match: \"v1\"\r\n", b"");
    assert_eq!(removed.status, 200);
    let id = |number, protocol| PortId { number, protocol };
    let policy = PortPolicy {
        allowed_sources: vec!["192.0.2.0/24".parse().unwrap()],
        max_duration: Duration::from_secs(5400),
        approval: Approval::Required,
        approval_timeout: Duration::from_secs(2 * 86_400),
        justification: Justification::Optional,
        quota: 5,
        ..PortPolicy::new(id(22, Protocol::Tcp))
    };
    let edits = agent.asked().edits;
    let seen: Vec<_> = edits.iter().map(|edit| (edit.edit.clone(), edit.version.as_str(), edit.confirm)).collect();
    let expected = [
        (Edit::Set(policy), "v1", false),
        (Edit::Set(PortPolicy::new(id(80, Protocol::Any))), "v1", true),
        (Edit::Remove(id(53, Protocol::Udp)), "v1", false),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn without_one_version_nothing_is_asked_of_the_core() {
    let agent = agent();
    let table = [
        ("", 428, "precondition_required"),
        ("if-match: \"a\"\r\nif-match: \"b\"\r\n", 428, "precondition_required"),
        ("if-match: *\r\n", 412, "precondition_failed"),
        ("if-match: W/\"v1\"\r\n", 412, "precondition_failed"),
        ("if-match: \"a\", \"b\"\r\n", 412, "precondition_failed"),
    ];
    for (headers, status, code) in table {
        for method in ["PUT", "DELETE"] {
            let headers = format!("{headers}content-type: application/json\r\n");
            send(&agent, method, PATH, &headers, b"{}").problem(status, code);
        }
    }
    assert_eq!(agent.asked().edits, []);
}

#[test]
fn every_value_that_can_not_be_used_is_reported_at_once() {
    let agent = agent();
    let body = r#"{"allowedSourceAddressPrefixes":["192.0.2.7/24"],"maxRequestAccessDuration":"PT25H",
        "approval":"maybe","approvalTimeout":"1h","justification":"no","quota":0}"#;
    let answer = put(&agent, PATH, body);
    answer.problem(422, "invalid_value");
    let fields: Vec<_> = answer.violations().iter().map(|[port, field, ..]| (*port, *field)).collect();
    let expected = [
        "allowedSourceAddressPrefixes",
        "maxRequestAccessDuration",
        "approvalTimeout",
        "approval",
        "justification",
        "quota",
    ];
    assert_eq!(fields, expected.map(|field| ("22/tcp", field)));
    let answer = put(&agent, "/v1/ports/0/icmp", "{}");
    answer.problem(422, "invalid_value");
    assert_eq!(answer.violations().len(), 2);
    put(&agent, "/v1/ports/22/%ff", "{}").problem(404, "not_found");
    put(&agent, PATH, r#"{"allowedSourceAddressPrefixes":[]}"#).problem(422, "invalid_value");
    put(&agent, PATH, r#"{"maximum":"PT1H"}"#).problem(400, "invalid_field");
    put(&agent, &format!("{PATH}?force=true"), "{}").problem(400, "unexpected_query");
    put(&agent, &format!("{PATH}?confirm=maybe"), "{}").problem(400, "unexpected_query");
    assert_eq!(agent.asked().edits, []);
}

#[test]
fn a_change_with_effects_shows_them_and_waits_for_confirmation() {
    let agent = Agent::start(Script { effects: effects(), ..Script::default() });
    let answer = put(&agent, PATH, "{}");
    answer.problem(409, "needs_confirmation");
    assert_eq!(answer.body["effects"], json!({"opened": ["22/tcp"], "ended": [grant("Live")], "shortened": []}));
    let answer = put(&agent, &format!("{PATH}?confirm=true"), "{}");
    assert_eq!((answer.status, &answer.body["ended"][0]["id"]), (200, &json!(17)));
    post(&agent, "/v1/reload", "{}").problem(409, "needs_confirmation");
    let answer = post(&agent, "/v1/reload", r#"{"allowOpen":["22/tcp"],"confirm":true}"#);
    assert_eq!((answer.status, &answer.body["changed"]), (200, &json!(["3389/any"])));
    assert_eq!(agent.asked().reloads[1].allow_open, ["22/tcp"]);
}

#[test]
fn what_the_core_refuses_has_its_status_and_code() {
    let id = |protocol| PortId { number: 22, protocol };
    let table = [
        (ChangeRefusal::OtherVersion, 412, "precondition_failed"),
        (ChangeRefusal::Overlap(id(Protocol::Any), id(Protocol::Tcp)), 422, "invalid_value"),
        (ChangeRefusal::NoPort(id(Protocol::Tcp)), 404, "not_found"),
        (ChangeRefusal::Edited("edited".to_owned()), 409, "edited_since_loaded"),
        (ChangeRefusal::Invalid("bad".to_owned()), 422, "invalid_configuration"),
        (ChangeRefusal::Restart(vec!["socket"]), 409, "restart_required"),
    ];
    for (refusal, status, code) in table {
        let overlaps = matches!(refusal, ChangeRefusal::Overlap(..));
        let agent = Agent::start(Script { refusal: Some(refusal.into()), ..Script::default() });
        let answer = put(&agent, PATH, "{}");
        answer.problem(status, code);
        assert_eq!(answer.violations().len(), usize::from(overlaps));
        post(&agent, "/v1/reload", "{}").problem(status, code);
    }
}

#[test]
fn what_a_reload_would_open_without_its_having_been_named_is_in_a_field_of_its_own() {
    for unnamed in [Vec::new(), vec!["22/tcp".to_owned(), "mode=observe".to_owned()]] {
        let refusal = ChangeRefusal::Unconfirmed { effects: Box::new(effects()), unnamed: unnamed.clone() };
        let agent = Agent::start(Script { refusal: Some(refusal.into()), ..Script::default() });
        let answer = post(&agent, "/v1/reload", "{}");
        answer.problem(409, "needs_confirmation");
        assert_eq!(answer.body["unnamed"], json!(unnamed));
    }
    let agent = Agent::start(Script { refusal: Some(ChangeRefusal::NoWayBack.into()), ..Script::default() });
    assert_eq!(post(&agent, "/v1/reload", "{}").body.get("unnamed"), None);
}
