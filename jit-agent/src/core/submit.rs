//! Requests: from the check to packets that pass.

use super::{
    Core, Particulars,
    backlog::Closing,
    view::{Peer, Refusal, RequestStatus, RequestView},
};
use crate::{
    datapath::DatapathError,
    policy::{ApprovedPort, GrantId, LiveGrant, NewRequest, RequestId, Right, Violation},
    store::{Checkpoint, NewGrantRow, NewRequestRow, StoreError},
};

impl Core {
    /// Makes a request: all its grants or none.
    pub(super) fn submit(&mut self, peer: &Peer, request: &NewRequest) -> Result<RequestView, Refusal> {
        self.access.check(peer, Right::Request)?;
        let clocks = self.clocks();
        let approved = match self.config.ports.check(request, clocks.wall) {
            Ok(approved) => approved,
            Err(violations) => {
                self.note_denied(peer, request, &violations);
                return Err(Refusal::Violations(violations));
            }
        };
        let new = NewRequestRow {
            uid: peer.uid,
            requestor: peer.name.clone(),
            justification: request.justification.clone(),
            start: clocks.wall,
            grants: rows(&approved, &clocks),
            clocks,
        };
        let (id, ids) = self.store()?.begin_request(&new).map_err(|error| not_recorded(&error))?;
        match self.open(id, &ids, &new).and_then(|()| self.mark_live(id)) {
            // Not read back from the store: nothing may fail any more once the grants are live.
            Ok(()) => Ok(self.opened(id, &ids, new)),
            Err(refusal) => {
                self.take_back(id, &ids, &refusal);
                Err(refusal)
            }
        }
    }

    fn open(&mut self, request: RequestId, ids: &[GrantId], new: &NewRequestRow) -> Result<(), Refusal> {
        for (id, row) in ids.iter().zip(&new.grants) {
            let grant = LiveGrant { id: *id, port: row.port, source: row.source, end: row.end_boot };
            let (requestor, opened) = (new.requestor.clone(), new.clocks.boot);
            let particulars = Particulars { request, requestor, start: row.start, end: row.end_wall, opened };
            let inserted = self.book.insert(grant);
            let changes = inserted.map_err(|error| Refusal::Unavailable(format!("nothing was opened: {error}")))?;
            self.particulars.insert(*id, particulars);
            for change in &changes {
                self.apply(change).map_err(|error| no_room_or_broken(&error))?;
            }
        }
        Ok(())
    }

    fn mark_live(&mut self, request: RequestId) -> Result<(), Refusal> {
        self.store()?.mark_live(request).map_err(|error| not_recorded(&error))
    }

    fn opened(&self, id: RequestId, ids: &[GrantId], new: NewRequestRow) -> RequestView {
        let NewRequestRow { uid, requestor, justification, start, clocks: _, grants: _ } = new;
        let view = |id: &GrantId| Some(self.live_view(self.book.get(*id)?, self.particulars.get(id)?));
        let grants = ids.iter().filter_map(view).collect();
        let status = RequestStatus::Approved;
        RequestView { id, requestor, uid, justification, start, status, status_reason: None, grants }
    }

    /// Takes back what a request opened before it failed.
    fn take_back(&mut self, request: RequestId, ids: &[GrantId], why: &Refusal) {
        for id in ids {
            self.take_out(*id);
        }
        self.settle();
        self.record(Closing::Failed { request, wall: self.clock.wall(), reason: why.to_string() });
    }

    fn note_denied(&mut self, peer: &Peer, request: &NewRequest, violations: &[Violation]) {
        let wall = self.clock.wall();
        let person = (peer.uid, peer.name.as_str());
        let noted = match &mut self.store {
            Ok(store) => {
                store.record_denied(wall, person, &request.justification, violations).map_err(|error| error.to_string())
            }
            Err(problem) => Err(problem.clone()),
        };
        self.count_lost_event("denied", &noted);
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

fn not_recorded(error: &StoreError) -> Refusal {
    Refusal::Unavailable(format!("nothing was opened: {error}"))
}

fn no_room_or_broken(error: &DatapathError) -> Refusal {
    match error {
        DatapathError::Full { .. } => Refusal::Full(error.to_string()),
        _ => Refusal::Unavailable(format!("nothing was opened: {error}")),
    }
}
