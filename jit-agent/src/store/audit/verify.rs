//! The verification of the audit log: the chain, the chain's anchor, a head noted elsewhere, and the terms that filters
//! use.

use jit_policy::{NotedHead, hex};
use rusqlite::Connection;
use serde_json::Value;

use super::{AuditHead, AuditReader, ChainFault, broken, hash, highest_ever, prune::PRUNED};
use crate::store::{
    Store,
    error::{Failure, StoreError},
    file,
    rows::Fields,
};

const ACTION: &str = "verifying the audit log";
/// The number of rows that are checked at a time, while others use the store too.
const BATCH: i64 = 1000;

/// The result of a check of the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The first row from which on the log is complete.
    pub first: i64,
    /// The number of rows that were checked and are sound.
    pub rows: u64,
    /// The last of the sound rows.
    pub head: AuditHead,
    /// The fault, if there is one.
    pub fault: Option<ChainFault>,
}

impl Store {
    /// Checks the whole audit log, and returns the log's head.
    ///
    /// # Errors
    /// The log has a fault; the error is the first fault (see [`ChainFault`]). Or the store can't be read.
    pub fn verify_audit(&self) -> Result<AuditHead, StoreError> {
        self.query(ACTION, |connection| {
            let mut verifier = Verifier::new(None);
            while !verifier.step(connection, i64::MAX)? {}
            Ok(verifier.head)
        })
    }
}

impl AuditReader {
    /// Checks the whole log, and whether the log contains a head that was noted elsewhere. The core continues its work
    /// meanwhile.
    ///
    /// # Errors
    /// The store can't be read. A fault of the log is an answer, not an error.
    pub fn verify(&self, noted: Option<NotedHead>) -> Result<Verification, StoreError> {
        let connection = file::connect_to_read(&self.path)?;
        let mut verifier = Verifier::new(noted);
        let fault = loop {
            match verifier.step(&connection, BATCH) {
                Ok(false) => {}
                Ok(true) => break None,
                Err(Failure::Store(StoreError::Audit(fault))) => break Some(fault),
                Err(failure) => return Err(failure.report(&self.path, ACTION)),
            }
        };
        let Verifier { anchor, rows, head, .. } = verifier;
        Ok(Verification { first: anchor.seq + 1, rows, head, fault })
    }
}

/// The state of a check.
#[derive(Debug)]
struct Verifier {
    noted: Option<NotedHead>,
    /// The number of the row with the noted hash, once that row was found.
    found: Option<i64>,
    anchor: AuditHead,
    /// The last removed row, as stated by the last row about retention.
    pruned: Option<AuditHead>,
    rows: u64,
    head: AuditHead,
}

impl Verifier {
    const fn new(noted: Option<NotedHead>) -> Self {
        let empty = AuditHead::EMPTY;
        Self { noted, found: None, anchor: empty, pruned: None, rows: 0, head: empty }
    }

    /// Checks up to `limit` more rows in one snapshot. Returns whether the whole log is checked.
    fn step(&mut self, connection: &Connection, limit: i64) -> Result<bool, Failure> {
        let transaction = connection.unchecked_transaction()?;
        self.take_anchor(&transaction)?;
        let from = self.head.seq;
        let more = self.check_rows(&transaction, limit)?;
        self.check_terms(&transaction, from)?;
        if more {
            return Ok(false);
        }
        let highest = highest_ever(&transaction)?;
        if self.head.seq < highest {
            return Err(broken(
                self.noted_cut().unwrap_or(ChainFault::Removed { first: self.head.seq + 1, last: highest }),
            ));
        }
        if self.anchor != AuditHead::EMPTY && self.pruned != Some(self.anchor) {
            return Err(broken(ChainFault::Anchor { seq: self.anchor.seq }));
        }
        self.check_noted()?;
        Ok(true)
    }

    /// Moves the start behind the rows that retention removed. Retention may remove more rows between two steps.
    fn take_anchor(&mut self, connection: &Connection) -> Result<(), Failure> {
        let select = "SELECT seq, hash FROM audit_anchor";
        let mut statement = connection.prepare_cached(select)?;
        let mut rows = statement.query([])?;
        if let Some(row) = rows.next()? {
            let fields = Fields::new(row, "audit_anchor", "seq")?;
            self.anchor = AuditHead { seq: fields.get("seq")?, hash: fields.get("hash")? };
            if self.anchor.seq > self.head.seq {
                self.head = self.anchor;
            }
        }
        if self.noted.is_some_and(|noted| noted.hash == self.anchor.hash) {
            self.found = Some(self.anchor.seq);
        }
        Ok(())
    }

