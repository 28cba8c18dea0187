//! The handle that sends commands to the core.

use std::time::{Duration, Instant};

use jit_api::wire::{Enforcement, EnforcementChange, Grant, Request, Revocation, Status, Why};
use jit_policy::{
    BootTime, EnableAsked, GrantFilter, GrantId, Packet, Page, Reload, RequestFilter, RequestId, Right, Selection,
    Submission, audit::Attempt,
};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    Core,
    answer::{Extended, Metrics, Submitted},
    change::{Changed, PortEdit, PortList},
    command::{Command, Opening, Reply, answered},
    peer::Peer,
    presence::Presence,
    refusal::Refusal,
};
use crate::{events::News, store::AuditReader};

/// A handle that sends commands to the core.
#[derive(Clone, Debug)]
pub struct CoreHandle {
    commands: mpsc::Sender<Command>,
    presence: Presence,
}

impl CoreHandle {
    /// Makes a handle, and the channel from which the core receives commands.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(256);
        (Self { commands: sender, presence: Presence::default() }, receiver)
    }

    async fn send<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let stopped = || Refusal::Unavailable("the agent is stopping; try again when it runs".to_owned());
        self.commands.send(command(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.send(|reply| Command::Work(answered(work, reply))).await
    }

    async fn close<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.send(|reply| Command::Close(answered(work, reply))).await
    }

    /// Returns the state of the whole agent.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn status(&self, peer: Peer) -> Result<Status, Refusal> {
        self.ask(move |core| core.status(&peer)).await
    }

    /// Reconciles the attachments with the interfaces, from a thread outside the runtime. Returns `false` if the core
    /// has ended.
    #[must_use]
    pub fn reconcile(&self, notified: Instant) -> bool {
        let (reply, done) = oneshot::channel();
        let reconcile = move |core: &mut Core| {
            core.keep_covered(Some(notified));
            // The thread that notified the change may have ended.
            let _ = reply.send(());
        };
        self.commands.blocking_send(Command::Close(Box::new(reconcile))).is_ok() && done.blocking_recv().is_ok()
    }

    /// Returns all port policies.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn ports(&self, peer: Peer) -> Result<PortList, Refusal> {
        self.ask(move |core| core.port_list(&peer)).await
    }

    /// Changes one port policy, in its file and in force.
    ///
    /// # Errors
    /// The peer is not permitted, decided on an older list, or has not confirmed the effects; the file was edited
    /// since, or the kernel is broken. In all these cases nothing is changed.
    pub async fn change_port(&self, peer: Peer, edit: PortEdit) -> Result<Changed, Refusal> {
        let attempt = Attempt::Change(edit.edit.port().number);
        self.ask(move |core| core.noting_refusal(&peer, attempt, |core| core.change_port(&peer, &edit))).await
    }

    /// Reads the configuration again. Without a peer, a signal asked for the reload.
    ///
    /// # Errors
    /// The peer is not permitted or has not confirmed the effects; the files can't be used or need a restart, or the
    /// kernel is broken. In all these cases the former configuration stays in force.
    pub async fn reload(&self, peer: Option<Peer>, asked: Reload) -> Result<Changed, Refusal> {
        self.ask(move |core| core.reload(peer.as_ref(), &asked)).await
    }

    /// Makes a request. On return, the request's grants are in force, or the request waits for approval.
    ///
    /// # Errors
    /// The peer is not permitted, the request violates the port policies, the key belongs to another request, the
    /// tables have no room, or the store or the kernel is broken. In all these cases nothing is opened.
    pub async fn submit(&self, peer: Peer, submission: Submission) -> Result<Submitted, Refusal> {
        self.send(|reply| Command::Open(Box::new(Opening::Submit(peer, submission, reply)))).await
    }

    /// Approves a request. On return, the request's grants are in force.
    ///
    /// # Errors
    /// The peer is not permitted or is the requestor, the request does not exist or is already decided, or one of the
    /// conditions of [`submit`](Self::submit) holds.
    pub async fn approve(&self, peer: Peer, id: RequestId) -> Result<Request, Refusal> {
        self.send(|reply| Command::Open(Box::new(Opening::Approve(peer, id, reply)))).await
    }

    /// Extends a grant to last for `duration` from now, if the grant would end before. On return, the new end is in
    /// force, or the extension waits for approval.
    ///
    /// # Errors
    /// The peer is not permitted, the grant does not exist, or one of the conditions of [`submit`](Self::submit) holds.
    pub async fn extend(&self, peer: Peer, id: GrantId, duration: Duration) -> Result<Extended, Refusal> {
        self.send(|reply| Command::Open(Box::new(Opening::Extend(peer, id, duration, reply)))).await
    }

    /// Denies a request that waits for approval.
    ///
    /// # Errors
    /// The peer is not permitted, the request does not exist or is already decided, or the store is broken.
    pub async fn deny(&self, peer: Peer, id: RequestId, reason: String) -> Result<Request, Refusal> {
        let deny =
            move |core: &mut Core| core.noting_refusal(&peer, Attempt::Deny(id), |core| core.deny(&peer, id, &reason));
        self.close(deny).await
    }

    /// Cancels a request that waits for approval.
    ///
    /// # Errors
    /// The peer is not permitted, the request does not exist or is already decided, or the store is broken.
    pub async fn cancel(&self, peer: Peer, id: RequestId, reason: String) -> Result<Request, Refusal> {
        let cancel = move |core: &mut Core| {
            core.noting_refusal(&peer, Attempt::Cancel(id), |core| core.cancel(&peer, id, &reason))
        };
        self.close(cancel).await
    }

    /// Returns requests, newest first: all requests, or the peer's own.
    ///
    /// # Errors
    /// The peer is not permitted, or the store is broken.
    pub async fn requests(&self, peer: Peer, filter: RequestFilter) -> Result<Page<Request, RequestId>, Refusal> {
        self.ask(move |core| core.requests(&peer, filter)).await
    }

    /// Returns one request.
    ///
    /// # Errors
    /// The peer is not permitted, the request does not exist, or the store is broken.
    pub async fn request(&self, peer: Peer, id: RequestId) -> Result<Request, Refusal> {
        self.ask(move |core| core.request(&peer, id)).await
    }

    /// Returns the live grants, ordered by their end.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn grants(&self, peer: Peer, filter: GrantFilter) -> Result<Page<Grant, (BootTime, GrantId)>, Refusal> {
        self.ask(move |core| core.grants(&peer, filter)).await
    }

    /// Ends grants. On return, these grants admit no packet.
    ///
    /// # Errors
    /// The peer is not permitted, a grant is unknown (then no grant is ended), or the kernel is broken.
    pub async fn revoke(&self, peer: Peer, selection: Selection, reason: String) -> Result<Revocation, Refusal> {
        let first = match &selection {
            Selection::Ids(ids) => ids.first().copied().unwrap_or_default(),
            Selection::User(_) | Selection::All => GrantId::default(),
        };
        let revoke = move |core: &mut Core| {
            core.noting_refusal(&peer, Attempt::Revoke(first), |core| core.revoke(&peer, &selection, &reason))
        };
        self.close(revoke).await
    }

    /// Returns what would happen to a packet now, and why.
    ///
    /// # Errors
    /// The peer is not permitted, or the tables can't be read.
    pub async fn why(&self, peer: Peer, packet: Packet) -> Result<Why, Refusal> {
        self.ask(move |core| core.why(&peer, &packet)).await
    }

    /// Returns the packets that are reported from now on.
    ///
    /// # Errors
    /// The peer is not permitted, too many clients are watching already, or the agent is stopping.
    pub async fn watch(&self, peer: Peer) -> Result<broadcast::Receiver<News>, Refusal> {
        self.ask(move |core| core.watch(&peer)).await
    }

    /// Returns a reader of the audit log, which works without the core.
    ///
    /// # Errors
    /// The peer is not permitted, or the store is broken.
    pub async fn audit(&self, peer: Peer) -> Result<AuditReader, Refusal> {
        self.ask(move |core| core.audit(&peer)).await
    }

    /// Returns the figures for monitoring. Without a peer, everybody who reaches the agent may read the figures.
    ///
    /// # Errors
    /// The peer is not permitted, or the tables can't be read.
    pub async fn metrics(&self, peer: Option<Peer>) -> Result<Metrics, Refusal> {
        self.ask(move |core| core.metrics(peer.as_ref())).await
    }

    /// Checks that the peer has a role.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn permit(&self, peer: Peer) -> Result<(), Refusal> {
        self.ask(move |core| core.settings.check(&peer, Right::Look)).await
    }

    /// Returns when the core has carried out all earlier commands.
    ///
    /// # Errors
    /// The agent is stopping.
    pub async fn ping(&self) -> Result<(), Refusal> {
        self.send(Command::Ping).await
    }

    /// Returns the state of enforcement, who is connected to the ports, and the fallbacks.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn enforcement(&self, peer: Peer) -> Result<Enforcement, Refusal> {
        let connected = self.presence.peers();
        self.ask(move |core| core.enforcement(&peer, &connected)).await
    }

    /// Starts a trial of enforcement. On return, the ports are closed for all sources without a grant.
    ///
    /// # Errors
    /// The peer is not permitted, enforcement is already on, no fallback exists, the session's source may not be
    /// admitted, the files can't be used, or the store or the kernel is broken. In all these cases nothing is closed.
    pub async fn enable(&self, peer: Peer, asked: EnableAsked) -> Result<EnforcementChange, Refusal> {
        let connected = self.presence.peers();
        let enable = move |core: &mut Core| {
            core.noting_refusal(&peer, Attempt::Enable, |core| core.enable(&peer, &asked, &connected))
        };
        self.ask(enable).await
    }

    /// Makes the trial permanent, in the files and in force.
    ///
    /// # Errors
    /// The peer is not permitted, no trial runs, a file was edited since, or the kernel is broken. In the last two
    /// cases the trial continues.
    pub async fn confirm(&self, peer: Peer) -> Result<EnforcementChange, Refusal> {
        let connected = self.presence.peers();
        let confirm = move |core: &mut Core| {
            core.noting_refusal(&peer, Attempt::Confirm, |core| core.confirm_trial(&peer, &connected))
        };
        self.ask(confirm).await
    }

    /// Ends the trial, or turns enforcement off if no trial runs.
    ///
    /// # Errors
    /// The peer is not permitted, enforcement is already off, the files can't be changed, or the store or the kernel is
    /// broken. In all these cases everything is as before.
    pub async fn disable(&self, peer: Peer) -> Result<EnforcementChange, Refusal> {
        let connected = self.presence.peers();
        let disable =
            move |core: &mut Core| core.noting_refusal(&peer, Attempt::Disable, |core| core.disable(&peer, &connected));
        self.ask(disable).await
    }

    /// The list of peers that are connected to the socket.
    #[must_use]
    pub const fn presence(&self) -> &Presence {
        &self.presence
    }

    /// Ends the core's loop.
    pub async fn stop(&self) {
        // If the channel is closed, the core has already stopped.
        drop(self.commands.send(Command::Stop).await);
    }
}
