//! Parses bytes into a [`Flow`]: Ethernet, VLAN tags, IPv4 and IPv6 with extension headers and fragments, ports.
//!
//! A packet whose ports can't be learned gets its [`Reason`] here; nothing is inferred from a failure.

use crate::{abi::Transport, frame::Frame, reason::Reason};

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_PROVIDER_VLAN: u16 = 0x88a8;

const ETHERTYPE_OFFSET: usize = 12;
const ETHERNET_HEADER: usize = 14;
const VLAN_TAG: usize = 4;
const MAX_VLAN_TAGS: usize = 2;

const IPV4_HEADER: usize = 20;
/// The mask of the flag in the header's second word.
const IPV4_MORE_FRAGMENTS: u32 = 0x2000;
const IPV4_FRAGMENT_OFFSET: u32 = 0x1fff;

const IPV6_HEADER: usize = 40;
const IPV6_MORE_FRAGMENTS: u16 = 1;
const IPV6_FRAGMENT_OFFSET: u16 = 0xfff8;
const MAX_EXTENSION_HEADERS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;

/// Source address of a packet, in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// IPv4.
    V4(u32),
    /// IPv6, upper and lower half.
    V6(u64, u64),
}

#[cfg(feature = "user")]
impl From<Source> for core::net::IpAddr {
    fn from(source: Source) -> Self {
        match source {
            Source::V4(bits) => core::net::Ipv4Addr::from_bits(bits).into(),
            Source::V6(high, low) => core::net::Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into(),
        }
    }
}

/// The fields of a packet that grants are matched against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Source address.
    pub source: Source,
    /// Destination port.
    pub port: u16,
    /// Transport protocol.
    pub transport: Transport,
    /// Whether the packet is the first of several fragments. An atomic fragment is not.
    pub fragment: bool,
    /// Offset of the transport header in the frame, in bytes.
    pub transport_header: usize,
}

/// Where the transport header starts, and where the IP packet ends.
struct Payload {
    protocol: u8,
    offset: usize,
    end: usize,
    fragment: bool,
}

/// Parses a packet that starts with an Ethernet header.
///
/// # Errors
/// The reason for which the packet is counted if it has no flow.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F) -> Result<Flow, Reason> {
    parse_then(frame, |flow| flow)
}

/// Parses a packet and passes its flow to `then`. IPv4 and IPv6 have separate calls of `then`, so that the compiler
/// knows the family from there on and never has to carry an optional flow.
///
/// # Errors
/// The reason for which the packet is counted if it has no flow.
#[inline(always)]
pub fn parse_then<F: Frame + ?Sized, R>(frame: &F, then: impl FnOnce(Flow) -> R) -> Result<R, Reason> {
    match read_u16(frame, ETHERTYPE_OFFSET).ok_or(Reason::TruncatedEthernet)? {
        // Untagged packets have arms of their own, so that the offsets of most packets' headers are constants.
        ETHERTYPE_IPV4 => ipv4(frame, ETHERNET_HEADER, then),
        ETHERTYPE_IPV6 => ipv6(frame, ETHERNET_HEADER, then),
        ethertype if is_vlan(ethertype) => match network_header(frame)? {
            (ETHERTYPE_IPV4, offset) => ipv4(frame, offset, then),
            (ETHERTYPE_IPV6, offset) => ipv6(frame, offset, then),
            (ethertype, _) if is_vlan(ethertype) => Err(Reason::TooManyVlanTags),
            _ => Err(Reason::NotIp),
        },
        _ => Err(Reason::NotIp),
    }
}

/// Parses a packet that starts with its IP header, as packets of tunnels do.
///
/// # Errors
/// The reason for which the packet is counted if it has no flow.
#[inline(always)]
pub fn parse_network<F: Frame + ?Sized>(frame: &F) -> Result<Flow, Reason> {
    parse_network_then(frame, |flow| flow)
}

