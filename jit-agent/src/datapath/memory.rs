//! The datapath in plain memory: decides as the program does, and fails when told to. For tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use ipnet::IpNet;
use jit_common::{
    abi::{Activity, PortEntry, Settings, Slot},
    activity::opens_connection,
    decide::{Decision, Tables, decide},
    parse::{Flow, Source, parse, parse_network},
    reason::Reason,
};
use jit_policy::{BootTime, EntryKey, Interfaces, Packet, Pattern, Protection};

use super::{
    Coverage, CoverageChange, Datapath, DatapathError, PortCounts, Trace, every_counter, source_of, trace::trace,
};
use crate::{
    clock::Clock,
    datapath::{InterfaceView, UncoveredView},
};

/// A datapath without a kernel. Its clones share one state, so a test can look at what the core does with another.
#[derive(Clone)]
pub struct MemoryDatapath {
    clock: Arc<dyn Clock>,
    capacity: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    protection: Option<Protection>,
    entries: BTreeMap<EntryKey, BootTime>,
    activity: BTreeMap<EntryKey, Activity>,
    break_glass: BTreeMap<IpNet, Activity>,
    interfaces: Vec<InterfaceView>,
    uncovered: Vec<UncoveredView>,
    changes: Vec<CoverageChange>,
    /// Packets by protected port and the numbers of mode and reason.
    counters: BTreeMap<(Option<u16>, u32, u8), u64>,
    /// Operations so far, and which of them fail.
    operations: usize,
    failing: Range<usize>,
}

impl MemoryDatapath {
    /// Protects nothing, and has room for `capacity` entries.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, capacity: usize) -> Self {
        Self { clock, capacity, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets changes fail from now on: of those to come, counted from 0, the ones in `operations`. Replaces what was set
    /// before. A failed `set` changes nothing; a failed `remove` leaves a closed entry behind.
    pub fn fail(&self, operations: Range<usize>) {
        let mut state = self.state();
        let done = state.operations;
        state.failing = done.saturating_add(operations.start)..done.saturating_add(operations.end);
    }

    /// How many changes were asked for so far, failed ones included.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.state().operations
    }

    /// What [`Datapath::interfaces`] shall say. The difference is what [`Datapath::reconcile`] tells next.
    pub fn set_interfaces(&self, interfaces: &[InterfaceView]) {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.interfaces, interfaces.to_vec());
        let change = |interface: &InterfaceView, coverage| CoverageChange {
            interface: interface.name.clone(),
            index: interface.index.unwrap_or_default(),
            coverage,
        };
        let is_in = |all: &[InterfaceView], one: &InterfaceView| {
            all.iter().any(|other| (&other.name, other.attached) == (&one.name, one.attached))
        };
        for one in before.iter().filter(|one| !is_in(interfaces, one)) {
            let fault = interfaces.iter().find(|other| other.name == one.name).and_then(|other| other.fault.clone());
            if let Some(how) = one.attached {
                let reason = fault.unwrap_or_default();
                state.changes.push(change(one, Coverage::Lost { how, reason }));
            }
        }
        for one in interfaces.iter().filter(|one| !is_in(&before, one)) {
            if let Some(how) = one.attached {
                let (note, after) = (one.note.clone(), one.covered_after);
                state.changes.push(change(one, Coverage::Gained { how, note, after }));
            }
        }
    }

    /// What [`Datapath::uncovered`] shall say.
    pub fn set_uncovered(&self, uncovered: Vec<UncoveredView>) {
        self.state().uncovered = uncovered;
    }

    /// Decides about a frame as the program would at this moment, and counts it.
    pub fn judge(&self, frame: &[u8]) -> Reason {
        self.judge_parsed(frame, parse(frame))
    }

    /// As [`judge`](Self::judge), for a packet that begins with its IP header.
    pub fn judge_network(&self, packet: &[u8]) -> Reason {
        self.judge_parsed(packet, parse_network(packet))
    }

    fn judge_parsed(&self, frame: &[u8], parsed: Result<Flow, Reason>) -> Reason {
        let Decision { reason, admitted, .. } = self.decide(parsed);
        if let (Some((number, now)), Ok(flow)) = (admitted, parsed) {
            let mut state = self.state();
            let activity = match state.entries.keys().nth(number as usize).copied() {
                Some(entry) => Some(state.activity.entry(entry).or_default()),
                None => state
                    .break_glass_source(u32::MAX - number)
                    .map(|source| state.break_glass.entry(source).or_default()),
            };
            if let Some(activity) = activity {
                activity.note(now, opens_connection(frame, &flow));
            }
        }
        reason
    }

    fn decide(&self, parsed: Result<Flow, Reason>) -> Decision {
        let mut state = self.state();
        let tables = View { state: &state, now: self.clock.boot() };
        let decision = decide(parsed, &tables);
        let mode = tables.settings().mode(|| tables.now());
        let port = parsed.ok().filter(|flow| tables.port(flow.port).protects(flow.transport)).map(|flow| flow.port);
        *state.counters.entry((port, mode as u32, decision.reason as u8)).or_default() += 1;
        decision
    }
}

