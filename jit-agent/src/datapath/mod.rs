//! The enforcement of grants: by the XDP program and its maps, or by plain memory in tests.

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
    /// The port. The list is empty for packets that concern no protected port, and has several ports if these share a
    /// counter.
    pub ports: Vec<u16>,
    /// The counters for every mode and reason.
    pub counters: Vec<Counter>,
    /// The number of events that were reported of these packets.
    pub events: u64,
}

/// An interface that became covered, or is no longer covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverageChange {
    /// The interface's name.
    pub interface: String,
    /// The interface's index.
    pub index: u32,
    /// What happened.
    pub coverage: Coverage,
}

/// What happened to an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// The program is on the interface now.
    Gained {
        /// How the program is attached.
        how: Way,
        /// Why the program is not attached in a better way.
        note: Option<String>,
        /// How long the interface was uncovered; `None` if the agent knows of no such time.
        after: Option<Duration>,
    },
    /// The program was not on the interface as it should be.
    Lost {
        /// How the program was attached.
        how: Way,
        /// What is known of the loss.
        reason: String,
    },
}

/// The enforcement of grants. Every change is in force when the call returns.
pub trait Datapath: Send {
    /// Makes exactly these ports protected, in this mode.
    ///
    /// # Errors
    /// A table can't be written.
    fn configure(&mut self, protection: &Protection) -> Result<(), DatapathError>;

    /// Opens an entry, or moves its deadline.
    ///
    /// # Errors
    /// A table is full or can't be written; a new entry is then not open.
    fn set(&mut self, entry: &EntryKey, deadline: BootTime) -> Result<(), DatapathError>;

    /// Removes an entry, if there is such an entry. Until `covered_until`, an outer entry admits the same sources, and
    /// goes on doing so during the removal.
    ///
    /// # Errors
    /// A table can't be written; the entry is closed all the same.
    fn remove(&mut self, entry: &EntryKey, covered_until: Option<BootTime>) -> Result<(), DatapathError>;

    /// Records that the entries are now those of the store, so that a successor in this boot may adopt them. Before
    /// this call, a successor would take missing entries for closed.
    ///
    /// # Errors
    /// The record can't be written; a successor then starts from the store.
    fn keep(&mut self) -> Result<(), DatapathError>;

    /// Does the work of every second or so: grants the program new events to report, and looks whether the host
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

    /// Covers these interfaces from now on, as far as they exist, and uncovers all others, also after somebody removed
    /// all enforcement from outside.
    ///
    /// # Errors
    /// One error for each interface that can't be covered, which is also a fault in that interface's view; the others
    /// are covered all the same.
    fn cover(&mut self, interfaces: &Interfaces) -> Result<(), Vec<DatapathError>>;

    /// Reconciles the attachments with the interfaces as they are now; changes nothing if nothing has changed. Returns
    /// the changes since the last call. `notified` is when netlink notified a change.
    fn reconcile(&mut self, notified: Option<Instant>) -> Vec<CoverageChange>;

    /// The interfaces that are covered now, and that these patterns would leave uncovered.
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

/// A prefix in the form that the program has: address and length.
pub(crate) fn source_of(prefix: &IpNet) -> (Source, u8) {
    (address_of(prefix.addr()), prefix.prefix_len())
}

/// An address in the form that the program has.
pub(crate) fn address_of(address: IpAddr) -> Source {
    match address {
        IpAddr::V4(address) => Source::V4(address.to_bits()),
        IpAddr::V6(address) => Source::V6((address.to_bits() >> 64) as u64, address.to_bits() as u64),
    }
}
