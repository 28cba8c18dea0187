//! Views of the core's state for people.

use jit_api::wire::{Counter, Grant, GrantCounts, Interface, Pending, PendingPort, Request, Status, Uncovered};
use jit_policy::{BootTime, GrantFilter, GrantId, Page, RequestFilter, RequestId, Right};

use tokio::task::spawn_blocking;

use super::{
    Core,
    answer::Whole,
    handle::CoreHandle,
    live::LiveGrants,
    names::Permit,
    peer::Peer,
    refusal::{Refusal, Unavailable},
    waiting::WaitingRequests,
};
use crate::{
    datapath::{self, InterfaceView, UncoveredView},
    store::{AuditReader, PendingRow, RequestPage, RequestReader, RequestRow, RequestState},
};

/// The number of bytes after which a page of requests ends.
const LISTED_BYTES: usize = 1 << 20;

impl CoreHandle {
    /// Returns the state of the whole agent.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn status(&self, peer: Peer) -> Result<Status, Refusal> {
        let ask = move |core: &mut Core| Ok((core.status(&peer)?, core.settings.warnings()));
        let (mut status, warnings) = self.ask(ask).await?;
        let mut warnings = spawn_blocking(warnings).await.map_err(|_| Unavailable::NotAnswered)?;
        warnings.append(&mut status.warnings);
        Ok(Status { warnings, ..status })
    }

    /// Returns requests, newest first: all requests, or the peer's own.
    ///
    /// # Errors
    /// The peer is not permitted, or the store is broken.
    pub async fn requests(&self, peer: Peer, filter: RequestFilter) -> Result<Page<Request, RequestId>, Refusal> {
        let (reader, of) = self.ask(move |core| core.request_reader(&peer)).await?;
        let RequestFilter { pending, before, limit } = filter;
        let page = RequestPage { of, pending, before, limit, bytes: LISTED_BYTES };
        let read = spawn_blocking(move || reader.page(&page)).await.map_err(|_| Unavailable::NotAnswered)?;
        let (rows, more) = read.map_err(|error| Unavailable::StoreFailed(error.into()))?;
        let next = rows.last().filter(|_| more).map(|row| row.id);
        let value = self.ask(move |core| request_views(rows, core)).await?;
        Ok(Page { value, next })
    }

    /// Returns one request.
    ///
    /// # Errors
    /// The peer is not permitted, the request does not exist, or the store is broken.
    pub async fn request(&self, peer: Peer, id: RequestId) -> Result<Request, Refusal> {
        self.ask(move |core| core.request(&peer, id)).await
    }

    /// Returns the live grants, ordered by their end.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn grants(&self, peer: Peer, filter: GrantFilter) -> Result<Page<Grant, (BootTime, GrantId)>, Refusal> {
        self.ask(move |core| core.grants(&peer, filter)).await
    }

    /// Returns a reader of the audit log, which works without the core, and the right to read it.
    ///
    /// # Errors
    /// The peer is not permitted, or the store is broken.
    pub async fn audit(&self, peer: Peer) -> Result<(AuditReader, Permit), Refusal> {
        self.ask(move |core| core.audit(&peer)).await
    }
}

impl Core {
    /// Returns the state of the whole agent, with the warnings about interfaces alone.
    pub(super) fn status(&self, peer: &Peer) -> Result<Status, Refusal> {
        self.settings.check(peer, Right::Look)?;
        let Whole { mode, interfaces, uncovered, intended_grants, enforced_grants, counters, faults, .. } =
            self.whole();
        let left_out = uncovered.iter().filter(|uncovered| !uncovered.is_chosen).map(|uncovered| {
            let addresses: Vec<String> = uncovered.addresses.iter().map(ToString::to_string).collect();
            let UncoveredView { name, reason, .. } = uncovered;
            format!("packets to {} come in over interface {name} unseen: {reason}", addresses.join(", "))
        });
        let warnings = left_out.collect();
        Ok(Status {
            mode: mode.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            interfaces: interfaces.into_iter().map(interface).collect(),
            uncovered: uncovered.into_iter().map(unseen).collect(),
            grants: GrantCounts { intended: intended_grants as u64, enforced: enforced_grants as u64 },
            counters: counters.into_iter().map(counter).collect(),
            faults,
            warnings,
            trial: self.enforcement.view(),
        })
    }

