//! The records that the core writes.

use jiff::Timestamp;
use jit_policy::{
    Actor, BootTime, GrantId, RequestId, RequestState,
    audit::{AuditEvent, StoredGrant},
};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{
    Durability, Store,
    audit::AuditWriter,
    clocks::{Checkpoint, boot_column, wall_column},
    error::{Failure, StoreError},
    rows::optional,
    states::{
        Connections, EndedGrant, Ending, GrantEnd, GrantState, RequestEnd, ShortenedGrant, Shortening, status_column,
    },
};

impl Store {
    /// Records that the kernel has the entries of these requests and extensions, just before the client is answered.
    ///
    /// This function does not wait for the disk. The record has to survive only this process, because it shows the
    /// successor which requests were answered. After loss of power the kernel has no entries anyway, and the recorded
    /// grants are opened again.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn mark_live(&mut self, requests: &[RequestId], extended: &[GrantId]) -> Result<(), StoreError> {
        self.transaction(Durability::Process, "recording grants as live", |transaction| {
            for request in requests {
                transaction
                    .prepare_cached("UPDATE grants SET state = ? WHERE request_id = ? AND state = ?")?
                    .execute(params![GrantState::Live.name(), request.0, GrantState::Opening.name()])?;
            }
            for grant in extended {
                transaction
                    .prepare_cached("UPDATE grants SET prior_end_boot = NULL, prior_end_wall = NULL WHERE id = ?")?
                    .execute([grant.0])?;
            }
            Ok(())
        })
    }

    /// Records that a request could not be carried out, and ends the request's grants. The record survives loss of
    /// power. On a full disk it uses the reserve.
    ///
    /// # Errors
    /// There is no such request, or the store can't be written.
    pub fn fail_request(&mut self, request: RequestId, wall: Timestamp, reason: &str) -> Result<(), StoreError> {
        self.closing("recording a failed request", |transaction| {
            let changed = transaction
                .prepare_cached("UPDATE requests SET status = ?, status_reason = ? WHERE id = ?")?
                .execute(params![status_column(RequestState::Failed), optional(reason), request.0])?;
            if changed == 0 {
                return Err(StoreError::NoRequest(request.0).into());
            }
            let mut audit = AuditWriter::new(transaction, wall)?;
            audit.add(&AuditEvent::Failed { request, reason: reason.to_owned() })?;
            let grants: Vec<i64> = transaction
                .prepare_cached("SELECT id FROM grants WHERE request_id = ?")?
                .query_map([request.0], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let ending = Ending { state: GrantEnd::Ended, wall, by: None, reason: reason.to_owned() };
            grants.iter().try_for_each(|id| end_grant(transaction, &mut audit, *id, &ending))
        })
    }

    /// Records that grants have ended. Grants that ended before, and unknown grants, stay unchanged. The
    /// record survives loss of power. On a full disk it uses the reserve.
    ///
    /// # Errors
    /// The store can't be written. Then nothing is recorded.
    pub fn end_grants(&mut self, grants: &[EndedGrant], ending: &Ending<GrantEnd>) -> Result<(), StoreError> {
        self.closing("recording the end of grants", |transaction| {
            let mut audit = AuditWriter::new(transaction, ending.wall)?;
            grants.iter().try_for_each(|(id, connections)| {
                end_grant(transaction, &mut audit, id.0, ending)?;
                connections.map_or(Ok(()), |connections| last_connection(transaction, &mut audit, *id, connections))
            })
        })
    }

    /// Records that pending requests are closed without approval. Requests that are not pending stay unchanged. The
    /// record survives loss of power. On a full disk it uses the reserve.
    ///
    /// # Errors
    /// The store can't be written. Then nothing is recorded.
    pub fn close_requests(&mut self, ids: &[RequestId], ending: &Ending<RequestEnd>) -> Result<(), StoreError> {
        self.closing("recording that requests are closed", |transaction| {
            let mut audit = AuditWriter::new(transaction, ending.wall)?;
            let update = "UPDATE requests SET status = ?, status_reason = ?, decided_wall = ?, decided_uid = ?, \
                          decided_by = ?, asked = NULL WHERE id = ? AND status = 'pending' RETURNING requestor, uid";
            let (by, reason) = (ending.by.as_ref().and_then(Actor::person), optional(&ending.reason));
            for id in ids {
                let closed: Option<(String, i64)> = transaction
                    .prepare_cached(update)?
                    .query_row(
                        params![
                            status_column(ending.state.state()),
                            reason,
                            wall_column(ending.wall),
                            by.map(|by| by.uid),
                            by.map(|by| &by.name),
                            id.0
                        ],
                        |row| Ok((row.get(0)?, row.get(1)?)),
                    )
                    .optional()?;
                let Some((requestor, uid)) = closed else { continue };
                let (request, by, reason) = (*id, ending.by.clone(), reason.map(str::to_owned));
                audit.add(&match ending.state {
                    RequestEnd::Denied => AuditEvent::Denied { request, requestor, uid, by, reason },
                    RequestEnd::TimedOut => AuditEvent::TimedOut { request, requestor, uid, by, reason },
                    RequestEnd::Cancelled => AuditEvent::Cancelled { request, requestor, uid, by, reason },
                })?;
            }
            Ok(())
        })
    }

    /// Records the first connections that grants allowed. The record survives loss of power.
    ///
    /// # Errors
    /// The store can't be written. Then nothing is recorded.
    pub fn first_connections(&mut self, wall: Timestamp, seen: &[(GrantId, Timestamp)]) -> Result<(), StoreError> {
        self.transaction(Durability::Machine, "recording connections", |transaction| {
            let mut audit = AuditWriter::new(transaction, wall)?;
            seen.iter().try_for_each(|(id, time)| connection_seen(transaction, &mut audit, *id, Seen::First, *time))
        })
    }

    /// Records that a break-glass source was admitted. The record survives loss of power.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn break_glass_used(
        &mut self,
        wall: Timestamp,
        source: &str,
        (boot_id, last): (&str, BootTime),
        time: Timestamp,
    ) -> Result<(), StoreError> {
        self.transaction(Durability::Machine, "recording the use of break-glass", |transaction| {
            let replace = "INSERT OR REPLACE INTO break_glass_use (source, boot_id, last_boot) VALUES (?, ?, ?)";
            transaction.prepare_cached(replace)?.execute(params![source, boot_id, boot_column(last)])?;
            AuditWriter::new(transaction, wall)?.add(&AuditEvent::BreakGlassUsed { source: source.to_owned(), time })
        })
    }

    /// Converts the ends of open grants to BOOTTIMEs of the boot in `clocks`, and marks the grants live. Also records
    /// the clocks. The record survives loss of power.
    ///
    /// # Errors
    /// The store can't be written. Then no end is changed.
    pub fn rebase(&mut self, ends: &[(GrantId, BootTime)], clocks: &Checkpoint) -> Result<(), StoreError> {
        self.transaction(Durability::Machine, "recording the ends of grants", |transaction| {
            insert_checkpoint(transaction, clocks)?;
            let update = "UPDATE grants SET boot_id = ?, end_boot = ?, state = ?, prior_end_boot = NULL, \
                          prior_end_wall = NULL \
                          WHERE id = ? AND state IN ('opening', 'live')";
            let mut update = transaction.prepare_cached(update)?;
            for (id, end) in ends {
                update.execute(params![clocks.boot_id, boot_column(*end), GrantState::Live.name(), id.0])?;
            }
            Ok(())
        })
    }

    /// Records that grants end earlier than planned. Grants that have ended already, and unknown grants, stay
    /// unchanged. The new ends count in the boot of `clocks`. Whatever happens to the clocks, no grant lasts longer
    /// because of this record. The record survives loss of power. On a full disk it uses the reserve.
    ///
    /// # Errors
    /// The store can't be written. Then nothing is recorded.
    pub fn shorten(
        &mut self,
        grants: &[ShortenedGrant],
        shortening: &Shortening,
        clocks: &Checkpoint,
    ) -> Result<(), StoreError> {
        self.closing("recording the ends of grants", |transaction| {
            insert_checkpoint(transaction, clocks)?;
            let mut audit = AuditWriter::new(transaction, shortening.wall)?;
            grants.iter().try_for_each(|grant| shorten_grant(transaction, &mut audit, grant, shortening, clocks))
        })
    }

    /// Removes the idempotency keys of requests that were made before a time.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn forget_keys(&mut self, before: Timestamp) -> Result<(), StoreError> {
        self.transaction(Durability::Process, "forgetting idempotency keys", |transaction| {
            let delete = "DELETE FROM idempotency WHERE wall < ?";
            transaction.prepare_cached(delete)?.execute([wall_column(before)])?;
            Ok(())
        })
    }

    /// Records the time of both clocks. The record survives loss of power.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn checkpoint(&mut self, clocks: &Checkpoint) -> Result<(), StoreError> {
        self.transaction(Durability::Machine, "recording the clocks", |transaction| {
            insert_checkpoint(transaction, clocks)
        })
    }
}

