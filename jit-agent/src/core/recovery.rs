//! Recovery at the start: reads the store's grants into the book, and reconciles the kernel's entries with the book.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use jit_policy::{
    BootTime, EntryKey, LiveGrant, PortId, RequestId, RequestedPort, audit::AuditEvent, remaining_after_reboot,
};

use super::{
    Core,
    enforcement::Enforcement,
    live::{CLOCK_AHEAD, LESS_TIME, LiveGrants, Particulars, latest_end},
    policies::note_start,
    records::Records,
    refusal::{NotAdopted, StoreFault},
    settings::Settings,
    times::Times,
    waiting::{Waiting, WaitingRequests},
};
use crate::store::{Checkpoint, Deadline, EndedGrant, GrantEnd, GrantRow, GrantState, ShortenedGrant, StoreError};

/// Why the grants of an unanswered request end.
const UNANSWERED: &str = "the agent stopped before it answered the request";

/// Why a grant's former end is restored.
const UNANSWERED_EXTENSION: &str = "the agent stopped before it answered the extension";

/// The decision about a grant in the store.
enum Fate {
    /// The grant lives until `end`. If the store has a later end, `shortened` is the reason.
    Live {
        end: BootTime,
        shortened: Option<&'static str>,
    },
    Unanswered,
    Ends(GrantEnd, String),
}

/// The decisions about all grants in the store.
#[derive(Default)]
struct Plan {
    live: Vec<(GrantRow, BootTime)>,
    /// The grants that end earlier than in the store, by reason.
    shortened: BTreeMap<&'static str, Vec<ShortenedGrant>>,
    unanswered: BTreeSet<RequestId>,
    endings: HashMap<(GrantEnd, String), Vec<EndedGrant>>,
}

impl Core {
    /// Adopts the grants of a predecessor. `adopted` says whether the kernel's tables are those that the predecessor
    /// left in this boot.
    ///
    /// No grant lasts longer than in the store. A grant that is missing in intact tables is not opened again: the
    /// grant's closing was in force, and only the record of the closing was lost.
    pub fn recover(&mut self, adopted: bool) {
        let Self { times, settings, live, waiting, records, enforcement, upkeep, .. } = self;
        if records.store().is_ok()
            && let Err(problem) = (Recovery { times, settings, live, waiting, records, enforcement }).adopt(adopted)
        {
            tracing::error!(%problem, "the grants can't be taken over: no new ones; those in the kernel end on time");
            // A part of the grants must not look like all grants.
            live.forget_all();
            waiting.clear();
            records.set_fault(StoreFault::NotAdopted(problem));
        }
        // A trial that goes on closes its grants again.
        if let Some(trial) = enforcement.trial() {
            live.close_entries(&trial.record.shut);
        }
        // Without a store the tables lack the store's grants, and a successor must not consider these grants closed.
        if records.store().is_ok()
            && let Err(error) = live.datapath_mut().keep()
        {
            tracing::error!(%error, "a successor can't take over the kernel's tables and will start from the store");
        }
        records.note(&AuditEvent::Started {});
        note_start(settings, records);
        enforcement.conclude(settings, records);
        enforcement.check_unloaded(records);
        upkeep.checkpoint(records);
    }
}

/// The parts of the core's state that the adoption of a predecessor's grants reads and changes.
struct Recovery<'a> {
    times: &'a Times,
    settings: &'a Settings,
    live: &'a mut LiveGrants,
    waiting: &'a mut WaitingRequests,
    records: &'a mut Records,
    enforcement: &'a Enforcement,
}

