//! Openings: requests, approvals and extensions, from the check until packets pass.
//!
//! Openings are carried out in batches. One transaction records a whole batch, so that many requests wait for the disk
//! once. Then the kernel is changed, and only then is any client answered.

use std::time::Duration;

use jit_api::wire::Request;
use jit_policy::{GrantId, RequestId, Right, Submission};
use tokio::sync::oneshot;

use super::{
    Core,
    answer::{Extended, Submitted},
    command::{Command, Opening, Reply},
    handle::CoreHandle,
    live::{LiveGrants, Particulars},
    peer::Peer,
    planning::{Plan, Planner},
    records::{Attempted, Records, not_recorded},
    refusal::{Refusal, Unavailable},
    report::request_view,
    settings::Settings,
    times::Times,
    waiting::WaitingRequests,
};
use crate::{
    accounts::Groups,
    store::{Deadline, NewGrantRow},
};

/// The result of a plan.
enum Done {
    /// Nothing changed, because this request was made before.
    Replayed(RequestId),
    /// Nothing changed, because the grant lasts longer anyway.
    Unchanged(GrantId),
    /// The request waits for approval.
    Waits(Request),
    /// The grants of a request are open.
    Opened { request: Request, ids: Vec<GrantId> },
    /// A grant ends later, either directly or because `request` was approved.
    Extended { request: Option<Request>, grant: GrantId, before: Deadline },
}

impl CoreHandle {
    /// Makes a request. On return, the request's grants are in force, or the request waits for approval.
    ///
    /// # Errors
    /// The peer is not permitted, the request violates the port policies, the key belongs to another request, the
    /// tables have no room, or the store or the kernel is broken. In all these cases nothing is opened.
    pub async fn submit(&self, peer: Peer, submission: Submission) -> Result<Submitted, Refusal> {
        self.send(|reply| Command::Open(Box::new(Opening::Submit(peer, submission, reply)))).await
    }

    /// Approves a request. On return, the request's grants are in force. `groups` are those of the requestor, who must
    /// still have a role.
    ///
    /// # Errors
    /// The peer is not permitted, is the requestor, or can't be told from the requestor; the request does not exist or is already decided, or one of the
    /// conditions of [`submit`](Self::submit) holds.
    pub async fn approve(&self, peer: Peer, id: RequestId, groups: Groups) -> Result<Request, Refusal> {
        self.send(|reply| Command::Open(Box::new(Opening::Approve(peer, id, groups, reply)))).await
    }

    /// Returns the user whose groups [`approve`](Self::approve) needs. `None`: the approval is refused anyway.
    ///
    /// # Errors
    /// The agent is stopping.
    pub async fn requestor_to_check(&self, peer: Peer, id: RequestId) -> Result<Option<u32>, Refusal> {
        self.ask(move |core| {
            let Core { settings, waiting, records, .. } = core;
            let row = settings.has(&peer, Right::Decide).then(|| records.request(id).ok()).flatten();
            Ok(row.filter(|row| waiting.check(row).is_ok()).map(|row| row.requestor.sender.uid))
        })
        .await
    }

    /// Extends a grant to last for `duration` from now, if the grant would end before. On return, the new end is in
    /// force, or the extension waits for approval.
    ///
    /// # Errors
    /// The peer is not permitted, the grant does not exist, or one of the conditions of [`submit`](Self::submit) holds.
    pub async fn extend(&self, peer: Peer, id: GrantId, duration: Duration) -> Result<Extended, Refusal> {
        self.send(|reply| Command::Open(Box::new(Opening::Extend(peer, id, duration, reply)))).await
    }
}

/// The parts of the core's state that an opening reads and changes.
pub(super) struct Openings<'a> {
    pub(super) times: &'a Times,
    pub(super) settings: &'a Settings,
    pub(super) live: &'a mut LiveGrants,
    pub(super) waiting: &'a mut WaitingRequests,
    pub(super) records: &'a mut Records,
}

