//! Retention: old rows and requests are removed, always from the beginning.

use jiff::Timestamp;
use jit_policy::audit::AuditEvent;
use rusqlite::params;

use super::{AuditHead, AuditWriter};
use crate::store::{Durability, Store, clocks::wall_column, error::StoreError};

/// The event that confirms the anchor.
pub(super) const PRUNED: &str = "pruned";

impl Store {
    /// Removes at most `limit` rows from the beginning of the audit log, up to the first row that is not older than
    /// `before`. Rows dated later than `now` were written while the clock was ahead. They go with older rows that follow
    /// them. The last row of the log always stays. The anchor says from where on the chain is complete. A new row,
    /// written at `wall`, confirms the anchor. Returns the number of removed rows. The change survives loss of power.
    ///
    /// # Errors
    /// The store can't be written. Then nothing is removed.
    pub fn prune_audit(
        &mut self,
        wall: Timestamp,
        (before, now): (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<usize, StoreError> {
        self.transaction(Durability::Machine, "removing old rows of the audit log", |transaction| {
            let select = "SELECT seq, hash, wall < ?1, wall > ?2 FROM audit WHERE seq < (SELECT max(seq) FROM audit) \
                          ORDER BY seq";
            let mut statement = transaction.prepare_cached(select)?;
            let mut rows = statement.query([wall_column(before), wall_column(now)])?;
            let (mut first, mut last, mut count, mut ahead) = (None, None, 0, Vec::new());
            // One old row is enough to tell that all rows in front of it are old.
            while count < limit
                && let Some(row) = rows.next()?
            {
                let (seq, is_old, is_ahead) = (row.get(0)?, row.get(2)?, row.get(3)?);
                first.get_or_insert(seq);
                let head = AuditHead { seq, hash: row.get(1)? };
                if is_old {
                    let passed = std::mem::take(&mut ahead);
                    let room = limit - count;
                    count += (passed.len() + 1).min(room);
                    last = passed.into_iter().chain(std::iter::once(head)).take(room).last();
                } else if is_ahead {
                    ahead.push(head);
                } else {
                    break;
                }
            }
            let (Some(first), Some(AuditHead { seq: last, hash })) = (first, last) else { return Ok(0) };
            transaction.prepare_cached("DELETE FROM audit WHERE seq <= ?")?.execute([last])?;
            transaction
                .prepare_cached("INSERT OR REPLACE INTO audit_anchor (id, seq, hash) VALUES (1, ?, ?)")?
                .execute(params![last, hash])?;
            AuditWriter::new(transaction, wall)?.add(&AuditEvent::Pruned { first, last, hash, before })?;
            Ok(count)
        })
    }

    /// Removes requests that were made before `before`, together with their grants, if all of these grants also ended
    /// before `before`. Only the `limit` oldest requests are considered. Returns the number of removed requests. The
    /// change survives loss of power.
    ///
    /// # Errors
    /// The store can't be written. Then nothing is removed.
    pub fn prune_requests(&mut self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.transaction(Durability::Machine, "removing old requests", |transaction| {
            let select = "SELECT id FROM requests WHERE id IN (SELECT id FROM requests ORDER BY id LIMIT ?2) \
                          AND start_wall < ?1 AND status <> 'pending' AND NOT EXISTS (SELECT 1 FROM grants WHERE request_id = requests.id \
                          AND (state IN ('opening', 'live') OR ended_wall IS NULL OR ended_wall >= ?1))";
            let ids: Vec<i64> = transaction
                .prepare_cached(select)?
                .query_map([wall_column(before), limit], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let mut grants = transaction.prepare_cached("DELETE FROM grants WHERE request_id = ?")?;
            let mut requests = transaction.prepare_cached("DELETE FROM requests WHERE id = ?")?;
            for id in &ids {
                grants.execute([id])?;
                requests.execute([id])?;
            }
            Ok(ids.len())
        })
    }
}
