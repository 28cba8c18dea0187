//! An approval plans the request again as if it were new, and needs another person than the requestor.

use jit_api::wire::Request;
use jit_policy::{ApprovedPort, NewRequest, RequestId, RequestState, Requestor, Right};

use super::{Plan, Planner, deadline, login_unknown, new_particulars, ports, rows};
use crate::{
    accounts::Groups,
    core::{
        names::{APPROVERS, REQUESTERS},
        peer::Peer,
        records::not_recorded,
        refusal::{Conflict, Refusal, Unavailable},
        report::request_view,
        waiting::count,
    },
    store::{Batch, Extension, PendingRow, RequestRow},
};

impl Planner<'_> {
    /// Checks an approval and records it.
    pub(super) fn plan_approval(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &Peer,
        id: RequestId,
        groups: &Groups,
    ) -> Result<Plan, Refusal> {
        self.settings.check(peer, Right::Decide)?;
        let found = batch.request(id).map_err(not_recorded)?;
        let row = found.ok_or(Refusal::NotFound { what: "request", id: id.0 })?;
        let pending = self.waiting.check(&row)?;
        // The two-person rule does not apply to root and admins. The audit log shows who they are.
        if !self.settings.has(peer, Right::Administer) {
            self.check_second_person(batch, peer, &row, pending)?;
            if peer.login_unknown.is_some() {
                return Err(login_unknown(peer));
            }
        }
        let request = NewRequest { ports: pending.ports.clone(), justification: row.justification.clone() };
        let clocks = self.times.both();
        let holder = self.settings.names().persons().holder(&row.requestor);
        let approved = match pending.extends {
            Some(_) => self.check_extension(&request, &clocks)?,
            None => self.check_ports(&request, &holder, Some(id), &clocks)?,
        };
        self.settings.check_listed(peer, ports(&approved), APPROVERS)?;
        self.requestor_may_still(&row, &approved, groups)?;
        self.check_space(peer)?;
        let by = peer.person();
        let plan = if let Some(grant) = pending.extends {
            let (before, row_now) = self.extension(grant, &approved, &clocks)?;
            let extension = Extension { grant, requestor: &row.identity, row: &row_now, before };
            batch.approve_extension(&row, &by, &clocks, &extension).map_err(not_recorded)?;
            self.extended.insert(grant);
            Plan::Extend { request: Some(self.approved_view(row, peer)), grant, end: deadline(&row_now), before }
        } else {
            let rows = rows(&approved, &clocks);
            let ids = batch.approve(&row, &by, &clocks, &rows).map_err(not_recorded)?;
            self.add(&holder, &count(&approved));
            let particulars = new_particulars(id, &row.requestor, holder, &clocks);
            Plan::Open { request: self.approved_view(row, peer), particulars, ids, rows }
        };
        Ok(plan)
    }

    /// Checks that the peer is another person than the requestor. An extension is also the own request of whoever
    /// requested the grant.
    fn check_second_person(
        &self,
        batch: &Batch<'_>,
        peer: &Peer,
        row: &RequestRow,
        pending: &PendingRow,
    ) -> Result<(), Refusal> {
        let grant = pending.extends.and_then(|grant| self.live.get(grant));
        let origin = grant.map(|(_, particulars)| batch.request(particulars.request)).transpose();
        let origin = origin.map_err(not_recorded)?.flatten().map(|origin| origin.requestor);
        let (person, persons) = (peer.person(), self.settings.names().persons());
        for requestor in origin.iter().chain([&row.requestor]) {
            if persons.is_same(requestor, &person) {
                return Err(Refusal::OwnRequest { id: row.id.0 });
            }
            if !persons.can_tell(requestor, &person) {
                return Err(Refusal::NameUnknown { uid: peer.uid });
            }
        }
        Ok(())
    }

    /// Checks that the requestor has not lost the role since.
    fn requestor_may_still(&self, row: &RequestRow, approved: &[ApprovedPort], groups: &Groups) -> Result<(), Refusal> {
        let Requestor { sender, named } = &row.requestor;
        let requestor = Peer {
            uid: sender.uid,
            groups: groups.clone().unwrap_or_default(),
            name: sender.name.clone(),
            login: None,
            login_unknown: None,
        };
        let rights = [Some(Right::Request), named.is_some().then_some(Right::Delegate)];
        let missing = rights.into_iter().flatten().find(|right| !self.settings.has(&requestor, *right));
        match (missing, groups) {
            (None, Ok(_)) => self.settings.check_listed(&requestor, ports(approved), REQUESTERS),
            (None, Err(why)) => {
                let listed = self.settings.check_listed(&requestor, ports(approved), REQUESTERS);
                listed.map_err(|_| Unavailable::GroupsUnknown(sender.name.clone(), why.clone()).into())
            }
            (Some(_), Err(why)) => Err(Unavailable::GroupsUnknown(sender.name.clone(), why.clone()).into()),
            (Some(right), Ok(_)) => {
                Err(Conflict::RoleLost { name: sender.name.clone(), uid: sender.uid, right, id: row.id }.into())
            }
        }
    }

    /// Returns the view of a request that was just approved, before the request's grants are open.
    fn approved_view(&self, row: RequestRow, by: &Peer) -> Request {
        let decided_by = Some((by.uid, by.name.clone()));
        request_view(
            RequestRow { status: RequestState::Approved, decided_by, pending: None, ..row },
            self.live,
            self.waiting,
        )
    }
}
