//! The work that is done at regular times.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use jit_common::reason::Verdict;
use jit_policy::BootTime;

use super::{
    live::LiveGrants,
    records::Records,
    times::{RETRY_INTERVAL, Times},
};
use crate::{
    config::settled::{self, SettledClock},
    datapath::DatapathError,
    events::EventHub,
    journal,
    store::AuditHead,
};

/// How often the clocks are written to the store, so that a reboot doesn't lengthen grants.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);
/// How often the datapath's periodic work is done.
const TENDING_INTERVAL: Duration = Duration::from_secs(1);
/// How often expired keys and old records are removed from the store.
const CLEANING_INTERVAL: Duration = Duration::from_secs(600);
/// How often the core checks that the interfaces are still covered, even if netlink notified no change.
const COVERAGE_INTERVAL: Duration = Duration::from_secs(5);
/// How long the idempotency key of a request is kept.
const KEYS_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// How long further connections of a break-glass source count as the same use.
const ONE_USE: Duration = Duration::from_secs(60);
/// By how much the clocks must differ from the last look before ends are looked at.
const CLOCKS_APART: SignedDuration = SignedDuration::from_secs(1);
/// The largest number of old records that are removed at once, so that commands don't wait long.
const PRUNED_AT_ONCE: usize = 1000;

/// When each work is due next, and what failed the last time.
pub(super) struct Upkeep {
    times: Times,
    /// The directory of the agent's own files. A running agent keeps it.
    state: PathBuf,
    /// What tells which records are old, and when that was looked at last.
    settled: (SettledClock, BootTime),
    /// When the host booted by the wall clock, as of the last look at both clocks.
    booted: Option<Timestamp>,
    next_checkpoint: BootTime,
    checkpoint_fault: Option<String>,
    next_cleaning: BootTime,
    next_coverage: BootTime,
    next_tending: BootTime,
    tending_fault: Option<String>,
    next_retry: BootTime,
    /// The number of the last head of the audit log that was sent to the journal.
    announced_head: i64,
    /// The last connection that is recorded for each break-glass source.
    break_glass: HashMap<IpNet, BootTime>,
}

impl Upkeep {
    pub(super) fn new(times: Times, state: &Path) -> Self {
        let at_once = BootTime::default();
        let settled = settled::recall(state).unwrap_or_else(|_| SettledClock::at(times.wall()));
        Self {
            state: state.to_owned(),
            settled: (settled, times.now()),
            times,
            booted: None,
            next_checkpoint: at_once,
            checkpoint_fault: None,
            next_cleaning: at_once,
            next_coverage: at_once,
            next_tending: at_once,
            tending_fault: None,
            next_retry: at_once,
            announced_head: 0,
            break_glass: HashMap::new(),
        }
    }

    /// Retries the changes that the kernel refused, if that is due.
    pub(super) fn settle_if_due(&mut self, live: &mut LiveGrants) {
        if live.has_refused() && self.times.now() >= self.next_retry {
            self.next_retry = self.times.after(RETRY_INTERVAL);
            live.settle();
        }
    }

    /// Whether the wall clock has gained on BOOTTIME since the last look, at the first look too.
    pub(super) fn wall_clock_gained(&mut self) -> bool {
        let booted = self.times.booted();
        let Some(noted) = self.booted else {
            self.booted = Some(booted);
            return true;
        };
        let gained = booted.duration_since(noted);
        // Smaller differences add up until they count.
        if gained.abs() >= CLOCKS_APART {
            self.booted = Some(booted);
        }
        gained >= CLOCKS_APART
    }

    /// Does all other work that is due, except for the look at the interfaces.
    pub(super) fn run_due(
        &mut self,
        live: &mut LiveGrants,
        records: &mut Records,
        events: &EventHub,
        retention: Duration,
    ) {
        let now = self.times.now();
        if now >= self.next_checkpoint {
            self.checkpoint(records);
        }
        if now >= self.next_cleaning {
            self.clean(records, retention);
        }
        if now >= self.next_tending {
            self.tend(live, records, events);
        }
    }

    /// The moment at which the next work is due.
    pub(super) fn next(&self, live: &LiveGrants) -> BootTime {
        let retry = live.has_refused().then_some(self.next_retry);
        let moments = [self.next_checkpoint, self.next_tending, self.next_cleaning, self.next_coverage];
        moments.into_iter().chain(retry).min().unwrap_or_default()
    }

    /// Whether the look at the interfaces is due.
    pub(super) fn coverage_is_due(&self) -> bool {
        self.times.now() >= self.next_coverage
    }

    /// Notes that the interfaces are looked at now.
    pub(super) fn note_coverage_check(&mut self) {
        self.next_coverage = self.times.after(COVERAGE_INTERVAL);
    }