impl Openings<'_> {
    /// Carries out a batch of openings and answers the clients.
    pub(super) fn open_all(&mut self, openings: Vec<Opening>) {
        if openings.is_empty() {
            return;
        }
        let plans = self.record_all(&openings);
        let carry_out = |(plan, opening): (Result<Plan, Refusal>, &Opening)| {
            let is_admin = self.settings.has(opening.peer(), Right::Administer);
            self.carry_out(plan?, is_admin)
        };
        let mut done: Vec<_> = plans.into_iter().zip(&openings).map(carry_out).collect();
        self.confirm(&mut done);
        for (opening, done) in openings.into_iter().zip(done) {
            self.answer(opening, done);
        }
    }

    /// Carries out one opening, and returns the answer.
    pub(super) fn open<T>(&mut self, opening: impl FnOnce(Reply<T>) -> Opening) -> Result<T, Refusal> {
        let (reply, mut answer) = oneshot::channel();
        self.open_all(vec![opening(reply)]);
        answer.try_recv().unwrap_or_else(|_| Err(Unavailable::NotAnswered.into()))
    }

    /// Checks and records a batch. Everything that is recorded is durable.
    fn record_all(&mut self, openings: &[Opening]) -> Vec<Result<Plan, Refusal>> {
        let Self { times, settings, live, waiting, records } = self;
        let mut denied = 0;
        let by_admin = openings.iter().any(|opening| settings.has(opening.peer(), Right::Administer));
        let recorded = records.batch(by_admin, |batch, (trail, budgets), reserve| {
            let mut planner = Planner::new(times, settings, live, waiting, reserve);
            let plan = |opening: &Opening| {
                let (payer, now) = (settings.payer(opening.peer()), times.now());
                let plan = planner.plan(batch, opening, budgets);
                if let Err(refusal) = &plan {
                    let has_role = settings.has(opening.peer(), Right::Look);
                    let attempt = opening.attempt();
                    let is_affordable = budgets.afford(payer, attempt.length(), now);
                    let attempt = if is_affordable { attempt } else { attempt.kind_only() };
                    let attempted = Attempted::new(opening.peer(), has_role, attempt);
                    denied += usize::from(trail.note_refusal(batch, attempted, refusal, times));
                }
                plan
            };
            openings.iter().map(plan).collect::<Vec<_>>()
        });
        recorded.unwrap_or_else(|refusal| {
            records.count_lost("denied", denied, &refusal);
            let permitted = |opening: &Opening| settings.check(opening.peer(), opening.right());
            openings.iter().map(|opening| permitted(opening).and(Err(refusal.clone()))).collect()
        })
    }

    /// Makes the recorded changes in the kernel. If that fails, the opening is undone.
    fn carry_out(&mut self, plan: Plan, is_admin: bool) -> Result<Done, Refusal> {
        match plan {
            Plan::Replay(id) => Ok(Done::Replayed(id)),
            Plan::Unchanged(id) => Ok(Done::Unchanged(id)),
            Plan::Wait(request, waiting) => {
                self.waiting.insert(request.id, waiting);
                Ok(Done::Waits(request))
            }
            Plan::Open { request, particulars, ids, rows } => {
                self.waiting.remove(request.id);
                match self.open_grants(&particulars, &ids, &rows, is_admin) {
                    Ok(()) => Ok(Done::Opened { request, ids }),
                    Err(refusal) => {
                        self.undo_opening(request.id, &ids, &refusal);
                        Err(refusal)
                    }
                }
            }
            Plan::Extend { request, grant, end, before } => {
                let id = request.as_ref().map(|request| request.id);
                id.inspect(|id| self.waiting.remove(*id));
                match self.live.extend(grant, end) {
                    Ok(()) => Ok(Done::Extended { request, grant, before }),
                    Err(refusal) => {
                        self.undo_extension(id, grant, before, &refusal);
                        Err(refusal)
                    }
                }
            }
        }
    }

    fn open_grants(
        &mut self,
        particulars: &Particulars,
        ids: &[GrantId],
        rows: &[NewGrantRow],
        is_admin: bool,
    ) -> Result<(), Refusal> {
        ids.iter().zip(rows).try_for_each(|(id, row)| self.live.open(*id, row, particulars, is_admin))
    }

    /// Marks the grants that are in the kernel as live. If that fails, all openings of the batch are undone.
    fn confirm(&mut self, done: &mut [Result<Done, Refusal>]) {
        let (mut requests, mut grants) = (Vec::new(), Vec::new());
        for done in done.iter().flatten() {
            match done {
                Done::Opened { request, .. } => requests.push(request.id),
                Done::Extended { grant, .. } => grants.push(*grant),
                Done::Replayed(_) | Done::Unchanged(_) | Done::Waits(_) => {}
            }
        }
        if requests.is_empty() && grants.is_empty() {
            return;
        }
        let marked = self
            .records
            .store_mut()
            .map_err(Refusal::from)
            .and_then(|store| store.mark_live(&requests, &grants).map_err(not_recorded));
        let Err(refusal) = marked else { return };
        for done in done {
            match done {
                Ok(Done::Opened { request, ids }) => self.undo_opening(request.id, ids, &refusal),
                Ok(Done::Extended { request, grant, before }) => {
                    let request = request.as_ref().map(|request| request.id);
                    self.undo_extension(request, *grant, *before, &refusal);
                }
                _ => continue,
            }
            *done = Err(refusal.clone());
        }
    }

    /// Undoes the grants that a request opened before the request failed.
    fn undo_opening(&mut self, request: RequestId, ids: &[GrantId], why: &Refusal) {
        for id in ids {
            self.live.end(*id);
        }
        self.live.settle();
        self.records.fail_request(request, &why.to_string());
    }

    /// Restores the former end of a grant.
    fn undo_extension(&mut self, request: Option<RequestId>, id: GrantId, before: Deadline, why: &Refusal) {
        self.live.shorten(id, before);
        self.live.settle();
        self.records.shorten_grants(vec![(id, before)], None, &why.to_string());
        if let Some(request) = request {
            self.records.fail_request(request, &why.to_string());
        }
    }

    /// Answers one opening. The client may have gone away meanwhile, and the opening stays in force nevertheless.
    fn answer(&mut self, opening: Opening, done: Result<Done, Refusal>) {
        match opening {
            Opening::Submit(_, _, reply) => {
                let replayed = matches!(done, Ok(Done::Replayed(_)));
                let request = done.and_then(|done| self.request_of(done));
                drop(reply.send(request.map(|request| Submitted { request, replayed })));
            }
            Opening::Approve(.., reply) => drop(reply.send(done.and_then(|done| self.request_of(done)))),
            Opening::Extend(_, _, _, reply) => {
                let extended = done.and_then(|done| match done {
                    Done::Unchanged(grant) | Done::Extended { grant, .. } => {
                        self.live.view_of(grant).map(Extended::Grant)
                    }
                    done => self.request_of(done).map(Extended::Waits),
                });
                drop(reply.send(extended));
            }
        }
    }

    /// Returns the request of a finished opening. Only an earlier request is read from the store, because nothing may
    /// fail any more once grants are live.
    fn request_of(&mut self, done: Done) -> Result<Request, Refusal> {
        match done {
            Done::Replayed(id) => self.records.request(id).map(|row| request_view(row, self.live, self.waiting)),
            Done::Waits(request) => Ok(request),
            Done::Opened { request, ids } => {
                let grants = ids.iter().map(|id| self.live.view_of(*id)).collect::<Result<_, _>>()?;
                Ok(Request { grants, ..request })
            }
            Done::Extended { request: Some(request), grant, .. } => {
                Ok(Request { grants: vec![self.live.view_of(grant)?], ..request })
            }
            Done::Extended { request: None, grant, .. } | Done::Unchanged(grant) => {
                Err(Refusal::NotFound { what: "request of grant", id: grant.0 })
            }
        }
    }
}
