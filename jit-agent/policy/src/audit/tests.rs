//! Every event as a detail, and the search terms that find it.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use ipnet::IpNet;
use jiff::Timestamp;
use jit_common::abi::Mode;
use serde_json::{Value, json};

use super::*;
use crate::{
    Actor, Fragments, GrantId, Interfaces, Person, PortId, PortPolicy, Protocol, RequestId, RequestedPort, Role, Scope,
    TrialKind, Until, Violation, Way, parse_source,
};

/// With so many samples of each event, every alternative of every field occurs.
const TURNS: usize = 40;
const PORT: u16 = 4711;
const DOER: &str = "the doer";
const REQUESTOR: &str = "some text";

/// A value for tests. Turns go through its alternatives.
pub(super) trait Sample {
    fn sample(turn: usize) -> Self;
}

macro_rules! samples {
    ($($type:ty: $turn:pat => $sample:expr;)+) => {
        $(impl Sample for $type {
            fn sample($turn: usize) -> Self {
                $sample
            }
        })+
    };
}

fn is_even(turn: usize) -> bool {
    turn.is_multiple_of(2)
}

samples! {
    u16: _ => PORT;
    u32: _ => 1;
    u64: _ => 2;
    usize: _ => 3;
    i64: _ => 4;
    f64: _ => 0.5;
    Way: _ => Self::Native;
    String: _ => REQUESTOR.to_owned();
    [u8; 32]: _ => [7; 32];
    Timestamp: _ => Timestamp::UNIX_EPOCH;
    Duration: _ => Duration::from_secs(600);
    IpAddr: _ => [192, 0, 2, 7].into();
    IpNet: _ => parse_source("192.0.2.0/24").unwrap();
    RequestId: _ => Self(8);
    GrantId: _ => Self(9);
    Mode: turn => if is_even(turn) { Self::Enforce } else { Self::Observe };
    TrialKind: turn => [Self::Enable, Self::Ports, Self::Reload][turn % 3];
    PortId: _ => Self { number: PORT, protocol: Protocol::Tcp };
    PortPolicy: turn => Self::new(PortId::sample(turn));
    PortChange: turn => [Self::Added, Self::Changed, Self::Removed][turn % 3];
    FilesRead: _ => Self;
    Person: turn => Self {
        uid: 1, name: DOER.to_owned(), login: is_even(turn).then(|| (2, "whoever logged in".to_owned())),
    };
    Actor: turn => match turn % 3 {
        0 => Self::Person(Person::sample(turn / 3)),
        1 => Self::Signal("SIGHUP"),
        _ => Self::Start,
    };
    Remover: turn => Self {
        name: DOER.to_owned(), uid: Option::sample(turn), login: is_even(turn).then(|| (None, "whoever logged in".to_owned())),
    };
    AskedPorts: turn => Self::of(&[RequestedPort {
        number: PORT.into(),
        protocol: is_even(turn).then_some(Protocol::Udp),
        sources: vec![IpNet::sample(turn); if is_even(turn) { 1 } else { 100 }],
        until: if is_even(turn) { Until::For(Duration::sample(turn)) } else { Until::Time(Timestamp::sample(turn)) },
    }]);
    Violation: _ => Self { port: "22/tcp".to_owned(), field: "number", given: "1".to_owned(), allowed: "2".to_owned() };
    StoredGrant: turn => Self::new(GrantId::sample(turn), RequestId::sample(turn), PortId::sample(turn), IpNet::sample(turn));
    Attempt: turn => match turn % 10 {
        0 => Self::Request {
            justification: "why".to_owned(), ports: AskedPorts::sample(turn / 10), named: Option::sample(turn / 10),
        },
        1 => Self::Approve(RequestId(1)),
        2 => Self::Deny(RequestId(1)),
        3 => Self::Cancel(RequestId(1)),
        4 => Self::Extend(GrantId(1)),
        5 => Self::Revoke(GrantId(1)),
        6 => Self::Change(PORT),
        7 => Self::Enable,
        8 => Self::Confirm,
        _ => Self::Disable,
    };
    Grounds: turn => if is_even(turn) { Self::Reason("because".to_owned()) } else { Self::violations(&Vec::sample(turn)) };
    Repeated: turn => Self { count: u64::sample(turn), since: Timestamp::sample(turn) };
    SettingsInForce: turn => Self {
        mode: Mode::sample(turn),
        interfaces: Interfaces::default(),
        scope: if is_even(turn) { Scope::All } else { Scope::Local },
        fragments: if is_even(turn) { Fragments::Drop } else { Fragments::Pass },
        break_glass: Vec::sample(turn),
        retention: Duration::from_secs(86_400),
        roles: vec![(Role::Admin, vec!["@wheel".to_owned()])],
        people: crate::People::default(),
    };
    WayBack: turn => Self { console: is_even(turn), break_glass: Vec::sample(turn), delegates: vec!["pusher".to_owned()] };
}

impl<T: Sample> Sample for Option<T> {
    fn sample(turn: usize) -> Self {
        is_even(turn).then(|| T::sample(turn / 2))
    }
}

