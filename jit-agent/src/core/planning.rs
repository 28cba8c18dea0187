//! The checks and the record of openings. The result is a plan, which is then carried out in the kernel.

use std::time::Duration;

use jit_api::wire::{self, Pending, PendingPort, Request};
use jit_policy::{
    Approval, ApprovedPort, GrantId, NewRequest, PortId, RequestId, RequestedPort, Requestor, Right, Submission, Until,
};

use super::{
    Core, Particulars,
    held::{Waiting, count},
    opening::{Opening, Planned, not_recorded},
    peer::Peer,
    refusal::Refusal,
};
use crate::store::{
    Batch, Checkpoint, Deadline, Extension, NewGrantRow, NewOutcome, NewRequestRow, PendingRow, RequestRow,
    RequestState,
};

/// The work that remains for a command that was allowed and recorded.
#[derive(Debug)]
pub(super) enum Plan {
    /// Nothing remains, because this request was made before under the same key.
    Replay(RequestId),
    /// Nothing remains, because the grant lasts longer anyway.
    Unchanged(GrantId),
    /// Nothing remains yet, because the request waits for approval.
    Wait(Request, Waiting),
    /// These grants are to be opened.
    Open { request: Request, particulars: Particulars, ids: Vec<GrantId>, rows: Vec<NewGrantRow> },
    /// This grant is to end later, either directly or because `request` is approved.
    Extend { request: Option<Request>, grant: GrantId, end: Deadline, before: Deadline },
}

impl Core {
    /// Checks an opening and records it.
    pub(super) fn plan(
        &self,
        batch: &mut Batch<'_>,
        opening: &Opening,
        planned: &mut Planned,
    ) -> Result<Plan, Refusal> {
        match opening {
            Opening::Submit(peer, submission, _) => self.plan_submission(batch, peer, submission, planned),
            Opening::Approve(peer, id, _) => self.plan_approval(batch, peer, *id, planned),
            Opening::Extend(peer, id, duration, _) => self.plan_extension(batch, peer, *id, *duration, planned),
        }
    }

    fn plan_submission(
        &self,
        batch: &mut Batch<'_>,
        peer: &Peer,
        submission: &Submission,
        planned: &mut Planned,
    ) -> Result<Plan, Refusal> {
        self.access.check(peer, Right::Request)?;
        let Submission { request, named, key } = submission;
        if named.is_some() {
            self.access.check(peer, Right::Delegate)?;
        }
        if let Some(key) = key
            && let Some((id, body)) = batch.made_by_key(peer.uid, &key.key).map_err(|error| not_recorded(&error))?
        {
            return if body == key.body { Ok(Plan::Replay(id)) } else { Err(Refusal::KeyReused(key.key.clone())) };
        }
        let clocks = self.clocks();
        let approved = self.check_ports(request, peer.uid, None, &clocks, planned)?;
        planned.reserve.clone()?;
        let requestor = Requestor { sender: peer.person(), named: named.clone() };
        let new = |outcome| NewRequestRow {
            requestor: requestor.clone(),
            asked: request.clone(),
            start: clocks.wall,
            clocks: clocks.clone(),
            key: key.clone(),
            outcome,
        };
        if let Some(timeout) = self.approval_timeout(&approved) {
            let waiting =
                Waiting { uid: peer.uid, until: clocks.boot.after(timeout), extends: None, ports: count(&approved) };
            return wait(batch, new, waiting, timeout, &clocks, planned);
        }
        let rows = rows(&approved, &clocks);
        let new = new(NewOutcome::Grants(rows.clone()));
        let (id, ids) = batch.begin_request(&new).map_err(|error| not_recorded(&error))?;
        planned.add(peer.uid, &count(&approved));
        let particulars = self.new_particulars(id, &requestor, &clocks);
        Ok(Plan::Open { request: view(id, &new), particulars, ids, rows })
    }

