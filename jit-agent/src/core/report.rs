//! Views of the core's state for people.

use std::collections::HashMap;

use jit_api::wire::{
    self, Counter, Grant, GrantCounts, GrantState, Interface, Pending, PendingPort, Request, Status, Uncovered,
    whole_seconds,
};
use jit_policy::{BootTime, EntryKey, GrantFilter, GrantId, LiveGrant, Page, RequestFilter, RequestId, Right};

use super::{
    Core, Particulars,
    answer::{PortView, Whole},
    peer::Peer,
    refusal::Refusal,
};
use crate::{
    datapath::{self, DatapathError, InterfaceView, UncoveredView},
    store::{self, AuditReader, GrantRow, PendingRow, RequestPage, RequestRow, RequestState, StoreError},
};

/// The number of grants after which a page of requests ends.
const LISTED_GRANTS: usize = 5000;

impl Core {
    pub(super) fn status(&self, peer: &Peer) -> Result<Status, Refusal> {
        self.access.check(peer, Right::Look)?;
        let Whole { mode, interfaces, uncovered, intended_grants, enforced_grants, counters, faults, .. } =
            self.whole();
        let mut warnings = (self.warnings)(&self.config);
        let left_out = uncovered.iter().filter(|uncovered| !uncovered.is_chosen).map(|uncovered| {
            let addresses: Vec<String> = uncovered.addresses.iter().map(ToString::to_string).collect();
            let UncoveredView { name, reason, .. } = uncovered;
            format!("packets to {} come in over interface {name} unseen: {reason}", addresses.join(", "))
        });
        warnings.extend(left_out);
        Ok(Status {
            mode: mode.name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            interfaces: interfaces.into_iter().map(interface).collect(),
            uncovered: uncovered.into_iter().map(unseen).collect(),
            grants: GrantCounts { intended: intended_grants as u64, enforced: enforced_grants as u64 },
            counters: counters.into_iter().map(counter).collect(),
            faults,
            warnings,
            trial: self.trial_view(),
        })
    }

    /// Returns the state of the whole agent.
    pub(super) fn whole(&self) -> Whole {
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
        Whole {
            mode: self.config.mode,
            interfaces,
            uncovered: self.datapath.uncovered(),
            intended_grants: self.book.len(),
            enforced_grants,
            counters,
            faults,
            trial_remaining: self.trial_remaining(),
        }
    }

    /// The faults that the core knows of.
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

    /// Compares the kernel's entries with the book. Returns how many grants are completely in force.
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

    /// The user to whose own requests and grants this peer's view is restricted. `None`: the peer may see everything.
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

    pub(super) fn requests(&mut self, peer: &Peer, filter: RequestFilter) -> Result<Page<Request, RequestId>, Refusal> {
        let of = self.only_own(peer)?;
        let RequestFilter { pending, before, limit } = filter;
        // The query asks for one more row than is shown, to learn whether more rows exist.
        let page = RequestPage { of, pending, before, limit: limit + 1, grants: LISTED_GRANTS };
        let mut rows = self.store()?.requests(&page).map_err(|error| unavailable(&error))?;
        let grants: usize = rows.iter().map(|row| row.grants.len()).sum();
        let more = rows.len() > limit || grants >= LISTED_GRANTS;
        rows.truncate(limit);
        let next = if more { rows.last().map(|row| row.id) } else { None };
        Ok(Page { value: rows.into_iter().map(|row| self.request_view(row)).collect(), next })
    }

