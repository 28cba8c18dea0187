//! The handle that sends commands to the core.

use std::time::Instant;

use jit_policy::Right;
use tokio::sync::{mpsc, oneshot};

use super::{
    Core,
    command::{Command, Reply, answered},
    peer::Peer,
    presence::Presence,
    refusal::{Refusal, Unavailable},
    shared_access::SharedAccess,
};

/// A handle that sends commands to the core.
#[derive(Clone, Debug)]
pub struct CoreHandle {
    commands: mpsc::Sender<Command>,
    access: SharedAccess,
    presence: Presence,
}

impl CoreHandle {
    /// Makes a handle of a core, and the channel from which the core receives commands.
    #[must_use]
    pub fn of(core: &Core) -> (Self, mpsc::Receiver<Command>) {
        Self::new(core.settings.shared_access())
    }

    /// Makes a handle for a core with these roles, and the channel from which the core receives commands.
    #[must_use]
    pub fn new(access: SharedAccess) -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(256);
        (Self { commands: sender, access, presence: Presence::default() }, receiver)
    }

    /// The roles in force.
    pub(super) const fn access(&self) -> &SharedAccess {
        &self.access
    }

    /// Sends a command, and returns the answer.
    pub(super) async fn send<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let stopped = || Refusal::from(Unavailable::Stopping);
        self.commands.send(command(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Has the core do some work, and returns the answer.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.send(|reply| Command::Work(answered(work, reply))).await
    }

    /// Sends a command from a thread outside the runtime.
    ///
    /// # Errors
    /// The core has ended.
    pub(super) fn blocking_send(&self, command: Command) -> Result<(), Refusal> {
        self.commands.blocking_send(command).map_err(|_| Unavailable::Stopping.into())
    }

    /// Wakes the core, which then finds what is due. A full channel means that it is awake.
    pub(super) fn wake(&self) {
        drop(self.commands.try_send(Command::Work(Box::new(|_| {}))));
    }

    /// Like [`ask`](Self::ask), for work that can only close. It is done before all other work.
    pub(super) async fn close<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.send(|reply| Command::Close(answered(work, reply))).await
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
        self.blocking_send(Command::Close(Box::new(reconcile))).is_ok() && done.blocking_recv().is_ok()
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
