//! A datapath in plain memory, which decides as the program does and fails on demand.

mod tables;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use ipnet::IpNet;
use jit_common::{
    abi::{Activity, Settings},
    activity::opens_connection,
    decide::{Decision, Tables as _, decide},
    parse::{Flow, parse, parse_network},
    reason::Reason,
};
use jit_policy::{BootTime, EntryKey, Interfaces, Packet, Pattern, Protection};

use self::tables::View;
use crate::{
    clock::Clock,
    datapath::{
        Coverage, CoverageChange, Datapath, DatapathError, InterfaceView, PortCounts, Trace, UncoveredView,
        every_counter, trace,
    },
};

/// A datapath without a kernel. Clones share one state, so a test can keep one clone and see what the core does with
/// another.
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
    /// The interfaces that were selected last.
    selected: Option<Interfaces>,
    interfaces: Vec<InterfaceView>,
    uncovered: Vec<UncoveredView>,
    changes: Vec<CoverageChange>,
    /// The numbers of packets by protected port and by the numbers of mode and reason.
    counters: BTreeMap<(Option<u16>, u32, u8), u64>,
    /// The number of operations so far, and the range of operations that fail.
    operations: usize,
    failing: Range<usize>,
}

impl MemoryDatapath {
    /// Makes a datapath that protects nothing and has room for `capacity` entries.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, capacity: usize) -> Self {
        Self { clock, capacity, state: Arc::default() }
    }

    /// Returns the interfaces that were selected last. The text is empty if no interfaces were selected.
    #[must_use]
    pub fn selected(&self) -> String {
        self.state().selected.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the changes in `operations` fail, counted from 0 from now on. Replaces the range that was set before. A
    /// failed `set` changes nothing. A failed `remove` leaves a closed entry behind.
    pub fn fail(&self, operations: Range<usize>) {
        let mut state = self.state();
        let done = state.operations;
        state.failing = done.saturating_add(operations.start)..done.saturating_add(operations.end);
    }

    /// Returns how many changes were asked for so far, including failed changes.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.state().operations
    }

    /// Sets the answer of [`Datapath::interfaces`]. [`Datapath::reconcile`] returns the difference next.
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

    /// Sets the answer of [`Datapath::uncovered`].
    pub fn set_uncovered(&self, uncovered: Vec<UncoveredView>) {
        self.state().uncovered = uncovered;
    }

    /// Decides about a frame as the program would at this moment, and counts the frame.
    pub fn judge(&self, frame: &[u8]) -> Reason {
        self.judge_parsed(frame, parse(frame))
    }

    /// Like [`judge`](Self::judge), but for a packet that begins with its IP header.
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
        let mode = tables.settings().enforce_until.mode(|| tables.now());
        let port = parsed.ok().filter(|flow| tables.port(flow.port).protects(flow.transport)).map(|flow| flow.port);
        *state.counters.entry((port, mode as u32, decision.reason as u8)).or_default() += 1;
        decision
    }
}

impl State {
    fn settings(&self) -> Settings {
        let Some(protection) = &self.protection else { return Settings::STRICT };
        Settings { flags: protection.flags(), enforce_until: protection.enforce_until, ..Settings::STRICT }
    }

    /// Returns a break-glass source by the source's index in the list.
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

    fn cover(&mut self, interfaces: &Interfaces) -> Result<(), Vec<DatapathError>> {
        self.state().selected = Some(interfaces.clone());
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

#[cfg(test)]
mod tests;
