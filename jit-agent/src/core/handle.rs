//! The way into the core for those who run beside it.

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

/// Where the answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// A command with the place for its answer.
#[derive(Debug)]
pub enum Command {
    /// The agent as a whole.
    Status(Peer, Reply<Status>),
    /// All port policies.
    Ports(Peer, Reply<PortList>),
    /// Changes one port policy.
    ChangePort(Peer, PortEdit, Reply<Changed>),
    /// Reads the configuration again; without a peer, for a signal.
    Reload(Option<Peer>, Reload, Reply<Changed>),
    /// Brings the attachments in line with the interfaces, since netlink spoke of a change at that moment.
    Reconcile(Instant, oneshot::Sender<()>),
    /// Something that opens.
    Open(Opening),
    /// Refuses a request that waits, with a reason.
    Deny(Peer, RequestId, String, Reply<Request>),
    /// Takes a request back that waits, with a reason.
    Cancel(Peer, RequestId, String, Reply<Request>),
    /// Requests, newest first.
    Requests(Peer, RequestFilter, Reply<Page<Request, RequestId>>),
    /// One request.
    Request(Peer, RequestId, Reply<Request>),
    /// The live grants, first to end first.
    Grants(Peer, GrantFilter, Reply<Page<Grant, (BootTime, GrantId)>>),
    /// Ends grants, with a reason.
    Revoke(Peer, Selection, String, Reply<Revocation>),
    /// What would become of a packet now.
    Why(Peer, Packet, Reply<Why>),
    /// What is reported of packets from now on.
    Watch(Peer, Reply<broadcast::Receiver<News>>),
    /// Leave to read the audit log.
    Audit(Peer, Reply<AuditReader>),
    /// Figures for monitoring; without a peer, where whoever reaches the agent may read them.
    Metrics(Option<Peer>, Reply<Metrics>),
    /// Enforcement, with those connected to the socket.
    Enforcement(Peer, Vec<Peer>, Reply<Enforcement>),
    /// Starts a trial of enforcement.
    Enable(Peer, EnableAsked, Vec<Peer>, Reply<EnforcementChange>),
    /// Makes the trial permanent; answers with whether all of that is written.
    Confirm(Peer, Vec<Peer>, Reply<EnforcementChange>),
    /// Ends the trial, or turns enforcement off.
    Disable(Peer, Vec<Peer>, Reply<EnforcementChange>),
    /// Nothing but whether the peer has a role: for what is the same for everybody who has one.
    Permit(Peer, Reply<()>),
    /// Nothing but whether the core still carries out commands.
    Ping(Reply<()>),
    /// Ends the core's loop.
    Stop,
}

impl Command {
    /// Whether it can only close; such commands come first.
    pub(super) const fn closes(&self) -> bool {
        matches!(self, Self::Reconcile(..) | Self::Revoke(..) | Self::Deny(..) | Self::Cancel(..))
    }
}

/// Sends commands to the core.
#[derive(Clone, Debug)]
pub struct CoreHandle(mpsc::Sender<Command>, Presence);

impl CoreHandle {
    /// A handle, and the end at which the core receives.
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

    /// The agent as a whole.
    ///
    /// # Errors
    /// Not permitted.
    pub async fn status(&self, peer: Peer) -> Result<Status, Refusal> {
        self.ask(|reply| Command::Status(peer, reply)).await
    }

    /// Brings the attachments in line with the interfaces, from a thread of its own. `false`: the core has ended.
    #[must_use]
    pub fn reconcile(&self, notified: Instant) -> bool {
        let (reply, done) = oneshot::channel();
        self.0.blocking_send(Command::Reconcile(notified, reply)).is_ok() && done.blocking_recv().is_ok()
    }

    /// All port policies.
    ///
    /// # Errors
    /// Not permitted.
    pub async fn ports(&self, peer: Peer) -> Result<PortList, Refusal> {
        self.ask(|reply| Command::Ports(peer, reply)).await
    }

    /// Changes one port policy, in its file and in force.
    ///
    /// # Errors
    /// Not permitted, decided on an older list, effects to be confirmed, a file edited since, kernel broken. Nothing is
    /// changed then.
    pub async fn change_port(&self, peer: Peer, edit: PortEdit) -> Result<Changed, Refusal> {
        self.ask(|reply| Command::ChangePort(peer, edit, reply)).await
    }

    /// Reads the configuration again; without a peer, for a signal.
    ///
    /// # Errors
    /// Not permitted, files that can't be used or need a restart, effects to be confirmed, kernel broken. What was in
    /// force stays so.
    pub async fn reload(&self, peer: Option<Peer>, asked: Reload) -> Result<Changed, Refusal> {
        self.ask(|reply| Command::Reload(peer, asked, reply)).await
    }

    /// Makes a request; on return its grants are in force, or it waits for approval.
    ///
    /// # Errors
    /// Not permitted, violations of the port policies, a key of another request, no room, store or kernel broken.
    /// Nothing is opened then.
    pub async fn submit(&self, peer: Peer, submission: Submission) -> Result<Submitted, Refusal> {
        self.ask(|reply| Command::Open(Opening::Submit(peer, submission, reply))).await
    }

    /// Approves a request; on return its grants are in force.
    ///
    /// # Errors
    /// Not permitted, one's own request, not found, decided already, and what [`submit`](Self::submit) may answer.
    pub async fn approve(&self, peer: Peer, id: RequestId) -> Result<Request, Refusal> {
        self.ask(|reply| Command::Open(Opening::Approve(peer, id, reply))).await
    }

