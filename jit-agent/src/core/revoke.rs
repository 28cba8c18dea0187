//! Revocation of grants, in the order kernel, store, answer.

use jit_api::wire::{Grant, GrantState, Revocation};
use jit_policy::{EntryKey, GrantId, Right, Selection, audit::AuditEvent, is_of};

use super::{Core, Ended, Particulars, backlog::Closing, peer::Peer, refusal::Refusal};
use crate::store;

impl Core {
    pub(super) fn revoke(&mut self, peer: &Peer, selection: &Selection, reason: &str) -> Result<Revocation, Refusal> {
        let anybodys = self.access.has(peer, Right::RevokeAny);
        if !anybodys {
            // A requester may also end their own grants, and no others.
            self.access.check(peer, Right::Request)?;
            if !matches!(selection, Selection::Ids(_)) {
                self.access.check(peer, Right::RevokeAny)?;
            }
        }
        let mut revoked: Vec<Grant> = Vec::new();
        let mut ended = Vec::new();
        for id in self.selected(selection, (!anybodys).then_some(peer.uid))? {
            if let Some(Ended { grant, particulars, connections }) = self.take_out(id) {
                ended.push((id, connections));
                let reason = (!reason.is_empty()).then(|| reason.to_owned());
                let view = self.live_view(&grant, &particulars);
                revoked.push(view.over(GrantState::Revoked, reason, self.clock.wall()));
            }
        }
        self.settle();
        let other_entries = if *selection == Selection::All { self.close_other_entries()? } else { 0 };

        if !revoked.is_empty() {
            let ending = self.ending(store::GrantEnd::Revoked, Some(peer.actor()), reason);
            self.record(Closing::Ended(ended, ending));
        }
        let closed = AuditEvent::EntriesClosed { entries: other_entries, by: peer.person(), reason: reason.to_owned() };
        let noted = other_entries == 0 || self.note(&closed);
        // The backlog is written now, because a repeated command asks whether the earlier closings are written.
        self.write_backlog();
        let durable = noted && self.backlog.is_empty() && self.store.is_ok();
        Ok(Revocation { revoked, other_entries, durable })
    }

    /// Returns the grants to end. An error says that a named grant never existed. `of` restricts the selection to one
    /// user, and grants of others count as unknown.
    fn selected(&mut self, selection: &Selection, of: Option<u32>) -> Result<Vec<GrantId>, Refusal> {
        if *selection == Selection::All {
            return Ok(self.book.iter().map(|grant| grant.id).collect());
        }
        let store = self.store.as_ref().map_err(|problem| {
            Refusal::Unavailable(format!(
                "without the store nobody can tell which of the kernel's entries belong to which grant or user; \
                 `jitctl revoke --all` closes every one: {problem}"
            ))
        })?;
        match selection {
            Selection::Ids(ids) => {
                let is_theirs = |uid: u32| of.is_none_or(|of| uid == of);
                let (live, others): (Vec<_>, Vec<_>) =
                    ids.iter().partition(|id| self.particulars.get(*id).is_some_and(|grant| is_theirs(grant.uid)));
                for id in others {
                    match store.grant(id) {
                        Ok(Some(row)) if is_theirs(row.uid) => {}
                        Ok(_) => return Err(Refusal::NotFound { what: "grant", id: id.0 }),
                        // This grant isn't live. The error must not keep the live grants open.
                        Err(error) => tracing::warn!(%error, grant = %id, "not live; whether it ever was is unknown"),
                    }
                }
                Ok(live)
            }
            Selection::User(name) => {
                let theirs =
                    |(id, particulars): (&GrantId, &Particulars)| is_of(&particulars.requestor, name).then_some(*id);
                Ok(self.particulars.iter().filter_map(theirs).collect())
            }
            Selection::All => Ok(Vec::new()),
        }
    }

    /// Closes the kernel's entries that are not in the book, mostly grants of a store that can't be read. Returns how
    /// many of the entries were still open.
    fn close_other_entries(&mut self) -> Result<usize, Refusal> {
        let entries = match self.datapath.entries() {
            Ok(entries) => entries,
            // The book has all grants, so no other entries are expected.
            Err(error) if self.store.is_ok() => {
                tracing::error!(%error, "the kernel's tables can't be searched for entries without a grant");
                return Ok(0);
            }
            Err(error) => {
                return Err(Refusal::Unavailable(format!(
                    "what is open can't be told, since neither the kernel's tables nor the store can be read: \
                     {error}; every entry ends on time"
                )));
            }
        };
        let now = self.clock.boot();
        let others: Vec<_> = entries.into_iter().filter(|(entry, _)| self.book.effective(entry).is_none()).collect();
        let changes: Vec<_> = others.iter().map(|(entry, _): &(EntryKey, _)| self.intended(*entry)).collect();
        self.enforce(&changes);
        Ok(others.iter().filter(|(_, deadline)| *deadline > now).count())
    }
}
