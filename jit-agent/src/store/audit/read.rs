//! Filtered reading of the audit log, beside the core. It uses a separate connection and short steps.

use std::path::PathBuf;

use jiff::Timestamp;
use jit_policy::AuditFilter;
use rusqlite::{
    Connection, OptionalExtension, Row,
    types::{Value, ValueRef},
};

use crate::store::{
    Store,
    clocks::wall_column,
    error::{Failure, StoreError},
    file,
};

const ACTION: &str = "reading the audit log";
/// The number of bytes after which rows are handed out, and the bytes of a row besides its detail.
const BYTES: usize = 1 << 20;
const FIXED: usize = 200;
/// The largest number of rows that is counted for a filter. A row count only serves to find the rarest term, so it
/// need not be exact.
const COUNTED: i64 = 20_000;

/// One row as stored. Only [`AuditReader::verify`] shows whether a row is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// The row's number.
    pub seq: i64,
    /// The time when the row was written, by the wall clock.
    pub wall: Timestamp,
    /// The name of the event.
    pub event: String,
    /// The particulars of the event as JSON, unless someone changed the file.
    pub detail: String,
    /// The row's hash of 32 bytes, unless someone changed the file.
    pub hash: Vec<u8>,
}

/// A reader of the audit log that does not need the core. Its methods wait for the disk.
#[derive(Clone, Debug)]
pub struct AuditReader {
    pub(super) path: PathBuf,
}

impl Store {
    /// Makes a reader of the audit log that does not depend on this store object.
    #[must_use]
    pub fn audit_reader(&self) -> AuditReader {
        AuditReader { path: self.path.clone() }
    }
}

impl AuditReader {
    /// The rows after number `after` that fit the filter, up to the log's present last row.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn rows(&self, filter: &AuditFilter, after: i64) -> Result<AuditRows, StoreError> {
        let connection = file::connect_to_read(&self.path)?;
        let (sql, values, after) =
            select(&connection, filter, after).map_err(|failure| failure.report(&self.path, ACTION))?;
        Ok(AuditRows { connection, path: self.path.clone(), sql, values, after })
    }
}

/// Rows of the audit log, a few at a time.
#[derive(Debug)]
pub struct AuditRows {
    connection: Connection,
    path: PathBuf,
    sql: String,
    /// The statement's parameters, except the first two (the last number that was read, and the row limit).
    values: Vec<Value>,
    after: i64,
}

impl AuditRows {
    /// Reads the next rows, at most `limit`, and not many more bytes than 1 MiB. No rows are returned only at the end.
    /// Between two calls no lock is held, so the store can write and clean up.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn next(&mut self, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.read(limit).map_err(|failure| failure.report(&self.path, ACTION))
    }

    fn read(&mut self, limit: usize) -> Result<Vec<AuditRow>, Failure> {
        let mut statement = self.connection.prepare_cached(&self.sql)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = [self.after.into(), limit.into()].into_iter().chain(self.values.iter().cloned());
        let mut rows = statement.query_map(rusqlite::params_from_iter(values), AuditRow::read)?;
        let (mut found, mut length) = (Vec::new(), 0);
        while length < BYTES
            && let Some(row) = rows.next().transpose()?
        {
            length += FIXED + row.detail.len();
            self.after = row.seq;
            found.push(row);
        }
        Ok(found)
    }
}

impl AuditRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let bytes = |column| -> rusqlite::Result<Vec<u8>> {
            Ok(match row.get_ref(column)? {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
                _ => Vec::new(),
            })
        };
        // Someone may have changed the file. The changed text must still be readable.
        let text = |column| -> rusqlite::Result<String> { Ok(String::from_utf8_lossy(&bytes(column)?).into_owned()) };
        let nanoseconds: i64 = row.get("wall")?;
        Ok(Self {
            seq: row.get("seq")?,
            // Every i64 of nanoseconds is a valid time.
            wall: Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_default(),
            event: text("event")?,
            detail: text("detail")?,
            hash: bytes("hash")?,
        })
    }
}

