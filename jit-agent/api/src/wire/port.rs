//! Port policies as the agent shows them.

use jiff::Timestamp;
use jit_policy::{Given, PortId, PortPatch, PortPolicySchema, Protocol};
use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use crate::schema;

/// One port policy and what is open there now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// 1 to 65535.
    pub number: u16,
    /// `TCP`, `UDP` or `*` (TCP, UDP and SCTP).
    pub protocol: Given<Protocol>,
    /// What may be requested. An older agent may leave out keys.
    #[serde(flatten)]
    pub policy: PortPatch,
    /// What is open there.
    #[serde(flatten)]
    pub activity: PortActivity,
}

impl Port {
    /// The port's number and protocol; `None` if this program does not know the protocol.
    #[must_use]
    pub fn id(&self) -> Option<PortId> {
        Some(PortId { number: self.number, protocol: *self.protocol.value()? })
    }
}

/// The beginning of a [`Port`], for its schema.
#[derive(ToSchema)]
#[expect(dead_code, reason = "nothing is of this type")]
struct PortSchema {
    /// 1 to 65535.
    #[schema(value_type = schema::PortNumber)]
    number: u16,
    /// `TCP`, `UDP` or `*` (TCP, UDP and SCTP).
    #[schema(value_type = Protocol)]
    protocol: Given<Protocol>,
}

impl ToSchema for Port {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        PortSchema::schemas(schemas);
        PortPolicySchema::schemas(schemas);
        PortActivity::schemas(schemas);
    }
}

impl PartialSchema for Port {
    /// One object, as it is on the wire.
    fn schema() -> RefOr<Schema> {
        let parts = [PortSchema::schema(), PortPolicySchema::schema(), PortActivity::schema()];
        schema::merged("One port policy and what is open there now.", parts)
    }
}

/// What is open at a port, and what became of packets to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortActivity {
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
    /// Whether the agent itself set the policy, so that it wins over the configuration files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub set_by_agent: bool,
}
