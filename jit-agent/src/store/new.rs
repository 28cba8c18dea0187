//! The record of an allowed request.

use ipnet::IpNet;
use jiff::Timestamp;
use jit_policy::{BootTime, GrantId, IdempotencyKey, NewRequest, PortId, Requestor};

use super::clocks::{Checkpoint, Deadline};

/// An allowed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRequestRow {
    /// The requestor.
    pub requestor: Requestor,
    /// The requested access and its justification.
    pub asked: NewRequest,
    /// The time of the request.
    pub start: Timestamp,
    /// Both clocks at this moment. The ends on BOOTTIME count in this boot.
    pub clocks: Checkpoint,
    /// The key by which the client may repeat the request, with the hash of the request's body.
    pub key: Option<IdempotencyKey>,
    /// The outcome of the request.
    pub outcome: NewOutcome,
}

/// The outcome of an allowed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewOutcome {
    /// Grants, one for each port and source.
    Grants(Vec<NewGrantRow>),
    /// The request waits for the approval of a second person.
    Pending {
        /// The time until which the request waits.
        until: Deadline,
        /// The grant that the request would extend; `None`: the request asks for new grants.
        extends: Option<GrantId>,
    },
}

/// A grant of a request that was approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGrantRow {
    /// The port.
    pub port: PortId,
    /// The source prefix.
    pub source: IpNet,
    /// The grant's start.
    pub start: Timestamp,
    /// The grant's end by the wall clock, which counts after a reboot.
    pub end_wall: Timestamp,
    /// The grant's end on BOOTTIME, which counts in this boot.
    pub end_boot: BootTime,
}
