//! Turning enforcement on and off. Enforcement is turned on only as a trial, and only with a fallback.

use std::time::Duration;

use ipnet::IpNet;
use jit_api::wire::{self, Connected, EnforcementChange, Grant, Request, WaysBack};
use jit_common::abi::{Mode, Transport};
use jit_policy::{
    EnableAsked, NewRequest, RequestedPort, Right, Selection, Session, Submission, TrialKind, Until, Violation,
    audit::{Attempt, AuditEvent, WayBack},
};

use super::{
    Core,
    command::Opening,
    handle::CoreHandle,
    opening::Openings,
    peer::Peer,
    refusal::{ChangeRefusal, Conflict, GrantStays, Refusal, Unavailable},
};

/// The longest duration of the operator's own grant if the command gives no duration.
const OWN_GRANT: Duration = Duration::from_secs(3600);

impl CoreHandle {
    /// Returns the state of enforcement, who is connected to the ports, and the fallbacks.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn enforcement(&self, peer: Peer) -> Result<wire::Enforcement, Refusal> {
        let connected = self.presence().peers();
        self.ask(move |core| core.enforcement(&peer, &connected)).await
    }

    /// Starts a trial of enforcement. On return, the ports are closed for all sources without a grant.
    ///
    /// # Errors
    /// The peer is not permitted, enforcement is already on, no fallback exists, the session's source may not be
    /// admitted, the files can't be used, or the store or the kernel is broken. In all these cases nothing is closed.
    pub async fn enable(&self, peer: Peer, asked: EnableAsked) -> Result<EnforcementChange, Refusal> {
        let connected = self.presence().peers();
        let enable = move |core: &mut Core| {
            core.noting_refusal(&peer, Attempt::Enable, |core| core.enable(&peer, &asked, &connected))
        };
        self.ask(enable).await
    }

    /// Ends the trial, or turns enforcement off if no trial runs.
    ///
    /// # Errors
    /// The peer is not permitted, enforcement is already off, the files can't be changed, or the store or the kernel is
    /// broken. In all these cases everything is as before.
    pub async fn disable(&self, peer: Peer) -> Result<EnforcementChange, Refusal> {
        let connected = self.presence().peers();
        let disable =
            move |core: &mut Core| core.noting_refusal(&peer, Attempt::Disable, |core| core.disable(&peer, &connected));
        self.ask(disable).await
    }
}

impl Core {
    /// Returns the state of enforcement, who is connected to the ports, and the fallbacks. `connected` are the peers
    /// that are connected to the socket.
    pub(super) fn enforcement(&mut self, peer: &Peer, connected: &[Peer]) -> Result<wire::Enforcement, Refusal> {
        self.settings.check(peer, Right::ReadAll)?;
        let is_unloaded = self.enforcement.check_unloaded(&mut self.records);
        let unloaded = self.enforcement.unloaded().filter(|_| is_unloaded).map(str::to_owned);
        let config = self.settings.config();
        let protected = config.protection().ports.into_iter();
        let mut numbers: Vec<u16> =
            protected.filter(|port| port.transport == Transport::Tcp).map(|port| port.number).collect();
        numbers.dedup();
        let (sessions, sessions_fault) = self.enforcement.connected(&numbers);
        let connected_now = sessions.into_iter().map(|(source, port)| {
            let break_glass = config.is_break_glass(source);
            let grant = if break_glass { None } else { self.live.granted(&Session { source, port }) };
            Connected { source, port, break_glass, grant }
        });
        let mode = if unloaded.is_some() { Mode::Observe } else { config.mode };
        Ok(wire::Enforcement {
            mode: mode.into(),
            trial: self.enforcement.view(),
            unloaded,
            ports: config.ports.iter().map(|policy| policy.id.to_string()).collect(),
            connected: connected_now.collect(),
            connected_fault: sessions_fault,
            ways_back: WaysBack {
                break_glass: config.break_glass.iter().map(ToString::to_string).collect(),
                delegates: self.settings.delegates(peer, connected),
            },
        })
    }

    /// Starts a trial of enforcement: checks for a fallback, opens the port for the operator, then closes the ports.
    pub(super) fn enable(
        &mut self,
        peer: &Peer,
        asked: &EnableAsked,
        connected: &[Peer],
    ) -> Result<EnforcementChange, Refusal> {
        self.settings.check(peer, Right::Administer)?;
        self.enforcement.check_no_trial()?;
        let unloaded = self.enforcement.check_unloaded(&mut self.records);
        if self.settings.config().mode == Mode::Enforce && !unloaded {
            return Err(Conflict::EnforcementIsOn.into());
        }
        let loaded = self.settings.with_mode(Mode::Enforce)?;
        let break_glass = self.settings.config().break_glass.clone();
        let delegates = self.settings.delegates(peer, connected);
        if !asked.console && break_glass.is_empty() && delegates.is_empty() {
            return Err(ChangeRefusal::NoWayBack.into());
        }
        let own = match asked.session.as_ref() {
            Some(session) => self.openings().admit_operator(peer, session, asked.grant)?,
            None => None,
        };
        let begun = self.begin_trial(loaded, TrialKind::Enable, asked.trial);
        let begun = begun.and_then(|()| {
            let interfaces = &self.settings.config().interfaces;
            let loaded = if unloaded { self.enforcement.attach_again(&mut self.live, interfaces) } else { Ok(()) };
            loaded.or_else(|error| {
                self.end_trial(None)?;
                Err(Unavailable::NotLoaded(error.into()).into())
            })
        });
        if let Err(refusal) = begun {
            return Err(self.undo_own_grant(peer, own.as_ref(), refusal));
        }
        let durable = self.records.note(&AuditEvent::Enabled {
            by: peer.person(),
            seconds: asked.trial,
            source: asked.session.map(|session| session.source),
            number: asked.session.map(|session| session.port),
            grant: own.as_ref().map(|grant| grant.id),
            way_back: WayBack { console: asked.console, break_glass, delegates },
        });
        Ok(EnforcementChange { enforcement: self.enforcement(peer, connected)?, grant: own, durable })
    }

