//! The book against a model: a plain list of grants, and a kernel that looks up as the program does.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::LazyLock,
};

use proptest::prelude::*;

use super::*;
use crate::{PortId, Protocol, single_address};

#[derive(Clone, Debug)]
enum Step {
    Add {
        source: IpNet,
        protocol: Protocol,
        lasts: u64,
    },
    /// The index counts the present grants.
    Remove(prop::sample::Index),
    SetEnd(prop::sample::Index, u64),
    Pass(u64),
    /// Removes the grants that have ended, as the agent does now and then.
    Sweep,
}

/// Prefixes that nest up to five deep, and hosts, in both families.
fn any_source() -> impl Strategy<Value = IpNet> {
    let v4 = (0_u8..16, prop_oneof![Just(0_u8), Just(8), Just(28), 29_u8..=32])
        .prop_map(|(low, length)| format!("192.0.2.{low}/{length}"));
    let v6 = (0_u8..16, prop_oneof![Just(0_u8), Just(32), Just(64), Just(124), 125_u8..=128])
        .prop_map(|(low, length)| format!("2001:db8::{low:x}/{length}"));
    prop_oneof![v4, v6].prop_map(|text| text.parse::<IpNet>().unwrap().trunc())
}

fn any_step() -> impl Strategy<Value = Step> {
    let protocol = prop_oneof![3 => Just(Protocol::Tcp), 1 => Just(Protocol::Any)];
    prop_oneof![
        6 => (any_source(), protocol, 0_u64..20)
            .prop_map(|(source, protocol, lasts)| Step::Add { source, protocol, lasts }),
        3 => any::<prop::sample::Index>().prop_map(Step::Remove),
        3 => (any::<prop::sample::Index>(), 0_u64..20).prop_map(|(index, lasts)| Step::SetEnd(index, lasts)),
        2 => (0_u64..8).prop_map(Step::Pass),
        1 => Just(Step::Sweep),
    ]
}

/// Every address in the universe's last prefix, and one beyond each of its outer ones.
static PROBES: LazyLock<Vec<IpAddr>> = LazyLock::new(|| {
    let beyond =
        ["192.0.2.200", "192.77.0.1", "10.0.0.1", "2001:db8::1:0:0:0:1", "2001:db8::ff", "2001:db8:1::1", "::1"];
    let v4 = (0..16).map(|low| format!("192.0.2.{low}"));
    let v6 = (0..16).map(|low| format!("2001:db8::{low:x}"));
    v4.chain(v6).chain(beyond.map(str::to_owned)).map(|text| text.parse().unwrap()).collect()
});

/// The kernel's maps, with the kernel's way to look up.
#[derive(Default)]
struct Kernel(BTreeMap<EntryKey, BootTime>);

impl Kernel {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Set { entry, deadline } => {
                assert_ne!(self.0.insert(*entry, *deadline), Some(*deadline), "{entry} had that deadline already");
            }
            Change::Remove { entry, covered_until } => {
                assert!(self.0.remove(entry).is_some(), "{entry} was not there");
                let outer = |other: &&EntryKey| {
                    other.transport == entry.transport
                        && other.source != entry.source
                        && other.source.contains(&entry.source)
                };
                let nearest = self.0.keys().filter(outer).max_by_key(|other| other.source.prefix_len());
                let expected = if entry.is_host() { None } else { nearest.map(|nearest| self.0[nearest]) };
                assert_eq!(*covered_until, expected, "{entry}");
            }
        }
    }

    fn passes(&self, address: IpAddr, transport: Transport, now: BootTime) -> bool {
        let at = |source| EntryKey { number: 22, transport, source };
        if self.0.get(&at(address.into())).is_some_and(|deadline| now < *deadline) {
            return true;
        }
        let holds =
            |entry: &&EntryKey| !entry.is_host() && entry.transport == transport && entry.source.contains(&address);
        let longest = self.0.keys().filter(holds).max_by_key(|entry| entry.source.prefix_len());
        longest.is_some_and(|entry| now < self.0[entry])
    }
}

fn live(grants: &[LiveGrant], address: IpAddr, transport: Transport, now: BootTime) -> bool {
    let admits = |grant: &LiveGrant| {
        grant.port.protocol.transports().contains(&transport) && grant.source.contains(&address) && now < grant.end
    };
    grants.iter().any(admits)
}

