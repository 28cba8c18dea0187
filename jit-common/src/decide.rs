//! The decision about a parsed packet: the one [`Reason`] that is counted.

use crate::{
    abi::{Event, MAPPED_BITS, PortEntry, Settings, Slot, Transport},
    parse::{Flow, Source},
    reason::Reason,
    search_end::{Admission, Refusal},
};

/// The tables that a decision reads: the kernel's maps in the program, the same maps or plain memory on the host.
pub trait Tables {
    /// The settings that apply to all packets.
    fn settings(&self) -> Settings;
    /// The entry of `port`.
    fn port(&self, port: u16) -> PortEntry;
    /// The number and content of the slot of the entry for exactly the flow's source.
    fn host(&self, flow: &Flow) -> Option<(u32, Slot)>;
    /// The number and content of the slot of the longest prefix that contains the flow's source.
    fn prefix(&self, flow: &Flow) -> Option<(u32, Slot)>;
    /// The number and content of the slot of the longest break-glass prefix that contains the source.
    fn break_glass(&self, source: Source) -> Option<(u32, Slot)>;
    /// Whether the interface has local scope and the kernel would forward the packet.
    fn forwards(&self) -> bool;
    /// CLOCK_BOOTTIME in nanoseconds.
    fn now(&self) -> u64;

    /// [Searches](search) the tables. The program overrides this method, to search in a function of its own.
    #[inline(always)]
    fn search(&self, flow: &Flow) -> Result<(Admission, u32, u64), Refusal>
    where
        Self: Sized,
    {
        search(flow, self)
    }
}

/// The decision about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The reason under which the packet is counted.
    pub reason: Reason,
    /// The element of the counters' map in which the packet is counted.
    pub counters: u8,
    /// The slot that lets the packet pass, and when the slot was found, as CLOCK_BOOTTIME in nanoseconds.
    pub admitted: Option<(u32, u64)>,
    /// The settings that applied to the packet.
    pub settings: Settings,
}

/// Decides about a parsed packet.
#[inline(always)]
pub fn decide<T: Tables>(parsed: Result<Flow, Reason>, tables: &T) -> Decision {
    match parsed {
        Ok(flow) => decide_flow(&flow, tables, |decision| decision),
        Err(reason) => decide_without_flow(reason, tables, |decision| decision),
    }
}

/// Decides about a packet that has no flow, because parsing already gave the reason. Passes the decision to `then`.
#[inline(always)]
pub fn decide_without_flow<T: Tables, R>(reason: Reason, tables: &T, then: impl FnOnce(Decision) -> R) -> R {
    let settings = tables.settings();
    let refused = matches!(reason, Reason::LaterFragment | Reason::OtherFragment);
    if refused && settings.has(Settings::DROP_FRAGMENTS) {
        return refuse(Reason::FragmentRefused, 0, tables, settings, then);
    }
    then(Decision { reason, counters: 0, admitted: None, settings })
}

/// Decides about a packet by its flow, and passes the decision to `then`.
///
/// Each place that decides has its own call of `then`. The compiler then knows what follows from the decision at that
/// place, and the paths that most packets take become straight lines.
#[inline(always)]
pub fn decide_flow<T: Tables, R>(flow: &Flow, tables: &T, then: impl FnOnce(Decision) -> R) -> R {
    if flow.fragment {
        let settings = tables.settings();
        if settings.has(Settings::DROP_FRAGMENTS) {
            return refuse(Reason::FragmentRefused, 0, tables, settings, then);
        }
    }
    let port = tables.port(flow.port);
    if !port.protects(flow.transport) {
        let settings = tables.settings();
        return then(Decision { reason: Reason::UnprotectedPort, counters: 0, admitted: None, settings });
    }
    let settings = tables.settings();
    let counters = port.counters();
    if port.is_idle() && !settings.has(Settings::BREAK_GLASS | Settings::LOCAL_SCOPE) {
        return then(Decision { reason: Reason::NoGrant, counters, admitted: None, settings });
    }
    match tables.search(flow) {
        Ok((admission, slot, now)) => {
            then(Decision { reason: admission.reason(), counters, admitted: Some((slot, now)), settings })
        }
        Err(refusal) => refuse(refusal.reason(), counters, tables, settings, then),
    }
}

/// How often the tables are searched at most, if they change meanwhile.
const ATTEMPTS: u32 = 2;

