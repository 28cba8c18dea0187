//! Grants, and the kernel entries that they stand for.

use std::fmt;

use ipnet::IpNet;
use jit_common::abi::Transport;
use serde::{Deserialize, Serialize};

use super::{port::PortId, source::single_address, words::words};
use crate::BootTime;

/// The number of a grant, which is never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(pub i64);

impl fmt::Display for GrantId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

words! {
    /// What became of a grant.
    pub enum GrantState {
        /// Packets pass.
        Live = "Live",
        /// Its time is over.
        Expired = "Expired",
        /// Someone ended it.
        Revoked = "Revoked",
        /// The agent ended it.
        Ended = "Ended",
    }
}

/// The key that the kernel looks up: a source prefix at a port of one transport. Several grants may share an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryKey {
    /// Destination port, 1 to 65535.
    pub number: u16,
    /// The transport.
    pub transport: Transport,
    /// The source prefix, without host bits.
    pub source: IpNet,
}

impl EntryKey {
    /// Whether the entry's source is one address: the kernel keeps such entries in a table of their own.
    #[must_use]
    pub fn is_host(&self) -> bool {
        single_address(&self.source).is_some()
    }
}

impl fmt::Display for EntryKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{} from {}", self.number, self.transport.name(), self.source)
    }
}

/// One approved port and source, until its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveGrant {
    /// The grant's number.
    pub id: GrantId,
    /// The port.
    pub port: PortId,
    /// The source prefix.
    pub source: IpNet,
    /// The moment from which on the grant admits nothing.
    pub end: BootTime,
}

impl LiveGrant {
    /// The kernel entries that the grant needs, one for each transport.
    pub fn entries(&self) -> impl Iterator<Item = EntryKey> + use<> {
        let (number, source) = (self.port.number, self.source.trunc());
        self.port.protocol.transports().iter().map(move |transport| EntryKey { number, transport: *transport, source })
    }
}

/// One change to what the kernel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Opens the entry, or moves its deadline.
    Set {
        /// The entry.
        entry: EntryKey,
        /// The moment from which on the entry admits nothing.
        deadline: BootTime,
    },
    /// Removes the entry.
    Remove {
        /// The entry.
        entry: EntryKey,
        /// The deadline of the nearest outer prefix entry, which admits these sources once this entry is gone. `None`:
        /// there is no outer entry, or the entry is a host's, whose misses are looked up among the prefixes at all
        /// times.
        covered_until: Option<BootTime>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Protocol, parse_source};

    #[test]
    fn a_grant_for_any_protocol_needs_an_entry_for_each_transport() {
        let grant = LiveGrant {
            id: GrantId(1),
            port: PortId { number: 3389, protocol: Protocol::Any },
            source: parse_source("192.0.2.0/24").unwrap(),
            end: BootTime(1),
        };
        let entries: Vec<String> = grant.entries().map(|entry| entry.to_string()).collect();
        assert_eq!(
            entries,
            ["3389/tcp from 192.0.2.0/24", "3389/udp from 192.0.2.0/24", "3389/sctp from 192.0.2.0/24"]
        );
    }

    #[test]
    fn only_full_length_prefixes_are_hosts() {
        for (source, host) in [("192.0.2.7", true), ("192.0.2.6/31", false), ("::1", true), ("2001:db8::/32", false)] {
            let entry = EntryKey { number: 22, transport: Transport::Tcp, source: parse_source(source).unwrap() };
            assert_eq!(entry.is_host(), host, "{source}");
        }
    }
}
