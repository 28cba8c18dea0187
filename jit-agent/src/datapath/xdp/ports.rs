//! The protected ports in the kernel's array, and where their packets are counted.

use std::collections::{BTreeMap, BTreeSet};

use jit_common::abi::{COUNTERS, PORTS, PortEntry};
use jit_policy::ProtectedPort;

use super::mapped::Mapped;

/// The element that counts all protected ports without an element of their own.
const SHARED: u8 = (COUNTERS - 1) as u8;

/// The array of all ports.
pub(super) struct Ports(Mapped<PortEntry>);

impl Ports {
    pub(super) const fn new(array: Mapped<PortEntry>) -> Self {
        Self(array)
    }

    /// The entry of a port number.
    pub(super) fn get(&self, number: u16) -> PortEntry {
        self.0.get(usize::from(number)).unwrap_or(PortEntry::SHUT)
    }

    /// Records whether host entries and prefix entries stand for a port number.
    pub(super) fn set_hints(&self, number: u16, (hosts, prefixes): (bool, bool)) {
        self.write(number, self.get(number).with_hints(hosts, prefixes));
    }

    /// Protects exactly these ports, each by one store. `is_unused` tells whether nothing was ever counted in an
    /// element.
    pub(super) fn protect(&self, ports: &[ProtectedPort], is_unused: impl Fn(u8) -> bool) {
        let mut wanted: BTreeMap<u16, PortEntry> = BTreeMap::new();
        for ProtectedPort { number, transport } in ports {
            let entry = wanted.entry(*number).or_default();
            *entry = entry.protecting(*transport);
        }
        let mut used: BTreeSet<u8> = (0..=u16::MAX).map(|number| self.get(number).counters()).collect();
        for number in 0..=u16::MAX {
            let known = self.get(number);
            // Hints follow the grants, whether the port is protected or not.
            let entry =
                wanted.get(&number).copied().unwrap_or_default().with_hints(known.has_hosts(), known.has_prefixes());
            let element = match (entry.is_protected(), known.counters()) {
                (false, _) => 0,
                (true, 0) => {
                    (1..SHARED).find(|element| !used.contains(element) && is_unused(*element)).unwrap_or(SHARED)
                }
                (true, element) => element,
            };
            used.insert(element);
            self.write(number, entry.counted_in(element));
        }
    }

    /// The ports that are counted in each element of the counters' map.
    pub(super) fn counted(&self) -> BTreeMap<u8, Vec<u16>> {
        let mut counted: BTreeMap<u8, Vec<u16>> = BTreeMap::new();
        for number in 0..PORTS as u32 {
            let number = number as u16;
            let entry = self.get(number);
            if entry.is_protected() {
                counted.entry(entry.counters()).or_default().push(number);
            }
        }
        counted
    }

    fn write(&self, number: u16, entry: PortEntry) {
        if self.get(number) != entry {
            self.0.set(usize::from(number), entry);
        }
    }
}
