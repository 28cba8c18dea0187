//! What the core says as the API says it.

use jiff::SignedDuration;
use jit_api::wire::{
    AuditEntry, AuditHead, AuditVerification, Connected, Counter, Effects, Enforcement, EnforcementChange, Grant,
    GrantCounts, GrantState, Interface, PacketEvent, Pending, PendingPort, Port, PortChange, Reloaded, Request,
    RequestState, Revocation, Status, Trial, Uncovered, WaysBack, Why, transport_name,
};
use jit_common::abi::Mode;
use jit_policy::{self as policy, PortPolicy, Session as Seen, TrialKind, Until, hex, iso_span};
use serde_json::Value;

use crate::{
    core::{
        change::{Changed, Effects as Done},
        view::{
            Cover, Enabled as EnabledView, EnforcementView, GrantStatus, GrantView, PendingView, PortView, RequestView,
            Revocation as Revoked, SessionView, StatusView, TrialView, WhyView,
        },
    },
    datapath::{InterfaceView, UncoveredView},
    events,
    store::{self, AuditRow, Verification},
};

impl From<PortView> for Port {
    fn from(view: PortView) -> Self {
        let PortView { policy, live_grants, passed, dropped, observed, approved_requests, last_connection, last_user } =
            view;
        let PortPolicy { id, allowed_sources, max_duration, approval, approval_timeout, justification, quota } = policy;
        Self {
            number: id.number,
            protocol: id.protocol.wire_name().to_owned(),
            allowed_source_address_prefixes: allowed_sources.iter().map(ToString::to_string).collect(),
            max_request_access_duration: iso_span(max_duration),
            approval: approval.name().to_owned(),
            approval_timeout: iso_span(approval_timeout),
            justification: justification.name().to_owned(),
            quota,
            live_grants: live_grants as u64,
            passed_packets: passed,
            dropped_packets: dropped,
            observed_packets: observed,
            approved_requests,
            last_connection_time_utc: last_connection,
            last_user,
        }
    }
}

impl From<GrantView> for Grant {
    fn from(view: GrantView) -> Self {
        let GrantView {
            id,
            request,
            port,
            source,
            requestor,
            start,
            end,
            remaining,
            status,
            status_reason,
            last_packet,
            last_connection,
        } = view;
        Self {
            id: id.0,
            request_id: request.0,
            number: port.number,
            protocol: port.protocol.wire_name().to_owned(),
            source: source.to_string(),
            requestor,
            start_time_utc: start,
            end_time_utc: end,
            remaining_seconds: remaining.as_secs() + u64::from(remaining.subsec_nanos() > 0),
            status: match status {
                GrantStatus::Live => GrantState::Live,
                GrantStatus::Expired => GrantState::Expired,
                GrantStatus::Revoked => GrantState::Revoked,
                GrantStatus::Ended => GrantState::Ended,
            },
            status_reason,
            last_packet_time_utc: last_packet,
            last_connection_time_utc: last_connection,
        }
    }
}

