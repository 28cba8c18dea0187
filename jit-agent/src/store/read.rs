//! The records that the core reads back.

use std::path::PathBuf;

use jiff::Timestamp;
use jit_policy::{BootTime, GrantId, PortId, RequestId, Requestor};
use rusqlite::{Connection, Params, params};

use super::{
    Store,
    clocks::{Checkpoint, wall_column},
    error::{Failure, StoreError},
    file,
    rows::{Fields, GRANT_COLUMNS, GrantRow, REQUEST_COLUMNS, RequestRow, requestor},
};

/// The selection of the requests to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestPage {
    /// Only requests of this user.
    pub of: Option<u32>,
    /// Whether only requests that wait for approval are read.
    pub pending: bool,
    /// Only requests that are older than this request.
    pub before: Option<RequestId>,
    /// The largest number of requests.
    pub limit: usize,
    /// The number of bytes of the answer after which reading stops. The last request may exceed this number.
    pub bytes: usize,
}

/// A reader of requests that does not need the core. Its methods wait for the disk.
#[derive(Clone, Debug)]
pub struct RequestReader {
    path: PathBuf,
}

impl RequestReader {
    /// Requests with their grants, newest first, and whether there are more: only requests older than `before`, up to
    /// `limit` requests. Reading stops after the request with which the answer has about `bytes`.
    ///
    /// # Errors
    /// The store can't be read, or a value in the store is not valid.
    pub fn page(&self, page: &RequestPage) -> Result<(Vec<RequestRow>, bool), StoreError> {
        let connection = file::connect_to_read(&self.path)?;
        read_page(&connection, page).map_err(|failure| failure.report(&self.path, "reading the requests"))
    }
}

fn read_page(connection: &Connection, page: &RequestPage) -> Result<(Vec<RequestRow>, bool), Failure> {
    let RequestPage { of, pending, before, limit, bytes: most } = page;
    // The condition must have the index's wording, or SQLite does not use the index.
    let pending = if *pending { "AND status = 'pending'" } else { "" };
    let of_user = if of.is_some() { "AND uid = ?2" } else { "AND ?2 IS NULL" };
    let select = format!("{REQUEST_COLUMNS} WHERE id < ?1 {of_user} {pending} ORDER BY id DESC");
    let before = before.map_or(i64::MAX, |before| before.0);
    // All statements see the same moment.
    let transaction = connection.unchecked_transaction()?;
    let mut statement = transaction.prepare_cached(&select)?;
    let mut rows = statement.query(params![before, of])?;
    let (mut found, mut length) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if found.len() >= *limit || length >= *most {
            return Ok((found, true));
        }
        let request = with_grants(&transaction, RequestRow::read(row)?)?;
        length += request.listed_length();
        found.push(request);
    }
    Ok((found, false))
}

/// The use of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortUse {
    /// The number of requests that opened the port.
    pub approved_requests: u64,
    /// The time of the last connection that a grant allowed, and the grant's requestor.
    pub last_connection: Option<(Timestamp, String)>,
}

impl Store {
    /// The grants that have not ended, in the order of their numbers.
    ///
    /// # Errors
    /// The store can't be read, or a value in the store is not valid.
    pub fn open_grants(&self) -> Result<Vec<GrantRow>, StoreError> {
        self.query("reading the open grants", |connection| {
            // The condition must have the index's wording, or SQLite does not use the index.
            grants(connection, "WHERE state IN ('opening', 'live') ORDER BY grants.id", [])
        })
    }

    /// One grant, for tests; `None`: no grant has this number.
    ///
    /// # Errors
    /// The store can't be read, or a value in the store is not valid.
    #[cfg(test)]
    pub fn grant(&self, id: GrantId) -> Result<Option<GrantRow>, StoreError> {
        let found = self.query("reading a grant", |connection| grants(connection, "WHERE grants.id = ?", [id.0]))?;
        Ok(found.into_iter().next())
    }

