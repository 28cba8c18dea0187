//! The messages on the socket, in the vocabulary of Azure just-in-time access. Server and client share these types.
//!
//! Bodies that are sent to the agent refuse unknown fields. Answers are read leniently, so that a client understands an
//! agent that says more than it knows: where an answer has a word, a word that the client does not know is read too.

mod audit;
mod body;
mod decision;
mod enforcement;
mod packet;
mod port;
mod ports;
mod query;
mod request;
mod status;

use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use jit_policy::{Given, GrantId, Page, Protocol, RequestId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::schema;

pub use jit_policy::{GrantState, PortPatch, RequestState};

pub use self::{
    audit::*, body::*, decision::*, enforcement::*, packet::*, port::*, ports::*, query::*, request::*, status::*,
};

/// A list, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// Its elements.
    pub value: Vec<T>,
    /// Path of the next part; left out where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_link: Option<String>,
}

impl<T> From<Vec<T>> for List<T> {
    fn from(value: Vec<T>) -> Self {
        Self { value, next_link: None }
    }
}

impl<T> List<T> {
    /// A part of a list, with the path of what follows.
    #[must_use]
    pub fn part<C>(page: Page<T, C>, next_link: impl FnOnce(C) -> String) -> Self {
        let Page { value, next } = page;
        Self { value, next_link: next.map(next_link) }
    }
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Its number.
    #[schema(value_type = i64)]
    pub id: GrantId,
    /// Number of the request it came from.
    #[schema(value_type = i64)]
    pub request_id: RequestId,
    /// Port number.
    #[schema(value_type = schema::PortNumber)]
    pub number: u16,
    /// `TCP`, `UDP` or `*` (TCP, UDP and SCTP).
    #[schema(value_type = Protocol)]
    pub protocol: Given<Protocol>,
    /// The source prefix, like `192.0.2.7/32`.
    #[schema(value_type = schema::Source)]
    pub source: IpNet,
    /// Who asked for it.
    pub requestor: String,
    /// Who logged in to become who sent the request, for instance before `sudo`; absent if that is the same user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requestor_login: Option<String>,
    /// When it was made.
    pub start_time_utc: Timestamp,
    /// When it ends or has ended, by the wall clock.
    pub end_time_utc: Timestamp,
    /// Seconds for which packets will still pass, rounded up; 0 when it is over.
    pub remaining_seconds: u64,
    /// What became of it.
    #[schema(value_type = GrantState)]
    pub status: Given<GrantState>,
    /// Why it ended; null while it is live and if it simply expired.
    pub status_reason: Option<String>,
    /// When it last let a packet pass; null: never, or it is over.
    pub last_packet_time_utc: Option<Timestamp>,
    /// When it last let a new connection pass; null: never, or it is over.
    pub last_connection_time_utc: Option<Timestamp>,
}

impl Grant {
    /// The grant in the state that it has after its end.
    #[must_use]
    pub fn over(self, status: GrantState, reason: Option<String>, end: Timestamp) -> Self {
        Self { status: status.into(), status_reason: reason, end_time_utc: end, remaining_seconds: 0, ..self }
    }
}

/// The seconds for which something still lasts, rounded up: at least one second as long as it lasts.
#[must_use]
pub fn whole_seconds(remaining: Duration) -> u64 {
    remaining.as_secs() + u64::from(remaining.subsec_nanos() > 0)
}

/// What a revocation did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// The grants that ended now.
    pub revoked: Vec<Grant>,
    /// Open kernel entries beyond these grants that were closed too; left out if there were none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other_entries: usize,
    /// Whether the closing is written; if not, it holds until the agent restarts.
    pub durable: bool,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}