pub(super) fn insert_checkpoint(transaction: &Connection, clocks: &Checkpoint) -> Result<(), Failure> {
    let Checkpoint { machine_id, boot_id, boot, wall } = clocks;
    let replace =
        "INSERT OR REPLACE INTO checkpoint (id, machine_id, boot_id, boottime_ns, wall) VALUES (1, ?, ?, ?, ?)";
    transaction.prepare_cached(replace)?.execute(params![
        machine_id,
        boot_id,
        boot_column(*boot),
        wall_column(*wall)
    ])?;
    Ok(())
}

/// The columns of a changed grant that [`stored_grant`] reads.
const RETURNING_GRANT: &str = "RETURNING id, request_id, number, protocol, source, \
                               (SELECT requestor FROM requests WHERE requests.id = request_id)";

/// A grant for the audit log, and the grant's requestor. The row's values are copied without checks: a bad value must
/// not prevent a grant from being closed.
fn stored_grant(row: &Row<'_>) -> rusqlite::Result<(StoredGrant, Option<String>)> {
    let grant = StoredGrant {
        id: GrantId(row.get(0)?),
        request: RequestId(row.get(1)?),
        number: row.get(2)?,
        protocol: row.get(3)?,
        source: row.get(4)?,
    };
    Ok((grant, row.get(5)?))
}

