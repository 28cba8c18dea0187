//! Requests and what becomes of them.

use jit_policy::{GrantId, RequestId};

use super::*;
use crate::http::fake;

const BODY: &str = r#"{"ports":[{"number":22,"allowedSourceAddressPrefix":"192.0.2.1","duration":"PT1H"}]}"#;

fn waiting() -> Agent {
    Agent::start(Script { requests: vec![fake::pending()], ..Script::default() })
}

fn submit_by_key(agent: &Agent, key: &str, body: &str) -> Answer {
    let headers = format!("content-type: application/json\r\nidempotency-key: {key}\r\n");
    send(agent, "POST", "/v1/requests", &headers, body.as_bytes())
}

#[test]
fn a_request_that_waits_is_accepted_and_says_for_what_and_until_when() {
    let answer = post(&waiting(), "/v1/requests", BODY);
    assert_eq!((answer.status, answer.body["status"].as_str()), (202, Some("Pending")));
    let expected = json!({"untilUtc": "2026-11-22T17:00:00Z", "extends": null, "ports": [{
        "number": 22, "protocol": null, "allowedSourceAddressPrefixes": ["192.0.2.10/32"], "duration": "PT30M",
        "endTimeUtc": null,
    }]});
    assert_eq!((&answer.body["pending"], &answer.body["grants"]), (&expected, &json!([])));
}

#[test]
fn a_key_goes_to_the_core_with_the_meaning_of_the_body_and_a_repetition_is_no_creation() {
    let agent = Agent::start(Script { replayed: true, ..Script::default() });
    let spaced = BODY.replace(',', " ,\n ");
    let reworded = BODY.replace("PT1H", "PT2H");
    for body in [BODY, &spaced, &reworded] {
        assert_eq!(submit_by_key(&agent, "a b-1", body).status, 200);
    }
    let keys: Vec<_> = agent.asked().submissions.into_iter().map(|submission| submission.key.unwrap()).collect();
    assert_eq!((keys[0].key.as_str(), keys[0] == keys[1], keys[0] == keys[2]), ("a b-1", true, false));
}

#[test]
fn a_key_that_can_not_be_one_is_refused() {
    let agent = agent();
    for key in ["", &"x".repeat(129), "\u{e9}", "a\r\nidempotency-key: b"] {
        let answer = submit_by_key(&agent, key, BODY);
        answer.problem(422, "invalid_value");
        assert_eq!(answer.violations()[0][1], "Idempotency-Key", "{key:?}");
    }
    assert!(agent.asked().submissions.is_empty());
}

#[test]
fn a_delegate_names_whom_it_asks_for_in_printable_characters() {
    let agent = agent();
    let named = |name: &str| {
        let body = BODY.replacen('{', &format!(r#"{{"requestor":{},"#, json!(name)), 1);
        post(&agent, "/v1/requests", body)
    };
    let (longest, too_long) = ("\u{e9}".repeat(128), "x".repeat(129));
    for name in ["zoe", "Zoë Zebra", &longest] {
        assert_eq!(named(name).status, 201, "{name}");
    }
    for name in ["", &too_long, " zoe", "zoe ", "a\nb", "a\u{0}b", "a\u{202e}b", "a\u{a0}b", "zero\u{200b}width"] {
        let answer = named(name);
        answer.problem(422, "invalid_value");
        assert_eq!(answer.violations()[0][1], "requestor", "{name:?}");
    }
    let names: Vec<_> = agent.asked().submissions.into_iter().map(|submission| submission.named.unwrap()).collect();
    assert_eq!(names, ["zoe", "Zoë Zebra", &longest]);
}

#[test]
fn the_ports_of_an_azure_request_are_understood_and_a_missing_source_gets_a_hint() {
    let agent = agent();
    let azure = r#"{"ports":[{"number":22,"endTimeUtc":"2030-01-31T17:30:00.1234567Z",
                   "allowedSourceAddressPrefix":"*"}],"justification":"az"}"#;
    assert_eq!(post(&agent, "/v1/requests", azure).status, 201);
    let asked = agent.asked().submissions.remove(0).request;
    let sources: Vec<_> = asked.ports[0].sources.iter().map(ToString::to_string).collect();
    assert_eq!((asked.ports[0].protocol, sources), (None, vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()]));
    let answer = post(&agent, "/v1/requests", r#"{"ports":[{"number":22,"duration":"PT1H"}]}"#);
    assert!(answer.violations()[0][3].contains("--from me"), "{:?}", answer.violations());
}

