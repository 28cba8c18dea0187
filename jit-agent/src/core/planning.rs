//! The checks and the record of openings. The result is a plan, which is then carried out in the kernel.

mod approval;

use std::{collections::HashSet, time::Duration};

use jit_api::wire::{Pending, PendingPort, Request};
use jit_policy::{
    Approval, ApprovedPort, GrantId, Holder, NewRequest, PortId, RequestId, RequestState, RequestedPort, Requestor,
    Right, Submission, Until,
};

use super::{
    command::Opening,
    live::{Held, LiveGrants, Particulars},
    names::REQUESTERS,
    peer::{LoginUnknown, Peer},
    records::{
        budgets::{self, Budgets},
        not_recorded,
    },
    refusal::{Conflict, Refusal},
    settings::Settings,
    times::Times,
    waiting::{Waiting, WaitingRequests, count},
};
use crate::store::{Batch, Checkpoint, Deadline, Extension, NewGrantRow, NewOutcome, NewRequestRow};

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

/// The checks of a batch of openings. Each opening counts what the earlier openings of the batch have taken.
pub(super) struct Planner<'a> {
    times: &'a Times,
    settings: &'a Settings,
    live: &'a LiveGrants,
    waiting: &'a WaitingRequests,
    /// Whether the store has space for later closings.
    reserve: Result<(), Refusal>,
    /// The numbers of grants that this batch opens or that its requests wait for, by person and port.
    held: Held,
    /// The grants that this batch extends.
    extended: HashSet<GrantId>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        times: &'a Times,
        settings: &'a Settings,
        live: &'a LiveGrants,
        waiting: &'a WaitingRequests,
        reserve: Result<(), Refusal>,
    ) -> Self {
        Self { times, settings, live, waiting, reserve, held: Held::default(), extended: HashSet::new() }
    }

    /// Checks an opening and records it.
    ///
    /// A person pays for what they ask for when they ask: for the grants too, and for their ends. Who approves or ends
    /// them pays nothing, so that neither is ever refused for that.
    pub(super) fn plan(
        &mut self,
        batch: &mut Batch<'_>,
        opening: &Opening,
        budgets: &mut Budgets,
    ) -> Result<Plan, Refusal> {
        let (payer, now) = (self.settings.payer(opening.peer()), self.times.now());
        let (plan, bytes) = match opening {
            Opening::Submit(peer, submission, _) => {
                let check = || budgets.check(payer, now);
                let plan = self.plan_submission(batch, peer, submission, check)?;
                let bytes = submission_length(submission, &plan);
                (plan, bytes)
            }
            Opening::Approve(peer, id, groups, _) => (self.plan_approval(batch, peer, *id, groups)?, 0),
            Opening::Extend(peer, id, duration, _) => {
                budgets.check(payer, now)?;
                (self.plan_extension(batch, peer, *id, *duration)?, budgets::EXTENSION)
            }
        };
        budgets.charge(payer, bytes, now);
        Ok(plan)
    }

    fn plan_submission(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &Peer,
        submission: &Submission,
        check_budget: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<Plan, Refusal> {
        self.settings.check(peer, Right::Request)?;
        let Submission { request, named, key } = submission;
        if named.is_some() {
            self.settings.check(peer, Right::Delegate)?;
        }
        if let Some(key) = key
            && let Some((id, body)) = batch.made_by_key(peer.uid, &key.key).map_err(not_recorded)?
        {
            return if body == key.body { Ok(Plan::Replay(id)) } else { Err(Refusal::KeyReused(key.key.clone())) };
        }
        check_budget()?;
        let clocks = self.times.both();
        let requestor = Requestor { sender: peer.person(), named: named.clone() };
        let holder = self.settings.names().persons().holder(&requestor);
        let approved = self.check_ports(request, &holder, None, &clocks)?;
        self.settings.check_listed(peer, ports(&approved), REQUESTERS)?;
        self.check_space(peer)?;
        let new = |outcome| NewRequestRow {
            requestor: requestor.clone(),
            asked: request.clone(),
            start: clocks.wall,
            clocks: clocks.clone(),
            key: key.clone(),
            outcome,
        };
        if let Some(timeout) = self.approval_timeout(&approved) {
            self.check_login(peer)?;
            let until = after(&clocks, timeout);
            let waiting = Waiting { who: requestor.clone(), holder, until, extends: None, ports: count(&approved) };
            return self.wait(batch, new, waiting);
        }
        let rows = rows(&approved, &clocks);
        let new = new(NewOutcome::Grants(rows.clone()));
        let (id, ids) = batch.begin_request(&new).map_err(not_recorded)?;
        self.add(&holder, &count(&approved));
        let particulars = new_particulars(id, &requestor, holder, &clocks);
        Ok(Plan::Open { request: view(id, &new), particulars, ids, rows })
    }

    fn plan_extension(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &Peer,
        id: GrantId,
        duration: Duration,
    ) -> Result<Plan, Refusal> {
        self.settings.check(peer, Right::Request)?;
        let not_found = Refusal::NotFound { what: "live grant", id: id.0 };
        let live = self.live;
        let Some((grant, particulars)) = live.get(id) else { return Err(not_found) };
        let is_theirs = particulars.who.sender.uid == peer.uid || self.settings.has(peer, Right::Administer);
        if !is_theirs || grant.end <= self.times.now() {
            return Err(not_found);
        }
        let origin = batch.request(particulars.request).map_err(not_recorded)?;
        let port = RequestedPort {
            number: grant.port.number.into(),
            protocol: Some(grant.port.protocol),
            sources: vec![grant.source],
            until: Until::For(duration),
        };
        let named = origin.as_ref().and_then(|request| request.requestor.named.clone());
        if named.is_some() {
            self.settings.check(peer, Right::Delegate)?;
        }
        let justification = origin.map(|request| request.justification).unwrap_or_default();
        let request = NewRequest { ports: vec![port], justification };
        let clocks = self.times.both();
        let approved = self.check_extension(&request, &clocks)?;
        self.settings.check_listed(peer, ports(&approved), REQUESTERS)?;
        if clocks.boot.after(duration) <= grant.end {
            return Ok(Plan::Unchanged(id));
        }
        self.check_space(peer)?;
        let (before, row) = self.extension(id, &approved, &clocks)?;
        let by = peer.person();
        if let Some(timeout) = self.approval_timeout(&approved) {
            self.check_login(peer)?;
            if self.waiting.extends(id) {
                return Err(Conflict::ExtensionWaits(id).into());
            }
            let requestor = Requestor { sender: by, named };
            let new = |outcome| NewRequestRow {
                requestor: requestor.clone(),
                asked: request.clone(),
                start: clocks.wall,
                clocks: clocks.clone(),
                key: None,
                outcome,
            };
            let until = after(&clocks, timeout);
            let holder = self.settings.names().persons().holder(&requestor);
            let waiting = Waiting { who: requestor.clone(), holder, until, extends: Some(id), ports: Vec::new() };
            self.extended.insert(id);
            return self.wait(batch, new, waiting);
        }
        let extension = Extension { grant: id, requestor: &particulars.requestor, row: &row, before };
        batch.extend(&by, &clocks, &extension).map_err(not_recorded)?;
        self.extended.insert(id);
        Ok(Plan::Extend { request: None, grant: id, end: deadline(&row), before })
    }

    /// Refuses what others than admins ask for, if the store has no space. Space is kept for admins.
    fn check_space(&self, peer: &Peer) -> Result<(), Refusal> {
        if self.settings.has(peer, Right::Administer) { Ok(()) } else { self.reserve.clone() }
    }

    /// Makes the subset check, with quotas. `but` is the request that is being approved.
    fn check_ports(
        &self,
        request: &NewRequest,
        holder: &Holder,
        but: Option<RequestId>,
        clocks: &Checkpoint,
    ) -> Result<Vec<ApprovedPort>, Refusal> {
        let held = |port: PortId| {
            self.settings.ports().for_port(port).map_or(0, |policy| {
                self.live.held(holder, policy)
                    + self.waiting.under(holder, policy, but)
                    + self.held.under(holder, policy)
            })
        };
        self.settings.ports().check(request, clocks.wall, held).map_err(Refusal::Violations)
    }

    /// Makes the subset check for a grant that exists and is already counted.
    fn check_extension(&self, request: &NewRequest, clocks: &Checkpoint) -> Result<Vec<ApprovedPort>, Refusal> {
        self.settings.ports().check(request, clocks.wall, |_| 0).map_err(Refusal::Violations)
    }

    /// Returns the present end of a grant, and the row with the new end.
    fn extension(
        &self,
        id: GrantId,
        approved: &[ApprovedPort],
        clocks: &Checkpoint,
    ) -> Result<(Deadline, NewGrantRow), Refusal> {
        let ended = || Refusal::from(Conflict::GrantEnded(id));
        let found = self.live.get(id).filter(|(grant, _)| grant.end > clocks.boot);
        let (grant, particulars) = found.ok_or_else(ended)?;
        if self.extended.contains(&id) {
            return Err(Conflict::ExtensionRuns(id).into());
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
        let policies = approved.iter().filter_map(|port| self.settings.ports().for_port(port.port));
        policies.filter(|policy| policy.approval == Approval::Required).map(|policy| policy.approval_timeout).min()
    }

    /// Refuses a request that needs a second person, if the requestor has made it unknown who logged in: then they could
    /// approve under another account. Where `/proc` hides all processes, approvers are not known either.
    fn check_login(&self, peer: &Peer) -> Result<(), Refusal> {
        if peer.login_unknown != Some(LoginUnknown::Ended) || self.settings.has(peer, Right::Administer) {
            return Ok(());
        }
        Err(login_unknown(peer))
    }

    /// Records a request that waits for approval.
    fn wait(
        &mut self,
        batch: &mut Batch<'_>,
        new: impl FnOnce(NewOutcome) -> NewRequestRow,
        waiting: Waiting,
    ) -> Result<Plan, Refusal> {
        let new = new(NewOutcome::Pending { until: waiting.until, extends: waiting.extends });
        let (id, _) = batch.begin_request(&new).map_err(not_recorded)?;
        self.add(&waiting.holder, &waiting.ports);
        Ok(Plan::Wait(view(id, &new), waiting))
    }

    fn add(&mut self, holder: &Holder, ports: &[(PortId, usize)]) {
        for (port, count) in ports {
            (0..*count).for_each(|_| self.held.add(holder, *port));
        }
    }
}

/// How many bytes a request takes, with its grants.
fn submission_length(submission: &Submission, plan: &Plan) -> usize {
    let Submission { request, named, key } = submission;
    let grants = match plan {
        Plan::Replay(_) | Plan::Unchanged(_) | Plan::Extend { .. } => return 0,
        Plan::Wait(_, waiting) => waiting.ports.iter().map(|(_, count)| count).sum(),
        Plan::Open { ids, .. } => ids.len(),
    };
    let texts = [Some(&request.justification), named.as_ref(), key.as_ref().map(|key| &key.key)];
    // The justification stands in the request and in the log.
    let text: usize = texts.into_iter().flatten().map(|text| 2 * text.len()).sum();
    budgets::REQUEST + text + 100 * request.ports.len() + grants * budgets::GRANT
}

/// The ports of an approved request.
pub(super) fn ports(approved: &[ApprovedPort]) -> impl Iterator<Item = PortId> {
    approved.iter().map(|port| port.port)
}

fn login_unknown(peer: &Peer) -> Refusal {
    Refusal::LoginUnknown { name: peer.name.clone(), uid: peer.uid }
}

fn new_particulars(request: RequestId, requestor: &Requestor, holder: Holder, clocks: &Checkpoint) -> Particulars {
    Particulars {
        request,
        requestor: requestor.identity(),
        who: requestor.clone(),
        holder,
        start: clocks.wall,
        end: clocks.wall,
        opened: clocks.boot,
        connected: false,
    }
}

/// Returns the view of a request that was just recorded, before the request's grants are open.
fn view(id: RequestId, new: &NewRequestRow) -> Request {
    let NewRequestRow { requestor, asked, start, clocks: _, key: _, outcome } = new;
    let (status, pending) = match outcome {
        NewOutcome::Grants(_) => (RequestState::Approved, None),
        NewOutcome::Pending { until, extends } => {
            let ports = asked.ports.iter().cloned().map(PendingPort::from).collect();
            (RequestState::Pending, Some(Pending { ports, extends: *extends, until_utc: until.wall }))
        }
    };
    Request {
        id,
        requestor: requestor.identity(),
        requestor_login: requestor.login().map(str::to_owned),
        requestor_uid: requestor.sender.uid,
        justification: asked.justification.clone(),
        start_time_utc: *start,
        status: status.into(),
        status_reason: None,
        decided_by: None,
        pending,
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

/// The moment that lies `length` after a moment of both clocks.
fn after(clocks: &Checkpoint, length: Duration) -> Deadline {
    Deadline {
        boot: clocks.boot.after(length),
        wall: clocks.wall.saturating_add(length).unwrap_or(jiff::Timestamp::MAX),
    }
}

fn deadline(row: &NewGrantRow) -> Deadline {
    Deadline { boot: row.end_boot, wall: row.end_wall }
}
