//! Explains what would happen to a packet, and which grant or which missing grant decides.

use ipnet::IpNet;
use jit_api::wire::{Grant, Why};
use jit_common::{
    abi::{Mode, Transport},
    reason::{Reason, Verdict},
};
use jit_policy::{Packet, Protocol, Right};

use super::{
    Core,
    handle::CoreHandle,
    live::LiveGrants,
    peer::Peer,
    refusal::{Refusal, Unavailable},
    settings::Settings,
};
use crate::datapath::{Datapath, Trace};

impl CoreHandle {
    /// Returns what would happen to a packet now, and why.
    ///
    /// # Errors
    /// The peer is not permitted, or the tables can't be read.
    pub async fn why(&self, peer: Peer, packet: Packet) -> Result<Why, Refusal> {
        self.ask(move |core| core.why(&peer, &packet)).await
    }
}

impl Core {
    pub(super) fn why(&self, peer: &Peer, packet: &Packet) -> Result<Why, Refusal> {
        self.settings.check(peer, Right::ReadAll)?;
        if let Some(explanation) = not_filtered(packet, self.live.datapath()) {
            let advice = Some("see `jitctl status` for the interfaces that are covered".to_owned());
            let decision = (Verdict::Pass, None, self.settings.config().mode);
            return Ok(answer(packet, decision, explanation, advice, Vec::new()));
        }
        let trace = self.live.datapath().trace(packet).map_err(|error| Unavailable::Kernel(error.into()))?;
        let grants = deciding(packet, &trace, &self.live);
        let observed = trace.mode == Mode::Observe && trace.reason.verdict() == Verdict::Drop;
        let mut explanation = explanation(packet, &trace, &grants);
        if observed {
            explanation.push_str("; it would be dropped, but the agent only observes");
        }
        let verdict = if observed { Verdict::Pass } else { trace.reason.verdict() };
        let advice = advice(packet, &trace, &self.settings);
        Ok(answer(packet, (verdict, Some(trace.reason), trace.mode), explanation, advice, grants))
    }
}

/// Why the program would not see the packet. `None`: the program would see it.
fn not_filtered(packet: &Packet, datapath: &dyn Datapath) -> Option<String> {
    let interfaces = datapath.interfaces();
    let Some(name) = &packet.interface else {
        let covered = interfaces.iter().any(|interface| interface.attached.is_some());
        return (!covered).then(|| "the program is on no interface, so nothing is filtered".to_owned());
    };
    let covered = interfaces.iter().any(|interface| interface.name == *name && interface.attached.is_some());
    (!covered).then(|| format!("the program is not on {name}, so nothing is filtered there"))
}

/// The live grants that admit the packet, ordered by their end.
fn deciding(packet: &Packet, trace: &Trace, live: &LiveGrants) -> Vec<Grant> {
    if !matches!(trace.reason, Reason::HostGrant | Reason::PrefixGrant) {
        return Vec::new();
    }
    let admitting = live.admitting(packet.number, packet.transport, packet.source);
    admitting.map(|(grant, particulars)| live.view(grant, particulars)).collect()
}

fn explanation(packet: &Packet, trace: &Trace, grants: &[Grant]) -> String {
    let port = port_name(packet);
    let source = packet.source;
    let prefix = trace.entry.map(|(prefix, _)| prefix).unwrap_or_else(|| IpNet::from(source));
    match trace.reason {
        Reason::UnprotectedPort => format!("no policy protects {port}"),
        Reason::HostGrant | Reason::PrefixGrant => match grants.last() {
            Some(grant) => format!("grant {} of {} lets in {prefix} to {port}", grant.id.0, grant.requestor),
            None => {
                format!("the kernel's tables let in {prefix} to {port} for a grant that the agent does not know")
            }
        },
        Reason::BreakGlass => format!("{prefix} is listed in break_glass"),
        Reason::GrantExpired => format!("the last grant for {prefix} to {port} has ended"),
        Reason::Forwarded => "the host forwards it to another one, and on this interface only packets for the \
                              host itself count"
            .to_owned(),
        _ => format!("{port} is protected and no live grant is for {source}"),
    }
}

fn advice(packet: &Packet, trace: &Trace, settings: &Settings) -> Option<String> {
    if !matches!(trace.reason, Reason::NoGrant | Reason::GrantExpired) {
        return None;
    }
    let policy = settings.policy_for(packet)?;
    if policy.allows_source(&IpNet::from(packet.source)) {
        return Some(format!(
            "request it: jitctl request --port {}/{} --from {} --for 1h -m \"the reason\"",
            packet.number,
            requested_protocol(packet.transport),
            packet.source
        ));
    }
    let allowed: Vec<String> = policy.allowed_sources.iter().map(ToString::to_string).collect();
    Some(format!(
        "the policy of {} allows sources within {} only; an admin can change that",
        policy.id,
        allowed.join(", ")
    ))
}

fn answer(
    packet: &Packet,
    (verdict, reason, mode): (Verdict, Option<Reason>, Mode),
    explanation: String,
    advice: Option<String>,
    grants: Vec<Grant>,
) -> Why {
    Why {
        source: packet.source,
        number: packet.number,
        protocol: packet.transport.into(),
        verdict: verdict.into(),
        reason: reason.map(Into::into),
        mode: mode.into(),
        explanation,
        advice,
        grants,
    }
}

/// The protocol by which a port is requested for a transport. For SCTP that is `any`, because requests have no name for
/// SCTP.
const fn requested_protocol(transport: Transport) -> Protocol {
    match transport {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
        Transport::Sctp => Protocol::Any,
    }
}

fn port_name(packet: &Packet) -> String {
    format!("{}/{}", packet.number, packet.transport.name())
}