impl From<Revoked> for Revocation {
    fn from(done: Revoked) -> Self {
        let Revoked { revoked, other_entries, durable } = done;
        Self { revoked: revoked.into_iter().map(Grant::from).collect(), other_entries, durable }
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

impl From<TrialView> for Trial {
    fn from(view: TrialView) -> Self {
        let TrialView { kind, until, remaining } = view;
        let kind = match kind {
            TrialKind::Enable => "enable",
            TrialKind::Ports => "ports",
            TrialKind::Reload => "reload",
        };
        // Whole seconds are exact enough for people and programs; a trial that runs has one left at least.
        let seconds = remaining.as_millis().div_ceil(1000);
        let remaining = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        Self { kind: kind.to_owned(), until_utc: until, remaining: remaining.to_string() }
    }
}

impl From<SessionView> for Connected {
    fn from(view: SessionView) -> Self {
        let SessionView { session: Seen { source, port }, covered } = view;
        let grant = match covered {
            Some(Cover::Grant(id)) => Some(id.0),
            Some(Cover::BreakGlass) | None => None,
        };
        Self { source: source.to_string(), port, break_glass: covered == Some(Cover::BreakGlass), grant }
    }
}

impl From<EnforcementView> for Enforcement {
    fn from(view: EnforcementView) -> Self {
        let EnforcementView { mode, trial, unloaded, ports, sessions, sessions_fault, break_glass, delegates } = view;
        Self {
            mode: mode.to_owned(),
            trial: trial.map(Trial::from),
            unloaded,
            ports: ports.iter().map(ToString::to_string).collect(),
            connected: sessions.into_iter().map(Connected::from).collect(),
            connected_fault: sessions_fault,
            ways_back: WaysBack { break_glass: break_glass.iter().map(ToString::to_string).collect(), delegates },
        }
    }
}

impl From<EnabledView> for EnforcementChange {
    fn from(view: EnabledView) -> Self {
        let EnabledView { enforcement, grant, durable } = view;
        Self { enforcement: enforcement.into(), grant: grant.map(Grant::from), durable }
    }
}

/// A change of enforcement that made no grant.
pub(super) fn change_of((enforcement, durable): (EnforcementView, bool)) -> EnforcementChange {
    EnforcementChange { enforcement: enforcement.into(), grant: None, durable }
}

impl From<events::PacketEvent> for PacketEvent {
    fn from(event: events::PacketEvent) -> Self {
        let events::PacketEvent { time, flow, reason, mode, interface } = event;
        Self {
            time_utc: time,
            source: flow.map(|(source, ..)| source),
            number: flow.map(|(_, number, _)| number),
            protocol: flow.map(|(.., transport)| transport_name(transport).to_owned()),
            interface,
            verdict: if mode == Mode::Observe { "pass" } else { reason.verdict().name() }.to_owned(),
            reason: reason.name().to_owned(),
            mode: mode.name().to_owned(),
        }
    }
}

impl From<WhyView> for Why {
    fn from(view: WhyView) -> Self {
        let WhyView { packet, verdict, reason, mode, explanation, advice, grants } = view;
        Self {
            source: packet.source,
            number: packet.number,
            protocol: transport_name(packet.transport).to_owned(),
            verdict: verdict.name().to_owned(),
            reason: reason.map(|reason| reason.name().to_owned()),
            mode: mode.to_owned(),
            explanation,
            advice,
            grants: grants.into_iter().map(Grant::from).collect(),
        }
    }
}

impl From<Done> for Effects {
    fn from(done: Done) -> Self {
        let Done { opened, ended, shortened } = done;
        let grants = |views: Vec<_>| views.into_iter().map(Grant::from).collect();
        Self { opened, ended: grants(ended), shortened: grants(shortened) }
    }
}

impl From<Changed> for PortChange {
    fn from(done: Changed) -> Self {
        let Changed { port, changed: _, effects, durable, version: _, trial } = done;
        Self { port: port.map(Port::from), effects: effects.into(), durable, trial: trial.map(Trial::from) }
    }
}

impl From<Changed> for Reloaded {
    fn from(done: Changed) -> Self {
        let Changed { port: _, changed, effects, durable, version: _, trial } = done;
        Self { changed, effects: effects.into(), durable, trial: trial.map(Trial::from) }
    }
}

impl From<PendingView> for Pending {
    fn from(view: PendingView) -> Self {
        let PendingView { ports, extends, until } = view;
        let ports = ports.into_iter().map(pending_port).collect();
        Self { until_utc: until, extends: extends.map(|grant| grant.0), ports }
    }
}

fn pending_port(port: policy::RequestedPort) -> PendingPort {
    let policy::RequestedPort { number, protocol, sources, until } = port;
    let (duration, end_time_utc) = match until {
        Until::For(duration) => (Some(iso_span(duration)), None),
        Until::Time(end) => (None, Some(end)),
    };
    PendingPort {
        number,
        protocol: protocol.map(|protocol| protocol.wire_name().to_owned()),
        allowed_source_address_prefixes: sources.iter().map(ToString::to_string).collect(),
        duration,
        end_time_utc,
    }
}

impl From<RequestView> for Request {
    fn from(view: RequestView) -> Self {
        let RequestView {
            id,
            requestor,
            uid,
            justification,
            start,
            status,
            status_reason,
            decided_by,
            pending,
            grants,
        } = view;
        Self {
            id: id.0,
            requestor,
            requestor_uid: uid,
            justification,
            start_time_utc: start,
            status: match status {
                store::RequestState::Pending => RequestState::Pending,
                store::RequestState::Approved => RequestState::Approved,
                store::RequestState::Denied => RequestState::Denied,
                store::RequestState::Cancelled => RequestState::Cancelled,
                store::RequestState::TimedOut => RequestState::TimedOut,
                store::RequestState::Failed => RequestState::Failed,
            },
            status_reason,
            decided_by,
            pending: pending.map(Pending::from),
            grants: grants.into_iter().map(Grant::from).collect(),
        }
    }
}

impl From<StatusView> for Status {
    fn from(view: StatusView) -> Self {
        let StatusView {
            mode,
            version,
            interfaces,
            uncovered,
            intended_grants,
            enforced_grants,
            counters,
            faults,
            warnings,
            trial,
        } = view;
        Self {
            mode: mode.to_owned(),
            version: version.to_owned(),
            interfaces: interfaces.into_iter().map(Interface::from).collect(),
            uncovered: uncovered.into_iter().map(Uncovered::from).collect(),
            grants: GrantCounts { intended: intended_grants as u64, enforced: enforced_grants as u64 },
            counters: counters
                .into_iter()
                .map(|(mode, reason, packets)| Counter {
                    mode: mode.to_owned(),
                    reason: reason.name().to_owned(),
                    verdict: reason.verdict().name().to_owned(),
                    packets,
                })
                .collect(),
            faults,
            warnings,
            trial: trial.map(Trial::from),
        }
    }
}

impl From<InterfaceView> for Interface {
    fn from(view: InterfaceView) -> Self {
        let InterfaceView { name, index, attached, layer, note, covered_after, fault } = view;
        Self {
            name,
            index,
            attached: attached.map(str::to_owned),
            layer: layer.map(str::to_owned),
            note,
            covered_after_ms: covered_after.map(|after| after.as_micros().div_ceil(1000) as u64),
            fault,
        }
    }
}

impl From<UncoveredView> for Uncovered {
    fn from(view: UncoveredView) -> Self {
        let UncoveredView { name, index, addresses, reason, is_chosen: _ } = view;
        Self { name, index, addresses: addresses.iter().map(ToString::to_string).collect(), reason }
    }
}
