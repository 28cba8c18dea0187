//! Protected ports and what may be requested for them.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use ipnet::IpNet;
use jit_common::abi::Transport;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::words::{Spelled, words};

use super::span::Span;

/// Shortest maximum duration a port policy may set.
pub const SHORTEST_MAXIMUM: Duration = Duration::from_secs(5 * 60);
/// Longest maximum duration a port policy may set.
pub const LONGEST_MAXIMUM: Duration = Duration::from_secs(24 * 60 * 60);
/// Maximum duration where a port policy names none.
pub const DEFAULT_MAXIMUM: Duration = Duration::from_secs(3 * 60 * 60);

/// Shortest time that a port policy may leave for approval.
pub const SHORTEST_APPROVAL_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time that a port policy may leave for approval.
pub const LONGEST_APPROVAL_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Time for approval where a port policy names none.
pub const DEFAULT_APPROVAL_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Live grants that a person may have where a port policy names no number.
pub const DEFAULT_QUOTA: u32 = 32;
/// The largest quota: more grants than the kernel's tables hold mean nothing.
pub const LARGEST_QUOTA: u32 = 1 << 20;

/// What a port policy or a grant covers; `*` is TCP, UDP and SCTP.
// With serde it has the API's spelling, which is Azure's. The file's is that of `Display` and `FromStr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub enum Protocol {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
    /// TCP, UDP and SCTP.
    #[serde(rename = "*")]
    Any,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Any];

    /// Its word in the file and in paths.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Any => "any",
        }
    }

    /// The transports it stands for, one kernel entry each.
    #[must_use]
    pub const fn transports(self) -> &'static [Transport] {
        match self {
            Self::Tcp => &[Transport::Tcp],
            Self::Udp => &[Transport::Udp],
            Self::Any => &Transport::ALL,
        }
    }

    /// Whether it stands for everything that `other` stands for.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self == Self::Any || self == other
    }

    /// Its name in the API, which is Azure's.
    #[must_use]
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Any => "*",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Spelled for Protocol {
    fn spelled(&self) -> Cow<'_, str> {
        self.wire_name().into()
    }

    fn of_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.wire_name() == text)
    }
}

impl FromStr for Protocol {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "any" | "*" => Ok(Self::Any),
            _ => Err(PolicyError::Protocol(text.to_owned())),
        }
    }
}

/// A port number and protocol, written `22/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId {
    /// 1 to 65535.
    pub number: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl PortId {
    /// Whether there are packets that belong to both ports.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.number == other.number
            && (self.protocol.includes(other.protocol) || other.protocol.includes(self.protocol))
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.number, self.protocol)
    }
}

words! {
    /// Whether a second person is needed.
    pub enum Approval {
        /// What the policy allows is granted at once.
        #[default]
        Auto = "auto",
        /// Someone else must approve it first.
        Required = "required",
    }
}

words! {
    /// Whether a justification is needed.
    #[schema(as = Need)]
    pub enum Justification {
        /// A request must have a justification.
        #[default]
        Required = "required",
        /// A request may have a justification.
        Optional = "optional",
    }
}

/// What may be requested for one protected port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPolicy {
    /// The port.
    pub id: PortId,
    /// Sources that may be requested; a request's source lies within one of them.
    pub allowed_sources: Vec<IpNet>,
    /// Longest duration that may be requested.
    pub max_duration: Duration,
    /// Whether a request needs a second person.
    pub approval: Approval,
    /// How long a request waits for that person.
    pub approval_timeout: Duration,
    /// Whether a request must say why.
    pub justification: Justification,
    /// How many live grants for this port one person may have.
    pub quota: u32,
}

impl PortPolicy {
    /// The policy of a port about which nothing is said: any source for 3 h, with a justification.
    #[must_use]
    pub fn new(id: PortId) -> Self {
        Self {
            id,
            allowed_sources: any_source(),
            max_duration: DEFAULT_MAXIMUM,
            approval: Approval::Auto,
            approval_timeout: DEFAULT_APPROVAL_TIMEOUT,
            justification: Justification::Required,
            quota: DEFAULT_QUOTA,
        }
    }

    /// Whether a grant's port falls under this policy.
    #[must_use]
    pub fn covers(&self, port: PortId) -> bool {
        self.id.number == port.number && self.id.protocol.includes(port.protocol)
    }

