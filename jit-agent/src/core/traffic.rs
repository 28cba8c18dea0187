//! Figures from packets: the use of ports and grants, and metrics for monitoring.

use jiff::{SignedDuration, Timestamp};
use jit_common::{
    abi::{Activity, Mode},
    reason::{Reason, Verdict},
};
use jit_policy::{BootTime, LiveGrant, PortPolicy, Right};
use tokio::sync::broadcast;

use super::{
    Core, Particulars,
    answer::{Metrics, PortView},
    peer::Peer,
    refusal::Refusal,
};
use crate::{
    datapath::{DatapathError, PortCounts},
    events::News,
};

/// The difference between the two clocks that shows that the wall clock was set. Smaller differences come from the time
/// between reading the two clocks, or from a correction by a time server.
const CLOCK_WAS_SET: SignedDuration = SignedDuration::from_millis(100);

/// How far back the approved requests of a port are counted.
const COUNTED: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The times at which a grant admitted packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) last_packet: Option<Timestamp>,
    pub(super) first_connection: Option<Timestamp>,
    pub(super) last_connection: Option<Timestamp>,
}

impl Core {
    /// Returns when a grant that was made at `opened` was used. Several grants may share an entry, so earlier packets
    /// do not count.
    pub(super) fn used(&self, grant: &LiveGrant, opened: BootTime) -> Used {
        let entries: Vec<Activity> = grant.entries().map(|entry| self.datapath.activity(&entry)).collect();
        let last = |of: fn(&Activity) -> u64| {
            let latest = entries.iter().map(of).max().filter(|moment| *moment > 0).map(BootTime)?;
            (latest >= opened).then(|| self.wall_of(latest))
        };
        let connections = || entries.iter().flat_map(|activity| [activity.first_connection, activity.last_connection]);
        let first = connections().filter(|moment| *moment > 0 && BootTime(*moment) >= opened).min();
        Used {
            first_connection: first.map(|moment| self.wall_of(BootTime(moment))),
            last_packet: last(|activity| activity.last_packet),
            last_connection: last(|activity| activity.last_connection),
        }
    }

    /// Converts a moment of this boot to the wall clock. The result stays the same however often it is asked for,
    /// unless someone sets the clock meanwhile.
    pub(super) fn wall_of(&self, moment: BootTime) -> Timestamp {
        let since_boot = self.clock.boot().since(BootTime::default());
        let booted = self.clock.wall().saturating_sub(since_boot).unwrap_or(Timestamp::MIN);
        if self.booted.get().duration_since(booted).abs() > CLOCK_WAS_SET {
            self.booted.set(booted);
        }
        self.booted.get().saturating_add(moment.since(BootTime::default())).unwrap_or(Timestamp::MAX)
    }

    /// Returns a port policy with its use. `of` restricts the figures to one user.
    pub(super) fn port_view(&self, policy: &PortPolicy, counts: &[PortCounts], of: Option<u32>) -> PortView {
        let number = policy.id.number;
        let sum = |wanted: &dyn Fn(Mode, Reason) -> bool| {
            let counters = counts.iter().filter(|port| port.ports == [number]).flat_map(|port| &port.counters);
            counters.filter(|(mode, reason, _)| wanted(*mode, *reason)).map(|(.., packets)| packets).sum()
        };
        let is_drop = |reason: Reason| reason.verdict() == Verdict::Drop;
        let is_theirs = |particulars: &Particulars| of.is_none_or(|uid| particulars.uid == uid);
        let live = || self.live_grants(policy).filter_map(|grant| Some((grant, self.particulars.get(&grant.id)?)));
        let used = live().filter(|(_, particulars)| is_theirs(particulars)).filter_map(|(grant, particulars)| {
            Some((self.used(grant, particulars.opened).last_connection?, particulars.requestor.clone()))
        });
        let since = self.clock.wall().saturating_sub(COUNTED).unwrap_or(Timestamp::MIN);
        let recorded = self.store.as_ref().ok().filter(|_| of.is_none());
        let recorded = recorded.and_then(|store| store.port_use(policy.id, since).ok());
        let past = recorded.as_ref().and_then(|recorded| recorded.last_connection.clone());
        let last = used.chain(past).max();
        PortView {
            policy: policy.clone(),
            live_grants: live().filter(|(_, particulars)| is_theirs(particulars)).count(),
            approved_requests: recorded.map(|recorded| recorded.approved_requests),
            last_user: last.as_ref().map(|(_, user)| user.clone()),
            passed: sum(&|_, reason| reason.verdict() == Verdict::Pass),
            dropped: sum(&|mode, reason| mode == Mode::Enforce && is_drop(reason)),
            observed: sum(&|mode, reason| mode == Mode::Observe && is_drop(reason)),
            last_connection: last.map(|(time, _)| time),
        }
    }

    /// Returns the live grants under a port policy.
    fn live_grants(&self, policy: &PortPolicy) -> impl Iterator<Item = &LiveGrant> {
        let now = self.clock.boot();
        self.book.iter().filter(move |grant| grant.end > now && policy.covers(grant.port))
    }

    pub(super) fn watch(&self, peer: &Peer) -> Result<broadcast::Receiver<News>, Refusal> {
        self.access.check(peer, Right::ReadAll)?;
        self.events.subscribe().map_err(|error| Refusal::Unavailable(error.to_owned()))
    }

    pub(super) fn metrics(&self, peer: Option<&Peer>) -> Result<Metrics, Refusal> {
        if let Some(peer) = peer {
            self.access.check(peer, Right::ReadAll)?;
        }
        let ports = self.datapath.port_counts().map_err(|error| Refusal::Unavailable(error.to_string()))?;
        Ok(Metrics {
            whole: self.whole(),
            ports,
            live_grants: self.config.ports.iter().map(|policy| (policy.id, self.live_grants(policy).count())).collect(),
            events: self.events.totals(),
            store_works: self.store.is_ok(),
        })
    }

    /// Reports to the hub how many packets were dropped, or would have been.
    pub(super) fn count_drops(&self) -> Result<(), DatapathError> {
        let counters = self.datapath.counters()?;
        let drops = counters.iter().filter(|(_, reason, _)| reason.verdict() == Verdict::Drop);
        self.events.count_drops(drops.map(|(.., packets)| packets).sum());
        Ok(())
    }
}
