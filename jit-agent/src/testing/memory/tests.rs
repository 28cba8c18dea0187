use std::time::Duration;

use jit_common::abi::{EnforceUntil, Mode, Transport};
use jit_policy::{ProtectedPort, parse_source};

use super::*;
use crate::{datapath::address_of, testing::ManualClock};

const SECOND: u64 = 1_000_000_000;

fn entry(source: &str) -> EntryKey {
    EntryKey { number: 22, transport: Transport::Tcp, source: parse_source(source).unwrap() }
}

fn flow(source: &str) -> Flow {
    let source = address_of(source.parse().unwrap());
    Flow { source, port: 22, transport: Transport::Tcp, fragment: false, transport_header: 0 }
}

/// Makes a datapath that protects 22/tcp and has room for two entries, and a clock 100 s after boot.
fn datapath() -> (MemoryDatapath, ManualClock) {
    let clock = ManualClock::new(BootTime(100 * SECOND), jiff::Timestamp::UNIX_EPOCH);
    let mut datapath = MemoryDatapath::new(Arc::new(clock.clone()), 2);
    let ports = vec![ProtectedPort::new(22, Transport::Tcp)];
    datapath.configure(&Protection { ports, enforce_until: EnforceUntil::ENFORCE, ..Protection::default() }).unwrap();
    (datapath, clock)
}

#[test]
fn an_entry_admits_its_source_until_the_deadline() {
    let (mut datapath, clock) = datapath();
    assert_eq!(datapath.decide(Ok(flow("192.0.2.7"))).reason, Reason::NoGrant);
    datapath.set(&entry("192.0.2.7"), BootTime(101 * SECOND)).unwrap();
    datapath.set(&entry("2001:db8::/32"), BootTime(102 * SECOND)).unwrap();
    assert_eq!(datapath.decide(Ok(flow("192.0.2.7"))).reason, Reason::HostGrant);
    assert_eq!(datapath.decide(Ok(flow("192.0.2.8"))).reason, Reason::NoGrant);
    assert_eq!(datapath.decide(Ok(flow("2001:db8::1"))).reason, Reason::PrefixGrant);
    clock.advance(Duration::from_secs(1));
    assert_eq!(datapath.decide(Ok(flow("192.0.2.7"))).reason, Reason::GrantExpired);
    assert_eq!(datapath.decide(Ok(flow("2001:db8::1"))).reason, Reason::PrefixGrant);
    datapath.remove(&entry("2001:db8::/32"), None).unwrap();
    assert_eq!(datapath.decide(Ok(flow("2001:db8::1"))).reason, Reason::NoGrant);
    assert_eq!(datapath.decide(Ok(Flow { port: 80, ..flow("192.0.2.8") })).reason, Reason::UnprotectedPort);
    assert!(datapath.counters().unwrap().contains(&(Mode::Enforce, Reason::NoGrant, 3)));
}

#[test]
fn only_the_longest_prefix_is_looked_at() {
    let (mut datapath, _) = datapath();
    datapath.set(&entry("10.0.0.0/8"), BootTime(200 * SECOND)).unwrap();
    datapath.set(&entry("10.1.0.0/16"), BootTime(50 * SECOND)).unwrap();
    assert_eq!(datapath.decide(Ok(flow("10.1.0.1"))).reason, Reason::GrantExpired);
    assert_eq!(datapath.decide(Ok(flow("10.2.0.1"))).reason, Reason::PrefixGrant);
}

#[test]
fn a_full_table_refuses_new_entries_and_moves_old_ones() {
    let (mut datapath, _) = datapath();
    datapath.set(&entry("192.0.2.1"), BootTime(1)).unwrap();
    datapath.set(&entry("192.0.2.2"), BootTime(1)).unwrap();
    let error = datapath.set(&entry("192.0.2.3"), BootTime(1)).unwrap_err();
    assert_eq!(error.to_string(), "the table MEMORY holds 2 entries and is full");
    datapath.set(&entry("192.0.2.2"), BootTime(2)).unwrap();
    assert_eq!(datapath.entries().unwrap(), [(entry("192.0.2.1"), BootTime(1)), (entry("192.0.2.2"), BootTime(2))]);
}

#[test]
fn chosen_operations_fail_as_the_kernel_lets_them_fail() {
    let (mut datapath, _) = datapath();
    datapath.fail(1..3);
    datapath.set(&entry("192.0.2.0/24"), BootTime(300 * SECOND)).unwrap();
    let error = datapath.set(&entry("192.0.2.9"), BootTime(300 * SECOND)).unwrap_err();
    assert_eq!(error.to_string(), "setting 22/tcp from 192.0.2.9/32: made to fail");
    datapath.remove(&entry("192.0.2.0/24"), None).unwrap_err();
    assert_eq!(datapath.decide(Ok(flow("192.0.2.1"))).reason, Reason::GrantExpired, "closed, though still there");
    datapath.remove(&entry("192.0.2.0/24"), None).unwrap();
    assert_eq!(datapath.entries().unwrap(), []);
}
