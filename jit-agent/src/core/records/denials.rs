//! Refusals in the audit log. Each refusal is written, but repeated refusals of the same person are only counted, so
//! that nobody can fill the disk.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use jit_policy::{
    BootTime, Person,
    audit::{Attempt, AuditEvent, Grounds, IfAny, Repeated},
};

use crate::core::{peer::Peer, refusal::Refusal};

/// How long further refusals of a person are counted instead of written.
const FOLDING: Duration = Duration::from_secs(60);

/// A refusal because a person lacks a right or violates a policy.
#[derive(Clone, Debug)]
pub(super) struct Denial {
    by: Person,
    attempt: Attempt,
    grounds: Grounds,
}

impl Denial {
    /// Makes a refusal for the audit log. `None`: the refusal is about something that is missing or broken, and not a
    /// decision about a person's rights.
    pub(super) fn of(peer: &Peer, attempt: Attempt, refusal: &Refusal) -> Option<Self> {
        let grounds = match refusal {
            Refusal::NotPermitted { .. } | Refusal::OwnRequest { .. } | Refusal::LoginUnknown { .. } => {
                Grounds::Reason(refusal.to_string())
            }
            Refusal::Violations(violations) => Grounds::violations(violations),
            Refusal::Change(_)
            | Refusal::NotFound { .. }
            | Refusal::Conflict(_)
            | Refusal::KeyReused(_)
            | Refusal::Full(_)
            | Refusal::Unavailable(_) => return None,
        };
        Some(Self { by: peer.person(), attempt, grounds })
    }

    fn event(self, repeated: Option<Repeated>) -> AuditEvent {
        let Self { by, attempt, grounds } = self;
        let (requestor, uid, repeated) = (by.name.clone(), by.uid, IfAny(repeated));
        AuditEvent::Refused { requestor, uid, by, attempt, grounds, repeated }
    }
}

/// The refusals that are not written yet, by user id of the person.
#[derive(Debug, Default)]
pub(super) struct Denials(HashMap<u32, Folded>);

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
        let Some(folded) = self.0.get_mut(&denial.by.uid) else {
            self.0.insert(denial.by.uid, Folded { until: now.after(FOLDING), unwritten: None });
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
