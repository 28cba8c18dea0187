//! Probe packets from within, from the edges of and from beyond the prefixes that models grant.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use jit_common::abi::Transport;

use crate::verdicts::frame::{Ipv4, Ipv6, segment};

/// The addresses on both sides of each edge of 192.0.2.0/28, 192.0.0.0/8, 2001:db8::/124, /64 and /32.
const EDGES: [&str; 15] = [
    "192.0.1.255",
    "192.0.2.16",
    "191.255.255.255",
    "192.0.0.0",
    "192.255.255.255",
    "193.0.0.0",
    "2001:db8::10",
    "2001:db8:0:0:ffff:ffff:ffff:ffff",
    "2001:db8:0:1::",
    "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db9::",
    "::1",
    // The bits of a granted IPv4 address, in the other family.
    "::192.0.2.1",
    "c000:201::",
];

/// A packet to a protected port.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The packet's source.
    pub address: IpAddr,
    /// The packet's destination port.
    pub number: u16,
    /// The packet's transport.
    pub transport: Transport,
    /// The whole frame.
    pub frame: Vec<u8>,
}

/// Packets to `ports` from each address of 192.0.2.0/28 and 2001:db8::/124, and from the edges of the prefixes around
/// them.
///
/// # Errors
/// No error occurs, unless this file is broken.
pub fn probes(ports: &[(u16, Transport)]) -> Result<Vec<Probe>> {
    let v4 = (0..16).map(|low| format!("192.0.2.{low}"));
    let v6 = (0..16).map(|low| format!("2001:db8::{low:x}"));
    let mut probes = Vec::new();
    for text in v4.chain(v6).chain(EDGES.map(str::to_owned)) {
        let address: IpAddr = text.parse().with_context(|| format!("'{text}' is no IP address"))?;
        probes.extend(ports.iter().map(|(number, transport)| Probe {
            address,
            number: *number,
            transport: *transport,
            frame: frame(address, *number, *transport),
        }));
    }
    Ok(probes)
}

/// A well-formed packet in a frame.
#[must_use]
pub fn frame(source: IpAddr, number: u16, transport: Transport) -> Vec<u8> {
    match source {
        IpAddr::V4(source) => Ipv4::new(source, transport as u8, segment(number)).frame(),
        IpAddr::V6(source) => Ipv6::new(source, &[], transport as u8, &segment(number)).frame(),
    }
}