#[test]
fn decisions_take_a_reason_or_no_body_at_all() {
    let agent = agent();
    let approved = send(&agent, "POST", "/v1/requests/9/approve", "", b"");
    assert_eq!((approved.status, approved.body["decidedBy"].is_string()), (200, true));
    for (verb, status) in [("deny", "Denied"), ("cancel", "Cancelled")] {
        let path = format!("/v1/requests/9/{verb}");
        let answer = post(&agent, &path, r#"{"reason":"not today"}"#);
        assert_eq!((answer.status, answer.body["status"].as_str()), (200, Some(status)));
        assert_eq!(answer.body["statusReason"], "not today");
        assert_eq!(send(&agent, "POST", &path, "", b"").status, 200);
        assert_eq!(post(&agent, &path, " null ").status, 200);
        post(&agent, &path, r#"{"reason":"a\nb"}"#).problem(422, "invalid_value");
        post(&agent, &path, r#"{"why":"x"}"#).problem(400, "invalid_field");
        post(&agent, &format!("/v1/requests/nine/{verb}"), "{}").problem(404, "not_found");
    }
    post(&agent, "/v1/requests/9/approve", r#"{"reason":"x"}"#).problem(400, "invalid_field");
}

#[test]
fn an_extension_is_answered_by_the_grant_or_by_a_request_that_waits() {
    let agent = agent();
    let answer = post(&agent, "/v1/grants/17/extend", r#"{"duration":"PT90M"}"#);
    assert_eq!((answer.status, answer.body), (200, grant("Live")));
    assert_eq!(agent.asked().extensions, [(GrantId(17), Duration::from_secs(5400))]);
    for body in [r#"{"duration":"PT0S"}"#, r#"{"duration":"1h"}"#] {
        post(&agent, "/v1/grants/17/extend", body).problem(422, "invalid_value");
    }
    let answer = post(&waiting(), "/v1/grants/17/extend", r#"{"duration":"PT90M"}"#);
    assert_eq!((answer.status, answer.body["status"].as_str()), (202, Some("Pending")));
}

#[test]
fn a_long_list_says_where_it_goes_on() {
    let agent = Agent::start(Script { more: Some(RequestId(9)), ..Script::default() });
    let answer = get(&agent, "/v1/requests?status=Pending&limit=1");
    assert_eq!(answer.body["nextLink"], "/v1/requests?status=Pending&before=9&limit=1");
    let next = get(&agent, "/v1/requests?status=Pending&before=9&limit=1");
    assert_eq!((next.status, next.body.get("nextLink")), (200, None));
    for query in ["limit=0", "limit=201", "before=0", "before=x", "status=Approved"] {
        get(&agent, &format!("/v1/requests?{query}")).problem(422, "invalid_value");
    }
    for query in ["limit=5001", "after=7", "after=x-1"] {
        get(&agent, &format!("/v1/grants?{query}")).problem(422, "invalid_value");
    }
}

#[test]
fn who_is_refused_learns_which_rule_it_was() {
    for (refusal, status, code) in [
        (Refusal::OwnRequest { id: 9 }, 403, "own_request"),
        (Refusal::Conflict("request 9 is approved".to_owned()), 409, "conflict"),
        (Refusal::KeyReused("k".to_owned()), 422, "key_reused"),
    ] {
        let words = refusal.to_string();
        let agent = Agent::start(Script { refusal: Some(refusal), ..Script::default() });
        assert_eq!(send(&agent, "POST", "/v1/requests/9/approve", "", b"").problem(status, code), words);
    }
}
