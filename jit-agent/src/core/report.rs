//! What people read: the core's state as views.

use std::collections::HashMap;

use super::{
    Core, LISTED_REQUESTS, Particulars,
    view::{GrantStatus, GrantView, Peer, PortView, Refusal, RequestStatus, RequestView, StatusView},
};
use crate::{
    clock::BootTime,
    datapath::DatapathError,
    policy::{EntryKey, LiveGrant, RequestId, Right},
    store::{GrantRow, GrantState, RequestRow, StoreError},
};

impl Core {
    pub(super) fn status(&self, peer: &Peer) -> Result<StatusView, Refusal> {
        self.access.check(peer, Right::ReadAll)?;
        Ok(self.whole())
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
            intended_grants: self.book.len(),
            enforced_grants,
            counters: counters.into_iter().map(|(mode, reason, packets)| (mode.name(), reason, packets)).collect(),
            faults,
        }
    }

    /// What the core knows to be broken.
    fn own_faults(&self) -> Vec<String> {
        let mut faults = self.faults.clone();
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

    pub(super) fn ports(&self, peer: &Peer) -> Result<Vec<PortView>, Refusal> {
        self.access.check(peer, Right::ReadAll)?;
        let counts = self.datapath.port_counts().unwrap_or_else(|error| {
            tracing::error!(%error, "the counters can't be read");
            Vec::new()
        });
        Ok(self.config.ports.iter().map(|policy| self.port_view(policy, &counts)).collect())
    }

    pub(super) fn requests(&mut self, peer: &Peer) -> Result<Vec<RequestView>, Refusal> {
        self.access.check(peer, Right::ReadAll)?;
        let rows = self.store()?.requests(LISTED_REQUESTS).map_err(|error| unavailable(&error))?;
        Ok(rows.into_iter().map(|row| self.request_view(row)).collect())
    }

    pub(super) fn request(&mut self, peer: &Peer, id: RequestId) -> Result<RequestView, Refusal> {
        self.access.check(peer, Right::ReadAll)?;
        let row = self.store()?.request(id).map_err(|error| unavailable(&error))?;
        let row = row.ok_or(Refusal::NotFound { what: "request", id: id.0 })?;
        Ok(self.request_view(row))
    }

    pub(super) fn grants(&self, peer: &Peer) -> Result<Vec<GrantView>, Refusal> {
        self.access.check(peer, Right::ReadAll)?;
        let now = self.clock.boot();
        let live = self.book.iter().filter(|grant| grant.end > now);
        Ok(live.filter_map(|grant| Some(self.live_view(grant, self.particulars.get(&grant.id)?))).collect())
    }

    pub(super) fn live_view(&self, grant: &LiveGrant, particulars: &Particulars) -> GrantView {
        let Particulars { request, requestor, start, end, opened } = particulars.clone();
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

    fn request_view(&self, row: RequestRow) -> RequestView {
        let RequestRow { id, uid, requestor, justification, start, status, status_reason, grants } = row;
        let grants = grants.into_iter().map(|grant| self.stored_view(grant, &requestor)).collect();
        let status = if status.is_approved() { RequestStatus::Approved } else { RequestStatus::Failed };
        RequestView { id, requestor, uid, justification, start, status, status_reason, grants }
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
