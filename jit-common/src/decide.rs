//! From a parsed packet to the one [`Reason`] that is counted.

use crate::{
    abi::{HostKey4, HostKey6, MAPPED_BITS, PortEntry, PrefixKey4, PrefixKey6, Settings, Slot, Transport},
    parse::{Flow, Source},
    reason::Reason,
};

/// The tables a decision reads: the kernel's maps in the program, the same maps or plain memory on the host.
pub trait Tables {
    /// What is protected at `port`.
    fn port(&self, port: u16) -> PortEntry;
    /// The slot of the entry for exactly this source.
    fn host(&self, flow: &Flow) -> Option<Slot>;
    /// The slot of the longest prefix that holds this source.
    fn prefix(&self, flow: &Flow) -> Option<Slot>;
    /// CLOCK_BOOTTIME in nanoseconds.
    fn now(&self) -> u64;
}

/// Decides about a parsed packet.
#[inline(always)]
pub fn decide<T: Tables>(parsed: Result<Flow, Reason>, tables: &T, settings: &Settings) -> Reason {
    let flow = match parsed {
        Ok(flow) => flow,
        Err(Reason::LaterFragment) if settings.drops_fragments() => return Reason::FragmentRefused,
        Err(reason) => return reason,
    };
    if flow.fragment && settings.drops_fragments() {
        return Reason::FragmentRefused;
    }
    let port = tables.port(flow.port);
    if !port.protects(flow.transport) {
        return Reason::UnprotectedPort;
    }
    let mut without_grant = Reason::NoGrant;
    if port.has_hosts()
        && let Some(slot) = tables.host(&flow)
        && slot.covers(&flow)
    {
        if tables.now() < slot.deadline {
            return Reason::HostGrant;
        }
        without_grant = Reason::GrantExpired;
    }
    if port.has_prefixes()
        && let Some(slot) = tables.prefix(&flow)
        && slot.covers(&flow)
    {
        if tables.now() < slot.deadline {
            return Reason::PrefixGrant;
        }
        without_grant = Reason::GrantExpired;
    }
    without_grant
}

impl Source {
    /// The address as an IPv6 one, IPv4 mapped: the form in which slots hold sources.
    #[inline(always)]
    #[must_use]
    pub const fn mapped(self) -> (u64, u64) {
        match self {
            Self::V4(address) => (0, 0xffff_0000_0000 | address as u64),
            Self::V6(high, low) => (high, low),
        }
    }
}

impl Slot {
    /// Destination port, transport and address family in one number. The family keeps an IPv6 prefix that happens to
    /// hold `::ffff:0:0/96` from covering IPv4 sources.
    #[inline(always)]
    #[must_use]
    pub const fn tag(source: Source, port: u16, transport: Transport) -> u32 {
        let family = match source {
            Source::V4(_) => 4,
            Source::V6(..) => 6,
        };
        (port as u32) << 16 | (transport as u32) << 8 | family
    }

    /// A closed slot for one source prefix of a port; the length is the address family's own, 0 to 32 or 0 to 128.
    #[must_use]
    pub const fn closed(source: Source, prefix_length: u8, port: u16, transport: Transport) -> Self {
        let (source_high, source_low) = source.mapped();
        let prefix_length = match source {
            Source::V4(_) => prefix_length as u32 + MAPPED_BITS,
            Source::V6(..) => prefix_length as u32,
        };
        Self { deadline: 0, source_high, source_low, tag: Self::tag(source, port, transport), prefix_length }
    }

    /// Whether this is a slot for the flow. A look-up may come by the number of a slot that is no longer the key's,
    /// because the kernel reuses a deleted element at once; then this says no.
    #[inline(always)]
    #[must_use]
    pub const fn covers(&self, flow: &Flow) -> bool {
        let (high, low) = flow.source.mapped();
        let (high, low) = (high ^ self.source_high, low ^ self.source_low);
        // Of the differing bits none may lie within the prefix; a shift by 64 would not be one.
        let differs = match self.prefix_length {
            128.. => high | low,
            length @ 65..128 => high | (low >> (128 - length)),
            64 => high,
            length @ 1..64 => high >> (64 - length),
            0 => 0,
        };
        differs == 0 && self.tag == Self::tag(flow.source, flow.port, flow.transport)
    }
}

