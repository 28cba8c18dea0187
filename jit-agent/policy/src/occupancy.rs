//! How full the kernel's tables are. The last part of each table is kept for admins: a person who may request can't
//! keep out a person who could revoke.

use ipnet::IpNet;
use jit_common::abi::{ENTRIES, SLOTS, map};

use super::grant::EntryKey;

/// One of so many places is kept for admins.
const RESERVED: usize = 20;

/// Entries in each table that has a limit, in the order of [`TABLES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy([usize; TABLES.len()]);

/// The name and size of each table. The last table has a place for each entry of the other tables.
const TABLES: [(&str, usize); 5] = [
    (map::HOSTS4, ENTRIES),
    (map::HOSTS6, ENTRIES),
    (map::PREFIXES4, ENTRIES),
    (map::PREFIXES6, ENTRIES),
    (map::SLOTS, SLOTS),
];

impl Occupancy {
    /// Adds an entry to the counts.
    pub(super) fn add(&mut self, entry: &EntryKey) {
        self.of(entry).for_each(|count| *count += 1);
    }

    /// Removes an entry from the counts.
    pub(super) fn take(&mut self, entry: &EntryKey) {
        self.of(entry).for_each(|count| *count = count.saturating_sub(1));
    }

    fn of(&mut self, entry: &EntryKey) -> impl Iterator<Item = &mut usize> {
        let table = match (entry.is_host(), entry.source) {
            (true, IpNet::V4(_)) => map::HOSTS4,
            (true, IpNet::V6(_)) => map::HOSTS6,
            (false, IpNet::V4(_)) => map::PREFIXES4,
            (false, IpNet::V6(_)) => map::PREFIXES6,
        };
        let counts = self.0.iter_mut().zip(TABLES);
        counts.filter(move |(_, (name, _))| [table, map::SLOTS].contains(name)).map(|(count, _)| count)
    }

    /// The table that has grown since `before` into the part that is kept for admins, if there is one: its name, and
    /// how many entries others may use.
    #[must_use]
    pub fn reserve_used(&self, before: &Self) -> Option<(&'static str, usize)> {
        let counts = self.0.iter().zip(before.0).zip(TABLES);
        let shares = counts.map(|((now, before), (table, size))| (table, *now, before, size - size / RESERVED));
        shares
            .filter(|(_, now, before, share)| now > before && now > share)
            .map(|(table, _, _, share)| (table, share))
            .next()
    }
}

#[cfg(test)]
mod tests {
    use jit_common::abi::Transport;

    use super::*;
    use crate::parse_source;

    fn entry(source: &str) -> EntryKey {
        EntryKey { number: 22, transport: Transport::Tcp, source: parse_source(source).unwrap() }
    }

    fn with(source: &str, count: usize) -> Occupancy {
        let mut occupancy = Occupancy::default();
        (0..count).for_each(|_| occupancy.add(&entry(source)));
        occupancy
    }

    #[test]
    fn the_last_twentieth_of_each_table_is_kept() {
        let sources =
            [("192.0.2.7", "HOSTS4"), ("::1", "HOSTS6"), ("192.0.2.0/24", "PREFIXES4"), ("2001:db8::/32", "PREFIXES6")];
        for (source, table) in sources {
            let full = with(source, 62_260);
            assert_eq!(full.reserve_used(&Occupancy::default()), None, "{table}");
            let mut beyond = full;
            beyond.add(&entry(source));
            assert_eq!(beyond.reserve_used(&full), Some((table, 62_260)));
            beyond.take(&entry(source));
            assert_eq!(beyond, full);
        }
    }

    #[test]
    fn slots_run_short_though_no_table_does() {
        let mut occupancy = Occupancy::default();
        for source in ["192.0.2.7", "::1", "2001:db8::/32"] {
            (0..41_507).for_each(|_| occupancy.add(&entry(source)));
        }
        let before = Occupancy::default();
        assert_eq!(occupancy.reserve_used(&before), Some(("SLOTS", 124_519)));
    }

    #[test]
    fn what_an_admin_filled_does_not_stand_in_the_way_of_others() {
        let before = with("192.0.2.7", 65_000);
        let mut after = before;
        assert_eq!(after.reserve_used(&before), None, "no entry came");
        after.add(&entry("::1"));
        assert_eq!(after.reserve_used(&before), None, "another table has room");
    }
}
