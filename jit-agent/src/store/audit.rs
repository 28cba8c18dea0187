//! The audit log: rows that each carry the hash of the row before, so that no one changes the past unseen.
//!
//! Whoever may write the file can also write a chain anew. What proves more is a head noted elsewhere: a log that
//! holds that head holds everything before it unchanged.

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
    error::{Failure, StoreError},
    rows::wall_column,
};
use crate::journal;

pub use self::{
    read::{AuditReader, AuditRow, AuditRows},
    verify::Verification,
};

/// Sets these hashes apart from all others, and changes with what is hashed.
const DOMAIN: &[u8] = b"jit-agent audit row 1\0";

/// The last row of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// Its number, from 1; 0 if the log is empty.
    pub seq: i64,
    /// Its hash, which stands for the whole log; zeros if it is empty.
    pub hash: [u8; 32],
}

impl AuditHead {
    const EMPTY: Self = Self { seq: 0, hash: [0; 32] };
}

/// As it is noted elsewhere: number and hash, with a colon between.
impl fmt::Display for AuditHead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.seq, hex::encode(&self.hash))
    }
}

/// Where the audit log was tampered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// A row's content and its hash differ.
    #[error("audit row {seq} was changed: its hash does not fit its content")]
    Edited {
        /// The row.
        seq: i64,
    },
    /// Numbers are without a gap, so rows were taken out.
    #[error("audit rows {first} to {last} were removed")]
    Removed {
        /// The first one that is missing.
        first: i64,
        /// The last one.
        last: i64,
    },
    /// Filters would not find a row, though it fits them: what they look things up in was changed.
    #[error("audit row {seq} is hidden from filters that it fits: table audit_terms was changed")]
    Hidden {
        /// The row.
        seq: i64,
    },
    /// The anchor says that retention removed rows, and the log doesn't.
    #[error("audit rows up to {seq} are gone, and no row says that retention removed them")]
    Anchor {
        /// The last row that is gone.
        seq: i64,
    },
    /// The log ends before the noted head.
    #[error("audit rows {first} to {last} were cut off: row {last} is the noted head")]
    HeadCut {
        /// The first one that is missing.
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
    /// No row is the noted head, whose number is not known.
    #[error(
        "no audit row from {first} to {last} has the noted hash: the tail was cut off or rows were written anew, from \
         where can be told by a head noted as SEQ:HASH"
    )]
    HeadMissing {
        /// The first row.
        first: i64,
        /// The last one.
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
    /// A row doesn't follow the one before: that one was written anew.
    #[error("audit row {seq} does not follow row {before}: one of them was written anew", before = seq - 1)]
    Unlinked {
        /// The later one of the two.
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

/// Tells the journal of the rows after one that it has, and notes the last one.
pub(super) fn announce_after(connection: &Connection, announced: &mut i64) -> Result<(), Failure> {
    let select = "SELECT seq, event, detail, hash FROM audit WHERE seq > ? ORDER BY seq";
    let mut statement = connection.prepare_cached(select)?;
    let mut rows = statement.query([*announced])?;
    while let Some(row) = rows.next()? {
        let (seq, event, detail): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        // What is written here is JSON.
        let detail = serde_json::from_str(&detail).unwrap_or_default();
        journal::announce(seq, &event, &detail, &row.get(3)?);
        *announced = seq;
    }
    Ok(())
}

/// Adds rows to the log within a transaction.
pub(super) struct AuditWriter<'transaction> {
    transaction: &'transaction Connection,
    head: AuditHead,
    wall: i64,
}

impl<'transaction> AuditWriter<'transaction> {
    pub(super) fn new(transaction: &'transaction Connection, wall: Timestamp) -> Result<Self, Failure> {
        let head = head(transaction)?;
        // Past rows that someone cut off, so that the gap shows.
        let seq = head.seq.max(highest_ever(transaction)?);
        Ok(Self { transaction, head: AuditHead { seq, ..head }, wall: wall_column(wall) })
    }

    pub(super) fn add(&mut self, event: &AuditEvent) -> Result<(), Failure> {
        self.add_row(event.name(), &event.detail())
    }

    fn add_row(&mut self, event: &str, detail: &Value) -> Result<(), Failure> {
        let (seq, previous) = (self.head.seq + 1, self.head.hash);
        // Before the row: the trigger, which does the same many times slower, leaves the terms of a row alone then.
        let mut insert =
            self.transaction.prepare_cached("INSERT OR IGNORE INTO audit_terms (term, seq) VALUES (?, ?)")?;
        for term in Detail(detail).terms(event) {
            insert.execute(params![term, seq])?;
        }
        let detail = detail.to_string();
        let hash = hash(seq, self.wall, event, &detail, &previous);
        self.transaction
            .prepare_cached("INSERT INTO audit (seq, wall, event, detail, previous, hash) VALUES (?, ?, ?, ?, ?, ?)")?
            .execute(params![seq, self.wall, event, detail, previous, hash])?;
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

    /// Adds something that happened to the audit log. Survives loss of power.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn note(&mut self, wall: Timestamp, event: &AuditEvent) -> Result<(), StoreError> {
        self.transaction(super::Durability::Machine, "recording an event", |transaction| {
            AuditWriter::new(transaction, wall)?.add(event)
        })
    }

    /// Adds a row as it is, such as older and newer versions write.
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

/// The highest number ever given to a row, also to one that is gone: SQLite keeps count for AUTOINCREMENT.
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
    // With its length before each text, no two rows give the same bytes.
    for text in [event, detail] {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    hasher.finalize().into()
}
