//! Interfaces in the audit log: when each interface became covered, and when its coverage ended.

use std::time::Instant;

use jit_policy::{Interfaces, audit::AuditEvent};

use super::{COVERAGE_INTERVAL, Core};
use crate::datapath::{Coverage, CoverageChange};

impl Core {
    /// Reconciles the attachments with the interfaces, and records what has changed. `notified` is when netlink
    /// notified a change.
    pub(super) fn keep_covered(&mut self, notified: Option<Instant>) {
        self.next_coverage = self.clock.boot().after(COVERAGE_INTERVAL);
        // The datapath already knows that enforcement was unloaded, but the status does not.
        self.stays_unloaded();
        let changes = self.datapath.reconcile(notified);
        self.note_coverage(changes);
    }

    /// Covers these interfaces. An interface that can't be covered doesn't stop the others: the status shows its fault,
    /// and covering it is retried.
    pub(super) fn cover(&mut self, interfaces: &Interfaces) {
        if self.stays_unloaded() {
            return;
        }
        for error in self.datapath.cover(interfaces).err().into_iter().flatten() {
            tracing::error!(%error, "not covered");
        }
    }

    /// Records the changes of coverage in the log and in the audit log.
    fn note_coverage(&mut self, changes: Vec<CoverageChange>) {
        for CoverageChange { interface, index, coverage } in changes {
            match coverage {
                Coverage::Gained { how, note, after } => {
                    let covered_after_ms = after.map(|after| after.as_secs_f64() * 1000.0);
                    tracing::info!(
                        index,
                        how = how.name(),
                        note,
                        milliseconds = covered_after_ms,
                        "{interface} is covered"
                    );
                    self.note(&AuditEvent::Attached { interface, index, how, note, covered_after_ms });
                }
                Coverage::Lost { how, reason } => {
                    tracing::warn!(index, how = how.name(), reason, "{interface} is no longer covered as it was");
                    self.note(&AuditEvent::Detached { interface, index, how, reason });
                }
            }
        }
    }
}
