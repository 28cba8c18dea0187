//! What the core tells those who ask: the state as values, ready to be shown.

mod enforcement;

use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use jit_common::reason::{Reason, Verdict};
use jit_policy::{Actor, GrantId, Packet, Person, PortId, PortPolicy, RequestId, RequestedPort, Violation};

use crate::{
    datapath::{InterfaceView, PortCounts, UncoveredView},
    events::Totals,
    store::RequestState,
};

pub use self::enforcement::{Cover, Enabled, EnforcementView, SessionView, TrialView};

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

impl Peer {
    /// Who it is, apart from the groups.
    #[must_use]
    pub fn person(&self) -> Person {
        Person { uid: self.uid, name: self.name.clone(), login: self.login.clone() }
    }

    /// The peer as who did something.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::Person(self.person())
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The request as it is now.
    pub request: RequestView,
    /// Whether it had been made before, under the same key.
    pub replayed: bool,
}

/// The answer to who wants a grant to last longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extended {
    /// The grant as it is now.
    Grant(GrantView),
    /// The extension waits for approval.
    Waits(RequestView),
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
    /// User id of who sent it.
    pub uid: u32,
    /// Why.
    pub justification: String,
    /// When it was made.
    pub start: Timestamp,
    /// What became of it.
    pub status: RequestState,
    /// Why it was denied, or failed.
    pub status_reason: Option<String>,
    /// Who approved, denied or cancelled it.
    pub decided_by: Option<String>,
    /// What it waits for.
    pub pending: Option<PendingView>,
    /// Its grants.
    pub grants: Vec<GrantView>,
}

/// What a request asks for that waits for approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingView {
    /// The ports.
    pub ports: Vec<RequestedPort>,
    /// The grant that it would extend; `None`: it asks for new ones.
    pub extends: Option<GrantId>,
    /// Until when it waits, by the wall clock.
    pub until: Timestamp,
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
    /// Whether something can be opened, as far as the store goes.
    pub store_works: bool,
}

/// The agent as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusView {
    /// `enforce` or `observe`.
    pub mode: &'static str,
    /// Version of the agent.
    pub version: &'static str,
    /// The interfaces that are to be covered.
    pub interfaces: Vec<InterfaceView>,
    /// The interfaces with an address over which packets come in unseen.
    pub uncovered: Vec<UncoveredView>,
    /// Grants that are live by the agent's book.
    pub intended_grants: usize,
    /// Grants all of whose kernel entries are in place.
    pub enforced_grants: usize,
    /// Packets by mode and reason since the maps were made.
    pub counters: Vec<(&'static str, Reason, u64)>,
    /// What is broken; empty when all is well.
    pub faults: Vec<String>,
    /// What is well, but may not be meant so.
    pub warnings: Vec<String>,
    /// The trial that runs.
    pub trial: Option<TrialView>,
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
    /// The requestor would approve their own request.
    #[error(
        "request {id} is your own, by who you are, who logged in, or whom the delegate named; someone else has to \
         approve it"
    )]
    OwnRequest {
        /// The request.
        id: i64,
    },
    /// What is asked for does not fit what is there now.
    #[error("{0}")]
    Conflict(String),
    /// The key of another request.
    #[error("the idempotency key `{0}` was used for another request; use a new key for each request")]
    KeyReused(String),
    /// No such request or grant.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `request` or `grant`.
        what: &'static str,
        /// The number asked for.
        id: i64,
    },
    /// A change of the configuration, which leaves everything as it was.
    #[error(transparent)]
    Change(#[from] super::change::ChangeRefusal),
    /// The kernel's tables have no room; nothing was opened.
    #[error("no room for more grants: {0}; revoke some, or wait until some end")]
    Full(String),
    /// Something the agent needs is broken; nothing was opened.
    #[error("{0}")]
    Unavailable(String),
}
