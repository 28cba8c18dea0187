//! Packets that people ask about.

use std::net::IpAddr;

use jit_common::abi::Transport;

/// A packet that someone asks about: whole, well-formed, the first of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The source address.
    pub source: IpAddr,
    /// Destination port.
    pub number: u16,
    /// Transport protocol.
    pub transport: Transport,
    /// The destination address; `None` means an address of this host.
    pub destination: Option<IpAddr>,
    /// The interface on which the packet arrives; `None` means any covered interface of scope `all`.
    pub interface: Option<String>,
}
