//! Changes of port policies, and reloads of the files.

use jit_api::wire::Effects;
use jit_policy::{
    Actor, CHANGE_TRIAL, PortId, PortPolicies, PortPolicy, Reload, Right, TrialKind,
    audit::{AuditEvent, FilesRead, PortChange, SettingsInForce},
};

use super::{
    Access, Core,
    answer::PortView,
    change::{Changed, PortEdit, PortList},
    peer::Peer,
    reconfigure::Opened,
    refusal::{ChangeRefusal, Refusal},
};
use crate::config::{
    Config, accepted,
    edit::{Edit, edit},
    files::{self, ChangeError, Loaded},
};

impl Core {
    pub(super) fn port_list(&self, peer: &Peer) -> Result<PortList, Refusal> {
        Ok(PortList { ports: self.ports(peer)?, version: self.version() })
    }

    fn version(&self) -> String {
        files::version(&self.config.ports, self.origin.files.as_ref())
    }

    /// Changes one port policy: first in its file, then in force. If the second step fails, the file is restored.
    pub(super) fn change_port(&mut self, peer: &Peer, asked: &PortEdit) -> Result<Changed, Refusal> {
        self.access.check(peer, Right::Administer)?;
        self.check_no_trial()?;
        let PortEdit { edit: change, version, confirm, session } = asked;
        if *version != self.version() {
            return Err(ChangeRefusal::OtherVersion.into());
        }
        let id = self.check_edit(change)?;
        let Some(origin) = &self.origin.files else {
            let path = self.origin.path.display();
            let text = format!("{path} is not what is in force; correct it, and run `jitctl reload` first");
            return Err(ChangeRefusal::Edited(text).into());
        };
        let parts = origin.unchanged().map_err(|error| not_changed(&error))?;
        let by_hand = |problem: String| Refusal::Unavailable(format!("{problem}; edit the file by hand"));
        let (place, text) = edit(&parts, &self.config.ports, change).map_err(|error| by_hand(error.to_string()))?;
        let mut new = parts.clone();
        let (Some(part), Some(old)) = (new.get_mut(place), parts.get(place)) else {
            return Err(by_hand("there is no file to change".to_owned()));
        };
        part.text = text;
        let path = part.path.clone();
        let loaded = files::parse(&new).map_err(|error| by_hand(error.to_string()))?;
        if loaded.config != (Config { ports: self.intended_ports(change)?, ..self.config.clone() }) {
            return Err(by_hand(format!("{} can't be changed as asked", path.display())));
        }
        let effects = self.effects(&loaded.config);
        if !confirm && !effects.is_empty() {
            let unnamed = Vec::new();
            return Err(ChangeRefusal::Unconfirmed { effects: Box::new(effects), unnamed }.into());
        }
        if loaded.config == self.config {
            return Ok(self.changed(Some(id), &[], Effects::default(), true));
        }
        self.check_store(&effects)?;
        if let Some(session) = session
            && self.would_cut(session, &loaded.config)
        {
            let before = self.config.clone();
            let change = (path, new.swap_remove(place).text);
            self.try_out(loaded, TrialKind::Ports, Some(change), CHANGE_TRIAL)?;
            let (changed, noted) = self.note_changes(Some(peer), &before);
            return Ok(self.changed(Some(id), &changed, effects, noted));
        }
        let new_text = new.get(place).map(|part| part.text.as_str()).unwrap_or_default();
        files::replace(&path, new_text).map_err(|error| not_changed(&error))?;
        let before = self.config.clone();
        match self.take_over_files(loaded, &peer.actor()) {
            Ok((effects, durable)) => {
                let (changed, noted) = self.note_changes(Some(peer), &before);
                Ok(self.changed(Some(id), &changed, effects, durable && noted))
            }
            Err(refusal) => {
                if let Err(error) = files::replace(&path, &old.text) {
                    tracing::error!(%error, "a change is not in force, but stays in the file");
                    return Err(Refusal::Unavailable(format!("{refusal}; {error}, so it still has the change")));
                }
                Err(refusal)
            }
        }
    }

