//! Requests that wait for approval but don't get it: they are denied, cancelled, or time out.

use jit_api::wire::Request;
use jit_policy::{RequestId, Right};

use super::{Core, backlog::Closing, peer::Peer, refusal::Refusal};
use crate::store::{RequestEnd, RequestRow};

/// The reason in the audit log for a request that nobody decided.
const UNDECIDED: &str = "nobody approved it in time";

impl Core {
    pub(super) fn deny(&mut self, peer: &Peer, id: RequestId, reason: &str) -> Result<Request, Refusal> {
        self.access.check(peer, Right::Decide)?;
        let row = self.stored_request(id)?;
        self.still_waits(&row)?;
        self.close_request(&row, peer, RequestEnd::Denied, reason)
    }

    /// Cancels a request: the peer's own, or any user's if the peer has the right to revoke any grant.
    pub(super) fn cancel(&mut self, peer: &Peer, id: RequestId, reason: &str) -> Result<Request, Refusal> {
        if !self.access.has(peer, Right::RevokeAny) {
            self.access.check(peer, Right::Request)?;
        }
        let row = self.stored_request(id)?;
        if row.requestor.sender.uid != peer.uid && !self.access.has(peer, Right::RevokeAny) {
            return Err(Refusal::NotFound { what: "request", id: id.0 });
        }
        self.still_waits(&row)?;
        self.close_request(&row, peer, RequestEnd::Cancelled, reason)
    }

    /// Closes the requests that have timed out.
    pub(super) fn time_out(&mut self) {
        let over = self.waiting.over(self.clock.boot());
        if over.is_empty() {
            return;
        }
        for id in &over {
            self.waiting.remove(*id);
        }
        let ending = self.ending(RequestEnd::TimedOut, None, UNDECIDED);
        self.record_in_turn(Closing::Requests(over, ending));
    }

    fn close_request(
        &mut self,
        row: &RequestRow,
        peer: &Peer,
        state: RequestEnd,
        reason: &str,
    ) -> Result<Request, Refusal> {
        self.waiting.remove(row.id);
        let ending = self.ending(state, Some(peer.actor()), reason);
        if !self.record(Closing::Requests(vec![row.id], ending)) {
            return Err(Refusal::Unavailable(
                "the request waits no more, but that could not be written and may not outlast a restart of the agent; \
                 see `jitctl status` for what is broken"
                    .to_owned(),
            ));
        }
        self.stored_request(row.id).map(|row| self.request_view(row))
    }

    pub(super) fn stored_request(&mut self, id: RequestId) -> Result<RequestRow, Refusal> {
        let row = self.store()?.request(id).map_err(|error| Refusal::Unavailable(error.to_string()))?;
        row.ok_or(Refusal::NotFound { what: "request", id: id.0 })
    }
}
