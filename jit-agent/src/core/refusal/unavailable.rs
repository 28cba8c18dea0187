//! What is broken, where a command can't be carried out.

use ipnet::IpNet;
use jit_policy::{BookError, GrantId, PolicyError};

use super::{Refusal, shared::Shared};
use crate::{datapath::DatapathError, events::SubscribeError, store::StoreError};

/// What the agent needs and can't use. If the text says that something was not done, then that was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The agent ends.
    #[error("the agent is stopping; try again when it runs")]
    Stopping,
    /// The groups of a requestor can't be looked up.
    #[error(
        "the groups of {0} can't be looked up ({1}), so nobody knows whether they may still request this; try again \
         later"
    )]
    GroupsUnknown(String, String),
    /// The core gave no answer.
    #[error("the request was not answered")]
    NotAnswered,
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// The store can't carry out an operation.
    #[error("{0}")]
    StoreFailed(Shared<StoreError>),
    /// An opening can't be recorded.
    #[error("nothing was opened: {0}")]
    NotRecorded(Shared<StoreError>),
    /// The kernel refuses an opening.
    #[error("nothing was opened: {0}")]
    NotOpened(Shared<DatapathError>),
    /// The book refuses an opening.
    #[error("nothing was opened: {0}")]
    NotInBook(#[from] BookError),
    /// The kernel's tables can't be read.
    #[error("{0}")]
    Kernel(Shared<DatapathError>),
    /// Packets can't be reported to one more client.
    #[error(transparent)]
    Watch(#[from] SubscribeError),
    /// The end of a request is in force, but it can't be recorded.
    #[error(
        "the request waits no more, but that could not be written and may not outlast a restart of the agent; see \
         `jitctl status` for what is broken"
    )]
    ClosingNotRecorded,
    /// Without the store, entries can't be told apart.
    #[error(
        "without the store nobody can tell which of the kernel's entries belong to which grant or user; `jitctl revoke \
         --all` closes every one: {0}"
    )]
    UnknownGrants(StoreFault),
    /// Neither the kernel's tables nor the store can be read.
    #[error(
        "what is open can't be told, since neither the kernel's tables nor the store can be read: {0}; every entry \
         ends on time"
    )]
    UnknownEntries(Shared<DatapathError>),
    /// The changed policies are not valid.
    #[error(transparent)]
    Policies(#[from] PolicyError),
    /// The agent's own file can't be written.
    #[error("{0}; nothing was changed")]
    NotWritten(Shared<anyhow::Error>),
    /// A change is not in force, but its file still has it.
    #[error("{refusal}; {error}, so it still has the change")]
    StaysInFile {
        /// Why the change is not in force.
        refusal: Box<Refusal>,
        /// Why the file can't be restored.
        error: Shared<anyhow::Error>,
    },
    /// A configuration can't be put in force.
    #[error("{0}; the policy before stays in force")]
    NotReconfigured(NotReconfigured),
    /// The agent has no files that a trial could begin with.
    #[error("there are no files that a trial could begin with")]
    NoFiles,
    /// A trial can't be recorded.
    #[error("{0}; nothing was changed")]
    TrialNotRecorded(Shared<anyhow::Error>),
    /// A trial can't be put in force.
    #[error("{0}; the configuration before stays in force")]
    NotTried(Shared<DatapathError>),
    /// The mark of an unload can't be removed, so the trial can't be confirmed.
    #[error("{0}; the trial goes on")]
    StaysMarked(Shared<anyhow::Error>),
    /// The kernel refuses what was confirmed.
    #[error("{0}; the trial goes on")]
    NotConfirmed(NotReconfigured),
    /// The kernel refuses the configuration before the trial.
    #[error("the trial can't be ended: {0}; from its end on, the agent tries that again every few seconds")]
    TrialNotEnded(Shared<DatapathError>),
    /// The program can't be attached to any interface.
    #[error("no interface could be covered: {0}; nothing was enabled")]
    NotLoaded(Shared<DatapathError>),
    /// The operator's own grant can't be undone.
    #[error(
        "{refusal}; grant {id} of {prefix} for port {port} stays ({why}); `jitctl revoke {id}` ends it",
        id = .grant.0
    )]
    OwnGrantStays {
        /// Why enforcement was not enabled.
        refusal: Box<Refusal>,
        /// The grant.
        grant: GrantId,
        /// The source that the grant admits.
        prefix: IpNet,
        /// The port of the grant.
        port: String,
        /// Why the grant stays.
        why: GrantStays,
    },
}

/// Why the operator's own grant stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantStays {
    /// The grant may be the only one that admits the operator.
    #[error("the trial runs")]
    TrialRuns,
    /// The grant can't be revoked.
    #[error("{0}")]
    NotRevoked(Box<Refusal>),
}

/// Why the store does not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// The store can't be opened.
    #[error("{0}; until then nothing can be opened, and grants end on time")]
    NotOpened(Shared<StoreError>),
    /// The grants in the store can't be adopted.
    #[error("{0}; nothing can be opened until that is mended and the agent restarted")]
    NotAdopted(NotAdopted),
}

/// Why the grants of a predecessor can't be adopted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdopted {
    /// The store can't be read.
    #[error("{0}")]
    Store(Shared<StoreError>),
    /// The kernel's tables can't be read.
    #[error("{0}")]
    Kernel(Shared<DatapathError>),
    /// Two grants have the same id.
    #[error(transparent)]
    Book(#[from] BookError),
}

/// Why a configuration is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReconfigured {
    /// The kernel's error.
    pub error: Shared<DatapathError>,
    /// How many grants were ended or shortened already.
    pub hit: usize,
}

impl std::fmt::Display for NotReconfigured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)?;
        if self.hit > 0 {
            write!(f, "; grants that were ended or shortened already: {}", self.hit)?;
        }
        Ok(())
    }
}
