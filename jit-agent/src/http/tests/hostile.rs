//! Tests of bodies and bytes that the API does not accept. Each gets a problem that names the fault, and nothing
//! reaches the core.

use serde_json::json;

use super::{Agent, get, granted, post, raw, root, send};

/// Asserts that a hostile request left no trace: alice's grant is live, there is no request, and nobody was refused.
#[track_caller]
fn nothing_reached_the_core(agent: &Agent) {
    assert_eq!((agent.machine.statuses(), agent.machine.states()), (vec!["approved".into()], vec!["live".into()]));
    assert_eq!(agent.machine.events(), ["started", "requested", "granted"]);
}

#[test]
fn a_body_that_is_not_declared_as_json_is_refused() {
    let agent = granted();
    let body = br#"{"all":true}"#;
    let answer = send(&agent, "POST", "/v1/grants/revoke", "", body);
    assert!(answer.problem(415, "unsupported_media_type").contains("no content type"));
    let answer = send(&agent, "POST", "/v1/grants/revoke", "content-type: text/plain\r\n", body);
    assert!(answer.problem(415, "unsupported_media_type").contains("`text/plain`"));
    nothing_reached_the_core(&agent);
}

#[test]
fn a_body_that_is_not_json_is_refused_with_the_place() {
    let agent = granted();
    let table: [(&[u8], &str); 8] = [
        (b"", "the body is empty"),
        (b"{", "EOF while parsing an object at line 1 column 1"),
        (b"{\"all\":tru}", "line 1 column"),
        (b"{\"all\":true}}", "trailing characters at line 1 column 13"),
        (b"{\"user\":\"\xff\xfe\"}", "invalid unicode code point"),
        (b"{\"user\":\"\0\"}", "control character"),
        (b"\xef\xbb\xbf{}", "expected value at line 1 column 1"),
        (b"{\"all\":NaN}", "expected value"),
    ];
    for (body, text) in table {
        let answer = post(&agent, "/v1/grants/revoke", body);
        let detail = answer.problem(400, "malformed_json");
        assert!(detail.contains(text), "{body:?}: {detail}");
    }
}