/// Searches the tables for a slot that lets a packet pass. Returns what the slot is for, its number and when it was
/// found, or the reason why no slot lets the packet pass.
///
/// Entries are looked up one after the other. Meanwhile a new entry may be opened for the packet's source and the
/// source's old entry may end afterwards, and the look-ups could miss both. So the tables are searched again if an
/// entry was opened.
#[inline(always)]
pub fn search<T: Tables>(flow: &Flow, tables: &T) -> Result<(Admission, u32, u64), Refusal> {
    let mut settings = tables.settings();
    let mut without_grant = Refusal::NoGrant;
    for _ in 0..ATTEMPTS {
        // The port's hints, too, must be read after the number of openings.
        match find(flow, tables.port(flow.port), tables, &settings) {
            Ok(found) => return Ok(found),
            Err(refusal) => without_grant = refusal,
        }
        let now = tables.settings();
        if now.openings == settings.openings {
            break;
        }
        settings = now;
    }
    Err(without_grant)
}

/// One search of the tables.
#[inline(always)]
fn find<T: Tables>(
    flow: &Flow,
    port: PortEntry,
    tables: &T,
    settings: &Settings,
) -> Result<(Admission, u32, u64), Refusal> {
    let mut without_grant = Refusal::NoGrant;
    if port.has_hosts()
        && let Some((number, slot)) = tables.host(flow)
        && slot.covers(flow)
    {
        let now = tables.now();
        if now < slot.deadline {
            return Ok((Admission::HostGrant, number, now));
        }
        without_grant = Refusal::GrantExpired;
    }
    if port.has_prefixes()
        && let Some((number, slot)) = tables.prefix(flow)
        && slot.covers(flow)
    {
        let now = tables.now();
        if now < slot.deadline {
            return Ok((Admission::PrefixGrant, number, now));
        }
        without_grant = Refusal::GrantExpired;
    }
    if settings.has(Settings::BREAK_GLASS)
        && let Some((number, slot)) = tables.break_glass(flow.source)
        && slot.always_lets_in(flow.source)
    {
        return Ok((Admission::BreakGlass, number, tables.now()));
    }
    Err(without_grant)
}

/// Refuses a packet, unless the interface has local scope and the kernel would forward the packet.
#[inline(always)]
fn refuse<T: Tables, R>(
    reason: Reason,
    counters: u8,
    tables: &T,
    settings: Settings,
    then: impl FnOnce(Decision) -> R,
) -> R {
    let forwarded = settings.has(Settings::LOCAL_SCOPE) && tables.forwards();
    let reason = if forwarded { Reason::Forwarded } else { reason };
    then(Decision { reason, counters, admitted: None, settings })
}

impl Source {
    /// The address as an IPv6 address, with IPv4 written IPv4-mapped: the form in which slots hold sources.
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
    /// contain `::ffff:0:0/96` from covering IPv4 sources. Port 0 with protocol 0 stands for all protected ports.
    #[inline(always)]
    #[must_use]
    pub const fn tag(source: Source, port: u16, protocol: u8) -> u32 {
        let family = match source {
            Source::V4(_) => 4,
            Source::V6(..) => 6,
        };
        (port as u32) << 16 | (protocol as u32) << 8 | family
    }

    /// A closed slot for one source prefix of a port; the length is the address family's own, 0 to 32 or 0 to 128.
    #[must_use]
    pub const fn closed(source: Source, prefix_length: u8, port: u16, transport: Transport) -> Self {
        Self::tagged(source, prefix_length, Self::tag(source, port, transport as u8))
    }

    /// A closed slot for a break-glass prefix, whose sources are admitted to all ports.
    #[must_use]
    pub const fn break_glass(source: Source, prefix_length: u8) -> Self {
        Self::tagged(source, prefix_length, Self::tag(source, 0, 0))
    }

    const fn tagged(source: Source, prefix_length: u8, tag: u32) -> Self {
        let (source_high, source_low) = source.mapped();
        let prefix_length = match source {
            Source::V4(_) => prefix_length as u32 + MAPPED_BITS,
            Source::V6(..) => prefix_length as u32,
        };
        Self { deadline: 0, source_high, source_low, tag, prefix_length }
    }

    /// Whether this slot is for the flow. A look-up may return the number of a slot that no longer belongs to the key,
    /// because the kernel reuses a deleted element at once. The answer is then `false`.
    #[inline(always)]
    #[must_use]
    pub const fn covers(&self, flow: &Flow) -> bool {
        self.holds(flow.source) && self.tag == Self::tag(flow.source, flow.port, flow.transport as u8)
    }

