//! Numbers of grants by user and port. Quotas count these.

use std::collections::HashMap;

use jit_policy::{PortId, PortPolicy, Protocol};

/// Numbers of grants by user id and port.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Held(HashMap<(u32, PortId), usize>);

impl Held {
    /// Counts one more grant.
    pub(in super::super) fn add(&mut self, uid: u32, port: PortId) {
        *self.0.entry((uid, port)).or_default() += 1;
    }

    /// Counts one grant less.
    pub(in super::super) fn remove(&mut self, uid: u32, port: PortId) {
        if let Some(count) = self.0.get_mut(&(uid, port)) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&(uid, port));
            }
        }
    }

    /// Returns how many grants a user has under a policy.
    pub(in super::super) fn under(&self, uid: u32, policy: &PortPolicy) -> usize {
        let ports = [Protocol::Tcp, Protocol::Udp, Protocol::Any]
            .map(|protocol| PortId { number: policy.id.number, protocol })
            .into_iter()
            .filter(|port| policy.covers(*port));
        ports.filter_map(|port| self.0.get(&(uid, port))).sum()
    }
}