    pub(super) fn request(&mut self, peer: &Peer, id: RequestId) -> Result<Request, Refusal> {
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

    pub(super) fn grants(&self, peer: &Peer, filter: GrantFilter) -> Result<Page<Grant, (BootTime, GrantId)>, Refusal> {
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

    pub(super) fn live_view(&self, grant: &LiveGrant, particulars: &Particulars) -> Grant {
        let Particulars { request, requestor, start, end, opened, .. } = particulars.clone();
        let used = self.used(grant, opened);
        let remaining = grant.end.since(self.clock.boot());
        // People read the wall clock, but only BOOTTIME counts. If the wall clock was set, this shows when the grant
        // really ends.
        let end = self.clock.wall().saturating_add(remaining).unwrap_or(end);
        Grant {
            id: grant.id,
            request_id: request,
            number: grant.port.number,
            protocol: grant.port.protocol.wire_name().to_owned(),
            source: grant.source,
            requestor,
            start_time_utc: start,
            end_time_utc: end,
            remaining_seconds: whole_seconds(remaining),
            status: GrantState::Live,
            status_reason: None,
            last_packet_time_utc: used.last_packet,
            last_connection_time_utc: used.last_connection,
        }
    }

    pub(super) fn request_view(&self, row: RequestRow) -> Request {
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
            // The time-out is not written yet.
            status = RequestState::TimedOut;
        }
        let pending = pending.filter(|_| status == RequestState::Pending);
        Request {
            id,
            requestor: identity,
            requestor_uid: requestor.sender.uid,
            justification,
            start_time_utc: start,
            status: status.into(),
            status_reason,
            decided_by: decided_by.map(|(_, name)| name),
            pending: pending.map(|PendingRow { ports, extends, until, boot_id: _ }| Pending {
                ports: ports.into_iter().map(PendingPort::from).collect(),
                extends,
                until_utc: until.wall,
            }),
            grants,
        }
    }

    fn stored_view(&self, row: GrantRow, requestor: &str) -> Grant {
        if let (Some(grant), Some(particulars)) = (self.book.get(row.id), self.particulars.get(&row.id))
            && grant.end > self.clock.boot()
        {
            return self.live_view(grant, particulars);
        }
        Grant {
            id: row.id,
            request_id: row.request,
            number: row.port.number,
            protocol: row.port.protocol.wire_name().to_owned(),
            source: row.source,
            requestor: requestor.to_owned(),
            start_time_utc: row.start,
            end_time_utc: row.ended.unwrap_or(row.end_wall),
            remaining_seconds: 0,
            status: match row.state {
                store::GrantState::Opening | store::GrantState::Live | store::GrantState::Expired => {
                    GrantState::Expired
                }
                store::GrantState::Revoked => GrantState::Revoked,
                store::GrantState::Ended => GrantState::Ended,
            },
            status_reason: row.ended_reason,
            last_packet_time_utc: None,
            last_connection_time_utc: None,
        }
    }
}

fn interface(interface: InterfaceView) -> Interface {
    let InterfaceView { name, index, attached, layer, note, covered_after, fault } = interface;
    Interface {
        name,
        index,
        attached: attached.map(|way| way.to_string()),
        layer: layer.map(|layer| layer.to_string()),
        note,
        covered_after_ms: covered_after.map(|after| after.as_micros().div_ceil(1000) as u64),
        fault,
    }
}

fn unseen(interface: UncoveredView) -> Uncovered {
    let UncoveredView { name, index, addresses, reason, is_chosen: _ } = interface;
    Uncovered { name, index, addresses: addresses.iter().map(ToString::to_string).collect(), reason }
}

fn counter((mode, reason, packets): datapath::Counter) -> Counter {
    let verdict = reason.verdict().name().to_owned();
    Counter { mode: mode.name().to_owned(), reason: reason.name().to_owned(), verdict, packets }
}

impl From<RequestState> for wire::RequestState {
    fn from(state: RequestState) -> Self {
        match state {
            RequestState::Pending => Self::Pending,
            RequestState::Approved => Self::Approved,
            RequestState::Denied => Self::Denied,
            RequestState::Cancelled => Self::Cancelled,
            RequestState::TimedOut => Self::TimedOut,
            RequestState::Failed => Self::Failed,
        }
    }
}

fn unavailable(error: &StoreError) -> Refusal {
    Refusal::Unavailable(error.to_string())
}
