//! Turning enforcement on and off. Enforcement is turned on only as a trial, and only with a fallback.

use std::time::Duration;

use ipnet::IpNet;
use jit_api::wire::{self, Connected, EnforcementChange, Grant, Request, WaysBack};
use jit_common::abi::{Mode, Transport};
use jit_policy::{
    BootTime, EnableAsked, NewRequest, PortPolicy, RequestedPort, Right, Selection, Session, Submission, TrialKind,
    Until, Violation,
    audit::{self, AuditEvent, IfAny, WayBack},
};
use tokio::sync::oneshot;

use super::{
    Core,
    access::uid_of,
    handle::Opening,
    peer::Peer,
    policies::not_changed,
    refusal::{ChangeRefusal, Refusal},
    sockets::ConnectedTo,
    trial::{Over, Trial},
};
use crate::config::{Config, edit::set_mode, files, unloaded::Remover};

/// The longest duration of the operator's own grant if the command gives no duration.
const OWN_GRANT: Duration = Duration::from_secs(3600);

/// The state of enforcement that is not in the configuration.
pub(super) struct Enforcement {
    /// The trial that runs.
    pub(super) trial: Option<Trial>,
    /// A trial that was over before this start.
    pub(super) over: Option<Over>,
    /// When ending the trial is retried.
    pub(super) next_try: BootTime,
    /// Who unloaded enforcement by hand, and when.
    pub(super) unloaded: Option<String>,
    /// The fault of the trial's file.
    pub(super) fault: Option<String>,
    /// The function that finds who is connected to ports.
    pub(super) connected_to: ConnectedTo,
}

impl Enforcement {
    pub(super) fn new(trial: Option<Trial>, over: Option<Over>, connected_to: ConnectedTo) -> Self {
        let next_try = BootTime::default();
        Self { trial, over, next_try, unloaded: None, fault: None, connected_to }
    }

    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        let under_a_trial = self.trial.as_ref().is_some_and(|trial| trial.record.unloaded == self.unloaded);
        let unloaded = self.unloaded.as_ref().filter(|_| !under_a_trial).map(|by| {
            format!("enforcement was unloaded {by}, so nothing is attached; `jit-agent enable` loads it again")
        });
        unloaded.into_iter().chain(self.fault.clone())
    }
}

impl Core {
    /// Whether nothing may be attached, because someone unloaded enforcement by hand.
    pub(super) fn stays_unloaded(&mut self) -> bool {
        let marked = crate::config::unloaded::marked(&self.config.places.state);
        // A trial of enforcement may begin while the mark of an unload exists, and then the mark stays for the end of
        // the trial. A later mark is an intended unload.
        if self.enforcement.trial.as_ref().is_some_and(|trial| marked.is_none() || trial.record.unloaded == marked) {
            return false;
        }
        if marked.is_some() && self.enforcement.unloaded.is_none() {
            tracing::error!(by = marked, "enforcement was unloaded: nothing is attached until it is enabled again");
            self.note(&unloaded_by(marked.as_deref().unwrap_or_default()));
        }
        self.enforcement.unloaded = marked;
        self.enforcement.unloaded.is_some()
    }