impl Recovery<'_> {
    fn adopt(&mut self, adopted: bool) -> Result<(), NotAdopted> {
        let Ok(store) = self.records.store() else { return Ok(()) };
        let broken = |error: StoreError| NotAdopted::Store(error.into());
        let rows = store.open_grants().map_err(broken)?;
        let checkpoint = store.last_checkpoint().map_err(broken)?;
        let entries: HashMap<EntryKey, BootTime> =
            self.live.datapath().entries().map_err(|error| NotAdopted::Kernel(error.into()))?.into_iter().collect();

        let mut plan = Plan::default();
        for row in rows {
            match self.fate(&row, checkpoint.as_ref(), adopted.then_some(&entries)) {
                Fate::Live { end, shortened } => {
                    if let Some(reason) = shortened {
                        plan.shortened.entry(reason).or_default().push((row.id, self.deadline(&row, end)));
                    }
                    plan.live.push((row, end));
                }
                Fate::Unanswered => {
                    plan.unanswered.insert(row.request);
                }
                Fate::Ends(state, reason) => {
                    let grant = LiveGrant { id: row.id, port: row.port, source: row.source, end: row.end_boot };
                    let connections = self.live.connections(&grant, self.opened_at(&row));
                    plan.endings.entry((state, reason)).or_default().push((row.id, connections));
                }
            }
        }
        self.rebase(&mut plan);
        self.adopt_grants(plan.live)?;
        self.adopt_waiting(checkpoint.as_ref())?;
        self.live.reconcile(&entries);

        for request in plan.unanswered {
            self.records.fail_request(request, UNANSWERED);
        }
        for ((state, reason), ids) in plan.endings {
            self.records.end_grants(ids, state, None, &reason);
        }
        for (reason, grants) in plan.shortened {
            self.records.shorten_grants(grants, None, reason);
        }
        Ok(())
    }

    /// Returns the end of a grant in both clocks.
    fn deadline(&self, row: &GrantRow, end: BootTime) -> Deadline {
        let former = row.prior_end.filter(|prior| prior.boot == end);
        former.unwrap_or_else(|| Deadline { boot: end, wall: self.times.wall_at(end) })
    }

    fn fate(
        &self,
        row: &GrantRow,
        checkpoint: Option<&Checkpoint>,
        adopted: Option<&HashMap<EntryKey, BootTime>>,
    ) -> Fate {
        let now = self.times.now();
        let mut shortened = None;
        let end = if row.boot_id == self.times.boot().boot_id {
            // An extension that was not answered does not count.
            let written = row.prior_end.unwrap_or(Deadline { boot: row.end_boot, wall: row.end_wall });
            let end = self.times.end_of(written);
            let reason = if end < written.boot { CLOCK_AHEAD } else { UNANSWERED_EXTENSION };
            shortened = (end < row.end_boot).then_some(reason);
            let grant = LiveGrant { id: row.id, port: row.port, source: row.source, end };
            let lacking = |entries: &HashMap<EntryKey, BootTime>| {
                grant.entries().any(|entry| entries.get(&entry).is_none_or(|deadline| *deadline < grant.end))
            };
            if end <= now {
                return Fate::Ends(GrantEnd::Expired, String::new());
            }
            if row.state == GrantState::Opening {
                return Fate::Unanswered;
            }
            if !self.enforcement.was_closed(row.id) && adopted.is_some_and(lacking) {
                return Fate::Ends(GrantEnd::Ended, "closed just before the agent stopped".to_owned());
            }
            end
        } else {
            // After a reboot, `opening` counts as `live`, because the mark as live may not have reached the disk.
            match checkpoint.and_then(|checkpoint| self.remaining(row, checkpoint)) {
                Some(remaining) => now.after(remaining),
                None if self.times.wall() >= row.end_wall => return Fate::Ends(GrantEnd::Expired, String::new()),
                None => {
                    let reason = "the clock or the machine changed over a reboot".to_owned();
                    return Fate::Ends(GrantEnd::Ended, reason);
                }
            }
        };
        // A trial ends no grant for good, so the policies from before the trial count. The tried policies count too: the
        // end of the trial ends the grants that only these allow.
        let before = self.enforcement.trial().map(|trial| &trial.before.ports);
        let latest = |ports| latest_end(ports, row.port, &row.source, now);
        let allowed = match (latest(self.settings.ports()), before.map(latest)) {
            (Ok(tried), Some(Ok(before))) => Ok(tried.max(before)),
            (Err(_), Some(before)) => before,
            (tried, _) => tried,
        };
        match allowed {
            Ok(latest) if latest < end => Fate::Live { end: latest, shortened: Some(LESS_TIME) },
            Ok(_) => Fate::Live { end, shortened },
            Err(reason) => Fate::Ends(GrantEnd::Ended, reason.to_string()),
        }
    }

    fn remaining(&self, row: &GrantRow, checkpoint: &Checkpoint) -> Option<Duration> {
        // `end_boot` counts in the boot of the checkpoint.
        if checkpoint.boot_id != row.boot_id {
            return None;
        }
        self.time_left(Deadline { boot: row.end_boot, wall: row.end_wall }, checkpoint)
    }

    /// Returns the time that is left until a moment of the checkpoint's boot.
    fn time_left(&self, until: Deadline, checkpoint: &Checkpoint) -> Option<Duration> {
        let same_machine = checkpoint.machine_id == self.times.boot().machine_id;
        let noted = (checkpoint.boot, checkpoint.wall);
        remaining_after_reboot(until.wall, until.boot, noted, self.times.wall(), same_machine)
    }

    /// Converts the ends of an earlier boot's grants to this boot's BOOTTIME in the store, before the kernel gets the
    /// grants. If the write fails, the grants end: they may not be opened, and must not come back later.
    fn rebase(&mut self, plan: &mut Plan) {
        let earlier = |row: &GrantRow| row.boot_id != self.times.boot().boot_id;
        let ends: Vec<_> = plan.live.iter().filter(|(row, _)| earlier(row)).map(|(row, end)| (row.id, *end)).collect();
        if ends.is_empty() {
            return;
        }
        let clocks = self.times.both();
        let Ok(store) = self.records.store_mut() else { return };
        if let Err(error) = store.rebase(&ends, &clocks) {
            tracing::error!(%error, grants = ends.len(), "grants of before the reboot end, since they can't be written");
            plan.live.retain(|(row, _)| row.boot_id == clocks.boot_id);
            let reason = format!("it could not be written after a reboot: {error}");
            plan.endings.insert((GrantEnd::Ended, reason), ends.into_iter().map(|(id, _)| (id, None)).collect());
        }
    }

    /// Adds grants to the book.
    fn adopt_grants(&mut self, live: Vec<(GrantRow, BootTime)>) -> Result<(), NotAdopted> {
        for (row, end) in live {
            let grant = LiveGrant { id: row.id, port: row.port, source: row.source, end };
            let opened = self.opened_at(&row);
            let connected = row.first_connection.is_some();
            let GrantRow { request, who, requestor, start, end_wall, prior_end, .. } = row;
            let holder = self.settings.names().persons().holder(&who);
            let end = prior_end.map_or(end_wall, |prior| prior.wall);
            let particulars = Particulars { request, requestor, who, holder, start, end, opened, connected };
            self.live.adopt(grant, particulars)?;
        }
        Ok(())
    }

    /// Returns when a grant was made, in this boot's time. For a grant of an earlier boot that is the start of this
    /// boot. The grant's ends in both clocks were computed from the same moment.
    fn opened_at(&self, row: &GrantRow) -> BootTime {
        if row.boot_id != self.times.boot().boot_id {
            return BootTime::default();
        }
        let length = Duration::try_from(row.end_wall.duration_since(row.start)).unwrap_or_default();
        let made = row.end_boot.since(BootTime::default()).saturating_sub(length);
        BootTime::default().after(made)
    }

    /// Adopts the requests that wait for approval, with the time that each has left.
    fn adopt_waiting(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), NotAdopted> {
        let Ok(store) = self.records.store() else { return Ok(()) };
        let rows = store.pending_requests().map_err(|error| NotAdopted::Store(error.into()))?;
        for row in rows {
            let Some(pending) = row.pending else { continue };
            let boot = if pending.boot_id == self.times.boot().boot_id {
                self.times.end_of(pending.until)
            } else {
                let remaining = checkpoint.filter(|checkpoint| checkpoint.boot_id == pending.boot_id);
                let remaining = remaining.and_then(|checkpoint| self.time_left(pending.until, checkpoint));
                self.times.now().after(remaining.unwrap_or_default())
            };
            let until = Deadline { boot, ..pending.until };
            let ports = match pending.extends {
                Some(_) => Vec::new(),
                None => pending.ports.iter().filter_map(|port| self.asked_for(port)).collect(),
            };
            let holder = self.settings.names().persons().holder(&row.requestor);
            let waiting = Waiting { who: row.requestor, holder, until, extends: pending.extends, ports };
            self.waiting.insert(row.id, waiting);
        }
        Ok(())
    }

    /// Returns how many grants a port of a request amounts to.
    fn asked_for(&self, port: &RequestedPort) -> Option<(PortId, usize)> {
        let number = u16::try_from(port.number).ok()?;
        let protocol = port.protocol.or_else(|| Some(self.settings.ports().for_number(number).next()?.id.protocol))?;
        Some((PortId { number, protocol }, port.sources.len()))
    }
}
