//! Openings: requests, approvals and extensions, from the check until packets pass.
//!
//! Openings are carried out in batches. One transaction records a whole batch, so that many requests wait for the disk
//! once. Then the kernel is changed, and only then is any client answered.

use std::{collections::HashSet, mem, time::Duration};

use jit_api::wire::{Grant, Request};
use jit_policy::{GrantId, LiveGrant, RequestId, Right, Submission, audit::Attempt};

use super::{
    Core, Particulars,
    answer::{Extended, Submitted},
    backlog::Closing,
    denials::Denial,
    handle::Reply,
    held::Held,
    peer::Peer,
    planning::Plan,
    refusal::Refusal,
};
use crate::{
    datapath::DatapathError,
    store::{Batch, Deadline, NewGrantRow, StoreError},
};

/// A command that opens, with the channel for its answer.
#[derive(Debug)]
pub enum Opening {
    /// A new request.
    Submit(Peer, Submission, Reply<Submitted>),
    /// The approval of a request that waits.
    Approve(Peer, RequestId, Reply<Request>),
    /// The extension of a grant, by how long the grant is to last from now.
    Extend(Peer, GrantId, Duration, Reply<Extended>),
}

impl Opening {
    fn peer(&self) -> &Peer {
        match self {
            Self::Submit(peer, ..) | Self::Approve(peer, ..) | Self::Extend(peer, ..) => peer,
        }
    }

    const fn right(&self) -> Right {
        match self {
            Self::Submit(..) | Self::Extend(..) => Right::Request,
            Self::Approve(..) => Right::Decide,
        }
    }
}

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

impl Core {
    /// Carries out a batch of openings and answers the clients.
    pub(super) fn open_all(&mut self, openings: Vec<Opening>) {
        if openings.is_empty() {
            return;
        }
        let plans = self.record_all(&openings);
        let carry_out = |(plan, opening): (Result<Plan, Refusal>, &Opening)| {
            let is_admin = self.access.has(opening.peer(), Right::Administer);
            self.carry_out(plan?, is_admin)
        };
        let mut done: Vec<_> = plans.into_iter().zip(&openings).map(carry_out).collect();
        self.confirm(&mut done);
        for (opening, done) in openings.into_iter().zip(done) {
            self.answer(opening, done);
        }
    }

    /// Checks and records a batch. Everything that is recorded is durable.
    fn record_all(&mut self, openings: &[Opening]) -> Vec<Result<Plan, Refusal>> {
        let permitted = |core: &Self, opening: &Opening| core.access.check(opening.peer(), opening.right());
        // The store is taken out of the core, because plans read the core while the store is written.
        let mut store = match mem::replace(&mut self.store, Err(String::new())) {
            Ok(store) => store,
            Err(problem) => {
                let refusal = Refusal::Unavailable(problem.clone());
                self.store = Err(problem);
                return openings.iter().map(|opening| permitted(self, opening).and(Err(refusal.clone()))).collect();
            }
        };
        let reserve = store.check_reserve().map_err(|error| not_recorded(&error));
        let mut denied = 0;
        let recorded = store.batch(|batch| {
            let mut planned = Planned { reserve, ..Planned::default() };
            let plan = |opening: &Opening| {
                let plan = self.plan(batch, opening, &mut planned);
                denied += usize::from(self.note_refusal(batch, opening, plan.as_ref().err()));
                plan
            };
            openings.iter().map(plan).collect::<Vec<_>>()
        });
        self.store = Ok(store);
        recorded.unwrap_or_else(|error| {
            for _ in 0..denied {
                self.count_lost_event("denied", &Err(error.to_string()));
            }
            let refusal = not_recorded(&error);
            openings.iter().map(|opening| permitted(self, opening).and(Err(refusal.clone()))).collect()
        })
    }

