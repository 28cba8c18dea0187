//! What the API says about packets: why, events, metrics.

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
    let answer = get(&agent, "/v1/why?source=2001%3Adb8%3A%3A1&port=3389&protocol=UDP&interface=eth0");
    let expected = json!({
        "source": "2001:db8::1", "number": 3389, "protocol": "UDP", "verdict": "pass", "reason": "host_grant",
        "mode": "enforce", "explanation": "grant 17 of ann lets in 192.0.2.10/32 to 22/tcp", "advice": null,
        "grants": [grant("Live")],
    });
    assert_eq!((answer.status, &answer.body), (200, &expected));
    let [packet] = &agent.asked().packets[..] else { panic!("{:?}", agent.asked()) };
    assert_eq!((packet.transport, packet.interface.as_deref()), (Transport::Udp, Some("eth0")));
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
    assert_eq!(agent.asked().packets, []);
}

#[test]
fn events_are_streamed_as_they_come_until_the_agent_stops() {
    let script = Script::default();
    let hub = script.events.clone();
    let mut agent = Agent::start(script);
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    agent.wait_until_watched();
    let mut event = Event::new(0, u32::MAX, Mode::Observe as u8, Reason::NoGrant as u8);
    let (source, transport) = (Source::V4(0xc000_0207), Transport::Tcp);
    event.set_flow(&Flow { source, port: 22, transport, fragment: false, transport_header: 0 });
    hub.take(&event, |_| Some("eth0".to_owned()));
    for dropped in [0, 5, 5] {
        hub.count_drops(dropped);
    }
    agent.stop();
    let lines: Vec<String> = BufReader::new(stream).lines().map(Result::unwrap).collect();
    assert!(lines.iter().any(|line| line == "content-type: text/event-stream"), "{lines:?}");
    let data = |name: &str| -> Value {
        let after = lines.iter().skip_while(|line| **line != format!("event: {name}")).nth(1);
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
    let refusal = Refusal::NotPermitted { name: "bob".to_owned(), uid: 1001, role: "admin" };
    let agent = Agent::start(Script { refusal: Some(refusal), ..Script::default() });
    for path in ["/v1/events", "/v1/why?source=192.0.2.1&port=22", "/metrics"] {
        get(&agent, path).problem(403, "not_permitted");
    }
}

#[test]
fn metrics_are_text_for_prometheus() {
    let agent = agent();
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{text}");
    assert!(text.contains("\njit_agent_grants{state=\"enforced\"} 1\n"), "{text}");
}
