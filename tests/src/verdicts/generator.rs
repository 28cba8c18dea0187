//! Frames by the million: well-formed frames, frames with false fields, and damaged frames.

use std::net::{Ipv4Addr, Ipv6Addr};

use jit_agent::datapath::xdp::Entry;

use super::{
    frame::{
        Ipv4, Ipv6, authentication, ethernet, ethertype, extension, fragment,
        protocol::{
            AUTHENTICATION, DESTINATION, ESP, FRAGMENT, HOP_BY_HOP, ICMP, ICMP6, MOBILITY, NO_NEXT_HEADER, ROUTING,
            SCTP, TCP, UDP,
        },
        segment,
    },
    random::Random,
    table::fixtures,
    world::{SOURCES4, SOURCES6},
};

const ETHERNET_HEADER: usize = 14;
/// The shortest frame on which the kernel runs a program, even without an Ethernet header.
pub const SHORTEST: usize = ETHERNET_HEADER;
/// The approximate number of bytes that BPF_PROG_TEST_RUN puts into the first buffer.
pub const ONE_BUFFER: usize = 3500;
/// The largest IP packet.
const LARGEST: usize = 65_535;

/// A sequence of frames that is the same whenever its seed is the same.
pub struct Generator {
    seed: u64,
    known: Vec<Vec<u8>>,
    entry: Entry,
}

impl Generator {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, known: fixtures().into_iter().map(|fixture| fixture.frame).collect(), entry: Entry::Xdp }
    }

    /// The same sequence, in the form that the program of `entry` gets.
    #[must_use]
    pub fn of(self, entry: Entry) -> Self {
        Self { entry, ..self }
    }

    /// The seed of the sequence.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The frame with a number, of at least [`SHORTEST`] bytes.
    #[must_use]
    pub fn frame(&self, number: u64) -> Vec<u8> {
        let random = &mut Random::new(self.seed, number);
        let mut frame = match random.below(16) {
            0 => random.pick(&self.known).clone(),
            _ => structured(random),
        };
        if random.one_in(3) {
            damage(random, &mut frame);
        }
        if self.entry.is_network() {
            frame.drain(..frame.len().min(ETHERNET_HEADER));
        }
        if frame.len() < SHORTEST {
            frame.resize(SHORTEST, 0);
        }
        frame
    }
}

fn structured(random: &mut Random) -> Vec<u8> {
    use ethertype::{ARP, IPV4, IPV6, PROVIDER_VLAN, VLAN};
    let tags: Vec<_> = match random.below(8) {
        0..5 => Vec::new(),
        tags => (0..tags - 4).map(|_| *random.pick(&[VLAN, PROVIDER_VLAN])).collect(),
    };
    let (mut inner, packet) = match random.below(32) {
        0 => (*random.pick(&[ARP, 46, 0x88cc, 0x8847, 0x9100]), random.bytes(46)),
        1..13 => (IPV4, ipv4(random)),
        _ => (IPV6, ipv6(random)),
    };
    if random.one_in(64) {
        let any = random.bits() as u16;
        inner = *random.pick(&[IPV4, IPV6, any]);
    }
    ethernet(&tags, inner, &packet)
}

fn ipv4(random: &mut Random) -> Vec<u8> {
    let mut packet = Ipv4::new(source4(random), protocol(random), payload(random));
    if random.one_in(4) {
        let words = random.below(11);
        packet.options = random.bytes(4 * words);
    }
    if random.one_in(5) {
        packet.fragment = match random.below(6) {
            0 => 0x4000,
            1 | 2 => 0x2000,
            3 => 1 + random.below(0x1fff) as u16,
            4 => 0x2000 | (1 + random.below(4) as u16),
            _ => random.bits() as u16,
        };
    }
    if random.one_in(32) {
        packet.version = random.below(16) as u8;
    }
    if random.one_in(32) {
        packet.header_words = Some(random.below(16) as u8);
    }
    if random.one_in(10) {
        let length = 20 + packet.options.len() + packet.payload.len();
        packet.total_length = Some(misstated(random, length));
    }
    packet.bytes()
}

