//! Requests: from the check to packets that pass.

use super::{
    Core, Particulars,
    view::{Peer, Refusal, RequestView},
};
use crate::{
    datapath::DatapathError,
    policy::{ApprovedPort, GrantId, LiveGrant, NewRequest, RequestId},
    store::{NewGrantRow, NewRequestRow},
};

impl Core {
    /// Makes a request: all its grants or none.
    pub(super) fn submit(&mut self, peer: &Peer, request: &NewRequest) -> Result<RequestView, Refusal> {
        self.access.check(peer)?;
        let wall = self.clock.wall();
        let approved = match self.config.ports.check(request, wall) {
            Ok(approved) => approved,
            Err(violations) => {
                self.note_denied(peer, request, &violations);
                return Err(Refusal::Violations(violations));
            }
        };
        let rows = self.rows(&approved);
        let new = NewRequestRow {
            uid: peer.uid,
            requestor: peer.name.clone(),
            justification: request.justification.clone(),
            start: wall,
            boot_id: self.boot.boot_id.clone(),
            grants: rows.clone(),
        };
        let begun = self.store()?.begin_request(&new);
        let (id, ids) = begun.map_err(|error| Refusal::Unavailable(format!("nothing was opened: {error}")))?;
        match self.open(id, &ids, &rows, peer).and_then(|()| self.mark_live(id)) {
            Ok(()) => self.request(peer, id),
            Err(refusal) => {
                self.undo(id, &ids, &refusal);
                Err(refusal)
            }
        }
    }

    fn rows(&self, approved: &[ApprovedPort]) -> Vec<NewGrantRow> {
        let (boot, wall) = (self.clock.boot(), self.clock.wall());
        let row = |port: &ApprovedPort, source| NewGrantRow {
            port: port.port,
            source,
            start: wall,
            end_wall: wall.saturating_add(port.duration).unwrap_or(jiff::Timestamp::MAX),
            end_boot: boot.after(port.duration),
        };
        approved.iter().flat_map(|port| port.sources.iter().map(move |source| row(port, *source))).collect()
    }

    fn open(&mut self, request: RequestId, ids: &[GrantId], rows: &[NewGrantRow], peer: &Peer) -> Result<(), Refusal> {
        for (id, row) in ids.iter().zip(rows) {
            let grant = LiveGrant { id: *id, port: row.port, source: row.source, end: row.end_boot };
            let particulars =
                Particulars { request, requestor: peer.name.clone(), start: row.start, end: row.end_wall };
            let changes = self
                .book
                .insert(grant)
                .map_err(|error| Refusal::Unavailable(format!("nothing was opened: {error}")))?;
            self.particulars.insert(*id, particulars);
            for change in &changes {
                self.apply(change).map_err(|error| refusal(&error))?;
            }
        }
        Ok(())
    }

    fn mark_live(&mut self, request: RequestId) -> Result<(), Refusal> {
        let marked = self.store()?.mark_live(request);
        marked.map_err(|error| Refusal::Unavailable(format!("nothing was opened: {error}")))
    }

    /// Takes back what a request opened before it failed.
    fn undo(&mut self, request: RequestId, ids: &[GrantId], why: &Refusal) {
        for id in ids {
            self.take_out(*id);
        }
        let wall = self.clock.wall();
        let failed = self
            .store()
            .map_err(|refusal| refusal.to_string())
            .and_then(|store| store.fail_request(request, wall, &why.to_string()).map_err(|error| error.to_string()));
        if let Err(problem) = failed {
            tracing::error!(problem, request = request.0, "a failed request is closed, but that could not be written");
        }
    }

    fn note_denied(&mut self, peer: &Peer, request: &NewRequest, violations: &[crate::policy::Violation]) {
        let wall = self.clock.wall();
        let recorded = self.store().map_err(|refusal| refusal.to_string()).and_then(|store| {
            let person = (peer.uid, peer.name.as_str());
            store.record_denied(wall, person, &request.justification, violations).map_err(|error| error.to_string())
        });
        if let Err(problem) = recorded {
            tracing::error!(problem, user = peer.name, "a denial could not be written to the audit log");
        }
    }
}

fn refusal(error: &DatapathError) -> Refusal {
    match error {
        DatapathError::Full { .. } => Refusal::Full(error.to_string()),
        _ => Refusal::Unavailable(format!("nothing was opened: {error}")),
    }
}
