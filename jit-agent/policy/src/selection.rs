//! Selections of records: of requests, grants and the audit log.

use std::str::FromStr;

use jiff::Timestamp;

use crate::{BootTime, GrantId, RequestId, hex};

/// A selection of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFilter {
    /// Whether only the requests that wait for approval are listed.
    pub pending: bool,
    /// The request before which the list starts: only older requests are listed.
    pub before: Option<RequestId>,
    /// The most requests in the list.
    pub limit: usize,
}

/// A selection of grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantFilter {
    /// The place after which the list starts, in the order of the grants' ends.
    pub after: Option<(BootTime, GrantId)>,
    /// The most grants in the list.
    pub limit: usize,
}

/// A part of a list, and where the list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// The elements.
    pub value: Vec<T>,
    /// The place from which the list goes on; `None` if this part is the last.
    pub next: Option<C>,
}

/// A selection of grants to revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The grants of these numbers; all of them must be known.
    Ids(Vec<GrantId>),
    /// All grants of one user, by name.
    User(String),
    /// All grants.
    All,
}

/// A selection of rows of the audit log: the rows that fit every field that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Rows written at this time by the wall clock, or later.
    pub since: Option<Timestamp>,
    /// Rows written before this time.
    pub until: Option<Timestamp>,
    /// Rows about this person's access, or about what this person did.
    pub user: Option<String>,
    /// Rows about this port.
    pub port: Option<u16>,
    /// Rows of this kind of event.
    pub event: Option<String>,
}

/// A head of the log that was noted elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotedHead {
    /// The row's number, if it was noted.
    pub seq: Option<i64>,
    /// The row's hash.
    pub hash: [u8; 32],
}

impl FromStr for NotedHead {
    type Err = ();

    /// Reads `HASH` or `SEQ:HASH`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (seq, hash) = match text.split_once(':') {
            Some((seq, hash)) => (Some(seq.parse().ok().filter(|seq: &i64| *seq >= 0).ok_or(())?), hash),
            None => (None, text),
        };
        Ok(Self { seq, hash: hex::decode(hash).ok_or(())? })
    }
}
