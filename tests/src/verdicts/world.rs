//! The world in which packets are judged: the protected ports and the entries.

use std::net::{Ipv4Addr, Ipv6Addr};

use jit_common::abi::{Mode, Transport};
use jit_policy::{BootTime, EntryKey, ProtectedPort, Protection, parse_source};

/// A port that is protected for TCP only, with entries of each kind.
pub(super) const PORT: u16 = 22;
/// A port that is protected for all transports.
const ANY: u16 = 3389;
/// A port that is protected for TCP, with nested prefixes.
const NESTED: u16 = 5985;

/// A source with a live host entry.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// A source whose host entry has expired.
pub(super) const EXPIRED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
/// A source without an entry.
pub(super) const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 12);
/// The counterpart of [`HOST`].
pub(super) const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
/// The counterpart of [`EXPIRED`].
pub(super) const EXPIRED6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11);
/// The counterpart of [`STRANGER`].
pub(super) const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x12);

/// A source of each kind, and the addresses just inside and outside the prefixes.
pub(super) const SOURCES4: [Ipv4Addr; 14] = [
    HOST,
    EXPIRED,
    STRANGER,
    Ipv4Addr::new(192, 0, 2, 65),
    Ipv4Addr::new(198, 51, 100, 0),
    Ipv4Addr::new(198, 51, 100, 7),
    Ipv4Addr::new(198, 51, 101, 0),
    Ipv4Addr::new(203, 0, 113, 255),
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(10, 1, 0, 1),
    Ipv4Addr::new(10, 1, 2, 0),
    Ipv4Addr::new(10, 1, 2, 3),
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::BROADCAST,
];

/// The counterpart of [`SOURCES4`].
pub(super) const SOURCES6: [Ipv6Addr; 12] = [
    HOST6,
    EXPIRED6,
    STRANGER6,
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x99),
    Ipv6Addr::new(0x2001, 0xdb8, 1, 1, 0, 0, 0, 0),
    Ipv6Addr::new(0x2001, 0xdb8, 2, 3, 0, 0, 0, 0x99),
    Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 0xa, 1, 0, 0, 0, 2),
    Ipv6Addr::new(0x2001, 0xdb8, 0xa, 1, 0, 0, 0, 5),
    Ipv6Addr::UNSPECIFIED,
    Ipv6Addr::LOCALHOST,
];

/// The protection: 22/tcp, 5985/tcp, and 3389 for all transports. Two prefixes are break-glass sources.
#[must_use]
pub fn protection(mode: Mode, drop_fragments: bool) -> Protection {
    let mut ports = vec![ProtectedPort::new(PORT, Transport::Tcp), ProtectedPort::new(NESTED, Transport::Tcp)];
    ports.extend(Transport::ALL.map(|transport| ProtectedPort::new(ANY, transport)));
    let break_glass = ["192.0.2.64/30", "2001:db8:b::/64"].into_iter().filter_map(|source| parse_source(source).ok());
    Protection {
        ports,
        enforce_until: mode.into(),
        drop_fragments,
        break_glass: break_glass.collect(),
        ..Protection::default()
    }
}

/// The entries: live entries end at `after`, and expired entries ended at `before`.
#[must_use]
pub fn entries(before: BootTime, after: BootTime) -> Vec<(EntryKey, BootTime)> {
    let entry = |source: &str, number, transport, deadline| {
        parse_source(source).ok().map(|source| (EntryKey { number, transport, source }, deadline))
    };
    let tcp = Transport::Tcp;
    let entries = [
        entry("192.0.2.10", PORT, tcp, after),
        entry("192.0.2.11", PORT, tcp, before),
        // The source's own grant is over, but a prefix holds the source.
        entry("198.51.100.7", PORT, tcp, before),
        entry("198.51.100.0/24", PORT, tcp, after),
        entry("203.0.113.0/24", PORT, tcp, before),
        entry("2001:db8::10", PORT, tcp, after),
        entry("2001:db8::11", PORT, tcp, before),
        entry("2001:db8:1::/64", PORT, tcp, after),
        entry("2001:db8:2::/48", PORT, tcp, before),
        entry("192.0.2.10", ANY, Transport::Sctp, after),
        // This prefix would cover IPv4-mapped addresses if the program mixed up the families.
        entry("::/0", ANY, Transport::Udp, after),
        entry("10.0.0.0/8", NESTED, tcp, after),
        entry("10.1.0.0/16", NESTED, tcp, before),
        entry("10.1.2.0/24", NESTED, tcp, after),
        entry("10.1.2.3", NESTED, tcp, before),
        entry("2001:db8:a::/48", NESTED, tcp, after),
        entry("2001:db8:a:1::/64", NESTED, tcp, before),
        entry("2001:db8:a:1::4/126", NESTED, tcp, after),
        entry("2001:db8:a:1::5", NESTED, tcp, before),
    ];
    entries.into_iter().flatten().collect()
}
