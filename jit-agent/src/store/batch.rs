//! Batches of records that open grants. All requests that arrive during one wait for the disk share the next wait.

use jiff::Timestamp;
use jit_policy::{
    GrantId, IdempotencyKey, Person, RequestId, RequestState, Requestor,
    audit::{AskedPorts, AuditEvent, IfAny, StoredGrant},
};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{
    Durability, Store,
    audit::AuditWriter,
    clocks::{Checkpoint, Deadline, boot_column, wall_column},
    error::{Failure, StoreError},
    new::{NewGrantRow, NewOutcome, NewRequestRow},
    read, requested_ports,
    rows::RequestRow,
    states::{GrantState, status_column},
    write::insert_checkpoint,
};

/// A transaction under way. Each method of the batch records everything or nothing.
#[derive(Debug)]
pub struct Batch<'store> {
    transaction: Transaction<'store>,
    path: &'store std::path::Path,
    /// The error by which the whole transaction is lost. If the disk is full, SQLite undoes the whole transaction at
    /// once.
    lost: Option<StoreError>,
}

impl Store {
    /// Records everything that `work` does in one transaction. When this function returns, the records survive loss of
    /// power.
    ///
    /// # Errors
    /// The store can't be written. Then nothing of the batch is recorded.
    pub fn batch<T>(&mut self, work: impl FnOnce(&mut Batch<'_>) -> T) -> Result<T, StoreError> {
        let action = "recording a request";
        let Self { connection, path, .. } = self;
        let done = (|| {
            connection.pragma_update(None, "synchronous", Durability::Machine.level())?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut batch = Batch { transaction, path, lost: None };
            let done = work(&mut batch);
            if let Some(error) = batch.lost {
                return Err(error.into());
            }
            batch.transaction.commit()?;
            Ok(done)
        })()
        .map_err(|failure: Failure| failure.report(path, action))?;
        self.announce();
        Ok(done)
    }

    /// Makes sure that there is space for closings, and for the next records. Without that space, only admins may open
    /// something.
    ///
    /// # Errors
    /// There is no space for closings.
    pub fn check_reserve(&mut self) -> Result<(), StoreError> {
        self.allocate_reserve("recording a request")?;
        match self.shortage() {
            Some(shortage) => Err(shortage),
            None => {
                // The space that admins have used is kept for them again. If it can't be, it is tried again.
                drop(self.spare.allocate());
                Ok(())
            }
        }
    }

    /// Frees the space that is kept for openings by admins.
    pub fn release_spare(&mut self) {
        self.spare.release();
    }

    /// Records one request. The request's grants are then `opening`, in their order. The record survives loss of power.
    ///
    /// # Errors
    /// The store can't be written, or there is no space left to record the grants' ends too. Then nothing is recorded.
    pub fn begin_request(&mut self, new: &NewRequestRow) -> Result<(RequestId, Vec<GrantId>), StoreError> {
        self.check_reserve()?;
        self.batch(|batch| batch.begin_request(new))?
    }
}

impl Batch<'_> {
    fn savepoint<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, StoreError> {
        if self.lost.is_some() {
            return Err(StoreError::Lost);
        }
        let path = self.path;
        let attempt = || {
            // A savepoint that is dropped before its commit is rolled back.
            let savepoint = self.transaction.savepoint()?;
            let done = work(&savepoint)?;
            savepoint.commit()?;
            Ok(done)
        };
        let done = attempt().map_err(|failure: Failure| failure.report(path, "recording a request"));
        match done {
            Err(error) if self.transaction.is_autocommit() => {
                self.lost = Some(error);
                Err(StoreError::Lost)
            }
            done => done,
        }
    }

