//! Tests of requests and of their outcomes.

use super::*;

fn submit_by_key(agent: &Agent, key: &str, body: &str) -> Answer {
    let headers = format!("content-type: application/json\r\nidempotency-key: {key}\r\n");
    send(agent, "POST", "/v1/requests", &headers, body.as_bytes())
}

/// Makes alice's request for [`WINRM`]. Returns the request's number.
fn wait(agent: &Agent) -> i64 {
    let answer = post_as(agent, &alice(), "/v1/requests", WINRM);
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.body["id"].as_i64().unwrap()
}

#[test]
fn a_request_that_waits_is_accepted_and_says_for_what_and_until_when() {
    let agent = agent();
    let answer = post_as(&agent, &alice(), "/v1/requests", WINRM);
    assert_eq!((answer.status, answer.body["status"].as_str()), (202, Some("Pending")));
    let expected = json!({"untilUtc": "2026-11-22T17:00:12Z", "extends": null, "ports": [{
        "number": 5986, "protocol": null, "allowedSourceAddressPrefixes": ["192.0.2.10/32"], "duration": "PT30M",
        "endTimeUtc": null,
    }]});
    assert_eq!((&answer.body["pending"], &answer.body["grants"]), (&expected, &json!([])));
}

#[test]
fn a_key_goes_to_the_core_with_the_meaning_of_the_body_and_a_repetition_is_no_creation() {
    let agent = agent();
    let spaced = SSH.replace(',', " ,\n ");
    let made = submit_by_key(&agent, "a b-1", SSH);
    assert_eq!((made.status, &made.body["id"]), (201, &json!(9)));
    let again = submit_by_key(&agent, "a b-1", &spaced);
    assert_eq!((again.status, &again.body), (200, &made.body));
    let reworded = SSH.replace("PT30M", "PT31M");
    assert!(submit_by_key(&agent, "a b-1", &reworded).problem(422, "key_reused").contains("`a b-1`"));
    assert_eq!(agent.machine.statuses(), ["approved"]);
    assert_eq!(submit_by_key(&agent, "a b-2", &reworded).status, 201);
}

#[test]
fn a_key_that_can_not_be_one_is_refused() {
    let agent = agent();
    for key in ["", &"x".repeat(129), "\u{e9}", "a\r\nidempotency-key: b"] {
        let answer = submit_by_key(&agent, key, SSH);
        answer.problem(422, "invalid_value");
        assert_eq!(answer.violations()[0][1], "Idempotency-Key", "{key:?}");
    }
    assert!(agent.machine.statuses().is_empty());
}

#[test]
fn a_delegate_names_whom_it_asks_for_in_printable_characters() {
    let agent = agent();
    let named = |name: &str| {
        let body = SSH.replacen('{', &format!(r#"{{"requestor":{},"#, json!(name)), 1);
        post_as(&agent, &pusher(), "/v1/requests", body)
    };
    let (longest, too_long) = ("\u{e9}".repeat(128), "x".repeat(129));
    for name in ["zoe", "Zoë Zebra", &longest] {
        let answer = named(name);
        assert_eq!((answer.status, &answer.body["requestor"]), (201, &json!(format!("{name} via pusher"))));
    }
    for name in ["", &too_long, " zoe", "zoe ", "a\nb", "a\u{0}b", "a\u{202e}b", "a\u{a0}b", "zero\u{200b}width"] {
        let answer = named(name);
        answer.problem(422, "invalid_value");
        assert_eq!(answer.violations()[0][1], "requestor", "{name:?}");
    }
    assert_eq!(agent.machine.statuses().len(), 3);
}

#[test]
fn the_ports_of_an_azure_request_are_understood_and_a_missing_source_gets_a_hint() {
    let open = "[[port]]\nnumber = 22\nprotocol = 'any'\napproval = 'required'\n";
    let agent = Agent::start(Machine::usual_with(open));
    let azure = r#"{"ports":[{"number":22,"endTimeUtc":"2026-11-22T17:30:00.1234567Z",
                   "allowedSourceAddressPrefix":"*"}],"justification":"az"}"#;
    let answer = post_as(&agent, &alice(), "/v1/requests", azure);
    assert_eq!(answer.status, 202, "{}", answer.body);
    let expected = json!([{
        "number": 22, "protocol": null, "allowedSourceAddressPrefixes": ["0.0.0.0/0", "::/0"], "duration": null,
        "endTimeUtc": "2026-11-22T17:30:00.1234567Z",
    }]);
    assert_eq!((&answer.body["pending"]["ports"], &answer.body["justification"]), (&expected, &json!("az")));
    let answer = post(&agent, "/v1/requests", r#"{"ports":[{"number":22,"duration":"PT1H"}]}"#);
    assert!(answer.violations()[0][3].contains("--from me"), "{:?}", answer.violations());
}

