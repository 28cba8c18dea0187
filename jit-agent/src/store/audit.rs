//! The audit log: rows that each carry the hash of the row before, so that no one changes the past unseen.
//!
//! Whoever may write the file can also write a chain anew. What proves more is a head noted elsewhere: a log that
//! holds that head holds everything before it unchanged.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    Store,
    error::{Failure, StoreError},
    rows::{Fields, wall_column},
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
    /// A row doesn't follow the one before: that one was written anew.
    #[error("audit row {seq} does not follow row {before}: one of them was written anew", before = seq - 1)]
    Unlinked {
        /// The later one of the two.
        seq: i64,
    },
}

/// Adds rows to the log within a transaction.
pub(super) struct AuditWriter<'transaction> {
    transaction: &'transaction Connection,
    head: AuditHead,
    wall: i64,
}

impl<'transaction> AuditWriter<'transaction> {
    pub(super) fn new(transaction: &'transaction Connection, wall: Timestamp) -> Result<Self, Failure> {
        let last = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
        let head = transaction
            .prepare_cached(last)?
            .query_row([], |row| Ok(AuditHead { seq: row.get(0)?, hash: row.get(1)? }))
            .optional()?
            .unwrap_or(AuditHead::EMPTY);
        // Past rows that someone cut off, so that the gap shows.
        let seq = head.seq.max(highest_ever(transaction)?);
        Ok(Self { transaction, head: AuditHead { seq, ..head }, wall: wall_column(wall) })
    }

    pub(super) fn add(&mut self, event: &str, detail: &Value) -> Result<(), Failure> {
        let (seq, previous, detail) = (self.head.seq + 1, self.head.hash, detail.to_string());
        let hash = hash(seq, self.wall, event, &detail, &previous);
        self.transaction
            .prepare_cached("INSERT INTO audit (seq, wall, event, detail, previous, hash) VALUES (?, ?, ?, ?, ?, ?)")?
            .execute(params![seq, self.wall, event, detail, previous, hash])?;
        self.head = AuditHead { seq, hash };
        Ok(())
    }
}

impl Store {
    /// Records something that happened, for the audit log only. Survives loss of power.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn record_event(&mut self, wall: Timestamp, event: &str, detail: &Value) -> Result<(), StoreError> {
        self.transaction(super::Durability::Machine, "recording an event", |transaction| {
            AuditWriter::new(transaction, wall)?.add(event, detail)
        })
    }

    /// Checks the whole audit chain, and returns its head.
    ///
    /// # Errors
    /// The first row that was edited, removed or does not follow the one before; the store can't be read.
    pub fn verify_audit(&self) -> Result<AuditHead, StoreError> {
        self.query("verifying the audit log", |connection| {
            let head = verify(connection)?;
            let highest = highest_ever(connection)?;
            if head.seq < highest {
                return Err(broken(ChainFault::Removed { first: head.seq + 1, last: highest }));
            }
            Ok(head)
        })
    }
}

fn verify(connection: &Connection) -> Result<AuditHead, Failure> {
    let mut statement =
        connection.prepare("SELECT seq, wall, event, detail, previous, hash FROM audit ORDER BY seq")?;
    let mut rows = statement.query([])?;
    let mut head = AuditHead::EMPTY;
    while let Some(row) = rows.next()? {
        let fields = Fields::new(row, "audit", "seq")?;
        let (seq, wall) = (fields.get("seq")?, fields.get("wall")?);
        let (event, detail): (String, String) = (fields.get("event")?, fields.get("detail")?);
        let (previous, stored): ([u8; 32], [u8; 32]) = (fields.get("previous")?, fields.get("hash")?);
        if seq != head.seq + 1 {
            return Err(broken(ChainFault::Removed { first: head.seq + 1, last: seq - 1 }));
        }
        if hash(seq, wall, &event, &detail, &previous) != stored {
            return Err(broken(ChainFault::Edited { seq }));
        }
        if previous != head.hash {
            return Err(broken(ChainFault::Unlinked { seq }));
        }
        head = AuditHead { seq, hash: stored };
    }
    Ok(head)
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
