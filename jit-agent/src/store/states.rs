//! The states of requests and grants, and how requests and grants end.

use jiff::Timestamp;
use jit_policy::{Actor, GrantId, RequestState};

use super::clocks::Deadline;

/// The state of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantState {
    /// The grant is recorded. It is not known whether the kernel has the grant's entry yet.
    Opening,
    /// The grant is in force.
    Live,
    /// The grant's time is over.
    Expired,
    /// A person revoked the grant.
    Revoked,
    /// The agent ended the grant.
    Ended,
}

impl GrantState {
    pub(super) const ALL: [Self; 5] = [Self::Opening, Self::Live, Self::Expired, Self::Revoked, Self::Ended];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Live => "live",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Ended => "ended",
        }
    }
}

/// The final state of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrantEnd {
    /// The grant's time is over.
    Expired,
    /// A person revokes the grant.
    Revoked,
    /// The agent ends the grant.
    Ended,
}

impl GrantEnd {
    pub(super) const fn state(self) -> GrantState {
        match self {
            Self::Expired => GrantState::Expired,
            Self::Revoked => GrantState::Revoked,
            Self::Ended => GrantState::Ended,
        }
    }
}

/// The final state of a request that waited and was not approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestEnd {
    /// A person denies the request.
    Denied,
    /// The requestor cancels the request.
    Cancelled,
    /// Nobody decided on the request in time.
    TimedOut,
}

impl RequestEnd {
    pub(super) const fn state(self) -> RequestState {
        match self {
            Self::Denied => RequestState::Denied,
            Self::Cancelled => RequestState::Cancelled,
            Self::TimedOut => RequestState::TimedOut,
        }
    }
}

/// The particulars of the end of grants or of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending<S> {
    /// The final state.
    pub state: S,
    /// The time of the end, by the wall clock.
    pub wall: Timestamp,
    /// The actor who ended the grants or requests; `None`: the agent.
    pub by: Option<Actor>,
    /// The reason, which may be empty.
    pub reason: String,
}

/// The particulars of a shortening: grants end earlier than planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortening {
    /// The time of the shortening, by the wall clock.
    pub wall: Timestamp,
    /// The actor who caused the shortening; `None`: the agent.
    pub by: Option<Actor>,
    /// The reason.
    pub reason: String,
}

/// A shortened grant, with its new end in the present boot.
pub type ShortenedGrant = (GrantId, Deadline);

/// A grant that ends, with the connections that the grant allowed.
pub type EndedGrant = (GrantId, Option<Connections>);

/// The times of the connections that a grant allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// The time of the first connection, by the wall clock.
    pub first: Timestamp,
    /// The time of the last connection.
    pub last: Timestamp,
}

/// The stored form of a request's state.
pub(super) const fn status_column(state: RequestState) -> &'static str {
    match state {
        RequestState::Pending => "pending",
        RequestState::Approved => "approved",
        RequestState::Denied => "denied",
        RequestState::Cancelled => "cancelled",
        RequestState::TimedOut => "timed_out",
        RequestState::Failed => "failed",
    }
}