#[test]
fn decisions_take_a_reason_or_no_body_at_all() {
    let agent = agent();
    let path = |verb: &str| format!("/v1/requests/{}/{verb}", wait(&agent));
    let approved = send(&agent, "POST", &path("approve"), "", b"");
    assert_eq!((approved.status, approved.body["decidedBy"].as_str()), (200, Some("root")));
    for (verb, status) in [("deny", "Denied"), ("cancel", "Cancelled")] {
        let answer = post(&agent, &path(verb), r#"{"reason":"not today"}"#);
        assert_eq!((answer.status, answer.body["status"].as_str()), (200, Some(status)));
        assert_eq!(answer.body["statusReason"], "not today");
        assert_eq!(send(&agent, "POST", &path(verb), "", b"").status, 200);
        assert_eq!(post(&agent, &path(verb), " null ").status, 200);
        post(&agent, &path(verb), r#"{"reason":"a\nb"}"#).problem(422, "invalid_value");
        post(&agent, &path(verb), r#"{"why":"x"}"#).problem(400, "invalid_field");
        post(&agent, &format!("/v1/requests/nine/{verb}"), "{}").problem(404, "not_found");
    }
    post(&agent, &path("approve"), r#"{"reason":"x"}"#).problem(400, "invalid_field");
    let decided = ["approved", "denied", "denied", "denied", "pending", "pending"];
    assert_eq!(agent.machine.statuses()[..6], decided);
}

#[test]
fn an_extension_is_answered_by_the_grant_or_by_a_request_that_waits() {
    let agent = granted();
    let extend = |id: i64, body: &str| post_as(&agent, &alice(), &format!("/v1/grants/{id}/extend"), body);
    let answer = extend(17, r#"{"duration":"PT90M"}"#);
    let mut extended = grant();
    (extended["endTimeUtc"], extended["remainingSeconds"]) = (json!("2026-11-22T17:30:22Z"), json!(5400));
    assert_eq!((answer.status, answer.body), (200, extended));
    for body in [r#"{"duration":"PT0S"}"#, r#"{"duration":"1h"}"#] {
        extend(17, body).problem(422, "invalid_value");
    }
    let path = format!("/v1/requests/{}/approve", wait(&agent));
    let approved = post_as(&agent, &carol(), &path, "{}");
    let id = approved.body["grants"][0]["id"].as_i64().unwrap();
    let answer = extend(id, r#"{"duration":"PT90M"}"#);
    assert_eq!((answer.status, answer.body["status"].as_str()), (202, Some("Pending")));
    assert_eq!(answer.body["pending"]["extends"], id);
}

#[test]
fn a_long_list_says_where_it_goes_on() {
    let agent = agent();
    let (earlier, later) = (wait(&agent), wait(&agent));
    let answer = get(&agent, "/v1/requests?status=Pending&limit=1");
    assert_eq!(answer.body["nextLink"], format!("/v1/requests?status=Pending&before={later}&limit=1"));
    assert_eq!(answer.body["value"][0]["id"], later);
    let next = get(&agent, answer.body["nextLink"].as_str().unwrap());
    assert_eq!((next.status, next.body.get("nextLink")), (200, None));
    assert_eq!(next.body["value"][0]["id"], earlier);
    for query in ["limit=0", "limit=201", "before=0", "before=x", "status=Approved"] {
        get(&agent, &format!("/v1/requests?{query}")).problem(422, "invalid_value");
    }
    for query in ["limit=5001", "after=7", "after=x-1"] {
        get(&agent, &format!("/v1/grants?{query}")).problem(422, "invalid_value");
    }
}

#[test]
fn who_is_refused_learns_which_rule_it_was() {
    let agent = agent();
    let own = post_as(&agent, &bob(), "/v1/requests", WINRM).body["id"].as_i64().unwrap();
    let path = format!("/v1/requests/{own}/approve");
    let answer = post_as(&agent, &bob(), &path, "{}");
    assert!(answer.problem(403, "own_request").contains(&format!("request {own} is your own")));
    assert_eq!(post_as(&agent, &carol(), &path, "{}").status, 200);
    let again = post_as(&agent, &carol(), &path, "{}");
    assert!(again.problem(409, "conflict").contains(&format!("request {own} is approved")), "{}", again.body);
}

#[test]
fn a_list_of_what_waits_comes_in_parts_of_a_mebibyte_and_is_complete() {
    let port = |number| {
        format!(
            "[[port]]\nnumber = {number}\nprotocol = 'tcp'\nquota = 20_000\napproval = 'required'\njustification = 'optional'\n"
        )
    };
    let config = format!("interfaces = ['eth0']\nmode = 'enforce'\n{}{}", port(22), port(23));
    let agent = Agent::start(Machine::usual_with(&config));
    let sources: Vec<String> = (0..3300).map(|n| format!("2001:db8:1:2:3:4:5:{n:x}")).collect();
    for number in [22, 23].repeat(6) {
        // Nobody else may store so much at once.
        let body = json!({"ports": [{"number": number, "allowedSourceAddressPrefixes": sources, "duration": "PT1H"}]});
        assert_eq!(post(&agent, "/v1/requests", body.to_string()).status, 202);
    }
    let (mut seen, mut next) = (Vec::new(), Some("/v1/requests?status=Pending&limit=200".to_owned()));
    while let Some(path) = next {
        let body = get_as(&agent, &carol(), &path).body;
        assert!(body.to_string().len() < 3 << 19, "{}", body.to_string().len());
        seen.extend(body["value"].as_array().unwrap().iter().map(|request| request["id"].as_i64().unwrap()));
        next = body["nextLink"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, (9..=20).rev().collect::<Vec<_>>());
}

#[test]
fn an_approval_that_names_what_was_shown_approves_nothing_else() {
    let agent = agent();
    let (shown, other) = (wait(&agent), wait(&agent));
    let path = format!("/v1/requests/{shown}");
    let etag = get(&agent, &path).header("etag").unwrap().to_owned();
    let approve = |id: i64, headers: &str| {
        let path = format!("/v1/requests/{id}/approve");
        send_to(&agent.socket_of(&carol()), "POST", &path, headers, b"")
    };
    for (id, headers) in [
        (other, format!("if-match: {etag}\r\n")),
        (shown, format!("if-match: {etag}\r\nif-match: {etag}\r\n")),
        (shown, "if-match: *\r\n".to_owned()),
    ] {
        let answer = approve(id, &headers);
        let detail = answer.problem(412, "precondition_failed");
        assert_eq!(detail, format!("request {id} is not the one that was shown; read it again, and decide anew"));
    }
    assert_eq!(approve(shown, &format!("if-match: {etag}\r\n")).status, 200);
    approve(shown, "if-match: \"x\"\r\n").problem(409, "conflict");
    assert_eq!(approve(other, "").status, 200, "clients need not name it");
}
