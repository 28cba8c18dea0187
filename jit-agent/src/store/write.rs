//! What the core records.

use jiff::Timestamp;
use jit_policy::{Actor, BootTime, GrantId, Person, RequestId};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::{Value, json};

use super::{
    Durability, Store,
    audit::AuditWriter,
    error::{Failure, StoreError},
    rows::{
        Checkpoint, Connections, EndedGrant, Ending, GrantState, RequestState, ShortenedGrant, Shortening, boot_column,
        optional, wall_column,
    },
};

impl Store {
    /// Notes that the kernel has what these requests and extensions open, just before that is answered.
    ///
    /// Does not wait for the disk. It has to survive this process only, since its successor tells by it what was
    /// answered; after loss of power the kernel has no grant anyway, and what the store says is opened afresh.
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

    /// Records that a request could not be carried out, and ends its grants. Survives loss of power; on a full disk it
    /// uses space that is kept for this.
    ///
    /// # Errors
    /// There is no such request; the store can't be written.
    pub fn fail_request(&mut self, request: RequestId, wall: Timestamp, reason: &str) -> Result<(), StoreError> {
        self.closing("recording a failed request", |transaction| {
            let changed = transaction
                .prepare_cached("UPDATE requests SET status = ?, status_reason = ? WHERE id = ?")?
                .execute(params![RequestState::Failed.name(), optional(reason), request.0])?;
            if changed == 0 {
                return Err(StoreError::NoRequest(request.0).into());
            }
            let mut audit = AuditWriter::new(transaction, wall)?;
            audit.add("failed", &json!({ "request": request.0, "reason": reason }))?;
            let grants: Vec<i64> = transaction
                .prepare_cached("SELECT id FROM grants WHERE request_id = ?")?
                .query_map([request.0], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let ending = Ending { state: GrantState::Ended, wall, by: None, reason: reason.to_owned() };
            grants.iter().try_for_each(|id| end_grant(transaction, &mut audit, *id, &ending))
        })
    }

    /// Records that grants have ended; those that had already, or are not known, stay as they are. An ending in a state
    /// that is none counts as ended. Survives loss of power; on a full disk it uses space that is kept for this.
    ///
    /// # Errors
    /// The store can't be written; then none is recorded.
    pub fn end_grants(&mut self, grants: &[EndedGrant], ending: &Ending) -> Result<(), StoreError> {
        self.closing("recording the end of grants", |transaction| {
            let mut audit = AuditWriter::new(transaction, ending.wall)?;
            grants.iter().try_for_each(|(id, connections)| {
                end_grant(transaction, &mut audit, id.0, ending)?;
                connections.map_or(Ok(()), |connections| last_connection(transaction, &mut audit, *id, connections))
            })
        })
    }

    /// Records that requests which wait for approval are decided otherwise; those that don't wait stay as they are.
    /// Survives loss of power; on a full disk it uses space that is kept for this.
    ///
    /// # Errors
    /// The store can't be written; then none is recorded.
    pub fn close_requests(
        &mut self,
        ids: &[RequestId],
        status: RequestState,
        ending: &Ending,
    ) -> Result<(), StoreError> {
        self.closing("recording that requests are closed", |transaction| {
            let mut audit = AuditWriter::new(transaction, ending.wall)?;
            let update = "UPDATE requests SET status = ?, status_reason = ?, decided_wall = ?, decided_uid = ?, \
                          decided_by = ?, asked = NULL WHERE id = ? AND status = 'pending' RETURNING requestor, uid";
            let by = ending.by.as_ref().and_then(Actor::person);
            for id in ids {
                let closed: Option<(String, i64)> = transaction
                    .prepare_cached(update)?
                    .query_row(
                        params![
                            status.name(),
                            optional(&ending.reason),
                            wall_column(ending.wall),
                            by.map(|by| by.uid),
                            by.map(|by| &by.name),
                            id.0
                        ],
                        |row| Ok((row.get(0)?, row.get(1)?)),
                    )
                    .optional()?;
                if let Some((requestor, uid)) = closed {
                    let detail = json!({
                        "request": id.0,
                        "requestor": requestor,
                        "uid": uid,
                        "by": ending.by.as_ref().map(actor),
                        "reason": optional(&ending.reason),
                    });
                    audit.add(status.name(), &detail)?;
                }
            }
            Ok(())
        })
    }

    /// Records that grants let their first connections in. Survives loss of power.
    ///
    /// # Errors
    /// The store can't be written; then none is recorded.
    pub fn first_connections(&mut self, wall: Timestamp, seen: &[(GrantId, Timestamp)]) -> Result<(), StoreError> {
        self.transaction(Durability::Machine, "recording connections", |transaction| {
            let mut audit = AuditWriter::new(transaction, wall)?;
            seen.iter()
                .try_for_each(|(id, time)| connection_seen(transaction, &mut audit, *id, "first_connection", *time))
        })
    }

    /// Records that a source of break-glass let a connection in. Survives loss of power.
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
            AuditWriter::new(transaction, wall)?
                .add("break_glass_used", &json!({ "source": source, "time": time.to_string() }))
        })
    }

    /// Moves the ends of open grants to BOOTTIMEs of the boot in `clocks`, where they count as live, and notes these
    /// clocks. Survives loss of power.
    ///
    /// # Errors
    /// The store can't be written; then none is moved.
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

    /// Records that grants end earlier than they would have. Those that have ended already, or are not known, stay as
    /// they are. The new ends count in the boot of `clocks`, and whatever happens to the clocks, no grant lasts longer by
    /// this. Survives loss of power; on a full disk it uses space that is kept for this.
    ///
    /// # Errors
    /// The store can't be written; then nothing is recorded.
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

    /// Forgets by which keys requests were made before a moment.
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

    /// Notes what both clocks show. Survives loss of power.
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

