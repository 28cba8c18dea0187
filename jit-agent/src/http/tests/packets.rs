//! Tests of the API's answers about packets: why, events, metrics.

use std::io::{BufRead as _, BufReader};

use jit_common::{
    abi::{Event, Mode, Transport},
    parse::{Flow, Source},
    reason::Reason,
};

use super::*;

#[test]
fn why_answers_about_the_packet_of_the_query() {
    let agent = agent();
    let body = r#"{"ports":[{"number":3389,"allowedSourceAddressPrefix":"2001:db8::1","duration":"PT30M"}],
        "justification":"ticket 7"}"#;
    assert_eq!(post_as(&agent, &alice(), "/v1/requests", body).status, 201);
    agent.pass(Duration::from_secs(10));
    let mut grant = grant();
    for (name, value) in [("number", json!(3389)), ("protocol", json!("*")), ("source", json!("2001:db8::1/128"))] {
        grant[name] = value;
    }
    let path = "/v1/why?source=2001%3Adb8%3A%3A1&port=3389&protocol=UDP";
    let answer = get(&agent, &format!("{path}&interface=eth0"));
    let expected = json!({
        "source": "2001:db8::1", "number": 3389, "protocol": "UDP", "verdict": "pass", "reason": "host_grant",
        "mode": "enforce", "explanation": "grant 17 of alice lets in 2001:db8::1/128 to 3389/udp", "advice": null,
        "grants": [grant],
    });
    assert_eq!((answer.status, &answer.body), (200, &expected));
    let elsewhere = get(&agent, &format!("{path}&interface=a%26b")).body;
    assert_eq!(elsewhere["explanation"], "the program is not on a&b, so nothing is filtered there");
    assert_eq!((&elsewhere["verdict"], &elsewhere["reason"]), (&json!("pass"), &Value::Null));
}

#[test]
fn a_query_that_can_not_be_used_is_refused_with_every_violation() {
    let agent = agent();
    for (query, part) in [
        ("", "missing field"),
        ("?source=192.0.2.1", "missing field `port`"),
        ("?source=192.0.2.1&port=22&colour=red", "unknown field `colour`"),
        ("?source=192.0.2.1&port=22&port=23", "duplicate field `port`"),
    ] {
        let answer = get(&agent, &format!("/v1/why{query}"));
        let detail = answer.problem(400, "invalid_field");
        assert!(detail.contains(part) && detail.contains("source=192.0.2.7&port=22"), "{detail}");
    }
    let answer = get(&agent, "/v1/why?source=x&port=0&protocol=icmp&to=y");
    answer.problem(422, "invalid_value");
    let fields: Vec<_> = answer.violations().iter().map(|violation| violation[1]).collect();
    assert_eq!(fields, ["source", "port", "protocol", "to"]);
}

#[test]
fn events_are_streamed_as_they_come_until_the_agent_stops() {
    let mut agent = agent();
    let stream = UnixStream::connect(agent.socket_of(&root())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (&stream).write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    // After the answer's head has arrived, the client sees every packet that comes later.
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut seen: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    assert!(seen.iter().any(|line| line == "content-type: text/event-stream"), "{seen:?}");
    let mut event = Event::new(0, u32::MAX, Mode::Observe as u8, Reason::NoGrant as u8);
    let (source, transport) = (Source::V4(0xc000_0207), Transport::Tcp);
    event.set_flow(&Flow { source, port: 22, transport, fragment: false, transport_header: 0 });
    agent.machine.hub.report(&event, |_| Some("eth0".to_owned()));
    for _ in 0..5 {
        assert!(!agent.machine.admits(22, "192.0.2.7"));
    }
    for _ in 0..2 {
        agent.pass(Duration::from_secs(1));
    }
    agent.stop();
    seen.extend(lines);
    let data = |name: &str| -> Value {
        let after = seen.iter().skip_while(|line| **line != format!("event: {name}")).nth(1);
        serde_json::from_str(after.unwrap().strip_prefix("data: ").unwrap()).unwrap()
    };
    let mut packet = data("packet");
    assert!(packet["timeUtc"].take().is_string());
    let expected = json!({
        "timeUtc": null, "source": "192.0.2.7", "number": 22, "protocol": "TCP", "interface": "eth0",
        "verdict": "pass", "reason": "no_grant", "mode": "observe",
    });
    assert_eq!(packet, expected);
    assert_eq!(data("not_shown"), json!({"notShown": 4}));
}

#[test]
fn whoever_may_not_watch_gets_a_problem_and_no_stream() {
    let agent = agent();
    for path in ["/v1/events", "/v1/why?source=192.0.2.1&port=22", "/metrics"] {
        for peer in [alice(), mallory()] {
            get_as(&agent, &peer, path).problem(403, "not_permitted");
        }
    }
}

#[test]
fn metrics_are_text_for_prometheus() {
    let agent = granted();
    let mut stream = UnixStream::connect(agent.socket_of(&root())).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{text}");
    assert!(text.contains("\njit_agent_grants{state=\"enforced\"} 1\n"), "{text}");
}
