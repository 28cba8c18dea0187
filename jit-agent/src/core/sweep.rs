//! The work that the core does by itself as time passes.

use std::time::Duration;

use jit_policy::audit::AuditEvent;

use super::Core;

/// The reason in the audit log for a request that nobody decided.
const UNDECIDED: &str = "nobody approved it in time";

/// The largest number of grants that one sweep ends, so that commands don't wait long when many grants end at once. The
/// kernel ends all of them on time. The sweep only frees their entries.
pub(super) const SWEEP_BATCH: usize = 256;

impl Core {
    /// Ends a trial whose time is over, and shortens what would outlast the wall clock. If the kernel refuses to end the
    /// trial, that is retried later.
    pub(super) fn catch_up(&mut self) {
        if self.enforcement.is_due()
            && let Err(refusal) = self.end_trial(None)
        {
            tracing::error!(%refusal, "the configuration from before the trial can't be put in force");
            self.enforcement.retry_later(&refusal);
        }
        if self.upkeep.wall_clock_gained() {
            self.waiting.keep_to_wall_clock();
            self.live.keep_to_wall_clock(&mut self.records);
            // What a trial closed stays closed.
            if let Some(trial) = self.enforcement.trial() {
                self.live.close_entries(&trial.record.shut);
            }
        }
    }

    /// Ends grants whose time is over, retries what failed before, and records the clocks.
    pub fn sweep(&mut self) {
        self.catch_up();
        let expired = self.live.expire(SWEEP_BATCH);
        if !expired.is_empty() {
            self.records.expire_grants(expired);
        }
        let undecided = self.waiting.remove_timed_out();
        if !undecided.is_empty() {
            self.records.time_out_requests(undecided, UNDECIDED);
        }
        self.records.write_refusals(false);
        self.settings.names_mut().look_up_if_due();
        self.upkeep.settle_if_due(&mut self.live);
        if self.records.next_retry().is_some_and(|moment| moment <= self.times.now()) {
            self.records.write_backlog();
        }
        if self.upkeep.coverage_is_due() {
            self.keep_covered(None);
        }
        // What is tried prunes nothing that the configuration before keeps.
        let tried = self.enforcement.trial().map(|trial| trial.before.retention);
        let retention = self.settings.config().retention.max(tried.unwrap_or_default());
        self.upkeep.run_due(&mut self.live, &mut self.records, &self.events, retention);
    }

    /// How long the core may wait for commands until the next sweep is due.
    pub(super) fn until_next_sweep(&self) -> Duration {
        let moments = [
            self.live.next_end(),
            self.waiting.next(),
            self.records.next_refusals(),
            self.records.next_retry(),
            self.enforcement.next_step(),
            self.settings.names().next_round(),
            Some(self.upkeep.next(&self.live)),
        ];
        moments.into_iter().flatten().min().unwrap_or_default().since(self.times.now())
    }

    /// Does the last work before the core ends.
    pub(super) fn wind_up(&mut self) {
        self.live.settle();
        self.records.write_backlog();
        self.upkeep.checkpoint(&mut self.records);
        self.upkeep.settle_clock(self.times.wall());
        self.records.write_refusals(true);
        self.records.note(&AuditEvent::Stopped {});
    }
}