    /// Whether anybody on earth may be let in: worth a warning.
    #[must_use]
    pub fn allows_any_source(&self) -> bool {
        self.allowed_sources.iter().any(|source| source.prefix_len() == 0)
    }

    /// Whether `source` may be requested.
    #[must_use]
    pub fn allows_source(&self, source: &IpNet) -> bool {
        self.allowed_sources.iter().any(|allowed| allowed.contains(source))
    }
}

/// Every IPv4 and every IPv6 address.
#[must_use]
pub fn any_source() -> Vec<IpNet> {
    vec![ipnet::Ipv4Net::default().into(), ipnet::Ipv6Net::default().into()]
}

/// All port policies, by port, none overlapping another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortPolicies(Vec<PortPolicy>);

impl PortPolicies {
    /// Checks and orders port policies.
    ///
    /// # Errors
    /// Two policies for the same number and an overlapping protocol, a maximum out of range, no allowed source.
    pub fn new(mut policies: Vec<PortPolicy>) -> Result<Self, PolicyError> {
        policies.sort_by_key(|policy| policy.id);
        for policy in &policies {
            if policy.id.number == 0 {
                return Err(PolicyError::Number("0".to_owned()));
            }
            if policy.allowed_sources.is_empty() {
                return Err(PolicyError::NoSources(policy.id));
            }
            if !(SHORTEST_MAXIMUM..=LONGEST_MAXIMUM).contains(&policy.max_duration) {
                return Err(PolicyError::Maximum(policy.id, Span(policy.max_duration)));
            }
            if !(SHORTEST_APPROVAL_TIMEOUT..=LONGEST_APPROVAL_TIMEOUT).contains(&policy.approval_timeout) {
                return Err(PolicyError::ApprovalTimeout(policy.id, Span(policy.approval_timeout)));
            }
            if !(1..=LARGEST_QUOTA).contains(&policy.quota) {
                return Err(PolicyError::Quota(policy.id, policy.quota));
            }
        }
        for (index, policy) in policies.iter().enumerate() {
            let overlapping = policies.iter().skip(index + 1).find(|other| other.id.overlaps(policy.id));
            if let Some(other) = overlapping {
                return Err(PolicyError::Overlap(policy.id, other.id));
            }
        }
        Ok(Self(policies))
    }

    /// The policies in order of port.
    pub fn iter(&self) -> impl Iterator<Item = &PortPolicy> {
        self.0.iter()
    }

    /// The policy under which a port of a grant falls.
    #[must_use]
    pub fn for_port(&self, port: PortId) -> Option<&PortPolicy> {
        self.0.iter().find(|policy| policy.covers(port))
    }

    /// The policies for a port number: one, or one for TCP and one for UDP.
    pub fn for_number(&self, number: u16) -> impl Iterator<Item = &PortPolicy> {
        self.0.iter().filter(move |policy| policy.id.number == number)
    }
}

/// A port policy that can't be, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not a port number.
    #[error("port number {0} is out of range; use 1 to 65535")]
    Number(String),
    /// Not a protocol.
    #[error("unknown protocol `{0}`; use tcp, udp or any")]
    Protocol(String),
    /// Nothing could be requested.
    #[error(
        "port {0}: allowed_sources is empty, so nobody could be let in; list sources, or leave it out to allow any"
    )]
    NoSources(PortId),
    /// Maximum duration out of range.
    #[error("port {0}: max_duration of {1} is out of range; use {low} to {high}", low = Span(SHORTEST_MAXIMUM), high = Span(LONGEST_MAXIMUM))]
    Maximum(PortId, Span),
    /// Time for approval out of range.
    #[error(
        "port {0}: approval_timeout of {1} is out of range; use {low} to {high}",
        low = Span(SHORTEST_APPROVAL_TIMEOUT),
        high = Span(LONGEST_APPROVAL_TIMEOUT)
    )]
    ApprovalTimeout(PortId, Span),
    /// Nobody could be let in, or a number beyond all tables.
    #[error("port {0}: quota of {1} is out of range; use 1 to {LARGEST_QUOTA}")]
    Quota(PortId, u32),
    /// Two policies would apply to the same packets.
    #[error("ports {0} and {1} overlap; keep one of them")]
    Overlap(PortId, PortId),
}