    fn plan_approval(
        &self,
        batch: &mut Batch<'_>,
        peer: &Peer,
        id: RequestId,
        planned: &mut Planned,
    ) -> Result<Plan, Refusal> {
        self.access.check(peer, Right::Decide)?;
        let found = batch.request(id).map_err(|error| not_recorded(&error))?;
        let row = found.ok_or(Refusal::NotFound { what: "request", id: id.0 })?;
        let pending = self.still_waits(&row)?;
        // The two-person rule does not apply to root and admins. The audit log shows who they are.
        if !self.access.has(peer, Right::Administer) && row.requestor.is(&peer.person()) {
            return Err(Refusal::OwnRequest { id: id.0 });
        }
        self.requestor_may_still(&row)?;
        let request = NewRequest { ports: pending.ports.clone(), justification: row.justification.clone() };
        let clocks = self.clocks();
        let uid = row.requestor.sender.uid;
        let approved = match pending.extends {
            Some(_) => self.check_extension(&request, &clocks)?,
            None => self.check_ports(&request, uid, Some(id), &clocks, planned)?,
        };
        planned.reserve.clone()?;
        let by = peer.person();
        let plan = if let Some(grant) = pending.extends {
            let (before, row_now) = self.extension(grant, &approved, &clocks, planned)?;
            let extension = Extension { grant, requestor: &row.identity, row: &row_now, before };
            batch.approve_extension(&row, &by, &clocks, &extension).map_err(|error| not_recorded(&error))?;
            planned.extended.insert(grant);
            Plan::Extend { request: Some(approved_view(row, peer)), grant, end: deadline(&row_now), before }
        } else {
            let rows = rows(&approved, &clocks);
            let ids = batch.approve(&row, &by, &clocks, &rows).map_err(|error| not_recorded(&error))?;
            planned.add(uid, &count(&approved));
            let particulars = self.new_particulars(id, &row.requestor, &clocks);
            Plan::Open { request: approved_view(row, peer), particulars, ids, rows }
        };
        Ok(plan)
    }

    fn plan_extension(
        &self,
        batch: &mut Batch<'_>,
        peer: &Peer,
        id: GrantId,
        duration: Duration,
        planned: &mut Planned,
    ) -> Result<Plan, Refusal> {
        self.access.check(peer, Right::Request)?;
        let not_found = Refusal::NotFound { what: "live grant", id: id.0 };
        let (Some(grant), Some(particulars)) = (self.book.get(id), self.particulars.get(&id)) else {
            return Err(not_found);
        };
        let is_theirs = particulars.uid == peer.uid || self.access.has(peer, Right::Administer);
        if !is_theirs || grant.end <= self.clock.boot() {
            return Err(not_found);
        }
        let origin = batch.request(particulars.request).map_err(|error| not_recorded(&error))?;
        let port = RequestedPort {
            number: grant.port.number.into(),
            protocol: Some(grant.port.protocol),
            sources: vec![grant.source],
            until: Until::For(duration),
        };
        let justification = origin.map(|request| request.justification).unwrap_or_default();
        let request = NewRequest { ports: vec![port], justification };
        let clocks = self.clocks();
        let approved = self.check_extension(&request, &clocks)?;
        if clocks.boot.after(duration) <= grant.end {
            return Ok(Plan::Unchanged(id));
        }
        planned.reserve.clone()?;
        let (before, row) = self.extension(id, &approved, &clocks, planned)?;
        let by = peer.person();
        if let Some(timeout) = self.approval_timeout(&approved) {
            if self.waiting.extends(id) {
                return Err(Refusal::Conflict(format!("an extension of grant {id} waits for approval already")));
            }
            let requestor = Requestor { sender: by, named: None };
            let new = |outcome| NewRequestRow {
                requestor: requestor.clone(),
                asked: request.clone(),
                start: clocks.wall,
                clocks: clocks.clone(),
                key: None,
                outcome,
            };
            let until = clocks.boot.after(timeout);
            let waiting = Waiting { uid: peer.uid, until, extends: Some(id), ports: Vec::new() };
            planned.extended.insert(id);
            return wait(batch, new, waiting, timeout, &clocks, planned);
        }
        let extension = Extension { grant: id, requestor: &particulars.requestor, row: &row, before };
        batch.extend(&by, &clocks, &extension).map_err(|error| not_recorded(&error))?;
        planned.extended.insert(id);
        Ok(Plan::Extend { request: None, grant: id, end: deadline(&row), before })
    }

