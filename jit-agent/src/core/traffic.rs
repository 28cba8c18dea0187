//! What the packets tell: the use of ports and grants, and figures for monitoring.

use jiff::{SignedDuration, Timestamp};
use jit_common::{
    abi::{Activity, Mode},
    reason::{Reason, Verdict},
};
use tokio::sync::broadcast;

use super::{
    Core,
    view::{MetricsView, Peer, PortView, Refusal},
};
use crate::{
    clock::BootTime,
    datapath::{DatapathError, PortCounts},
    events::News,
    policy::{LiveGrant, PortId, PortPolicy, Right},
};

/// By how much the two clocks move apart when one was set. Less is what passes between reading one and the other, or what
/// a time server corrects at a time.
const CLOCK_WAS_SET: SignedDuration = SignedDuration::from_millis(100);

/// Whether a grant's port is one of a policy's.
fn is_under(port: PortId, policy: PortId) -> bool {
    port.number == policy.number && policy.protocol.includes(port.protocol)
}

/// When a grant let packets pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) last_packet: Option<Timestamp>,
    pub(super) last_connection: Option<Timestamp>,
}

impl Core {
    /// When a grant was used that was made at `opened`. Several grants may share an entry: what was before was not by it.
    pub(super) fn used(&self, grant: &LiveGrant, opened: BootTime) -> Used {
        let entries: Vec<Activity> = grant.entries().map(|entry| self.datapath.activity(&entry)).collect();
        let last = |of: fn(&Activity) -> u64| {
            let latest = entries.iter().map(of).max().filter(|moment| *moment > 0).map(BootTime)?;
            (latest >= opened).then(|| self.wall_of(latest))
        };
        Used {
            last_packet: last(|activity| activity.last_packet),
            last_connection: last(|activity| activity.last_connection),
        }
    }

    /// The wall clock's time of a moment in this boot: the same however often it is asked for, unless someone sets the
    /// clock meanwhile.
    fn wall_of(&self, moment: BootTime) -> Timestamp {
        let since_boot = self.clock.boot().since(BootTime::default());
        let booted = self.clock.wall().saturating_sub(since_boot).unwrap_or(Timestamp::MIN);
        if self.booted.get().duration_since(booted).abs() > CLOCK_WAS_SET {
            self.booted.set(booted);
        }
        self.booted.get().saturating_add(moment.since(BootTime::default())).unwrap_or(Timestamp::MAX)
    }

    /// Keeps the last connection of a grant that ends, for its port.
    pub(super) fn keep_last_connection(&mut self, grant: &LiveGrant) {
        let Some(opened) = self.particulars.get(&grant.id).map(|particulars| particulars.opened) else { return };
        if let Some(connection) = self.used(grant, opened).last_connection {
            let last = self.past_connections.entry(grant.port).or_insert(connection);
            *last = connection.max(*last);
        }
    }

    pub(super) fn port_view(&self, policy: &PortPolicy, counts: &[PortCounts]) -> PortView {
        let number = policy.id.number;
        let sum = |wanted: &dyn Fn(Mode, Reason) -> bool| {
            let counters = counts.iter().filter(|port| port.ports == [number]).flat_map(|port| &port.counters);
            counters.filter(|(mode, reason, _)| wanted(*mode, *reason)).map(|(.., packets)| packets).sum()
        };
        let is_drop = |reason: Reason| reason.verdict() == Verdict::Drop;
        let used = self.live_grants(policy.id).filter_map(|grant| {
            let opened = self.particulars.get(&grant.id)?.opened;
            self.used(grant, opened).last_connection
        });
        let past = self.past_connections.iter().filter(|(port, _)| is_under(**port, policy.id)).map(|(_, time)| *time);
        PortView {
            policy: policy.clone(),
            live_grants: self.live_grants(policy.id).count(),
            passed: sum(&|_, reason| reason.verdict() == Verdict::Pass),
            dropped: sum(&|mode, reason| mode == Mode::Enforce && is_drop(reason)),
            observed: sum(&|mode, reason| mode == Mode::Observe && is_drop(reason)),
            last_connection: used.chain(past).max(),
        }
    }

    /// The live grants under a port policy.
    fn live_grants(&self, policy: PortId) -> impl Iterator<Item = &LiveGrant> {
        let now = self.clock.boot();
        self.book.iter().filter(move |grant| grant.end > now && is_under(grant.port, policy))
    }

    pub(super) fn watch(&self, peer: &Peer) -> Result<broadcast::Receiver<News>, Refusal> {
        self.access.check(peer, Right::ReadAll)?;
        self.events.subscribe().map_err(|error| Refusal::Unavailable(error.to_owned()))
    }

    pub(super) fn metrics(&self, peer: Option<&Peer>) -> Result<MetricsView, Refusal> {
        if let Some(peer) = peer {
            self.access.check(peer, Right::ReadAll)?;
        }
        let ports = self.datapath.port_counts().map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let policies = self.config.ports.iter().map(|policy| policy.id);
        Ok(MetricsView {
            status: self.whole(),
            ports,
            live_grants: policies.map(|id| (id, self.live_grants(id).count())).collect(),
            events: self.events.totals(),
        })
    }

    /// Tells the hub how many packets were dropped, or would have been.
    pub(super) fn count_drops(&self) -> Result<(), DatapathError> {
        let counters = self.datapath.counters()?;
        let drops = counters.iter().filter(|(_, reason, _)| reason.verdict() == Verdict::Drop);
        self.events.count_drops(drops.map(|(.., packets)| packets).sum());
        Ok(())
    }
}
