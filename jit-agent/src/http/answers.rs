//! Conversions from the core's answers to the API's answers.

use jit_api::wire::{AuditEntry, AuditHead, AuditVerification, Port, PortActivity, PortChange, PortPatch, Reloaded};
use jit_policy::hex;
use serde_json::Value;

use crate::{
    core::{answer::PortView, change::Changed},
    store::{AuditRow, Verification},
};

impl From<PortView> for Port {
    fn from(view: PortView) -> Self {
        let PortView { policy, live_grants, passed, dropped, observed, approved_requests, last_connection, last_user } =
            view;
        Self {
            number: policy.id.number,
            protocol: policy.id.protocol.into(),
            policy: PortPatch::from(&policy),
            activity: PortActivity {
                live_grants: live_grants as u64,
                passed_packets: passed,
                dropped_packets: dropped,
                observed_packets: observed,
                approved_requests,
                last_connection_time_utc: last_connection,
                last_user,
            },
        }
    }
}

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
        Self { port: port.map(Port::from), effects, durable, trial }
    }
}

impl From<Changed> for Reloaded {
    fn from(done: Changed) -> Self {
        let Changed { port: _, changed, effects, durable, version: _, trial } = done;
        Self { changed, effects, durable, trial }
    }
}