    /// Records a refused opening in the audit log. Returns whether the event is written.
    fn note_refusal(&mut self, batch: &mut Batch<'_>, opening: &Opening, refusal: Option<&Refusal>) -> bool {
        let Some(refusal) = refusal else { return false };
        let attempt = match opening {
            Opening::Submit(_, Submission { request, named, key: _ }, _) => Attempt::Request {
                justification: request.justification.clone(),
                ports: request.ports.clone(),
                named: named.clone(),
            },
            Opening::Approve(_, id, _) => Attempt::Approve(*id),
            Opening::Extend(_, id, ..) => Attempt::Extend(*id),
        };
        let Some(denial) = Denial::of(opening.peer(), attempt, refusal) else { return false };
        let wall = self.clock.wall();
        let Some(event) = self.denials.fold(denial, (self.clock.boot(), wall)) else { return false };
        let noted = batch.note(wall, &event).map_err(|error| error.to_string());
        self.count_lost_event(event.name(), &noted)
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
                        self.take_back(request.id, &ids, &refusal);
                        Err(refusal)
                    }
                }
            }
            Plan::Extend { request, grant, end, before } => {
                let id = request.as_ref().map(|request| request.id);
                id.inspect(|id| self.waiting.remove(*id));
                match self.extend_grant(grant, end) {
                    Ok(()) => Ok(Done::Extended { request, grant, before }),
                    Err(refusal) => {
                        self.shorten_back(id, grant, before, &refusal);
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
        for (id, row) in ids.iter().zip(rows) {
            let before = self.book.occupancy();
            let grant = LiveGrant { id: *id, port: row.port, source: row.source, end: row.end_boot };
            let inserted = self.book.insert(grant);
            let changes = inserted.map_err(|error| Refusal::Unavailable(format!("nothing was opened: {error}")))?;
            self.held.add(particulars.uid, row.port);
            self.particulars.insert(*id, Particulars { end: row.end_wall, ..particulars.clone() });
            if let Some((table, share)) = self.book.occupancy().reserve_used(&before).filter(|_| !is_admin) {
                let full = format!("the table {table} has {share} entries for all, the rest is kept for admins");
                return Err(Refusal::Full(full));
            }
            for change in &changes {
                self.apply(change).map_err(|error| no_room_or_broken(&error))?;
            }
        }
        Ok(())
    }

    fn extend_grant(&mut self, id: GrantId, end: Deadline) -> Result<(), Refusal> {
        for change in self.book.set_end(id, end.boot).unwrap_or_default() {
            self.apply(&change).map_err(|error| no_room_or_broken(&error))?;
        }
        if let Some(particulars) = self.particulars.get_mut(&id) {
            particulars.end = end.wall;
        }
        Ok(())
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
        let marked =
            self.store().and_then(|store| store.mark_live(&requests, &grants).map_err(|error| not_recorded(&error)));
        let Err(refusal) = marked else { return };
        for done in done {
            match done {
                Ok(Done::Opened { request, ids }) => self.take_back(request.id, ids, &refusal),
                Ok(Done::Extended { request, grant, before }) => {
                    let request = request.as_ref().map(|request| request.id);
                    self.shorten_back(request, *grant, *before, &refusal);
                }
                _ => continue,
            }
            *done = Err(refusal.clone());
        }
    }

    /// Undoes the grants that a request opened before the request failed.
    fn take_back(&mut self, request: RequestId, ids: &[GrantId], why: &Refusal) {
        for id in ids {
            self.take_out(*id);
        }
        self.settle();
        self.record(Closing::Failed { request, wall: self.clock.wall(), reason: why.to_string() });
    }

    /// Restores the former end of a grant.
    fn shorten_back(&mut self, request: Option<RequestId>, id: GrantId, before: Deadline, why: &Refusal) {
        let changes = self.book.set_end(id, before.boot).unwrap_or_default();
        if let Some(particulars) = self.particulars.get_mut(&id) {
            particulars.end = before.wall;
        }
        self.enforce(&changes);
        self.settle();
        self.record_shortened(vec![(id, before)], None, &why.to_string());
        if let Some(request) = request {
            self.record(Closing::Failed { request, wall: self.clock.wall(), reason: why.to_string() });
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
            Opening::Approve(_, _, reply) => drop(reply.send(done.and_then(|done| self.request_of(done)))),
            Opening::Extend(_, _, _, reply) => {
                let extended = done.and_then(|done| match done {
                    Done::Unchanged(grant) | Done::Extended { grant, .. } => {
                        self.live_grant(grant).map(Extended::Grant)
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
            Done::Replayed(id) => self.stored_request(id).map(|row| self.request_view(row)),
            Done::Waits(request) => Ok(request),
            Done::Opened { request, ids } => {
                let grants = ids.iter().map(|id| self.live_grant(*id)).collect::<Result<_, _>>()?;
                Ok(Request { grants, ..request })
            }
            Done::Extended { request: Some(request), grant, .. } => {
                Ok(Request { grants: vec![self.live_grant(grant)?], ..request })
            }
            Done::Extended { request: None, grant, .. } | Done::Unchanged(grant) => {
                Err(Refusal::NotFound { what: "request of grant", id: grant.0 })
            }
        }
    }

    fn live_grant(&self, id: GrantId) -> Result<Grant, Refusal> {
        let view = || Some(self.live_view(self.book.get(id)?, self.particulars.get(&id)?));
        view().ok_or(Refusal::NotFound { what: "live grant", id: id.0 })
    }
}

/// What the earlier openings of the current batch have already taken.
#[derive(Debug)]
pub(super) struct Planned {
    /// Whether the store has space for later closings.
    pub(super) reserve: Result<(), Refusal>,
    /// The numbers of grants that this batch opens or that its requests wait for, by user and port.
    pub(super) held: Held,
    /// The grants that this batch extends.
    pub(super) extended: HashSet<GrantId>,
}

impl Default for Planned {
    fn default() -> Self {
        Self { reserve: Ok(()), held: Held::default(), extended: HashSet::new() }
    }
}

pub(super) fn not_recorded(error: &StoreError) -> Refusal {
    Refusal::Unavailable(format!("nothing was opened: {error}"))
}

fn no_room_or_broken(error: &DatapathError) -> Refusal {
    match error {
        DatapathError::Full { .. } => Refusal::Full(error.to_string()),
        _ => Refusal::Unavailable(format!("nothing was opened: {error}")),
    }
}
