//! The live grants: the book, the facts about each grant that people read, and the kernel's entries. They change
//! together.

mod entries;
mod fates;
mod held;
mod usage;
mod view;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use jiff::Timestamp;
use jit_common::abi::Transport;
use jit_policy::{
    Book, BookError, BootTime, EntryKey, GrantId, Holder, LiveGrant, Persons, PortPolicy, RequestId, Requestor, Session,
};

use self::{entries::Entries, usage::BootMoment};
pub(super) use self::{
    fates::{CLOCK_AHEAD, LESS_TIME, latest_end},
    held::Held,
};
use super::{
    refusal::{NoRoom, Refusal, Unavailable},
    times::Times,
};
use crate::{
    datapath::{Datapath, DatapathError},
    store::{Connections, Deadline, EndedGrant, NewGrantRow},
};

/// The facts about a live grant that people read and the book doesn't need.
#[derive(Clone, Debug)]
pub(super) struct Particulars {
    pub(super) request: RequestId,
    pub(super) requestor: String,
    pub(super) who: Requestor,
    /// Whose quota the grant counts against.
    pub(super) holder: Holder,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// When the grant was made, in this boot's time.
    pub(super) opened: BootTime,
    /// Whether the grant's first connection is in the audit log.
    pub(super) connected: bool,
}

/// A grant that was removed from the book and from the kernel.
pub(super) struct Ended {
    pub(super) grant: LiveGrant,
    pub(super) particulars: Particulars,
    pub(super) connections: Option<Connections>,
}

/// The live grants.
pub(super) struct LiveGrants {
    times: Times,
    book: Book,
    particulars: HashMap<GrantId, Particulars>,
    held: Held,
    entries: Entries,
    booted: BootMoment,
}

impl LiveGrants {
    pub(super) fn new(times: Times, datapath: Box<dyn Datapath>) -> Self {
        Self {
            times,
            book: Book::new(),
            particulars: HashMap::new(),
            held: Held::default(),
            entries: Entries::new(datapath),
            booted: BootMoment::default(),
        }
    }

    /// The datapath, for everything but the entries of grants.
    pub(super) fn datapath(&self) -> &dyn Datapath {
        self.entries.datapath()
    }

    /// The datapath, for everything but the entries of grants.
    pub(super) fn datapath_mut(&mut self) -> &mut dyn Datapath {
        self.entries.datapath_mut()
    }

    #[cfg(test)]
    pub(super) fn replace_datapath(&mut self, datapath: Box<dyn Datapath>) {
        self.entries = Entries::new(datapath);
    }

    pub(super) fn get(&self, id: GrantId) -> Option<(&LiveGrant, &Particulars)> {
        Some((self.book.get(id)?, self.particulars.get(&id)?))
    }

