//! The frames of a flood: one locked port, 65,536 sources, checksums always right.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use jit_common::abi::Transport;
use jit_tests::verdicts::frame::{Ipv4, Ipv6, ethernet, ethertype, protocol, segment};

use super::generator::Variable;

/// The number of sources of a flood: all values of the address's last 16 bits.
pub(crate) const SOURCES: u32 = 1 << 16;
/// The network of the sources of an IPv4 flood (RFC 2544).
pub(crate) const NETWORK4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// The network of the sources of an IPv6 flood (RFC 3849).
pub(crate) const NETWORK6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0);

const ETHERNET: usize = 14;
const HEADER4: usize = 20;
const HEADER6: usize = 40;
const SYN: u8 = 1 << 1;

/// The kind of packets of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// TCP SYN over IPv4.
    Ipv4Tcp,
    /// UDP over IPv4.
    Ipv4Udp,
    /// TCP SYN over IPv6.
    Ipv6Tcp,
}

impl Traffic {
    /// All kinds.
    pub(crate) const ALL: [Self; 3] = [Self::Ipv4Tcp, Self::Ipv4Udp, Self::Ipv6Tcp];

    /// The name by which `--only` selects the kind.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ipv4Tcp => "flood-ipv4-tcp",
            Self::Ipv4Udp => "flood-ipv4-udp",
            Self::Ipv6Tcp => "flood-ipv6-tcp",
        }
    }

    /// The kind's name for people.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Ipv4Tcp => "IPv4 TCP SYN to 22",
            Self::Ipv4Udp => "IPv4 UDP to 3389",
            Self::Ipv6Tcp => "IPv6 TCP SYN to 22",
        }
    }

    /// The flooded port.
    pub(crate) const fn port(self) -> u16 {
        match self.transport() {
            Transport::Udp => 3389,
            _ => 22,
        }
    }

    /// Its transport protocol.
    pub(crate) const fn transport(self) -> Transport {
        match self {
            Self::Ipv4Udp => Transport::Udp,
            Self::Ipv4Tcp | Self::Ipv6Tcp => Transport::Tcp,
        }
    }

    /// The protocol as every tool calls it, `tcp` or `udp`.
    pub(crate) const fn protocol(self) -> &'static str {
        match self.transport() {
            Transport::Udp => "udp",
            _ => "tcp",
        }
    }

    /// Whether the packets are IPv6.
    pub(crate) const fn is_ipv6(self) -> bool {
        matches!(self, Self::Ipv6Tcp)
    }

    /// The frame of the source whose last 16 bits are zero, from one station to another.
    pub(crate) fn frame(self, to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
        let mut segment = segment(self.port());
        match self.transport() {
            // Data offset in words, and flags (RFC 9293).
            Transport::Tcp => segment[12..16].copy_from_slice(&[5 << 4, SYN, 0xff, 0xff]),
            _ => {
                let length = segment.len() as u16;
                segment[4..6].copy_from_slice(&length.to_be_bytes());
            }
        }
        let (kind, packet, header) = match self {
            Self::Ipv4Tcp => (ethertype::IPV4, Ipv4::new(NETWORK4, protocol::TCP, segment).bytes(), HEADER4),
            Self::Ipv4Udp => (ethertype::IPV4, Ipv4::new(NETWORK4, protocol::UDP, segment).bytes(), HEADER4),
            Self::Ipv6Tcp => (ethertype::IPV6, Ipv6::new(NETWORK6, &[], protocol::TCP, &segment).bytes(), HEADER6),
        };
        let mut frame = ethernet(&[], kind, &packet);
        frame[..6].copy_from_slice(&to);
        frame[6..12].copy_from_slice(&from);
        for inverse in self.variable().inverses {
            frame[inverse..inverse + 2].fill(0xff);
        }
        if header == HEADER4 {
            let sum = checksum(&[&frame[ETHERNET..ETHERNET + HEADER4]]);
            frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum);
        }
        let (network, payload) = frame.split_at(ETHERNET + header);
        let number = match self.transport() {
            Transport::Udp => protocol::UDP,
            _ => protocol::TCP,
        };
        // Both families' addresses are the last of their header, and the pseudo-header's sum is the same (RFC 8200).
        let addresses = if self.is_ipv6() { 32 } else { 8 };
        let pseudo = [&[0, number], &(payload.len() as u16).to_be_bytes()[..]].concat();
        let sum = checksum(&[&network[network.len() - addresses..], &pseudo, payload]);
        let field = ETHERNET + header + if self.transport() == Transport::Udp { 6 } else { 16 };
        frame[field..field + 2].copy_from_slice(&sum);
        frame
    }

    /// The words of the frame that differ from packet to packet.
    pub(crate) fn variable(self) -> Variable {
        match self {
            // The identification, and the lower half of the sequence number.
            Self::Ipv4Tcp => Variable { source: 28, inverses: vec![18, ETHERNET + HEADER4 + 6] },
            // The identification, and the first word of data.
            Self::Ipv4Udp => Variable { source: 28, inverses: vec![18, ETHERNET + HEADER4 + 8] },
            Self::Ipv6Tcp => Variable { source: 36, inverses: vec![ETHERNET + HEADER6 + 6] },
        }
    }
}

/// The Internet checksum (RFC 1071) of parts of even length.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words.map(|word| word.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes()
}

/// Six bytes as written in `/sys/class/net/*/address`.
pub(crate) fn station(text: &str) -> Result<[u8; 6]> {
    let mut station = [0; 6];
    let mut bytes = text.trim().split(':');
    for byte in &mut station {
        let text = bytes.next().with_context(|| format!("'{text}' is no Ethernet address"))?;
        *byte = u8::from_str_radix(text, 16).with_context(|| format!("'{text}' is no byte of an Ethernet address"))?;
    }
    ensure!(bytes.next().is_none(), "'{text}' is no Ethernet address");
    Ok(station)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_hold_for_every_source() {
        for traffic in Traffic::ALL {
            let mut frame = traffic.frame([2; 6], [4; 6]);
            let Variable { source, inverses } = traffic.variable();
            for number in [0, 1, 0x1234, 0xffff_u16] {
                frame[source..source + 2].copy_from_slice(&number.to_ne_bytes());
                for inverse in &inverses {
                    frame[*inverse..inverse + 2].copy_from_slice(&(!number).to_ne_bytes());
                }
                let (header, addresses) = if traffic.is_ipv6() { (40, 32) } else { (20, 8) };
                let (network, payload) = frame[14..].split_at(header);
                if !traffic.is_ipv6() {
                    assert_eq!(checksum(&[network]), [0, 0], "{traffic:?} {number}");
                }
                let pseudo = [0, traffic.transport() as u8, 0, payload.len() as u8];
                assert_eq!(
                    checksum(&[&network[header - addresses..], &pseudo, payload]),
                    [0, 0],
                    "{traffic:?} {number}"
                );
            }
        }
    }

    #[test]
    fn stations_are_read_as_the_kernel_writes_them() {
        assert_eq!(station("02:00:5e:00:53:ff\n").unwrap(), [2, 0, 0x5e, 0, 0x53, 0xff]);
        for wrong in ["02:00:5e:00:53", "02:00:5e:00:53:ff:00", "02:00:5e:00:53:xx"] {
            station(wrong).unwrap_err();
        }
    }
}