#[test]
fn a_field_that_is_unknown_missing_repeated_or_of_another_type_is_named() {
    let agent = granted();
    let deep = format!("{{\"ports\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let table = [
        (r#"{"ports":[],"port":1}"#, "unknown field `port`, expected one of `ports`, `justification`, `requestor`"),
        (r#"{"ports":[{"number":22,"sources":[]}]}"#, "ports[0].sources: unknown field `sources`"),
        (r#"{}"#, "missing field `ports`"),
        (r#"{"ports":[{}]}"#, "ports[0]: missing field `number`"),
        (r#"{"ports":[],"ports":[]}"#, "duplicate field `ports`"),
        (r#"{"ports":{}}"#, "ports: invalid type: map, expected a sequence"),
        (r#"{"ports":[{"number":22},{"number":"22"}]}"#, "ports[1].number: invalid type: string \"22\""),
        (r#"{"ports":[{"number":22.5}]}"#, "ports[0].number: invalid type: floating point `22.5`"),
        (
            r#"{"ports":[{"number":1,"allowedSourceAddressPrefixes":[1]}]}"#,
            "allowedSourceAddressPrefixes[0]: invalid type",
        ),
        (r#"{"ports":[{"number":1,"duration":3600}]}"#, "ports[0].duration: invalid type: integer `3600`"),
        (r#"{"ports":[],"justification":null}"#, "justification: invalid type: null, expected a string"),
        (r#""ports""#, "invalid type: string \"ports\""),
        ("[]", "invalid type: sequence, expected a JSON object, not an array"),
        (&deep, "ports[0]: invalid type: sequence, expected a JSON object"),
    ];
    for (body, text) in table {
        let answer = post(&agent, "/v1/requests", body);
        let detail = answer.problem(400, "invalid_field");
        assert!(detail.contains(text), "{body:.80}: {detail}");
    }
    nothing_reached_the_core(&agent);
}

#[test]
fn every_value_that_can_not_be_used_is_listed_at_once() {
    let agent = granted();
    let answer = post(
        &agent,
        "/v1/requests",
        r#"{"justification":"two\nlines","ports":[
            {"number":70000,"protocol":"tcp","allowedSourceAddressPrefixes":["192.0.2.7/24","nowhere\u0000"],"duration":"1h"},
            {"number":-1,"allowedSourceAddressPrefixes":[],"duration":"PT0S"},
            {"number":0,"allowedSourceAddressPrefix":"fe80::1","endTimeUtc":"17:30"},
            {"number":22,"allowedSourceAddressPrefix":"::ffff:192.0.2.1","duration":"PT1H","endTimeUtc":"2030-01-01T00:00:00Z"},
            {"number":23,"allowedSourceAddressPrefix":"::1","allowedSourceAddressPrefixes":["::1"]}]}"#,
    );
    answer.problem(422, "invalid_value");
    let source = "allowedSourceAddressPrefixes";
    let duration = "a time above zero in ISO 8601, like PT30M or PT1H30M";
    assert_eq!(
        answer.violations(),
        [
            ["", "justification", "two\\nlines", "text on one line, without control characters"],
            ["70000", "number", "70000", "1 to 65535"],
            ["70000", "protocol", "tcp", "TCP, UDP or *"],
            ["70000", source, "192.0.2.7/24", "192.0.2.0/24 for the network or 192.0.2.7 for the host"],
            ["70000", source, "nowhere\0", "an IPv4 or IPv6 address or prefix, like 192.0.2.7 or 2001:db8::/64"],
            ["70000", "duration", "1h", duration],
            ["-1", "number", "-1", "1 to 65535"],
            [
                "-1",
                source,
                "nothing",
                "at least one source, like the address that you connect from (jitctl: --from me)",
            ],
            ["-1", "duration", "PT0S", duration],
            ["0", "number", "0", "1 to 65535"],
            ["0", source, "fe80::1", "an address that is valid beyond the link"],
            ["0", "endTimeUtc", "17:30", "a time in RFC 3339, like 2030-01-31T17:30:00Z"],
            ["22", source, "::ffff:192.0.2.1", "the same address written as IPv4"],
            ["22", "duration", "both", "one of duration and endTimeUtc"],
            ["23", source, "both", "one of allowedSourceAddressPrefixes and allowedSourceAddressPrefix"],
            ["23", "duration", "nothing", "one of duration and endTimeUtc"],
        ]
    );
    nothing_reached_the_core(&agent);
}

#[test]
fn numbers_of_ports_sources_and_characters_are_bounded() {
    let agent = granted();
    let port = |sources: usize| json!({"number": 22, "allowedSourceAddressPrefixes": vec!["192.0.2.1"; sources], "duration": "PT1H"});
    let table = [
        (json!({"ports": []}), ["", "ports", "0 ports", "1 to 64 ports"]),
        (json!({"ports": vec![port(1); 65]}), ["", "ports", "65 ports", "1 to 64 ports"]),
        (
            json!({"ports": [port(16_000), port(385)]}),
            ["", "allowedSourceAddressPrefixes", "16385 sources", "at most 16384 sources in one request"],
        ),
        (
            json!({"ports": [port(1)], "justification": "ä".repeat(1001)}),
            ["", "justification", "1001 characters", "at most 1000 characters"],
        ),
    ];
    for (body, expected) in table {
        let answer = post(&agent, "/v1/requests", body.to_string());
        answer.problem(422, "invalid_value");
        assert_eq!(answer.violations(), [expected]);
    }
    nothing_reached_the_core(&agent);
    assert_eq!(post(&agent, "/v1/requests", json!({"ports": vec![port(256); 64]}).to_string()).status, 201);
    let most = json!({"ports": [port(1)], "justification": "ä".repeat(1000)});
    assert_eq!(post(&agent, "/v1/requests", most.to_string()).status, 201);
}

#[test]
fn a_source_that_is_repeated_is_stored_listed_and_approved_once() {
    let agent = granted();
    let port = |sources: &[&str], times: usize| json!({"number": 5986, "allowedSourceAddressPrefixes": sources.repeat(times), "duration": "PT1H"});
    let [first, again] = [port(&["192.0.2.1", "192.0.2.0/30"], 4096), port(&["192.0.2.1"], 1)];
    let ports = [vec![first], vec![again; 63]].concat();
    let parked = post(&agent, "/v1/requests", json!({"ports": ports}).to_string());
    assert_eq!(parked.status, 202);
    let asked = json!(["192.0.2.1/32", "192.0.2.0/30"]);
    let shown = &get(&agent, "/v1/requests?status=Pending").body["value"][0]["pending"]["ports"];
    assert_eq!((shown.as_array().unwrap().len(), &shown[0]["allowedSourceAddressPrefixes"]), (1, &asked));
    assert_eq!(parked.body["pending"]["ports"], *shown);
    let stored: i64 = agent
        .machine
        .sql()
        .query_row("SELECT length(asked) FROM requests WHERE asked IS NOT NULL", [], |row| row.get(0))
        .unwrap();
    assert!(stored < 200, "{stored}");
    let approved = post(&agent, &format!("/v1/requests/{}/approve", parked.body["id"]), "{}");
    assert_eq!(approved.body["grants"].as_array().unwrap().len(), 2);
}

#[test]
fn more_sources_than_the_quota_are_refused_by_their_number() {
    let agent = granted();
    let sources: Vec<String> = (0..16_384).map(|n| format!("198.51.{}.{}", n / 256, n % 256)).collect();
    let body = json!({"ports": [{"number": 22, "allowedSourceAddressPrefixes": sources, "duration": "PT1H"}]});
    let answer = post(&agent, "/v1/requests", body.to_string());
    answer.problem(422, "policy_violation");
    assert_eq!(answer.violations(), [["22/tcp", "quota", "16384 sources", "at most 32 a person"]]);
    let row = agent.machine.last("denied");
    assert_eq!(
        (&row["ports"][0]["source_count"], row["ports"][0]["sources"].as_array().unwrap().len()),
        (&json!(16_384), 16)
    );
}

#[test]
fn an_answer_lists_a_hundred_violations_at_most() {
    let agent = granted();
    let body =
        json!({"ports": [{"number": 22, "allowedSourceAddressPrefixes": vec!["x"; 16_384], "duration": "PT1H"}]});
    let answer = post(&agent, "/v1/requests", body.to_string());
    assert!(answer.problem(422, "invalid_value").ends_with("; only the first 100 are listed"));
    assert_eq!(answer.violations().len(), 100);
}

#[test]
fn a_revocation_that_names_nothing_or_two_things_is_refused() {
    let agent = granted();
    let table = [
        ("{}", ["", "ids", "nothing", "exactly one of ids, user and all"]),
        (r#"{"ids":[1],"all":true}"#, ["", "ids", "ids and all", "exactly one of ids, user and all"]),
        (r#"{"ids":[]}"#, ["", "ids", "0 grants", "1 to 1024 grants"]),
        (r#"{"all":false}"#, ["", "all", "false", "true, or ids or user in its place"]),
        (r#"{"user":""}"#, ["", "user", "", "the name of a user"]),
        (r#"{"user":"a\u0000b"}"#, ["", "user", "a\\0b", "the name of a user"]),
    ];
    for (body, expected) in table {
        let answer = post(&agent, "/v1/grants/revoke", body);
        answer.problem(422, "invalid_value");
        assert_eq!(answer.violations(), [expected], "{body}");
    }
    nothing_reached_the_core(&agent);
}

#[test]
fn a_huge_body_is_refused_whether_announced_or_not() {
    let agent = granted();
    let huge = vec![b' '; 3 * 1024 * 1024];
    let answer = post(&agent, "/v1/requests", &huge);
    assert!(answer.problem(413, "body_too_large").contains("1048576 bytes"));
    let head = "POST /v1/requests HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let chunk = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n", huge.len());
    raw(&agent.socket_of(&root()), &[chunk.as_bytes(), &huge, b"\r\n0\r\n\r\n"].concat())
        .problem(413, "body_too_large");
    let asks_first = format!("{head}expect: 100-continue\r\ncontent-length: 1048577\r\n\r\n");
    raw(&agent.socket_of(&root()), asks_first.as_bytes()).problem(413, "body_too_large");
    let largest = vec![b' '; 1024 * 1024];
    post(&agent, "/v1/requests", &largest).problem(400, "malformed_json");
}

#[test]
fn what_is_no_http_is_answered_with_a_problem_too() {
    let agent = granted();
    let table = [
        ("hello\r\n\r\n".to_owned(), 400, "malformed_http", "not an HTTP/1.1 request"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), 400, "malformed_http", "not an HTTP/1.1 request"),
        ("POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n".to_owned(), 400, "malformed_http", "not an HTTP/1.1"),
        ("\0\0\0\0\0\0\0\0\r\n\r\n".to_owned(), 400, "malformed_http", "not an HTTP/1.1 request"),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\r\n\r\n".to_owned(), 400, "malformed_http", "not an HTTP/1.1 request"),
        (format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(300_000)), 431, "head_too_large", "64 KiB"),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200)), 431, "head_too_large", "100 fields"),
    ];
    for (bytes, status, code, text) in table {
        let answer = raw(&agent.socket_of(&root()), bytes.as_bytes());
        assert!(answer.problem(status, code).contains(text), "{bytes:.40?}");
    }
    let path = "p".repeat(60_000);
    assert!(get(&agent, &format!("/{path}")).problem(404, "not_found").len() < 500);
}