/// Ends a grant if it has not ended yet.
fn end_grant(
    transaction: &Transaction<'_>,
    audit: &mut AuditWriter<'_>,
    id: i64,
    ending: &Ending<GrantEnd>,
) -> Result<(), Failure> {
    let update = format!(
        "UPDATE grants SET state = ?, ended_wall = ?, ended_reason = ?, ended_by_uid = ?, ended_by = ? \
         WHERE id = ? AND state IN ('opening', 'live') {RETURNING_GRANT}"
    );
    let (by, reason) = (ending.by.as_ref().and_then(Actor::person), optional(&ending.reason));
    let ended = transaction
        .prepare_cached(&update)?
        .query_row(
            params![
                ending.state.state().name(),
                wall_column(ending.wall),
                reason,
                by.map(|by| by.uid),
                by.map(|by| &by.name),
                id
            ],
            stored_grant,
        )
        .optional()?;
    let Some((grant, requestor)) = ended else { return Ok(()) };
    let (by, reason) = (ending.by.clone(), reason.map(str::to_owned));
    audit.add(&match ending.state {
        GrantEnd::Expired => AuditEvent::Expired { grant, requestor, by, reason },
        GrantEnd::Revoked => AuditEvent::Revoked { grant, requestor, by, reason },
        GrantEnd::Ended => AuditEvent::Ended { grant, requestor, by, reason },
    })
}

/// Brings the end of a grant forward if it has not ended yet.
fn shorten_grant(
    transaction: &Transaction<'_>,
    audit: &mut AuditWriter<'_>,
    (id, end): &ShortenedGrant,
    shortening: &Shortening,
    clocks: &Checkpoint,
) -> Result<(), Failure> {
    let select = "SELECT end_wall FROM grants WHERE id = ? AND state IN ('opening', 'live')";
    let before: Option<i64> = transaction.prepare_cached(select)?.query_row([id.0], |row| row.get(0)).optional()?;
    let Some(before) = before else { return Ok(()) };
    let update = format!(
        "UPDATE grants SET boot_id = ?, end_boot = ?, end_wall = min(end_wall, ?), state = ?, prior_end_boot = NULL, \
         prior_end_wall = NULL WHERE id = ? {RETURNING_GRANT}"
    );
    let (grant, requestor) = transaction.prepare_cached(&update)?.query_row(
        params![clocks.boot_id, boot_column(end.boot), wall_column(end.wall), GrantState::Live.name(), id.0],
        stored_grant,
    )?;
    audit.add(&AuditEvent::Shortened {
        grant,
        end: end.wall,
        // Every i64 of nanoseconds is a valid time.
        before: Timestamp::from_nanosecond(before.into()).unwrap_or_default(),
        requestor,
        by: shortening.by.clone(),
        reason: shortening.reason.clone(),
    })
}

/// The choice between a grant's first and last connection.
#[derive(Clone, Copy, Debug)]
enum Seen {
    First,
    Last,
}

/// Records the last connection that a grant allowed. For the grant's port, the requestor of that connection is recorded
/// too.
fn last_connection(
    transaction: &Transaction<'_>,
    audit: &mut AuditWriter<'_>,
    id: GrantId,
    Connections { first, last }: Connections,
) -> Result<(), Failure> {
    let noted: Option<Option<i64>> = transaction
        .prepare_cached("SELECT first_connection FROM grants WHERE id = ?")?
        .query_row([id.0], |row| row.get(0))
        .optional()?;
    if noted == Some(None) {
        connection_seen(transaction, audit, id, Seen::First, first)?;
    }
    connection_seen(transaction, audit, id, Seen::Last, last)
}

fn connection_seen(
    transaction: &Transaction<'_>,
    audit: &mut AuditWriter<'_>,
    id: GrantId,
    which: Seen,
    time: Timestamp,
) -> Result<(), Failure> {
    let update =
        format!("UPDATE grants SET first_connection = coalesce(first_connection, ?) WHERE id = ? {RETURNING_GRANT}");
    let seen =
        transaction.prepare_cached(&update)?.query_row(params![wall_column(time), id.0], stored_grant).optional()?;
    let Some((grant, requestor)) = seen else { return Ok(()) };
    let latest = "INSERT INTO port_use (number, protocol, last_connection, requestor) VALUES (?1, ?2, ?3, ?4) \
                  ON CONFLICT (number, protocol) DO UPDATE SET last_connection = ?3, requestor = ?4 \
                  WHERE last_connection <= ?3";
    transaction.prepare_cached(latest)?.execute(params![
        grant.number,
        grant.protocol,
        wall_column(time),
        requestor.as_deref().unwrap_or_default()
    ])?;
    audit.add(&match which {
        Seen::First => AuditEvent::FirstConnection { grant, requestor, time },
        Seen::Last => AuditEvent::LastConnection { grant, requestor, time },
    })
}