    /// Checks the hashes of up to `limit` rows. Returns whether there may be more rows.
    fn check_rows(&mut self, connection: &Connection, limit: i64) -> Result<bool, Failure> {
        let select = "SELECT seq, wall, event, detail, previous, hash FROM audit WHERE seq > ? ORDER BY seq LIMIT ?";
        let mut statement = connection.prepare_cached(select)?;
        // The first step also reads rows before the anchor, because such rows are a fault.
        let from = if self.rows == 0 { i64::MIN } else { self.head.seq };
        let mut rows = statement.query([from, limit])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let fields = Fields::new(row, "audit", "seq")?;
            let (seq, wall) = (fields.get("seq")?, fields.get("wall")?);
            let (event, detail): (String, String) = (fields.get("event")?, fields.get("detail")?);
            let (previous, stored): ([u8; 32], [u8; 32]) = (fields.get("previous")?, fields.get("hash")?);
            if seq <= self.head.seq {
                return Err(broken(ChainFault::Unlinked { seq }));
            }
            if seq != self.head.seq + 1 {
                return Err(broken(ChainFault::Removed { first: self.head.seq + 1, last: seq - 1 }));
            }
            if hash(seq, wall, &event, &detail, &previous) != stored {
                return Err(broken(ChainFault::Edited { seq }));
            }
            if previous != self.head.hash {
                return Err(broken(ChainFault::Unlinked { seq }));
            }
            self.head = AuditHead { seq, hash: stored };
            self.rows += 1;
            count += 1;
            if event == PRUNED {
                self.pruned = removed_by(&detail);
            }
            if let Some(noted) = self.noted {
                if noted.hash == stored {
                    self.found = Some(seq);
                } else if noted.seq == Some(seq) {
                    return Err(broken(ChainFault::HeadRewritten { seq }));
                }
            }
        }
        Ok(count == limit)
    }

    /// Checks that filters find all rows after `from` that were just checked.
    fn check_terms(&self, connection: &Connection, from: i64) -> Result<(), Failure> {
        let mut hidden: Option<i64> = None;
        for due in ["audit_terms_due", "audit_texts_due", "audit_persons_due"] {
            let select = format!(
                "SELECT min(seq) FROM {due} AS due WHERE seq > ? AND seq <= ? AND NOT EXISTS \
                 (SELECT 1 FROM audit_terms WHERE term = due.term AND seq = due.seq)"
            );
            let first: Option<i64> =
                connection.prepare_cached(&select)?.query_row([from, self.head.seq], |row| row.get(0))?;
            hidden = [hidden, first].into_iter().flatten().min();
        }
        hidden.map_or(Ok(()), |seq| Err(broken(ChainFault::Hidden { seq })))
    }

    fn check_noted(&self) -> Result<(), Failure> {
        let Some(noted) = self.noted else { return Ok(()) };
        let first = self.anchor.seq + 1;
        match (noted.seq, self.found) {
            (Some(seq), Some(found)) if seq == found => Ok(()),
            (None, Some(_)) => Ok(()),
            (Some(seq), _) if seq < self.anchor.seq => Err(broken(ChainFault::HeadPruned { seq, first })),
            (Some(seq), _) => Err(broken(self.noted_cut().unwrap_or(ChainFault::HeadRewritten { seq }))),
            (None, None) => Err(broken(ChainFault::HeadMissing { first, last: self.head.seq })),
        }
    }

    /// The fault of a log that ends before the noted head.
    fn noted_cut(&self) -> Option<ChainFault> {
        let last = self.noted?.seq.filter(|seq| *seq > self.head.seq)?;
        Some(ChainFault::HeadCut { first: self.head.seq + 1, last })
    }
}

/// The last row that retention removed, as stated in the details of a row about retention.
fn removed_by(detail: &str) -> Option<AuditHead> {
    let detail: Value = serde_json::from_str(detail).ok()?;
    Some(AuditHead { seq: detail.get("last")?.as_i64()?, hash: hex::decode(detail.get("hash")?.as_str()?)? })
}