    /// Returns the state of enforcement, who is connected to the ports, and the fallbacks. `connected` are the peers
    /// that are connected to the socket.
    pub(super) fn enforcement(&mut self, peer: &Peer, connected: &[Peer]) -> Result<wire::Enforcement, Refusal> {
        self.access.check(peer, Right::ReadAll)?;
        let unloaded = if self.stays_unloaded() { self.enforcement.unloaded.clone() } else { None };
        let mut numbers: Vec<u16> = self
            .config
            .protection()
            .ports
            .iter()
            .filter(|port| port.transport == Transport::Tcp)
            .map(|port| port.number)
            .collect();
        numbers.dedup();
        let (sessions, sessions_fault) = match (self.enforcement.connected_to)(&numbers) {
            Ok(found) => (found, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        let connected_now = sessions.into_iter().map(|(source, port)| {
            let break_glass = self.config.break_glass.iter().any(|prefix| prefix.contains(&source));
            let grant = if break_glass { None } else { self.granted(&Session { source, port }) };
            Connected { source, port, break_glass, grant }
        });
        let mode = if unloaded.is_some() { Mode::Observe } else { self.config.mode };
        Ok(wire::Enforcement {
            mode: mode.name().to_owned(),
            trial: self.trial_view(),
            unloaded,
            ports: self.config.ports.iter().map(|policy| policy.id.to_string()).collect(),
            connected: connected_now.collect(),
            connected_fault: sessions_fault,
            ways_back: WaysBack {
                break_glass: self.config.break_glass.iter().map(ToString::to_string).collect(),
                delegates: self.delegates(peer, connected),
            },
        })
    }

    /// Returns the names of the connected delegates, except for the peer who asks.
    fn delegates(&self, asking: &Peer, connected: &[Peer]) -> Vec<String> {
        let others = connected.iter().filter(|peer| peer.uid != asking.uid && self.access.is_delegate(peer));
        let mut names: Vec<String> = others.map(|peer| peer.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Starts a trial of enforcement: checks for a fallback, opens the port for the operator, then closes the ports.
    pub(super) fn enable(
        &mut self,
        peer: &Peer,
        asked: &EnableAsked,
        connected: &[Peer],
    ) -> Result<EnforcementChange, Refusal> {
        self.access.check(peer, Right::Administer)?;
        self.end_trial_in_time();
        self.check_no_trial()?;
        let unloaded = self.stays_unloaded();
        if self.config.mode == Mode::Enforce && !unloaded {
            return Err(Refusal::Conflict("enforcement is on already; `jitctl status` shows it".to_owned()));
        }
        let (loaded, change) = self.with_mode(Mode::Enforce)?;
        let delegates = self.delegates(peer, connected);
        if !asked.console && self.config.break_glass.is_empty() && delegates.is_empty() {
            return Err(ChangeRefusal::NoWayBack.into());
        }
        let own = match asked.session.as_ref() {
            Some(session) => self.let_in(peer, session, asked.grant)?,
            None => None,
        };
        if let Err(refusal) = self.shut_on_trial(loaded, change, asked.trial, unloaded) {
            return Err(self.without_own_grant(peer, own.as_ref(), refusal));
        }
        let break_glass = self.config.break_glass.clone();
        let durable = self.note(&AuditEvent::Enabled {
            by: peer.person(),
            seconds: asked.trial,
            source: asked.session.map(|session| session.source),
            number: asked.session.map(|session| session.port),
            grant: own.as_ref().map(|grant| grant.id),
            way_back: WayBack { console: asked.console, break_glass, delegates },
        });
        Ok(EnforcementChange { enforcement: self.enforcement(peer, connected)?, grant: own, durable })
    }

    fn shut_on_trial(
        &mut self,
        loaded: files::Loaded,
        change: Option<(std::path::PathBuf, String)>,
        length: Duration,
        unloaded: bool,
    ) -> Result<(), Refusal> {
        self.try_out(loaded, TrialKind::Enable, change, length)?;
        if unloaded && let Err(problem) = self.put_back() {
            self.end_trial(None)?;
            return Err(Refusal::Unavailable(format!("{problem}; nothing was enabled")));
        }
        Ok(())
    }

    /// Undoes the operator's own grant, because enforcement was not enabled. If the grant can't be revoked, the refusal
    /// names the grant.
    pub(super) fn without_own_grant(&mut self, peer: &Peer, own: Option<&Grant>, refusal: Refusal) -> Refusal {
        let Some(grant) = own else { return refusal };
        let (id, source) = (grant.id, &grant.source);
        let port = self.book.get(id).map_or_else(|| grant.number.to_string(), |live| live.port.to_string());
        let stays = |why: String| {
            Refusal::Unavailable(format!(
                "{refusal}; grant {id} of {source} for port {port} stays ({why}); `jitctl revoke {id}` ends it",
                id = id.0
            ))
        };
        // The grant may be the only one that admits the operator, who must not be cut off.
        if self.enforcement.trial.is_some() {
            return stays("the trial runs".to_owned());
        }
        match self.revoke(peer, &Selection::Ids(vec![id]), "enforcement could not be turned on") {
            Ok(_) => refusal,
            Err(error) => stays(error.to_string()),
        }
    }

    /// Attaches the program to the interfaces again.
    fn put_back(&mut self) -> Result<(), String> {
        let errors = self.datapath.cover(&self.config.interfaces).err().unwrap_or_default();
        for error in &errors {
            tracing::error!(%error, "not covered");
        }
        let attached = self.datapath.interfaces().iter().any(|interface| interface.attached.is_some());
        let first = errors.first().filter(|_| !attached);
        first.map_or(Ok(()), |error| Err(format!("no interface could be covered: {error}")))
    }

    /// Returns the configuration of the files with another mode, and the file to write for that mode. `None`: the files
    /// already have this mode.
    fn with_mode(&self, mode: Mode) -> Result<(files::Loaded, Option<(std::path::PathBuf, String)>), Refusal> {
        let Some(origin) = &self.origin.files else {
            let path = self.origin.path.display();
            let text = format!("{path} is not what is in force; correct it, and run `jitctl reload` first");
            return Err(ChangeRefusal::Edited(text).into());
        };
        let mut parts = origin.unchanged().map_err(|error| not_changed(&error))?;
        let by_hand = |problem: String| {
            Refusal::Unavailable(format!(
                "{problem}; set mode = \"{}\" in the file by hand, and run `jitctl reload`",
                mode.name()
            ))
        };
        let (place, text) = set_mode(&parts, mode).map_err(|error| by_hand(error.to_string()))?;
        let Some(part) = parts.get_mut(place) else { return Err(by_hand("there is no file to change".to_owned())) };
        let change = (part.text != text).then(|| (part.path.clone(), text.clone()));
        part.text = text;
        let loaded = files::parse(&parts).map_err(|error| by_hand(error.to_string()))?;
        if loaded.config != (Config { mode, ..self.config.clone() }) {
            return Err(by_hand("the files can't be changed to another mode alone".to_owned()));
        }
        Ok((loaded, change))
    }

    /// Opens the port of the operator's session for the operator's address, unless the address is admitted anyway.
    fn let_in(&mut self, peer: &Peer, session: &Session, length: Option<Duration>) -> Result<Option<Grant>, Refusal> {
        let Session { source, port } = session;
        let tcp = |policy: &&PortPolicy| policy.id.protocol.transports().contains(&Transport::Tcp);
        let Some(policy) = self.config.ports.for_number(*port).find(tcp).cloned() else { return Ok(None) };
        if self.config.break_glass.iter().any(|prefix| prefix.contains(source)) {
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
        let made = self.open_one(|reply| Opening::Submit(peer.clone(), submission, reply))?.request;
        // The two-person rule does not apply to admins.
        let made: Request = match made.status {
            wire::RequestState::Pending => self.open_one(|reply| Opening::Approve(peer.clone(), made.id, reply))?,
            _ => made,
        };
        Ok(made.grants.into_iter().next())
    }

    fn open_one<T>(&mut self, opening: impl FnOnce(super::handle::Reply<T>) -> Opening) -> Result<T, Refusal> {
        let (reply, mut answer) = oneshot::channel();
        self.open_all(vec![opening(reply)]);
        answer.try_recv().unwrap_or_else(|_| Err(Refusal::Unavailable("the request was not answered".to_owned())))
    }

    /// Ends the running trial. If no trial runs, lets all packets pass from now on, and writes the mode into the file.
    pub(super) fn disable(&mut self, peer: &Peer, connected: &[Peer]) -> Result<EnforcementChange, Refusal> {
        self.access.check(peer, Right::Administer)?;
        let durable = if self.enforcement.trial.is_some() { self.end_trial(Some(peer))? } else { self.observe(peer)? };
        Ok(EnforcementChange { enforcement: self.enforcement(peer, connected)?, grant: None, durable })
    }

    fn observe(&mut self, peer: &Peer) -> Result<bool, Refusal> {
        if self.config.mode == Mode::Observe {
            return Err(Refusal::Conflict("enforcement is off already; `jitctl status` shows it".to_owned()));
        }
        let (loaded, change) = self.with_mode(Mode::Observe)?;
        // Every opening must be in the audit log, so a working store is required.
        self.store()?;
        let mut old = None;
        if let Some((path, text)) = &change {
            let parts = self.origin.files.as_ref().map(files::Origin::unchanged).transpose();
            let parts = parts.map_err(|error| not_changed(&error))?.unwrap_or_default();
            old = parts.into_iter().find(|part| part.path == *path);
            files::replace(path, text).map_err(|error| not_changed(&error))?;
        }
        match self.take_over_files(loaded, &peer.actor()) {
            Ok((_, durable)) => Ok(self.note(&AuditEvent::Disabled { by: peer.person() }) && durable),
            Err(refusal) => {
                if let Some(old) = old
                    && let Err(error) = files::replace(&old.path, &old.text)
                {
                    return Err(Refusal::Unavailable(format!(
                        "{refusal}; {error}, so it still says mode = \"observe\""
                    )));
                }
                Err(refusal)
            }
        }
    }
}

/// Returns the audit event for an unload by hand: the person, if the mark names one, else the mark's text.
fn unloaded_by(mark: &str) -> AuditEvent {
    let Some(Remover { name, login, time }) = Remover::of_mark(mark) else {
        return AuditEvent::Unloaded { by: None, time: IfAny(None), reason: IfAny(Some(mark.to_owned())) };
    };
    let login = login.map(|name| (uid_of(&name), name));
    let by = audit::Remover { uid: uid_of(&name), name, login };
    AuditEvent::Unloaded { by: Some(by), time: IfAny(Some(time)), reason: IfAny(None) }
}