/// Parses a packet that starts with its IP header, and passes its flow to `then` as [`parse_then`] does.
///
/// The version field determines the family. The kernel does not deliver a packet that it takes for the other family.
///
/// # Errors
/// The reason for which the packet is counted if it has no flow.
#[inline(always)]
pub fn parse_network_then<F: Frame + ?Sized, R>(frame: &F, then: impl FnOnce(Flow) -> R) -> Result<R, Reason> {
    match ip_version(frame).ok_or(Reason::TruncatedIp)? {
        4 => ipv4(frame, 0, then),
        6 => ipv6(frame, 0, then),
        _ => Err(Reason::NotIp),
    }
}

/// The version field of a packet that starts with its IP header.
#[inline(always)]
pub(crate) fn ip_version<F: Frame + ?Sized>(frame: &F) -> Option<u32> {
    // This reads a whole word. For the first byte alone, the compiler would test whether the packet ends before its
    // start, and the verifier derives nothing from that test.
    frame.words(0).map(|[first]| first >> 28)
}

/// The EtherType and the offset of the header that follows the Ethernet header and its VLAN tags.
#[inline(always)]
pub(crate) fn network_header<F: Frame + ?Sized>(frame: &F) -> Result<(u16, usize), Reason> {
    let mut offset = ETHERNET_HEADER;
    let mut ethertype = read_u16(frame, ETHERTYPE_OFFSET).ok_or(Reason::TruncatedEthernet)?;
    for tags in 0..MAX_VLAN_TAGS {
        if !is_vlan(ethertype) || (tags == MAX_VLAN_TAGS - 1 && frame.tag_is_apart()) {
            break;
        }
        ethertype = read_u16(frame, offset + 2).ok_or(Reason::TruncatedEthernet)?;
        offset += VLAN_TAG;
    }
    Ok((ethertype, offset))
}

#[inline(always)]
const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_PROVIDER_VLAN)
}

#[inline(always)]
fn ipv4<F: Frame + ?Sized, R>(frame: &F, start: usize, then: impl FnOnce(Flow) -> R) -> Result<R, Reason> {
    let [first, second, third, source, _] = frame.words(start).ok_or(Reason::TruncatedIp)?;
    if first >> 28 != 4 {
        return Err(Reason::BadIpVersion);
    }
    let header_length = (first >> 24 & 0xf) as usize * 4;
    let total_length = (first & 0xffff) as usize;
    let protocol = (third >> 16) as u8;
    // As for IPv6 below, a merged packet whose length the header can't state ends where its frame ends.
    let is_endless = total_length == 0 && frame.is_merged() && protocol == TCP;
    if header_length < IPV4_HEADER || (total_length < header_length && !is_endless) {
        return Err(Reason::BadIpv4HeaderLength);
    }
    let end = if is_endless { usize::MAX } else { start + total_length };
    if !is_endless && !frame.holds(end) {
        return Err(Reason::TruncatedIp);
    }
    if second & IPV4_FRAGMENT_OFFSET != 0 {
        return Err(Reason::LaterFragment);
    }
    let payload = Payload { protocol, offset: start + header_length, end, fragment: second & IPV4_MORE_FRAGMENTS != 0 };
    Ok(then(transport(frame, Source::V4(source), &payload)?))
}

#[inline(always)]
fn ipv6<F: Frame + ?Sized, R>(frame: &F, start: usize, then: impl FnOnce(Flow) -> R) -> Result<R, Reason> {
    let [first, second, a, b, c, d, ..]: [u32; 10] = frame.words(start).ok_or(Reason::TruncatedIp)?;
    if first >> 28 != 6 {
        return Err(Reason::BadIpVersion);
    }
    let payload_length = (second >> 16) as usize;
    let next = (second >> 8) as u8;
    let offset = start + IPV6_HEADER;
    // RFC 2675: a packet with a jumbo payload states length 0 in its header and the real length in a hop-by-hop option.
    // The packet ends where its frame ends. A merged packet does so too, and some kernels omit the option in merged
    // packets. Any other packet of length 0 ends with its header.
    let is_endless = payload_length == 0 && (next == HOP_BY_HOP || (frame.is_merged() && next == TCP));
    let end = if is_endless { usize::MAX } else { offset + payload_length };
    if end != usize::MAX && !frame.holds(end) {
        return Err(Reason::TruncatedIp);
    }
    let (high, low) = (join(a, b), join(c, d));
    // RFC 4291, 2.5.5.2: IPv4-mapped addresses stand for IPv4 nodes inside a host and would match IPv4 grants.
    if high == 0 && low >> 32 == 0xffff {
        return Err(Reason::MappedSource);
    }
    let mut payload = Payload { protocol: next, offset, end, fragment: false };
    if is_extension(next) {
        payload = extensions(frame, payload)?;
    }
    Ok(then(transport(frame, Source::V6(high, low), &payload)?))
}

