//! Many grants at once, written directly to the datapath's tables.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use anyhow::{Context, Result};
use jit_agent::{
    clock::{Clock, SystemClock},
    datapath::Datapath,
};
use jit_common::abi::{EnforceUntil, Transport};
use jit_policy::{BootTime, EntryKey, ProtectedPort, Protection, parse_source};

/// Scatters numbers: an odd factor maps the numbers below a power of two onto themselves.
const SCATTER: u32 = 0x9e37_79b1;

/// Makes these ports protected, so that packets without a grant are dropped.
///
/// # Errors
/// A table can't be written.
pub(crate) fn protect(datapath: &mut impl Datapath, ports: &[(u16, Transport)]) -> Result<()> {
    let ports = ports.iter().map(|(number, transport)| ProtectedPort::new(*number, *transport)).collect();
    let protection = Protection { ports, enforce_until: EnforceUntil::ENFORCE, ..Protection::default() };
    Ok(datapath.configure(&protection)?)
}

/// Grants sources access to one port and transport.
pub(crate) struct Opener<'a, D> {
    datapath: &'a mut D,
    port: (u16, Transport),
    deadline: BootTime,
}

impl<'a, D: Datapath> Opener<'a, D> {
    /// Creates an opener whose grants last a day from now.
    pub(crate) fn new(datapath: &'a mut D, port: u16, transport: Transport) -> Self {
        let deadline = SystemClock.boot().after(Duration::from_secs(24 * 3600));
        Self { datapath, port: (port, transport), deadline }
    }

    /// Grants access to an address or a prefix.
    ///
    /// # Errors
    /// A table can't be written.
    pub(crate) fn open(&mut self, source: &str) -> Result<()> {
        let source = parse_source(source).with_context(|| format!("'{source}' is no source"))?;
        let entry = EntryKey { number: self.port.0, transport: self.port.1, source };
        self.datapath.set(&entry, self.deadline).with_context(|| format!("opening {entry}"))
    }

    /// Grants access to all sources.
    ///
    /// # Errors
    /// A table can't be written.
    pub(crate) fn open_all(&mut self, sources: impl IntoIterator<Item = String>) -> Result<()> {
        sources.into_iter().try_for_each(|source| self.open(&source))
    }
}

/// Different hosts in 198.19.0.0/16 (RFC 2544), scattered.
pub(crate) fn hosts4(count: u16) -> impl Iterator<Item = String> {
    (0..count).map(|number| {
        let [high, low] = scattered(number).to_be_bytes();
        Ipv4Addr::new(198, 19, high, low).to_string()
    })
}

/// Different hosts in 2001:db8:fffe::/64 (RFC 3849), scattered.
pub(crate) fn hosts6(count: u16) -> impl Iterator<Item = String> {
    (0..count).map(|number| Ipv6Addr::new(0x2001, 0xdb8, 0xfffe, 0, 0, 0, 0, scattered(number)).to_string())
}

/// Different /24 in 198.0.0.0/8, scattered, but for 198.18.0.0/16.
pub(crate) fn prefixes4(count: u16) -> impl Iterator<Item = String> {
    let numbers = (0..=u16::MAX).map(scattered).map(u16::to_be_bytes).filter(|[second, _]| *second != 18);
    numbers.take(count.into()).map(|[second, third]| format!("198.{second}.{third}.0/24"))
}

/// Different /48 in 2001:db8::/32, scattered, but for 2001:db8:ffff::/48.
pub(crate) fn prefixes6(count: u16) -> impl Iterator<Item = String> {
    let numbers = (0..=u16::MAX).map(scattered).filter(|third| *third != 0xffff);
    numbers.take(count.into()).map(|third| format!("2001:db8:{third:x}::/48"))
}

const fn scattered(number: u16) -> u16 {
    (number as u32).wrapping_mul(SCATTER) as u16
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn sources_differ_and_leave_out_those_that_shall_have_none() {
        let prefixes: BTreeSet<_> = prefixes4(60_000).collect();
        assert_eq!(prefixes.len(), 60_000);
        assert!(prefixes.iter().all(|prefix| !prefix.starts_with("198.18.") && parse_source(prefix).is_ok()));
        assert_eq!(hosts4(60_000).chain(hosts6(60_000)).collect::<BTreeSet<_>>().len(), 120_000);
        assert_eq!(prefixes6(1000).filter(|prefix| parse_source(prefix).is_ok()).count(), 1000);
    }
}