    /// Returns the faults that the status shows.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        self.checkpoint_fault.clone().into_iter().chain(self.tending_fault.clone())
    }

    /// Records the clocks, so that a reboot doesn't lengthen grants.
    pub(super) fn checkpoint(&mut self, records: &mut Records) {
        self.next_checkpoint = self.times.after(CHECKPOINT_INTERVAL);
        let Ok(store) = records.store_mut() else { return };
        match store.audit_head() {
            Ok(AuditHead { seq, hash }) if seq > self.announced_head => {
                journal::announce_head(seq, &hash);
                self.announced_head = seq;
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the head of the audit log can't be noted"),
        }
        let noted = store.checkpoint(&self.times.both());
        self.checkpoint_fault = noted.err().map(|error| {
            tracing::error!(%error, "the clocks could not be noted");
            format!(
                "the clocks could not be noted: {error}; after a reboot grants may last longer than they should, up \
                 to their end by the wall clock"
            )
        });
    }

    /// Returns the time by which records are old, and keeps it for a successor.
    pub(super) fn settle_clock(&mut self, wall: Timestamp) -> Timestamp {
        let now = self.times.now();
        let (settled, looked_at) = self.settled;
        let settled = settled.after(now.since(looked_at), wall);
        self.settled = (settled, now);
        if let Err(error) = settled::keep(&self.state, &settled) {
            tracing::warn!(%error, "the settled clock can't be kept: after a restart, the last one that was kept counts");
        }
        settled.or(wall)
    }

    /// Removes expired keys and old records from the store.
    fn clean(&mut self, records: &mut Records, retention: Duration) {
        self.next_cleaning = self.times.after(CLEANING_INTERVAL);
        let wall = self.times.wall();
        let settled = self.settle_clock(wall);
        let keys_before = wall.saturating_sub(KEYS_KEPT).unwrap_or(Timestamp::MIN);
        let records_before = settled.saturating_sub(retention).unwrap_or(Timestamp::MIN);
        let Ok(store) = records.store_mut() else { return };
        let cleaned = store.forget_keys(keys_before).and_then(|()| {
            let requests = store.prune_requests(records_before, PRUNED_AT_ONCE)?;
            Ok(requests.max(store.prune_audit(wall, (records_before, settled), PRUNED_AT_ONCE)?))
        });
        match cleaned {
            // More records remain. Commands are carried out before the next round.
            Ok(PRUNED_AT_ONCE..) => self.next_cleaning = self.times.after(TENDING_INTERVAL),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "old records stay; tried again later"),
        }
    }

    /// Does the work that is due every second.
    fn tend(&mut self, live: &mut LiveGrants, records: &mut Records, events: &EventHub) {
        self.next_tending = self.times.after(TENDING_INTERVAL);
        let fault = live.datapath_mut().tend().and_then(|()| count_drops(live, events));
        let fault = fault.err().map(|error| error.to_string());
        if let Some(error) = fault.as_ref().filter(|_| fault != self.tending_fault) {
            tracing::error!(error, "tending the datapath");
        }
        self.tending_fault = fault;
        note_first_connections(live, records, self.times.wall());
        self.note_break_glass(live, records);
    }

    /// Records the connections of break-glass sources. The kernel's tables have them, so that no connection is missed,
    /// however many packets there are.
    fn note_break_glass(&mut self, live: &LiveGrants, records: &mut Records) {
        for (source, activity) in live.datapath().break_glass() {
            let last = BootTime(activity.last_connection);
            let noted = match self.break_glass.get(&source) {
                Some(noted) => *noted,
                None => records.break_glass_noted(&source),
            };
            if last <= noted || (noted > BootTime::default() && last.since(noted) < ONE_USE) {
                self.break_glass.insert(source, noted);
                continue;
            }
            records.note_break_glass(&source, last, live.wall_of(last));
            self.break_glass.insert(source, last);
        }
    }
}

/// Records the first connections that are not in the audit log yet.
fn note_first_connections(live: &mut LiveGrants, records: &mut Records, wall: Timestamp) {
    let seen = live.unrecorded_connections();
    if seen.is_empty() {
        return;
    }
    let Ok(store) = records.store_mut() else { return };
    match store.first_connections(wall, &seen) {
        Ok(()) => live.connections_recorded(&seen),
        // Nothing is lost, because the kernel keeps the connections.
        Err(error) => tracing::warn!(%error, "first connections can't be noted; tried again in a second"),
    }
}

/// Reports to the hub how many packets were dropped, or would have been.
fn count_drops(live: &LiveGrants, events: &EventHub) -> Result<(), DatapathError> {
    let counters = live.datapath().counters()?;
    let drops = counters.iter().filter(|(_, reason, _)| reason.verdict() == Verdict::Drop);
    events.count_drops(drops.map(|(.., packets)| packets).sum());
    Ok(())
}
