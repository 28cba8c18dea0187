//! The records of what happened: the store, the closings that wait to be written, and the refusals that are only
//! counted.

mod backlog;
mod denials;
mod trail;

use ipnet::IpNet;
use jit_policy::{
    BootTime, RequestId,
    audit::{Attempt, AuditEvent},
};

use self::backlog::Backlog;
pub(super) use self::trail::Trail;
use super::{peer::Peer, refusal::Refusal, times::Times};
use crate::store::{Batch, RequestRow, Store, StoreError};

/// The records.
pub(super) struct Records {
    times: Times,
    /// The store, or why the store can't be used. Without a store nothing is opened, but grants in the kernel end as
    /// they should.
    store: Result<Store, String>,
    backlog: Backlog,
    trail: Trail,
}

impl Records {
    pub(super) fn new(times: Times, store: Result<Store, String>) -> Self {
        Self { times, store, backlog: Backlog::default(), trail: Trail::default() }
    }

    /// The store, if the store works.
    pub(super) fn store(&self) -> Option<&Store> {
        self.store.as_ref().ok()
    }

    /// The store, if the store works.
    pub(super) fn store_mut(&mut self) -> Option<&mut Store> {
        self.store.as_mut().ok()
    }

    /// The store.
    ///
    /// # Errors
    /// The store does not work.
    pub(super) fn working_store(&mut self) -> Result<&mut Store, Refusal> {
        self.store.as_mut().map_err(|problem| Refusal::Unavailable(problem.clone()))
    }

    /// Returns a refusal if the store does not work. Every opening must be in the audit log.
    pub(super) fn check_can_record(&mut self) -> Result<(), Refusal> {
        self.working_store().map(drop)
    }

    /// Why the store does not work.
    pub(super) fn problem(&self) -> Option<&str> {
        self.store.as_ref().err().map(String::as_str)
    }

    /// Uses the store no more, for this reason.
    pub(super) fn give_up(&mut self, problem: String) {
        self.store = Err(problem);
    }

    /// Whether everything so far is written.
    pub(super) fn are_written(&self) -> bool {
        self.store.is_ok() && self.backlog.is_empty()
    }

    /// Returns the faults that the status shows.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        self.problem().map(str::to_owned).into_iter().chain(self.backlog.fault()).chain(self.trail.fault())
    }

    /// Returns a stored request.
    ///
    /// # Errors
    /// There is no such request, or the store does not work.
    pub(super) fn request(&mut self, id: RequestId) -> Result<RequestRow, Refusal> {
        let row = self.working_store()?.request(id).map_err(|error| Refusal::Unavailable(error.to_string()))?;
        row.ok_or(Refusal::NotFound { what: "request", id: id.0 })
    }

    /// Does `work` within one transaction. `work` gets whether the store has space for later closings.
    ///
    /// # Errors
    /// Nothing is recorded, because the store does not work.
    pub(super) fn batch<T>(
        &mut self,
        work: impl FnOnce(&mut Batch<'_>, &mut Trail, Result<(), Refusal>) -> T,
    ) -> Result<T, Refusal> {
        let Self { store, trail, .. } = self;
        let store = store.as_mut().map_err(|problem| Refusal::Unavailable(problem.clone()))?;
        let reserve = store.check_reserve().map_err(|error| not_recorded(&error));
        store.batch(|batch| work(batch, trail, reserve)).map_err(|error| not_recorded(&error))
    }

    /// Adds an event to the audit log. Returns whether the event is written.
    pub(super) fn note(&mut self, event: &AuditEvent) -> bool {
        let wall = self.times.wall();
        let noted = match &mut self.store {
            Ok(store) => store.note(wall, event).map_err(|error| error.to_string()),
            Err(problem) => Err(problem.clone()),
        };
        self.trail.count(event.name(), &noted)
    }

    /// Counts events that were recorded in a transaction that failed.
    pub(super) fn lose(&mut self, event: &str, count: usize, problem: &Refusal) {
        for _ in 0..count {
            self.trail.count(event, &Err(problem.to_string()));
        }
    }

    /// Records a refused command in the audit log.
    pub(super) fn note_refusal(&mut self, peer: &Peer, attempt: Attempt, refusal: &Refusal) {
        if let Some(event) = self.trail.event_of(peer, attempt, refusal, &self.times) {
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
        let wall = self.times.wall();
        let noted = match &mut self.store {
            Ok(store) => store
                .break_glass_used(wall, &source.to_string(), (&self.times.boot().boot_id, last), time)
                .map_err(|error| error.to_string()),
            Err(problem) => Err(problem.clone()),
        };
        tracing::warn!(%source, %time, "a break-glass source was let in");
        self.trail.count("break_glass_used", &noted);
    }

    /// Returns the last connection of a break-glass source that a predecessor recorded in this boot.
    pub(super) fn break_glass_noted(&self, source: &IpNet) -> BootTime {
        let noted = self.store().map(|store| store.break_glass_noted(&source.to_string(), &self.times.boot().boot_id));
        noted.and_then(|noted| noted.ok().flatten()).unwrap_or_default()
    }

    /// The moment at which the next counted refusals are due.
    pub(super) fn next_refusals(&self) -> Option<BootTime> {
        self.trail.next()
    }
}

pub(super) fn not_recorded(error: &StoreError) -> Refusal {
    Refusal::Unavailable(format!("nothing was opened: {error}"))
}
