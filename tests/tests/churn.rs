//! Keys are added and removed as fast as one CPU can do so, while the program looks up other keys on a second CPU. No
//! packet is judged by the deadline of another key, and no packet is dropped whose key stays.
//!
//! The kernel reuses the element of a deleted key at once, and a look-up that is under way then reads what belongs to
//! another key. The agent reuses a slot only after all programs that may hold its number have ended.

use std::{net::IpAddr, time::Duration};

use anyhow::{Result, ensure};
use ipnet::IpNet;
use jit_agent::{
    clock::{Clock as _, SystemClock},
    datapath::{Datapath, xdp::XdpDatapath},
};
use jit_common::{
    abi::{ENTRIES, EnforceUntil, SLOTS, Transport},
    reason::Reason,
};
use jit_policy::{BootTime, EntryKey, ProtectedPort, Protection};
use jit_tests::{
    Sandbox,
    model::frame,
    watch::{Seen, can_race, watch},
};

const PORT: u16 = 22;
const LOOKS: u64 = 4_000_000;
/// A deadline that passed before the test began.
const OVER: BootTime = BootTime(1);

fn entry(source: &str) -> Result<EntryKey> {
    Ok(EntryKey { number: PORT, transport: Transport::Tcp, source: source.parse::<IpNet>()? })
}

fn packet(source: &str) -> Result<Vec<u8>> {
    Ok(frame(source.parse::<IpAddr>()?, PORT, Transport::Tcp))
}

fn packets(sources: &[&str]) -> Result<Vec<Vec<u8>>> {
    sources.iter().map(|source| packet(source)).collect()
}

fn ahead() -> BootTime {
    SystemClock.boot().after(Duration::from_secs(3600))
}

fn datapath(sandbox: &Sandbox) -> Result<XdpDatapath> {
    let mut datapath = XdpDatapath::load(&sandbox.bpffs().join("jit-agent"))?;
    let ports = vec![ProtectedPort::new(PORT, Transport::Tcp)];
    datapath.configure(&Protection { ports, enforce_until: EnforceUntil::ENFORCE, ..Protection::default() })?;
    Ok(datapath)
}

/// Grants, extends, shortens, lets expire and revokes the neighbours of the watched sources. Each neighbour takes the
/// slots and elements that another one has just given back.
fn churn(datapath: &mut dyn Datapath, neighbours: &[(EntryKey, EntryKey)]) -> Result<()> {
    for (one, other) in neighbours {
        datapath.set(one, ahead())?;
        datapath.set(one, ahead().after(Duration::from_secs(60)))?;
        datapath.remove(one, None)?;
        datapath.set(other, ahead())?;
        datapath.set(other, OVER)?;
        datapath.remove(other, None)?;
        datapath.set(other, ahead())?;
        datapath.set(one, ahead())?;
        datapath.remove(other, None)?;
        datapath.remove(one, None)?;
    }
    Ok(())
}

/// Hosts and prefixes on both sides of the watched sources. The prefixes make the kernel add and remove nodes above the
/// watched nodes.
fn neighbours() -> Result<Vec<(EntryKey, EntryKey)>> {
    let mut pairs = Vec::new();
    for n in 0..8 {
        pairs.push((entry(&format!("192.0.2.{}/32", 100 + n))?, entry(&format!("192.0.2.{}/32", 200 + n))?));
        pairs.push((entry(&format!("2001:db8::a{n}/128"))?, entry(&format!("2001:db8::b{n}/128"))?));
        pairs.push((entry(&format!("10.0.{}.0/24", 2 + n))?, entry(&format!("10.{}.0.0/16", 1 + n))?));
        pairs.push((entry(&format!("2001:db8:1:{}::/64", 2 + n))?, entry(&format!("2001:db8:{}::/48", 2 + n))?));
    }
    Ok(pairs)
}

fn expect_only(seen: &Seen, reasons: &[Reason]) -> Result<()> {
    ensure!(seen.other_than(reasons).is_empty(), "only {reasons:?} should be counted: {seen:?}");
    Ok(())
}

