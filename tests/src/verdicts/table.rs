//! The packet table: each way of writing a packet, with the reason under which the packet must be counted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jit_agent::datapath::xdp::Entry;
use jit_common::reason::Reason::{self, *};

use super::{
    frame::{
        Ipv4, Ipv6, authentication, ethernet, ethertype, extension, fragment,
        protocol::{DESTINATION, ESP, HOP_BY_HOP, ICMP, ICMP6, MOBILITY, NO_NEXT_HEADER, ROUTING, SCTP, TCP, UDP},
        segment,
    },
    world::{EXPIRED, EXPIRED6, HOST, HOST6, PORT, STRANGER, STRANGER6},
};

/// A frame, and the reason under which the frame must be counted.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// A description of the frame.
    pub name: &'static str,
    /// The bytes of the frame.
    pub frame: Vec<u8>,
    /// The reason.
    pub reason: Reason,
}

/// All fixtures, for `drop_fragments` off.
#[must_use]
pub fn fixtures() -> Vec<Fixture> {
    [ethernet_frames(), ipv4_packets(), ipv6_packets(), ipv6_chains(), fragments()].concat()
}

/// All fixtures, in the form that the program of `entry` gets.
#[must_use]
pub fn fixtures_of(entry: Entry) -> Vec<Fixture> {
    for_entry(entry, fixtures())
}

/// Fixtures in the form that the program of `entry` gets.
#[must_use]
pub fn for_entry(entry: Entry, fixtures: Vec<Fixture>) -> Vec<Fixture> {
    if entry.is_network() { network_packets(fixtures) } else { fixtures }
}

/// The IP packets of fixtures, for programs whose packets begin with the IP header.
fn network_packets(fixtures: Vec<Fixture>) -> Vec<Fixture> {
    let is_ip = |frame: &[u8]| [ethertype::IPV4, ethertype::IPV6].iter().any(|ip| frame[12..14] == ip.to_be_bytes());
    let mut packets = fixtures;
    // No program runs on less than the 14 bytes of an Ethernet header.
    packets.retain(|Fixture { frame, .. }| is_ip(frame) && frame.len() >= 28);
    for Fixture { frame, .. } in &mut packets {
        frame.drain(..14);
    }
    // Without an EtherType, there is nothing that the version could contradict.
    packets.retain(|Fixture { frame, reason, .. }| *reason != BadIpVersion || !matches!(frame[0] >> 4, 4 | 6));
    for Fixture { reason, .. } in packets.iter_mut().filter(|fixture| fixture.reason == BadIpVersion) {
        *reason = NotIp;
    }
    packets
}

/// Fixtures whose reason differs when `drop_fragments` is on.
#[must_use]
pub fn fixtures_with_fragments_dropped() -> Vec<Fixture> {
    let refused = [
        "a first fragment from a granted host",
        "a first fragment from a stranger",
        "a later fragment",
        "the last fragment",
        "an IPv6 first fragment from a granted host",
        "an IPv6 first fragment from a stranger",
        "an IPv6 later fragment",
        "a first fragment of ICMP",
        "a later fragment of ICMP",
        "an IPv6 first fragment of ICMP",
    ];
    let mut all = fixtures();
    for fixture in all.iter_mut().filter(|fixture| refused.contains(&fixture.name)) {
        fixture.reason = FragmentRefused;
    }
    all
}

fn v4(source: Ipv4Addr, protocol: u8, port: u16) -> Ipv4 {
    Ipv4::new(source, protocol, segment(port))
}

fn tcp4(source: [u8; 4]) -> Vec<u8> {
    v4(source.into(), TCP, PORT).frame()
}

fn v6(source: Ipv6Addr, headers: &[(u8, Vec<u8>)], protocol: u8, port: u16) -> Ipv6 {
    Ipv6::new(source, headers, protocol, &segment(port))
}

fn tcp6(source: &str) -> Vec<u8> {
    match source.parse() {
        Ok(IpAddr::V6(source)) => v6(source, &[], TCP, PORT).frame(),
        _ => Vec::new(),
    }
}

