//! What people read: the core's state as views.

use std::collections::HashMap;

use jit_policy::{BootTime, EntryKey, GrantFilter, GrantId, LiveGrant, Page, RequestFilter, RequestId, Right};

use super::{
    Core, Particulars,
    view::{GrantStatus, GrantView, Peer, PendingView, PortView, Refusal, RequestView, StatusView},
};
use crate::{
    datapath::{DatapathError, UncoveredView},
    store::{AuditReader, GrantRow, GrantState, PendingRow, RequestPage, RequestRow, RequestState, StoreError},
};

/// With how many grants a listing of requests ends, though there be more.
const LISTED_GRANTS: usize = 5000;

impl Core {
    pub(super) fn status(&self, peer: &Peer) -> Result<StatusView, Refusal> {
        self.access.check(peer, Right::Look)?;
        let mut status = self.whole();
        status.warnings = (self.warnings)(&self.config);
        let left_out = status.uncovered.iter().filter(|uncovered| !uncovered.is_chosen).map(|uncovered| {
            let addresses: Vec<String> = uncovered.addresses.iter().map(ToString::to_string).collect();
            let UncoveredView { name, reason, .. } = uncovered;
            format!("packets to {} come in over interface {name} unseen: {reason}", addresses.join(", "))
        });
        status.warnings.extend(left_out.collect::<Vec<_>>());
        Ok(status)
    }

    /// The agent as a whole.
    pub(super) fn whole(&self) -> StatusView {
        let mut faults = self.own_faults();
        let mut unreadable = |error: DatapathError| faults.push(error.to_string());
        let entries: Option<HashMap<_, _>> =
            self.datapath.entries().map_err(&mut unreadable).ok().map(|entries| entries.into_iter().collect());
        let counters = self.datapath.counters().map_err(&mut unreadable).unwrap_or_default();
        let enforced_grants = match &entries {
            Some(entries) => self.compare(entries, &mut faults),
            None => 0,
        };
        let interfaces = self.datapath.interfaces();
        faults.extend(interfaces.iter().filter_map(|interface| {
            interface.fault.as_ref().map(|fault| format!("interface {}: {fault}", interface.name))
        }));
        StatusView {
            mode: self.config.mode.name(),
            version: env!("CARGO_PKG_VERSION"),
            interfaces,
            uncovered: self.datapath.uncovered(),
            intended_grants: self.book.len(),
            enforced_grants,
            counters: counters.into_iter().map(|(mode, reason, packets)| (mode.name(), reason, packets)).collect(),
            faults,
            warnings: Vec::new(),
            trial: self.trial_view(),
        }
    }

    /// What the core knows to be broken.
    fn own_faults(&self) -> Vec<String> {
        let mut faults = self.faults.clone();
        faults.extend(self.origin.faults().cloned());
        faults.extend(self.enforcement.faults());
        faults.extend(self.store.as_ref().err().cloned());
        faults.extend(self.checkpoint_fault.clone());
        faults.extend(self.tending_fault.clone());
        faults.extend(self.events.fault());
        if let Some(problem) = &self.backlog_problem {
            faults.push(format!(
                "{} closings are in force but not written: {problem}; tried again every few seconds, and not sure to \
                 outlast a reboot until then",
                self.backlog.len()
            ));
        }
        if let Some((entry, error)) = self.refused.first_key_value() {
            faults.push(format!(
                "{} entries of the kernel's tables are shut, since they could not be changed as they should, the first \
                 one {entry}: {error}; tried again every few seconds",
                self.refused.len()
            ));
        }
        if self.lost_events > 0 {
            faults.push(format!(
                "{} events since the agent's start are missing in the audit log, as they could not be written; the \
                 agent's own log has them",
                self.lost_events
            ));
        }
        faults
    }

    /// Compares the kernel's entries with the book. Returns how many grants are wholly in force.
    fn compare(&self, entries: &HashMap<EntryKey, BootTime>, faults: &mut Vec<String>) -> usize {
        let in_force = |grant: &&LiveGrant| {
            grant.entries().all(|entry| entries.get(&entry).is_some_and(|deadline| *deadline >= grant.end))
        };
        let enforced = self.book.iter().filter(in_force).count();
        let lacking = self.book.len() - enforced;
        if lacking > 0 && self.refused.is_empty() {
            faults.push(format!(
                "{lacking} grants are not in force, since someone else changed the kernel's tables; revoke them, and \
                 request them again"
            ));
        }
        let now = self.clock.boot();
        let unknown =
            entries.iter().filter(|(entry, deadline)| **deadline > now && self.book.effective(entry).is_none()).count();
        if unknown > 0 {
            faults.push(format!(
                "{unknown} open entries of the kernel's tables belong to no grant that the agent knows; they end on \
                 time, and `jitctl revoke --all` closes them now"
            ));
        }
        enforced
    }

    /// The user whose own affairs are all that this peer may see; `None`: the peer may see everything.
    fn only_own(&self, peer: &Peer) -> Result<Option<u32>, Refusal> {
        self.access.check(peer, Right::Look)?;
        Ok((!self.access.has(peer, Right::ReadAll)).then_some(peer.uid))
    }

