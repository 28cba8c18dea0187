//! The audit log. Each row contains the hash of the row before, so that nobody can change old rows unnoticed.
//!
//! A person who may write the file can also write a new chain. A head that was noted elsewhere proves more: if a log
//! contains the noted head, all rows before that head are unchanged.

mod prune;
mod read;
mod verify;

use std::fmt;

use jiff::Timestamp;
use jit_policy::{
    audit::{AuditEvent, Detail},
    hex,
};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    Store,
    clocks::wall_column,
    error::{Failure, StoreError},
};
use crate::journal;

pub use self::{
    read::{AuditReader, AuditRow, AuditRows},
    verify::Verification,
};

/// The prefix that separates these hashes from all other hashes. It must change when the hashed fields change.
const DOMAIN: &[u8] = b"jit-agent audit row 1\0";

/// The last row of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// The row's number, from 1; 0 if the log is empty.
    pub seq: i64,
    /// The row's hash, which stands for the whole log; zeros if the log is empty.
    pub hash: [u8; 32],
}

impl AuditHead {
    const EMPTY: Self = Self { seq: 0, hash: [0; 32] };
}

/// The form in which a head is noted elsewhere: number and hash, with a colon between them.
impl fmt::Display for AuditHead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.seq, hex::encode(&self.hash))
    }
}

/// The place where the audit log was tampered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// A row's content and its hash differ.
    #[error("audit row {seq} was changed: its hash does not fit its content")]
    Edited {
        /// The row.
        seq: i64,
    },
    /// The numbers have a gap, which the program never leaves. So rows were removed.
    #[error("audit rows {first} to {last} were removed")]
    Removed {
        /// The first missing row.
        first: i64,
        /// The last missing row.
        last: i64,
    },
    /// Filters would not find a row that fits them: the table of search terms was changed.
    #[error("audit row {seq} is hidden from filters that it fits: table audit_terms was changed")]
    Hidden {
        /// The row.
        seq: i64,
    },
    /// The anchor says that retention removed rows, but the log has no row that confirms the removal.
    #[error("audit rows up to {seq} are gone, and no row says that retention removed them")]
    Anchor {
        /// The last removed row.
        seq: i64,
    },
    /// The log ends before the noted head.
    #[error("audit rows {first} to {last} were cut off: row {last} is the noted head")]
    HeadCut {
        /// The first missing row.
        first: i64,
        /// The noted head.
        last: i64,
    },
    /// The row of the noted head has another hash.
    #[error("audit row {seq} is not the noted head: it, or rows before it, were written anew")]
    HeadRewritten {
        /// The row.
        seq: i64,
    },
    /// No row has the hash of the noted head, and the head's number is not known.
    #[error(
        "no audit row from {first} to {last} has the noted hash: the tail was cut off or rows were written anew, from \
         where can be told by a head noted as SEQ:HASH"
    )]
    HeadMissing {
        /// The first row.
        first: i64,
        /// The last row.
        last: i64,
    },
    /// Retention removed the row of the noted head.
    #[error(
        "audit row {seq}, the noted head, was removed by retention, which left row {first} first; give a later head"
    )]
    HeadPruned {
        /// The row of the noted head.
        seq: i64,
        /// The first row that is left.
        first: i64,
    },
    /// A row does not contain the hash of the row before. So one of the two rows was rewritten.
    #[error("audit row {seq} does not follow row {before}: one of them was written anew", before = seq - 1)]
    Unlinked {
        /// The later of the two rows.
        seq: i64,
    },
}

/// The last row of the log.
pub(super) fn head(connection: &Connection) -> Result<AuditHead, Failure> {
    let last = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    let head = connection
        .prepare_cached(last)?
        .query_row([], |row| Ok(AuditHead { seq: row.get(0)?, hash: row.get(1)? }))
        .optional()?;
    Ok(head.unwrap_or(AuditHead::EMPTY))
}

