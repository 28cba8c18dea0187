//! Connections in the audit log: the first and the last connection that each grant admitted, and the connections of
//! break-glass sources. The kernel's tables store the connections of every slot, so that no connection is missed,
//! however many packets there are.

use std::collections::HashMap;

use ipnet::IpNet;
use jit_policy::{BootTime, GrantId, LiveGrant};

use super::Core;
use crate::store::{Connections, EndedGrant};

/// How long further connections of a break-glass source count as the same use.
const ONE_USE: std::time::Duration = std::time::Duration::from_secs(60);

/// The last connection that is recorded for each break-glass source.
#[derive(Debug, Default)]
pub(super) struct BreakGlassUse(HashMap<IpNet, BootTime>);

impl Core {
    /// Records the connections that are not in the audit log yet.
    pub(super) fn note_connections(&mut self) {
        self.note_first_connections();
        self.note_break_glass();
    }

    fn note_first_connections(&mut self) {
        let unseen = self.book.iter().filter_map(|grant| {
            let particulars = self.particulars.get(&grant.id).filter(|particulars| !particulars.connected)?;
            Some((grant.id, self.used(grant, particulars.opened).first_connection?))
        });
        let seen: Vec<_> = unseen.collect();
        if seen.is_empty() {
            return;
        }
        let wall = self.clock.wall();
        let Ok(store) = &mut self.store else { return };
        match store.first_connections(wall, &seen) {
            Ok(()) => {
                for (id, _) in seen {
                    if let Some(particulars) = self.particulars.get_mut(&id) {
                        particulars.connected = true;
                    }
                }
            }
            // Nothing is lost, because the kernel keeps the connections.
            Err(error) => tracing::warn!(%error, "first connections can't be noted; tried again in a second"),
        }
    }

    fn note_break_glass(&mut self) {
        for (source, activity) in self.datapath.break_glass() {
            let last = BootTime(activity.last_connection);
            let noted = match self.break_glass_use.0.get(&source) {
                Some(noted) => *noted,
                None => self.break_glass_noted(&source),
            };
            if last <= noted || (noted > BootTime::default() && last.since(noted) < ONE_USE) {
                self.break_glass_use.0.insert(source, noted);
                continue;
            }
            let (wall, time) = (self.clock.wall(), self.wall_of(last));
            let noted = match &mut self.store {
                Ok(store) => store
                    .break_glass_used(wall, &source.to_string(), (&self.boot.boot_id, last), time)
                    .map_err(|error| error.to_string()),
                Err(problem) => Err(problem.clone()),
            };
            tracing::warn!(%source, %time, "a break-glass source was let in");
            self.count_lost_event("break_glass_used", &noted);
            self.break_glass_use.0.insert(source, last);
        }
    }

    /// The last connection that a predecessor recorded in this boot.
    fn break_glass_noted(&self, source: &IpNet) -> BootTime {
        let Ok(store) = &self.store else { return BootTime::default() };
        store.break_glass_noted(&source.to_string(), &self.boot.boot_id).ok().flatten().unwrap_or_default()
    }

    /// Returns the connections of a grant that was made at `opened`.
    pub(super) fn connections(&self, grant: &LiveGrant, opened: BootTime) -> Option<Connections> {
        let used = self.used(grant, opened);
        let (first, last) = (used.first_connection?, used.last_connection?);
        Some(Connections { first, last })
    }

    /// Removes grants from the book and the kernel, and returns them with their connections.
    pub(super) fn take_out_all(&mut self, ids: &[GrantId]) -> Vec<EndedGrant> {
        ids.iter().filter_map(|id| self.take_out(*id).map(|ended| (*id, ended.connections))).collect()
    }
}
