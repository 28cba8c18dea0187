//! The grant book: the live grants, and for each kernel entry the effective expiry.
//!
//! The program looks for the exact host entry first. If that entry is absent or has expired, the program looks up the
//! longest prefix, and only that one. So a host entry's effective expiry is the latest end of the grants for exactly
//! that host, while the grants for all outer prefixes count too for a prefix (see [`nested`](super::nested)).

use std::{
    collections::{BTreeSet, HashMap, hash_map},
    ops::Bound,
};

use ipnet::IpNet;
use jit_common::abi::Transport;

use super::{
    grant::{Change, EntryKey, GrantId, LiveGrant},
    nested::{Ends, NestedPrefixes, PrefixChange},
    occupancy::Occupancy,
};
use crate::BootTime;

/// The live grants. The book knows no clock: a grant stays until it is removed.
#[derive(Clone, Debug, Default)]
pub struct Book {
    grants: HashMap<GrantId, LiveGrant>,
    by_end: BTreeSet<(BootTime, GrantId)>,
    hosts: HashMap<EntryKey, Ends>,
    prefixes: HashMap<(u16, Transport), NestedPrefixes>,
    occupancy: Occupancy,
}

/// A grant that can't go into the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// Grant numbers are unique.
    #[error("grant {0} is in the book already; remove it first, or move its end")]
    Known(GrantId),
}

impl Book {
    /// An empty book.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a grant. Returns the changes to make in the kernel, in their order: after each of them, a packet passes if
    /// it may pass both before and after the whole.
    ///
    /// # Errors
    /// The book has a grant of that number already. The book stays as it is.
    pub fn insert(&mut self, grant: LiveGrant) -> Result<Vec<Change>, BookError> {
        let hash_map::Entry::Vacant(place) = self.grants.entry(grant.id) else {
            return Err(BookError::Known(grant.id));
        };
        place.insert(grant);
        self.by_end.insert((grant.end, grant.id));
        Ok(self.move_end(&grant, None, Some(grant.end)))
    }

    /// Removes a grant; `None` if there is no such grant. The changes are ordered as in [`insert`](Self::insert).
    pub fn remove(&mut self, id: GrantId) -> Option<(LiveGrant, Vec<Change>)> {
        let grant = self.grants.remove(&id)?;
        self.by_end.remove(&(grant.end, id));
        let changes = self.move_end(&grant, Some(grant.end), None);
        Some((grant, changes))
    }

    /// Moves the end of a grant, either way; `None` if there is no such grant. The changes are ordered as in
    /// [`insert`](Self::insert).
    pub fn set_end(&mut self, id: GrantId, end: BootTime) -> Option<Vec<Change>> {
        let place = self.grants.get_mut(&id)?;
        let before = *place;
        place.end = end;
        self.by_end.remove(&(before.end, id));
        self.by_end.insert((end, id));
        Some(self.move_end(&before, Some(before.end), Some(end)))
    }

    /// The grants whose time is over at `now`, first to end first.
    #[must_use]
    pub fn ended(&self, now: BootTime) -> Vec<GrantId> {
        let over = (Bound::Unbounded, Bound::Included((now, GrantId(i64::MAX))));
        self.by_end.range(over).map(|(_, id)| *id).collect()
    }

    /// When the next grant ends.
    #[must_use]
    pub fn next_end(&self) -> Option<BootTime> {
        self.by_end.first().map(|(end, _)| *end)
    }

    /// A grant by its number.
    #[must_use]
    pub fn get(&self, id: GrantId) -> Option<&LiveGrant> {
        self.grants.get(&id)
    }

    /// All grants, first to end first.
    pub fn iter(&self) -> impl Iterator<Item = &LiveGrant> {
        self.by_end.iter().filter_map(|(_, id)| self.grants.get(id))
    }

    /// The grants after a place in the order of their ends.
    pub fn after(&self, place: (BootTime, GrantId)) -> impl Iterator<Item = &LiveGrant> {
        let later = (Bound::Excluded(place), Bound::Unbounded);
        self.by_end.range(later).filter_map(|(_, id)| self.grants.get(id))
    }

    /// How many grants there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.grants.len()
    }

    /// Whether there is no grant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// The effective expiry of an entry; `None` if no grant stands for exactly this entry.
    #[must_use]
    pub fn effective(&self, entry: &EntryKey) -> Option<BootTime> {
        if entry.is_host() {
            return self.hosts.get(entry)?.latest();
        }
        self.prefixes.get(&(entry.number, entry.transport))?.effective(&entry.source)
    }

    /// The `covered_until` of [`Change::Remove`] for an entry, in the book or not: the effective expiry of the nearest
    /// outer prefix entry. `None` for hosts, and if there is no outer entry.
    #[must_use]
    pub fn covered_until(&self, entry: &EntryKey) -> Option<BootTime> {
        if entry.is_host() {
            return None;
        }
        self.prefixes.get(&(entry.number, entry.transport))?.enclosing(&entry.source)
    }

    /// How many entries of each of the kernel's tables the grants take.
    #[must_use]
    pub const fn occupancy(&self) -> Occupancy {
        self.occupancy
    }

    /// All entries with their effective expiries, in no particular order.
    pub fn entries(&self) -> impl Iterator<Item = (EntryKey, BootTime)> {
        let hosts = self.hosts.iter().filter_map(|(entry, ends)| Some((*entry, ends.latest()?)));
        let prefixes = self.prefixes.iter().flat_map(|((number, transport), prefixes)| {
            let entry = |source| EntryKey { number: *number, transport: *transport, source };
            prefixes.iter().map(move |(source, end)| (entry(source), end))
        });
        hosts.chain(prefixes)
    }

    fn move_end(&mut self, grant: &LiveGrant, old: Option<BootTime>, new: Option<BootTime>) -> Vec<Change> {
        let mut changes = Vec::new();
        for entry in grant.entries() {
            let was_there = self.effective(&entry).is_some();
            if entry.is_host() {
                changes.extend(self.move_host_end(entry, grant.id, old, new));
            } else {
                self.move_prefix_end(entry, grant.id, old, new, &mut changes);
            }
            match (was_there, self.effective(&entry).is_some()) {
                (false, true) => self.occupancy.add(&entry),
                (true, false) => self.occupancy.take(&entry),
                _ => {}
            }
        }
        changes
    }

    fn move_host_end(
        &mut self,
        entry: EntryKey,
        id: GrantId,
        old: Option<BootTime>,
        new: Option<BootTime>,
    ) -> Option<Change> {
        let ends = self.hosts.entry(entry).or_default();
        let before = ends.latest();
        ends.replace(id, old, new);
        match ends.latest() {
            Some(deadline) => (before != Some(deadline)).then_some(Change::Set { entry, deadline }),
            None => {
                self.hosts.remove(&entry);
                before.map(|_| Change::Remove { entry, covered_until: None })
            }
        }
    }

    fn move_prefix_end(
        &mut self,
        entry: EntryKey,
        id: GrantId,
        old: Option<BootTime>,
        new: Option<BootTime>,
        changes: &mut Vec<Change>,
    ) {
        let key = (entry.number, entry.transport);
        let prefixes = self.prefixes.entry(key).or_default();
        let at = |source: IpNet| EntryKey { source, ..entry };
        changes.extend(prefixes.move_end(entry.source, id, old, new).into_iter().map(|change| match change {
            PrefixChange::Set(source, deadline) => Change::Set { entry: at(source), deadline },
            PrefixChange::Remove(source, covered_until) => Change::Remove { entry: at(source), covered_until },
        }));
        if prefixes.is_empty() {
            self.prefixes.remove(&key);
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
