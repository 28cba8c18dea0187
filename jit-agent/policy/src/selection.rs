//! Which records are meant: of requests, grants and the audit log.

use std::str::FromStr;

use jiff::Timestamp;

use crate::{BootTime, GrantId, RequestId, hex};

/// Which requests to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFilter {
    /// Only those that wait for approval.
    pub pending: bool,
    /// Older than this one.
    pub before: Option<RequestId>,
    /// How many at most.
    pub limit: usize,
}

/// Which grants to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantFilter {
    /// After this one, in the order in which they end.
    pub after: Option<(BootTime, GrantId)>,
    /// How many at most.
    pub limit: usize,
}

/// Part of a list, and where it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// The elements.
    pub value: Vec<T>,
    /// From where to go on; `None`: that was all.
    pub next: Option<C>,
}

/// Which grants to revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These; all must be known.
    Ids(Vec<GrantId>),
    /// All of one user, by name.
    User(String),
    /// All.
    All,
}

/// Which rows of the audit log are wanted: those that fit everything that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Written at this time by the wall clock, or later.
    pub since: Option<Timestamp>,
    /// Written before.
    pub until: Option<Timestamp>,
    /// About this person's access, or done by this person.
    pub user: Option<String>,
    /// About this port.
    pub port: Option<u16>,
    /// Of this kind.
    pub event: Option<String>,
}

/// A head of the log that was noted elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotedHead {
    /// The row's number, if it was noted.
    pub seq: Option<i64>,
    /// Its hash.
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