    /// Undoes the operator's own grant, because enforcement was not enabled. If the grant can't be revoked, the refusal
    /// names the grant.
    pub(super) fn undo_own_grant(&mut self, peer: &Peer, own: Option<&Grant>, refusal: Refusal) -> Refusal {
        let Some(grant) = own else { return refusal };
        let id = grant.id;
        let port = self.live.get(id).map_or_else(|| grant.number.to_string(), |(live, _)| live.port.to_string());
        let stays = |refusal, why| {
            Unavailable::OwnGrantStays { refusal: Box::new(refusal), grant: id, prefix: grant.source, port, why }.into()
        };
        // The grant may be the only one that admits the operator, who must not be cut off.
        if self.enforcement.trial().is_some() {
            return stays(refusal, GrantStays::TrialRuns);
        }
        match self.revoke(peer, &Selection::Ids(vec![id]), "enforcement could not be turned on") {
            Ok(_) => refusal,
            Err(error) => stays(refusal, GrantStays::NotRevoked(Box::new(error))),
        }
    }

    /// Ends the running trial. If no trial runs, lets all packets pass from now on, and keeps the mode.
    pub(super) fn disable(&mut self, peer: &Peer, connected: &[Peer]) -> Result<EnforcementChange, Refusal> {
        self.settings.check(peer, Right::Administer)?;
        let durable =
            if self.enforcement.trial().is_some() { self.end_trial(Some(peer))? } else { self.observe(peer)? };
        Ok(EnforcementChange { enforcement: self.enforcement(peer, connected)?, grant: None, durable })
    }

    fn observe(&mut self, peer: &Peer) -> Result<bool, Refusal> {
        if self.settings.config().mode == Mode::Observe {
            return Err(Conflict::EnforcementIsOff.into());
        }
        let loaded = self.settings.with_mode(Mode::Observe)?;
        self.records.check_can_record()?;
        let (_, durable) = self.write_and_adopt(loaded, &peer.actor())?;
        Ok(self.records.note(&AuditEvent::Disabled { by: peer.person() }) && durable)
    }
}

impl Openings<'_> {
    /// Opens the port of the operator's session for the operator's address, unless the address is admitted anyway.
    fn admit_operator(
        &mut self,
        peer: &Peer,
        session: &Session,
        length: Option<Duration>,
    ) -> Result<Option<Grant>, Refusal> {
        let Session { source, port } = session;
        let policy = self.settings.ports().for_transport(*port, Transport::Tcp);
        let Some(policy) = policy.cloned() else { return Ok(None) };
        if self.settings.config().is_break_glass(*source) {
            return Ok(None);
        }
        let prefix = IpNet::from(*source);
        if !policy.allows_source(&prefix) {
            let allowed: Vec<String> = policy.allowed_sources.iter().map(ToString::to_string).collect();
            let allowed = format!(
                "{}, as allowed_sources of port {} says; add {prefix} there, or to break_glass, or connect from one of \
                 these",
                allowed.join(", "),
                policy.id
            );
            let violation =
                Violation { port: policy.id.to_string(), field: "session.source", given: source.to_string(), allowed };
            return Err(Refusal::Violations(vec![violation]));
        }
        let length = length.unwrap_or(OWN_GRANT).min(policy.max_duration);
        let asked = RequestedPort {
            number: policy.id.number.into(),
            protocol: Some(policy.id.protocol),
            sources: vec![prefix],
            until: Until::For(length),
        };
        let justification = "the operator's own session, while enforcement is turned on".to_owned();
        let request = NewRequest { ports: vec![asked], justification };
        let submission = Submission { request, named: None, key: None };
        let made = self.open(|reply| Opening::Submit(peer.clone(), submission, reply))?.request;
        // The two-person rule does not apply to admins.
        let made: Request = if made.status == wire::RequestState::Pending {
            self.open(|reply| Opening::Approve(peer.clone(), made.id, Ok(peer.groups.clone()), reply))?
        } else {
            made
        };
        Ok(made.grants.into_iter().next())
    }
}
