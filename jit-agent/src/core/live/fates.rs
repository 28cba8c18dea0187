//! The effects of other policies on live grants.

use std::collections::BTreeMap;

use ipnet::IpNet;
use jit_api::wire::{Grant, GrantState};
use jit_policy::{Actor, BootTime, GrantId, LiveGrant, PortId, PortPolicies};

use super::{Ended, LiveGrants, Particulars};
use crate::{
    core::records::Records,
    store::{Deadline, EndedGrant, GrantEnd},
};

/// Why grants are shortened.
pub(in super::super) const LESS_TIME: &str = "the configuration allows less time";

/// Why grants are shortened, or end, whose end by the wall clock comes before their end in this boot's time.
pub(in super::super) const CLOCK_AHEAD: &str =
    "the wall clock ran ahead: the machine was paused or restored, or its clock was set";

/// The live grants that end or that end earlier under other policies.
#[derive(Default)]
struct Fates {
    ended: Vec<(GrantId, Disallowed)>,
    shortened: Vec<(GrantId, BootTime)>,
}

/// Why policies don't allow a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum Disallowed {
    #[error("port {0} is no longer in the configuration")]
    NoPolicy(PortId),
    #[error("{0} is no longer an allowed source of port {1}")]
    Source(IpNet, PortId),
}

/// Returns the latest end that the policies allow for a grant, or why they don't allow the grant.
pub(in super::super) fn latest_end(
    ports: &PortPolicies,
    port: PortId,
    source: &IpNet,
    now: BootTime,
) -> Result<BootTime, Disallowed> {
    let policy = ports.for_port(port).ok_or(Disallowed::NoPolicy(port))?;
    if !policy.allows_source(source) {
        return Err(Disallowed::Source(*source, policy.id));
    }
    Ok(now.after(policy.max_duration))
}

impl LiveGrants {
    /// Returns the live grants that would end under these policies.
    pub(in super::super) fn ended_by(&self, ports: &PortPolicies) -> Vec<GrantId> {
        self.fates(ports).ended.into_iter().map(|(id, _)| id).collect()
    }

    /// Returns the grants that would end under these policies, and those that would be shortened, with their new ends.
    pub(in super::super) fn effects_of(&self, ports: &PortPolicies) -> (Vec<Grant>, Vec<Grant>) {
        let Fates { ended, shortened } = self.fates(ports);
        let ended = ended.iter().filter_map(|(id, _)| self.view_of(*id).ok()).collect();
        (ended, shortened.iter().filter_map(|(id, end)| self.view_until(*id, *end)).collect())
    }

    /// Ends and shortens grants until the policies allow all of them. `by` is who changed the policies. `None`: the
    /// agent. Returns the grants that ended and those that were shortened.
    pub(in super::super) fn apply_policies(
        &mut self,
        ports: &PortPolicies,
        by: Option<&Actor>,
        records: &mut Records,
    ) -> (Vec<Grant>, Vec<Grant>) {
        let Fates { ended, shortened } = self.fates(ports);
        (self.end_for_policies(ended, by, records), self.shorten_for_policies(shortened, by, records))
    }

    /// Lets no grant last longer than the wall clock says. Grants that are over by it are left to expire.
    pub(in super::super) fn keep_to_wall_clock(&mut self, records: &mut Records) {
        let earlier = |(grant, particulars): (&LiveGrant, &Particulars)| {
            let end = Deadline { boot: grant.end, wall: particulars.end };
            let boot = self.times.end_of(end);
            (boot < end.boot).then_some((grant.id, Deadline { boot, ..end }))
        };
        let mut shortened: Vec<_> = self.unexpired().filter_map(earlier).collect();
        if shortened.is_empty() {
            return;
        }
        tracing::warn!(grants = shortened.len(), "grants are shortened: {CLOCK_AHEAD}");
        for (id, end) in &shortened {
            self.shorten(*id, *end);
        }
        self.settle();
        let now = self.times.now();
        shortened.retain(|(_, end)| end.boot > now);
        records.shorten_grants(shortened, None, CLOCK_AHEAD);
    }

    fn fates(&self, ports: &PortPolicies) -> Fates {
        let now = self.times.now();
        let mut fates = Fates::default();
        for (grant, _) in self.unexpired() {
            match latest_end(ports, grant.port, &grant.source, now) {
                Ok(latest) if latest < grant.end => fates.shortened.push((grant.id, latest)),
                Ok(_) => {}
                Err(reason) => fates.ended.push((grant.id, reason)),
            }
        }
        fates
    }

    fn end_for_policies(
        &mut self,
        fates: Vec<(GrantId, Disallowed)>,
        by: Option<&Actor>,
        records: &mut Records,
    ) -> Vec<Grant> {
        let mut views = Vec::new();
        let mut by_reason: BTreeMap<String, Vec<EndedGrant>> = BTreeMap::new();
        for (id, reason) in fates {
            let Some(Ended { grant, particulars, connections }) = self.end(id) else { continue };
            let view = self.view(&grant, &particulars);
            let reason = reason.to_string();
            views.push(view.over(GrantState::Ended, Some(reason.clone()), self.times.wall()));
            by_reason.entry(reason).or_default().push((id, connections));
        }
        self.settle();
        for (reason, ids) in by_reason {
            records.end_grants(ids, GrantEnd::Ended, by.cloned(), &reason);
        }
        views
    }

    fn shorten_for_policies(
        &mut self,
        fates: Vec<(GrantId, BootTime)>,
        by: Option<&Actor>,
        records: &mut Records,
    ) -> Vec<Grant> {
        let mut views = Vec::new();
        let mut shortened = Vec::new();
        for (id, end) in fates {
            let end = Deadline { boot: end, wall: self.times.wall_at(end) };
            if self.shorten(id, end) {
                shortened.push((id, end));
                views.extend(self.view_of(id).map(|view| Grant { end_time_utc: end.wall, ..view }));
            }
        }
        self.settle();
        records.shorten_grants(shortened, by.cloned(), LESS_TIME);
        views
    }
}
