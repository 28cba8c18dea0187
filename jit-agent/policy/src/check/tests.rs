use proptest::prelude::*;

use super::*;
use crate::{Protocol, parse_source};

const HOUR: Duration = Duration::from_secs(3600);

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn sources(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| parse_source(text).unwrap()).collect()
}

fn policy(number: u16, protocol: Protocol, allowed: &[&str], hours: u32) -> PortPolicy {
    PortPolicy {
        allowed_sources: sources(allowed),
        max_duration: HOUR * hours,
        justification: Justification::Optional,
        ..PortPolicy::new(PortId { number, protocol })
    }
}

/// 22/tcp from two prefixes for 3 h, 53/tcp for 1 h and 53/udp for 2 h from anywhere, 3389/any with justification.
fn policies() -> PortPolicies {
    PortPolicies::new(vec![
        policy(22, Protocol::Tcp, &["198.51.100.0/24", "2001:db8::/32"], 3),
        policy(53, Protocol::Tcp, &["0.0.0.0/0"], 1),
        policy(53, Protocol::Udp, &["0.0.0.0/0"], 2),
        PortPolicy { justification: Justification::Required, ..policy(3389, Protocol::Any, &["0.0.0.0/0", "::/0"], 3) },
    ])
    .unwrap()
}

fn port(number: u32, protocol: Option<Protocol>, from: &[&str], until: Until) -> RequestedPort {
    RequestedPort { number, protocol, sources: sources(from), until }
}

fn check(ports: Vec<RequestedPort>, justification: &str) -> Result<Vec<ApprovedPort>, Vec<Violation>> {
    policies().check(&NewRequest { ports, justification: justification.to_owned() }, now(), |_| 0)
}

/// The approved ports, as `port from sources for duration`.
fn approved(ports: Vec<RequestedPort>) -> Vec<String> {
    let show = |approved: ApprovedPort| {
        let ApprovedPort { port, sources, duration } = approved;
        format!("{port} from {} for {}", listed(sources, ","), Span(duration))
    };
    check(ports, "why not").unwrap().into_iter().map(show).collect()
}

/// The violations, as `port field: given -> allowed`.
fn violations(ports: Vec<RequestedPort>, justification: &str) -> Vec<String> {
    let show = |Violation { port, field, given, allowed }| format!("{port} {field}: {given} -> {allowed}");
    check(ports, justification).unwrap_err().into_iter().map(show).collect()
}

const TCP: Option<Protocol> = Some(Protocol::Tcp);
const UDP: Option<Protocol> = Some(Protocol::Udp);
const ANY: Option<Protocol> = Some(Protocol::Any);

#[test]
fn what_lies_within_the_policies_is_approved() {
    let hour = Until::For(HOUR);
    let in_an_hour = Until::Time(now() + HOUR);
    for (requested, expected) in [
        (port(22, TCP, &["198.51.100.7"], hour), "22/tcp from 198.51.100.7/32 for 1 h"),
        (port(22, None, &["198.51.100.0/24"], hour), "22/tcp from 198.51.100.0/24 for 1 h"),
        (port(22, None, &["2001:db8:1::/48"], in_an_hour), "22/tcp from 2001:db8:1::/48 for 1 h"),
        (port(22, None, &["198.51.100.7"], Until::For(HOUR * 3)), "22/tcp from 198.51.100.7/32 for 3 h"),
        (port(22, None, &["198.51.100.7"], Until::Time(now() + HOUR * 3)), "22/tcp from 198.51.100.7/32 for 3 h"),
        (port(3389, TCP, &["192.0.2.1"], hour), "3389/tcp from 192.0.2.1/32 for 1 h"),
        (port(3389, None, &["192.0.2.1"], hour), "3389/any from 192.0.2.1/32 for 1 h"),
        (port(3389, ANY, &["192.0.2.1"], hour), "3389/any from 192.0.2.1/32 for 1 h"),
        (port(53, UDP, &["192.0.2.1"], Until::For(HOUR * 2)), "53/udp from 192.0.2.1/32 for 2 h"),
    ] {
        assert_eq!(approved(vec![requested]), [expected]);
    }
}

#[test]
fn no_protocol_means_both_policies_of_a_number() {
    let ports = vec![port(53, None, &["192.0.2.1"], Until::For(HOUR))];
    assert_eq!(approved(ports), ["53/tcp from 192.0.2.1/32 for 1 h", "53/udp from 192.0.2.1/32 for 1 h"]);
}

