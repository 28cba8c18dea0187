//! Frames as bytes, well-formed and malformed ones.

use std::net::{Ipv4Addr, Ipv6Addr};

/// IP protocol numbers that the fixtures use.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Encapsulating security payload.
    pub const ESP: u8 = 50;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMP6: u8 = 58;
    /// IPv6: no next header.
    pub const NO_NEXT_HEADER: u8 = 59;
    /// IPv6 destination options.
    pub const DESTINATION: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// Mobility header.
    pub const MOBILITY: u8 = 135;
}

/// EtherTypes that the fixtures use.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1ad.
    pub const PROVIDER_VLAN: u16 = 0x88a8;
}

/// An Ethernet frame: VLAN tags by their EtherType, outermost first, then what they enclose.
#[must_use]
pub fn ethernet(tags: &[u16], inner: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1];
    for (vlan, tag) in (100_u16..).zip(tags) {
        frame.extend(tag.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(inner.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet; a field that is `None` gets its correct value.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    /// Version field.
    pub version: u8,
    /// Header length field, in words.
    pub header_words: Option<u8>,
    /// Options, in whole words.
    pub options: Vec<u8>,
    /// Total length field, in bytes.
    pub total_length: Option<u16>,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// Protocol.
    pub protocol: u8,
    /// Source.
    pub source: Ipv4Addr,
    /// The bytes after the header.
    pub payload: Vec<u8>,
}

impl Ipv4 {
    /// A well-formed packet.
    #[must_use]
    pub fn new(source: Ipv4Addr, protocol: u8, payload: Vec<u8>) -> Self {
        Self {
            version: 4,
            header_words: None,
            options: Vec::new(),
            total_length: None,
            fragment: 0,
            protocol,
            source,
            payload,
        }
    }

    /// The packet's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let header = 20 + self.options.len();
        let words = self.header_words.unwrap_or((header / 4) as u8);
        let total = self.total_length.unwrap_or((header + self.payload.len()) as u16);
        let mut bytes = vec![self.version << 4 | words, 0];
        bytes.extend(total.to_be_bytes());
        bytes.extend([0x12, 0x34]);
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([64, self.protocol, 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend([192, 0, 2, 1]);
        bytes.extend(&self.options);
        bytes.extend(&self.payload);
        bytes
    }

    /// The packet in an untagged frame.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        ethernet(&[], ethertype::IPV4, &self.bytes())
    }
}

/// An IPv6 packet.
#[derive(Clone, Debug)]
pub struct Ipv6 {
    /// Version field.
    pub version: u8,
    /// Payload length field; `None` for the correct value.
    pub payload_length: Option<u16>,
    /// Next header.
    pub next: u8,
    /// Source.
    pub source: Ipv6Addr,
    /// Extension headers and what follows them.
    pub payload: Vec<u8>,
}

impl Ipv6 {
    /// A well-formed packet with extension headers, given as kind and bytes as [`extension`] and similar functions make
    /// them.
    #[must_use]
    pub fn new(source: Ipv6Addr, headers: &[(u8, Vec<u8>)], protocol: u8, payload: &[u8]) -> Self {
        let mut kinds = headers.iter().map(|(kind, _)| *kind).chain([protocol]);
        let next = kinds.next().unwrap_or(protocol);
        let mut bytes = Vec::new();
        for ((_, header), next) in headers.iter().zip(kinds) {
            bytes.push(next);
            bytes.extend(header.iter().skip(1));
        }
        bytes.extend(payload);
        Self { version: 6, payload_length: None, next, source, payload: bytes }
    }

    /// The packet's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let length = self.payload_length.unwrap_or(self.payload.len() as u16);
        let mut bytes = vec![self.version << 4, 0, 0, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([self.next, 64]);
        bytes.extend(self.source.octets());
        bytes.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets());
        bytes.extend(&self.payload);
        bytes
    }

    /// The packet in an untagged frame.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        ethernet(&[], ethertype::IPV6, &self.bytes())
    }
}

/// An extension header of `8 * (units + 1)` bytes. Its first byte, the next header, is filled in by [`Ipv6::new`].
#[must_use]
pub fn extension(kind: u8, units: u8) -> (u8, Vec<u8>) {
    let mut header = vec![0; 8 * (usize::from(units) + 1)];
    header[1] = units;
    (kind, header)
}

/// An authentication header of `4 * (words + 2)` bytes (RFC 4302).
#[must_use]
pub fn authentication(words: u8) -> (u8, Vec<u8>) {
    let mut header = vec![0; 4 * (usize::from(words) + 2)];
    header[1] = words;
    (protocol::AUTHENTICATION, header)
}

/// A fragment header with an offset in units of eight bytes, and whether more fragments follow.
#[must_use]
pub fn fragment(offset: u16, more: bool) -> (u8, Vec<u8>) {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    // The reserved byte is not a length; a sender may set it.
    (protocol::FRAGMENT, vec![0, 0xff, high, low, 0, 0, 0, 7])
}

/// A transport header of 20 bytes for any protocol, from port 40000.
#[must_use]
pub fn segment(port: u16) -> Vec<u8> {
    let mut bytes = 40_000_u16.to_be_bytes().to_vec();
    bytes.extend(port.to_be_bytes());
    bytes.extend([0; 16]);
    bytes
}
