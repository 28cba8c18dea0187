//! The check of a peer's roles before anything else of a request is read.

use jit_policy::{Right, audit::Attempt};

use super::{handle::CoreHandle, peer::Peer, records::Attempted, refusal::Refusal};

/// Shows that a role of the peer could allow the request, so that the body may be read. The core checks the role again
/// when it carries the request out.
#[derive(Debug)]
pub struct Admitted(());

impl CoreHandle {
    /// Whether the peer has a role, whichever it is. Does not wait for the core.
    #[must_use]
    pub fn has_role(&self, peer: &Peer) -> bool {
        self.access().has_role(peer)
    }

    /// Returns a refusal if the peer has no role with this right. Does not wait for the core.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub fn check_role(&self, peer: &Peer, right: Right) -> Result<(), Refusal> {
        self.access().check(peer, &[right]).inspect_err(|_| {
            // Perhaps a name has got a number meanwhile. One refusal is enough to have the names looked up.
            if self.access().note_refused() {
                self.wake();
            }
        })
    }

    /// Checks that the peer has one of these rights, before more of the request is read. A refusal is recorded as this
    /// attempt, of which only the kind is known yet.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn admit(&self, peer: &Peer, rights: &[Right], attempt: Option<Attempt>) -> Result<Admitted, Refusal> {
        let Err(refusal) = self.access().check(peer, rights) else { return Ok(Admitted(())) };
        if let Some(attempt) = attempt {
            let (attempted, refused) = (Attempted::new(peer, self.has_role(peer), attempt), refusal.clone());
            self.ask(move |core| {
                // Perhaps a name has got a number meanwhile.
                core.settings.names().note_refused();
                core.records.note_refusal(attempted, &refused);
                Ok(())
            })
            .await?;
        }
        Err(refusal)
    }
}
