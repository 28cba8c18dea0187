//! The events of the audit log on their way into the store.

use std::fmt::Display;

use jit_policy::{BootTime, audit::AuditEvent};

use super::denials::{Attempted, Denial, Denials};
use crate::{
    core::{refusal::Refusal, times::Times},
    store::Batch,
};

/// The refusals that are only counted, and how many events could not be written.
#[derive(Debug, Default)]
pub(in super::super) struct Trail {
    denials: Denials,
    lost: u64,
}

impl Trail {
    /// Returns the event to write now for a refused command. `None`: the refusal is counted and written later, or it is
    /// no decision about a person's rights.
    pub(super) fn event_of(&mut self, attempted: Attempted, refusal: &Refusal, times: &Times) -> Option<AuditEvent> {
        let denial = Denial::of(attempted, refusal)?;
        self.denials.fold(denial, (times.now(), times.wall()))
    }

    /// Records a refused command within a transaction. Returns whether an event is recorded.
    pub(in super::super) fn note_refusal(
        &mut self,
        batch: &mut Batch<'_>,
        attempted: Attempted,
        refusal: &Refusal,
        times: &Times,
    ) -> bool {
        let Some(event) = self.event_of(attempted, refusal, times) else { return false };
        let noted = batch.note(times.wall(), &event);
        self.count(event.name(), &noted)
    }

    /// Returns the events for counted refusals whose time is over. `all` returns the events for all counted refusals.
    pub(super) fn due(&mut self, now: BootTime, all: bool) -> Vec<AuditEvent> {
        self.denials.due(now, all)
    }

    /// The moment at which the next counted refusals are due.
    pub(super) fn next(&self) -> Option<BootTime> {
        self.denials.next()
    }

    /// Counts an event that is missing in the audit log. Returns whether the event is written.
    pub(super) fn count(&mut self, event: &str, noted: &Result<(), impl Display>) -> bool {
        if let Err(problem) = noted {
            tracing::error!(%problem, event, "an event could not be written to the audit log");
            self.lost += 1;
        }
        noted.is_ok()
    }

    /// Returns the fault that the status shows.
    pub(super) fn fault(&self) -> Option<String> {
        (self.lost > 0).then(|| {
            format!(
                "{} events since the agent's start are missing in the audit log, as they could not be written; the \
                 agent's own log has them",
                self.lost
            )
        })
    }
}
