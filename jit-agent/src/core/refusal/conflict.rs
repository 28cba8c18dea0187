//! Commands that don't fit the present state.

use jit_policy::{GrantId, RequestId, RequestState, Right};

/// Why a command does not fit the present state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Enforcement is on already.
    #[error("enforcement is on already; `jitctl status` shows it")]
    EnforcementIsOn,
    /// Enforcement is off already.
    #[error("enforcement is off already; `jitctl status` shows it")]
    EnforcementIsOff,
    /// There is no trial to confirm.
    #[error("no trial runs, so there is nothing to confirm; `jit-agent enable` starts one")]
    NoTrial,
    /// Enforcement was unloaded during the trial, by this person.
    #[error(
        "enforcement was unloaded {0}, after the trial had begun; `jit-agent disable` ends the trial, then `jit-agent \
         enable` starts another one"
    )]
    Unloaded(String),
    /// The request does not wait for approval.
    #[error("request {id} {}{}; see `jitctl requests`", state_of(*.state), .by.as_ref().map(|name| format!(" by {name}")).unwrap_or_default())]
    Decided {
        /// The request.
        id: RequestId,
        /// The request's state. A request that still counts as pending has timed out.
        state: RequestState,
        /// The person who decided.
        by: Option<String>,
    },
    /// The requestor lost a role since.
    #[error("{name} (uid {uid}) is no longer a {}, so request {id} can't be approved; deny it", .right.meant_for())]
    RoleLost {
        /// The name of the requestor.
        name: String,
        /// The user id of the requestor.
        uid: u32,
        /// The right that the requestor lacks now.
        right: Right,
        /// The request.
        id: RequestId,
    },
    /// An extension of the grant waits for approval.
    #[error("an extension of grant {0} waits for approval already")]
    ExtensionWaits(GrantId),
    /// Another command extends the grant in the same moment.
    #[error("grant {0} is being extended by another command; see what it has")]
    ExtensionRuns(GrantId),
    /// The grant has ended.
    #[error("grant {0} has ended; make a new request")]
    GrantEnded(GrantId),
}

const fn state_of(state: RequestState) -> &'static str {
    match state {
        RequestState::Pending | RequestState::TimedOut => "was not decided in time",
        RequestState::Approved => "is approved",
        RequestState::Denied => "was denied",
        RequestState::Cancelled => "was cancelled",
        RequestState::Failed => "failed",
    }
}
