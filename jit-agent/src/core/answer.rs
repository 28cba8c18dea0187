//! What the core answers that has no form of its own in the API.

use std::time::Duration;

use jiff::Timestamp;
use jit_api::wire;
use jit_common::abi::Mode;
use jit_policy::{PortId, PortPolicy};

use crate::{
    datapath::{Counter, InterfaceView, PortCounts, UncoveredView},
    events::Totals,
};

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The request as it is now.
    pub request: wire::Request,
    /// Whether it had been made before, under the same key.
    pub replayed: bool,
}

/// The answer to who wants a grant to last longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extended {
    /// The grant as it is now.
    Grant(wire::Grant),
    /// The extension waits for approval.
    Waits(wire::Request),
}

/// One port policy and what is open there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortView {
    /// The policy.
    pub policy: PortPolicy,
    /// Live grants.
    pub live_grants: usize,
    /// Packets to the port number that passed, by whatever grant.
    pub passed: u64,
    /// Packets to it that were dropped.
    pub dropped: u64,
    /// Packets to it that would have been dropped.
    pub observed: u64,
    /// How many requests opened it in the last seven days; `None`: the store can't be read, or who asks may not know.
    pub approved_requests: Option<u64>,
    /// When a grant for it last let a new connection pass.
    pub last_connection: Option<Timestamp>,
    /// Whose grant that was.
    pub last_user: Option<String>,
}

/// The agent as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Whether drops are carried out.
    pub mode: Mode,
    /// The interfaces that are to be covered.
    pub interfaces: Vec<InterfaceView>,
    /// The interfaces with an address over which packets come in unseen.
    pub uncovered: Vec<UncoveredView>,
    /// Grants that are live by the agent's book.
    pub intended_grants: usize,
    /// Grants all of whose kernel entries are in place.
    pub enforced_grants: usize,
    /// Packets by mode and reason since the maps were made.
    pub counters: Vec<Counter>,
    /// What is broken; empty when all is well.
    pub faults: Vec<String>,
    /// How long the trial that runs still lasts.
    pub trial_remaining: Option<Duration>,
}

/// What monitoring wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The agent as a whole.
    pub whole: Whole,
    /// What was counted, port by port.
    pub ports: Vec<PortCounts>,
    /// Live grants of each policy.
    pub live_grants: Vec<(PortId, usize)>,
    /// What was reported and what was not.
    pub events: Totals,
    /// Whether something can be opened, as far as the store goes.
    pub store_works: bool,
}