fn ipv6(random: &mut Random) -> Vec<u8> {
    let headers = if random.one_in(3) { Vec::new() } else { chain(random) };
    let payload = payload(random);
    let mut packet = Ipv6::new(source6(random), &headers, protocol(random), &payload);
    if random.one_in(32) {
        packet.version = random.below(16) as u8;
    }
    if random.one_in(10) {
        packet.payload_length = Some(misstated(random, packet.payload.len()));
    }
    // A length of 0 means a jumbo payload if hop-by-hop options come first, and otherwise a packet that ends with its
    // header.
    if random.one_in(24) {
        packet.payload_length = Some(0);
    }
    packet.bytes()
}

/// Up to ten extension headers; the program walks through eight.
fn chain(random: &mut Random) -> Vec<(u8, Vec<u8>)> {
    let count = if random.one_in(4) { 7 + random.below(4) } else { 1 + random.below(4) };
    (0..count).map(|_| extension_header(random)).collect()
}

fn extension_header(random: &mut Random) -> (u8, Vec<u8>) {
    let units = if random.one_in(64) { random.below(256) as u8 } else { random.below(4) as u8 };
    let (kind, mut header) = match random.below(12) {
        0 | 1 => {
            let offset = if random.one_in(3) { random.below(0x2000) as u16 } else { 0 };
            fragment(offset, random.one_in(2))
        }
        2 | 3 => authentication(units),
        4..8 => extension(*random.pick(&[HOP_BY_HOP, ROUTING, MOBILITY]), units),
        _ => extension(DESTINATION, units),
    };
    if random.one_in(24) {
        header[1] = random.bits() as u8;
    }
    (kind, header)
}

/// The bytes after the IP header: mostly a transport header and some data, sometimes less.
fn payload(random: &mut Random) -> Vec<u8> {
    let port = match random.below(8) {
        0..4 => 22,
        4 => 3389,
        5 => 5985,
        6 => *random.pick(&[80, 0, 21, 23, 22 << 8, 0xffff]),
        _ => random.bits() as u16,
    };
    let mut payload = segment(port);
    if random.one_in(8) {
        payload.truncate(random.below(8));
    }
    let more = match random.below(1024) {
        0 => random.below(LARGEST - 1000),
        1..16 => random.below(ONE_BUFFER),
        16..256 => random.below(64),
        _ => 0,
    };
    payload.resize(payload.len() + more, 0xa5);
    payload
}

fn protocol(random: &mut Random) -> u8 {
    match random.below(16) {
        0..10 => TCP,
        10 | 11 => UDP,
        12 | 13 => SCTP,
        14 => *random.pick(&[ICMP, ICMP6, ESP, NO_NEXT_HEADER, AUTHENTICATION, FRAGMENT, HOP_BY_HOP]),
        _ => random.bits() as u8,
    }
}

fn source4(random: &mut Random) -> Ipv4Addr {
    let known = random.pick(&SOURCES4).to_bits();
    match random.below(8) {
        0 => Ipv4Addr::from_bits(random.bits() as u32),
        1 => Ipv4Addr::from_bits(known ^ 1 << random.below(32)),
        _ => Ipv4Addr::from_bits(known),
    }
}

fn source6(random: &mut Random) -> Ipv6Addr {
    let known = random.pick(&SOURCES6).to_bits();
    match random.below(16) {
        0 => Ipv6Addr::from_bits(u128::from(random.bits()) << 64 | u128::from(random.bits())),
        1 => source4(random).to_ipv6_mapped(),
        2 | 3 => Ipv6Addr::from_bits(known ^ 1 << random.below(128)),
        _ => Ipv6Addr::from_bits(known),
    }
}

/// A length field with a false value.
fn misstated(random: &mut Random, length: usize) -> u16 {
    match random.below(4) {
        0 => random.bits() as u16,
        1 => random.below(64) as u16,
        _ => (length + random.below(24)).saturating_sub(12) as u16,
    }
}

/// Cuts off, flips, overwrites, inserts or removes bytes.
fn damage(random: &mut Random, frame: &mut Vec<u8>) {
    // Most of the bytes that the program reads are within the first 100.
    let reach = if random.one_in(4) { frame.len() } else { frame.len().min(100) };
    let place = random.below(reach);
    match random.below(6) {
        0 | 1 => frame.truncate(place),
        2 => frame[place] ^= 1 << random.below(8),
        3 => frame[place] = random.bits() as u8,
        4 => frame.insert(place, random.bits() as u8),
        _ => {
            frame.remove(place);
        }
    }
}
