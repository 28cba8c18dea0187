//! Tests of the store on real files.

mod audit;
mod files;
mod records;
mod retention;
mod search;

use jiff::Timestamp;
use jit_policy::{Actor, BootTime, GrantId, NewRequest, Person, PortId, Protocol, RequestId, Requestor, parse_source};
use tempfile::TempDir;

use super::*;

/// A moment of the wall clock, some seconds after the first moment of these tests.
fn wall(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_772_366_400 + seconds).unwrap()
}

fn row(source: &str, protocol: Protocol, seconds: i64) -> NewGrantRow {
    NewGrantRow {
        port: PortId { number: 22, protocol },
        source: parse_source(source).unwrap(),
        start: wall(0),
        end_wall: wall(seconds),
        end_boot: BootTime(u64::try_from(seconds).unwrap() * 1_000_000_000),
    }
}

/// alice asks for a host over TCP and a prefix over all protocols.
fn new_request() -> NewRequestRow {
    let grants = vec![row("192.0.2.7", Protocol::Tcp, 3600), row("2001:db8::/64", Protocol::Any, 7200)];
    let asked =
        NewRequest { ports: Vec::new(), justification: "disk full; 'quotes' -- \u{0} and \u{1f511}".to_owned() };
    NewRequestRow {
        requestor: Requestor { sender: person(1000, "alice"), named: None },
        asked,
        start: wall(0),
        clocks: clocks("boot-1", 0),
        key: None,
        outcome: NewOutcome::Grants(grants),
    }
}

fn person(uid: u32, name: &str) -> Person {
    Person { uid, name: name.to_owned(), login: None }
}

/// Grants without connections.
fn unused(ids: &[GrantId]) -> Vec<EndedGrant> {
    ids.iter().map(|id| (*id, None)).collect()
}

/// The clocks `seconds` after the start of the boot of this name.
fn clocks(boot_id: &str, seconds: i64) -> Checkpoint {
    let boot = BootTime(u64::try_from(seconds).unwrap() * 1_000_000_000);
    Checkpoint { machine_id: "machine".to_owned(), boot_id: boot_id.to_owned(), boot, wall: wall(seconds) }
}

fn ending(state: GrantEnd, by: Option<&str>, reason: &str) -> Ending<GrantEnd> {
    Ending { state, wall: wall(60), by: by.map(|name| Actor::Person(person(0, name))), reason: reason.to_owned() }
}

fn store() -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn page(limit: usize) -> RequestPage {
    RequestPage { limit, bytes: usize::MAX, ..RequestPage::default() }
}

fn states(rows: &[GrantRow]) -> Vec<(i64, GrantState)> {
    rows.iter().map(|row| (row.id.0, row.state)).collect()
}

/// The events of the audit log in their order.
fn events(store: &Store) -> Vec<String> {
    let mut statement = store.connection.prepare("SELECT event FROM audit ORDER BY seq").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}
