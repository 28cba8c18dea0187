//! The commands of the core, and the handle that sends them to the core.

use std::time::{Duration, Instant};

use jit_api::wire::{Enforcement, EnforcementChange, Grant, Request, Revocation, Status, Why};
use jit_policy::{
    BootTime, EnableAsked, GrantFilter, GrantId, Packet, Page, Reload, RequestFilter, RequestId, Selection, Submission,
};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    answer::{Extended, Metrics, Submitted},
    change::{Changed, PortEdit, PortList},
    peer::Peer,
    presence::Presence,
    refusal::Refusal,
};
use crate::{events::News, store::AuditReader};

pub use super::opening::Opening;

/// The channel for the answer.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// A command with the channel for its answer.
#[derive(Debug)]
pub enum Command {
    /// Returns the state of the whole agent.
    Status(Peer, Reply<Status>),
    /// Returns all port policies.
    Ports(Peer, Reply<PortList>),
    /// Changes one port policy.
    ChangePort(Peer, PortEdit, Reply<Changed>),
    /// Reads the configuration again. Without a peer, a signal asked for the reload.
    Reload(Option<Peer>, Reload, Reply<Changed>),
    /// Reconciles the attachments with the interfaces. Netlink notified a change at that moment.
    Reconcile(Instant, oneshot::Sender<()>),
    /// Makes an opening.
    Open(Opening),
    /// Denies a request that waits for approval, with a reason.
    Deny(Peer, RequestId, String, Reply<Request>),
    /// Cancels a request that waits for approval, with a reason.
    Cancel(Peer, RequestId, String, Reply<Request>),
    /// Returns requests, newest first.
    Requests(Peer, RequestFilter, Reply<Page<Request, RequestId>>),
    /// Returns one request.
    Request(Peer, RequestId, Reply<Request>),
    /// Returns the live grants, ordered by their end.
    Grants(Peer, GrantFilter, Reply<Page<Grant, (BootTime, GrantId)>>),
    /// Ends grants, with a reason.
    Revoke(Peer, Selection, String, Reply<Revocation>),
    /// Returns what would happen to a packet now.
    Why(Peer, Packet, Reply<Why>),
    /// Returns the packets that are reported from now on.
    Watch(Peer, Reply<broadcast::Receiver<News>>),
    /// Returns a reader of the audit log.
    Audit(Peer, Reply<AuditReader>),
    /// Returns the figures for monitoring. Without a peer, everybody who reaches the agent may read the figures.
    Metrics(Option<Peer>, Reply<Metrics>),
    /// Returns the state of enforcement. The list has the peers that are connected to the socket.
    Enforcement(Peer, Vec<Peer>, Reply<Enforcement>),
    /// Starts a trial of enforcement.
    Enable(Peer, EnableAsked, Vec<Peer>, Reply<EnforcementChange>),
    /// Makes the trial permanent. The answer says whether all of that is written.
    Confirm(Peer, Vec<Peer>, Reply<EnforcementChange>),
    /// Ends the trial, or turns enforcement off if no trial runs.
    Disable(Peer, Vec<Peer>, Reply<EnforcementChange>),
    /// Checks only that the peer has a role, for answers that are the same for everybody who has a role.
    Permit(Peer, Reply<()>),
    /// Checks only that the core still carries out commands.
    Ping(Reply<()>),
    /// Ends the core's loop.
    Stop,
}

impl Command {
    /// Whether the command can only close. Commands that can only close are carried out first.
    pub(super) const fn closes(&self) -> bool {
        matches!(self, Self::Reconcile(..) | Self::Revoke(..) | Self::Deny(..) | Self::Cancel(..))
    }
}

/// A handle that sends commands to the core.
#[derive(Clone, Debug)]
pub struct CoreHandle(mpsc::Sender<Command>, Presence);