    /// Returns the state of the whole agent.
    pub(super) fn whole(&self) -> Whole {
        let datapath = self.live.datapath();
        let mut faults: Vec<String> = self.settings.faults().chain(self.enforcement.faults()).collect();
        faults.extend(self.records.faults().chain(self.upkeep.faults()).chain(self.events.fault()));
        let shut = self.enforcement.trial().map_or(&[][..], |trial| &trial.record.shut);
        let (intended_grants, enforced_grants) = self.live.compare(shut, &mut faults);
        let counters = datapath.counters().unwrap_or_else(|error| {
            faults.push(error.to_string());
            Vec::new()
        });
        let interfaces = datapath.interfaces();
        faults.extend(interfaces.iter().filter_map(|interface| {
            interface.fault.as_ref().map(|fault| format!("interface {}: {fault}", interface.name))
        }));
        Whole {
            mode: self.settings.config().mode,
            interfaces,
            uncovered: datapath.uncovered(),
            intended_grants,
            enforced_grants,
            counters,
            faults,
            trial_remaining: self.enforcement.remaining(),
        }
    }

    /// Returns a reader of requests, and the user to whose own requests the peer's view is restricted.
    pub(super) fn request_reader(&self, peer: &Peer) -> Result<(RequestReader, Option<u32>), Refusal> {
        let of = self.settings.only_own(peer)?;
        Ok((self.records.store()?.request_reader(), of))
    }

    pub(super) fn request(&self, peer: &Peer, id: RequestId) -> Result<Request, Refusal> {
        let of = self.settings.only_own(peer)?;
        let row = self.records.request(id)?;
        if of.is_some_and(|uid| row.requestor.sender.uid != uid) {
            return Err(Refusal::NotFound { what: "request", id: id.0 });
        }
        Ok(request_view(row, &self.live, &self.waiting))
    }

    pub(super) fn grants(&self, peer: &Peer, filter: GrantFilter) -> Result<Page<Grant, (BootTime, GrantId)>, Refusal> {
        Ok(self.live.page(filter, self.settings.only_own(peer)?))
    }

    pub(super) fn audit(&self, peer: &Peer) -> Result<(AuditReader, Permit), Refusal> {
        let permit = self.settings.permit(peer, Right::ReadAll)?;
        Ok((self.records.store()?.audit_reader(), permit))
    }
}

/// Returns requests that were read beside the core as people see them now.
pub(super) fn request_views(rows: Vec<RequestRow>, core: &Core) -> Result<Vec<Request>, Refusal> {
    let Core { live, waiting, records, .. } = core;
    let view = |row: RequestRow| {
        // A request that waited when it was read may have been decided since.
        let decided = row.pending.is_some() && !waiting.has(row.id);
        let row = if decided { records.request(row.id)? } else { row };
        Ok(request_view(row, live, waiting))
    };
    rows.into_iter().map(view).collect()
}

/// Returns a stored request as people see it.
pub(super) fn request_view(row: RequestRow, live: &LiveGrants, waiting: &WaitingRequests) -> Request {
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
    let grants = grants.into_iter().map(|grant| live.stored_view(grant, &identity)).collect();
    if status == RequestState::Pending && waiting.is_timed_out(id) {
        // The time-out is not written yet.
        status = RequestState::TimedOut;
    }
    let pending = pending.filter(|_| status == RequestState::Pending);
    Request {
        id,
        requestor: identity,
        requestor_login: requestor.login().map(str::to_owned),
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

fn interface(interface: InterfaceView) -> Interface {
    let InterfaceView { name, index, attached, layer, note, covered_after, fault } = interface;
    Interface {
        name,
        index,
        attached: attached.map(Into::into),
        layer: layer.map(Into::into),
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
    Counter { mode: mode.into(), reason: reason.into(), verdict: reason.verdict().into(), packets }
}
