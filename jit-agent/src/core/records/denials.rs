//! Refusals in the audit log. Each refusal is written, but repeated refusals of the same person are only counted, so
//! that nobody can fill the disk. All users without a role count as one person, and of what they ask for only the kind is
//! written.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use jit_policy::{
    BootTime, Person,
    audit::{Attempt, AuditEvent, Grounds, IfAny, Repeated},
};

use crate::core::{peer::Peer, refusal::Refusal};

/// How long further refusals of a person are counted instead of written.
const FOLDING: Duration = Duration::from_secs(60);
/// The largest number of persons whose refusals are counted each. Further persons count as if they had no role.
const PERSONS: usize = 1024;

/// What a person attempts, as far as refusals are about it.
#[derive(Clone, Debug)]
pub(in super::super) struct Attempted {
    by: Person,
    has_role: bool,
    attempt: Attempt,
}

impl Attempted {
    pub(in super::super) fn new(peer: &Peer, has_role: bool, attempt: Attempt) -> Self {
        // Whoever has no role decides nothing about what the log has, except that they asked.
        let attempt = if has_role { attempt } else { attempt.kind_only() };
        Self { by: peer.person(), has_role, attempt }
    }
}

/// A refusal because a person lacks a right or violates a policy.
#[derive(Clone, Debug)]
pub(super) struct Denial {
    attempted: Attempted,
    grounds: Grounds,
}

impl Denial {
    /// Makes a refusal for the audit log. `None`: the refusal is about something that is missing or broken, and not a
    /// decision about a person's rights.
    pub(super) fn of(attempted: Attempted, refusal: &Refusal) -> Option<Self> {
        let grounds = match refusal {
            Refusal::NotPermitted { .. }
            | Refusal::NotListed { .. }
            | Refusal::OwnRequest { .. }
            | Refusal::LoginUnknown { .. }
            | Refusal::NameUnknown { .. } => Grounds::Reason(refusal.to_string()),
            Refusal::Violations(violations) => Grounds::violations(violations),
            Refusal::Change(_)
            | Refusal::NotFound { .. }
            | Refusal::Conflict(_)
            | Refusal::KeyReused(_)
            | Refusal::OverBudget { .. }
            | Refusal::Full(_)
            | Refusal::Unavailable(_) => return None,
        };
        Some(Self { attempted, grounds })
    }

    fn event(self, repeated: Option<Repeated>) -> AuditEvent {
        let Self { attempted: Attempted { by, has_role: _, attempt }, grounds } = self;
        let (requestor, uid, repeated) = (by.name.clone(), by.uid, IfAny(repeated));
        AuditEvent::Refused { requestor, uid, by, attempt, grounds, repeated }
    }
}

/// The refusals that are not written yet, by user id of the person. All users without a role are `None`.
#[derive(Debug, Default)]
pub(super) struct Denials(BTreeMap<Option<u32>, Folded>);

#[derive(Debug)]
struct Folded {
    until: BootTime,
    unwritten: Option<Unwritten>,
}

/// The refusals of one person that are only counted.
#[derive(Debug)]
struct Unwritten {
    repeated: Repeated,
    last: Denial,
}

impl Denials {
    /// Returns the event to write now for a refusal. `None`: the refusal is counted and written later.
    pub(super) fn fold(&mut self, denial: Denial, (now, wall): (BootTime, Timestamp)) -> Option<AuditEvent> {
        let Attempted { by, has_role, attempt: _ } = &denial.attempted;
        let own = Some(by.uid).filter(|_| *has_role);
        let has_place = self.0.len() < PERSONS || self.0.contains_key(&own);
        let key = own.filter(|_| has_place);
        let Some(folded) = self.0.get_mut(&key) else {
            self.0.insert(key, Folded { until: now.after(FOLDING), unwritten: None });
            return Some(denial.event(None));
        };
        let so_far = folded.unwritten.take().map(|unwritten| unwritten.repeated);
        let Repeated { count, since } = so_far.unwrap_or(Repeated { count: 0, since: wall });
        folded.unwritten = Some(Unwritten { repeated: Repeated { count: count + 1, since }, last: denial });
        None
    }

    /// Returns the events for counted refusals whose time is over. `all` returns the events for all counted refusals.
    pub(super) fn due(&mut self, now: BootTime, all: bool) -> Vec<AuditEvent> {
        let mut due = Vec::new();
        self.0.retain(|_, folded| {
            if folded.until > now && !all {
                return true;
            }
            let Some(Unwritten { repeated, last }) = folded.unwritten.take() else { return false };
            due.push(last.event(Some(repeated)));
            folded.until = now.after(FOLDING);
            true
        });
        due
    }

    /// The moment at which the next counted refusals are due.
    pub(super) fn next(&self) -> Option<BootTime> {
        self.0.values().map(|folded| folded.until).min()
    }
}
