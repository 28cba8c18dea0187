//! Conversions from the core's answers to the API's answers.

use jit_api::wire::{AuditEntry, AuditHead, AuditVerification, PortChange, Reloaded};
use jit_policy::hex;
use serde_json::Value;

use crate::{
    core::change::Changed,
    store::{AuditRow, Verification},
};

impl From<AuditRow> for AuditEntry {
    fn from(row: AuditRow) -> Self {
        let AuditRow { seq, wall, event, detail, hash } = row;
        let detail = serde_json::from_str(&detail).unwrap_or(Value::String(detail));
        Self { seq, time_utc: wall, event, detail, hash: hex::encode(&hash) }
    }
}

impl From<Verification> for AuditVerification {
    fn from(found: Verification) -> Self {
        let Verification { first, rows, head, fault } = found;
        Self {
            ok: fault.is_none(),
            rows,
            first,
            head: AuditHead { seq: head.seq, hash: hex::encode(&head.hash) },
            fault: fault.map(|fault| fault.to_string()),
        }
    }
}

impl From<Changed> for PortChange {
    fn from(done: Changed) -> Self {
        let Changed { port, changed: _, effects, durable, version: _, trial } = done;
        Self { port, effects, durable, trial }
    }
}

impl From<Changed> for Reloaded {
    fn from(done: Changed) -> Self {
        let Changed { port: _, changed, effects, durable, version: _, trial } = done;
        Self { changed, effects, durable, trial }
    }
}
