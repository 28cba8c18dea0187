//! What goes over the socket, in the vocabulary of Azure just-in-time access. Server and client share these types.
//!
//! Bodies that are sent to the agent refuse unknown fields. Answers are read leniently, so that a client understands an
//! agent that says more than it knows.

mod audit;
mod body;
mod decision;
mod enforcement;
mod packet;
mod ports;
mod query;
mod request;
mod status;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::document::schema,
    core::view::{GrantStatus, GrantView, Page, PortView, Revocation as Revoked},
    policy::PortPolicy,
};

pub(in crate::api) use self::body::{LONGEST_NAME, LONGEST_REQUESTOR, LONGEST_TEXT};
#[cfg(test)]
pub(in crate::api) use self::body::{MOST_IDS, MOST_PORTS, MOST_SOURCES};
pub use self::{
    audit::{AuditEntry, AuditFormat, AuditHead, AuditPage, AuditQuery, AuditQuestion, AuditVerification, VerifyQuery},
    body::{NewRequest, RequestedPort, Revoke, parse_duration},
    decision::{Extend, Nothing, Reason},
    enforcement::{
        Connected, Enable, Enforcement, EnforcementChange, SESSION_HEADER, Session, SessionHeader, Trial, WaysBack,
    },
    packet::{NotShown, PacketEvent, Why, WhyQuery},
    ports::{Confirmation, Effects, PortChange, PortPath, PutPort, Reload, Reloaded, port_of_path},
    query::{GrantQuery, RequestQuery},
    request::{Pending, PendingPort, Request, RequestState},
    status::{Counter, GrantCounts, Interface, Status, Uncovered},
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

impl<V, T: From<V>> From<Vec<V>> for List<T> {
    fn from(views: Vec<V>) -> Self {
        Self { value: views.into_iter().map(T::from).collect(), next_link: None }
    }
}

impl<T> List<T> {
    /// A part of a list, with the path of what follows.
    #[must_use]
    pub fn part<V, C>(page: Page<V, C>, next_link: impl FnOnce(C) -> String) -> Self
    where
        T: From<V>,
    {
        let Page { value, next } = page;
        Self { value: value.into_iter().map(T::from).collect(), next_link: next.map(next_link) }
    }
}

/// One port policy and what is open there now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// 1 to 65535.
    #[schema(value_type = schema::PortNumber)]
    pub number: u16,
    /// `TCP`, `UDP` or `*` (TCP, UDP and SCTP).
    #[schema(value_type = schema::Protocol)]
    pub protocol: String,
    /// Prefixes within which a request's sources lie.
    #[schema(value_type = Vec<schema::Source>)]
    pub allowed_source_address_prefixes: Vec<String>,
    /// Longest duration of a request, ISO 8601.
    #[schema(value_type = schema::Duration)]
    pub max_request_access_duration: String,
    /// `auto` or `required`: whether a request needs a second person.
    #[serde(default)]
    pub approval: String,
    /// How long a request waits for that person, ISO 8601.
    #[serde(default)]
    pub approval_timeout: String,
    /// `required` or `optional`.
    #[schema(value_type = schema::Need)]
    pub justification: String,
    /// How many live grants one person may have.
    #[serde(default)]
    pub quota: u32,
    /// How many grants are live.
    pub live_grants: u64,
    /// Packets to the number, of whatever protocol it is protected for, that passed since the kernel's tables were made.
    #[serde(default)]
    pub passed_packets: u64,
    /// Packets to it that were dropped.
    #[serde(default)]
    pub dropped_packets: u64,
    /// Packets to it that would have been dropped, had the agent not only observed.
    #[serde(default)]
    pub observed_packets: u64,
    /// How many requests opened it in the last seven days; null: unknown, or not for who asks to know.
    #[serde(default)]
    pub approved_requests: Option<u64>,
    /// When a grant last let a new connection pass; null: never.
    pub last_connection_time_utc: Option<Timestamp>,
    /// Whose grant that was; null: nobody's.
    #[serde(default)]
    pub last_user: Option<String>,
}

impl From<PortView> for Port {
    fn from(view: PortView) -> Self {
        let PortView { policy, live_grants, passed, dropped, observed, approved_requests, last_connection, last_user } =
            view;
        let PortPolicy { id, allowed_sources, max_duration, approval, approval_timeout, justification, quota } = policy;
        Self {
            number: id.number,
            protocol: id.protocol.wire_name().to_owned(),
            allowed_source_address_prefixes: allowed_sources.iter().map(ToString::to_string).collect(),
            max_request_access_duration: iso_8601(max_duration),
            approval: approval.name().to_owned(),
            approval_timeout: iso_8601(approval_timeout),
            justification: justification.name().to_owned(),
            quota,
            live_grants: live_grants as u64,
            passed_packets: passed,
            dropped_packets: dropped,
            observed_packets: observed,
            approved_requests,
            last_connection_time_utc: last_connection,
            last_user,
        }
    }
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Its number.
    pub id: i64,
    /// Number of the request it came from.
    pub request_id: i64,
    /// Port number.
    #[schema(value_type = schema::PortNumber)]
    pub number: u16,
    /// `TCP`, `UDP` or `*` (TCP, UDP and SCTP).
    #[schema(value_type = schema::Protocol)]
    pub protocol: String,
    /// The source prefix, like `192.0.2.7/32`.
    #[schema(value_type = schema::Source)]
    pub source: String,
    /// Who asked for it.
    pub requestor: String,
    /// When it was made.
    pub start_time_utc: Timestamp,
    /// When it ends or has ended, by the wall clock.
    pub end_time_utc: Timestamp,
    /// Seconds for which packets will still pass, rounded up; 0 when it is over.
    pub remaining_seconds: u64,
    /// What became of it.
    pub status: GrantState,
    /// Why it ended; null while it is live and if it simply expired.
    pub status_reason: Option<String>,
    /// When it last let a packet pass; null: never, or it is over.
    pub last_packet_time_utc: Option<Timestamp>,
    /// When it last let a new connection pass; null: never, or it is over.
    pub last_connection_time_utc: Option<Timestamp>,
}

/// What became of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum GrantState {
    /// Packets pass.
    Live,
    /// Its time is over.
    Expired,
    /// Someone ended it.
    Revoked,
    /// The agent ended it.
    Ended,
}

impl From<GrantView> for Grant {
    fn from(view: GrantView) -> Self {
        let GrantView {
            id,
            request,
            port,
            source,
            requestor,
            start,
            end,
            remaining,
            status,
            status_reason,
            last_packet,
            last_connection,
        } = view;
        Self {
            id: id.0,
            request_id: request.0,
            number: port.number,
            protocol: port.protocol.wire_name().to_owned(),
            source: source.to_string(),
            requestor,
            start_time_utc: start,
            end_time_utc: end,
            remaining_seconds: remaining.as_secs() + u64::from(remaining.subsec_nanos() > 0),
            status: match status {
                GrantStatus::Live => GrantState::Live,
                GrantStatus::Expired => GrantState::Expired,
                GrantStatus::Revoked => GrantState::Revoked,
                GrantStatus::Ended => GrantState::Ended,
            },
            status_reason,
            last_packet_time_utc: last_packet,
            last_connection_time_utc: last_connection,
        }
    }
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

impl From<Revoked> for Revocation {
    fn from(done: Revoked) -> Self {
        let Revoked { revoked, other_entries, durable } = done;
        Self { revoked: revoked.into_iter().map(Grant::from).collect(), other_entries, durable }
    }
}

fn iso_8601(duration: Duration) -> String {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX).to_string()
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}