    /// Records a request. The request's grants are then `opening`, in their order.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn begin_request(&mut self, new: &NewRequestRow) -> Result<(RequestId, Vec<GrantId>), StoreError> {
        self.savepoint(|connection| {
            let NewRequestRow { requestor, asked: request, start, clocks, key, outcome } = new;
            // Each grant needs a checkpoint, which bounds the grant's remaining time after a reboot.
            insert_checkpoint(connection, clocks)?;
            let id = insert_request(connection, new)?;
            if let Some(IdempotencyKey { key, body }) = key {
                let insert = "INSERT INTO idempotency (uid, key, wall, body, request_id) VALUES (?, ?, ?, ?, ?)";
                connection.prepare_cached(insert)?.execute(params![
                    requestor.sender.uid,
                    key,
                    wall_column(*start),
                    body,
                    id.0
                ])?;
            }
            let mut audit = AuditWriter::new(connection, *start)?;
            let (pending_until, extends) = match outcome {
                NewOutcome::Grants(_) => (None, None),
                NewOutcome::Pending { until, extends } => (Some(until.wall), *extends),
            };
            audit.add(&AuditEvent::Requested {
                request: id,
                requestor: requestor.identity(),
                uid: requestor.sender.uid,
                by: requestor.sender.clone(),
                justification: request.justification.clone(),
                ports: AskedPorts::of(&request.ports),
                pending_until: IfAny(pending_until),
                grant: IfAny(extends),
            })?;
            let grants = match outcome {
                NewOutcome::Grants(grants) => insert_grants(connection, &mut audit, (id, requestor), clocks, grants)?,
                NewOutcome::Pending { .. } => Vec::new(),
            };
            Ok((id, grants))
        })
    }

    /// Records that a pending request is approved, and records the request's grants. The grants are then `opening`.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn approve(
        &mut self,
        request: &RequestRow,
        by: &Person,
        clocks: &Checkpoint,
        grants: &[NewGrantRow],
    ) -> Result<Vec<GrantId>, StoreError> {
        self.savepoint(|connection| {
            insert_checkpoint(connection, clocks)?;
            let mut audit = AuditWriter::new(connection, clocks.wall)?;
            decide(connection, &mut audit, request, by, clocks.wall)?;
            insert_grants(connection, &mut audit, (request.id, &request.requestor), clocks, grants)
        })
    }

    /// Records that a request to extend a grant is approved.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn approve_extension(
        &mut self,
        request: &RequestRow,
        by: &Person,
        clocks: &Checkpoint,
        extension: &Extension<'_>,
    ) -> Result<(), StoreError> {
        self.savepoint(|connection| {
            insert_checkpoint(connection, clocks)?;
            let mut audit = AuditWriter::new(connection, clocks.wall)?;
            decide(connection, &mut audit, request, by, clocks.wall)?;
            extend(connection, &mut audit, by, extension)
        })
    }

    /// Records that a grant ends later. The former end is kept beside the new one until
    /// [`mark_live`](Store::mark_live).
    ///
    /// # Errors
    /// The store can't be written.
    pub fn extend(&mut self, by: &Person, clocks: &Checkpoint, extension: &Extension<'_>) -> Result<(), StoreError> {
        self.savepoint(|connection| {
            insert_checkpoint(connection, clocks)?;
            extend(connection, &mut AuditWriter::new(connection, clocks.wall)?, by, extension)
        })
    }

    /// Adds an event to the audit log.
    ///
    /// # Errors
    /// The store can't be written.
    pub fn note(&mut self, wall: Timestamp, event: &AuditEvent) -> Result<(), StoreError> {
        self.savepoint(|connection| AuditWriter::new(connection, wall)?.add(event))
    }

    /// A request with its grants; `None`: no request has this number.
    ///
    /// # Errors
    /// The store can't be read, or a value in the store is not valid.
    pub fn request(&self, id: RequestId) -> Result<Option<RequestRow>, StoreError> {
        read::request(&self.transaction, id).map_err(|failure| failure.report(self.path, "reading a request"))
    }

    /// The request that a user made with this idempotency key, and the hash of the request's body.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn made_by_key(&self, uid: u32, key: &str) -> Result<Option<(RequestId, [u8; 32])>, StoreError> {
        let select = "SELECT request_id, body FROM idempotency WHERE uid = ? AND key = ?";
        let find = || {
            let found = self
                .transaction
                .prepare_cached(select)?
                .query_row(params![uid, key], |row| Ok((RequestId(row.get(0)?), row.get(1)?)));
            Ok(found.optional()?)
        };
        find().map_err(|failure: Failure| failure.report(self.path, "looking for a repeated request"))
    }
}

/// A new end for a grant.
#[derive(Clone, Copy, Debug)]
pub struct Extension<'row> {
    /// The grant.
    pub grant: GrantId,
    /// The grant's requestor.
    pub requestor: &'row str,
    /// The grant with the new end.
    pub row: &'row NewGrantRow,
    /// The grant's former end.
    pub before: Deadline,
}

