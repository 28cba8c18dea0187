//! What the core reads back.

use jiff::Timestamp;
use jit_policy::{BootTime, GrantId, PortId, RequestId};
use rusqlite::{Connection, Params, params};

use super::{
    Store,
    error::{Failure, StoreError},
    rows::{Checkpoint, Fields, GRANT_COLUMNS, GrantRow, REQUEST_COLUMNS, RequestRow, wall_column},
};

/// Which requests to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestPage {
    /// Of this user only.
    pub of: Option<u32>,
    /// Only those that wait for approval.
    pub pending: bool,
    /// Older than this one.
    pub before: Option<RequestId>,
    /// How many at most.
    pub limit: usize,
    /// With how many grants in all, more or less.
    pub grants: usize,
}

/// The use of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortUse {
    /// How many requests opened it.
    pub approved_requests: u64,
    /// The last connection that a grant let in, and whose grant that was.
    pub last_connection: Option<(Timestamp, String)>,
}

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

    /// Requests with their grants, newest first: those that are older than `before`, up to a number of requests, and no
    /// more than one after that many grants.
    ///
    /// # Errors
    /// The store can't be read; a value in it is not valid.
    pub fn requests(&self, page: &RequestPage) -> Result<Vec<RequestRow>, StoreError> {
        let RequestPage { of, pending, before, limit, grants: most } = page;
        // Worded as the index is.
        let pending = if *pending { "AND status = 'pending'" } else { "" };
        let of_user = if of.is_some() { "AND uid = ?2" } else { "AND ?2 IS NULL" };
        let select = format!("{REQUEST_COLUMNS} WHERE id < ?1 {of_user} {pending} ORDER BY id DESC LIMIT ?3");
        let before = before.map_or(i64::MAX, |before| before.0);
        let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
        self.query("reading the requests", |connection| {
            let mut statement = connection.prepare_cached(&select)?;
            let mut rows = statement.query(params![before, of, limit])?;
            let (mut found, mut count) = (Vec::new(), 0);
            while let Some(row) = rows.next()?.filter(|_| count < *most) {
                let request = with_grants(connection, RequestRow::read(row)?)?;
                count += request.grants.len();
                found.push(request);
            }
            Ok(found)
        })
    }

    /// The requests that wait for approval, in the order of their numbers.
    ///
    /// # Errors
    /// The store can't be read; a value in it is not valid.
    pub fn pending_requests(&self) -> Result<Vec<RequestRow>, StoreError> {
        self.query("reading the requests that wait for approval", |connection| {
            requests(connection, "WHERE status = 'pending' ORDER BY id", [])
        })
    }

    /// What is known of the use of a port, and how many requests opened it since a moment.
    ///
    /// # Errors
    /// The store can't be read; a value in it is not valid.
    pub fn port_use(&self, port: PortId, since: Timestamp) -> Result<PortUse, StoreError> {
        self.query("reading the use of a port", |connection| {
            // A grant may be for less than its policy: TCP alone where all is protected.
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

    /// When a source of break-glass last let a connection in, as far as that was noted in this boot.
    ///
    /// # Errors
    /// The store can't be read; a value in it is not valid.
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

    /// One request with its grants; `None` if there is none of that number.
    ///
    /// # Errors
    /// The store can't be read; a value in it is not valid.
    pub fn request(&self, id: RequestId) -> Result<Option<RequestRow>, StoreError> {
        self.query("reading a request", |connection| request(connection, id))
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
