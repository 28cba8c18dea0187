//! The packets whose cost is measured, and the tables that they meet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result};
use jit_agent::clock::{Clock, SystemClock};
use jit_agent::datapath::{Datapath, Protection};
use jit_agent::policy::{EntryKey, parse_source};
use jit_common::abi::{Mode, Transport};
use jit_common::reason::Reason;
use jit_tests::verdicts::frame::{Ipv4, Ipv6, protocol, segment};

/// Nothing protects this port.
const UNPROTECTED: u16 = 80;
/// Protected, and no grant is live.
const LOCKED: u16 = 22;
/// Protected, with one host grant for each address family.
const HOST: u16 = 3389;
/// Protected, with one prefix grant for each address family.
const PREFIX: u16 = 5985;
/// Protected, with [`CROWD`] host grants for each address family.
const CROWDED: u16 = 5986;
/// How many hosts may use the crowded port.
const CROWD: u16 = 10_000;

// RFC 2544 and RFC 3849: networks for benchmarks and documentation.
const SOURCE4: Ipv4Addr = Ipv4Addr::new(198, 18, 255, 1);
const SOURCE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0xffff, 1);
const PREFIXES: [&str; 2] = ["198.18.255.0/24", "2001:db8::/64"];

/// One kind of packet.
pub(crate) struct Case {
    /// What happens to it.
    pub(crate) kind: &'static str,
    /// What that means, for people.
    pub(crate) meaning: &'static str,
    /// `ipv4` or `ipv6`.
    pub(crate) family: &'static str,
    /// Its bytes.
    pub(crate) frame: Vec<u8>,
    /// Under which reason it is counted.
    pub(crate) reason: Reason,
}

impl Case {
    /// The name to select it by.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.kind, self.family)
    }
}

/// All cases: TCP segments without payload.
pub(crate) fn all() -> Vec<Case> {
    let kinds = [
        ("unprotected-pass", "port not protected: pass", UNPROTECTED, Reason::UnprotectedPort),
        ("locked-drop", "port locked, no grant live: drop", LOCKED, Reason::NoGrant),
        ("host-grant-pass", "host grant: pass", HOST, Reason::HostGrant),
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

/// Fills the tables with what the cases meet, all of it at once.
///
/// # Errors
/// A table can't be written.
pub(crate) fn populate(datapath: &mut impl Datapath) -> Result<()> {
    let ports = [LOCKED, HOST, PREFIX, CROWDED].map(|port| (port, Transport::Tcp));
    datapath.configure(&Protection { ports: ports.to_vec(), mode: Mode::Enforce, ..Protection::default() })?;
    let deadline = SystemClock.boot().after(Duration::from_secs(24 * 3600));
    let mut open = |number, source: &str| -> Result<()> {
        let source = parse_source(source).with_context(|| format!("'{source}' is no source"))?;
        let entry = EntryKey { number, transport: Transport::Tcp, source };
        datapath.set(&entry, deadline).with_context(|| format!("opening {entry}"))
    };
    for source in [IpAddr::from(SOURCE4), IpAddr::from(SOURCE6)] {
        open(HOST, &source.to_string())?;
    }
    for prefix in PREFIXES {
        open(PREFIX, prefix)?;
    }
    for number in 0..CROWD {
        let [high, low] = number.to_be_bytes();
        open(CROWDED, &Ipv4Addr::new(198, 18, high, low).to_string())?;
        open(CROWDED, &Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number).to_string())?;
    }
    Ok(())
}
