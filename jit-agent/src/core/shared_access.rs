//! The roles in force, as the server sees them. So the server knows whether a role could allow something before it reads
//! more of a request, and without waiting for the core.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use jit_policy::Right;
use tokio::sync::watch;

use super::{access::Access, peer::Peer, refusal::Refusal};

/// The roles in force, which the core and its handles share. Only the core sets them.
#[derive(Clone, Debug)]
pub struct SharedAccess {
    access: watch::Receiver<Access>,
    /// Whether somebody without a role was refused since names were looked up last.
    refused: Arc<AtomicBool>,
}

impl Default for SharedAccess {
    /// Nobody but root has a role.
    fn default() -> Self {
        Self::new(watch::channel(Access::default()).1, Arc::default())
    }
}

impl SharedAccess {
    pub(super) const fn new(access: watch::Receiver<Access>, refused: Arc<AtomicBool>) -> Self {
        Self { access, refused }
    }

    /// Whether the peer has a role, whichever it is.
    pub(super) fn has_role(&self, peer: &Peer) -> bool {
        self.check(peer, &[Right::Look]).is_ok()
    }

    /// Returns a refusal if the peer has not even one of these rights. The refusal names the role for the first right.
    pub(super) fn check(&self, peer: &Peer, rights: &[Right]) -> Result<(), Refusal> {
        let access = self.access.borrow();
        let mut checked = rights.iter().map(|right| access.check(peer, *right));
        let first = checked.next().unwrap_or(Ok(()));
        if first.is_ok() || checked.any(|checked| checked.is_ok()) { Ok(()) } else { first }
    }

    /// Notes that a peer was refused. Returns whether this is the first refusal since names were looked up last.
    pub(super) fn note_refused(&self) -> bool {
        !self.refused.swap(true, Ordering::Relaxed)
    }
}
