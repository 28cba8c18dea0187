//! Refusals in the audit log: each one, unless somebody is refused again and again. Then they are counted, so that nobody
//! can fill the disk.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use jit_policy::{BootTime, Person, Submission, Violation};
use serde_json::{Value, json};

use super::view::{Peer, Refusal};
use crate::store::{asked_ports, person};

/// How many violations of one request are listed before the rest is only counted.
const LISTED_VIOLATIONS: usize = 20;
/// For how long further refusals of a person are counted instead of written.
const FOLDING: Duration = Duration::from_secs(60);

/// The refusals that are not written yet, by user id.
#[derive(Debug, Default)]
pub(super) struct Denials(HashMap<u32, Folded>);

#[derive(Debug)]
struct Folded {
    until: BootTime,
    count: u64,
    first: Timestamp,
    /// What the last one was about.
    last: Value,
}

impl Denials {
    /// What to write of a refusal now; `None`: it is counted and written later.
    pub(super) fn fold(&mut self, peer: &Peer, detail: Value, (now, wall): (BootTime, Timestamp)) -> Option<Value> {
        let detail = of_person(&peer.person(), detail);
        match self.0.get_mut(&peer.uid) {
            Some(folded) => {
                if folded.count == 0 {
                    folded.first = wall;
                }
                folded.count += 1;
                folded.last = detail;
                None
            }
            None => {
                let until = now.after(FOLDING);
                self.0.insert(peer.uid, Folded { until, count: 0, first: wall, last: Value::Null });
                Some(detail)
            }
        }
    }

    /// What to write of those whose time is over; all of them, if `all`.
    pub(super) fn due(&mut self, now: BootTime, all: bool) -> Vec<Value> {
        let mut due = Vec::new();
        self.0.retain(|_, folded| {
            if folded.until > now && !all {
                return true;
            }
            if folded.count == 0 {
                return false;
            }
            let mut detail = std::mem::take(&mut folded.last);
            detail["count"] = folded.count.into();
            detail["since"] = folded.first.to_string().into();
            due.push(detail);
            folded.count = 0;
            folded.until = now.after(FOLDING);
            true
        });
        due
    }

    /// When the next ones are due.
    pub(super) fn next(&self) -> Option<BootTime> {
        self.0.values().map(|folded| folded.until).min()
    }
}

fn of_person(who: &Person, detail: Value) -> Value {
    let mut whole = json!({ "requestor": who.name, "uid": who.uid, "by": person(who) });
    if let (Some(whole), Value::Object(detail)) = (whole.as_object_mut(), detail) {
        whole.extend(detail);
    }
    whole
}

impl Refusal {
    /// Whether it is a decision on what someone may do, and not about something that is missing or broken.
    pub(super) fn is_denial(&self) -> bool {
        match self {
            Self::NotPermitted { .. } | Self::OwnRequest { .. } | Self::Violations(_) => true,
            Self::Change(_)
            | Self::NotFound { .. }
            | Self::Conflict(_)
            | Self::KeyReused(_)
            | Self::Full(_)
            | Self::Unavailable(_) => false,
        }
    }

    /// What the audit log says of it, where it concerns something that has a number.
    pub(super) fn of(&self, action: &str, what: &str, id: i64) -> Value {
        let mut detail = json!({ "action": action, what: id });
        self.explain(&mut detail);
        detail
    }

    /// What the audit log says of it, where it concerns a new request.
    pub(super) fn of_submission(&self, submission: &Submission) -> Value {
        let Submission { request, named, key: _ } = submission;
        let mut detail = json!({
            "action": "request",
            "justification": request.justification,
            "ports": asked_ports(&request.ports),
        });
        if let Some(named) = named {
            detail["named"] = named.as_str().into();
        }
        self.explain(&mut detail);
        detail
    }

    fn explain(&self, detail: &mut Value) {
        let Self::Violations(violations) = self else {
            detail["reason"] = self.to_string().into();
            return;
        };
        let show = |Violation { port, field, given, allowed }: &Violation| -> Value {
            json!({ "port": port, "field": field, "given": given, "allowed": allowed })
        };
        detail["violations"] = violations.iter().take(LISTED_VIOLATIONS).map(show).collect();
        detail["violation_count"] = violations.len().into();
    }
}