    /// Reads the files again. Without a peer, a signal asked for the reload.
    pub(super) fn reload(&mut self, peer: Option<&Peer>, asked: &Reload) -> Result<Changed, Refusal> {
        if let Some(peer) = peer {
            self.access.check(peer, Right::Administer)?;
        }
        let done = self.load_again(peer, asked);
        if let Err(refusal) = &done {
            let is_broken = matches!(refusal, Refusal::Unavailable(_) | Refusal::Change(ChangeRefusal::Invalid(_)));
            // The sender of a signal gets no answer, so the status shows the fault.
            if is_broken || peer.is_none() {
                self.origin.fault = Some(format!("the configuration files are not in force: {refusal}"));
            }
        }
        done
    }

    fn load_again(&mut self, peer: Option<&Peer>, asked: &Reload) -> Result<Changed, Refusal> {
        self.check_no_trial()?;
        let loaded = files::load(&self.origin.path).map_err(|error| ChangeRefusal::Invalid(error.to_string()))?;
        // A signal does not say who sent it or whose session would be cut off.
        if peer.is_none()
            && let Some(problem) = self.not_confirmed(&loaded)
        {
            return Err(ChangeRefusal::Edited(problem).into());
        }
        let fixed = changed_fixed_keys(&self.config, &loaded.config);
        if !fixed.is_empty() {
            return Err(ChangeRefusal::Restart(fixed).into());
        }
        let effects = self.effects(&loaded.config);
        let is_unnamed = |opened: &&Opened| !asked.allow_open.iter().any(|name| opened.is_named_by(name));
        let unnamed: Vec<String> =
            self.opened(&loaded.config).iter().filter(is_unnamed).map(|opened| opened.name.clone()).collect();
        let hits_grants = !effects.ended.is_empty() || !effects.shortened.is_empty();
        if !unnamed.is_empty() || (hits_grants && !asked.confirm) {
            return Err(ChangeRefusal::Unconfirmed { effects: Box::new(effects), unnamed }.into());
        }
        self.check_store(&effects)?;
        let before = self.config.clone();
        if let Some(session) = &asked.session
            && self.would_cut(session, &loaded.config)
        {
            self.try_out(loaded, TrialKind::Reload, None, CHANGE_TRIAL)?;
            let (changed, noted) = self.note_changes(peer, &before);
            let durable = self.note_reload(peer, &before, &changed) && noted;
            return Ok(self.changed(None, &changed, effects, durable));
        }
        let (access, unknown) = Access::resolve(&loaded.config.roles);
        let (effects, durable) = self.take_over_files(loaded, &who(peer))?;
        (self.access, self.origin.unknown) = (access, unknown);
        let (changed, noted) = self.note_changes(peer, &before);
        let durable = self.note_reload(peer, &before, &changed) && noted && durable;
        Ok(self.changed(None, &changed, effects, durable))
    }

    /// Checks a change against the present policies. Returns the change's port.
    fn check_edit(&self, change: &Edit) -> Result<PortId, Refusal> {
        match change {
            Edit::Remove(id) if self.config.ports.iter().any(|policy| policy.id == *id) => Ok(*id),
            Edit::Remove(id) => Err(ChangeRefusal::NoPort(*id).into()),
            Edit::Set(policy) => {
                let id = policy.id;
                let overlapping = self.config.ports.iter().find(|known| known.id != id && known.id.overlaps(id));
                overlapping.map_or(Ok(id), |known| Err(ChangeRefusal::Overlap(id, known.id).into()))
            }
        }
    }

    fn intended_ports(&self, change: &Edit) -> Result<PortPolicies, Refusal> {
        let (id, new) = match change {
            Edit::Set(policy) => (policy.id, Some(policy.clone())),
            Edit::Remove(id) => (*id, None),
        };
        let others = self.config.ports.iter().filter(|policy| policy.id != id).cloned();
        PortPolicies::new(others.chain(new).collect()).map_err(|error| Refusal::Unavailable(error.to_string()))
    }

    /// Requires a working store if the change opens something, because every opening must be in the audit log.
    fn check_store(&mut self, effects: &Effects) -> Result<(), Refusal> {
        if effects.opened.is_empty() { Ok(()) } else { self.store().map(drop) }
    }

