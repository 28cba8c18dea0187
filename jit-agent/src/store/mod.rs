//! The store: requests, grants, clock checkpoints and the audit log in one SQLite file.
//!
//! The store records decisions and makes none. All methods wait for the disk; only one owner calls the methods.

mod audit;
mod batch;
mod clocks;
mod error;
mod file;
mod new;
mod read;
mod requested_ports;
mod reserve;
mod rows;
mod schema;
mod states;
mod write;

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use self::{error::Failure, reserve::Reserve};
use crate::{config::trust, journal};

pub use self::{
    audit::{AuditHead, AuditReader, AuditRow, AuditRows, ChainFault, Verification},
    batch::{Batch, Extension},
    clocks::{Checkpoint, Deadline},
    error::StoreError,
    new::{NewGrantRow, NewOutcome, NewRequestRow},
    read::{PortUse, RequestPage, RequestReader},
    rows::{GrantRow, PendingRow, RequestRow},
    states::{Connections, EndedGrant, Ending, GrantEnd, GrantState, RequestEnd, ShortenedGrant, Shortening},
};
pub use jit_policy::{AuditFilter, IdempotencyKey, NotedHead, RequestState};

/// The open store.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// The space for closings.
    reserve: Reserve,
    /// The space for a few openings by admins.
    spare: Reserve,
    /// The number of the last audit row that was written to the journal.
    announced: i64,
    /// The triggers and views that no agent made.
    foreign: Option<String>,
}

/// The events that a committed transaction survives.
#[derive(Clone, Copy, Debug)]
enum Durability {
    /// The transaction survives loss of power.
    Machine,
    /// The transaction survives the end of this process, but perhaps not loss of power: the commit does not wait for
    /// the disk. The file stays consistent, because only the intact part of the write-ahead log is replayed.
    Process,
}

impl Durability {
    const fn level(self) -> &'static str {
        match self {
            Self::Machine => "FULL",
            Self::Process => "NORMAL",
        }
    }
}

impl Store {
    /// Opens the store in `dir`. A missing directory is created with mode 0700, a missing file with mode 0600.
    ///
    /// # Errors
    /// This program did not write the file, or the file has a version that this program does not read; the file is not
    /// touched. The file is damaged. The file system refuses an operation. Others could change the directory.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        trust::with_rights_at(dir, || Self::open_in(dir)).unwrap_or_else(|doubt| Err(StoreError::Distrusted(doubt)))
    }

    fn open_in(dir: &Path) -> Result<Self, StoreError> {
        let path = file::prepare(dir)?;
        let connection = file::connect(&path)?;
        let (mut reserve, mut spare) = (Reserve::for_closings(dir), Reserve::for_admins(dir));
        if let Err(error) = spare.allocate().and_then(|()| reserve.allocate()) {
            tracing::warn!(%error, dir = %dir.display(), "no space can be kept for closings, so nothing can be opened");
        }
        let head = audit::head(&connection).map_err(|failure| failure.report(&path, "reading the audit log"))?;
        let foreign =
            schema::foreign_parts(&connection).map_err(|failure| failure.report(&path, "opening the store"))?;
        Ok(Self { connection, path, reserve, spare, announced: head.seq, foreign })
    }

    /// The path of the store's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What in the store could change what is recorded, although no agent made it.
    pub(crate) fn fault(&self) -> Option<String> {
        let foreign = self.foreign.as_ref()?;
        Some(format!(
            "{}: these parts are not as jit-agent makes them, so the audit log may lack rows: {foreign}; restore a \
             backup, or move the file and those beside it away to start afresh",
            self.path.display()
        ))
    }

    /// Carries out all of `work` in one transaction, or nothing.
    fn transaction<T>(
        &mut self,
        durability: Durability,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let level = durability.level();
        let connection = &mut self.connection;
        let attempt = || {
            // The level is set each time, so that no earlier failure leaves a lower level behind.
            connection.pragma_update(None, "synchronous", level)?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        let done = attempt().map_err(|failure: Failure| failure.report(&self.path, action))?;
        self.announce();
        Ok(done)
    }

    /// Writes the audit rows since the last announcement to the journal.
    fn announce(&mut self) {
        if !journal::is_wanted() {
            return;
        }
        let announced = audit::announce_after(&self.connection, &mut self.announced);
        if let Err(error) = announced.map_err(|failure| failure.report(&self.path, "reading the audit log")) {
            tracing::error!(%error, "what is new in the audit log is missing in this one");
        }
    }

    /// Takes the space for closings again, if the space was released.
    fn allocate_reserve(&mut self, action: &'static str) -> Result<(), StoreError> {
        self.reserve.allocate().map_err(|source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full { action, path: self.path.clone() },
            _ => StoreError::Io { action: "keeping space for closings beside", path: self.path.clone(), source },
        })
    }

    /// Returns why nothing can be opened for lack of space. `None`: there is space, or it can't be told.
    #[must_use]
    pub fn shortage(&self) -> Option<StoreError> {
        let is_short = self.reserve.is_short().unwrap_or(false);
        is_short.then(|| StoreError::Full { action: "recording a request", path: self.path.clone() })
    }

    /// Carries out a durable transaction that closes something. If the disk is full, the transaction gets the space of
    /// the reserve.
    fn closing(
        &mut self,
        action: &'static str,
        work: impl Fn(&Transaction<'_>) -> Result<(), Failure>,
    ) -> Result<(), StoreError> {
        match self.transaction(Durability::Machine, action, &work) {
            Err(StoreError::Full { .. }) if self.reserve.release() => {
                self.transaction(Durability::Machine, action, &work)
            }
            other => other,
        }
    }

    fn query<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        work(&self.connection).map_err(|failure| failure.report(&self.path, action))
    }
}

#[cfg(test)]
mod tests;