impl HostKey4 {
    /// The key of a source address at a port.
    #[inline(always)]
    #[must_use]
    pub const fn new(address: u32, port: u16, transport: Transport) -> Self {
        Self { address: address.to_be_bytes(), port: port.to_be_bytes(), protocol: transport as u8, zero: 0 }
    }
}

impl HostKey6 {
    /// The key of a source address, in halves, at a port.
    #[inline(always)]
    #[must_use]
    pub const fn new(high: u64, low: u64, port: u16, transport: Transport) -> Self {
        Self { address: join(high, low), port: port.to_be_bytes(), protocol: transport as u8, zero: 0 }
    }
}

impl PrefixKey4 {
    /// The key of a source address at a port.
    #[inline(always)]
    #[must_use]
    pub const fn new(address: u32, port: u16, transport: Transport) -> Self {
        Self { port: port.to_be_bytes(), protocol: transport as u8, zero: 0, address: address.to_be_bytes() }
    }
}

impl PrefixKey6 {
    /// The key of a source address, in halves, at a port.
    #[inline(always)]
    #[must_use]
    pub const fn new(high: u64, low: u64, port: u16, transport: Transport) -> Self {
        Self { port: port.to_be_bytes(), protocol: transport as u8, zero: 0, address: join(high, low) }
    }
}

#[inline(always)]
const fn join(high: u64, low: u64) -> [u8; 16] {
    ((high as u128) << 64 | low as u128).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the slot of a prefix covers an address, both as 128 bits.
    fn covers6(prefix: u128, length: u8, address: u128) -> bool {
        let source = |bits: u128| Source::V6((bits >> 64) as u64, bits as u64);
        let flow = Flow { source: source(address), port: 22, transport: Transport::Tcp, fragment: false };
        Slot::closed(source(prefix), length, 22, Transport::Tcp).covers(&flow)
    }

    fn covers4(prefix: u32, length: u8, address: u32) -> bool {
        let flow = Flow { source: Source::V4(address), port: 22, transport: Transport::Tcp, fragment: false };
        Slot::closed(Source::V4(prefix), length, 22, Transport::Tcp).covers(&flow)
    }

    #[test]
    fn a_slot_covers_an_address_that_differs_only_behind_the_prefix() {
        const ADDRESS: u128 = 0x2001_0db8_1234_5678_9abc_def0_1357_9bdf;
        for length in 0..=128_u8 {
            assert!(covers6(ADDRESS, length, ADDRESS), "/{length}");
            for bit in 0..128_u8 {
                let other = ADDRESS ^ (1 << (127 - bit));
                assert_eq!(covers6(ADDRESS, length, other), bit >= length, "/{length}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_slot_covers_an_ipv4_address_that_differs_only_behind_the_prefix() {
        const ADDRESS: u32 = 0xc000_020a;
        for length in 0..=32_u8 {
            assert!(covers4(ADDRESS, length, ADDRESS), "/{length}");
            for bit in 0..32_u8 {
                let other = ADDRESS ^ (1 << (31 - bit));
                assert_eq!(covers4(ADDRESS, length, other), bit >= length, "/{length}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_slot_covers_only_its_own_port_transport_and_family() {
        let slot = Slot::closed(Source::V6(0, 0), 0, 22, Transport::Tcp);
        let flow = Flow { source: Source::V6(1, 2), port: 22, transport: Transport::Tcp, fragment: false };
        assert!(slot.covers(&flow));
        assert!(!slot.covers(&Flow { port: 23, ..flow }));
        assert!(!slot.covers(&Flow { transport: Transport::Udp, ..flow }));
        assert!(!slot.covers(&Flow { source: Source::V4(0xc000_020a), ..flow }));
        assert!(!Slot { tag: 0, ..slot }.covers(&flow));
    }
}