    pub(super) fn ports(&self, peer: &Peer) -> Result<Vec<PortView>, Refusal> {
        let of = self.only_own(peer)?;
        let counts = self.datapath.port_counts().unwrap_or_else(|error| {
            tracing::error!(%error, "the counters can't be read");
            Vec::new()
        });
        Ok(self.config.ports.iter().map(|policy| self.port_view(policy, &counts, of)).collect())
    }

    pub(super) fn requests(
        &mut self,
        peer: &Peer,
        filter: RequestFilter,
    ) -> Result<Page<RequestView, RequestId>, Refusal> {
        let of = self.only_own(peer)?;
        let RequestFilter { pending, before, limit } = filter;
        // One more than is shown tells whether there are more.
        let page = RequestPage { of, pending, before, limit: limit + 1, grants: LISTED_GRANTS };
        let mut rows = self.store()?.requests(&page).map_err(|error| unavailable(&error))?;
        let grants: usize = rows.iter().map(|row| row.grants.len()).sum();
        let more = rows.len() > limit || grants >= LISTED_GRANTS;
        rows.truncate(limit);
        let next = if more { rows.last().map(|row| row.id) } else { None };
        Ok(Page { value: rows.into_iter().map(|row| self.request_view(row)).collect(), next })
    }

    pub(super) fn request(&mut self, peer: &Peer, id: RequestId) -> Result<RequestView, Refusal> {
        let of = self.only_own(peer)?;
        let row = self.stored_request(id)?;
        if of.is_some_and(|uid| row.requestor.sender.uid != uid) {
            return Err(Refusal::NotFound { what: "request", id: id.0 });
        }
        Ok(self.request_view(row))
    }

    pub(super) fn audit(&mut self, peer: &Peer) -> Result<AuditReader, Refusal> {
        self.access.check(peer, Right::ReadAll)?;
        Ok(self.store()?.audit_reader())
    }

    pub(super) fn grants(
        &self,
        peer: &Peer,
        filter: GrantFilter,
    ) -> Result<Page<GrantView, (BootTime, GrantId)>, Refusal> {
        let of = self.only_own(peer)?;
        let GrantFilter { after, limit } = filter;
        let from = after.unwrap_or_default().max((self.clock.boot(), GrantId(i64::MAX)));
        let mut live = self.book.after(from).filter_map(|grant| {
            let particulars = self.particulars.get(&grant.id).filter(|one| of.is_none_or(|uid| one.uid == uid))?;
            Some((grant, particulars))
        });
        let listed: Vec<_> = live.by_ref().take(limit).collect();
        let next = live.next().and(listed.last()).map(|(grant, _)| (grant.end, grant.id));
        Ok(Page { value: listed.into_iter().map(|(grant, one)| self.live_view(grant, one)).collect(), next })
    }

    pub(super) fn live_view(&self, grant: &LiveGrant, particulars: &Particulars) -> GrantView {
        let Particulars { request, requestor, start, end, opened, .. } = particulars.clone();
        let used = self.used(grant, opened);
        let remaining = grant.end.since(self.clock.boot());
        // People read the wall clock, but only BOOTTIME counts: if the wall clock was set, show when it really ends.
        let end = self.clock.wall().saturating_add(remaining).unwrap_or(end);
        GrantView {
            id: grant.id,
            request,
            port: grant.port,
            source: grant.source,
            requestor,
            start,
            end,
            remaining,
            status: GrantStatus::Live,
            status_reason: None,
            last_packet: used.last_packet,
            last_connection: used.last_connection,
        }
    }

    pub(super) fn request_view(&self, row: RequestRow) -> RequestView {
        let RequestRow {
            id,
            requestor,
            identity,
            justification,
            start,
            mut status,
            status_reason,
            decided_by,
            pending,
            grants,
        } = row;
        let grants = grants.into_iter().map(|grant| self.stored_view(grant, &identity)).collect();
        if status == RequestState::Pending && self.waiting.is_over(id, self.clock.boot()) {
            // Not written yet.
            status = RequestState::TimedOut;
        }
        let pending = pending.filter(|_| status == RequestState::Pending);
        RequestView {
            id,
            requestor: identity,
            uid: requestor.sender.uid,
            justification,
            start,
            status,
            status_reason,
            decided_by: decided_by.map(|(_, name)| name),
            pending: pending.map(|PendingRow { ports, extends, until, boot_id: _ }| PendingView {
                ports,
                extends,
                until: until.wall,
            }),
            grants,
        }
    }

    fn stored_view(&self, row: GrantRow, requestor: &str) -> GrantView {
        if let (Some(grant), Some(particulars)) = (self.book.get(row.id), self.particulars.get(&row.id))
            && grant.end > self.clock.boot()
        {
            return self.live_view(grant, particulars);
        }
        let status = match row.state {
            GrantState::Opening | GrantState::Live | GrantState::Expired => GrantStatus::Expired,
            GrantState::Revoked => GrantStatus::Revoked,
            GrantState::Ended => GrantStatus::Ended,
        };
        GrantView {
            id: row.id,
            request: row.request,
            port: row.port,
            source: row.source,
            requestor: requestor.to_owned(),
            start: row.start,
            end: row.ended.unwrap_or(row.end_wall),
            remaining: std::time::Duration::ZERO,
            status,
            status_reason: row.ended_reason,
            last_packet: None,
            last_connection: None,
        }
    }
}

fn unavailable(error: &StoreError) -> Refusal {
    Refusal::Unavailable(error.to_string())
}
