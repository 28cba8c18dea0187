//! Figures from packets: the use of ports, and metrics for monitoring.

use jiff::{SignedDuration, Timestamp};
use jit_api::wire::{Port, PortActivity};
use jit_common::{
    abi::Mode,
    reason::{Reason, Verdict},
};
use jit_policy::{PortPolicy, Right};
use tokio::sync::broadcast;

use super::{
    Core,
    answer::Metrics,
    handle::CoreHandle,
    live::{LiveGrants, Particulars},
    names::Permit,
    peer::Peer,
    records::Records,
    refusal::{Refusal, Unavailable},
    times::Times,
};
use crate::{datapath::PortCounts, events::News};

/// How far back the approved requests of a port are counted.
const COUNTED: SignedDuration = SignedDuration::from_hours(7 * 24);

impl CoreHandle {
    /// Returns the packets that are reported from now on, and the right to see them.
    ///
    /// # Errors
    /// The peer is not permitted, too many clients are watching already, or the agent is stopping.
    pub async fn watch(&self, peer: Peer) -> Result<(broadcast::Receiver<News>, Permit), Refusal> {
        self.ask(move |core| core.watch(&peer)).await
    }

    /// Notes why metrics are not served. `None`: they are.
    pub async fn note_metrics_fault(&self, fault: Option<String>) {
        let note = |core: &mut Core| {
            core.settings.set_metrics_fault(fault);
            Ok(())
        };
        // An agent that stops shows no status any more.
        drop(self.ask(note).await);
    }

    /// Returns the figures for monitoring.
    ///
    /// # Errors
    /// The tables can't be read.
    pub async fn metrics(&self) -> Result<Metrics, Refusal> {
        self.ask(|core| core.metrics()).await
    }
}

impl Core {
    pub(super) fn watch(&self, peer: &Peer) -> Result<(broadcast::Receiver<News>, Permit), Refusal> {
        let permit = self.settings.permit(peer, Right::ReadAll)?;
        Ok((self.events.subscribe().map_err(Unavailable::Watch)?, permit))
    }

    pub(super) fn metrics(&self) -> Result<Metrics, Refusal> {
        let ports = self.live.datapath().port_counts().map_err(|error| Unavailable::Kernel(error.into()))?;
        let policies = self.settings.ports().iter();
        Ok(Metrics {
            whole: self.whole(),
            ports,
            live_grants: policies.map(|policy| (policy.id, self.live.under(policy).count())).collect(),
            events: self.events.totals(),
            store_works: self.records.can_open(),
        })
    }
}

/// Returns port policies with their use. `of` restricts the figures to one user.
pub(super) fn port_views<'a>(
    policies: impl Iterator<Item = &'a PortPolicy>,
    of: Option<u32>,
    live: &LiveGrants,
    records: &Records,
    times: &Times,
) -> Vec<Port> {
    let counts = live.datapath().port_counts().unwrap_or_else(|error| {
        tracing::error!(%error, "the counters can't be read");
        Vec::new()
    });
    let since = times.wall().saturating_sub(COUNTED).unwrap_or(Timestamp::MIN);
    policies.map(|policy| port_view(policy, &counts, of, live, records, since)).collect()
}

fn port_view(
    policy: &PortPolicy,
    counts: &[PortCounts],
    of: Option<u32>,
    live: &LiveGrants,
    records: &Records,
    since: Timestamp,
) -> Port {
    let number = policy.id.number;
    let sum = |wanted: &dyn Fn(Mode, Reason) -> bool| {
        let counters = counts.iter().filter(|port| port.ports == [number]).flat_map(|port| &port.counters);
        counters.filter(|(mode, reason, _)| wanted(*mode, *reason)).map(|(.., packets)| packets).sum()
    };
    let is_drop = |reason: Reason| reason.verdict() == Verdict::Drop;
    let is_theirs = |particulars: &Particulars| of.is_none_or(|uid| particulars.who.sender.uid == uid);
    let theirs = || live.under(policy).filter(|(_, particulars)| is_theirs(particulars));
    let used = theirs().filter_map(|(grant, particulars)| {
        Some((live.used(grant, particulars.opened).last_connection?, particulars.requestor.clone()))
    });
    let recorded = records.store().ok().filter(|_| of.is_none());
    let recorded = recorded.and_then(|store| store.port_use(policy.id, since).ok());
    let past = recorded.as_ref().and_then(|recorded| recorded.last_connection.clone());
    let last = used.chain(past).max();
    let activity = PortActivity {
        live_grants: theirs().count() as u64,
        approved_requests: recorded.map(|recorded| recorded.approved_requests),
        last_user: last.as_ref().map(|(_, user)| user.clone()),
        passed_packets: sum(&|_, reason| reason.verdict() == Verdict::Pass),
        dropped_packets: sum(&|mode, reason| mode == Mode::Enforce && is_drop(reason)),
        observed_packets: sum(&|mode, reason| mode == Mode::Observe && is_drop(reason)),
        last_connection_time_utc: last.map(|(time, _)| time),
        set_by_agent: false,
    };
    Port { number, protocol: policy.id.protocol.into(), policy: policy.into(), activity }
}
