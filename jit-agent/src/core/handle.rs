//! The way into the core for those who run beside it.

use tokio::sync::{broadcast, mpsc, oneshot};

use super::view::{
    GrantView, MetricsView, Peer, PortView, Refusal, RequestView, Revocation, Selection, StatusView, WhyView,
};
use crate::{
    datapath::Packet,
    events::News,
    policy::{NewRequest, RequestId},
};

/// Where the answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// A command with the place for its answer.
#[derive(Debug)]
pub enum Command {
    /// The agent as a whole.
    Status(Peer, Reply<StatusView>),
    /// All port policies.
    Ports(Peer, Reply<Vec<PortView>>),
    /// A new request.
    Submit(Peer, NewRequest, Reply<RequestView>),
    /// The newest requests, newest first.
    Requests(Peer, Reply<Vec<RequestView>>),
    /// One request.
    Request(Peer, RequestId, Reply<RequestView>),
    /// The live grants, first to end first.
    Grants(Peer, Reply<Vec<GrantView>>),
    /// Ends grants, with a reason.
    Revoke(Peer, Selection, String, Reply<Revocation>),
    /// What would become of a packet now.
    Why(Peer, Packet, Reply<WhyView>),
    /// What is reported of packets from now on.
    Watch(Peer, Reply<broadcast::Receiver<News>>),
    /// Figures for monitoring; without a peer, where whoever reaches the agent may read them.
    Metrics(Option<Peer>, Reply<MetricsView>),
    /// Ends the core's loop.
    Stop,
}

/// Sends commands to the core.
#[derive(Clone, Debug)]
pub struct CoreHandle(mpsc::Sender<Command>);

impl CoreHandle {
    /// A handle, and the end at which the core receives.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(256);
        (Self(sender), receiver)
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
    pub async fn status(&self, peer: Peer) -> Result<StatusView, Refusal> {
        self.ask(|reply| Command::Status(peer, reply)).await
    }

    /// All port policies.
    ///
    /// # Errors
    /// Not permitted.
    pub async fn ports(&self, peer: Peer) -> Result<Vec<PortView>, Refusal> {
        self.ask(|reply| Command::Ports(peer, reply)).await
    }

    /// Makes a request; on return its grants are in force.
    ///
    /// # Errors
    /// Not permitted, violations of the port policies, no room, store or kernel broken. Nothing is opened then.
    pub async fn submit(&self, peer: Peer, request: NewRequest) -> Result<RequestView, Refusal> {
        self.ask(|reply| Command::Submit(peer, request, reply)).await
    }

    /// The newest requests, newest first.
    ///
    /// # Errors
    /// Not permitted, store broken.
    pub async fn requests(&self, peer: Peer) -> Result<Vec<RequestView>, Refusal> {
        self.ask(|reply| Command::Requests(peer, reply)).await
    }

    /// One request.
    ///
    /// # Errors
    /// Not permitted, not found, store broken.
    pub async fn request(&self, peer: Peer, id: RequestId) -> Result<RequestView, Refusal> {
        self.ask(|reply| Command::Request(peer, id, reply)).await
    }

    /// The live grants, first to end first.
    ///
    /// # Errors
    /// Not permitted.
    pub async fn grants(&self, peer: Peer) -> Result<Vec<GrantView>, Refusal> {
        self.ask(|reply| Command::Grants(peer, reply)).await
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
    pub async fn why(&self, peer: Peer, packet: Packet) -> Result<WhyView, Refusal> {
        self.ask(|reply| Command::Why(peer, packet, reply)).await
    }

    /// What is reported of packets from now on.
    ///
    /// # Errors
    /// Not permitted, the agent is stopping.
    pub async fn watch(&self, peer: Peer) -> Result<broadcast::Receiver<News>, Refusal> {
        self.ask(|reply| Command::Watch(peer, reply)).await
    }

    /// Figures for monitoring; without a peer, where whoever reaches the agent may read them.
    ///
    /// # Errors
    /// Not permitted, tables that can't be read.
    pub async fn metrics(&self, peer: Option<Peer>) -> Result<MetricsView, Refusal> {
        self.ask(|reply| Command::Metrics(peer, reply)).await
    }

    /// Ends the core's loop.
    pub async fn stop(&self) {
        // A core that is gone already has stopped.
        drop(self.0.send(Command::Stop).await);
    }
}
