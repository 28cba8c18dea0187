//! Why a command was not carried out.

use jiff::Timestamp;
use jit_api::wire::Effects;
use jit_policy::{PortId, Violation};

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

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefusal {
    /// Decided on what is no longer so.
    #[error("the port policies are not those that were read before; read them again, and decide anew")]
    OtherVersion,
    /// It has effects that must be wanted.
    #[error("{}", needs_confirmation(.unnamed))]
    Unconfirmed {
        /// What it would do.
        effects: Box<Effects>,
        /// What of it would be unprotected without having been named.
        unnamed: Vec<String>,
    },
    /// Another policy is for the same packets.
    #[error("port {0} overlaps {1}, which has a policy already; remove that one first")]
    Overlap(PortId, PortId),
    /// Nothing to remove.
    #[error("there is no policy of port {0}")]
    NoPort(PortId),
    /// The files are not what is in force.
    #[error("{0}")]
    Edited(String),
    /// The files can't be used.
    #[error("{0}; the policy loaded before stays in force")]
    Invalid(String),
    /// Keys were changed that a running agent can't take over.
    #[error("restart the agent to change {}; nothing of this reload was applied", .0.join(", "))]
    Restart(Vec<&'static str>),
    /// Something is being tried.
    #[error(
        "a trial runs until {0}; run `jit-agent confirm` to keep what it tries, or `jit-agent disable` to end it, first"
    )]
    TrialRuns(Timestamp),
    /// Nobody could get in if what is shut turned out to be needed.
    #[error(
        "there is no way back: set break_glass in the configuration to a source that is always to be let in, have a \
         delegate connect, or, if someone can reach this host's console, say so with --console"
    )]
    NoWayBack,
}

fn needs_confirmation(unnamed: &[String]) -> String {
    if unnamed.is_empty() {
        return "this would open ports, or end or shorten live grants; confirm it, if that is wanted".to_owned();
    }
    format!(
        "this would leave unprotected what was not named as to be opened: {}; name it, if that is wanted",
        unnamed.join(", ")
    )
}