/// Walks the extension headers up to the first header of another kind.
#[inline(always)]
fn extensions<F: Frame + ?Sized>(frame: &F, mut payload: Payload) -> Result<Payload, Reason> {
    let mut fragment_header_seen = false;
    for _ in 0..MAX_EXTENSION_HEADERS {
        if !is_extension(payload.protocol) {
            break;
        }
        let [next, length, fragmentation @ ..] =
            frame.read::<4>(payload.offset).ok_or(Reason::TruncatedExtensionHeader)?;
        let size = extension_size(payload.protocol, length);
        if payload.protocol == FRAGMENT {
            if fragment_header_seen {
                return Err(Reason::RepeatedFragmentHeader);
            }
            fragment_header_seen = true;
            let fragmentation = u16::from_be_bytes(fragmentation);
            if fragmentation & IPV6_FRAGMENT_OFFSET != 0 {
                // Bytes behind the packet's end are not a header of the packet.
                let stands_in_packet = payload.offset + size <= payload.end;
                return Err(if stands_in_packet { Reason::LaterFragment } else { Reason::TruncatedExtensionHeader });
            }
            payload.fragment = fragmentation & IPV6_MORE_FRAGMENTS != 0;
            if payload.fragment && is_extension(next) {
                return Err(if next == FRAGMENT {
                    Reason::RepeatedFragmentHeader
                } else {
                    Reason::FirstFragmentWithoutPorts
                });
            }
        }
        payload.protocol = next;
        payload.offset += size;
    }
    if is_extension(payload.protocol) {
        return Err(Reason::TooManyExtensionHeaders);
    }
    if payload.offset > payload.end || !frame.holds(payload.offset) {
        return Err(Reason::TruncatedExtensionHeader);
    }
    Ok(payload)
}

/// The size of an extension header in bytes. The computation has no branches, so that the verifier continues with one
/// state after each header instead of one state for each kind of header.
#[inline(always)]
const fn extension_size(protocol: u8, length: u8) -> usize {
    let fragment = is(protocol, FRAGMENT);
    let authentication = is(protocol, AUTHENTICATION);
    // A Fragment header has eight bytes, and its second byte is reserved. RFC 4302, 2.2: an AH states its length in
    // words of 32 bits, less two.
    ((length as usize & fragment.wrapping_sub(1)) + 1 + authentication) << (3 - authentication)
}

/// 1 if the protocols are the same, else 0.
#[inline(always)]
const fn is(protocol: u8, other: u8) -> usize {
    ((protocol ^ other) as usize).wrapping_sub(1) >> (usize::BITS - 1)
}

#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION | MOBILITY)
}

#[inline(always)]
fn transport<F: Frame + ?Sized>(frame: &F, source: Source, payload: &Payload) -> Result<Flow, Reason> {
    let Some(transport) = Transport::from_number(payload.protocol) else {
        return Err(if payload.fragment { Reason::OtherFragment } else { Reason::OtherProtocol });
    };
    let ports = if payload.offset + 4 <= payload.end { frame.words(payload.offset) } else { None };
    match ports {
        Some([ports]) => Ok(Flow {
            source,
            port: ports as u16,
            transport,
            fragment: payload.fragment,
            transport_header: payload.offset,
        }),
        None if payload.fragment => Err(Reason::FirstFragmentWithoutPorts),
        None => Err(Reason::TruncatedPorts),
    }
}

#[inline(always)]
fn read_u16<F: Frame + ?Sized>(frame: &F, offset: usize) -> Option<u16> {
    frame.read(offset).map(u16::from_be_bytes)
}

#[inline(always)]
const fn join(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

#[cfg(test)]
mod tests;
