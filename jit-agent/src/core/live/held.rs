//! Numbers of grants by person and port. Quotas count these.

use std::collections::HashMap;

use jit_policy::{Holder, PortId, PortPolicy, Protocol};

/// Numbers of grants by person and port.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Held(HashMap<(Holder, PortId), usize>);

impl Held {
    /// Counts one more grant.
    pub(in super::super) fn add(&mut self, holder: &Holder, port: PortId) {
        *self.0.entry((holder.clone(), port)).or_default() += 1;
    }

    /// Counts one grant less.
    pub(in super::super) fn remove(&mut self, holder: &Holder, port: PortId) {
        if let Some(count) = self.0.get_mut(&(holder.clone(), port)) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&(holder.clone(), port));
            }
        }
    }

    /// Returns how many grants somebody has under a policy.
    pub(in super::super) fn under(&self, holder: &Holder, policy: &PortPolicy) -> usize {
        let ports = [Protocol::Tcp, Protocol::Udp, Protocol::Any]
            .map(|protocol| PortId { number: policy.id.number, protocol })
            .into_iter()
            .filter(|port| policy.covers(*port));
        ports.filter_map(|port| self.0.get(&(holder.clone(), port))).sum()
    }
}
