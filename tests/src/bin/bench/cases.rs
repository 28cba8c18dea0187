//! The packets whose cost is measured, and the table entries that apply to them.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use jit_agent::datapath::Datapath;
use jit_common::{abi::Transport, reason::Reason};
use jit_tests::verdicts::frame::{Ipv4, Ipv6, protocol, segment};

use crate::grants::{self, Opener};

/// The kind of packets to a port that isn't protected.
pub(crate) const UNPROTECTED_PASS: &str = "unprotected-pass";
/// The kind of packets to a protected port without grants.
pub(crate) const LOCKED_DROP: &str = "locked-drop";

/// The kind of packets from a host with a grant.
pub(crate) const HOST_GRANT_PASS: &str = "host-grant-pass";

/// An unprotected port.
const UNPROTECTED: u16 = 80;
/// A protected port without a live grant.
const LOCKED: u16 = 22;
/// A protected port with one host grant for each address family.
const HOST: u16 = 3389;
/// A protected port with one prefix grant for each address family.
const PREFIX: u16 = 5985;
/// A protected port with [`CROWD`] host grants for each address family.
const CROWDED: u16 = 5986;
/// The number of hosts that may use the crowded port.
const CROWD: u16 = 10_000;

// RFC 2544 and RFC 3849: networks for benchmarks and documentation.
const SOURCE4: Ipv4Addr = Ipv4Addr::new(198, 18, 255, 1);
const SOURCE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0xffff, 1);
const PREFIXES: [&str; 2] = ["198.18.255.0/24", "2001:db8::/64"];

/// One kind of packet.
pub(crate) struct Case {
    /// The verdict on the packet and the table that decides.
    pub(crate) kind: &'static str,
    /// The meaning of the kind, for people.
    pub(crate) meaning: &'static str,
    /// `ipv4` or `ipv6`.
    pub(crate) family: &'static str,
    /// The bytes of the packet.
    pub(crate) frame: Vec<u8>,
    /// The reason under which the packet is counted.
    pub(crate) reason: Reason,
}

impl Case {
    /// The name by which `--only` selects the case.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.kind, self.family)
    }
}

/// All cases: TCP segments without payload.
pub(crate) fn all() -> Vec<Case> {
    let kinds = [
        (UNPROTECTED_PASS, "port not protected: pass", UNPROTECTED, Reason::UnprotectedPort),
        (LOCKED_DROP, "port locked, no grant live: drop", LOCKED, Reason::NoGrant),
        (HOST_GRANT_PASS, "host grant: pass", HOST, Reason::HostGrant),
        ("prefix-grant-pass", "prefix grant: pass", PREFIX, Reason::PrefixGrant),
        ("crowded-drop", "among 10,000 other hosts' grants: drop", CROWDED, Reason::NoGrant),
    ];
    let mut cases = Vec::new();
    for (kind, meaning, port, reason) in kinds {
        let frame = Ipv4::new(SOURCE4, protocol::TCP, segment(port)).frame();
        cases.push(Case { kind, meaning, family: "ipv4", frame, reason });
        let frame = Ipv6::new(SOURCE6, &[], protocol::TCP, &segment(port)).frame();
        cases.push(Case { kind, meaning, family: "ipv6", frame, reason });
    }
    cases
}

/// Fills the tables with the entries that all cases need, at once.
///
/// # Errors
/// A table can't be written.
pub(crate) fn populate(datapath: &mut impl Datapath) -> Result<()> {
    grants::protect(datapath, &[LOCKED, HOST, PREFIX, CROWDED].map(|port| (port, Transport::Tcp)))?;
    Opener::new(datapath, HOST, Transport::Tcp).open_all([SOURCE4.to_string(), SOURCE6.to_string()])?;
    Opener::new(datapath, PREFIX, Transport::Tcp).open_all(PREFIXES.map(str::to_owned))?;
    let mut crowded = Opener::new(datapath, CROWDED, Transport::Tcp);
    crowded.open_all(grants::hosts4(CROWD))?;
    crowded.open_all(grants::hosts6(CROWD))
}
