//! Answers of the core that the API has no types for.

use std::time::Duration;

use jit_api::wire;
use jit_common::abi::Mode;
use jit_policy::PortId;

use crate::{
    datapath::{Counter, InterfaceView, PortCounts, UncoveredView},
    events::Totals,
};

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The request as it is now.
    pub request: wire::Request,
    /// Whether the request had been made before under the same key.
    pub replayed: bool,
}

/// The answer to an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extended {
    /// The grant as it is now.
    Grant(wire::Grant),
    /// The extension waits for approval.
    Waits(wire::Request),
}

/// The state of the whole agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Whether drops are carried out.
    pub mode: Mode,
    /// The interfaces that are to be covered.
    pub interfaces: Vec<InterfaceView>,
    /// The interfaces with an address over which packets come in unseen.
    pub uncovered: Vec<UncoveredView>,
    /// The number of grants that are live in the agent's book.
    pub intended_grants: usize,
    /// The number of grants whose kernel entries are all in place.
    pub enforced_grants: usize,
    /// The numbers of packets by mode and reason since the maps were made.
    pub counters: Vec<Counter>,
    /// The faults. The list is empty when nothing is broken.
    pub faults: Vec<String>,
    /// The remaining time of the running trial.
    pub trial_remaining: Option<Duration>,
}

/// The figures for monitoring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The state of the whole agent.
    pub whole: Whole,
    /// The counters of each port.
    pub ports: Vec<PortCounts>,
    /// The number of live grants of each policy.
    pub live_grants: Vec<(PortId, usize)>,
    /// The sums of reported packets and of packets that were not shown.
    pub events: Totals,
    /// Whether the store works, so that something can be opened.
    pub store_works: bool,
}
