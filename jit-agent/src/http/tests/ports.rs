//! Tests of port policies: they are listed with a version, and changed only if that version is current.

use super::*;

const PATH: &str = "/v1/ports/22/tcp";

/// Changes a port with the present version of the list.
fn change(agent: &Agent, method: &str, path: &str, body: &str) -> Answer {
    let version = get(agent, "/v1/ports").header("etag").unwrap().to_owned();
    let headers = format!("if-match: {version}\r\ncontent-type: application/json\r\n");
    send(agent, method, path, &headers, body.as_bytes())
}

fn put(agent: &Agent, path: &str, body: &str) -> Answer {
    change(agent, "PUT", path, body)
}

/// The policies without the data of their use, and the text of the file.
fn policies(agent: &Agent) -> (Vec<Value>, String) {
    let list = get(agent, "/v1/ports").body["value"].take();
    let used = ["liveGrants", "passedPackets", "droppedPackets", "observedPackets", "approvedRequests"];
    let mut policies = list.as_array().unwrap().clone();
    for policy in &mut policies {
        let policy = policy.as_object_mut().unwrap();
        policy.retain(|name, _| !used.contains(&name.as_str()) && !name.starts_with("last"));
    }
    (policies, agent.machine.text())
}

#[test]
fn a_change_names_the_version_it_was_decided_on_and_is_answered_with_the_next() {
    let dns = "[[port]]\nnumber = 53\nprotocol = 'udp'\n";
    let agent = Agent::start(Machine::usual_with(&format!("{USUAL}{dns}")));
    let etag = |answer: &Answer| answer.header("etag").unwrap().to_owned();
    let change = |version: &str, method: &str, path: &str, body: &str| {
        let headers = format!("if-match: {version}\r\ncontent-type: application/json\r\n");
        send(&agent, method, path, &headers, body.as_bytes())
    };
    let first = etag(&get(&agent, "/v1/ports"));
    let body = r#"{"allowedSourceAddressPrefixes":["192.0.2.0/24"],"maxRequestAccessDuration":"PT90M",
        "approval":"required","approvalTimeout":"P2D","justification":"optional","quota":5}"#;
    let answer = change(&first, "PUT", PATH, body);
    let second = etag(&answer);
    assert_eq!((answer.status, second != first), (200, true), "{}", answer.body);
    assert_eq!((&answer.body["port"]["number"], &answer.body["port"]["protocol"]), (&json!(22), &json!("TCP")));
    assert_eq!((&answer.body["opened"], &answer.body["durable"]), (&json!([]), &json!(true)));
    change(&first, "PUT", "/v1/ports/80/any", "{}").problem(412, "precondition_failed");
    let answer = change(&second, "PUT", "/v1/ports/80/any?confirm=true", "{}");
    assert_eq!((answer.status, etag(&answer) != second), (200, true));
    let removed = change(&etag(&answer), "DELETE", "/v1/ports/53/udp?confirm=true", "");
    assert_eq!((removed.status, &removed.body["port"]), (200, &Value::Null));
    assert_eq!(etag(&removed), etag(&get(&agent, "/v1/ports")));
    let policy = |number: u16, protocol: &str, sources: Value| {
        json!({
            "number": number, "protocol": protocol, "allowedSourceAddressPrefixes": sources,
            "maxRequestAccessDuration": "PT3H", "approval": "auto", "approvalTimeout": "PT1H",
            "justification": "required", "quota": 32, "requesters": [], "approvers": [], "setByAgent": true,
        })
    };
    let mut ssh = policy(22, "TCP", json!(["192.0.2.0/24"]));
    for (name, value) in [
        ("maxRequestAccessDuration", json!("PT1H30M")),
        ("approval", json!("required")),
        ("approvalTimeout", json!("PT48H")),
        ("justification", json!("optional")),
        ("quota", json!(5)),
    ] {
        ssh[name] = value;
    }
    let (policies, _) = policies(&agent);
    assert_eq!(policies[..2], [ssh, policy(80, "*", json!(["0.0.0.0/0", "::/0"]))]);
    assert_eq!(policies.len(), 4);
}