impl State {
    fn settings(&self) -> Settings {
        let Some(protection) = &self.protection else { return Settings::STRICT };
        Settings {
            flags: protection.flags(),
            trial_until: protection.trial_until.map_or(0, |end| end.0),
            ..Settings::STRICT
        }
    }

    /// A break-glass source by its place in the list.
    fn break_glass_source(&self, place: u32) -> Option<IpNet> {
        self.protection.as_ref()?.break_glass.get(place as usize).copied()
    }

    fn change(&mut self, action: impl FnOnce() -> String) -> Result<(), DatapathError> {
        let number = self.operations;
        self.operations += 1;
        if self.failing.contains(&number) {
            return Err(DatapathError::kernel(action(), "made to fail"));
        }
        Ok(())
    }
}

impl Datapath for MemoryDatapath {
    fn configure(&mut self, protection: &Protection) -> Result<(), DatapathError> {
        let mut state = self.state();
        state.change(|| "writing the protected ports".to_owned())?;
        state.protection = Some(protection.clone());
        Ok(())
    }

    fn set(&mut self, entry: &EntryKey, deadline: BootTime) -> Result<(), DatapathError> {
        let capacity = self.capacity;
        let mut state = self.state();
        state.change(|| format!("setting {entry}"))?;
        if !state.entries.contains_key(entry) && state.entries.len() >= capacity {
            return Err(DatapathError::Full { table: "MEMORY", capacity });
        }
        if state.entries.insert(*entry, deadline).is_none() {
            state.activity.remove(entry);
        }
        Ok(())
    }

    fn remove(&mut self, entry: &EntryKey, covered_until: Option<BootTime>) -> Result<(), DatapathError> {
        let mut state = self.state();
        if !state.entries.contains_key(entry) {
            return Ok(());
        }
        if let Err(error) = state.change(|| format!("removing {entry}")) {
            state.entries.insert(*entry, covered_until.unwrap_or_default());
            return Err(error);
        }
        state.entries.remove(entry);
        Ok(())
    }

    fn entries(&self) -> Result<Vec<(EntryKey, BootTime)>, DatapathError> {
        Ok(self.state().entries.iter().map(|(entry, deadline)| (*entry, *deadline)).collect())
    }

    fn port_counts(&self) -> Result<Vec<PortCounts>, DatapathError> {
        let state = self.state();
        let ports: BTreeSet<Option<u16>> = state.counters.keys().map(|(port, ..)| *port).collect();
        let count =
            |port, mode, reason| state.counters.get(&(port, mode as u32, reason as u8)).copied().unwrap_or_default();
        let of = |port: Option<u16>| PortCounts {
            ports: port.into_iter().collect(),
            counters: every_counter().map(|(mode, reason)| (mode, reason, count(port, mode, reason))).collect(),
            events: 0,
        };
        Ok(ports.into_iter().map(of).collect())
    }

    fn tend(&mut self) -> Result<(), DatapathError> {
        Ok(())
    }

    fn activity(&self, entry: &EntryKey) -> Activity {
        self.state().activity.get(entry).copied().unwrap_or_default()
    }

    fn break_glass(&self) -> Vec<(IpNet, Activity)> {
        self.state().break_glass.iter().map(|(source, activity)| (*source, *activity)).collect()
    }

    fn trace(&self, packet: &Packet) -> Result<Trace, DatapathError> {
        Ok(trace(packet, &View { state: &self.state(), now: self.clock.boot() }))
    }

    fn keep(&mut self) -> Result<(), DatapathError> {
        Ok(())
    }

    fn cover(&mut self, _: &Interfaces) -> Result<(), Vec<DatapathError>> {
        Ok(())
    }