/// The statement for a filter, the statement's parameters from the third on, and the number after which rows fit.
fn select(connection: &Connection, filter: &AuditFilter, after: i64) -> Result<(String, Vec<Value>, i64), Failure> {
    let AuditFilter { since, until, user, port, event } = filter;
    let terms = [
        user.as_ref().map(|name| format!("user:{name}")),
        port.map(|number| format!("port:{number}")),
        event.as_ref().map(|name| format!("event:{name}")),
    ];
    let mut terms = terms
        .into_iter()
        .flatten()
        .map(|term| {
            let count = "SELECT count(*) FROM (SELECT 1 FROM audit_terms WHERE term = ? AND seq > ? LIMIT ?)";
            let count: i64 = connection.query_row(count, (&term, after, COUNTED), |row| row.get(0))?;
            Ok((count, term))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    // The rarest term leads the query. Each row that it finds is checked against the other terms.
    terms.sort();
    let mut values = Vec::new();
    let mut conditions = String::new();
    let mut terms = terms.into_iter().map(|(_, term)| term);
    let (from, seq) = match terms.next() {
        Some(term) => {
            conditions.push_str(" AND lead.term = ?");
            values.push(term.into());
            ("audit_terms AS lead CROSS JOIN audit ON audit.seq = lead.seq", "lead.seq")
        }
        None => ("audit", "audit.seq"),
    };
    for term in terms {
        conditions.push_str(&format!(" AND EXISTS (SELECT 1 FROM audit_terms WHERE term = ? AND seq = {seq})"));
        values.push(term.into());
    }
    let (first, last) = bounds(connection, *since, *until)?;
    conditions.push_str(&format!(" AND {seq} <= ?"));
    values.push(last.into());
    for (time, comparison) in [(since, ">="), (until, "<")] {
        if let Some(time) = time {
            conditions.push_str(&format!(" AND wall {comparison} ?"));
            values.push(wall_column(*time).into());
        }
    }
    let sql = format!(
        "SELECT audit.seq AS seq, wall, event, detail, hash FROM {from} WHERE {seq} > ?1{} ORDER BY {seq} LIMIT ?2",
        numbered(&conditions)
    );
    Ok((sql, values, after.max(first.saturating_sub(1))))
}

/// Numbers the placeholders, starting with 3.
fn numbered(conditions: &str) -> String {
    let mut parts = conditions.split('?');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (index, part) in parts.enumerate() {
        text.push_str(&format!("?{}{part}", index + 3));
    }
    text
}

/// The first and last number between which all rows of a time span lie. The clock may have been set back, so other rows
/// can lie there too.
fn bounds(connection: &Connection, since: Option<Timestamp>, until: Option<Timestamp>) -> Result<(i64, i64), Failure> {
    let ends = |order: &str| -> Result<Option<(i64, i64)>, Failure> {
        let select = format!("SELECT seq, wall FROM audit ORDER BY {order} LIMIT 1");
        Ok(connection.query_row(&select, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    };
    let (Some((mut last, _)), Some((_, earliest)), Some((_, latest))) =
        (ends("seq DESC")?, ends("wall")?, ends("wall DESC")?)
    else {
        return Ok((1, 0));
    };
    let mut first = 1;
    if let Some(since) = since.map(wall_column).filter(|since| *since > earliest) {
        let select = "SELECT min(seq) FROM audit INDEXED BY audit_by_wall WHERE wall >= ?";
        first = connection.query_row(select, [since], |row| row.get::<_, Option<i64>>(0))?.unwrap_or(i64::MAX);
    }
    if let Some(until) = until.map(wall_column).filter(|until| *until <= latest) {
        let select = "SELECT max(seq) FROM audit INDEXED BY audit_by_wall WHERE wall < ?";
        last = connection.query_row(select, [until], |row| row.get::<_, Option<i64>>(0))?.unwrap_or(0);
    }
    Ok((first, last))
}