/// Writes the rows after the last announced row to the journal, and updates `announced`.
pub(super) fn announce_after(connection: &Connection, announced: &mut i64) -> Result<(), Failure> {
    let select = "SELECT seq, event, detail, hash FROM audit WHERE seq > ? ORDER BY seq";
    let mut statement = connection.prepare_cached(select)?;
    let mut rows = statement.query([*announced])?;
    while let Some(row) = rows.next()? {
        let (seq, event, detail): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        // The details that this program writes are JSON.
        let detail = serde_json::from_str(&detail).unwrap_or_default();
        journal::announce(seq, &event, &detail, &row.get(3)?);
        *announced = seq;
    }
    Ok(())
}

/// A writer that adds rows to the log within a transaction.
pub(super) struct AuditWriter<'transaction> {
    transaction: &'transaction Connection,
    head: AuditHead,
    wall: i64,
}

impl<'transaction> AuditWriter<'transaction> {
    pub(super) fn new(transaction: &'transaction Connection, wall: Timestamp) -> Result<Self, Failure> {
        let head = head(transaction)?;
        // The number continues after rows that someone cut off, so that the gap is visible.
        let seq = head.seq.max(highest_ever(transaction)?);
        Ok(Self { transaction, head: AuditHead { seq, ..head }, wall: wall_column(wall) })
    }

    pub(super) fn add(&mut self, event: &AuditEvent) -> Result<(), Failure> {
        self.add_row(event.name(), &event.detail())
    }

    fn add_row(&mut self, event: &str, detail: &Value) -> Result<(), Failure> {
        let (seq, previous) = (self.head.seq + 1, self.head.hash);
        // The terms are added before the row. The trigger would do the same many times slower; it skips a row that has
        // terms.
        let mut insert =
            self.transaction.prepare_cached("INSERT OR IGNORE INTO audit_terms (term, seq) VALUES (?, ?)")?;
        for term in Detail(detail).terms(event) {
            insert.execute(params![term, seq])?;
        }
        let detail = detail.to_string();
        let hash = hash(seq, self.wall, event, &detail, &previous);
        let added = self
            .transaction
            .prepare_cached("INSERT INTO audit (seq, wall, event, detail, previous, hash) VALUES (?, ?, ?, ?, ?, ?)")?
            .execute(params![seq, self.wall, event, detail, previous, hash])?;
        // A trigger that somebody added could silence the row.
        if added != 1 {
            return Err(StoreError::Silenced { seq }.into());
        }
        self.head = AuditHead { seq, hash };
        Ok(())
    }
}

impl Store {
    /// The last row of the log.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn audit_head(&self) -> Result<AuditHead, StoreError> {
        self.query("reading the audit log", head)
    }

    /// Adds an event to the audit log. The record survives loss of power.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn note(&mut self, wall: Timestamp, event: &AuditEvent) -> Result<(), StoreError> {
        self.transaction(super::Durability::Machine, "recording an event", |transaction| {
            AuditWriter::new(transaction, wall)?.add(event)
        })
    }

    /// Adds a row without checks. Tests use it for rows as older and newer versions write them.
    ///
    /// # Errors
    /// The store can't be written.
    #[cfg(any(test, feature = "testing"))]
    pub fn record_event(&mut self, wall: Timestamp, event: &str, detail: &Value) -> Result<(), StoreError> {
        self.transaction(super::Durability::Machine, "recording an event", |transaction| {
            AuditWriter::new(transaction, wall)?.add_row(event, detail)
        })
    }
}

/// The highest number that was ever given to a row, even if that row was removed: SQLite keeps this count for
/// AUTOINCREMENT.
fn highest_ever(connection: &Connection) -> Result<i64, Failure> {
    let count = "SELECT seq FROM sqlite_sequence WHERE name = 'audit'";
    Ok(connection.prepare_cached(count)?.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

fn broken(fault: ChainFault) -> Failure {
    StoreError::Audit(fault).into()
}

fn hash(seq: i64, wall: i64, event: &str, detail: &str, previous: &[u8; 32]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(DOMAIN);
    hasher.update(previous);
    hasher.update(seq.to_be_bytes());
    hasher.update(wall.to_be_bytes());
    // Each text is preceded by its length, so that no two different rows give the same bytes.
    for text in [event, detail] {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    hasher.finalize().into()
}
