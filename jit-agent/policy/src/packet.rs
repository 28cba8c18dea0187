//! Packets that people ask about.

use std::net::IpAddr;

use jit_common::abi::Transport;

/// A packet that someone asks about: whole, well-formed, the first of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub source: IpAddr,
    /// Destination port.
    pub number: u16,
    /// Transport protocol.
    pub transport: Transport,
    /// Destination address; `None`: one of this host's.
    pub destination: Option<IpAddr>,
    /// Where it arrives; `None`: on any covered interface of scope `all`.
    pub interface: Option<String>,
}
