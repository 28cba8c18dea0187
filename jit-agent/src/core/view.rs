//! What the core tells those who ask: the state as values, ready to be shown.

use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use jit_common::reason::{Reason, Verdict};

use crate::{
    datapath::{Packet, PortCounts},
    events::Totals,
    policy::{GrantId, PortId, PortPolicy, RequestId, Violation},
};

/// A local user, by the kernel's word on the socket's peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Primary and supplementary group ids.
    pub groups: Vec<u32>,
    /// Name of the user, or the number where it has none.
    pub name: String,
    /// Who logged in, whoever they have become since (`sudo`): user id and name. `None`: nobody did, as for services,
    /// or the kernel does not tell.
    pub login: Option<(u32, String)>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestStatus {
    /// Its grants were made.
    Approved,
    /// It could not be carried out, and left nothing behind.
    Failed,
}

/// What became of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantStatus {
    /// Packets pass.
    Live,
    /// Its time is over.
    Expired,
    /// Someone ended it.
    Revoked,
    /// The agent ended it; the reason says why.
    Ended,
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantView {
    /// Its number.
    pub id: GrantId,
    /// The request it came from.
    pub request: RequestId,
    /// The port.
    pub port: PortId,
    /// The source prefix.
    pub source: IpNet,
    /// Who asked for it.
    pub requestor: String,
    /// When it was made.
    pub start: Timestamp,
    /// When it ends or has ended, by the wall clock.
    pub end: Timestamp,
    /// How long packets will still pass; zero when it is over.
    pub remaining: Duration,
    /// What became of it.
    pub status: GrantStatus,
    /// Why it ended, if it did not simply expire.
    pub status_reason: Option<String>,
    /// When it last let a packet pass, as far as it is live.
    pub last_packet: Option<Timestamp>,
    /// When it last let a new connection pass, as far as it is live.
    pub last_connection: Option<Timestamp>,
}

/// One request with its grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestView {
    /// Its number.
    pub id: RequestId,
    /// Who asked.
    pub requestor: String,
    /// User id of who asked.
    pub uid: u32,
    /// Why.
    pub justification: String,
    /// When it was made.
    pub start: Timestamp,
    /// What became of it.
    pub status: RequestStatus,
    /// Why it failed.
    pub status_reason: Option<String>,
    /// Its grants.
    pub grants: Vec<GrantView>,
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
    /// When a grant for it last let a new connection pass, as far as known since the agent's start.
    pub last_connection: Option<Timestamp>,
}

/// Which grants to revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These; all must be known.
    Ids(Vec<GrantId>),
    /// All of one user, by name.
    User(String),
    /// All.
    All,
}

/// What a revocation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The grants that ended now.
    pub revoked: Vec<GrantView>,
    /// Open kernel entries beyond these grants that were closed too: while the store can't be read, nobody knows whose
    /// they are.
    pub other_entries: usize,
    /// Whether all closings so far are written; if not, they still hold until the host or the agent restarts, and
    /// expiry holds after that.
    pub durable: bool,
}

/// How an interface is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceView {
    /// Name of the interface.
    pub name: String,
    /// Its index; `None` if there is no such interface now.
    pub index: Option<u32>,
    /// How the program is attached: `native` or `generic`; `None`: it is not, and the fault says why.
    pub attached: Option<&'static str>,
    /// What is wrong.
    pub fault: Option<String>,
}

/// What would become of a packet, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhyView {
    /// The packet that was asked about.
    pub packet: Packet,
    /// Whether it would pass, all things considered.
    pub verdict: Verdict,
    /// Under which reason it would be counted; `None` if the program would not see it.
    pub reason: Option<Reason>,
    /// `enforce` or `observe`.
    pub mode: &'static str,
    /// What decides, in a sentence.
    pub explanation: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// The live grants that let it pass.
    pub grants: Vec<GrantView>,
}

/// What monitoring wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsView {
    /// The agent as a whole.
    pub status: StatusView,
    /// What was counted, port by port.
    pub ports: Vec<PortCounts>,
    /// Live grants of each policy.
    pub live_grants: Vec<(PortId, usize)>,
    /// What was reported and what was not.
    pub events: Totals,
}

/// The agent as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusView {
    /// `enforce` or `observe`.
    pub mode: &'static str,
    /// Version of the agent.
    pub version: &'static str,
    /// The configured interfaces.
    pub interfaces: Vec<InterfaceView>,
    /// Grants that are live by the agent's book.
    pub intended_grants: usize,
    /// Grants all of whose kernel entries are in place.
    pub enforced_grants: usize,
    /// Packets by mode and reason since the maps were made.
    pub counters: Vec<(&'static str, Reason, u64)>,
    /// What is broken; empty when all is well.
    pub faults: Vec<String>,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The peer lacks a role.
    #[error(
        "{name} (uid {uid}) has no role that allows this; an admin can add the user or a group to `{role}` in [roles]"
    )]
    NotPermitted {
        /// User name.
        name: String,
        /// User id.
        uid: u32,
        /// The role that would allow it.
        role: &'static str,
    },
    /// The request asks for more than the port policies allow.
    #[error("the request asks for more than is allowed")]
    Violations(Vec<Violation>),
    /// No such request or grant.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `request` or `grant`.
        what: &'static str,
        /// The number asked for.
        id: i64,
    },
    /// The kernel's tables have no room; nothing was opened.
    #[error("no room for more grants: {0}; revoke some, or wait until some end")]
    Full(String),
    /// Something the agent needs is broken; nothing was opened.
    #[error("{0}")]
    Unavailable(String),
}
