//! What is to be recorded of a request that is allowed.

use ipnet::IpNet;
use jiff::Timestamp;
use jit_policy::{BootTime, GrantId, IdempotencyKey, NewRequest, PortId, Requestor};

use super::rows::Checkpoint;

/// A request that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRequestRow {
    /// Who asks.
    pub requestor: Requestor,
    /// What was asked for, and why.
    pub asked: NewRequest,
    /// When.
    pub start: Timestamp,
    /// Both clocks now, in the boot in which the ends on BOOTTIME count.
    pub clocks: Checkpoint,
    /// The name by which the client may repeat it, with the hash of what it sent.
    pub key: Option<IdempotencyKey>,
    /// What follows from it.
    pub outcome: NewOutcome,
}

/// What follows from a request that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewOutcome {
    /// Grants, one for each port and source.
    Grants(Vec<NewGrantRow>),
    /// It waits for a second person.
    Pending {
        /// Until when.
        until: Deadline,
        /// The grant that is to be extended; `None`: it asks for new ones.
        extends: Option<GrantId>,
    },
}

/// A moment in both clocks: that of this boot, and that which goes on after a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// On BOOTTIME.
    pub boot: BootTime,
    /// By the wall clock.
    pub wall: Timestamp,
}

/// A grant of a request that was approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGrantRow {
    /// The port.
    pub port: PortId,
    /// The source prefix.
    pub source: IpNet,
    /// From when on.
    pub start: Timestamp,
    /// Its end by the wall clock, which counts after a reboot.
    pub end_wall: Timestamp,
    /// Its end on BOOTTIME, which counts in this boot.
    pub end_boot: BootTime,
}