    /// Makes the subset check, with quotas. `but` is the request that is being approved.
    fn check_ports(
        &self,
        request: &NewRequest,
        uid: u32,
        but: Option<RequestId>,
        clocks: &Checkpoint,
        planned: &Planned,
    ) -> Result<Vec<ApprovedPort>, Refusal> {
        let held = |port: PortId| {
            self.config.ports.for_port(port).map_or(0, |policy| {
                self.held.under(uid, policy) + self.waiting.under(uid, policy, but) + planned.held.under(uid, policy)
            })
        };
        self.config.ports.check(request, clocks.wall, held).map_err(Refusal::Violations)
    }

    /// Makes the subset check for a grant that exists and is already counted.
    fn check_extension(&self, request: &NewRequest, clocks: &Checkpoint) -> Result<Vec<ApprovedPort>, Refusal> {
        self.config.ports.check(request, clocks.wall, |_| 0).map_err(Refusal::Violations)
    }

    /// Returns the present end of a grant, and the row with the new end.
    fn extension(
        &self,
        id: GrantId,
        approved: &[ApprovedPort],
        clocks: &Checkpoint,
        planned: &Planned,
    ) -> Result<(Deadline, NewGrantRow), Refusal> {
        let ended = || Refusal::Conflict(format!("grant {id} has ended; make a new request"));
        let grant = self.book.get(id).filter(|grant| grant.end > clocks.boot).ok_or_else(ended)?;
        let particulars = self.particulars.get(&id).ok_or_else(ended)?;
        if planned.extended.contains(&id) {
            return Err(Refusal::Conflict(format!("grant {id} is being extended by another command; see what it has")));
        }
        let before = Deadline { boot: grant.end, wall: particulars.end };
        let mut row = rows(approved, clocks).into_iter().next().ok_or_else(ended)?;
        // The grant may have been extended beyond the new end since the request was made.
        row.end_boot = row.end_boot.max(grant.end);
        row.end_wall = row.end_wall.max(particulars.end);
        Ok((before, row))
    }

    /// Returns how long a request waits, if a port requires approval: the shortest time of the ports that do.
    fn approval_timeout(&self, approved: &[ApprovedPort]) -> Option<Duration> {
        let policies = approved.iter().filter_map(|port| self.config.ports.for_port(port.port));
        policies.filter(|policy| policy.approval == Approval::Required).map(|policy| policy.approval_timeout).min()
    }

    /// Returns what a request waits for. An error says that the request no longer waits.
    pub(super) fn still_waits<'row>(&self, row: &'row RequestRow) -> Result<&'row PendingRow, Refusal> {
        let over = || {
            let by = row.decided_by.as_ref().map(|(_, name)| format!(" by {name}")).unwrap_or_default();
            let status = match row.status {
                RequestState::Pending | RequestState::TimedOut => "was not decided in time",
                RequestState::Approved => "is approved",
                RequestState::Denied => "was denied",
                RequestState::Cancelled => "was cancelled",
                RequestState::Failed => "failed",
            };
            Refusal::Conflict(format!("request {} {status}{by}; see `jitctl requests`", row.id))
        };
        let pending = row.pending.as_ref().ok_or_else(over)?;
        if self.waiting.is_over(row.id, self.clock.boot()) { Err(over()) } else { Ok(pending) }
    }

    fn requestor_may_still(&self, row: &RequestRow) -> Result<(), Refusal> {
        let Requestor { sender, named } = &row.requestor;
        let rights = [Some(Right::Request), named.is_some().then_some(Right::Delegate)];
        match rights.into_iter().flatten().find(|right| !self.access.user_has(sender.uid, *right)) {
            None => Ok(()),
            Some(right) => Err(Refusal::Conflict(format!(
                "{} (uid {}) is no longer a {}, so request {} can't be approved; deny it",
                sender.name,
                sender.uid,
                right.meant_for(),
                row.id
            ))),
        }
    }

    fn new_particulars(&self, request: RequestId, requestor: &Requestor, clocks: &Checkpoint) -> Particulars {
        Particulars {
            request,
            requestor: requestor.identity(),
            uid: requestor.sender.uid,
            start: clocks.wall,
            end: clocks.wall,
            opened: clocks.boot,
            connected: false,
        }
    }
}

