//! Requests as the agent shows them.

use jiff::Timestamp;
use jit_policy::{Given, GrantId, Protocol, RequestId, RequestState, RequestedPort, Span, Until};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Grant;

/// One request with its grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Its number.
    #[schema(value_type = i64)]
    pub id: RequestId,
    /// Who asked; `name via delegate` if a delegate asked in a name.
    pub requestor: String,
    /// Who logged in to become who sent it, for instance before `sudo`; absent if that is the same user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requestor_login: Option<String>,
    /// User id of who sent it.
    pub requestor_uid: u32,
    /// Why; may be empty.
    pub justification: String,
    /// When it was made.
    pub start_time_utc: Timestamp,
    /// What became of it.
    #[schema(value_type = RequestState)]
    pub status: Given<RequestState>,
    /// Why it was denied, or failed; null if it was not, or nobody said why.
    pub status_reason: Option<String>,
    /// Who approved, denied or cancelled it; null if nobody did.
    #[serde(default)]
    pub decided_by: Option<String>,
    /// What it asks for while it waits for approval; null when it does not.
    #[serde(default)]
    pub pending: Option<Pending>,
    /// Its grants, live or not.
    pub grants: Vec<Grant>,
}

/// What a request asks for that waits for approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// Until when it waits.
    pub until_utc: Timestamp,
    /// Number of the grant that it would extend; null: it asks for new ones.
    #[schema(value_type = Option<i64>)]
    pub extends: Option<GrantId>,
    /// What it would open.
    pub ports: Vec<PendingPort>,
}

/// One port of a request that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingPort {
    /// Port number.
    pub number: u32,
    /// `TCP`, `UDP` or `*`; null: the port policy's.
    #[schema(value_type = Option<String>)]
    pub protocol: Option<Given<Protocol>>,
    /// Sources to let in.
    pub allowed_source_address_prefixes: Vec<String>,
    /// For how long from approval, ISO 8601; null if it says until when.
    pub duration: Option<String>,
    /// Until when; null if it says for how long.
    pub end_time_utc: Option<Timestamp>,
}

impl From<RequestedPort> for PendingPort {
    fn from(port: RequestedPort) -> Self {
        let RequestedPort { number, protocol, sources, until } = port;
        let (duration, end_time_utc) = match until {
            Until::For(duration) => (Some(Span(duration).iso()), None),
            Until::Time(end) => (None, Some(end)),
        };
        Self {
            number,
            protocol: protocol.map(Given::from),
            allowed_source_address_prefixes: sources.iter().map(ToString::to_string).collect(),
            duration,
            end_time_utc,
        }
    }
}
