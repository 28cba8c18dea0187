//! Protected ports and what may be requested for them.

use std::{fmt, str::FromStr};

use jit_common::abi::Transport;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use utoipa::ToSchema;

use super::{
    plain::Plain,
    words::{Word, words},
};

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
    /// All protocols.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Any];

    /// The protocol's word in the file and in paths.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Any => "any",
        }
    }

    /// The transports that the protocol stands for, one kernel entry each.
    #[must_use]
    pub const fn transports(self) -> &'static [Transport] {
        match self {
            Self::Tcp => &[Transport::Tcp],
            Self::Udp => &[Transport::Udp],
            Self::Any => &Transport::ALL,
        }
    }

    /// Whether the protocol stands for everything that `other` stands for.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self == Self::Any || self == other
    }

    /// The protocol's name in the API, which is Azure's.
    #[must_use]
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Any => "*",
        }
    }
}

impl Protocol {
    /// Reads the word that the file has for the protocol.
    pub(crate) fn in_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Reads the number of a port from the file.
pub(crate) fn number_in_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let port = u16::try_from(number).ok().filter(|number| *number > 0);
    port.ok_or_else(|| D::Error::custom(PolicyError::Number(number.to_string())))
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Word for Protocol {
    const ALL: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        self.wire_name()
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
    /// The port number, 1 to 65535.
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
    #[derive(Default)]
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
    #[derive(Default)]
    #[schema(as = Need)]
    pub enum Justification {
        /// A request must have a justification.
        #[default]
        Required = "required",
        /// A request may have a justification.
        Optional = "optional",
    }
}

/// An impossible port policy, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The number is not a port number.
    #[error("port number {0} is out of range; use 1 to 65535")]
    Number(String),
    /// The word is not a protocol.
    #[error("unknown protocol `{0}`; use tcp, udp or any")]
    Protocol(String),
    /// The list of sources is empty, so nothing could be requested.
    #[error("port {port}: {key} is empty, so nobody could be let in; list sources, or leave it out to allow any")]
    NoSources {
        /// The port.
        port: PortId,
        /// The key of the sources.
        key: &'static str,
    },
    /// The value of a key is out of range.
    #[error(transparent)]
    Range(Box<OutOfRange>),
    /// Two policies would apply to the same packets.
    #[error("ports {0} and {1} overlap; keep one of them")]
    Overlap(PortId, PortId),
}

/// A value of a key that is out of the key's range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("port {port}: {key} of {given} is out of range; use {least} to {most}")]
pub struct OutOfRange {
    /// The port.
    pub port: PortId,
    /// The key.
    pub key: &'static str,
    /// The key's value.
    pub given: Plain,
    /// The least value that the key may have.
    pub least: Plain,
    /// The greatest value that the key may have.
    pub most: Plain,
}
