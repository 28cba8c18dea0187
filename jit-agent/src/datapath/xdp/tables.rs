//! Grant entries in the kernel's maps.

use std::collections::{HashMap, HashSet};

use aya::maps::{HashMap as HostMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jit_common::{
    abi::{
        Activity, ENTRIES, HostKey4, HostKey6, PREFIX_KEY_HEAD_BITS, PrefixKey4, PrefixKey6, SLOTS, Slot, Transport,
        map,
    },
    parse::Source,
};
use jit_policy::{BootTime, EntryKey, single_address};
use rustix::io::Errno;

use super::{mapped::Mapped, slots::Slots};
use crate::datapath::{DatapathError, source_of};

/// The four look-up maps and the slots they point to.
pub(super) struct Tables {
    pub(super) hosts4: HostMap<MapData, HostKey4, u32>,
    pub(super) hosts6: HostMap<MapData, HostKey6, u32>,
    pub(super) prefixes4: LpmTrie<MapData, PrefixKey4, u32>,
    pub(super) prefixes6: LpmTrie<MapData, PrefixKey6, u32>,
    slots: Slots,
    entries: HashMap<EntryKey, u32>,
    /// The prefixes of break-glass sources, and their slots.
    break_glass: HashMap<IpNet, u32>,
    /// The numbers of host entries and of prefix entries for each port number.
    live: HashMap<u16, (usize, usize)>,
}

impl Tables {
    /// Adopts the maps with their content.
    pub(super) fn adopt(
        mut take: impl FnMut(&'static str) -> Result<Map, DatapathError>,
    ) -> Result<Self, DatapathError> {
        fn typed<T: TryFrom<Map, Error = MapError>>(name: &str, map: Map) -> Result<T, DatapathError> {
            T::try_from(map).map_err(|error| DatapathError::kernel(format!("opening map {name}"), error))
        }
        let slots = Slots::new(mapped(&mut take, map::SLOTS, SLOTS)?, mapped(&mut take, map::ACTIVITY, SLOTS)?);
        let mut tables = Self {
            hosts4: typed(map::HOSTS4, take(map::HOSTS4)?)?,
            hosts6: typed(map::HOSTS6, take(map::HOSTS6)?)?,
            prefixes4: typed(map::PREFIXES4, take(map::PREFIXES4)?)?,
            prefixes6: typed(map::PREFIXES6, take(map::PREFIXES6)?)?,
            slots,
            entries: HashMap::new(),
            break_glass: HashMap::new(),
            live: HashMap::new(),
        };
        tables.adopt_entries()?;
        Ok(tables)
    }

    /// Reads the maps, and removes from them whatever no agent of this version would have left there.
    fn adopt_entries(&mut self) -> Result<(), DatapathError> {
        let mut used = HashSet::new();
        let (mut sound, mut unsound) = (Vec::new(), Vec::new());
        for (raw, number) in self.read()? {
            let slot = self.slots.get(number);
            match raw.meaning() {
                Some(meaning) if slot.is_some_and(|slot| meaning.has_slot(&slot)) && used.insert(number) => {
                    sound.push((meaning, number));
                }
                _ => unsound.push(raw),
            }
        }
        for raw in unsound {
            tracing::warn!(entry = ?raw, "removing an entry without a slot of its own from the pinned maps");
            self.delete(&raw)?;
        }
        for (meaning, number) in sound {
            match meaning {
                Meaning::Entry(entry) => {
                    self.count(&entry, true);
                    self.entries.insert(entry, number);
                }
                Meaning::BreakGlass(source) => drop(self.break_glass.insert(source, number)),
            }
        }
        self.slots.adopt(&used);
        Ok(())
    }

    fn read(&self) -> Result<Vec<(RawKey, u32)>, DatapathError> {
        let broken = |error: MapError| DatapathError::kernel("reading the grant maps", error);
        let mut all = Vec::new();
        for item in self.hosts4.iter() {
            let (key, number) = item.map_err(broken)?;
            all.push((RawKey::Host4(key), number));
        }
        for item in self.hosts6.iter() {
            let (key, number) = item.map_err(broken)?;
            all.push((RawKey::Host6(key), number));
        }
        for item in self.prefixes4.iter() {
            let (key, number) = item.map_err(broken)?;
            all.push((RawKey::Prefix4(key.prefix_len(), key.data()), number));
        }
        for item in self.prefixes6.iter() {
            let (key, number) = item.map_err(broken)?;
            all.push((RawKey::Prefix6(key.prefix_len(), key.data()), number));
        }
        Ok(all)
    }

    /// The entries as the kernel has them.
    pub(super) fn entries(&self) -> Result<Vec<(EntryKey, BootTime)>, DatapathError> {
        let entry = |(raw, number): (RawKey, u32)| match raw.meaning()? {
            Meaning::Entry(entry) => Some((entry, self.slots.deadline(number))),
            Meaning::BreakGlass(_) => None,
        };
        Ok(self.read()?.into_iter().filter_map(entry).collect())
    }

    /// Whether host entries and prefix entries stand for a port number.
    pub(super) fn hints(&self, number: u16) -> (bool, bool) {
        self.live.get(&number).map_or((false, false), |(hosts, prefixes)| (*hosts > 0, *prefixes > 0))
    }

    /// Opens an entry or moves its deadline. Returns whether the entry is new.
    pub(super) fn set(&mut self, entry: &EntryKey, deadline: BootTime) -> Result<bool, DatapathError> {
        if let Some(number) = self.entries.get(entry) {
            self.slots.set_deadline(*number, deadline);
            return Ok(false);
        }
        let (source, length) = source_of(&entry.source);
        let content = Slot::closed(source, length, entry.number, entry.transport);
        let Some(number) = self.slots.open(content, deadline) else {
            return Err(DatapathError::Full { table: map::SLOTS, capacity: SLOTS });
        };
        if let Err(error) = self.insert(&RawKey::of(entry), number) {
            self.slots.set_deadline(number, BootTime(0));
            self.slots.close(number);
            return Err(error);
        }
        self.entries.insert(*entry, number);
        self.count(entry, true);
        Ok(true)
    }

    /// Closes an entry for all packets to come, except those that an outer entry admits until `covered_until`. The
    /// entry's key is still to be [erased](Self::erase). Returns whether there is such an entry.
    pub(super) fn close(&mut self, entry: &EntryKey, covered_until: Option<BootTime>) -> bool {
        let Some(number) = self.entries.get(entry) else { return false };
        self.slots.set_deadline(*number, covered_until.unwrap_or_default());
        self.count(entry, false);
        true
    }

    /// Removes the key of a closed entry. If that fails, the entry stays in the map, closed.
    pub(super) fn erase(&mut self, entry: &EntryKey) -> Result<(), DatapathError> {
        if let Err(error) = self.delete(&RawKey::of(entry)) {
            self.count(entry, true);
            return Err(error);
        }
        if let Some(number) = self.entries.remove(entry) {
            self.slots.close(number);
        }
        Ok(())
    }

    /// The content of a slot.
    pub(super) fn slot(&self, number: u32) -> Option<Slot> {
        self.slots.get(number)
    }

    /// When the entry let packets pass; `None` if there is no such entry.
    pub(super) fn activity(&self, entry: &EntryKey) -> Option<Activity> {
        Some(self.slots.activity(*self.entries.get(entry)?))
    }

    /// The break-glass sources.
    pub(super) fn break_glass(&self) -> impl Iterator<Item = (IpNet, Activity)> {
        self.break_glass.iter().map(|(source, number)| (*source, self.slots.activity(*number)))
    }

    /// Admits a break-glass source.
    pub(super) fn admit(&mut self, source: IpNet) -> Result<(), DatapathError> {
        let (address, length) = source_of(&source);
        let Some(number) = self.slots.open(Slot::break_glass(address, length), BootTime(u64::MAX)) else {
            return Err(DatapathError::Full { table: map::SLOTS, capacity: SLOTS });
        };
        if let Err(error) = self.insert(&RawKey::break_glass(&source), number) {
            self.slots.set_deadline(number, BootTime(0));
            self.slots.close(number);
            return Err(error);
        }
        self.break_glass.insert(source, number);
        Ok(())
    }

    /// Excludes a break-glass source. If the source's key can't be removed, the key stays in the map, closed.
    pub(super) fn exclude(&mut self, source: &IpNet) -> Result<(), DatapathError> {
        let Some(number) = self.break_glass.get(source).copied() else { return Ok(()) };
        self.slots.set_deadline(number, BootTime(0));
        self.delete(&RawKey::break_glass(source))?;
        self.break_glass.remove(source);
        self.slots.close(number);
        Ok(())
    }

    fn count(&mut self, entry: &EntryKey, more: bool) {
        let (hosts, prefixes) = self.live.entry(entry.number).or_default();
        let count = if entry.is_host() { hosts } else { prefixes };
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
    }

    fn insert(&mut self, key: &RawKey, number: u32) -> Result<(), DatapathError> {
        /// The element must be new: values are never overwritten.
        const NEW: u64 = 1;
        let result = match *key {
            RawKey::Host4(key) => self.hosts4.insert(key, number, NEW),
            RawKey::Host6(key) => self.hosts6.insert(key, number, NEW),
            RawKey::Prefix4(length, data) => self.prefixes4.insert(&Key::new(length, data), number, NEW),
            RawKey::Prefix6(length, data) => self.prefixes6.insert(&Key::new(length, data), number, NEW),
        };
        result.map_err(|error| match errno(&error) {
            Some(Errno::TOOBIG | Errno::NOSPC) => DatapathError::Full { table: key.table(), capacity: ENTRIES },
            _ => DatapathError::kernel(format!("adding an entry to map {}", key.table()), error),
        })
    }

    fn delete(&mut self, key: &RawKey) -> Result<(), DatapathError> {
        let result = match *key {
            RawKey::Host4(key) => self.hosts4.remove(&key),
            RawKey::Host6(key) => self.hosts6.remove(&key),
            RawKey::Prefix4(length, data) => self.prefixes4.remove(&Key::new(length, data)),
            RawKey::Prefix6(length, data) => self.prefixes6.remove(&Key::new(length, data)),
        };
        match result {
            // An absent key is no error, whoever removed the key.
            Err(error) if errno(&error) != Some(Errno::NOENT) => {
                Err(DatapathError::kernel(format!("removing an entry from map {}", key.table()), error))
            }
            _ => Ok(()),
        }
    }
}

/// A key as it stands in one of the maps.
#[derive(Clone, Copy, Debug)]
enum RawKey {
    Host4(HostKey4),
    Host6(HostKey6),
    Prefix4(u32, PrefixKey4),
    Prefix6(u32, PrefixKey6),
}

impl RawKey {
    fn of(entry: &EntryKey) -> Self {
        let EntryKey { number, transport, .. } = *entry;
        let (source, length) = source_of(&entry.source);
        let bits = PREFIX_KEY_HEAD_BITS + u32::from(length);
        match (source, single_address(&entry.source).is_some()) {
            (Source::V4(address), true) => Self::Host4(HostKey4::new(address, number, transport)),
            (Source::V4(address), false) => Self::Prefix4(bits, PrefixKey4::new(address, number, transport)),
            (Source::V6(high, low), true) => Self::Host6(HostKey6::new(high, low, number, transport)),
            (Source::V6(high, low), false) => Self::Prefix6(bits, PrefixKey6::new(high, low, number, transport)),
        }
    }

    fn break_glass(source: &IpNet) -> Self {
        let (address, length) = source_of(source);
        let bits = PREFIX_KEY_HEAD_BITS + u32::from(length);
        match address {
            Source::V4(address) => Self::Prefix4(bits, PrefixKey4::break_glass(address)),
            Source::V6(high, low) => Self::Prefix6(bits, PrefixKey6::break_glass(high, low)),
        }
    }

    /// The meaning of the key; `None` if the agent makes no such key.
    fn meaning(&self) -> Option<Meaning> {
        let family_bits = |bits: u32| u8::try_from(bits.checked_sub(PREFIX_KEY_HEAD_BITS)?).ok();
        let (source, port, protocol) = match self {
            Self::Host4(key) => (IpNet::from(std::net::IpAddr::from(key.address)), key.port, key.protocol),
            Self::Host6(key) => (IpNet::from(std::net::IpAddr::from(key.address)), key.port, key.protocol),
            Self::Prefix4(bits, key) => {
                (Ipv4Net::new(key.address.into(), family_bits(*bits)?).ok()?.into(), key.port, key.protocol)
            }
            Self::Prefix6(bits, key) => {
                (Ipv6Net::new(key.address.into(), family_bits(*bits)?).ok()?.into(), key.port, key.protocol)
            }
        };
        match (u16::from_be_bytes(port), protocol) {
            (0, 0) => Some(Meaning::BreakGlass(source)),
            (number, protocol) => {
                Some(Meaning::Entry(EntryKey { number, transport: Transport::from_number(protocol)?, source }))
            }
        }
    }

    const fn table(&self) -> &'static str {
        match self {
            Self::Host4(_) => map::HOSTS4,
            Self::Host6(_) => map::HOSTS6,
            Self::Prefix4(..) => map::PREFIXES4,
            Self::Prefix6(..) => map::PREFIXES6,
        }
    }
}

/// The meaning of a key of the maps.
enum Meaning {
    Entry(EntryKey),
    BreakGlass(IpNet),
}

impl Meaning {
    /// Whether a slot belongs to this key.
    fn has_slot(&self, slot: &Slot) -> bool {
        let own = match self {
            Self::Entry(entry) => {
                let (source, length) = source_of(&entry.source);
                Slot::closed(source, length, entry.number, entry.transport)
            }
            Self::BreakGlass(source) => {
                let (source, length) = source_of(source);
                Slot::break_glass(source, length)
            }
        };
        *slot == Slot { deadline: slot.deadline, ..own }
    }
}

/// A map's memory.
pub(super) fn mapped<T: aya::Pod>(
    take: &mut impl FnMut(&'static str) -> Result<Map, DatapathError>,
    name: &'static str,
    count: usize,
) -> Result<Mapped<T>, DatapathError> {
    let Map::Array(array) = take(name)? else {
        return Err(DatapathError::kernel(format!("opening map {name}"), "it is not an array"));
    };
    Mapped::map(array, count).map_err(|error| DatapathError::kernel(format!("mapping {name} into memory"), error))
}

fn errno(error: &MapError) -> Option<Errno> {
    match error {
        MapError::SyscallError(error) => Errno::from_io_error(&error.io_error),
        _ => None,
    }
}