/// The effective expiries by their definition.
fn expiries(grants: &[LiveGrant]) -> BTreeMap<EntryKey, BootTime> {
    let keys: BTreeSet<EntryKey> = grants.iter().flat_map(LiveGrant::entries).collect();
    let counts = |key: &EntryKey, other: &EntryKey| {
        key == other || (!key.is_host() && key.transport == other.transport && other.source.contains(&key.source))
    };
    let latest = |key: &EntryKey| {
        let ends =
            grants.iter().filter(|grant| grant.entries().any(|other| counts(key, &other))).map(|grant| grant.end);
        ends.max().unwrap()
    };
    keys.into_iter().map(|key| (key, latest(&key))).collect()
}

struct World {
    book: Book,
    grants: Vec<LiveGrant>,
    kernel: Kernel,
    now: BootTime,
    next_id: i64,
}

impl World {
    fn take(&mut self, step: &Step) {
        let before = self.grants.clone();
        let changes = match step {
            Step::Add { source, protocol, lasts } => {
                let id = GrantId(self.next_id);
                self.next_id += 1;
                let port = PortId { number: 22, protocol: *protocol };
                let grant = LiveGrant { id, port, source: *source, end: BootTime(self.now.0 + lasts) };
                self.grants.push(grant);
                self.book.insert(grant).unwrap()
            }
            Step::Remove(index) if !self.grants.is_empty() => {
                let grant = self.grants.swap_remove(index.index(self.grants.len()));
                let (removed, changes) = self.book.remove(grant.id).unwrap();
                assert_eq!(removed, grant);
                changes
            }
            Step::SetEnd(index, lasts) if !self.grants.is_empty() => {
                let place = index.index(self.grants.len());
                self.grants[place].end = BootTime(self.now.0 + lasts);
                self.book.set_end(self.grants[place].id, self.grants[place].end).unwrap()
            }
            Step::Pass(time) => {
                self.now.0 += time;
                Vec::new()
            }
            Step::Sweep => {
                let ended = self.book.ended(self.now);
                self.grants.retain(|grant| grant.end > self.now);
                ended.into_iter().flat_map(|id| self.book.remove(id).unwrap().1).collect()
            }
            Step::Remove(_) | Step::SetEnd(..) => Vec::new(),
        };
        self.check_packets(&before);
        for change in changes {
            self.kernel.apply(&change);
            self.check_packets(&before);
        }
        self.check_packets(&self.grants);
        self.check_expiries();
    }

    /// Checks packets at this instant, during the step from the grants `before` to the present ones.
    fn check_packets(&self, before: &[LiveGrant]) {
        for address in PROBES.iter().copied() {
            for transport in [Transport::Tcp, Transport::Udp] {
                let was = live(before, address, transport, self.now);
                let is = live(&self.grants, address, transport, self.now);
                let passes = self.kernel.passes(address, transport, self.now);
                assert!(was != is || passes == is, "{address} {transport:?}: passes {passes}, should be {is}");
            }
        }
    }

    fn check_expiries(&self) {
        let expected = expiries(&self.grants);
        assert_eq!(self.book.entries().collect::<BTreeMap<_, _>>(), expected);
        assert_eq!(self.kernel.0, expected);
        for (entry, end) in &expected {
            assert_eq!(self.book.effective(entry), Some(*end));
        }
        for address in PROBES.iter().copied() {
            let host = EntryKey { number: 22, transport: Transport::Tcp, source: address.into() };
            assert!(single_address(&host.source).is_some());
            assert_eq!(self.book.effective(&host), expected.get(&host).copied());
        }
        let mut ends: Vec<BootTime> = self.grants.iter().map(|grant| grant.end).collect();
        ends.sort();
        assert_eq!(self.book.iter().map(|grant| grant.end).collect::<Vec<_>>(), ends);
        assert_eq!(self.book.next_end(), ends.first().copied());
        assert_eq!(self.book.len(), self.grants.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn at_every_instant_packets_see_the_union_of_the_live_grants(steps in prop::collection::vec(any_step(), 1..40)) {
        let mut world = World {
            book: Book::new(),
            grants: Vec::new(),
            kernel: Kernel::default(),
            now: BootTime(100),
            next_id: 1,
        };
        for step in &steps {
            world.take(step);
        }
    }
}