/// Ends a grant if it has not ended yet. What the row says of the grant goes into the audit log as it is: a bad value
/// must not keep a grant from being closed.
fn end_grant(
    transaction: &Transaction<'_>,
    audit: &mut AuditWriter<'_>,
    id: i64,
    ending: &Ending,
) -> Result<(), Failure> {
    let state = match ending.state {
        GrantState::Expired | GrantState::Revoked => ending.state.name(),
        GrantState::Opening | GrantState::Live | GrantState::Ended => GrantState::Ended.name(),
    };
    let update = "UPDATE grants SET state = ?, ended_wall = ?, ended_reason = ?, ended_by_uid = ?, ended_by = ? \
                  WHERE id = ? AND state IN ('opening', 'live') \
                  RETURNING request_id, number, protocol, source, \
                  (SELECT requestor FROM requests WHERE requests.id = request_id)";
    let by = ending.by.as_ref().and_then(Actor::person);
    let ended = transaction
        .prepare_cached(update)?
        .query_row(
            params![
                state,
                wall_column(ending.wall),
                optional(&ending.reason),
                by.map(|by| by.uid),
                by.map(|by| &by.name),
                id
            ],
            |row| {
                let (request, number): (i64, i64) = (row.get(0)?, row.get(1)?);
                let (protocol, source): (String, String) = (row.get(2)?, row.get(3)?);
                let requestor: Option<String> = row.get(4)?;
                Ok(json!({
                    "grant": id,
                    "request": request,
                    "number": number,
                    "protocol": protocol,
                    "source": source,
                    "requestor": requestor,
                    "by": ending.by.as_ref().map(actor),
                    "reason": optional(&ending.reason),
                }))
            },
        )
        .optional()?;
    ended.map_or(Ok(()), |detail| audit.add(state, &detail))
}

/// Brings the end of a grant forward if it has not ended yet. As in [`end_grant`], bad values go into the audit log as they
/// are.
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
    let update = "UPDATE grants SET boot_id = ?, end_boot = ?, end_wall = min(end_wall, ?), state = ?, \
                  prior_end_boot = NULL, prior_end_wall = NULL WHERE id = ? \
                  RETURNING request_id, number, protocol, source, \
                  (SELECT requestor FROM requests WHERE requests.id = request_id)";
    let detail = transaction.prepare_cached(update)?.query_row(
        params![clocks.boot_id, boot_column(end.boot), wall_column(end.wall), GrantState::Live.name(), id.0],
        |row| {
            let (request, number): (i64, i64) = (row.get(0)?, row.get(1)?);
            let (protocol, source): (String, String) = (row.get(2)?, row.get(3)?);
            let requestor: Option<String> = row.get(4)?;
            Ok(json!({
                "grant": id.0,
                "request": request,
                "number": number,
                "protocol": protocol,
                "source": source,
                "end": end.wall.to_string(),
                // Every i64 of nanoseconds is a time that there is.
                "before": Timestamp::from_nanosecond(before.into()).unwrap_or_default().to_string(),
                "requestor": requestor,
                "by": shortening.by.as_ref().map(actor),
                "reason": shortening.reason,
            }))
        },
    )?;
    audit.add("shortened", &detail)
}

/// Records the last connection that a grant let in, and for its port who that was.
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
        connection_seen(transaction, audit, id, "first_connection", first)?;
    }
    connection_seen(transaction, audit, id, "last_connection", last)
}

fn connection_seen(
    transaction: &Transaction<'_>,
    audit: &mut AuditWriter<'_>,
    id: GrantId,
    event: &str,
    time: Timestamp,
) -> Result<(), Failure> {
    let update = "UPDATE grants SET first_connection = coalesce(first_connection, ?) WHERE id = ? \
                  RETURNING request_id, number, protocol, source, \
                  (SELECT requestor FROM requests WHERE requests.id = request_id)";
    let seen = transaction
        .prepare_cached(update)?
        .query_row(params![wall_column(time), id.0], |row| {
            let (request, number): (i64, i64) = (row.get(0)?, row.get(1)?);
            let (protocol, source): (String, String) = (row.get(2)?, row.get(3)?);
            Ok((request, number, protocol, source, row.get::<_, Option<String>>(4)?))
        })
        .optional()?;
    let Some((request, number, protocol, source, requestor)) = seen else { return Ok(()) };
    let latest = "INSERT INTO port_use (number, protocol, last_connection, requestor) VALUES (?1, ?2, ?3, ?4) \
                  ON CONFLICT (number, protocol) DO UPDATE SET last_connection = ?3, requestor = ?4 \
                  WHERE last_connection <= ?3";
    transaction.prepare_cached(latest)?.execute(params![
        number,
        protocol,
        wall_column(time),
        requestor.as_deref().unwrap_or_default()
    ])?;
    audit.add(
        event,
        &json!({
            "grant": id.0,
            "request": request,
            "number": number,
            "protocol": protocol,
            "source": source,
            "requestor": requestor,
            "time": time.to_string(),
        }),
    )
}

/// Who did something, as the audit log has it.
pub(crate) fn actor(actor: &Actor) -> Value {
    match actor {
        Actor::Person(one) => person(one),
        Actor::Signal(name) => json!({ "signal": name }),
    }
}

/// A person as the audit log has it.
pub(crate) fn person(person: &Person) -> Value {
    let Person { uid, name, login } = person;
    match login {
        Some((login_uid, login)) => json!({ "uid": uid, "name": name, "login_uid": login_uid, "login_name": login }),
        None => json!({ "uid": uid, "name": name }),
    }
}
