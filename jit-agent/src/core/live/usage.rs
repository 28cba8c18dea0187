//! The use of grants: when each grant admitted packets, as the kernel's tables have it.

use std::cell::Cell;

use jiff::{SignedDuration, Timestamp};
use jit_common::abi::Activity;
use jit_policy::{BootTime, GrantId, LiveGrant};

use super::LiveGrants;
use crate::{core::times::Times, store::Connections};

/// The difference between the two clocks that shows that the wall clock was set. Smaller differences come from the time
/// between reading the two clocks, or from a correction by a time server.
const CLOCK_WAS_SET: SignedDuration = SignedDuration::from_millis(100);

/// The times at which a grant admitted packets.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Used {
    pub(in super::super) last_packet: Option<Timestamp>,
    pub(in super::super) first_connection: Option<Timestamp>,
    pub(in super::super) last_connection: Option<Timestamp>,
}

/// When the host booted, by the wall clock. Times in this boot are converted to the wall clock from this moment.
#[derive(Debug)]
pub(super) struct BootMoment(Cell<Timestamp>);

impl Default for BootMoment {
    fn default() -> Self {
        Self(Cell::new(Timestamp::MIN))
    }
}

impl BootMoment {
    /// Converts a moment of this boot to the wall clock. The result stays the same however often it is asked for,
    /// unless someone sets the clock meanwhile.
    fn wall_of(&self, moment: BootTime, times: &Times) -> Timestamp {
        let booted = times.booted();
        if self.0.get().duration_since(booted).abs() > CLOCK_WAS_SET {
            self.0.set(booted);
        }
        self.0.get().saturating_add(moment.since(BootTime::default())).unwrap_or(Timestamp::MAX)
    }
}

impl LiveGrants {
    /// Converts a moment of this boot to the wall clock.
    pub(in super::super) fn wall_of(&self, moment: BootTime) -> Timestamp {
        self.booted.wall_of(moment, &self.times)
    }

    /// Returns when a grant that was made at `opened` was used. Several grants may share an entry, so earlier packets
    /// do not count.
    pub(in super::super) fn used(&self, grant: &LiveGrant, opened: BootTime) -> Used {
        let entries: Vec<Activity> = grant.entries().map(|entry| self.datapath().activity(&entry)).collect();
        let last = |of: fn(&Activity) -> u64| {
            let latest = entries.iter().map(of).max().filter(|moment| *moment > 0).map(BootTime)?;
            (latest >= opened).then(|| self.wall_of(latest))
        };
        let connections = || entries.iter().flat_map(|activity| [activity.first_connection, activity.last_connection]);
        let first = connections().filter(|moment| *moment > 0 && BootTime(*moment) >= opened).min();
        Used {
            first_connection: first.map(|moment| self.wall_of(BootTime(moment))),
            last_packet: last(|activity| activity.last_packet),
            last_connection: last(|activity| activity.last_connection),
        }
    }

    /// Returns the connections of a grant that was made at `opened`.
    pub(in super::super) fn connections(&self, grant: &LiveGrant, opened: BootTime) -> Option<Connections> {
        let used = self.used(grant, opened);
        let (first, last) = (used.first_connection?, used.last_connection?);
        Some(Connections { first, last })
    }

    /// Returns the first connections that are not in the audit log yet.
    pub(in super::super) fn unrecorded_connections(&self) -> Vec<(GrantId, Timestamp)> {
        let unrecorded = self.iter().filter(|(_, particulars)| !particulars.connected);
        unrecorded
            .filter_map(|(grant, particulars)| Some((grant.id, self.used(grant, particulars.opened).first_connection?)))
            .collect()
    }

    /// Notes that the first connections of these grants are in the audit log.
    pub(in super::super) fn connections_recorded(&mut self, of: &[(GrantId, Timestamp)]) {
        for (id, _) in of {
            if let Some(particulars) = self.particulars.get_mut(id) {
                particulars.connected = true;
            }
        }
    }
}
