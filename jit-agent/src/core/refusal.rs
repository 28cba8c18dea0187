//! Why a command was not carried out.

use jit_policy::Violation;

use super::change::ChangeRefusal;

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
    Change(#[from] ChangeRefusal),
    /// The kernel's tables have no room; nothing was opened.
    #[error("no room for more grants: {0}; revoke some, or wait until some end")]
    Full(String),
    /// Something the agent needs is broken; nothing was opened.
    #[error("{0}")]
    Unavailable(String),
}