fn list<const N: usize>(fixtures: [(&'static str, Vec<u8>, Reason); N]) -> Vec<Fixture> {
    fixtures.map(|(name, frame, reason)| Fixture { name, frame, reason }).to_vec()
}

fn cut(mut frame: Vec<u8>, length: usize) -> Vec<u8> {
    frame.truncate(length);
    frame
}

fn ethernet_frames() -> Vec<Fixture> {
    use ethertype::{ARP, IPV4, PROVIDER_VLAN, VLAN};
    let stranger = v4(STRANGER, TCP, PORT).bytes();
    let padded = |length| [tcp4([192, 0, 2, 12]), vec![0; length]].concat();
    list([
        ("ARP", ethernet(&[], ARP, &[0; 46]), NotIp),
        ("an 802.3 length instead of an EtherType", ethernet(&[], 46, &[0; 46]), NotIp),
        ("one VLAN tag", ethernet(&[VLAN], IPV4, &stranger), NoGrant),
        ("one provider tag", ethernet(&[PROVIDER_VLAN], IPV4, &stranger), NoGrant),
        ("two tags", ethernet(&[PROVIDER_VLAN, VLAN], IPV4, &stranger), NoGrant),
        ("two tags with ARP inside", ethernet(&[VLAN, VLAN], ARP, &[0; 46]), NotIp),
        ("two tags from a granted host", ethernet(&[VLAN, VLAN], IPV4, &v4(HOST, TCP, PORT).bytes()), HostGrant),
        ("three tags", ethernet(&[VLAN, VLAN, VLAN], IPV4, &stranger), TooManyVlanTags),
        ("a tag that ends with the frame", cut(ethernet(&[VLAN], IPV4, &stranger), 16), TruncatedEthernet),
        ("IPv4 without a header", ethernet(&[], IPV4, &[]), TruncatedIp),
        ("padding behind the packet", padded(6), NoGrant),
        ("IPv6 under the EtherType of IPv4", ethernet(&[], IPV4, &v6(HOST6, &[], TCP, PORT).bytes()), BadIpVersion),
    ])
}

fn ipv4_packets() -> Vec<Fixture> {
    let with = |change: fn(&mut Ipv4)| {
        let mut packet = v4(HOST, TCP, PORT);
        change(&mut packet);
        packet.frame()
    };
    list([
        ("an unprotected port", v4(STRANGER, TCP, 80).frame(), UnprotectedPort),
        ("a port protected for another transport", v4(STRANGER, UDP, PORT).frame(), UnprotectedPort),
        ("no grant", tcp4([192, 0, 2, 12]), NoGrant),
        ("a live host grant", tcp4([192, 0, 2, 10]), HostGrant),
        ("an ended host grant", tcp4(EXPIRED.octets()), GrantExpired),
        ("a live prefix grant", tcp4([198, 51, 100, 9]), PrefixGrant),
        ("an ended host grant within a live prefix grant", tcp4([198, 51, 100, 7]), PrefixGrant),
        ("the address after a prefix", tcp4([198, 51, 101, 0]), NoGrant),
        ("an ended prefix grant", tcp4([203, 0, 113, 1]), GrantExpired),
        ("an outer prefix grant", v4(Ipv4Addr::new(10, 0, 0, 1), TCP, 5985).frame(), PrefixGrant),
        ("an ended prefix grant within a live one", v4(Ipv4Addr::new(10, 1, 0, 1), TCP, 5985).frame(), GrantExpired),
        ("a live prefix grant within an ended one", v4(Ipv4Addr::new(10, 1, 2, 3), TCP, 5985).frame(), PrefixGrant),
        ("a source that is always let in", tcp4([192, 0, 2, 67]), BreakGlass),
        ("the address after those that are always let in", tcp4([192, 0, 2, 68]), NoGrant),
        ("a grant for another port", v4(HOST, TCP, 3389).frame(), NoGrant),
        ("a grant for another transport", v4(HOST, UDP, 3389).frame(), NoGrant),
        ("SCTP with a grant", v4(HOST, SCTP, 3389).frame(), HostGrant),
        ("SCTP without a grant", v4(STRANGER, SCTP, 3389).frame(), NoGrant),
        ("UDP to a port that is protected for all", v4(STRANGER, UDP, 3389).frame(), NoGrant),
        ("ICMP", v4(STRANGER, ICMP, 0).frame(), OtherProtocol),
        ("ESP", v4(STRANGER, ESP, PORT).frame(), OtherProtocol),
        ("options, from a granted host", with(|packet| packet.options = vec![1; 40]), HostGrant),
        (
            "options whose bytes look like another port",
            {
                let mut packet = v4(STRANGER, TCP, PORT);
                packet.options = segment(80);
                packet.frame()
            },
            NoGrant,
        ),
        ("version 5", with(|packet| packet.version = 5), BadIpVersion),
        ("a header of four words", with(|packet| packet.header_words = Some(4)), BadIpv4HeaderLength),
        ("no total length", with(|packet| packet.total_length = Some(0)), BadIpv4HeaderLength),
        ("a total length below the header's", with(|packet| packet.total_length = Some(19)), BadIpv4HeaderLength),
        ("a total length beyond the frame", with(|packet| packet.total_length = Some(41)), TruncatedIp),
        ("a header beyond the frame", with(|packet| packet.header_words = Some(15)), BadIpv4HeaderLength),
        ("a header cut short", cut(tcp4([192, 0, 2, 10]), 33), TruncatedIp),
        ("a total length before the ports", with(|packet| packet.total_length = Some(23)), TruncatedPorts),
        ("a total length just behind the ports", with(|packet| packet.total_length = Some(24)), HostGrant),
    ])
}

fn ipv6_packets() -> Vec<Fixture> {
    let with = |change: fn(&mut Ipv6)| {
        let mut packet = v6(HOST6, &[], TCP, PORT);
        change(&mut packet);
        packet.frame()
    };
    let jumbo = |source| {
        let mut packet = v6(source, &[extension(HOP_BY_HOP, 0)], TCP, PORT);
        packet.payload_length = Some(0);
        packet.frame()
    };
    list([
        ("IPv6 to an unprotected port", v6(STRANGER6, &[], TCP, 80).frame(), UnprotectedPort),
        ("IPv6 without a grant", v6(STRANGER6, &[], TCP, PORT).frame(), NoGrant),
        ("IPv6 with a live host grant", v6(HOST6, &[], TCP, PORT).frame(), HostGrant),
        ("IPv6 with an ended host grant", v6(EXPIRED6, &[], TCP, PORT).frame(), GrantExpired),
        ("IPv6 with a live prefix grant", tcp6("2001:db8:1::99"), PrefixGrant),
        ("IPv6 with an ended prefix grant", tcp6("2001:db8:2:3::99"), GrantExpired),
        ("an IPv6 source that is always let in", tcp6("2001:db8:b::1"), BreakGlass),
        ("IPv6 beside a prefix", tcp6("2001:db8:1:1::"), NoGrant),
        ("IPv6 within the prefix of all", v6(STRANGER6, &[], UDP, 3389).frame(), PrefixGrant),
        ("a mapped source", tcp6("::ffff:192.0.2.10"), MappedSource),
        ("an address that is almost mapped", tcp6("::fffe:192.0.2.10"), NoGrant),
        ("ICMPv6", v6(STRANGER6, &[], ICMP6, 0).frame(), OtherProtocol),
        ("no next header", v6(STRANGER6, &[], NO_NEXT_HEADER, PORT).frame(), OtherProtocol),
        ("IPv6 version 4", with(|packet| packet.version = 4), BadIpVersion),
        ("IPv6 payload beyond the frame", with(|packet| packet.payload_length = Some(21)), TruncatedIp),
        ("IPv6 payload before the ports' end", with(|packet| packet.payload_length = Some(3)), TruncatedPorts),
        ("IPv6 payload of nothing", with(|packet| packet.payload_length = Some(0)), TruncatedPorts),
        ("IPv6 header cut short", cut(tcp6("2001:db8::10"), 53), TruncatedIp),
        ("a jumbo payload from a granted host", jumbo(HOST6), HostGrant),
        ("a jumbo payload from a stranger", jumbo(STRANGER6), NoGrant),
    ])
}

fn ipv6_chains() -> Vec<Fixture> {
    let all_kinds = [
        extension(HOP_BY_HOP, 0),
        extension(DESTINATION, 2),
        extension(ROUTING, 1),
        authentication(4),
        extension(MOBILITY, 0),
    ];
    let many = |count| vec![extension(DESTINATION, 0); count];
    let long = vec![extension(DESTINATION, 60); 2];
    let cut_inside = |length| cut(v6(STRANGER6, &[extension(DESTINATION, 3)], TCP, PORT).frame(), length);
    let misstated = |headers: &[(u8, Vec<u8>)], length| {
        let mut packet = v6(STRANGER6, headers, TCP, PORT);
        packet.payload_length = Some(length);
        packet.frame()
    };
    list([
        ("every extension header, granted", v6(HOST6, &all_kinds, TCP, PORT).frame(), HostGrant),
        ("every extension header, not granted", v6(STRANGER6, &all_kinds, TCP, PORT).frame(), NoGrant),
        ("eight extension headers", v6(STRANGER6, &many(8), TCP, PORT).frame(), NoGrant),
        ("nine extension headers", v6(HOST6, &many(9), TCP, PORT).frame(), TooManyExtensionHeaders),
        ("long extension headers", v6(STRANGER6, &long, TCP, PORT).frame(), NoGrant),
        ("an odd authentication header", v6(STRANGER6, &[authentication(1)], TCP, PORT).frame(), NoGrant),
        ("a chain that ends in ICMPv6", v6(STRANGER6, &many(1), ICMP6, 0).frame(), OtherProtocol),
        ("a chain cut inside the frame", cut_inside(60), TruncatedIp),
        ("a chain beyond the payload", misstated(&[extension(DESTINATION, 3)], 8), TruncatedExtensionHeader),
        ("a later fragment's header in the padding", misstated(&[fragment(9, true)], 0), TruncatedExtensionHeader),
        ("a later fragment's header half in the padding", misstated(&[fragment(9, true)], 7), TruncatedExtensionHeader),
        ("a chain that ends where the payload ends", misstated(&[extension(DESTINATION, 0)], 8), TruncatedPorts),
    ])
}

fn fragments() -> Vec<Fixture> {
    let part = |source, fragment| {
        let mut packet = v4(source, TCP, PORT);
        packet.fragment = fragment;
        packet
    };
    let short = |length| {
        let mut packet = part(HOST, 0x2000);
        packet.payload.truncate(length);
        packet.frame()
    };
    let icmp = |fragment| Ipv4 { fragment, ..v4(STRANGER, ICMP, 0) }.frame();
    let icmp6 = |headers: &[(u8, Vec<u8>)]| v6(STRANGER6, headers, ICMP6, 0).frame();
    let part6 = |source, headers: &[(u8, Vec<u8>)]| v6(source, headers, TCP, PORT).frame();
    let short6 = Ipv6::new(HOST6, &[fragment(0, true)], TCP, &[0, 1, 2]).frame();
    list([
        ("a first fragment from a granted host", part(HOST, 0x2000).frame(), HostGrant),
        ("a first fragment from a stranger", part(STRANGER, 0x2000).frame(), NoGrant),
        ("a first fragment that may not be fragmented", part(STRANGER, 0x4000).frame(), NoGrant),
        ("a first fragment with half the ports", short(3), FirstFragmentWithoutPorts),
        ("a first fragment with nothing", short(0), FirstFragmentWithoutPorts),
        ("a later fragment", part(STRANGER, 0x2001).frame(), LaterFragment),
        ("the last fragment", part(STRANGER, 0x00b9).frame(), LaterFragment),
        ("an IPv6 first fragment from a granted host", part6(HOST6, &[fragment(0, true)]), HostGrant),
        ("an IPv6 first fragment from a stranger", part6(STRANGER6, &[fragment(0, true)]), NoGrant),
        ("a first fragment of ICMP", icmp(0x2000), OtherFragment),
        ("a later fragment of ICMP", icmp(0x2001), LaterFragment),
        ("an IPv6 first fragment of ICMP", icmp6(&[fragment(0, true)]), OtherFragment),
        ("an atomic fragment of ICMP", icmp6(&[fragment(0, false)]), OtherProtocol),
        ("an IPv6 later fragment", part6(STRANGER6, &[fragment(1, true)]), LaterFragment),
        ("an atomic fragment from a granted host", part6(HOST6, &[fragment(0, false)]), HostGrant),
        ("an atomic fragment from a stranger", part6(STRANGER6, &[fragment(0, false)]), NoGrant),
        (
            "an atomic fragment before another header",
            part6(STRANGER6, &[fragment(0, false), extension(DESTINATION, 0)]),
            NoGrant,
        ),
        (
            "an IPv6 first fragment before another header",
            part6(HOST6, &[fragment(0, true), extension(DESTINATION, 0)]),
            FirstFragmentWithoutPorts,
        ),
        ("an IPv6 first fragment with half the ports", short6, FirstFragmentWithoutPorts),
        ("two fragment headers", part6(HOST6, &[fragment(0, false), fragment(0, false)]), RepeatedFragmentHeader),
        (
            "two fragment headers, the first of a first fragment",
            part6(HOST6, &[fragment(0, true), fragment(0, true)]),
            RepeatedFragmentHeader,
        ),
    ])
}