    /// The requestor of a grant; `None`: no grant has this number.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn requestor_of(&self, id: GrantId) -> Result<Option<Requestor>, StoreError> {
        self.query("reading a grant", |connection| {
            let select = "SELECT requests.id AS id, requestor, uid, sender, login_uid, login, named FROM grants \
                          JOIN requests ON requests.id = request_id WHERE grants.id = ?";
            let mut statement = connection.prepare_cached(select)?;
            let mut rows = statement.query([id.0])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            Ok(Some(requestor(&Fields::new(row, "requests", "id")?)?))
        })
    }

    /// Makes a reader of requests that does not depend on this store object.
    #[must_use]
    pub fn request_reader(&self) -> RequestReader {
        RequestReader { path: self.path.clone() }
    }

    /// The requests that wait for approval, in the order of their numbers.
    ///
    /// # Errors
    /// The store can't be read, or a value in the store is not valid.
    pub fn pending_requests(&self) -> Result<Vec<RequestRow>, StoreError> {
        self.query("reading the requests that wait for approval", |connection| {
            requests(connection, "WHERE status = 'pending' ORDER BY id", [])
        })
    }

    /// The use of a port: the number of requests that opened the port since a time, and the last connection.
    ///
    /// # Errors
    /// The store can't be read, or a value in the store is not valid.
    pub fn port_use(&self, port: PortId, since: Timestamp) -> Result<PortUse, StoreError> {
        self.query("reading the use of a port", |connection| {
            // A grant may cover less than its policy, for instance TCP only where all protocols are protected.
            let count = "SELECT count(DISTINCT request_id) FROM grants WHERE number = ?1 AND start_wall >= ?2 \
                         AND (?3 = 'any' OR protocol = ?3)";
            let protocol = port.protocol.to_string();
            let approved_requests = connection
                .prepare_cached(count)?
                .query_row(params![port.number, wall_column(since), protocol], |row| row.get::<_, i64>(0))?;
            let approved_requests = u64::try_from(approved_requests).unwrap_or_default();
            let last = "SELECT number AS id, last_connection, requestor FROM port_use WHERE number = ?1 \
                        AND (?2 = 'any' OR protocol = ?2) ORDER BY last_connection DESC LIMIT 1";
            let mut statement = connection.prepare_cached(last)?;
            let mut rows = statement.query(params![port.number, protocol])?;
            let last_connection = match rows.next()? {
                Some(row) => {
                    let fields = Fields::new(row, "port_use", "id")?;
                    Some((fields.wall("last_connection")?, fields.get("requestor")?))
                }
                None => None,
            };
            Ok(PortUse { approved_requests, last_connection })
        })
    }

    /// The time of the last noted connection of a break-glass source in this boot.
    ///
    /// # Errors
    /// The store can't be read, or a value in the store is not valid.
    pub fn break_glass_noted(&self, source: &str, boot_id: &str) -> Result<Option<BootTime>, StoreError> {
        self.query("reading the use of break-glass", |connection| {
            let select = "SELECT 0 AS id, last_boot FROM break_glass_use WHERE source = ? AND boot_id = ?";
            let mut statement = connection.prepare_cached(select)?;
            let mut rows = statement.query([source, boot_id])?;
            match rows.next()? {
                Some(row) => Ok(Some(Fields::new(row, "break_glass_use", "id")?.boot("last_boot")?)),
                None => Ok(None),
            }
        })
    }

    /// One request with its grants; `None`: no request has this number.
    ///
    /// # Errors
    /// The store can't be read, or a value in the store is not valid.
    pub fn request(&self, id: RequestId) -> Result<Option<RequestRow>, StoreError> {
        self.query("reading a request", |connection| request(connection, id))
    }

    /// The last checkpoint of both clocks; `None`: the clocks were never noted.
    ///
    /// # Errors
    /// The store can't be read, or a value in the store is not valid.
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

pub(super) fn request(connection: &Connection, id: RequestId) -> Result<Option<RequestRow>, Failure> {
    Ok(requests(connection, "WHERE id = ?", [id.0])?.into_iter().next())
}

fn requests(connection: &Connection, condition: &str, params: impl Params) -> Result<Vec<RequestRow>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{REQUEST_COLUMNS} {condition}"))?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(with_grants(connection, RequestRow::read(row)?)?);
    }
    Ok(found)
}

fn with_grants(connection: &Connection, mut request: RequestRow) -> Result<RequestRow, Failure> {
    request.grants = grants(connection, "WHERE request_id = ? ORDER BY grants.id", [request.id.0])?;
    Ok(request)
}