#[test]
fn without_one_version_nothing_is_asked_of_the_core() {
    let agent = agent();
    let before = policies(&agent);
    let version = get(&agent, "/v1/ports").header("etag").unwrap().to_owned();
    let table = [
        (String::new(), 428, "precondition_required"),
        (format!("if-match: {version}\r\nif-match: {version}\r\n"), 428, "precondition_required"),
        ("if-match: *\r\n".to_owned(), 412, "precondition_failed"),
        (format!("if-match: W/{version}\r\n"), 412, "precondition_failed"),
        (format!("if-match: {version}, {version}\r\n"), 412, "precondition_failed"),
    ];
    for (headers, status, code) in table {
        for method in ["PUT", "DELETE"] {
            let headers = format!("{headers}content-type: application/json\r\n");
            let path = format!("{PATH}?confirm=true");
            send(&agent, method, &path, &headers, br#"{"quota":1}"#).problem(status, code);
        }
    }
    assert_eq!(policies(&agent), before);
}

#[test]
fn every_value_that_can_not_be_used_is_reported_at_once() {
    let agent = agent();
    let before = policies(&agent);
    let body = r#"{"allowedSourceAddressPrefixes":["192.0.2.7/24"],"maxRequestAccessDuration":"PT25H",
        "approval":"maybe","approvalTimeout":"1h","justification":"no","quota":0}"#;
    let answer = put(&agent, PATH, body);
    answer.problem(422, "invalid_value");
    let fields: Vec<_> = answer.violations().iter().map(|[port, field, ..]| (*port, *field)).collect();
    let expected = [
        "allowedSourceAddressPrefixes",
        "maxRequestAccessDuration",
        "approval",
        "approvalTimeout",
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
    assert_eq!(policies(&agent), before);
}

#[test]
fn a_change_with_effects_shows_them_and_waits_for_confirmation() {
    let effects = json!({"opened": ["22/tcp"], "ended": [grant()], "shortened": []});
    let agent = granted();
    let before = policies(&agent);
    let answer = change(&agent, "DELETE", PATH, "");
    answer.problem(409, "needs_confirmation");
    assert_eq!((&answer.body["effects"], policies(&agent)), (&effects, before));
    let answer = change(&agent, "DELETE", &format!("{PATH}?confirm=true"), "");
    assert_eq!((answer.status, &answer.body["ended"][0]["id"]), (200, &json!(17)));
    assert_eq!(policies(&agent).0.len(), 2);

    let agent = granted();
    agent.machine.rewrite("number = 22\n", "number = 23\n");
    let answer = post(&agent, "/v1/reload", "{}");
    answer.problem(409, "needs_confirmation");
    assert_eq!(answer.body["effects"], effects);
    post(&agent, "/v1/reload", r#"{"allowOpen":["22/tcp"]}"#).problem(409, "needs_confirmation");
    let answer = post(&agent, "/v1/reload", r#"{"allowOpen":["22/tcp"],"confirm":true}"#);
    assert_eq!((answer.status, &answer.body["changed"]), (200, &json!(["22/tcp", "23/tcp"])));
}

#[test]
fn what_the_core_refuses_has_its_status_and_code() {
    let agent = agent();
    let headers = "if-match: \"other\"\r\ncontent-type: application/json\r\n";
    send(&agent, "PUT", PATH, headers, b"{}").problem(412, "precondition_failed");
    let overlap = put(&agent, "/v1/ports/22/any", "{}");
    overlap.problem(422, "invalid_value");
    assert_eq!(overlap.violations(), [["22/any", "protocol", "any", "a protocol that 22/tcp does not include"]]);
    change(&agent, "DELETE", "/v1/ports/99/tcp", "").problem(404, "not_found");
    let file = &agent.machine.file;
    let text = agent.machine.text();
    for (now, status, code) in [
        (text.replace("eth0", "eth1"), 409, "edited_since_loaded"),
        (format!("socket = '/tmp/other'\n{text}"), 409, "restart_required"),
        ("nonsense".to_owned(), 422, "invalid_configuration"),
    ] {
        std::fs::write(file, now).unwrap();
        put(&agent, PATH, "{}").problem(409, "edited_since_loaded");
        if code != "edited_since_loaded" {
            post(&agent, "/v1/reload", "{}").problem(status, code);
        }
    }
}

#[test]
fn what_a_reload_would_open_without_its_having_been_named_is_in_a_field_of_its_own() {
    let agent = granted();
    agent.machine.rewrite("number = 22\n", "number = 23\n");
    agent.machine.rewrite("mode = 'enforce'", "mode = 'observe'");
    let all = ["mode=observe", "22/tcp"];
    for (named, unnamed) in [(&[][..], &all[..]), (&["22/tcp"], &["mode=observe"]), (&all, &[])] {
        let answer = post(&agent, "/v1/reload", json!({"allowOpen": named}).to_string());
        answer.problem(409, "needs_confirmation");
        assert_eq!(answer.body["unnamed"], json!(unnamed));
    }
    let agent = Agent::start(Machine::usual_with(&USUAL.replace("'enforce'", "'observe'")));
    let answer = post(&agent, "/v1/enforcement/enable", "{}");
    answer.problem(409, "no_way_back");
    assert_eq!(answer.body.get("unnamed"), None);
}

#[test]
fn a_name_of_nothing_that_a_reload_can_open_is_refused() {
    let agent = agent();
    let refused = [
        "22/tpc",
        "foo",
        "",
        "0",
        "022",
        "65536/tcp",
        "22/",
        "22/SCTP",
        "mode=enforce",
        "interface=",
        "interface=a/b",
        "interface=sixteen-letters-",
        "scope=all",
        "break_glass=",
        "break_glass=192.0.2.0/33",
    ];
    let known = [
        "22",
        "22/tcp",
        "22/UDP",
        "65535/sctp",
        "3389/*",
        "mode=observe",
        "interface=eth0.5",
        "break_glass=::/0",
        "scope=local",
    ];
    let names: Vec<&str> = known.iter().chain(&refused).copied().collect();
    let answer = post(&agent, "/v1/reload", json!({"allowOpen": names}).to_string());
    answer.problem(422, "invalid_value");
    let allowed = "a port like 22 or 22/tcp, mode=observe, scope=local, fragments=pass, interface= with the name of an \
                   interface, or break_glass= with a prefix";
    assert_eq!(answer.violations(), refused.map(|given| ["", "allowOpen", given, allowed]));
    assert_eq!(post(&agent, "/v1/reload", json!({"allowOpen": known}).to_string()).status, 200);
}
