//! What enforces: the XDP program and its maps, or plain memory in tests.

mod error;
mod trace;
mod view;
pub mod xdp;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use jit_common::{
    abi::{Activity, Mode},
    parse::Source,
    reason::Reason,
};
use jit_policy::{BootTime, EntryKey, Interfaces, Packet, Protection, Way};

#[cfg(any(test, feature = "testing"))]
pub(crate) use self::trace::trace;
pub use self::{
    error::{DatapathError, KernelError, PinError},
    trace::Trace,
    view::{InterfaceView, UncoveredView},
};

/// Packets counted for one mode and reason.
pub type Counter = (Mode, Reason, u64);

/// What was counted for one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortCounts {
    /// The port. None: packets that concern no protected port. Several: ports beyond those that are counted apart.
    pub ports: Vec<u16>,
    /// For every mode and reason.
    pub counters: Vec<Counter>,
    /// How many events were reported of them.
    pub events: u64,
}

/// An interface became covered, or is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverageChange {
    /// Its name.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// What happened.
    pub coverage: Coverage,
}

/// What happened to an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// The program is on it now.
    Gained {
        /// How it is attached.
        how: Way,
        /// Why not in a better way.
        note: Option<String>,
        /// For how long it was uncovered; `None`: the agent knows of no such time.
        after: Option<Duration>,
    },
    /// The program was not there as it should be.
    Lost {
        /// How it was attached.
        how: Way,
        /// What is known of it.
        reason: String,
    },
}

/// What enforces grants. Every change is in force when the call returns.
pub trait Datapath: Send {
    /// Makes exactly these ports protected, in this mode.
    ///
    /// # Errors
    /// A table can't be written.
    fn configure(&mut self, protection: &Protection) -> Result<(), DatapathError>;

    /// Opens an entry, or moves its deadline.
    ///
    /// # Errors
    /// A table is full or can't be written; a new entry is then not there.
    fn set(&mut self, entry: &EntryKey, deadline: BootTime) -> Result<(), DatapathError>;

    /// Removes an entry, if it is there. Until `covered_until`, an outer entry admits the same sources, and goes on
    /// doing so during the removal.
    ///
    /// # Errors
    /// A table can't be written; the entry is closed all the same.
    fn remove(&mut self, entry: &EntryKey, covered_until: Option<BootTime>) -> Result<(), DatapathError>;

    /// Says that the entries are now those of the store, so that a successor in this boot may adopt them. Before, it
    /// would take what is missing for closed.
    ///
    /// # Errors
    /// That can't be noted; a successor then starts from the store.
    fn keep(&mut self) -> Result<(), DatapathError>;

    /// Does what is to be done every second or so: grants the program new events to report, and looks whether the host
    /// forwards packets now.
    ///
    /// # Errors
    /// A table can't be written.
    fn tend(&mut self) -> Result<(), DatapathError>;

    /// The entries that are in place, with their deadlines.
    ///
    /// # Errors
    /// A table can't be read.
    fn entries(&self) -> Result<Vec<(EntryKey, BootTime)>, DatapathError>;

    /// When an entry let packets pass; all zero if there is no such entry.
    fn activity(&self, entry: &EntryKey) -> Activity;

    /// When each break-glass source let packets pass.
    fn break_glass(&self) -> Vec<(IpNet, Activity)>;

    /// Everything that was counted, port by port, since the tables were made.
    ///
    /// # Errors
    /// The table can't be read.
    fn port_counts(&self) -> Result<Vec<PortCounts>, DatapathError>;

    /// All counters, over all ports.
    ///
    /// # Errors
    /// The table can't be read.
    fn counters(&self) -> Result<Vec<Counter>, DatapathError> {
        let counts = self.port_counts()?;
        let sum = |mode, reason| {
            let counters = counts.iter().flat_map(|port| &port.counters);
            counters.filter(|counter| (counter.0, counter.1) == (mode, reason)).map(|counter| counter.2).sum()
        };
        Ok(every_counter().map(|(mode, reason)| (mode, reason, sum(mode, reason))).collect())
    }

    /// What would become of a packet now, by the tables in force.
    ///
    /// # Errors
    /// A table can't be read, or there is no such interface.
    fn trace(&self, packet: &Packet) -> Result<Trace, DatapathError>;

    /// Covers these interfaces from now on, as far as they are there, and uncovers all others; also after everything was
    /// removed from outside.
    ///
    /// # Errors
    /// One error for each interface that can't be covered, which is also a fault of its view; the others are covered all
    /// the same.
    fn cover(&mut self, interfaces: &Interfaces) -> Result<(), Vec<DatapathError>>;

    /// Brings the attachments in line with the interfaces as they are now, which changes nothing where nothing has
    /// changed. Returns what happened since the last time. `notified` is when netlink notified a
    /// change.
    fn reconcile(&mut self, notified: Option<Instant>) -> Vec<CoverageChange>;

    /// The interfaces that are covered now, and would not be with these patterns.
    fn left_out(&self, interfaces: &Interfaces) -> Vec<String>;

    /// How the interfaces that are to be covered are attached now.
    fn interfaces(&self) -> Vec<InterfaceView>;

    /// The interfaces with an address over which packets come in unseen.
    fn uncovered(&self) -> Vec<UncoveredView>;
}

/// All counters that there are, in order.
pub(crate) fn every_counter() -> impl Iterator<Item = (Mode, Reason)> {
    let of_mode = |mode| Reason::ALL.iter().map(move |reason| (mode, *reason));
    [Mode::Observe, Mode::Enforce].into_iter().flat_map(of_mode)
}

/// A prefix as the program has it: address and length.
pub(crate) fn source_of(prefix: &IpNet) -> (Source, u8) {
    (address_of(prefix.addr()), prefix.prefix_len())
}

/// An address as the program has it.
pub(crate) fn address_of(address: IpAddr) -> Source {
    match address {
        IpAddr::V4(address) => Source::V4(address.to_bits()),
        IpAddr::V6(address) => Source::V6((address.to_bits() >> 64) as u64, address.to_bits() as u64),
    }
}