impl<T: Sample> Sample for IfAny<T> {
    fn sample(turn: usize) -> Self {
        Self(Option::sample(turn))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(turn: usize) -> Self {
        vec![T::sample(turn), T::sample(turn + 1)]
    }
}

/// Samples of every event, each with its kind.
fn samples() -> impl Iterator<Item = (Kind, AuditEvent)> {
    (0..TURNS).flat_map(|turn| AuditEvent::KINDS.iter().copied().zip(AuditEvent::samples(turn)))
}

#[test]
fn every_event_is_found_by_its_name_its_persons_and_its_ports() {
    for (_, event) in samples() {
        let (detail, terms) = (event.detail(), event.terms());
        let text = detail.to_string();
        let mut expected = BTreeSet::from([format!("event:{}", event.name())]);
        if text.contains(DOER) {
            expected.insert(format!("user:{DOER}"));
        }
        if detail.get("requestor").is_some_and(Value::is_string) {
            expected.insert(format!("user:{REQUESTOR}"));
        }
        if text.contains(&PORT.to_string()) {
            expected.insert(format!("port:{PORT}"));
        }
        assert_eq!(terms.iter().cloned().collect::<BTreeSet<_>>(), expected, "{} {text}", event.name());
    }
}

#[test]
fn the_keys_of_an_event_are_those_that_are_listed_in_their_order() {
    for (kind, event) in samples() {
        let detail = event.detail();
        assert_eq!(kind.name, event.name());
        let listed: Vec<&str> = kind.keys().iter().map(|key| key.name).collect();
        let mut rest = listed.iter();
        for key in detail.as_object().unwrap().keys() {
            assert!(rest.any(|name| name == key), "{key} of {} {detail}", event.name());
        }
        for key in kind.keys().iter().filter(|key| key.always) {
            assert!(detail.get(key.name).is_some(), "{} of {} {detail}", key.name, event.name());
        }
    }
}

#[test]
fn every_key_that_is_listed_stands_in_some_row_and_only_those_that_always_do_in_all() {
    let turns: Vec<Vec<AuditEvent>> = (0..TURNS).map(AuditEvent::samples).collect();
    for (place, kind) in AuditEvent::KINDS.iter().enumerate() {
        let details: Vec<Value> = turns.iter().map(|events| events[place].detail()).collect();
        for key in kind.keys() {
            let with = details.iter().filter(|detail| detail.get(key.name).is_some()).count();
            assert_eq!((with > 0, with == TURNS), (true, key.always), "{} of {}", key.name, kind.name);
        }
    }
}

#[test]
fn a_row_fits_one_kind_only() {
    for (kind, event) in samples() {
        let fitting: Vec<Vec<Key>> =
            AuditEvent::KINDS.iter().filter(|kind| kind.fits(event.name(), &event.detail())).map(Kind::keys).collect();
        assert_eq!(fitting, [kind.keys()], "{} {}", event.name(), event.detail());
    }
    assert!(
        AuditEvent::KINDS.iter().all(|kind| !kind.fits("unknown", &json!({})) && !kind.fits("started", &json!([])))
    );
}

#[test]
fn persons_and_ports_are_read_back_as_they_were_written() {
    for (_, event) in samples() {
        let detail = event.detail();
        let read = Detail(&detail);
        let by = detail.get("by").filter(|by| !by.is_null());
        assert_eq!(read.by().is_some(), by.is_some(), "{detail}");
        let numbers = read.ports().into_iter().map(|port| match port {
            NamedPort::Number(number, _) => number,
            NamedPort::Text(text) => panic!("{text}"),
        });
        let terms = event.terms();
        assert!(numbers.clone().all(|number| number == PORT), "{detail}");
        assert_eq!(numbers.count() > 0, terms.contains(&format!("port:{PORT}")), "{detail}");
    }
}

#[test]
fn rows_of_older_versions_are_read() {
    for (detail, by, ports) in [
        (json!({ "by": "by root (logged in as ann) at 2026-11-22T15:00:00Z" }), Some("root"), vec![]),
        (json!({ "by": "by somebody, at a time that is not known" }), None, vec![]),
        (json!({ "port": "22/tcp", "grants": [3] }), None, vec![NamedPort::Text("22/tcp")]),
        (
            json!({ "by": { "signal": "SIGHUP" }, "number": null, "ports": ["22/tcp", "3389/any"] }),
            Some("SIGHUP"),
            vec![NamedPort::Text("22/tcp"), NamedPort::Text("3389/any")],
        ),
    ] {
        assert_eq!((Detail(&detail).by(), Detail(&detail).ports()), (by, ports), "{detail}");
    }
}

#[test]
fn what_is_of_no_expected_type_counts_as_missing() {
    for detail in [
        json!({ "requestor": 7, "by": [], "number": "22", "port": 22, "ports": { "number": 1 }, "time": "noon" }),
        json!({ "by": { "name": 7, "signal": null }, "number": 70_000, "ports": [1, { "number": -1 }, {}] }),
        json!([]),
        json!("by root"),
        Value::Null,
    ] {
        let read = Detail(&detail);
        assert_eq!((read.by(), read.by_name(), read.text("requestor"), read.time("time")), (None, None, None, None));
        assert_eq!(read.ports(), [], "{detail}");
    }
}
