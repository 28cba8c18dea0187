//! Requests, and the answers to them.

use std::{collections::HashSet, fmt, time::Duration};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    port::{PortId, Protocol},
    words::words,
};

/// The number of a request, which is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub i64);

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

words! {
    /// What became of a request.
    pub enum RequestState {
        /// It waits for approval.
        Pending = "Pending",
        /// Its grants were made.
        Approved = "Approved",
        /// Someone refused it.
        Denied = "Denied",
        /// It was taken back.
        Cancelled = "Cancelled",
        /// Nobody decided in time.
        TimedOut = "TimedOut",
        /// It could not be carried out, and left nothing behind.
        Failed = "Failed",
    }
}

/// The end of a requested grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The grant lasts for so long after approval.
    For(Duration),
    /// The grant lasts until a moment of the wall clock.
    Time(Timestamp),
}

/// One port of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedPort {
    /// The port number as given, in range or not.
    pub number: u32,
    /// The protocol; `None` means the protocol of the port policy.
    pub protocol: Option<Protocol>,
    /// Sources to let in.
    pub sources: Vec<IpNet>,
    /// How long the port is to be open.
    pub until: Until,
}

/// A request for ports, with sources, durations and a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRequest {
    /// The ports; at least one.
    pub ports: Vec<RequestedPort>,
    /// The reason; empty if the requestor gave no reason.
    pub justification: String,
}

impl NewRequest {
    /// The same request without repetitions: ports for the same time are one port, and each source of a port occurs
    /// once. What is stored, counted and shown is this.
    #[must_use]
    pub fn normalised(self) -> Self {
        let mut ports: Vec<RequestedPort> = Vec::new();
        let mut seen: Vec<HashSet<IpNet>> = Vec::new();
        for RequestedPort { number, protocol, sources, until } in self.ports {
            let same = |port: &RequestedPort| (port.number, port.protocol, port.until) == (number, protocol, until);
            let place = ports.iter().position(same).unwrap_or_else(|| {
                ports.push(RequestedPort { number, protocol, sources: Vec::new(), until });
                seen.push(HashSet::new());
                ports.len() - 1
            });
            let (Some(port), Some(seen)) = (ports.get_mut(place), seen.get_mut(place)) else { continue };
            port.sources.extend(sources.into_iter().filter(|source| seen.insert(*source)));
        }
        Self { ports, ..self }
    }
}

/// A request as it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The ports that are requested, and the reason.
    pub request: NewRequest,
    /// The requestor whom a delegate names.
    pub named: Option<String>,
    /// The key by which a repeated request is told from a new one.
    pub key: Option<IdempotencyKey>,
}

/// What tells a repeated request from a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key as the client wrote it.
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
    /// How long the port is to be open.
    pub duration: Duration,
}

/// One thing that a request asks for beyond what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Violation {
    /// The port that the violation concerns, like `22/tcp`; empty for the whole request.
    pub port: String,
    /// The field of the request, by its name in the API.
    pub field: &'static str,
    /// The value that was given.
    pub given: String,
    /// The values that would be allowed.
    pub allowed: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_source;

    #[test]
    fn repetitions_are_left_out_and_the_order_stays() {
        let port = |number, sources: &[&str], seconds| RequestedPort {
            number,
            protocol: None,
            sources: sources.iter().map(|source| parse_source(source).unwrap()).collect(),
            until: Until::For(Duration::from_secs(seconds)),
        };
        let request = |ports| NewRequest { ports, justification: "x".to_owned() };
        let given = request(vec![
            port(22, &["192.0.2.2", "192.0.2.1", "192.0.2.2"], 60),
            port(23, &["192.0.2.1"], 60),
            port(22, &["192.0.2.1", "192.0.2.3"], 60),
            port(22, &["192.0.2.1"], 61),
        ]);
        let normal = request(vec![
            port(22, &["192.0.2.2", "192.0.2.1", "192.0.2.3"], 60),
            port(23, &["192.0.2.1"], 60),
            port(22, &["192.0.2.1"], 61),
        ]);
        assert_eq!(given.normalised(), normal);
        assert_eq!(normal.clone().normalised(), normal);
    }
}
