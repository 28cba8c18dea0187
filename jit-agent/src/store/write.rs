//! What the core records.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::{Value, json};

use super::{
    Durability, Store,
    audit::AuditWriter,
    error::{Failure, StoreError},
    rows::{
        Checkpoint, Ending, GrantState, NewGrantRow, NewRequestRow, RequestState, boot_column, optional, wall_column,
    },
};
use crate::{
    clock::BootTime,
    policy::{GrantId, RequestId, Violation},
};

/// How many violations of one request the audit log lists before it only counts the rest.
const LISTED_VIOLATIONS: usize = 20;

impl Store {
    /// Records a request and its grants, which are then `opening`, in their order, and what both clocks show. Survives
    /// loss of power.
    ///
    /// # Errors
    /// The store can't be written, or there is no space left to record the grants' ends too; then nothing was recorded.
    pub fn begin_request(&mut self, new: &NewRequestRow) -> Result<(RequestId, Vec<GrantId>), StoreError> {
        self.hold_reserve("recording a request")?;
        self.transaction(Durability::Machine, "recording a request", |transaction| {
            let NewRequestRow { uid, requestor, justification, start, clocks, grants } = new;
            // No grant without a checkpoint that bounds what remains of it after a reboot.
            insert_checkpoint(transaction, clocks)?;
            let insert =
                "INSERT INTO requests (uid, requestor, justification, start_wall, status) VALUES (?, ?, ?, ?, ?)";
            let status = RequestState::Approved.name();
            transaction.prepare_cached(insert)?.execute(params![
                uid,
                requestor,
                justification,
                wall_column(*start),
                status
            ])?;
            let request = RequestId(transaction.last_insert_rowid());
            let mut audit = AuditWriter::new(transaction, *start)?;
            audit.add(
                "requested",
                &json!({
                    "request": request.0,
                    "uid": uid,
                    "requestor": requestor,
                    "justification": justification,
                    "grants": grants.len(),
                }),
            )?;
            let mut ids = Vec::with_capacity(grants.len());
            for grant in grants {
                let id = insert_grant(transaction, request, &clocks.boot_id, grant)?;
                let NewGrantRow { port, source, start: _, end_wall, end_boot: _ } = grant;
                audit.add(
                    "granted",
                    &json!({
                        "grant": id.0,
                        "request": request.0,
                        "number": port.number,
                        "protocol": port.protocol.to_string(),
                        "source": source.to_string(),
                        "end": end_wall.to_string(),
                        "uid": uid,
                        "requestor": requestor,
                    }),
                )?;
                ids.push(id);
            }
            Ok((request, ids))
        })
    }

    /// Notes that the kernel has all grants of a request, just before that is answered.
    ///
    /// Does not wait for the disk. It has to survive this process only, since its successor tells by it what was
    /// answered; after loss of power the kernel has no grant anyway, and what the store says is opened afresh.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn mark_live(&mut self, request: RequestId) -> Result<(), StoreError> {
        self.transaction(Durability::Process, "recording grants as live", |transaction| {
            transaction
                .prepare_cached("UPDATE grants SET state = ? WHERE request_id = ? AND state = ?")?
                .execute(params![GrantState::Live.name(), request.0, GrantState::Opening.name()])?;
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
    pub fn end_grants(&mut self, ids: &[GrantId], ending: &Ending) -> Result<(), StoreError> {
        self.closing("recording the end of grants", |transaction| {
            let mut audit = AuditWriter::new(transaction, ending.wall)?;
            ids.iter().try_for_each(|id| end_grant(transaction, &mut audit, id.0, ending))
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
            let update = "UPDATE grants SET boot_id = ?, end_boot = ?, state = ? \
                          WHERE id = ? AND state IN ('opening', 'live')";
            let mut update = transaction.prepare_cached(update)?;
            for (id, end) in ends {
                update.execute(params![clocks.boot_id, boot_column(*end), GrantState::Live.name(), id.0])?;
            }
            Ok(())
        })
    }

    /// Records a request that the port policies don't allow, for the audit log only. Survives loss of power.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn record_denied(
        &mut self,
        wall: Timestamp,
        (uid, name): (u32, &str),
        justification: &str,
        violations: &[Violation],
    ) -> Result<(), StoreError> {
        let show = |Violation { port, field, given, allowed }: &Violation| -> Value {
            json!({ "port": port, "field": field, "given": given, "allowed": allowed })
        };
        let listed: Vec<Value> = violations.iter().take(LISTED_VIOLATIONS).map(show).collect();
        let detail = json!({
            "uid": uid,
            "requestor": name,
            "justification": justification,
            "violations": listed,
            "violation_count": violations.len(),
        });
        self.record_event(wall, "denied", &detail)
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

fn insert_checkpoint(transaction: &Transaction<'_>, clocks: &Checkpoint) -> Result<(), Failure> {
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

fn insert_grant(
    transaction: &Transaction<'_>,
    request: RequestId,
    boot_id: &str,
    grant: &NewGrantRow,
) -> Result<GrantId, Failure> {
    let insert = "INSERT INTO grants (request_id, number, protocol, source, start_wall, end_wall, boot_id, end_boot, \
                  state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    transaction.prepare_cached(insert)?.execute(params![
        request.0,
        grant.port.number,
        grant.port.protocol.to_string(),
        grant.source.to_string(),
        wall_column(grant.start),
        wall_column(grant.end_wall),
        boot_id,
        boot_column(grant.end_boot),
        GrantState::Opening.name(),
    ])?;
    Ok(GrantId(transaction.last_insert_rowid()))
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
                  WHERE id = ? AND state IN ('opening', 'live') RETURNING request_id, number, protocol, source";
    let by = ending.by.as_ref();
    let ended = transaction
        .prepare_cached(update)?
        .query_row(
            params![
                state,
                wall_column(ending.wall),
                optional(&ending.reason),
                by.map(|(uid, _)| uid),
                by.map(|(_, name)| name),
                id
            ],
            |row| {
                let (request, number): (i64, i64) = (row.get(0)?, row.get(1)?);
                let (protocol, source): (String, String) = (row.get(2)?, row.get(3)?);
                Ok(json!({
                    "grant": id,
                    "request": request,
                    "number": number,
                    "protocol": protocol,
                    "source": source,
                    "by": by.map(|(uid, name)| json!({ "uid": uid, "name": name })),
                    "reason": optional(&ending.reason),
                }))
            },
        )
        .optional()?;
    ended.map_or(Ok(()), |detail| audit.add(state, &detail))
}
