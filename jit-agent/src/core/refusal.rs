//! Why a command was not carried out.

mod conflict;
mod shared;
mod unavailable;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use jit_api::wire::Effects;
use jit_policy::{PortId, Span, Violation};

pub use self::{
    conflict::Conflict,
    shared::Shared,
    unavailable::{GrantStays, NotAdopted, NotReconfigured, StoreFault, Unavailable},
};
use crate::{
    config::{ConfigError, files::ChangeError},
    datapath::DatapathError,
};

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The peer lacks a role.
    #[error(
        "{name} (uid {uid}) has no role that allows this; an admin can add the user or a group to `{role}` in [roles]{}",
        if *.some_unknown { "; `jitctl status` tells which names there this host does not know now" } else { "" }
    )]
    NotPermitted {
        /// User name.
        name: String,
        /// User id.
        uid: u32,
        /// The role that would allow the command.
        role: &'static str,
        /// Whether a name that has the role has no number. Perhaps it means the peer.
        some_unknown: bool,
    },
    /// A port policy leaves the peer out.
    #[error("{name} (uid {uid}) is not among the `{key}` of port {port}; an admin can add the user or a group there")]
    NotListed {
        /// User name.
        name: String,
        /// User id.
        uid: u32,
        /// The port.
        port: PortId,
        /// The key of the port policy.
        key: &'static str,
    },
    /// The request asks for more than the port policies allow.
    #[error("the request asks for more than is allowed")]
    Violations(Vec<Violation>),
    /// The peer would approve a request of their own.
    #[error(
        "request {id} is your own, by who you are, who logged in, whom the delegate named, or [people]; someone else has \
         to approve it"
    )]
    OwnRequest {
        /// The id of the request.
        id: i64,
    },
    /// The peer asks for an approval, or would approve, and it is not known who logged in.
    #[error(
        "{name} (uid {uid}): the kernel does not tell who logged in, so nobody knows whether a second person approves; \
         the program that connected must run until the answer, and /proc must show it to the agent (see `hidepid` in \
         proc(5)); an admin may approve all the same"
    )]
    LoginUnknown {
        /// User name.
        name: String,
        /// User id.
        uid: u32,
    },
    /// The peer has written what one user may write for now.
    #[error(
        "you have asked for as much as the log takes from one user for now; try again in {}; what is open can be ended \
         all the same, and an admin has no such limit",
        Span(*.wait)
    )]
    OverBudget {
        /// How long to wait.
        wait: Duration,
    },
    /// The peer would approve, and the peer's name is not known.
    #[error(
        "the name of user {uid}, or of who logged in, can't be looked up now, so nobody knows whether a second person \
         approves; try again when the name service of this host works; an admin may approve all the same"
    )]
    NameUnknown {
        /// User id.
        uid: u32,
    },
    /// The command conflicts with the present state.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The idempotency key belongs to another request.
    #[error("the idempotency key `{0}` was used for another request; use a new key for each request")]
    KeyReused(String),
    /// The request or grant does not exist.
    #[error("there is no {what} {id}")]
    NotFound {
        /// The kind of thing, for example `request` or `grant`.
        what: &'static str,
        /// The id that was asked for.
        id: i64,
    },
    /// A change of the configuration was refused, and everything is as before.
    #[error(transparent)]
    Change(#[from] ChangeRefusal),
    /// The kernel's tables have no room. Nothing was opened.
    #[error("no room for more grants: {0}; revoke some, or wait until some end")]
    Full(NoRoom),
    /// Something that the agent needs is broken. Nothing was opened.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The room that an opening lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// A table of the kernel is full.
    #[error("{0}")]
    Table(Shared<DatapathError>),
    /// Only the room that is kept for admins is left.
    #[error("the table {table} has {share} entries for all, the rest is kept for admins")]
    Reserve {
        /// The name of the table.
        table: &'static str,
        /// The number of entries for all.
        share: usize,
    },
}

/// Why the files on disk are not those that a change could begin with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherFiles {
    /// The files on disk are not in force.
    #[error("{} is not what is in force; correct it, and run `jitctl reload` first", .0.display())]
    NotInForce(PathBuf),
    /// A file was edited or can't be read.
    #[error("{0}")]
    Changed(Shared<ChangeError>),
    /// The files were tried and not confirmed.
    #[error("{}", unconfirmed_files(.0))]
    Unconfirmed(PathBuf),
    /// The agent's own file is missing.
    #[error("{}", own_is_gone(.0))]
    OwnGone(PathBuf),
    /// The record of the last trial can't be read.
    #[error(
        "what is said of a trial can't be used, so it is not known whether these files were tried and not confirmed: \
         {0}; remove that first"
    )]
    Doubtful(Shared<anyhow::Error>),
}

/// Says that the agent's own file is missing.
pub(super) fn own_is_gone(path: &Path) -> String {
    format!(
        "{}: policy.toml in state_dir is gone, which had what `jitctl ports`, `enable` and `confirm` set; put it back, or \
         run `jitctl reload` to go on without it",
        path.display()
    )
}

/// Says that files were tried and are not in force.
pub(super) fn unconfirmed_files(path: &Path) -> String {
    format!(
        "{}: these files were tried and not confirmed, so the configuration before them is in force; edit them, or \
         take them over from the console with `jitctl reload`, then `jit-agent confirm` where it asks for that",
        path.display()
    )
}

/// Why a change was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefusal {
    /// The client decided on an older version of the list.
    #[error("the port policies are not those that were read before; read them again, and decide anew")]
    OtherVersion,
    /// The change has effects that must be confirmed.
    #[error("{}", needs_confirmation(.unnamed))]
    Unconfirmed {
        /// The effects of the change.
        effects: Box<Effects>,
        /// What the change would leave unprotected although the client did not name it.
        unnamed: Vec<String>,
    },
    /// Another policy covers the same packets.
    #[error("port {0} overlaps {1}, which has a policy already; remove that one first")]
    Overlap(PortId, PortId),
    /// The policy to remove does not exist.
    #[error("there is no policy of port {0}")]
    NoPort(PortId),
    /// The agent set nothing of this name, so there is nothing to end.
    #[error("the agent itself set nothing for `{0}`; `jitctl ports` shows what it set")]
    NotSet(String),
    /// The files on disk differ from the configuration in force.
    #[error(transparent)]
    Edited(#[from] OtherFiles),
    /// The files can't be used.
    #[error("{0}; the policy loaded before stays in force")]
    Invalid(Shared<ConfigError>),
    /// The files change keys that need a restart of the agent.
    #[error("restart the agent to change {}; nothing of this reload was applied", .0.join(", "))]
    Restart(Vec<&'static str>),
    /// A trial runs.
    #[error(
        "a trial runs until {0}; run `jit-agent confirm` to keep what it tries, or `jit-agent disable` to end it, first"
    )]
    TrialRuns(Timestamp),
    /// The host has no fallback: nobody could connect if a closed port turned out to be needed.
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

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        ChangeRefusal::from(OtherFiles::Changed(error.into())).into()
    }
}

impl From<StoreFault> for Refusal {
    fn from(fault: StoreFault) -> Self {
        Unavailable::from(fault).into()
    }
}
