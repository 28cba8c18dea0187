//! What the core reads back.

use rusqlite::{Connection, Params};

use super::{
    Store,
    error::{Failure, StoreError},
    rows::{Checkpoint, Fields, GRANT_COLUMNS, GrantRow, REQUEST_COLUMNS, RequestRow},
};
use crate::policy::{GrantId, RequestId};

impl Store {
    /// The grants that have not ended, in the order of their numbers.
    ///
    /// # Errors
    /// The store can't be read; a value in it is not valid.
    pub fn open_grants(&self) -> Result<Vec<GrantRow>, StoreError> {
        self.query("reading the open grants", |connection| {
            // Worded as the index is.
            grants(connection, "WHERE state IN ('opening', 'live') ORDER BY grants.id", [])
        })
    }

    /// One grant; `None` if there is none of that number.
    ///
    /// # Errors
    /// The store can't be read; a value in it is not valid.
    pub fn grant(&self, id: GrantId) -> Result<Option<GrantRow>, StoreError> {
        let found = self.query("reading a grant", |connection| grants(connection, "WHERE grants.id = ?", [id.0]))?;
        Ok(found.into_iter().next())
    }

    /// The newest requests with their grants, newest first.
    ///
    /// # Errors
    /// The store can't be read; a value in it is not valid.
    pub fn requests(&self, limit: usize) -> Result<Vec<RequestRow>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.query("reading the requests", |connection| requests(connection, "ORDER BY id DESC LIMIT ?", [limit]))
    }

    /// One request with its grants; `None` if there is none of that number.
    ///
    /// # Errors
    /// The store can't be read; a value in it is not valid.
    pub fn request(&self, id: RequestId) -> Result<Option<RequestRow>, StoreError> {
        let found = self.query("reading a request", |connection| requests(connection, "WHERE id = ?", [id.0]))?;
        Ok(found.into_iter().next())
    }

    /// What both clocks showed when they were last noted; `None` if they never were.
    ///
    /// # Errors
    /// The store can't be read; a value in it is not valid.
    pub fn last_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.query("reading the noted clocks", |connection| {
            let select = "SELECT id, machine_id, boot_id, boottime_ns, wall FROM checkpoint";
            let mut statement = connection.prepare_cached(select)?;
            let mut rows = statement.query([])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let fields = Fields::new(row, "checkpoint", "id")?;
            Ok(Some(Checkpoint {
                machine_id: fields.get("machine_id")?,
                boot_id: fields.get("boot_id")?,
                boot: fields.boot("boottime_ns")?,
                wall: fields.wall("wall")?,
            }))
        })
    }
}

fn grants(connection: &Connection, condition: &str, params: impl Params) -> Result<Vec<GrantRow>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{GRANT_COLUMNS} {condition}"))?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(GrantRow::read(row)?);
    }
    Ok(found)
}

fn requests(connection: &Connection, condition: &str, params: impl Params) -> Result<Vec<RequestRow>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{REQUEST_COLUMNS} {condition}"))?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut request = RequestRow::read(row)?;
        request.grants = grants(connection, "WHERE request_id = ? ORDER BY grants.id", [request.id.0])?;
        found.push(request);
    }
    Ok(found)
}
