//! The rows of the store as values. Every value is checked when it is read: the file may have been edited by hand.

use ipnet::IpNet;
use jiff::Timestamp;
use jit_policy::{
    BootTime, GrantId, Person, PortId, Protocol, RequestId, RequestState, RequestedPort, Requestor, parse_source,
};
use rusqlite::{
    Row,
    types::{FromSql, ValueRef},
};

use super::{
    clocks::Deadline,
    error::StoreError,
    requested_ports,
    states::{GrantState, status_column},
};

/// The length of the longest part of a bad value that an error shows.
const SHOWN: usize = 80;

/// A request as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRow {
    /// The request's number.
    pub id: RequestId,
    /// The requestor.
    pub requestor: Requestor,
    /// The requestor's name.
    pub identity: String,
    /// The reason, which may be empty.
    pub justification: String,
    /// The time of the request.
    pub start: Timestamp,
    /// The request's state.
    pub status: RequestState,
    /// The reason why the request was denied, cancelled or failed.
    pub status_reason: Option<String>,
    /// The person who approved, denied or cancelled the request: user id and name.
    pub decided_by: Option<(u32, String)>,
    /// The requested access, if the request waits for approval.
    pub pending: Option<PendingRow>,
    /// The request's grants in the order of their numbers.
    pub grants: Vec<GrantRow>,
}

/// The requested access of a request that waits for approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRow {
    /// The ports.
    pub ports: Vec<RequestedPort>,
    /// The grant that the request would extend; `None`: the request asks for new grants.
    pub extends: Option<GrantId>,
    /// The time until which the request waits.
    pub until: Deadline,
    /// The boot in which the BOOTTIME of `until` counts.
    pub boot_id: String,
}

/// A grant as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRow {
    /// The grant's number.
    pub id: GrantId,
    /// The request that the grant came from.
    pub request: RequestId,
    /// The requestor.
    pub who: Requestor,
    /// The requestor's name.
    pub requestor: String,
    /// The port.
    pub port: PortId,
    /// The source prefix.
    pub source: IpNet,
    /// The time when the grant was made.
    pub start: Timestamp,
    /// The grant's end by the wall clock.
    pub end_wall: Timestamp,
    /// The boot in which `end_boot` counts.
    pub boot_id: String,
    /// The grant's end on BOOTTIME.
    pub end_boot: BootTime,
    /// The grant's end before an extension that was recorded, but perhaps not carried out.
    pub prior_end: Option<Deadline>,
    /// The grant's state.
    pub state: GrantState,
    /// The time of the first connection that the grant allowed, if it was noted.
    pub first_connection: Option<Timestamp>,
    /// The time when the grant ended.
    pub ended: Option<Timestamp>,
    /// The reason why the grant ended.
    pub ended_reason: Option<String>,
    /// The person who ended the grant: user id and name.
    pub ended_by: Option<(u32, String)>,
}

/// The columns of [`GrantRow`].
pub(super) const GRANT_COLUMNS: &str = "SELECT grants.id AS id, request_id, requestor, uid, sender, login_uid, login, named, number, protocol, source, \
     grants.start_wall AS start_wall, end_wall, boot_id, end_boot, prior_end_boot, prior_end_wall, state, \
     first_connection, ended_wall, ended_reason, ended_by_uid, ended_by FROM grants LEFT JOIN requests ON requests.id = request_id";

/// The columns of [`RequestRow`].
pub(super) const REQUEST_COLUMNS: &str = "SELECT id, uid, requestor, justification, start_wall, status, status_reason, sender, login_uid, login, named, \
     extends, asked, decide_wall, decide_boot, decide_boot_id, decided_uid, decided_by FROM requests";

/// The fields of a row, which are converted to values.
pub(super) struct Fields<'row> {
    row: &'row Row<'row>,
    table: &'static str,
    id: i64,
}

impl<'row> Fields<'row> {
    /// `id` names the column that holds the row's number.
    pub(super) fn new(row: &'row Row<'row>, table: &'static str, id: &'static str) -> Result<Self, StoreError> {
        let mut fields = Self { row, table, id: 0 };
        fields.id = fields.get(id)?;
        Ok(fields)
    }

    /// A column's value of the right type.
    pub(super) fn get<T: FromSql>(&self, column: &'static str) -> Result<T, StoreError> {
        self.row.get(column).map_err(|_| self.corrupt(column))
    }

    /// A column's value, if `convert` finds it valid.
    pub(super) fn convert<V: FromSql, T>(
        &self,
        column: &'static str,
        convert: impl FnOnce(V) -> Option<T>,
    ) -> Result<T, StoreError> {
        convert(self.get(column)?).ok_or_else(|| self.corrupt(column))
    }

    pub(super) fn wall(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.convert(column, |nanoseconds: i64| Timestamp::from_nanosecond(i128::from(nanoseconds)).ok())
    }

    fn optional_wall(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        if self.has(column)? { self.wall(column).map(Some) } else { Ok(None) }
    }

