//! What a core could say.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use jit_common::reason::{Reason, Verdict};
use jit_policy::{GrantId, Packet, PortId, PortPolicy, Protocol, RequestId, RequestedPort, Session, TrialKind, Until};
use serde_json::json;

use crate::{
    core::view::{
        Cover, EnforcementView, GrantStatus, GrantView, Peer, PendingView, PortView, RequestView, SessionView,
        StatusView, TrialView, WhyView,
    },
    datapath::InterfaceView,
    store::{RequestState, Store},
};

pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn status() -> StatusView {
    StatusView {
        mode: "enforce",
        version: "0.1.0",
        interfaces: vec![InterfaceView {
            name: "eth0".to_owned(),
            index: Some(2),
            attached: Some("native"),
            layer: Some("ethernet"),
            ..InterfaceView::default()
        }],
        uncovered: Vec::new(),
        intended_grants: 1,
        enforced_grants: 1,
        counters: vec![
            ("enforce", Reason::HostGrant, 1234),
            ("enforce", Reason::NoGrant, 56),
            ("enforce", Reason::GrantExpired, 0),
        ],
        faults: Vec::new(),
        warnings: Vec::new(),
        trial: None,
    }
}

/// A trial runs, and one of two who are connected is let in.
pub fn enforcement() -> EnforcementView {
    let session =
        |source: &str, covered| SessionView { session: Session { source: source.parse().unwrap(), port: 22 }, covered };
    let until = time("2026-11-22T16:10:22Z");
    EnforcementView {
        mode: "enforce",
        trial: Some(TrialView { kind: TrialKind::Enable, until, remaining: Duration::from_secs(600) }),
        unloaded: None,
        ports: vec![port().policy.id],
        sessions: vec![session("192.0.2.10", Some(Cover::Grant(GrantId(17)))), session("192.0.2.11", None)],
        sessions_fault: None,
        break_glass: vec!["203.0.113.7/32".parse().unwrap()],
        delegates: vec!["pusher".to_owned()],
    }
}

pub fn port() -> PortView {
    PortView {
        policy: PortPolicy {
            allowed_sources: vec!["198.51.100.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            ..PortPolicy::new(PortId { number: 3389, protocol: Protocol::Any })
        },
        live_grants: 1,
        passed: 1200,
        dropped: 56,
        observed: 0,
        approved_requests: Some(4),
        last_connection: Some(time("2026-11-22T15:00:00Z")),
        last_user: Some("ann".to_owned()),
    }
}

pub fn grant(id: i64) -> GrantView {
    GrantView {
        id: GrantId(id),
        request: RequestId(9),
        port: PortId { number: 22, protocol: Protocol::Tcp },
        source: "192.0.2.10/32".parse().unwrap(),
        requestor: "ann".to_owned(),
        start: time("2026-11-22T16:00:00Z"),
        end: time("2026-11-22T16:30:12Z"),
        remaining: Duration::from_millis(1_789_500),
        status: GrantStatus::Live,
        status_reason: None,
        last_packet: None,
        last_connection: None,
    }
}

pub fn why(packet: Packet) -> WhyView {
    WhyView {
        packet,
        verdict: Verdict::Pass,
        reason: Some(Reason::HostGrant),
        mode: "enforce",
        explanation: "grant 17 of ann lets in 192.0.2.10/32 to 22/tcp".to_owned(),
        advice: None,
        grants: vec![grant(17)],
    }
}

pub fn request() -> RequestView {
    RequestView {
        id: RequestId(9),
        requestor: "ann".to_owned(),
        uid: 1000,
        justification: "ticket 7".to_owned(),
        start: time("2026-11-22T16:00:00Z"),
        status: RequestState::Approved,
        status_reason: None,
        decided_by: None,
        pending: None,
        grants: vec![grant(17)],
    }
}

/// A request that waits for approval.
pub fn pending() -> RequestView {
    let port = RequestedPort {
        number: 22,
        protocol: None,
        sources: vec!["192.0.2.10/32".parse().unwrap()],
        until: Until::For(Duration::from_secs(1800)),
    };
    let pending = PendingView { ports: vec![port], extends: None, until: time("2026-11-22T17:00:00Z") };
    RequestView { status: RequestState::Pending, pending: Some(pending), grants: Vec::new(), ..request() }
}

pub(super) fn closed(id: RequestId, peer: Peer, status: RequestState, reason: String) -> RequestView {
    let (decided_by, status_reason) = (Some(peer.name), Some(reason));
    RequestView { id, status, status_reason, decided_by, grants: Vec::new(), ..request() }
}

/// A store whose audit log has a grant, its revocation, and `more` events of which texts try to be formulas.
pub fn audit_log(directory: &Path, more: usize) -> Store {
    let mut store = Store::open(directory).unwrap();
    let granted = json!({
        "grant": 17, "request": 9, "number": 22, "protocol": "tcp", "source": "192.0.2.10/32",
        "end": "2026-11-22T16:30:12Z", "uid": 1000, "requestor": "ann",
    });
    store.record_event(time("2026-11-22T16:00:00Z"), "granted", &granted).unwrap();
    let revoked = json!({
        "grant": 17, "number": 22, "protocol": "tcp", "source": "192.0.2.10/32", "requestor": "ann",
        "by": { "uid": 0, "name": "root", "login_uid": 1001 }, "reason": "said \"no\",\nand meant it\u{1b}",
    });
    store.record_event(time("2026-11-22T16:00:10Z"), "revoked", &revoked).unwrap();
    for index in 0..more {
        let detail = json!({ "requestor": "=cmd()", "justification": "@x", "reason": "-1", "count": index });
        store.record_event(time("2026-11-22T16:00:20Z"), "denied", &detail).unwrap();
    }
    store
}