#[test]
fn exact_repetitions_are_merged_and_nested_sources_are_kept() {
    let twice = port(22, None, &["198.51.100.7", "198.51.100.0/24", "198.51.100.7"], Until::For(HOUR));
    let again = port(22, TCP, &["198.51.100.0/24", "198.51.100.8"], Until::Time(now() + HOUR));
    assert_eq!(
        approved(vec![twice, again]),
        ["22/tcp from 198.51.100.7/32,198.51.100.0/24 for 1 h", "22/tcp from 198.51.100.8/32 for 1 h"]
    );
}

#[test]
fn each_thing_beyond_the_policies_is_a_violation_of_its_own_field() {
    let hour = Until::For(HOUR);
    let ok = "198.51.100.7";
    let protected = "22/tcp, 53/tcp, 53/udp, 3389/any";
    for (requested, expected) in [
        (port(0, None, &[ok], hour), format!("0 number: 0 -> {protected}")),
        (port(80, TCP, &[ok], hour), format!("80 number: 80 -> {protected}")),
        (port(65_536 + 22, TCP, &[ok], hour), format!("65558 number: 65558 -> {protected}")),
        (port(22, UDP, &[ok], hour), "22/udp protocol: UDP -> TCP".to_owned()),
        (port(22, ANY, &[ok], hour), "22/any protocol: * -> TCP".to_owned()),
        (port(53, ANY, &[ok], hour), "53/any protocol: * -> TCP or UDP".to_owned()),
        (port(22, None, &[], hour), "22/tcp allowedSourceAddressPrefixes: none -> at least one source".to_owned()),
        (
            port(22, TCP, &["198.51.100.0/23"], hour),
            "22/tcp allowedSourceAddressPrefixes: 198.51.100.0/23 -> within 198.51.100.0/24 or 2001:db8::/32"
                .to_owned(),
        ),
        (port(22, TCP, &[ok], Until::For(HOUR * 4)), "22/tcp duration: 4 h -> at most 3 h".to_owned()),
        (port(22, TCP, &[ok], Until::For(Duration::ZERO)), "22/tcp duration: 0 s -> more than 0 s".to_owned()),
        (
            port(22, TCP, &[ok], Until::Time(now())),
            "22/tcp endTimeUtc: 2026-03-01T12:00:00Z -> after 2026-03-01T12:00:00Z, the time of the request".to_owned(),
        ),
        (
            port(22, TCP, &[ok], Until::Time(now() - HOUR)),
            "22/tcp endTimeUtc: 2026-03-01T11:00:00Z -> after 2026-03-01T12:00:00Z, the time of the request".to_owned(),
        ),
        (
            port(22, TCP, &[ok], Until::Time(now() + HOUR * 3 + Duration::from_nanos(1))),
            "22/tcp endTimeUtc: 2026-03-01T15:00:00.000000001Z -> at most 3 h from now, until 2026-03-01T15:00:00Z"
                .to_owned(),
        ),
    ] {
        assert_eq!(violations(vec![requested], "why not"), [expected]);
    }
}

#[test]
fn only_the_policy_that_is_exceeded_complains() {
    let ports = vec![port(53, None, &["192.0.2.1"], Until::For(HOUR * 2))];
    assert_eq!(violations(ports, ""), ["53/tcp duration: 2 h -> at most 1 h"]);
}

#[test]
fn all_violations_are_reported_at_once() {
    let ports = vec![
        port(22, TCP, &["192.0.2.1", "198.51.100.7", "192.0.2.2", "192.0.2.1"], Until::For(HOUR * 4)),
        port(80, None, &[], Until::For(Duration::ZERO)),
        port(3389, None, &["192.0.2.1"], Until::For(HOUR)),
        port(3389, None, &["192.0.2.2"], Until::For(HOUR)),
    ];
    assert_eq!(
        violations(ports, " \n"),
        [
            "22/tcp allowedSourceAddressPrefixes: 192.0.2.1/32 -> within 198.51.100.0/24 or 2001:db8::/32",
            "22/tcp allowedSourceAddressPrefixes: 192.0.2.2/32 -> within 198.51.100.0/24 or 2001:db8::/32",
            "22/tcp duration: 4 h -> at most 3 h",
            "80 number: 80 -> 22/tcp, 53/tcp, 53/udp, 3389/any",
            "80 allowedSourceAddressPrefixes: none -> at least one source",
            "80 duration: 0 s -> more than 0 s",
            "3389/any justification: none -> a text that says why",
        ]
    );
}

