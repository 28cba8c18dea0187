//! The fate of a packet, by the program's own decision, for people who ask.

use std::{cell::Cell, net::IpAddr};

use ipnet::IpNet;
use jit_common::{
    abi::{MAPPED_BITS, Mode, PortEntry, Settings, Slot},
    decide::{Decision, Tables, decide},
    parse::{Flow, Source},
    reason::Reason,
};
use jit_policy::{BootTime, Packet};

use super::address_of;

/// The packet in the form that the program has.
pub(super) fn flow_of(packet: &Packet) -> Flow {
    let Packet { source, number, transport, .. } = *packet;
    Flow { source: address_of(source), port: number, transport, fragment: false, transport_header: 0 }
}

/// The fate of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The reason under which the packet would be counted.
    pub reason: Reason,
    /// Whether drops are carried out.
    pub mode: Mode,
    /// Whether the port is protected for the packet's transport.
    pub protected: bool,
    /// The prefix of the entry that decided, and the entry's deadline. If the reason is that a grant has expired, this
    /// is the last entry that the program would have looked at.
    pub entry: Option<(IpNet, BootTime)>,
}

/// Decides about the packet, and returns what decided.
pub(crate) fn trace<T: Tables>(packet: &Packet, tables: &T) -> Trace {
    let flow = flow_of(packet);
    let watched = Watched { tables, seen: Cell::new(None) };
    let Decision { reason, .. } = decide(Ok(flow), &watched);
    let decisive = !matches!(reason, Reason::NoGrant | Reason::UnprotectedPort | Reason::Forwarded);
    let entry = watched.seen.get().filter(|_| decisive);
    Trace {
        reason,
        mode: tables.settings().enforce_until.mode(|| tables.now()),
        protected: tables.port(packet.number).protects(packet.transport),
        entry: entry.map(|slot| (prefix_of(&slot, flow.source), BootTime(slot.deadline))),
    }
}

/// The source prefix of a slot that covers `source`.
fn prefix_of(slot: &Slot, source: Source) -> IpNet {
    let (address, bits) = match source {
        Source::V4(_) => (Source::V4(slot.source_low as u32), MAPPED_BITS),
        Source::V6(..) => (Source::V6(slot.source_high, slot.source_low), 0),
    };
    let address = IpAddr::from(address);
    let length = slot.prefix_length.checked_sub(bits).and_then(|length| u8::try_from(length).ok());
    // An impossible length means that someone else wrote the slot: the address alone is shown.
    length.and_then(|length| IpNet::new(address, length).ok()).unwrap_or_else(|| IpNet::from(address))
}

/// Tables that remember the last slot which covers the packet.
struct Watched<'tables, T> {
    tables: &'tables T,
    seen: Cell<Option<Slot>>,
}

impl<T> Watched<'_, T> {
    fn note(&self, found: Option<(u32, Slot)>, covers: impl Fn(&Slot) -> bool) -> Option<(u32, Slot)> {
        if let Some((_, slot)) = found.filter(|(_, slot)| covers(slot)) {
            self.seen.set(Some(slot));
        }
        found
    }
}

impl<T: Tables> Tables for Watched<'_, T> {
    fn settings(&self) -> Settings {
        self.tables.settings()
    }

    fn port(&self, port: u16) -> PortEntry {
        self.tables.port(port)
    }

    fn host(&self, flow: &Flow) -> Option<(u32, Slot)> {
        self.note(self.tables.host(flow), |slot| slot.covers(flow))
    }

    fn prefix(&self, flow: &Flow) -> Option<(u32, Slot)> {
        self.note(self.tables.prefix(flow), |slot| slot.covers(flow))
    }

    fn break_glass(&self, source: Source) -> Option<(u32, Slot)> {
        self.note(self.tables.break_glass(source), |slot| slot.always_lets_in(source))
    }

    fn forwards(&self) -> bool {
        self.tables.forwards()
    }

    fn now(&self) -> u64 {
        self.tables.now()
    }
}
