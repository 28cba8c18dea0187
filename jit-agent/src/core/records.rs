//! The records of what happened: the store, the closings that wait to be written, and the refusals that are only
//! counted.

mod backlog;
pub(super) mod budgets;
mod denials;
mod trail;

use ipnet::IpNet;
use jit_policy::{BootTime, RequestId, audit::AuditEvent};

use self::{
    backlog::Backlog,
    budgets::{Budgets, Payer},
};
pub(super) use self::{denials::Attempted, trail::Trail};
use super::{
    refusal::{Refusal, StoreFault, Unavailable},
    times::Times,
};
use crate::store::{Batch, RequestRow, Store, StoreError};

/// The records.
pub(super) struct Records {
    times: Times,
    /// The store, or why the store can't be used. Without a store nothing is opened, but grants in the kernel end as
    /// they should.
    store: Result<Store, StoreFault>,
    backlog: Backlog,
    trail: Trail,
    budgets: Budgets,
}

impl Records {
    pub(super) fn new(times: Times, store: Result<Store, StoreFault>) -> Self {
        Self { times, store, backlog: Backlog::default(), trail: Trail::default(), budgets: Budgets::default() }
    }

    /// The store.
    ///
    /// # Errors
    /// The store does not work.
    pub(super) fn store(&self) -> Result<&Store, StoreFault> {
        self.store.as_ref().map_err(|fault| fault.clone())
    }

    /// The store.
    ///
    /// # Errors
    /// The store does not work.
    pub(super) fn store_mut(&mut self) -> Result<&mut Store, StoreFault> {
        self.store.as_mut().map_err(|fault| fault.clone())
    }

    /// Returns a refusal if the store does not work. Every opening must be in the audit log.
    pub(super) fn check_can_record(&self) -> Result<(), Refusal> {
        Ok(self.store().map(drop)?)
    }

    /// Uses the store no more, for this reason.
    pub(super) fn set_fault(&mut self, fault: StoreFault) {
        self.store = Err(fault);
    }

    /// Whether everything so far is written.
    pub(super) fn are_written(&self) -> bool {
        self.store.is_ok() && self.backlog.is_empty()
    }

    /// Whether something can be opened, as far as the store is concerned.
    pub(super) fn can_open(&self) -> bool {
        self.store().is_ok_and(|store| store.shortage().is_none())
    }

    /// Returns the faults that the status shows.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        let store = match self.store() {
            Err(fault) => Some(fault.to_string()),
            Ok(store) => store.shortage().map(|error| format!("{error}; until then nothing can be opened")),
        };
        let foreign = self.store.as_ref().ok().and_then(Store::fault);
        store.into_iter().chain(foreign).chain(self.backlog.fault()).chain(self.trail.fault())
    }

    /// Returns a stored request.
    ///
    /// # Errors
    /// There is no such request, or the store does not work.
    pub(super) fn request(&self, id: RequestId) -> Result<RequestRow, Refusal> {
        let row = self.store()?.request(id).map_err(|error| Unavailable::StoreFailed(error.into()))?;
        row.ok_or(Refusal::NotFound { what: "request", id: id.0 })
    }

    /// Does `work` within one transaction. `work` gets whether the store has space for it and for later closings. If not,
    /// and an admin opens something, the space that is kept for admins is used.
    ///
    /// # Errors
    /// Nothing is recorded, because the store does not work.
    pub(super) fn batch<T>(
        &mut self,
        by_admin: bool,
        work: impl FnOnce(&mut Batch<'_>, (&mut Trail, &mut Budgets), Result<(), Refusal>) -> T,
    ) -> Result<T, Refusal> {
        let Self { store, trail, budgets, .. } = self;
        let store = store.as_mut().map_err(|fault| fault.clone())?;
        let reserve = store.check_reserve().map_err(not_recorded);
        if by_admin && reserve.is_err() {
            store.release_spare();
        }
        store.batch(|batch| work(batch, (trail, budgets), reserve)).map_err(not_recorded)
    }

    /// Adds an event to the audit log. Returns whether the event is written.
    pub(super) fn note(&mut self, event: &AuditEvent) -> bool {
        let wall = self.times.wall();
        let noted = self.write(|store| store.note(wall, event));
        self.trail.count(event.name(), &noted)
    }

    /// Counts events that were recorded in a transaction that failed.
    pub(super) fn count_lost(&mut self, event: &str, count: usize, problem: &Refusal) {
        for _ in 0..count {
            self.trail.count(event, &Err(problem));
        }
    }

    /// Returns the reason to write for the end of so many grants: no text if that is more than who ends them may write.
    /// So ending is always possible, and nobody fills the disk with reasons.
    pub(super) fn affordable<'reason>(&mut self, payer: Payer, reason: &'reason str, grants: usize) -> &'reason str {
        let bytes = reason.len().saturating_mul(grants);
        if self.budgets.afford(payer, bytes, self.times.now()) { reason } else { "" }
    }

    /// Records a refused command in the audit log.
    pub(super) fn note_refusal(&mut self, attempted: Attempted, refusal: &Refusal) {
        if let Some(event) = self.trail.event_of(attempted, refusal, &self.times) {
            self.note(&event);
        }
    }

    /// Writes the counted refusals whose time is over to the audit log. `all` writes all counted refusals.
    pub(super) fn write_refusals(&mut self, all: bool) {
        for event in self.trail.due(self.times.now(), all) {
            self.note(&event);
        }
    }

    /// Records a connection of a break-glass source.
    pub(super) fn note_break_glass(&mut self, source: &IpNet, last: BootTime, time: jiff::Timestamp) {
        let (wall, boot_id) = (self.times.wall(), self.times.boot().boot_id.clone());
        let noted = self.write(|store| store.break_glass_used(wall, &source.to_string(), (&boot_id, last), time));
        tracing::warn!(%source, %time, "a break-glass source was let in");
        self.trail.count("break_glass_used", &noted);
    }

    /// Returns the last connection of a break-glass source that a predecessor recorded in this boot.
    pub(super) fn break_glass_noted(&self, source: &IpNet) -> BootTime {
        let Ok(store) = self.store() else { return BootTime::default() };
        store.break_glass_noted(&source.to_string(), &self.times.boot().boot_id).ok().flatten().unwrap_or_default()
    }

    fn write(&mut self, operation: impl FnOnce(&mut Store) -> Result<(), StoreError>) -> Result<(), Unavailable> {
        operation(self.store_mut()?).map_err(|error| Unavailable::StoreFailed(error.into()))
    }

    /// The moment at which the next counted refusals are due.
    pub(super) fn next_refusals(&self) -> Option<BootTime> {
        self.trail.next()
    }
}

pub(super) fn not_recorded(error: StoreError) -> Refusal {
    Unavailable::NotRecorded(error.into()).into()
}