#[test]
fn one_source_with_two_durations_is_a_violation() {
    let ports = vec![
        port(22, None, &["198.51.100.7"], Until::For(HOUR)),
        port(22, TCP, &["198.51.100.7"], Until::For(HOUR * 2)),
    ];
    assert_eq!(
        violations(ports, ""),
        ["22/tcp duration: 1 h and 2 h for 198.51.100.7/32 -> one duration for the same port and source"]
    );
}

#[test]
fn a_request_for_nothing_is_a_violation() {
    assert_eq!(violations(Vec::new(), ""), [" ports: none -> at least one port"]);
}

#[test]
fn long_lists_of_what_is_allowed_are_cut() {
    assert_eq!(listed(0..3, ", "), "0, 1, 2");
    assert!(listed(0..40, ", ").ends_with("15, 24 more"), "{}", listed(0..40, ", "));
}

fn any_source() -> impl Strategy<Value = IpNet> {
    let v4 = (0_u8..4, 29_u8..=32).prop_map(|(low, length)| format!("192.0.2.{}/{length}", low * 3));
    let v6 = (0_u8..4, 125_u8..=128).prop_map(|(low, length)| format!("2001:db8::{}/{length}", low * 3));
    prop_oneof![v4, v6].prop_map(|text| text.parse::<IpNet>().unwrap().trunc())
}

fn any_protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Any)]
}

fn any_policies() -> impl Strategy<Value = PortPolicies> {
    let sources = prop::collection::vec(any_source(), 1..4);
    let one = (1_u16..4, any_protocol(), sources, 1_u32..4).prop_map(|(number, protocol, allowed_sources, hours)| {
        PortPolicy {
            allowed_sources,
            max_duration: HOUR * hours,
            justification: Justification::Optional,
            ..PortPolicy::new(PortId { number, protocol })
        }
    });
    prop::collection::vec(one, 1..5).prop_filter_map("policies overlap", |policies| PortPolicies::new(policies).ok())
}

fn any_port() -> impl Strategy<Value = RequestedPort> {
    let until = prop_oneof![
        (0_u32..4).prop_map(|hours| Until::For(HOUR * hours)),
        (0_u32..4).prop_map(|hours| Until::Time(now() + HOUR * hours)),
    ];
    let number = prop_oneof![8 => 1_u32..4, 1 => Just(0), 1 => Just(65_537)];
    (number, prop::option::of(any_protocol()), prop::collection::vec(any_source(), 0..3), until)
        .prop_map(|(number, protocol, sources, until)| RequestedPort { number, protocol, sources, until })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_approved_never_exceeds_a_policy_and_is_all_that_was_asked(
        policies in any_policies(),
        ports in prop::collection::vec(any_port(), 1..3),
    ) {
        let request = NewRequest { ports, justification: String::new() };
        let Ok(approved) = policies.check(&request, now(), |_| 0) else { return Ok(()) };
        let mut given = HashSet::new();
        for ApprovedPort { port, sources, duration } in &approved {
            prop_assert!(!duration.is_zero());
            for source in sources {
                for transport in port.protocol.transports() {
                    let within = policies.iter().any(|policy| {
                        policy.id.number == port.number
                            && policy.id.protocol.transports().contains(transport)
                            && policy.allowed_sources.iter().any(|allowed| allowed.contains(source))
                            && *duration <= policy.max_duration
                    });
                    prop_assert!(within, "{port} from {source} for {duration:?} exceeds {policies:?}");
                }
                prop_assert!(given.insert((*port, *source)), "{port} from {source} is approved twice");
            }
        }
        let wanted = request.ports.iter().flat_map(|requested| {
            let ids = policies.iter().map(|policy| policy.id).filter(|id| u32::from(id.number) == requested.number);
            let ids = ids.map(|id| PortId { protocol: requested.protocol.unwrap_or(id.protocol), ..id });
            ids.flat_map(|id| requested.sources.iter().map(move |source| (id, *source)))
        });
        prop_assert_eq!(given, wanted.collect::<HashSet<_>>());
    }
}
