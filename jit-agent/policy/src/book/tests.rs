use super::*;
use crate::{PortId, Protocol, parse_source};

fn grant(id: i64, source: &str, end: u64) -> LiveGrant {
    let port = PortId { number: 22, protocol: Protocol::Tcp };
    LiveGrant { id: GrantId(id), port, source: parse_source(source).unwrap(), end: BootTime(end) }
}

/// A book with these grants, numbered from 1.
fn book(grants: &[(&str, u64)]) -> Book {
    let mut book = Book::new();
    for ((source, end), id) in grants.iter().zip(1..) {
        book.insert(grant(id, source, *end)).unwrap();
    }
    book
}

fn show(changes: Vec<Change>) -> Vec<String> {
    let show = |change| match change {
        Change::Set { entry, deadline } => format!("set {} {}", entry.source, deadline.0),
        Change::Remove { entry, covered_until: Some(until) } => format!("remove {} until {}", entry.source, until.0),
        Change::Remove { entry, covered_until: None } => format!("remove {}", entry.source),
    };
    changes.into_iter().map(show).collect()
}

fn removed(book: &mut Book, id: i64) -> Vec<String> {
    show(book.remove(GrantId(id)).unwrap().1)
}

fn moved(book: &mut Book, id: i64, end: u64) -> Vec<String> {
    show(book.set_end(GrantId(id), BootTime(end)).unwrap())
}

#[test]
fn an_inner_prefix_lasts_as_long_as_the_outer_ones() {
    let mut book = book(&[("192.0.2.0/28", 10), ("192.0.2.64/28", 40)]);
    assert_eq!(
        show(book.insert(grant(3, "192.0.2.0/24", 30)).unwrap()),
        ["set 192.0.2.0/28 30", "set 192.0.2.0/24 30"]
    );
    assert_eq!(moved(&mut book, 3, 50), ["set 192.0.2.64/28 50", "set 192.0.2.0/28 50", "set 192.0.2.0/24 50"]);
    assert_eq!(moved(&mut book, 3, 20), ["set 192.0.2.64/28 40", "set 192.0.2.0/28 20", "set 192.0.2.0/24 20"]);
    assert_eq!(removed(&mut book, 3), ["set 192.0.2.0/28 10", "remove 192.0.2.0/24"]);
}

#[test]
fn prefixes_side_by_side_do_not_prolong_each_other() {
    let mut book = book(&[("192.0.2.0/28", 40), ("192.0.2.64/28", 10)]);
    assert_eq!(
        show(book.insert(grant(3, "192.0.2.0/24", 30)).unwrap()),
        ["set 192.0.2.64/28 30", "set 192.0.2.0/24 30"]
    );
    assert_eq!(show(book.insert(grant(4, "192.0.2.128/28", 5)).unwrap()), ["set 192.0.2.128/28 30"]);
}

#[test]
fn a_removed_inner_prefix_names_what_the_nearest_outer_one_admits() {
    let mut book = book(&[("10.0.0.0/8", 90), ("10.1.0.0/16", 20), ("10.1.1.0/24", 30), ("10.2.0.0/16", 99)]);
    let inner = EntryKey { number: 22, transport: Transport::Tcp, source: parse_source("10.1.1.0/25").unwrap() };
    assert_eq!(book.covered_until(&inner), Some(BootTime(90)));
    assert_eq!(removed(&mut book, 3), ["remove 10.1.1.0/24 until 90"]);
    assert_eq!(removed(&mut book, 1), ["set 10.1.0.0/16 20", "remove 10.0.0.0/8"]);
}

#[test]
fn hosts_and_prefixes_do_not_concern_each_other() {
    let mut book = book(&[("192.0.2.0/24", 50)]);
    assert_eq!(show(book.insert(grant(2, "192.0.2.7", 20)).unwrap()), ["set 192.0.2.7/32 20"]);
    assert_eq!(moved(&mut book, 1, 60), ["set 192.0.2.0/24 60"]);
    assert_eq!(removed(&mut book, 2), ["remove 192.0.2.7/32"]);
}