#[test]
fn a_grant_that_stays_admits_every_packet_while_its_neighbours_come_and_go() -> Result<()> {
    if !can_race() {
        return Ok(());
    }
    let sandbox = Sandbox::new()?;
    let mut datapath = datapath(&sandbox)?;
    for source in ["192.0.2.7/32", "2001:db8::7/128", "10.0.1.0/24", "2001:db8:1:1::/64"] {
        datapath.set(&entry(source)?, ahead())?;
    }
    let live = packets(&["192.0.2.7", "10.0.1.7", "2001:db8::7", "2001:db8:1:1::7"])?;
    let neighbours = neighbours()?;
    let seen = watch(&mut datapath, &live, 2 * LOOKS, |datapath, _| churn(datapath, &neighbours))?;
    expect_only(&seen, &[Reason::HostGrant, Reason::PrefixGrant])
}

#[test]
fn an_expired_key_admits_no_packet_while_a_live_one_takes_its_place() -> Result<()> {
    if !can_race() {
        return Ok(());
    }
    let sandbox = Sandbox::new()?;
    let mut datapath = datapath(&sandbox)?;
    // The kernel reuses an element of a host table at once, and an element of a prefix table after a grace period.
    for (expired, live, source, looks) in [
        ("192.0.2.8/32", "192.0.2.100/32", "192.0.2.8", 3 * LOOKS),
        ("2001:db8::8/128", "2001:db8::a0/128", "2001:db8::8", 3 * LOOKS),
        ("10.0.0.0/24", "10.0.1.0/24", "10.0.0.8", LOOKS),
        ("2001:db8:1::/64", "2001:db8:1:1::/64", "2001:db8:1::8", LOOKS),
    ] {
        let (expired, live) = (entry(expired)?, entry(live)?);
        let seen = watch(&mut datapath, &packets(&[source])?, looks, |datapath, _| {
            datapath.set(&expired, OVER)?;
            datapath.remove(&expired, None)?;
            datapath.set(&live, ahead())?;
            datapath.remove(&live, None)?;
            Ok(())
        })?;
        expect_only(&seen, &[Reason::NoGrant, Reason::GrantExpired])?;
    }
    Ok(())
}

#[test]
fn an_expired_key_that_stays_and_an_absent_one_admit_no_packet_while_their_neighbours_come_and_go() -> Result<()> {
    if !can_race() {
        return Ok(());
    }
    let sandbox = Sandbox::new()?;
    let mut datapath = datapath(&sandbox)?;
    for source in ["192.0.2.7/32", "2001:db8::7/128", "10.0.1.0/24", "2001:db8:1:1::/64"] {
        datapath.set(&entry(source)?, OVER)?;
    }
    let shut = packets(&["192.0.2.7", "10.0.1.7", "2001:db8::7", "2001:db8:1:1::7", "192.0.2.9", "2001:db8::9"])?;
    let neighbours = neighbours()?;
    let seen = watch(&mut datapath, &shut, LOOKS, |datapath, _| churn(datapath, &neighbours))?;
    expect_only(&seen, &[Reason::NoGrant, Reason::GrantExpired])
}

#[test]
fn a_slot_that_is_taken_again_soon_admits_nobody_by_its_former_key() -> Result<()> {
    if !can_race() {
        return Ok(());
    }
    let sandbox = Sandbox::new()?;
    let mut datapath = datapath(&sandbox)?;
    // All slots but a few are taken, so that those few are reused again and again.
    let left = 64;
    for n in 0..SLOTS - left {
        let source = if n < ENTRIES - left {
            format!("172.16.{}.{}/32", n >> 8, n & 255).parse::<IpNet>()
        } else {
            format!("2001:db8:ffff::{:x}/128", n - (ENTRIES - left)).parse()
        };
        let source = source?;
        datapath.set(&EntryKey { number: PORT, transport: Transport::Tcp, source }, OVER)?;
    }
    let (former, next) = (entry("192.0.2.8/32")?, entry("192.0.2.100/32")?);
    let seen = watch(&mut datapath, &packets(&["192.0.2.8"])?, LOOKS, |datapath, _| {
        datapath.set(&former, OVER)?;
        datapath.remove(&former, None)?;
        datapath.set(&next, ahead())?;
        datapath.remove(&next, None)?;
        Ok(())
    })?;
    expect_only(&seen, &[Reason::NoGrant, Reason::GrantExpired])
}
