//! The numbers of grants that each user has or waits for. Quotas count both.

use std::collections::{BTreeMap, HashMap};

use jit_policy::{ApprovedPort, BootTime, GrantId, PortId, PortPolicy, Protocol, RequestId};

/// Numbers of grants by user id and port.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(HashMap<(u32, PortId), usize>);

impl Held {
    /// Counts one more grant.
    pub(super) fn add(&mut self, uid: u32, port: PortId) {
        *self.0.entry((uid, port)).or_default() += 1;
    }

    /// Counts one grant less.
    pub(super) fn remove(&mut self, uid: u32, port: PortId) {
        if let Some(count) = self.0.get_mut(&(uid, port)) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&(uid, port));
            }
        }
    }

    /// Returns how many grants a user has under a policy.
    pub(super) fn under(&self, uid: u32, policy: &PortPolicy) -> usize {
        let ports = [Protocol::Tcp, Protocol::Udp, Protocol::Any]
            .map(|protocol| PortId { number: policy.id.number, protocol })
            .into_iter()
            .filter(|port| policy.covers(*port));
        ports.filter_map(|port| self.0.get(&(uid, port))).sum()
    }
}

/// A request that waits for approval.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// The user id of the requestor.
    pub(super) uid: u32,
    /// The moment at which the request times out.
    pub(super) until: BootTime,
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
#[derive(Clone, Debug, Default)]
pub(super) struct WaitingRequests(BTreeMap<RequestId, Waiting>);

impl WaitingRequests {
    pub(super) fn insert(&mut self, id: RequestId, waiting: Waiting) {
        self.0.insert(id, waiting);
    }

    pub(super) fn remove(&mut self, id: RequestId) {
        self.0.remove(&id);
    }

    /// Returns how many grants a user waits for under a policy. `but` is a request that is not counted.
    pub(super) fn under(&self, uid: u32, policy: &PortPolicy, but: Option<RequestId>) -> usize {
        let others = self.0.iter().filter(|(id, waiting)| waiting.uid == uid && Some(**id) != but);
        let ports = others.flat_map(|(_, waiting)| &waiting.ports);
        ports.filter(|(port, _)| policy.covers(*port)).map(|(_, count)| count).sum()
    }

    /// Whether an extension of this grant waits for approval.
    pub(super) fn extends(&self, grant: GrantId) -> bool {
        self.0.values().any(|waiting| waiting.extends == Some(grant))
    }

    /// Whether a request has timed out or does not wait at all.
    pub(super) fn is_over(&self, id: RequestId, now: BootTime) -> bool {
        self.0.get(&id).is_none_or(|waiting| waiting.until <= now)
    }

    /// The moment at which the next request times out.
    pub(super) fn next(&self) -> Option<BootTime> {
        self.0.values().map(|waiting| waiting.until).min()
    }

    /// The requests that have timed out.
    pub(super) fn over(&self, now: BootTime) -> Vec<RequestId> {
        self.0.iter().filter(|(_, waiting)| waiting.until <= now).map(|(id, _)| *id).collect()
    }
}
