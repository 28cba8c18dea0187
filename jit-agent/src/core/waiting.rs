//! The requests that wait for approval. Quotas count the grants that such a request would open.

use std::collections::BTreeMap;

use jit_policy::{ApprovedPort, BootTime, GrantId, Holder, Persons, PortId, PortPolicy, RequestId, Requestor};

use super::{
    live::LiveGrants,
    refusal::{Conflict, Refusal},
    times::Times,
};
use crate::store::{Deadline, PendingRow, RequestRow};

/// A request that waits for approval.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) who: Requestor,
    /// Whose quota the request counts against.
    pub(super) holder: Holder,
    /// The moment at which the request times out, by both clocks.
    pub(super) until: Deadline,
    /// The grant that the request would extend.
    pub(super) extends: Option<GrantId>,
    /// How many grants the request asks for, by port. The list is empty for an extension.
    pub(super) ports: Vec<(PortId, usize)>,
}

/// Returns how many grants the approved ports amount to, by port.
pub(super) fn count(approved: &[ApprovedPort]) -> Vec<(PortId, usize)> {
    approved.iter().map(|port| (port.port, port.sources.len())).collect()
}

/// The requests that wait for approval.
pub(super) struct WaitingRequests {
    times: Times,
    requests: BTreeMap<RequestId, Waiting>,
}

impl WaitingRequests {
    pub(super) const fn new(times: Times) -> Self {
        Self { times, requests: BTreeMap::new() }
    }

    pub(super) fn insert(&mut self, id: RequestId, waiting: Waiting) {
        self.requests.insert(id, waiting);
    }

    pub(super) fn remove(&mut self, id: RequestId) {
        self.requests.remove(&id);
    }

    /// Attributes all requests to the persons that are known now.
    pub(super) fn attribute(&mut self, persons: &Persons) {
        for waiting in self.requests.values_mut() {
            waiting.holder = persons.holder(&waiting.who);
        }
    }

    /// Forgets all requests. The store keeps them.
    pub(super) fn clear(&mut self) {
        self.requests.clear();
    }

    /// Returns how many grants somebody waits for under a policy. `but` is a request that is not counted.
    pub(super) fn under(&self, holder: &Holder, policy: &PortPolicy, but: Option<RequestId>) -> usize {
        let others = self.requests.iter().filter(|(id, waiting)| waiting.holder == *holder && Some(**id) != but);
        let ports = others.flat_map(|(_, waiting)| &waiting.ports);
        ports.filter(|(port, _)| policy.covers(*port)).map(|(_, count)| count).sum()
    }

    /// Whether an extension of this grant waits for approval.
    pub(super) fn extends(&self, grant: GrantId) -> bool {
        self.requests.values().any(|waiting| waiting.extends == Some(grant))
    }

    /// Whether a request waits, or has timed out and is not written yet.
    pub(super) fn has(&self, id: RequestId) -> bool {
        self.requests.contains_key(&id)
    }

    /// Whether a request has timed out or does not wait at all.
    pub(super) fn is_timed_out(&self, id: RequestId) -> bool {
        let now = self.times.now();
        self.requests.get(&id).is_none_or(|waiting| waiting.until.boot <= now)
    }

    /// The moment at which the next request times out.
    pub(super) fn next(&self) -> Option<BootTime> {
        self.requests.values().map(|waiting| waiting.until.boot).min()
    }

    /// Lets no request wait for longer than the wall clock says.
    pub(super) fn keep_to_wall_clock(&mut self) {
        for waiting in self.requests.values_mut() {
            waiting.until.boot = self.times.end_of(waiting.until);
        }
    }

    /// Removes the requests that have timed out.
    pub(super) fn remove_timed_out(&mut self) -> Vec<RequestId> {
        let now = self.times.now();
        self.requests.extract_if(.., |_, waiting| waiting.until.boot <= now).map(|(id, _)| id).collect()
    }

    /// Returns what a request waits for.
    ///
    /// # Errors
    /// The request no longer waits.
    pub(super) fn check<'row>(&self, row: &'row RequestRow) -> Result<&'row PendingRow, Refusal> {
        let decided = || {
            let by = row.decided_by.as_ref().map(|(_, name)| name.clone());
            Refusal::from(Conflict::Decided { id: row.id, state: row.status, by })
        };
        let pending = row.pending.as_ref().ok_or_else(decided)?;
        if self.is_timed_out(row.id) { Err(decided()) } else { Ok(pending) }
    }
}

/// Attributes all grants and requests to the persons that are known now. Quotas count by person.
pub(super) fn attribute(persons: &Persons, live: &mut LiveGrants, waiting: &mut WaitingRequests) {
    live.attribute(persons);
    waiting.attribute(persons);
}
