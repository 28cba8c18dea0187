//! The store: requests, grants, clock checkpoints and the audit log in one SQLite file.
//!
//! It records what was decided and decides nothing. All methods wait for the disk; one owner calls them.

mod asked;
mod audit;
mod batch;
mod error;
mod file;
mod new;
mod read;
mod reserve;
mod rows;
mod write;

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use self::{error::Failure, reserve::Reserve};
use crate::journal;

pub use self::{
    audit::{AuditHead, AuditReader, AuditRow, AuditRows, ChainFault, Verification},
    batch::{Batch, Extension},
    error::StoreError,
    new::{Deadline, NewGrantRow, NewOutcome, NewRequestRow},
    read::{PortUse, RequestPage},
    rows::{
        Checkpoint, Connections, EndedGrant, Ending, GrantRow, GrantState, PendingRow, RequestRow, RequestState,
        ShortenedGrant, Shortening,
    },
};
pub use jit_policy::{AuditFilter, IdempotencyKey, NotedHead};

/// The open store.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    reserve: Reserve,
    /// The last row of the audit log that the journal has.
    announced: i64,
}

/// What a committed transaction survives.
#[derive(Clone, Copy, Debug)]
enum Durability {
    /// Loss of power.
    Machine,
    /// The end of this process, but not loss of power: the commit is not waited for. The file stays consistent, since
    /// the write-ahead log is replayed only as far as it is whole.
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
    /// Opens the store in `dir`, and makes both where there are none: the directory with mode 0700, the file with 0600.
    ///
    /// # Errors
    /// A file that this program did not write, or not in a version that this one reads; such a file is not touched. A
    /// damaged file. Anything the file system refuses.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = file::prepare(dir)?;
        let connection = file::connect(&path)?;
        let mut reserve = Reserve::new(dir);
        if let Err(error) = reserve.hold() {
            tracing::warn!(%error, dir = %dir.display(), "no space can be kept for closings, so nothing can be opened");
        }
        let head = audit::head(&connection).map_err(|failure| failure.report(&path, "reading the audit log"))?;
        Ok(Self { connection, path, reserve, announced: head.seq })
    }

    /// The file that holds everything.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does all of `work`, or nothing.
    fn transaction<T>(
        &mut self,
        durability: Durability,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let level = durability.level();
        let connection = &mut self.connection;
        let attempt = || {
            // Set each time, so that no earlier failure leaves a lower level behind.
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

    /// Tells the journal what is in the audit log since it was last told.
    fn announce(&mut self) {
        if !journal::is_wanted() {
            return;
        }
        let announced = audit::announce_after(&self.connection, &mut self.announced);
        if let Err(error) = announced.map_err(|failure| failure.report(&self.path, "reading the audit log")) {
            tracing::error!(%error, "what is new in the audit log is missing in this one");
        }
    }

    /// Takes the space for closings again, if it was given up.
    fn hold_reserve(&mut self, action: &'static str) -> Result<(), StoreError> {
        self.reserve.hold().map_err(|source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full { action, path: self.path.clone() },
            _ => StoreError::Io { action: "keeping space for closings beside", path: self.path.clone(), source },
        })
    }

    /// A durable transaction that closes something. Where there is no space, it gets that which is kept for it.
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