#[test]
fn grants_for_one_entry_are_independent() {
    for source in ["192.0.2.7", "192.0.2.0/24", "2001:db8::7", "2001:db8::/64"] {
        let source_shown = parse_source(source).unwrap();
        let mut book = book(&[(source, 20)]);
        assert!(book.insert(grant(2, source, 20)).unwrap().is_empty(), "no later end, no change");
        assert_eq!(show(book.insert(grant(3, source, 30)).unwrap()), [format!("set {source_shown} 30")]);
        assert!(removed(&mut book, 1).is_empty());
        assert_eq!(removed(&mut book, 3), [format!("set {source_shown} 20")]);
        assert_eq!(removed(&mut book, 2), [format!("remove {source_shown}")]);
        assert!(book.is_empty() && book.entries().next().is_none());
    }
}

#[test]
fn ports_and_address_families_are_apart() {
    let mut book = book(&[("0.0.0.0/0", 50)]);
    assert_eq!(show(book.insert(grant(2, "2001:db8::/32", 20)).unwrap()), ["set 2001:db8::/32 20"]);
    let udp = LiveGrant { port: PortId { number: 22, protocol: Protocol::Udp }, ..grant(3, "10.0.0.0/8", 20) };
    assert_eq!(show(book.insert(udp).unwrap()), ["set 10.0.0.0/8 20"]);
    let other = LiveGrant { port: PortId { number: 23, protocol: Protocol::Tcp }, ..grant(4, "10.0.0.0/8", 20) };
    assert_eq!(show(book.insert(other).unwrap()), ["set 10.0.0.0/8 20"]);
}

#[test]
fn grants_come_in_the_order_of_their_ends() {
    let mut book = book(&[("192.0.2.1", 30), ("192.0.2.2", 10), ("192.0.2.3", 20)]);
    assert_eq!(book.next_end(), Some(BootTime(10)));
    assert_eq!(book.ended(BootTime(9)), []);
    assert_eq!(book.ended(BootTime(20)), [GrantId(2), GrantId(3)]);
    book.set_end(GrantId(1), BootTime(5)).unwrap();
    assert_eq!(book.iter().map(|grant| grant.id.0).collect::<Vec<_>>(), [1, 2, 3]);
    book.remove(GrantId(1)).unwrap();
    assert_eq!((book.next_end(), book.len()), (Some(BootTime(10)), 2));
}

#[test]
fn a_number_is_taken_once_and_unknown_ones_are_nothing() {
    let mut book = book(&[("192.0.2.1", 30)]);
    let error = book.insert(grant(1, "192.0.2.2", 40)).unwrap_err();
    assert_eq!(error.to_string(), "grant 1 is in the book already; remove it first, or move its end");
    assert_eq!(book.get(GrantId(1)), Some(&grant(1, "192.0.2.1", 30)));
    assert_eq!(book.len(), 1);
    assert!(book.remove(GrantId(2)).is_none());
    assert!(book.set_end(GrantId(2), BootTime(1)).is_none());
}

#[test]
fn sixty_thousand_grants_are_handled_at_once() {
    let mut book = Book::new();
    let started = std::time::Instant::now();
    for index in 0..30_000_u32 {
        let [_, _, high, low] = index.to_be_bytes();
        book.insert(grant(i64::from(index), &format!("10.0.{high}.{low}"), u64::from(index) + 1)).unwrap();
        let prefix = format!("2001:db8:{index:x}::/48");
        book.insert(grant(100_000 + i64::from(index), &prefix, u64::from(index) + 1)).unwrap();
    }
    for id in book.ended(BootTime(20_000)) {
        assert_eq!(book.remove(id).unwrap().1.len(), 1);
    }
    assert_eq!(book.len(), 20_000);
    assert_eq!(book.entries().count(), 20_000);
    // Anything quadratic takes minutes; this takes well under a second even without optimisation.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
