//! Requests, and what is said about them.

use std::{fmt, time::Duration};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::port::{PortId, Protocol};

/// Number of a request; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub i64);

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// How long a grant is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// For so long after approval.
    For(Duration),
    /// Until a moment of the wall clock.
    Time(Timestamp),
}

/// One port of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedPort {
    /// Port number as given, in range or not.
    pub number: u32,
    /// Protocol; `None`: the port policy's.
    pub protocol: Option<Protocol>,
    /// Sources to let in.
    pub sources: Vec<IpNet>,
    /// For how long.
    pub until: Until,
}

/// Who asks for which ports, from where, for how long, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRequest {
    /// The ports; at least one.
    pub ports: Vec<RequestedPort>,
    /// Why; empty if nothing was said.
    pub justification: String,
}

/// A request as it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// What is asked for, and why.
    pub request: NewRequest,
    /// In whose name, if a delegate sends it.
    pub named: Option<String>,
    /// By what a repetition is told from another request.
    pub key: Option<IdempotencyKey>,
}

/// What tells a repeated request from a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// As the client calls it.
    pub key: String,
    /// SHA-256 of what the request says.
    pub body: [u8; 32],
}

/// One port of a request that the policies allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovedPort {
    /// The port.
    pub port: PortId,
    /// The sources, without repetitions.
    pub sources: Vec<IpNet>,
    /// For how long.
    pub duration: Duration,
}

/// One thing that a request asks for beyond what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Violation {
    /// The port it concerns, like `22/tcp`; empty for the whole request.
    pub port: String,
    /// Field of the request, by its name in the API.
    pub field: &'static str,
    /// What was given.
    pub given: String,
    /// What would be allowed.
    pub allowed: String,
}
