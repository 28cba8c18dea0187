//! Grants as people see them.

use jit_api::wire::{Grant, GrantState, whole_seconds};
use jit_policy::{BootTime, GrantFilter, GrantId, LiveGrant, Page};

use super::{LiveGrants, Particulars};
use crate::{
    core::refusal::Refusal,
    store::{self, GrantRow},
};

/// The largest number of grants in a page, which has about 1 MiB then.
const LISTED: usize = 2500;

impl LiveGrants {
    /// Returns a grant that was just in the book as people see it.
    pub(in super::super) fn view(&self, grant: &LiveGrant, particulars: &Particulars) -> Grant {
        let Particulars { request, requestor, who, start, opened, .. } = particulars.clone();
        let used = self.used(grant, opened);
        Grant {
            id: grant.id,
            request_id: request,
            number: grant.port.number,
            protocol: grant.port.protocol.into(),
            source: grant.source,
            requestor,
            requestor_login: who.login().map(str::to_owned),
            start_time_utc: start,
            // People read the wall clock, but only BOOTTIME counts. If the wall clock was set, this shows when the
            // grant really ends.
            end_time_utc: self.times.wall_at(grant.end),
            remaining_seconds: whole_seconds(grant.end.since(self.times.now())),
            status: GrantState::Live.into(),
            status_reason: None,
            last_packet_time_utc: used.last_packet,
            last_connection_time_utc: used.last_connection,
        }
    }

    /// Returns a live grant as people see it.
    ///
    /// # Errors
    /// There is no such live grant.
    pub(in super::super) fn view_of(&self, id: GrantId) -> Result<Grant, Refusal> {
        let found = self.get(id).map(|(grant, particulars)| self.view(grant, particulars));
        found.ok_or(Refusal::NotFound { what: "live grant", id: id.0 })
    }

    /// Returns a live grant as people will see it with another end.
    pub(super) fn view_until(&self, id: GrantId, end: BootTime) -> Option<Grant> {
        let (grant, particulars) = self.get(id)?;
        Some(self.view(&LiveGrant { end, ..*grant }, particulars))
    }

    /// Returns a page of the grants whose time is not over, ordered by their end. `of` restricts the page to one user.
    pub(in super::super) fn page(&self, filter: GrantFilter, of: Option<u32>) -> Page<Grant, (BootTime, GrantId)> {
        let GrantFilter { after, limit } = filter;
        let limit = limit.min(LISTED);
        let from = after.unwrap_or_default().max((self.times.now(), GrantId(i64::MAX)));
        let mut live = self.book.after(from).filter_map(|grant| {
            let particulars = self.particulars.get(&grant.id)?;
            of.is_none_or(|uid| particulars.who.sender.uid == uid).then_some((grant, particulars))
        });
        let listed: Vec<_> = live.by_ref().take(limit).collect();
        let next = live.next().and(listed.last()).map(|(grant, _)| (grant.end, grant.id));
        Page { value: listed.into_iter().map(|(grant, particulars)| self.view(grant, particulars)).collect(), next }
    }

    /// Returns a grant of the store as people see it, live or ended.
    pub(in super::super) fn stored_view(&self, row: GrantRow, requestor: &str) -> Grant {
        if let Some((grant, particulars)) = self.get(row.id)
            && grant.end > self.times.now()
        {
            return self.view(grant, particulars);
        }
        Grant {
            id: row.id,
            request_id: row.request,
            number: row.port.number,
            protocol: row.port.protocol.into(),
            source: row.source,
            requestor: requestor.to_owned(),
            requestor_login: row.who.login().map(str::to_owned),
            start_time_utc: row.start,
            end_time_utc: row.ended.unwrap_or(row.end_wall),
            remaining_seconds: 0,
            status: match row.state {
                store::GrantState::Opening | store::GrantState::Live | store::GrantState::Expired => {
                    GrantState::Expired
                }
                store::GrantState::Revoked => GrantState::Revoked,
                store::GrantState::Ended => GrantState::Ended,
            }
            .into(),
            status_reason: row.ended_reason,
            last_packet_time_utc: None,
            last_connection_time_utc: None,
        }
    }
}
