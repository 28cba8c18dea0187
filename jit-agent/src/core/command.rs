//! The commands of the core.

use std::time::Duration;

use jit_api::wire::Request;
use jit_policy::{
    GrantId, RequestId, Right, Submission,
    audit::{AskedPorts, Attempt},
};
use tokio::sync::oneshot;

use super::{
    Core,
    answer::{Extended, Submitted},
    peer::Peer,
    refusal::Refusal,
};
use crate::accounts::Groups;

/// The channel for the answer.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// Work for the core. The channel for the answer is inside.
pub(super) type Work = Box<dyn FnOnce(&mut Core) + Send>;

/// A command to the core.
pub enum Command {
    /// Work that can only close. It is carried out first.
    Close(Work),
    /// An opening. All openings of a batch share one write to the store.
    Open(Box<Opening>),
    /// All other work.
    Work(Work),
    /// Checks only that the core still carries out commands.
    Ping(Reply<()>),
    /// Ends the core's loop.
    Stop,
}

/// A command that opens, with the channel for its answer.
#[derive(Debug)]
pub enum Opening {
    /// A new request.
    Submit(Peer, Submission, Reply<Submitted>),
    /// The approval of a request that waits.
    /// The third part is the groups of the requestor at this time.
    Approve(Peer, RequestId, Groups, Reply<Request>),
    /// The extension of a grant, by how long the grant is to last from now.
    Extend(Peer, GrantId, Duration, Reply<Extended>),
}

impl Opening {
    pub(super) fn peer(&self) -> &Peer {
        match self {
            Self::Submit(peer, ..) | Self::Approve(peer, ..) | Self::Extend(peer, ..) => peer,
        }
    }

    /// Returns what is recorded as attempted if the opening is refused.
    pub(super) fn attempt(&self) -> Attempt {
        match self {
            Self::Submit(_, Submission { request, named, key: _ }, _) => Attempt::Request {
                justification: request.justification.clone(),
                ports: AskedPorts::of(&request.ports),
                named: named.clone(),
            },
            Self::Approve(_, id, ..) => Attempt::Approve(*id),
            Self::Extend(_, id, ..) => Attempt::Extend(*id),
        }
    }

    pub(super) const fn right(&self) -> Right {
        match self {
            Self::Submit(..) | Self::Extend(..) => Right::Request,
            Self::Approve(..) => Right::Decide,
        }
    }
}

/// Returns the work whose answer is sent. The client may have gone away meanwhile, and the work is carried out
/// nevertheless.
pub(super) fn answered<T: Send + 'static>(
    work: impl FnOnce(&mut Core) -> Result<T, Refusal> + Send + 'static,
    reply: Reply<T>,
) -> Work {
    Box::new(move |core| drop(reply.send(work(core))))
}