    /// Whether this slot is for a break-glass prefix that is in force and contains the source.
    #[inline(always)]
    #[must_use]
    pub const fn always_lets_in(&self, source: Source) -> bool {
        self.holds(source) && self.tag == Self::tag(source, 0, 0) && self.deadline == u64::MAX
    }

    /// Whether the source is within the prefix, whatever the source's family.
    #[inline(always)]
    const fn holds(&self, source: Source) -> bool {
        let (high, low) = source.mapped();
        let (high, low) = (high ^ self.source_high, low ^ self.source_low);
        // No differing bit may lie within the prefix. The lengths 64 and 0 have arms of their own, because a shift by
        // 64 bits overflows.
        let differs = match self.prefix_length {
            128.. => high | low,
            length @ 65..128 => high | (low >> (128 - length)),
            64 => high,
            length @ 1..64 => high >> (64 - length),
            0 => 0,
        };
        differs == 0
    }
}

/// Source, port and transport of a [tag](Slot::tag) and a [mapped](Source::mapped) source.
#[inline(always)]
#[must_use]
pub const fn untagged(source_high: u64, source_low: u64, tag: u64) -> Option<(Source, u16, Transport)> {
    let source = match tag & 0xff {
        4 => Source::V4(source_low as u32),
        6 => Source::V6(source_high, source_low),
        _ => return None,
    };
    match Transport::from_number((tag >> 8) as u8) {
        Some(transport) => Some((source, (tag >> 16) as u16, transport)),
        None => None,
    }
}

impl Event {
    /// Adds the packet's flow to the event.
    #[inline(always)]
    pub const fn set_flow(&mut self, flow: &Flow) {
        (self.source_high, self.source_low) = flow.source.mapped();
        self.tag = Slot::tag(flow.source, flow.port, flow.transport as u8) as u64;
    }

    /// The packet's flow; `None` if the packet has no readable flow.
    #[must_use]
    pub const fn flow(&self) -> Option<(Source, u16, Transport)> {
        untagged(self.source_high, self.source_low, self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Mode;

    /// Whether the slot of a prefix covers an address, both as 128 bits.
    fn covers6(prefix: u128, length: u8, address: u128) -> bool {
        let source = |bits: u128| Source::V6((bits >> 64) as u64, bits as u64);
        let flow =
            Flow { source: source(address), port: 22, transport: Transport::Tcp, fragment: false, transport_header: 0 };
        Slot::closed(source(prefix), length, 22, Transport::Tcp).covers(&flow)
    }

    fn covers4(prefix: u32, length: u8, address: u32) -> bool {
        let flow = Flow {
            source: Source::V4(address),
            port: 22,
            transport: Transport::Tcp,
            fragment: false,
            transport_header: 0,
        };
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
    fn an_event_tells_what_the_program_put_in() {
        for (source, transport) in [(Source::V4(0xc000_020a), Transport::Sctp), (Source::V6(1, 2), Transport::Tcp)] {
            let mut event = Event::new(5, 0x1_0002, Mode::Enforce as u8, Reason::NoGrant as u8);
            assert_eq!(
                (event.interface(), event.mode(), event.reason()),
                (0x1_0002, Mode::Enforce, Some(Reason::NoGrant))
            );
            assert_eq!(event.flow(), None);
            event.set_flow(&Flow { source, port: 65_535, transport, fragment: false, transport_header: 34 });
            assert_eq!(event.flow(), Some((source, 65_535, transport)));
            let Event { time, source_high, source_low, tag, verdict } = event;
            let words = [time, source_high, source_low, tag, verdict];
            let mut bytes = [0; 40];
            for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
                place.copy_from_slice(&word.to_ne_bytes());
            }
            assert_eq!(Event::read(&bytes), Some(event));
            assert_eq!(Event::read(&bytes[1..]), None);
        }
        assert_eq!(Event::new(0, 0, 0, 255).reason(), None);
    }

    #[test]
    fn a_slot_covers_only_its_own_port_transport_and_family() {
        let slot = Slot::closed(Source::V6(0, 0), 0, 22, Transport::Tcp);
        let flow = Flow {
            source: Source::V6(1, 2),
            port: 22,
            transport: Transport::Tcp,
            fragment: false,
            transport_header: 0,
        };
        assert!(slot.covers(&flow));
        assert!(!slot.covers(&Flow { port: 23, ..flow }));
        assert!(!slot.covers(&Flow { transport: Transport::Udp, ..flow }));
        assert!(!slot.covers(&Flow { source: Source::V4(0xc000_020a), ..flow }));
        assert!(!Slot { tag: 0, ..slot }.covers(&flow));
    }
}
