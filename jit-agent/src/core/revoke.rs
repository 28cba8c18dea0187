//! Revocation of grants, in the order kernel, store, answer.

use jit_api::wire::{Grant, GrantState, Revocation};
use jit_policy::{
    GrantId, Holder, Persons, Requestor, Right, Selection,
    audit::{Attempt, AuditEvent},
};

use super::{
    Core,
    handle::CoreHandle,
    live::{Ended, LiveGrants},
    peer::Peer,
    records::Records,
    refusal::{Refusal, Unavailable},
};
use crate::store::GrantEnd;

impl CoreHandle {
    /// Ends grants. On return, these grants admit no packet.
    ///
    /// # Errors
    /// The peer is not permitted, a grant is unknown (then no grant is ended), or the kernel is broken.
    pub async fn revoke(&self, peer: Peer, selection: Selection, reason: String) -> Result<Revocation, Refusal> {
        let first = match &selection {
            Selection::Ids(ids) => ids.first().copied().unwrap_or_default(),
            Selection::User(_) | Selection::All => GrantId::default(),
        };
        let revoke = move |core: &mut Core| {
            core.noting_refusal(&peer, Attempt::Revoke(first), |core| core.revoke(&peer, &selection, &reason))
        };
        self.close(revoke).await
    }
}

impl Core {
    pub(super) fn revoke(&mut self, peer: &Peer, selection: &Selection, reason: &str) -> Result<Revocation, Refusal> {
        let anybodys = self.settings.has(peer, Right::RevokeAny);
        if !anybodys {
            // A requester may also end their own grants, and no others.
            self.settings.check(peer, Right::Request)?;
            if !matches!(selection, Selection::Ids(_)) {
                self.settings.check(peer, Right::RevokeAny)?;
            }
        }
        let mut revoked: Vec<Grant> = Vec::new();
        let mut ended = Vec::new();
        let own = (!anybodys).then_some(peer);
        let persons = self.settings.names().persons();
        let selected = selected(selection, own, &self.live, &self.records, persons)?;
        let reason = self.records.affordable(self.settings.payer(peer), reason, selected.len());
        for id in selected {
            if let Some(Ended { grant, particulars, connections }) = self.live.end(id) {
                ended.push((id, connections));
                let reason = (!reason.is_empty()).then(|| reason.to_owned());
                let view = self.live.view(&grant, &particulars);
                revoked.push(view.over(GrantState::Revoked, reason, self.times.wall()));
            }
        }
        self.live.settle();
        let other_entries =
            if *selection == Selection::All { close_unknown_entries(&mut self.live, &self.records)? } else { 0 };

        if !revoked.is_empty() {
            self.records.end_grants(ended, GrantEnd::Revoked, Some(peer.actor()), reason);
        }
        let closed = AuditEvent::EntriesClosed { entries: other_entries, by: peer.person(), reason: reason.to_owned() };
        let noted = other_entries == 0 || self.records.note(&closed);
        // The backlog is written now, because a repeated command asks whether the earlier closings are written.
        self.records.write_backlog();
        Ok(Revocation { revoked, other_entries, durable: noted && self.records.are_written() })
    }
}

/// Returns the grants to end. An error says that a named grant never existed. `of` restricts the selection to one user,
/// and grants of others count as unknown.
fn selected(
    selection: &Selection,
    of: Option<&Peer>,
    live: &LiveGrants,
    records: &Records,
    persons: &Persons,
) -> Result<Vec<GrantId>, Refusal> {
    if *selection == Selection::All {
        return Ok(live.iter().map(|(grant, _)| grant.id).collect());
    }
    let store = records.store().map_err(Unavailable::UnknownGrants)?;
    match selection {
        Selection::Ids(ids) => {
            let is_theirs = |who: &Requestor| of.is_none_or(|peer| is_own(persons, who, peer));
            let (live, others): (Vec<_>, Vec<_>) =
                ids.iter().partition(|id| live.get(**id).is_some_and(|(_, particulars)| is_theirs(&particulars.who)));
            for id in others {
                match store.requestor_of(id) {
                    Ok(Some(who)) if is_theirs(&who) => {}
                    Ok(_) => return Err(Refusal::NotFound { what: "grant", id: id.0 }),
                    // This grant isn't live. The error must not keep the live grants open.
                    Err(error) => tracing::warn!(%error, grant = %id, "not live; whether it ever was is unknown"),
                }
            }
            Ok(live)
        }
        Selection::User(name) => {
            let theirs = live.iter().filter(|(_, particulars)| persons.means(name, &particulars.who));
            Ok(theirs.map(|(grant, _)| grant.id).collect())
        }
        Selection::All => Ok(Vec::new()),
    }
}

/// Whether somebody may end what a requestor asked for: the sender, or the same person of `[people]`.
pub(super) fn is_own(persons: &Persons, who: &Requestor, peer: &Peer) -> bool {
    let peers = persons.holder(&Requestor { sender: peer.person(), named: None });
    who.sender.uid == peer.uid || (matches!(peers, Holder::Person(_)) && persons.holder(who) == peers)
}

/// Closes the kernel's entries that are not in the book, mostly grants of a store that can't be read. Returns how many
/// of the entries were still open.
fn close_unknown_entries(live: &mut LiveGrants, records: &Records) -> Result<usize, Refusal> {
    match live.close_unknown() {
        Ok(open) => Ok(open),
        // The book has all grants, so no other entries are expected.
        Err(error) if records.store().is_ok() => {
            tracing::error!(%error, "the kernel's tables can't be searched for entries without a grant");
            Ok(0)
        }
        Err(error) => Err(Unavailable::UnknownEntries(error.into()).into()),
    }
}