    /// All grants in the book. The time of some may be over.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&LiveGrant, &Particulars)> {
        self.book.iter().filter_map(|grant| Some((grant, self.particulars.get(&grant.id)?)))
    }

    /// The grants whose time is not over.
    pub(super) fn unexpired(&self) -> impl Iterator<Item = (&LiveGrant, &Particulars)> {
        let now = self.times.now();
        self.iter().filter(move |(grant, _)| grant.end > now)
    }

    /// Returns the grants under a port policy whose time is not over.
    pub(super) fn under(&self, policy: &PortPolicy) -> impl Iterator<Item = (&LiveGrant, &Particulars)> {
        self.unexpired().filter(move |(grant, _)| policy.covers(grant.port))
    }

    /// Returns the grants that admit a packet, and whose time is not over.
    pub(super) fn admitting(
        &self,
        number: u16,
        transport: Transport,
        source: IpAddr,
    ) -> impl Iterator<Item = (&LiveGrant, &Particulars)> {
        let covers = move |entry: EntryKey| {
            (entry.number, entry.transport) == (number, transport) && entry.source.contains(&source)
        };
        self.unexpired().filter(move |(grant, _)| grant.entries().any(covers))
    }

    /// Returns the live grant that admits a session: the grant that ends last.
    pub(super) fn granted(&self, session: &Session) -> Option<GrantId> {
        let admitting = self.admitting(session.port, Transport::Tcp, session.source);
        admitting.max_by_key(|(grant, _)| grant.end).map(|(grant, _)| grant.id)
    }

    /// Attributes all grants to the persons that are known now.
    pub(super) fn attribute(&mut self, persons: &Persons) {
        self.held = Held::default();
        for (id, particulars) in &mut self.particulars {
            particulars.holder = persons.holder(&particulars.who);
            if let Some(grant) = self.book.get(*id) {
                self.held.add(&particulars.holder, grant.port);
            }
        }
    }

    /// Returns how many grants somebody has under a policy.
    pub(super) fn held(&self, holder: &Holder, policy: &PortPolicy) -> usize {
        self.held.under(holder, policy)
    }

    /// Opens a grant. On an error, the caller ends the grant again.
    ///
    /// # Errors
    /// The kernel's tables have no room, or only the room that is kept for admins; the kernel is broken.
    pub(super) fn open(
        &mut self,
        id: GrantId,
        row: &NewGrantRow,
        particulars: &Particulars,
        is_admin: bool,
    ) -> Result<(), Refusal> {
        let before = self.book.occupancy();
        let grant = LiveGrant { id, port: row.port, source: row.source, end: row.end_boot };
        let inserted = self.book.insert(grant);
        let changes = inserted.map_err(Unavailable::NotInBook)?;
        self.held.add(&particulars.holder, row.port);
        self.particulars.insert(id, Particulars { end: row.end_wall, ..particulars.clone() });
        if let Some((table, share)) = self.book.occupancy().reserve_used(&before).filter(|_| !is_admin) {
            return Err(Refusal::Full(NoRoom::Reserve { table, share }));
        }
        for change in &changes {
            self.entries.apply(change).map_err(no_room_or_broken)?;
        }
        Ok(())
    }

    /// Adds a grant of a predecessor to the book. [`reconcile`](Self::reconcile) opens the grant.
    ///
    /// # Errors
    /// The book has such a grant already.
    pub(super) fn adopt(&mut self, grant: LiveGrant, particulars: Particulars) -> Result<(), BookError> {
        let (id, port) = (grant.id, grant.port);
        self.book.insert(grant)?;
        self.held.add(&particulars.holder, port);
        self.particulars.insert(id, particulars);
        Ok(())
    }

    /// Removes all grants from the book, and leaves the kernel's entries as they are.
    pub(super) fn forget_all(&mut self) {
        self.book = Book::new();
        self.particulars.clear();
        self.held = Held::default();
    }

    /// Moves the end of a grant to a later time. On an error, the caller restores the former end.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn extend(&mut self, id: GrantId, end: Deadline) -> Result<(), Refusal> {
        for change in self.book.set_end(id, end.boot).unwrap_or_default() {
            self.entries.apply(&change).map_err(no_room_or_broken)?;
        }
        if let Some(particulars) = self.particulars.get_mut(&id) {
            particulars.end = end.wall;
        }
        Ok(())
    }

    /// Moves the end of a grant to an earlier time. Returns whether there is such a grant.
    pub(super) fn shorten(&mut self, id: GrantId, end: Deadline) -> bool {
        let Some(changes) = self.book.set_end(id, end.boot) else { return false };
        if let Some(particulars) = self.particulars.get_mut(&id) {
            particulars.end = end.wall;
        }
        self.entries.enforce(&self.book, &changes);
        true
    }

    /// Removes a grant from the book and from the kernel.
    pub(super) fn end(&mut self, id: GrantId) -> Option<Ended> {
        let opened = self.particulars.get(&id)?.opened;
        // The connections are read first, because the kernel forgets them with the entry.
        let connections = self.connections(self.book.get(id)?, opened);
        let (grant, changes) = self.book.remove(id)?;
        self.entries.enforce(&self.book, &changes);
        let particulars = self.particulars.remove(&id)?;
        self.held.remove(&particulars.holder, grant.port);
        Some(Ended { grant, particulars, connections })
    }

    /// Removes the grants whose time is over, at most `limit`. The kernel admits nothing by them any more.
    pub(super) fn expire(&mut self, limit: usize) -> Vec<EndedGrant> {
        let mut ended = self.book.ended(self.times.now());
        ended.truncate(limit);
        ended.into_iter().filter_map(|id| self.end(id).map(|ended| (id, ended.connections))).collect()
    }

    /// The moment at which the next grant ends.
    pub(super) fn next_end(&self) -> Option<BootTime> {
        self.book.next_end()
    }

    /// Retries the changes that the kernel refused. Each closing needs this too.
    pub(super) fn settle(&mut self) {
        self.entries.settle(&self.book);
    }

    /// Whether the kernel refused changes that are to be retried.
    pub(super) fn has_refused(&self) -> bool {
        self.entries.has_refused()
    }

    /// Closes the kernel's entries of these grants for the time of a trial. The grants stay in the book.
    pub(super) fn close_entries(&mut self, grants: &[i64]) {
        let mut without = self.book.clone();
        for id in grants {
            if let Some((_, changes)) = without.remove(GrantId(*id)) {
                self.entries.enforce(&self.book, &changes);
            }
        }
    }

    /// Opens the kernel's entries of those grants that are still live.
    pub(super) fn open_entries(&mut self, grants: &[i64]) {
        for id in grants {
            let entries: Vec<_> = self.book.get(GrantId(*id)).into_iter().flat_map(LiveGrant::entries).collect();
            self.entries.restore(&self.book, entries);
        }
    }

    /// Closes the kernel's entries that are not in the book. Returns how many of them were still open.
    ///
    /// # Errors
    /// The kernel's tables can't be read.
    pub(super) fn close_unknown(&mut self) -> Result<usize, DatapathError> {
        let (now, mut open, mut unknown) = (self.times.now(), 0, Vec::new());
        for (entry, deadline) in self.datapath().entries()? {
            if self.book.effective(&entry).is_none() {
                open += usize::from(deadline > now);
                unknown.push(entry);
            }
        }
        self.entries.restore(&self.book, unknown);
        Ok(open)
    }

    /// Reconciles the kernel's entries with the book. If the kernel refuses a change, the entry is closed and the
    /// change is retried later. The other entries are opened and closed nevertheless.
    pub(super) fn reconcile(&mut self, entries: &HashMap<EntryKey, BootTime>) {
        // Entries are opened before others are closed, and inner prefixes come first, so that nested entries never
        // admit less than the book does.
        let mut wanted: Vec<(EntryKey, BootTime)> = self.book.entries().collect();
        wanted.sort_by_key(|(entry, _)| std::cmp::Reverse(entry.source.prefix_len()));
        let sets = wanted.iter().filter(|(entry, deadline)| entries.get(entry) != Some(deadline));
        let removals = entries.keys().filter(|entry| self.book.effective(entry).is_none());
        let changes: Vec<_> = sets.map(|(entry, _)| *entry).chain(removals.copied()).collect();
        self.entries.restore(&self.book, changes);
        // If the tables were full, the removals have made room.
        self.settle();
    }

    /// Returns the number of grants that should be in force and the number of those that are completely in force, and
    /// adds to `faults` where the kernel's entries differ from the book. A trial keeps the grants of `shut` closed.
    pub(super) fn compare(&self, shut: &[i64], faults: &mut Vec<String>) -> (usize, usize) {
        faults.extend(self.entries.fault());
        let intended = || self.book.iter().filter(|grant| !shut.contains(&grant.id.0));
        let entries: BTreeMap<EntryKey, BootTime> = match self.datapath().entries() {
            Ok(entries) => entries.into_iter().collect(),
            Err(error) => {
                faults.push(error.to_string());
                return (intended().count(), 0);
            }
        };
        let in_force = |grant: &&LiveGrant| {
            grant.entries().all(|entry| entries.get(&entry).is_some_and(|deadline| *deadline >= grant.end))
        };
        let enforced = intended().filter(in_force).count();
        let lacking = intended().count() - enforced;
        if lacking > 0 && !self.has_refused() {
            faults.push(format!(
                "{lacking} grants are not in force, since someone else changed the kernel's tables; revoke them, and \
                 request them again"
            ));
        }
        let now = self.times.now();
        let unknown =
            entries.iter().filter(|(entry, deadline)| **deadline > now && self.book.effective(entry).is_none()).count();
        if unknown > 0 {
            faults.push(format!(
                "{unknown} open entries of the kernel's tables belong to no grant that the agent knows; they end on \
                 time, and `jitctl revoke --all` closes them now"
            ));
        }
        (enforced + lacking, enforced)
    }
}

fn no_room_or_broken(error: DatapathError) -> Refusal {
    match error {
        DatapathError::Full { .. } => Refusal::Full(NoRoom::Table(error.into())),
        _ => Unavailable::NotOpened(error.into()).into(),
    }
}
