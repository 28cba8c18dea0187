//! Requests that wait for approval but don't get it: they are denied or cancelled.

use jit_api::wire::Request;
use jit_policy::{RequestId, Right, audit::Attempt};

use super::{
    Core,
    handle::CoreHandle,
    peer::Peer,
    refusal::{Refusal, Unavailable},
    report::request_view,
    revoke::is_own,
};
use crate::store::{RequestEnd, RequestRow};

impl CoreHandle {
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
}

impl Core {
    pub(super) fn deny(&mut self, peer: &Peer, id: RequestId, reason: &str) -> Result<Request, Refusal> {
        self.settings.check(peer, Right::Decide)?;
        let row = self.records.request(id)?;
        self.close_request(&row, peer, RequestEnd::Denied, reason)
    }

    /// Cancels a request: the peer's own, or any user's if the peer has the right to revoke any grant.
    pub(super) fn cancel(&mut self, peer: &Peer, id: RequestId, reason: &str) -> Result<Request, Refusal> {
        let anybodys = self.settings.has(peer, Right::RevokeAny);
        if !anybodys {
            self.settings.check(peer, Right::Request)?;
        }
        let row = self.records.request(id)?;
        if !anybodys && !is_own(self.settings.names().persons(), &row.requestor, peer) {
            return Err(Refusal::NotFound { what: "request", id: id.0 });
        }
        self.close_request(&row, peer, RequestEnd::Cancelled, reason)
    }

    fn close_request(
        &mut self,
        row: &RequestRow,
        peer: &Peer,
        state: RequestEnd,
        reason: &str,
    ) -> Result<Request, Refusal> {
        self.waiting.check(row)?;
        self.waiting.remove(row.id);
        let reason = self.records.affordable(self.settings.payer(peer), reason, 1);
        if !self.records.close_request(row.id, state, peer.actor(), reason) {
            return Err(Unavailable::ClosingNotRecorded.into());
        }
        self.records.request(row.id).map(|row| request_view(row, &self.live, &self.waiting))
    }
}