    /// Puts the loaded configuration in force on behalf of `by`, and keeps it as the fallback for a start with broken
    /// files.
    pub(super) fn take_over_files(&mut self, loaded: Loaded, by: &Actor) -> Result<(Effects, bool), Refusal> {
        let Loaded { config, origin, text } = loaded;
        let done = self
            .reconfigure(config, by)
            .map_err(|error| Refusal::Unavailable(format!("{error}; the policy before stays in force")))?;
        self.origin.files = Some(origin);
        self.origin.fault = None;
        self.forget_unconfirmed_files();
        self.origin.not_kept =
            accepted::remember(&self.config.places.state, &text).err().map(|error| accepted::not_kept(&error));
        Ok(done)
    }

    /// Records the differences from `before` in the audit log, port by port. Returns the ports, and whether everything
    /// is written.
    fn note_changes(&mut self, peer: Option<&Peer>, before: &Config) -> (Vec<PortId>, bool) {
        let exactly = |ports: &PortPolicies, id: PortId| ports.iter().find(|policy| policy.id == id).cloned();
        let mut ids: Vec<PortId> =
            before.ports.iter().chain(self.config.ports.iter()).map(|policy| policy.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let (mut changed, mut written) = (Vec::new(), true);
        for id in ids {
            let (old, new) = (exactly(&before.ports, id), exactly(&self.config.ports, id));
            let change = match (&old, &new) {
                (None, _) => PortChange::Added,
                (_, None) => PortChange::Removed,
                (Some(old), Some(new)) if old == new => continue,
                _ => PortChange::Changed,
            };
            written &= self.note(&AuditEvent::PortChanged { by: who(peer), port: id, change, before: old, after: new });
            changed.push(id);
        }
        (changed, written)
    }

    fn note_reload(&mut self, peer: Option<&Peer>, before: &Config, ports: &[PortId]) -> bool {
        self.note(&AuditEvent::Reloaded {
            by: who(peer),
            files: FilesRead,
            ports: ports.to_vec(),
            before: other_keys(before),
            after: other_keys(&self.config),
        })
    }

    fn changed(&self, port: Option<PortId>, changed: &[PortId], effects: Effects, durable: bool) -> Changed {
        let changed = changed.iter().map(ToString::to_string).collect();
        let policy = port.and_then(|id| self.config.ports.iter().find(|policy| policy.id == id));
        let port = policy.map(|policy| self.one_port(policy));
        Changed { port, changed, effects, durable, version: self.version(), trial: self.trial_view() }
    }

    fn one_port(&self, policy: &PortPolicy) -> PortView {
        let counts = self.datapath.port_counts().unwrap_or_else(|error| {
            tracing::error!(%error, "the counters can't be read");
            Vec::new()
        });
        self.port_view(policy, &counts, None)
    }
}

pub(super) fn not_changed(error: &ChangeError) -> Refusal {
    match error {
        ChangeError::Edited(_) | ChangeError::Read(_) => ChangeRefusal::Edited(error.to_string()).into(),
        ChangeError::Write { .. } => Refusal::Unavailable(error.to_string()),
    }
}

/// Returns the changed keys whose new values need a restart of the agent.
fn changed_fixed_keys(now: &Config, new: &Config) -> Vec<&'static str> {
    let keys = [
        ("socket", now.places.socket != new.places.socket),
        ("state_dir", now.places.state != new.places.state),
        ("bpffs_dir", now.places.bpffs != new.places.bpffs),
        ("metrics_listen", now.metrics_listen != new.metrics_listen),
    ];
    keys.into_iter().filter_map(|(key, is_changed)| is_changed.then_some(key)).collect()
}

/// Returns who asked for a change. Without a peer, a signal asked.
pub(super) fn who(peer: Option<&Peer>) -> Actor {
    peer.map_or(Actor::Signal("SIGHUP"), Peer::actor)
}

/// Returns the settings that a running agent can adopt, without the port policies.
fn other_keys(config: &Config) -> SettingsInForce {
    let Config {
        mode,
        interfaces,
        fragments,
        scope,
        break_glass,
        places: _,
        metrics_listen: _,
        ports: _,
        retention,
        roles,
    } = config;
    SettingsInForce {
        mode: *mode,
        interfaces: interfaces.clone(),
        scope: *scope,
        fragments: *fragments,
        break_glass: break_glass.clone(),
        retention: *retention,
        roles: roles.clone(),
    }
}