impl CoreHandle {
    /// Makes a handle, and the channel from which the core receives commands.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(256);
        (Self(sender, Presence::default()), receiver)
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let stopped = || Refusal::Unavailable("the agent is stopping; try again when it runs".to_owned());
        self.0.send(command(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Returns the state of the whole agent.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn status(&self, peer: Peer) -> Result<Status, Refusal> {
        self.ask(|reply| Command::Status(peer, reply)).await
    }

    /// Reconciles the attachments with the interfaces, from a thread outside the runtime. Returns `false` if the core
    /// has ended.
    #[must_use]
    pub fn reconcile(&self, notified: Instant) -> bool {
        let (reply, done) = oneshot::channel();
        self.0.blocking_send(Command::Reconcile(notified, reply)).is_ok() && done.blocking_recv().is_ok()
    }

    /// Returns all port policies.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn ports(&self, peer: Peer) -> Result<PortList, Refusal> {
        self.ask(|reply| Command::Ports(peer, reply)).await
    }

    /// Changes one port policy, in its file and in force.
    ///
    /// # Errors
    /// The peer is not permitted, decided on an older list, or has not confirmed the effects; the file was edited
    /// since, or the kernel is broken. In all these cases nothing is changed.
    pub async fn change_port(&self, peer: Peer, edit: PortEdit) -> Result<Changed, Refusal> {
        self.ask(|reply| Command::ChangePort(peer, edit, reply)).await
    }

    /// Reads the configuration again. Without a peer, a signal asked for the reload.
    ///
    /// # Errors
    /// The peer is not permitted or has not confirmed the effects; the files can't be used or need a restart, or the
    /// kernel is broken. In all these cases the former configuration stays in force.
    pub async fn reload(&self, peer: Option<Peer>, asked: Reload) -> Result<Changed, Refusal> {
        self.ask(|reply| Command::Reload(peer, asked, reply)).await
    }

    /// Makes a request. On return, the request's grants are in force, or the request waits for approval.
    ///
    /// # Errors
    /// The peer is not permitted, the request violates the port policies, the key belongs to another request, the
    /// tables have no room, or the store or the kernel is broken. In all these cases nothing is opened.
    pub async fn submit(&self, peer: Peer, submission: Submission) -> Result<Submitted, Refusal> {
        self.ask(|reply| Command::Open(Opening::Submit(peer, submission, reply))).await
    }

    /// Approves a request. On return, the request's grants are in force.
    ///
    /// # Errors
    /// The peer is not permitted or is the requestor, the request does not exist or is already decided, or one of the
    /// conditions of [`submit`](Self::submit) holds.
    pub async fn approve(&self, peer: Peer, id: RequestId) -> Result<Request, Refusal> {
        self.ask(|reply| Command::Open(Opening::Approve(peer, id, reply))).await
    }

    /// Extends a grant to last for `duration` from now, if the grant would end before. On return, the new end is in
    /// force, or the extension waits for approval.
    ///
    /// # Errors
    /// The peer is not permitted, the grant does not exist, or one of the conditions of [`submit`](Self::submit) holds.
    pub async fn extend(&self, peer: Peer, id: GrantId, duration: Duration) -> Result<Extended, Refusal> {
        self.ask(|reply| Command::Open(Opening::Extend(peer, id, duration, reply))).await
    }

    /// Denies a request that waits for approval.
    ///
    /// # Errors
    /// The peer is not permitted, the request does not exist or is already decided, or the store is broken.
    pub async fn deny(&self, peer: Peer, id: RequestId, reason: String) -> Result<Request, Refusal> {
        self.ask(|reply| Command::Deny(peer, id, reason, reply)).await
    }

    /// Cancels a request that waits for approval.
    ///
    /// # Errors
    /// The peer is not permitted, the request does not exist or is already decided, or the store is broken.
    pub async fn cancel(&self, peer: Peer, id: RequestId, reason: String) -> Result<Request, Refusal> {
        self.ask(|reply| Command::Cancel(peer, id, reason, reply)).await
    }

    /// Returns requests, newest first: all requests, or the peer's own.
    ///
    /// # Errors
    /// The peer is not permitted, or the store is broken.
    pub async fn requests(&self, peer: Peer, filter: RequestFilter) -> Result<Page<Request, RequestId>, Refusal> {
        self.ask(|reply| Command::Requests(peer, filter, reply)).await
    }

    /// Returns one request.
    ///
    /// # Errors
    /// The peer is not permitted, the request does not exist, or the store is broken.
    pub async fn request(&self, peer: Peer, id: RequestId) -> Result<Request, Refusal> {
        self.ask(|reply| Command::Request(peer, id, reply)).await
    }

    /// Returns the live grants, ordered by their end.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn grants(&self, peer: Peer, filter: GrantFilter) -> Result<Page<Grant, (BootTime, GrantId)>, Refusal> {
        self.ask(|reply| Command::Grants(peer, filter, reply)).await
    }