fn insert_request(connection: &Connection, new: &NewRequestRow) -> Result<RequestId, Failure> {
    let NewRequestRow { requestor, asked: request, start, clocks, key: _, outcome } = new;
    let Requestor { sender, named } = requestor;
    let (status, pending) = match outcome {
        NewOutcome::Grants(_) => (RequestState::Approved, None),
        NewOutcome::Pending { until, extends } => (RequestState::Pending, Some((until, extends))),
    };
    let login = sender.login.as_ref();
    let insert = "INSERT INTO requests (uid, requestor, justification, start_wall, status, sender, login_uid, login, \
                  named, extends, asked, decide_wall, decide_boot, decide_boot_id) \
                  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    connection.prepare_cached(insert)?.execute(params![
        sender.uid,
        requestor.identity(),
        request.justification,
        wall_column(*start),
        status_column(status),
        sender.name,
        login.map(|(uid, _)| uid),
        login.map(|(_, name)| name),
        named,
        pending.and_then(|(_, extends)| extends.map(|grant| grant.0)),
        pending.map(|_| requested_ports::write(request)),
        pending.map(|(until, _)| wall_column(until.wall)),
        pending.map(|(until, _)| boot_column(until.boot)),
        pending.map(|_| &clocks.boot_id),
    ])?;
    Ok(RequestId(connection.last_insert_rowid()))
}

fn insert_grants(
    connection: &Connection,
    audit: &mut AuditWriter<'_>,
    (request, requestor): (RequestId, &Requestor),
    clocks: &Checkpoint,
    grants: &[NewGrantRow],
) -> Result<Vec<GrantId>, Failure> {
    let insert = "INSERT INTO grants (request_id, number, protocol, source, start_wall, end_wall, boot_id, end_boot, \
                  state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let mut insert = connection.prepare_cached(insert)?;
    let identity = requestor.identity();
    let mut ids = Vec::with_capacity(grants.len());
    for NewGrantRow { port, source, start, end_wall, end_boot } in grants {
        insert.execute(params![
            request.0,
            port.number,
            port.protocol.to_string(),
            source.to_string(),
            wall_column(*start),
            wall_column(*end_wall),
            clocks.boot_id,
            boot_column(*end_boot),
            GrantState::Opening.name(),
        ])?;
        let id = GrantId(connection.last_insert_rowid());
        audit.add(&AuditEvent::Granted {
            grant: StoredGrant::new(id, request, *port, *source),
            end: *end_wall,
            requestor: identity.clone(),
            uid: requestor.sender.uid,
        })?;
        ids.push(id);
    }
    Ok(ids)
}

fn decide(
    connection: &Connection,
    audit: &mut AuditWriter<'_>,
    request: &RequestRow,
    by: &Person,
    wall: Timestamp,
) -> Result<(), Failure> {
    let update = "UPDATE requests SET status = ?, decided_wall = ?, decided_uid = ?, decided_by = ?, asked = NULL \
                  WHERE id = ? AND status = 'pending'";
    let changed = connection.prepare_cached(update)?.execute(params![
        status_column(RequestState::Approved),
        wall_column(wall),
        by.uid,
        by.name,
        request.id.0
    ])?;
    if changed == 0 {
        return Err(StoreError::NoRequest(request.id.0).into());
    }
    audit.add(&AuditEvent::Approved {
        request: request.id,
        requestor: request.identity.clone(),
        uid: request.requestor.sender.uid,
        by: by.clone(),
    })
}

fn extend(
    connection: &Connection,
    audit: &mut AuditWriter<'_>,
    by: &Person,
    extension: &Extension<'_>,
) -> Result<(), Failure> {
    let Extension { grant, requestor, row, before } = extension;
    let update = "UPDATE grants SET end_wall = ?, end_boot = ?, prior_end_wall = ?, prior_end_boot = ? \
                  WHERE id = ? AND state = 'live' RETURNING request_id";
    let request: Option<i64> = connection
        .prepare_cached(update)?
        .query_row(
            params![
                wall_column(row.end_wall),
                boot_column(row.end_boot),
                wall_column(before.wall),
                boot_column(before.boot),
                grant.0
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(request) = request else { return Err(StoreError::NoGrant(grant.0).into()) };
    audit.add(&AuditEvent::Extended {
        grant: StoredGrant::new(*grant, RequestId(request), row.port, row.source),
        end: row.end_wall,
        before: before.wall,
        requestor: (*requestor).to_owned(),
        by: by.clone(),
    })
}