    pub(super) fn boot(&self, column: &'static str) -> Result<BootTime, StoreError> {
        self.convert(column, |nanoseconds: i64| u64::try_from(nanoseconds).ok().map(BootTime))
    }

    fn uid(&self, column: &'static str) -> Result<u32, StoreError> {
        self.convert(column, |uid: i64| u32::try_from(uid).ok())
    }

    fn has(&self, column: &'static str) -> Result<bool, StoreError> {
        Ok(self.row.get_ref(column).map_err(|_| self.corrupt(column))? != ValueRef::Null)
    }

    fn corrupt(&self, column: &'static str) -> StoreError {
        let value = match self.row.get_ref(column) {
            Ok(ValueRef::Null) => "NULL".to_owned(),
            Ok(ValueRef::Integer(value)) => value.to_string(),
            Ok(ValueRef::Real(value)) => value.to_string(),
            Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).chars().take(SHOWN).collect(),
            Ok(ValueRef::Blob(bytes)) => format!("{} bytes", bytes.len()),
            Err(error) => error.to_string(),
        };
        StoreError::Corrupt { table: self.table, id: self.id, column, value }
    }
}

impl GrantRow {
    pub(super) fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        let fields = Fields::new(row, "grants", "id")?;
        let number =
            fields.convert("number", |number: i64| u16::try_from(number).ok().filter(|number| *number != 0))?;
        let protocol = fields.convert("protocol", |text: String| text.parse::<Protocol>().ok())?;
        let ended = fields.optional_wall("ended_wall")?;
        let prior_end = match fields.optional_wall("prior_end_wall")? {
            Some(wall) => Some(Deadline { boot: fields.boot("prior_end_boot")?, wall }),
            None => None,
        };
        let ended_by =
            if fields.has("ended_by")? { Some((fields.uid("ended_by_uid")?, fields.get("ended_by")?)) } else { None };
        Ok(Self {
            id: GrantId(fields.id),
            request: RequestId(fields.get("request_id")?),
            who: requestor(&fields)?,
            requestor: fields.get("requestor")?,
            port: PortId { number, protocol },
            source: fields.convert("source", |text: String| parse_source(&text).ok())?,
            start: fields.wall("start_wall")?,
            end_wall: fields.wall("end_wall")?,
            boot_id: fields.get("boot_id")?,
            end_boot: fields.boot("end_boot")?,
            prior_end,
            first_connection: fields.optional_wall("first_connection")?,
            state: fields
                .convert("state", |text: String| GrantState::ALL.into_iter().find(|state| state.name() == text))?,
            ended,
            ended_reason: fields.get("ended_reason")?,
            ended_by,
        })
    }
}

impl RequestRow {
    /// About how many bytes the request has in a list.
    pub(super) fn listed_length(&self) -> usize {
        /// The bytes of a request without its lists, of a source, and of a grant.
        const FIXED: usize = 400;
        const SOURCE: usize = 48;
        const GRANT: usize = 450;
        let ports = self.pending.iter().flat_map(|pending| &pending.ports);
        let sources: usize = ports.map(|port| 2 + port.sources.len()).sum();
        FIXED + self.justification.len() + sources * SOURCE + self.grants.len() * GRANT
    }

    /// Reads a request without its grants.
    pub(super) fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        let fields = Fields::new(row, "requests", "id")?;
        let identity: String = fields.get("requestor")?;
        let of_text = |text: String| RequestState::ALL.iter().copied().find(|state| status_column(*state) == text);
        let status = fields.convert("status", of_text)?;
        let pending = if status == RequestState::Pending { Some(PendingRow::read(&fields)?) } else { None };
        let decided_by = match fields.get::<Option<String>>("decided_by")? {
            Some(name) => Some((fields.uid("decided_uid")?, name)),
            None => None,
        };
        Ok(Self {
            id: RequestId(fields.id),
            requestor: requestor(&fields)?,
            identity,
            justification: fields.get("justification")?,
            start: fields.wall("start_wall")?,
            status,
            status_reason: fields.get("status_reason")?,
            decided_by,
            pending,
            grants: Vec::new(),
        })
    }
}

/// The requestor of a request.
pub(super) fn requestor(fields: &Fields<'_>) -> Result<Requestor, StoreError> {
    let login = if fields.has("login_uid")? { Some((fields.uid("login_uid")?, fields.get("login")?)) } else { None };
    // A row without a sender is from a version without delegates.
    let name = match fields.get("sender")? {
        Some(name) => name,
        None => fields.get("requestor")?,
    };
    Ok(Requestor { sender: Person { uid: fields.uid("uid")?, name, login }, named: fields.get("named")? })
}

impl PendingRow {
    fn read(fields: &Fields<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            ports: fields.convert("asked", |text: String| requested_ports::read(&text))?,
            extends: fields.get::<Option<i64>>("extends")?.map(GrantId),
            until: Deadline { boot: fields.boot("decide_boot")?, wall: fields.wall("decide_wall")? },
            boot_id: fields.get("decide_boot_id")?,
        })
    }
}

/// The stored form of an optional text: an empty text is stored as NULL.
pub(super) fn optional(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