    fn reconcile(&mut self, _: Option<Instant>) -> Vec<CoverageChange> {
        std::mem::take(&mut self.state().changes)
    }

    fn left_out(&self, interfaces: &Interfaces) -> Vec<String> {
        let is_named = |name: &str| {
            interfaces.iter().any(|pattern| match pattern {
                Pattern::Auto => true,
                Pattern::Name(named) => named == name,
                Pattern::Glob(glob) => glob.matches(name),
            })
        };
        let state = self.state();
        let covered = state.interfaces.iter().filter(|interface| interface.attached.is_some());
        covered.filter(|interface| !is_named(&interface.name)).map(|interface| interface.name.clone()).collect()
    }

    fn interfaces(&self) -> Vec<InterfaceView> {
        self.state().interfaces.clone()
    }

    fn uncovered(&self) -> Vec<UncoveredView> {
        self.state().uncovered.clone()
    }
}

/// The state at one moment, as the program's tables.
struct View<'state> {
    state: &'state State,
    now: BootTime,
}

impl View<'_> {
    fn slot(&self, flow: &Flow, hosts: bool) -> Option<(u32, Slot)> {
        let slots = (0..).zip(&self.state.entries).filter(|(_, (entry, _))| entry.is_host() == hosts);
        let slots =
            slots.map(|(number, (entry, deadline))| (number, Slot { deadline: deadline.0, ..closed_slot(entry) }));
        slots.filter(|(_, slot)| slot.covers(flow)).max_by_key(|(_, slot)| slot.prefix_length)
    }
}

impl Tables for View<'_> {
    fn settings(&self) -> Settings {
        self.state.settings()
    }

    fn port(&self, port: u16) -> PortEntry {
        let Some(protection) = &self.state.protection else { return PortEntry::default() };
        let transports = protection.ports.iter().filter(|(number, _)| *number == port);
        let entry = transports.fold(PortEntry::default(), |entry, (_, transport)| entry.protecting(*transport));
        let any = |hosts| self.state.entries.keys().any(|entry| entry.number == port && entry.is_host() == hosts);
        entry.with_hints(any(true), any(false))
    }

    fn host(&self, flow: &Flow) -> Option<(u32, Slot)> {
        self.slot(flow, true)
    }

    fn prefix(&self, flow: &Flow) -> Option<(u32, Slot)> {
        self.slot(flow, false)
    }

    fn break_glass(&self, source: Source) -> Option<(u32, Slot)> {
        let prefixes = self.state.protection.iter().flat_map(|protection| &protection.break_glass);
        let slots = prefixes.map(|prefix| {
            let (address, length) = source_of(prefix);
            Slot { deadline: u64::MAX, ..Slot::break_glass(address, length) }
        });
        // Numbered from the other end than entries are.
        (0..=u32::MAX)
            .rev()
            .zip(slots)
            .filter(|(_, slot)| slot.always_lets_in(source))
            .max_by_key(|(_, slot)| slot.prefix_length)
    }

    fn forwards(&self) -> bool {
        false
    }

    fn now(&self) -> u64 {
        self.now.0
    }
}

fn closed_slot(entry: &EntryKey) -> Slot {
    let (source, length) = source_of(&entry.source);
    Slot::closed(source, length, entry.number, entry.transport)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jit_common::abi::{Mode, Transport};

    use super::{super::address_of, *};
    use crate::clock::ManualClock;
    use jit_policy::parse_source;

    const SECOND: u64 = 1_000_000_000;

    fn entry(source: &str) -> EntryKey {
        EntryKey { number: 22, transport: Transport::Tcp, source: parse_source(source).unwrap() }
    }

    fn flow(source: &str) -> Flow {
        let source = address_of(source.parse().unwrap());
        Flow { source, port: 22, transport: Transport::Tcp, fragment: false, transport_header: 0 }
    }

    /// Protects 22/tcp; it is 100 s after boot; room for two entries.
    fn datapath() -> (MemoryDatapath, ManualClock) {
        let clock = ManualClock::new(BootTime(100 * SECOND), jiff::Timestamp::UNIX_EPOCH);
        let mut datapath = MemoryDatapath::new(Arc::new(clock.clone()), 2);
        let ports = vec![(22, Transport::Tcp)];
        datapath.configure(&Protection { ports, mode: Mode::Enforce, ..Protection::default() }).unwrap();
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
}