    /// Lets a grant last for so long from now, if it would end before; on return that is in force, or waits for approval.
    ///
    /// # Errors
    /// Not permitted, not found, and what [`submit`](Self::submit) may answer.
    pub async fn extend(&self, peer: Peer, id: GrantId, duration: Duration) -> Result<Extended, Refusal> {
        self.ask(|reply| Command::Open(Opening::Extend(peer, id, duration, reply))).await
    }

    /// Refuses a request that waits for approval.
    ///
    /// # Errors
    /// Not permitted, not found, decided already, store broken.
    pub async fn deny(&self, peer: Peer, id: RequestId, reason: String) -> Result<Request, Refusal> {
        self.ask(|reply| Command::Deny(peer, id, reason, reply)).await
    }

    /// Takes a request back that waits for approval.
    ///
    /// # Errors
    /// Not permitted, not found, decided already, store broken.
    pub async fn cancel(&self, peer: Peer, id: RequestId, reason: String) -> Result<Request, Refusal> {
        self.ask(|reply| Command::Cancel(peer, id, reason, reply)).await
    }

    /// Requests, newest first: all, or one's own.
    ///
    /// # Errors
    /// Not permitted, store broken.
    pub async fn requests(&self, peer: Peer, filter: RequestFilter) -> Result<Page<Request, RequestId>, Refusal> {
        self.ask(|reply| Command::Requests(peer, filter, reply)).await
    }

    /// One request.
    ///
    /// # Errors
    /// Not permitted, not found, store broken.
    pub async fn request(&self, peer: Peer, id: RequestId) -> Result<Request, Refusal> {
        self.ask(|reply| Command::Request(peer, id, reply)).await
    }

    /// The live grants, first to end first.
    ///
    /// # Errors
    /// Not permitted.
    pub async fn grants(&self, peer: Peer, filter: GrantFilter) -> Result<Page<Grant, (BootTime, GrantId)>, Refusal> {
        self.ask(|reply| Command::Grants(peer, filter, reply)).await
    }

    /// Ends grants; on return no packet passes by them.
    ///
    /// # Errors
    /// Not permitted, an unknown grant (then none was ended), kernel broken.
    pub async fn revoke(&self, peer: Peer, selection: Selection, reason: String) -> Result<Revocation, Refusal> {
        self.ask(|reply| Command::Revoke(peer, selection, reason, reply)).await
    }

    /// What would become of a packet now, and why.
    ///
    /// # Errors
    /// Not permitted, tables that can't be read.
    pub async fn why(&self, peer: Peer, packet: Packet) -> Result<Why, Refusal> {
        self.ask(|reply| Command::Why(peer, packet, reply)).await
    }

    /// What is reported of packets from now on.
    ///
    /// # Errors
    /// Not permitted, the agent is stopping.
    pub async fn watch(&self, peer: Peer) -> Result<broadcast::Receiver<News>, Refusal> {
        self.ask(|reply| Command::Watch(peer, reply)).await
    }

    /// A reader of the audit log, which needs the core no more.
    ///
    /// # Errors
    /// Not permitted, store broken.
    pub async fn audit(&self, peer: Peer) -> Result<AuditReader, Refusal> {
        self.ask(|reply| Command::Audit(peer, reply)).await
    }

    /// Figures for monitoring; without a peer, where whoever reaches the agent may read them.
    ///
    /// # Errors
    /// Not permitted, tables that can't be read.
    pub async fn metrics(&self, peer: Option<Peer>) -> Result<Metrics, Refusal> {
        self.ask(|reply| Command::Metrics(peer, reply)).await
    }

    /// Lets through whoever has a role.
    ///
    /// # Errors
    /// Not permitted.
    pub async fn permit(&self, peer: Peer) -> Result<(), Refusal> {
        self.ask(|reply| Command::Permit(peer, reply)).await
    }

    /// Returns when the core has come to it.
    ///
    /// # Errors
    /// The agent is stopping.
    pub async fn ping(&self) -> Result<(), Refusal> {
        self.ask(Command::Ping).await
    }

    /// Enforcement, who is connected to the ports, and which ways back there are.
    ///
    /// # Errors
    /// Not permitted.
    pub async fn enforcement(&self, peer: Peer) -> Result<Enforcement, Refusal> {
        self.ask(|reply| Command::Enforcement(peer, self.1.peers(), reply)).await
    }

    /// Starts a trial of enforcement; on return the ports are shut for all who have no grant.
    ///
    /// # Errors
    /// Not permitted, enforced already, no way back, a source that may not be let in, files that can't be used, store
    /// or kernel broken. Nothing is shut then.
    pub async fn enable(&self, peer: Peer, asked: EnableAsked) -> Result<EnforcementChange, Refusal> {
        self.ask(|reply| Command::Enable(peer, asked, self.1.peers(), reply)).await
    }

    /// Makes the trial permanent, in the files and in force.
    ///
    /// # Errors
    /// Not permitted, no trial, a file edited since, kernel broken. The trial goes on then.
    pub async fn confirm(&self, peer: Peer) -> Result<EnforcementChange, Refusal> {
        self.ask(|reply| Command::Confirm(peer, self.1.peers(), reply)).await
    }

    /// Ends the trial, or turns enforcement off if none runs.
    ///
    /// # Errors
    /// Not permitted, off already, files that can't be changed, store or kernel broken. All is as before then.
    pub async fn disable(&self, peer: Peer) -> Result<EnforcementChange, Refusal> {
        self.ask(|reply| Command::Disable(peer, self.1.peers(), reply)).await
    }

    /// Those who are connected to the socket.
    #[must_use]
    pub const fn presence(&self) -> &Presence {
        &self.1
    }

    /// Ends the core's loop.
    pub async fn stop(&self) {
        // A core that is gone already has stopped.
        drop(self.0.send(Command::Stop).await);
    }
}