impl Planned {
    fn add(&mut self, uid: u32, ports: &[(PortId, usize)]) {
        for (port, count) in ports {
            (0..*count).for_each(|_| self.held.add(uid, *port));
        }
    }
}

/// Records a request that waits for approval.
fn wait(
    batch: &mut Batch<'_>,
    new: impl FnOnce(NewOutcome) -> NewRequestRow,
    waiting: Waiting,
    timeout: Duration,
    clocks: &Checkpoint,
    planned: &mut Planned,
) -> Result<Plan, Refusal> {
    let wall = clocks.wall.saturating_add(timeout).unwrap_or(jiff::Timestamp::MAX);
    let until = Deadline { boot: waiting.until, wall };
    let new = new(NewOutcome::Pending { until, extends: waiting.extends });
    let (id, _) = batch.begin_request(&new).map_err(|error| not_recorded(&error))?;
    planned.add(waiting.uid, &waiting.ports);
    Ok(Plan::Wait(view(id, &new), waiting))
}

/// Returns the view of a request that was just recorded, before the request's grants are open.
fn view(id: RequestId, new: &NewRequestRow) -> Request {
    let NewRequestRow { requestor, asked, start, clocks: _, key: _, outcome } = new;
    let (status, pending) = match outcome {
        NewOutcome::Grants(_) => (wire::RequestState::Approved, None),
        NewOutcome::Pending { until, extends } => {
            let ports = asked.ports.iter().cloned().map(PendingPort::from).collect();
            (wire::RequestState::Pending, Some(Pending { ports, extends: *extends, until_utc: until.wall }))
        }
    };
    Request {
        id,
        requestor: requestor.identity(),
        requestor_uid: requestor.sender.uid,
        justification: asked.justification.clone(),
        start_time_utc: *start,
        status,
        status_reason: None,
        decided_by: None,
        pending,
        grants: Vec::new(),
    }
}

/// Returns the view of a request that was just approved, before the request's grants are open.
fn approved_view(row: RequestRow, by: &Peer) -> Request {
    let RequestRow { id, requestor, identity, justification, start, .. } = row;
    Request {
        id,
        requestor: identity,
        requestor_uid: requestor.sender.uid,
        justification,
        start_time_utc: start,
        status: wire::RequestState::Approved,
        status_reason: None,
        decided_by: Some(by.name.clone()),
        pending: None,
        grants: Vec::new(),
    }
}

fn rows(approved: &[ApprovedPort], clocks: &Checkpoint) -> Vec<NewGrantRow> {
    let row = |port: &ApprovedPort, source| NewGrantRow {
        port: port.port,
        source,
        start: clocks.wall,
        end_wall: clocks.wall.saturating_add(port.duration).unwrap_or(jiff::Timestamp::MAX),
        end_boot: clocks.boot.after(port.duration),
    };
    approved.iter().flat_map(|port| port.sources.iter().map(move |source| row(port, *source))).collect()
}

fn deadline(row: &NewGrantRow) -> Deadline {
    Deadline { boot: row.end_boot, wall: row.end_wall }
}
