//! What programs are told that get no further: the problems of the API.

use std::fmt::Write as _;

use anyhow::Result;

use crate::{file, normal::normal, run::Host, story};

const GOOD: &str = r#"{"ports": [{"number": 22, "protocol": "TCP", "allowedSourceAddressPrefix": "192.0.2.10", "duration": "PT10M"}], "justification": "test"}"#;

/// A method, a path, headers and a body.
type Call<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Option<&'a str>);

const CALLS: &[Call<'_>] = &[
    ("GET", "/", &[], None),
    ("GET", "/v2/status", &[], None),
    ("GET", "/v1/requests/99", &[], None),
    ("GET", "/v1/requests/x", &[], None),
    ("GET", "/v1/grants/99", &[], None),
    ("DELETE", "/v1/status", &[], None),
    ("GET", "/v1/status?x=1", &[], None),
    ("GET", "/v1/requests?limit=0", &[], None),
    ("GET", "/v1/requests?status=Open", &[], None),
    ("GET", "/v1/grants?limit=x", &[], None),
    ("GET", "/v1/audit?since=yesterday", &[], None),
    ("GET", "/v1/audit?event=nothing&port=0", &[], None),
    ("GET", "/v1/audit?bogus=1", &[], None),
    ("GET", "/v1/audit/verify?head=abc", &[], None),
    ("GET", "/v1/why", &[], None),
    ("GET", "/v1/why?source=host&port=99999&protocol=icmp", &[], None),
    ("GET", "/v1/why?source=192.0.2.10&port=22&to=2001:db8::1", &[], None),
    ("POST", "/v1/requests", &[], Some("{")),
    ("POST", "/v1/requests", &[], Some("[]")),
    ("POST", "/v1/requests", &[], Some("{}")),
    ("POST", "/v1/requests", &[], Some(r#"{"ports": [], "justification": "test"}"#)),
    ("POST", "/v1/requests", &[], Some(r#"{"ports": [{"number": 22}], "bogus": 1}"#)),
    ("POST", "/v1/requests", &[], Some(r#"{"ports": [{"number": 22}], "ports": []}"#)),
    ("POST", "/v1/requests", &[], Some(r#"{"ports": [{"number": "22"}]}"#)),
    ("POST", "/v1/requests", &[], Some(r#"{"ports": [{"number": 22}], "justification": "test"}"#)),
    (
        "POST",
        "/v1/requests",
        &[],
        Some(
            r#"{"ports": [{"number": 0, "protocol": "ICMP", "allowedSourceAddressPrefixes": ["host", "192.0.2.1/24"], "duration": "long", "endTimeUtc": "2001-01-01T00:00:00Z"}, {"number": 22, "protocol": "TCP", "allowedSourceAddressPrefix": "*", "duration": "PT0S"}], "justification": "\u0007"}"#,
        ),
    ),
    (
        "POST",
        "/v1/requests",
        &[],
        Some(
            r#"{"ports": [{"number": 22, "protocol": "TCP", "allowedSourceAddressPrefix": "203.0.113.5", "duration": "PT9H"}, {"number": 443, "protocol": "TCP", "allowedSourceAddressPrefix": "192.0.2.10", "duration": "PT10M"}], "justification": ""}"#,
        ),
    ),
    ("POST", "/v1/requests", &[("idempotency-key", "")], Some(GOOD)),
    ("POST", "/v1/requests", &[("idempotency-key", "one")], Some(GOOD)),
    ("POST", "/v1/requests", &[("idempotency-key", "one")], Some(GOOD)),
    (
        "POST",
        "/v1/requests",
        &[("idempotency-key", "one")],
        Some(
            r#"{"ports": [{"number": 22, "protocol": "TCP", "allowedSourceAddressPrefix": "192.0.2.11", "duration": "PT10M"}], "justification": "test"}"#,
        ),
    ),
    ("POST", "/v1/requests/1/approve", &[], Some("{}")),
    ("POST", "/v1/requests/99/deny", &[], Some(r#"{"reason": "no"}"#)),
    ("POST", "/v1/requests/1/deny", &[], Some("{}")),
    ("POST", "/v1/grants/1/extend", &[], Some(r#"{"duration": "PT9H"}"#)),
    ("POST", "/v1/grants/1/extend", &[], Some(r#"{"duration": "soon"}"#)),
    ("POST", "/v1/grants/99/extend", &[], Some(r#"{"duration": "PT20M"}"#)),
    ("POST", "/v1/grants/revoke", &[], Some("{}")),
    ("POST", "/v1/grants/revoke", &[], Some(r#"{"ids": [1], "all": true}"#)),
    ("POST", "/v1/grants/revoke", &[], Some(r#"{"ids": [1, 99]}"#)),
    ("PUT", "/v1/ports/443/tcp", &[], Some("{}")),
    ("PUT", "/v1/ports/443/tcp", &[("if-match", "\"another\"")], Some("{}")),
    ("PUT", "/v1/ports/0/icmp", &[("if-match", "\"another\"")], Some("{}")),
    ("DELETE", "/v1/ports/22/tcp", &[], None),
    ("POST", "/v1/reload", &[], Some(r#"{"allowOpen": ["no port"]}"#)),
    ("POST", "/v1/enforcement/enable", &[], Some(r#"{"trial": "PT1S"}"#)),
    ("POST", "/v1/enforcement/confirm", &[], Some("{}")),
];

#[test]
fn a_refusal_has_the_code_and_the_words_that_programs_know() -> Result<()> {
    let host = Host::start(story::config())?;
    let mut text = String::new();
    for (method, path, headers, body) in CALLS {
        let answer = host.agent.api_raw(method, path, headers, body.map(str::to_owned))?;
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        writeln!(text, "{method} {path}\n{headers}{}\n", body.unwrap_or_default())?;
        writeln!(text, "{} {}\n{}", answer.status, answer.content_type, normal(&answer.body))?;
    }
    let undeclared = host.agent.api_raw("POST", "/v1/reload", &[("content-type", "text/plain")], None)?;
    writeln!(text, "no JSON\n\n{} {}\n{}", undeclared.status, undeclared.content_type, normal(&undeclared.body))?;
    file::check("problems.txt", &text)
}
