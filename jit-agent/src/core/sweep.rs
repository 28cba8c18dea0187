//! The work that the core does by itself as time passes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jit_policy::audit::{Attempt, AuditEvent};

use super::{
    CHECKPOINT_INTERVAL, CLEANING_INTERVAL, Core, RETRY_INTERVAL, TENDING_INTERVAL, backlog::Closing, denials::Denial,
    peer::Peer, refusal::Refusal,
};
use crate::{
    journal,
    store::{AuditHead, Checkpoint, GrantEnd},
};

/// How long the idempotency key of a request is kept.
const KEYS_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// The largest number of old records that are removed at once, so that commands don't wait long.
const PRUNED_AT_ONCE: usize = 1000;

/// The largest number of grants that one sweep ends, so that commands don't wait long when many grants end at once. The
/// kernel ends all of them on time. The sweep only frees their entries.
pub(super) const SWEEP_BATCH: usize = 256;

impl Core {
    /// Ends grants whose time is over, retries what failed before, and records the clocks.
    pub fn sweep(&mut self) {
        self.end_trial_in_time();
        self.expire();
        self.time_out();
        self.write_denials(false);
        if self.has_leftovers() && self.clock.boot() >= self.next_retry {
            self.next_retry = self.clock.boot().after(RETRY_INTERVAL);
            self.settle();
            self.write_backlog();
        }
        if self.clock.boot() >= self.next_checkpoint {
            self.checkpoint();
        }
        if self.clock.boot() >= self.next_coverage {
            self.keep_covered(None);
        }
        if self.clock.boot() >= self.next_cleaning {
            self.clean();
        }
        if self.clock.boot() >= self.next_tending {
            self.tend();
        }
    }

    /// Does the work that is due every second.
    fn tend(&mut self) {
        self.next_tending = self.clock.boot().after(TENDING_INTERVAL);
        let fault = self.datapath.tend().and_then(|()| self.count_drops()).err().map(|error| error.to_string());
        if let Some(error) = fault.as_ref().filter(|_| fault != self.tending_fault) {
            tracing::error!(error, "tending the datapath");
        }
        self.tending_fault = fault;
        self.note_connections();
    }

    /// Removes expired keys and old records from the store.
    fn clean(&mut self) {
        self.next_cleaning = self.clock.boot().after(CLEANING_INTERVAL);
        let wall = self.clock.wall();
        let keys_before = wall.saturating_sub(KEYS_KEPT).unwrap_or(Timestamp::MIN);
        let records_before = wall.saturating_sub(self.config.retention).unwrap_or(Timestamp::MIN);
        let Ok(store) = &mut self.store else { return };
        let cleaned = store.forget_keys(keys_before).and_then(|()| {
            let requests = store.prune_requests(records_before, PRUNED_AT_ONCE)?;
            Ok(requests.max(store.prune_audit(wall, records_before, PRUNED_AT_ONCE)?))
        });
        match cleaned {
            // More records remain. Commands are carried out before the next round.
            Ok(PRUNED_AT_ONCE..) => self.next_cleaning = self.clock.boot().after(TENDING_INTERVAL),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "old records stay; tried again later"),
        }
    }

    pub(super) fn until_next_sweep(&self) -> Duration {
        let retry = self.has_leftovers().then_some(self.next_retry);
        let moments = [
            self.book.next_end(),
            self.waiting.next(),
            self.denials.next(),
            retry,
            self.next_trial_step(),
            Some(self.next_checkpoint),
            Some(self.next_tending),
            Some(self.next_cleaning),
            Some(self.next_coverage),
        ];
        moments.into_iter().flatten().min().unwrap_or_default().since(self.clock.boot())
    }

    fn has_leftovers(&self) -> bool {
        !self.refused.is_empty() || !self.backlog.is_empty()
    }

    fn expire(&mut self) {
        let mut ended = self.book.ended(self.clock.boot());
        ended.truncate(SWEEP_BATCH);
        if ended.is_empty() {
            return;
        }
        let ended = self.take_out_all(&ended);
        let ending = self.ending(GrantEnd::Expired, None, "");
        self.record_in_turn(Closing::Ended(ended, ending));
    }

    /// Returns both clocks now.
    pub(super) fn clocks(&self) -> Checkpoint {
        Checkpoint {
            machine_id: self.boot.machine_id.clone(),
            boot_id: self.boot.boot_id.clone(),
            boot: self.clock.boot(),
            wall: self.clock.wall(),
        }
    }

    /// Records the clocks, so that a reboot doesn't lengthen grants.
    pub(super) fn checkpoint(&mut self) {
        let clocks = self.clocks();
        self.next_checkpoint = clocks.boot.after(CHECKPOINT_INTERVAL);
        let Ok(store) = &mut self.store else { return };
        match store.audit_head() {
            Ok(AuditHead { seq, hash }) if seq > self.announced_head => {
                journal::announce_head(seq, &hash);
                self.announced_head = seq;
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the head of the audit log can't be noted"),
        }
        let noted = store.checkpoint(&clocks);
        self.checkpoint_fault = noted.err().map(|error| {
            tracing::error!(%error, "the clocks could not be noted");
            format!(
                "the clocks could not be noted: {error}; after a reboot grants may last longer than they should, up \
                 to their end by the wall clock"
            )
        });
    }

    /// Adds an event to the audit log. Returns whether the event is written.
    pub(super) fn note(&mut self, event: &AuditEvent) -> bool {
        let wall = self.clock.wall();
        let noted = match &mut self.store {
            Ok(store) => store.note(wall, event).map_err(|error| error.to_string()),
            Err(problem) => Err(problem.clone()),
        };
        self.count_lost_event(event.name(), &noted)
    }

    /// Writes the refusals that were only counted to the audit log.
    fn write_denials(&mut self, all: bool) {
        for event in self.denials.due(self.clock.boot(), all) {
            self.note(&event);
        }
    }

    /// Records a refused command in the audit log.
    pub(super) fn note_refused_command(&mut self, peer: &Peer, attempt: Attempt, refusal: Option<&Refusal>) {
        let now = (self.clock.boot(), self.clock.wall());
        let denial = refusal.and_then(|refusal| Denial::of(peer, attempt, refusal));
        if let Some(event) = denial.and_then(|denial| self.denials.fold(denial, now)) {
            self.note(&event);
        }
    }

    /// Counts an event that is missing in the audit log. Returns whether the event is written.
    pub(super) fn count_lost_event(&mut self, event: &str, noted: &Result<(), String>) -> bool {
        if let Err(problem) = noted {
            tracing::error!(problem, event, "an event could not be written to the audit log");
            self.lost_events += 1;
        }
        noted.is_ok()
    }

    /// Does the last work before the core ends.
    pub(super) fn wind_up(&mut self) {
        self.settle();
        self.write_backlog();
        self.checkpoint();
        self.write_denials(true);
        self.note(&AuditEvent::Stopped {});
    }
}
