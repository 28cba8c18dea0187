//! The state in memory in the form of the program's tables, which decide about packets.

use jit_common::{
    abi::{PortEntry, Settings, Slot},
    decide::Tables,
    parse::{Flow, Source},
};
use jit_policy::{BootTime, EntryKey};

use super::State;
use crate::datapath::source_of;

/// The state at one moment, in the form of the program's tables.
pub(super) struct View<'state> {
    pub(super) state: &'state State,
    pub(super) now: BootTime,
}

impl View<'_> {
    fn slot(&self, flow: &Flow, hosts: bool) -> Option<(u32, Slot)> {
        let slots = (0..).zip(&self.state.entries).filter(|(_, (entry, _))| entry.is_host() == hosts);
        let slots =
            slots.map(|(number, (entry, deadline))| (number, Slot { deadline: deadline.0, ..closed_slot(entry) }));
        slots.filter(|(_, slot)| slot.covers(flow)).max_by_key(|(_, slot)| slot.prefix_length)
    }
}

impl Tables for View<'_> {
    fn settings(&self) -> Settings {
        self.state.settings()
    }

    fn port(&self, port: u16) -> PortEntry {
        let Some(protection) = &self.state.protection else { return PortEntry::default() };
        let transports = protection.ports.iter().filter(|protected| protected.number == port);
        let entry = transports.fold(PortEntry::default(), |entry, protected| entry.protecting(protected.transport));
        let any = |hosts| self.state.entries.keys().any(|entry| entry.number == port && entry.is_host() == hosts);
        entry.with_hints(any(true), any(false))
    }

    fn host(&self, flow: &Flow) -> Option<(u32, Slot)> {
        self.slot(flow, true)
    }

    fn prefix(&self, flow: &Flow) -> Option<(u32, Slot)> {
        self.slot(flow, false)
    }

    fn break_glass(&self, source: Source) -> Option<(u32, Slot)> {
        let prefixes = self.state.protection.iter().flat_map(|protection| &protection.break_glass);
        let slots = prefixes.map(|prefix| {
            let (address, length) = source_of(prefix);
            Slot { deadline: u64::MAX, ..Slot::break_glass(address, length) }
        });
        // Break-glass slots are numbered downwards from the highest number, because entries are numbered upwards from
        // 0.
        (0..=u32::MAX)
            .rev()
            .zip(slots)
            .filter(|(_, slot)| slot.always_lets_in(source))
            .max_by_key(|(_, slot)| slot.prefix_length)
    }

    fn forwards(&self) -> bool {
        false
    }

    fn now(&self) -> u64 {
        self.now.0
    }
}

fn closed_slot(entry: &EntryKey) -> Slot {
    let (source, length) = source_of(&entry.source);
    Slot::closed(source, length, entry.number, entry.transport)
}