    /// Ends grants. On return, these grants admit no packet.
    ///
    /// # Errors
    /// The peer is not permitted, a grant is unknown (then no grant is ended), or the kernel is broken.
    pub async fn revoke(&self, peer: Peer, selection: Selection, reason: String) -> Result<Revocation, Refusal> {
        self.ask(|reply| Command::Revoke(peer, selection, reason, reply)).await
    }

    /// Returns what would happen to a packet now, and why.
    ///
    /// # Errors
    /// The peer is not permitted, or the tables can't be read.
    pub async fn why(&self, peer: Peer, packet: Packet) -> Result<Why, Refusal> {
        self.ask(|reply| Command::Why(peer, packet, reply)).await
    }

    /// Returns the packets that are reported from now on.
    ///
    /// # Errors
    /// The peer is not permitted, too many clients are watching already, or the agent is stopping.
    pub async fn watch(&self, peer: Peer) -> Result<broadcast::Receiver<News>, Refusal> {
        self.ask(|reply| Command::Watch(peer, reply)).await
    }

    /// Returns a reader of the audit log, which works without the core.
    ///
    /// # Errors
    /// The peer is not permitted, or the store is broken.
    pub async fn audit(&self, peer: Peer) -> Result<AuditReader, Refusal> {
        self.ask(|reply| Command::Audit(peer, reply)).await
    }

    /// Returns the figures for monitoring. Without a peer, everybody who reaches the agent may read the figures.
    ///
    /// # Errors
    /// The peer is not permitted, or the tables can't be read.
    pub async fn metrics(&self, peer: Option<Peer>) -> Result<Metrics, Refusal> {
        self.ask(|reply| Command::Metrics(peer, reply)).await
    }

    /// Checks that the peer has a role.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn permit(&self, peer: Peer) -> Result<(), Refusal> {
        self.ask(|reply| Command::Permit(peer, reply)).await
    }

    /// Returns when the core has carried out all earlier commands.
    ///
    /// # Errors
    /// The agent is stopping.
    pub async fn ping(&self) -> Result<(), Refusal> {
        self.ask(Command::Ping).await
    }

    /// Returns the state of enforcement, who is connected to the ports, and the fallbacks.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn enforcement(&self, peer: Peer) -> Result<Enforcement, Refusal> {
        self.ask(|reply| Command::Enforcement(peer, self.1.peers(), reply)).await
    }

    /// Starts a trial of enforcement. On return, the ports are closed for all sources without a grant.
    ///
    /// # Errors
    /// The peer is not permitted, enforcement is already on, no fallback exists, the session's source may not be
    /// admitted, the files can't be used, or the store or the kernel is broken. In all these cases nothing is closed.
    pub async fn enable(&self, peer: Peer, asked: EnableAsked) -> Result<EnforcementChange, Refusal> {
        self.ask(|reply| Command::Enable(peer, asked, self.1.peers(), reply)).await
    }

    /// Makes the trial permanent, in the files and in force.
    ///
    /// # Errors
    /// The peer is not permitted, no trial runs, a file was edited since, or the kernel is broken. In the last two
    /// cases the trial continues.
    pub async fn confirm(&self, peer: Peer) -> Result<EnforcementChange, Refusal> {
        self.ask(|reply| Command::Confirm(peer, self.1.peers(), reply)).await
    }

    /// Ends the trial, or turns enforcement off if no trial runs.
    ///
    /// # Errors
    /// The peer is not permitted, enforcement is already off, the files can't be changed, or the store or the kernel is
    /// broken. In all these cases everything is as before.
    pub async fn disable(&self, peer: Peer) -> Result<EnforcementChange, Refusal> {
        self.ask(|reply| Command::Disable(peer, self.1.peers(), reply)).await
    }

    /// The list of peers that are connected to the socket.
    #[must_use]
    pub const fn presence(&self) -> &Presence {
        &self.1
    }

    /// Ends the core's loop.
    pub async fn stop(&self) {
        // If the channel is closed, the core has already stopped.
        drop(self.0.send(Command::Stop).await);
    }
}
