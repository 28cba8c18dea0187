//! Start: the store's grants into the book, and the kernel's entries brought in line with them.

use std::{collections::HashMap, time::Duration};

use super::{Core, Particulars};
use crate::{
    clock::BootTime,
    datapath::DatapathError,
    policy::{EntryKey, GrantId, LiveGrant, remaining_after_reboot},
    store::{Checkpoint, GrantRow, GrantState, StoreError},
};

/// What is to become of a grant in the store.
enum Fate {
    Live(BootTime),
    Ends(GrantState, &'static str),
}

impl Core {
    /// Takes up the grants of a predecessor. `adopted`: the kernel's tables are those it left in this boot.
    ///
    /// What the store says is never exceeded, and a grant that intact tables lack is not opened again: its closing was
    /// in force, and only its record was cut off.
    pub fn recover(&mut self, adopted: bool) {
        if let Err(problem) = self.recover_from_store(adopted) {
            tracing::error!(problem, "the store can't be used: no new grants; those in the kernel end on time");
            self.store = Err(problem);
        }
        self.note("started");
    }

    fn recover_from_store(&mut self, adopted: bool) -> Result<(), String> {
        let Ok(store) = &mut self.store else { return Ok(()) };
        let broken = |error: StoreError| error.to_string();
        let rows = store.open_grants().map_err(broken)?;
        let checkpoint = store.last_checkpoint().map_err(broken)?;
        let entries: HashMap<EntryKey, BootTime> =
            self.datapath.entries().map_err(|error| error.to_string())?.into_iter().collect();

        let mut endings: HashMap<(GrantState, &'static str), Vec<GrantId>> = HashMap::new();
        let mut rebased = Vec::new();
        for row in rows {
            match self.fate(&row, checkpoint.as_ref(), adopted.then_some(&entries)) {
                Fate::Live(end) => {
                    if row.boot_id != self.boot.boot_id {
                        rebased.push((row.id, end));
                    }
                    self.take_up(row, end)?;
                }
                Fate::Ends(state, reason) => endings.entry((state, reason)).or_default().push(row.id),
            }
        }
        self.reconcile(&entries).map_err(|error| error.to_string())?;
        for ((state, reason), ids) in endings {
            let ending = self.ending(state, None, reason);
            self.write_ending(ids, ending);
        }
        if let Ok(store) = &mut self.store {
            store.rebase(&rebased, &self.boot.boot_id).map_err(broken)?;
        }
        self.checkpoint();
        Ok(())
    }

    fn fate(
        &self,
        row: &GrantRow,
        checkpoint: Option<&Checkpoint>,
        adopted: Option<&HashMap<EntryKey, BootTime>>,
    ) -> Fate {
        let now = self.clock.boot();
        if row.boot_id != self.boot.boot_id {
            let remaining = checkpoint.and_then(|checkpoint| self.remaining(row, checkpoint));
            return match remaining {
                Some(remaining) => Fate::Live(now.after(remaining)),
                None if self.clock.wall() >= row.end_wall => Fate::Ends(GrantState::Expired, ""),
                None => Fate::Ends(GrantState::Ended, "the clock or the machine changed over a reboot"),
            };
        }
        let grant = LiveGrant { id: row.id, port: row.port, source: row.source, end: row.end_boot };
        let lacking = |entries: &HashMap<EntryKey, BootTime>| {
            grant.entries().any(|entry| entries.get(&entry).is_none_or(|deadline| *deadline < grant.end))
        };
        match row.state {
            _ if row.end_boot <= now => Fate::Ends(GrantState::Expired, ""),
            GrantState::Opening => Fate::Ends(GrantState::Ended, "the agent stopped before it answered the request"),
            _ if adopted.is_some_and(lacking) => Fate::Ends(GrantState::Ended, "closed just before the agent stopped"),
            _ => Fate::Live(row.end_boot),
        }
    }

    fn remaining(&self, row: &GrantRow, checkpoint: &Checkpoint) -> Option<Duration> {
        // The checkpoint tells the boot in which end_boot counts.
        if checkpoint.boot_id != row.boot_id {
            return None;
        }
        let same_machine = checkpoint.machine_id == self.boot.machine_id;
        remaining_after_reboot(
            row.end_wall,
            row.end_boot,
            (checkpoint.boot, checkpoint.wall),
            self.clock.wall(),
            same_machine,
        )
    }

    fn take_up(&mut self, row: GrantRow, end: BootTime) -> Result<(), String> {
        let grant = LiveGrant { id: row.id, port: row.port, source: row.source, end };
        self.book.insert(grant).map_err(|error| error.to_string())?;
        let particulars =
            Particulars { request: row.request, requestor: row.requestor, start: row.start, end: row.end_wall };
        self.particulars.insert(row.id, particulars);
        Ok(())
    }

    /// Brings the kernel's entries in line with the book.
    fn reconcile(&mut self, entries: &HashMap<EntryKey, BootTime>) -> Result<(), DatapathError> {
        // Opening before closing, so that nested prefixes never admit less than the book does.
        let wanted: HashMap<EntryKey, BootTime> = self.book.entries().collect();
        for (entry, deadline) in &wanted {
            if entries.get(entry) != Some(deadline) {
                self.datapath.set(entry, *deadline)?;
            }
        }
        for entry in entries.keys().filter(|entry| !wanted.contains_key(entry)) {
            self.datapath.remove(entry, self.book.covered_until(entry))?;
        }
        Ok(())
    }
}
