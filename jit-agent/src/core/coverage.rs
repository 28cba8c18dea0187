//! The interfaces that the program covers: which they are, and in the audit log, when the coverage of each began and
//! ended.

use std::time::Instant;

use jit_policy::{Interfaces, Protection, audit::AuditEvent};

use super::{enforcement::Enforcement, live::LiveGrants, records::Records};
use crate::datapath::{Coverage, CoverageChange, DatapathError};

impl Enforcement {
    /// Reconciles the attachments with the interfaces, and records what has changed. `notified` is when netlink
    /// notified a change.
    pub(super) fn keep_covered(&mut self, live: &mut LiveGrants, records: &mut Records, notified: Option<Instant>) {
        // The datapath already knows that enforcement was unloaded, but the status does not.
        self.check_unloaded(records);
        note_coverage(live.datapath_mut().reconcile(notified), records);
    }

    /// Covers these interfaces. An interface that can't be covered doesn't stop the others: the status shows its fault,
    /// and covering it is retried.
    pub(super) fn cover(&mut self, live: &mut LiveGrants, records: &mut Records, interfaces: &Interfaces) {
        if self.check_unloaded(records) {
            return;
        }
        for error in live.datapath_mut().cover(interfaces).err().into_iter().flatten() {
            tracing::error!(%error, "not covered");
        }
    }

    /// Attaches the program to the interfaces again, after somebody unloaded it.
    ///
    /// # Errors
    /// No interface could be covered. The first error says why.
    pub(super) fn attach_again(&self, live: &mut LiveGrants, interfaces: &Interfaces) -> Result<(), DatapathError> {
        let errors = live.datapath_mut().cover(interfaces).err().unwrap_or_default();
        for error in &errors {
            tracing::error!(%error, "not covered");
        }
        let attached = live.datapath().interfaces().iter().any(|interface| interface.attached.is_some());
        errors.into_iter().find(|_| !attached).map_or(Ok(()), Err)
    }

    /// Puts a former protection in force again, because the kernel refused another one.
    pub(super) fn restore(
        &mut self,
        live: &mut LiveGrants,
        records: &mut Records,
        (now, interfaces): (&Protection, &Interfaces),
    ) {
        if let Err(again) = live.datapath_mut().configure(now) {
            // The kernel then enforces the stricter of both protections, as far as that could be written.
            tracing::error!(error = %again, "the configuration before could not be put in force again either");
        }
        self.cover(live, records, interfaces);
    }
}

/// Records the changes of coverage in the log and in the audit log.
fn note_coverage(changes: Vec<CoverageChange>, records: &mut Records) {
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
                records.note(&AuditEvent::Attached { interface, index, how, note, covered_after_ms });
            }
            Coverage::Lost { how, reason } => {
                tracing::warn!(index, how = how.name(), reason, "{interface} is no longer covered as it was");
                records.note(&AuditEvent::Detached { interface, index, how, reason });
            }
        }
    }
}
