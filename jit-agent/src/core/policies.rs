//! Changes of port policies, and reloads of the files.

use std::iter::once;

use jit_api::wire::{Effects, Port};
use jit_policy::{
    Actor, CHANGE_TRIAL, PortId, PortPolicies, PortPolicy, Reload, Right, TrialKind,
    audit::{Attempt, AuditEvent, FilesRead, PortChange, SettingsInForce},
};

use super::{
    Core,
    change::{Changed, PortEdit, PortList},
    enforcement,
    handle::CoreHandle,
    origin,
    peer::Peer,
    reconfigure::{effects, opened},
    records::Records,
    refusal::{ChangeRefusal, Refusal, Unavailable},
    settings::Settings,
    trial::not_confirmed,
    usage::port_views,
    waiting::attribute,
};
use crate::config::{
    Config, accepted,
    files::{self, Loaded},
    opening::Opened,
};

impl CoreHandle {
    /// Returns all port policies.
    ///
    /// # Errors
    /// The peer is not permitted.
    pub async fn ports(&self, peer: Peer) -> Result<PortList, Refusal> {
        self.ask(move |core| core.port_list(&peer)).await
    }

    /// Changes one port policy, in the agent's own file and in force.
    ///
    /// # Errors
    /// The peer is not permitted, decided on an older list, or has not confirmed the effects; the file was edited
    /// since, or the kernel is broken. In all these cases nothing is changed.
    pub async fn change_port(&self, peer: Peer, edit: PortEdit) -> Result<Changed, Refusal> {
        let attempt = Attempt::Change(edit.edit.port().number);
        self.ask(move |core| core.noting_refusal(&peer, attempt, |core| core.change_port(&peer, &edit))).await
    }

    /// Reads the configuration again. Without a peer, a signal asked for the reload.
    ///
    /// # Errors
    /// The peer is not permitted or has not confirmed the effects; the files can't be used or need a restart, or the
    /// kernel is broken. In all these cases the former configuration stays in force.
    pub async fn reload(&self, peer: Option<Peer>, asked: Reload) -> Result<Changed, Refusal> {
        self.ask(move |core| core.reload(peer.as_ref(), &asked)).await
    }
}

impl Core {
    /// Returns all port policies that the peer may see, with their use.
    pub(super) fn port_list(&self, peer: &Peer) -> Result<PortList, Refusal> {
        let of = self.settings.only_own(peer)?;
        let policies = self.settings.ports().iter();
        Ok(PortList { ports: views(self, policies, of), version: self.settings.version() })
    }

    /// Changes one port policy: first in the agent's own file, then in force. If the second step fails, the file is
    /// restored.
    pub(super) fn change_port(&mut self, peer: &Peer, asked: &PortEdit) -> Result<Changed, Refusal> {
        self.settings.check(peer, Right::Administer)?;
        self.enforcement.check_no_trial()?;
        let PortEdit { edit, version, confirm, session } = asked;
        if *version != self.settings.version() {
            return Err(ChangeRefusal::OtherVersion.into());
        }
        let port = Some(edit.port());
        let loaded = self.settings.edited(edit)?;
        let new = &loaded.config;
        let effects = effects(&self.settings, &self.live, new);
        if !confirm && !effects.is_empty() {
            let unnamed = Vec::new();
            return Err(ChangeRefusal::Unconfirmed { effects: Box::new(effects), unnamed }.into());
        }
        if new == self.settings.config() {
            return Ok(self.changed(port, &[], Effects::default(), true));
        }
        if !effects.opened.is_empty() {
            self.records.check_can_record()?;
        }
        let before = self.settings.config().clone();
        let on_trial = session.as_ref().is_some_and(|session| {
            self.enforcement.would_cut_off(session, (&before, new), &self.live, &mut self.records)
        });
        let (effects, durable) = if on_trial {
            self.begin_trial(loaded, TrialKind::Ports, CHANGE_TRIAL)?;
            (effects, true)
        } else {
            self.write_and_adopt(loaded, &peer.actor())?
        };
        let (changed, noted) = note_changes(&peer.actor(), &before, self.settings.config(), &mut self.records);
        Ok(self.changed(port, &changed, effects, durable && noted))
    }

    /// Reads the files again. Without a peer, a signal asked for the reload.
    pub(super) fn reload(&mut self, peer: Option<&Peer>, asked: &Reload) -> Result<Changed, Refusal> {
        if let Some(peer) = peer {
            self.settings.check(peer, Right::Administer)?;
        }
        let done = self.reload_files(peer, asked);
        if let Err(refusal) = &done {
            let is_broken = matches!(refusal, Refusal::Unavailable(_) | Refusal::Change(ChangeRefusal::Invalid(_)));
            // The sender of a signal gets no answer, so the status shows the fault.
            if is_broken || peer.is_none() {
                self.settings.set_fault(format!("the configuration files are not in force: {refusal}"));
            }
        }
        done
    }

    fn reload_files(&mut self, peer: Option<&Peer>, asked: &Reload) -> Result<Changed, Refusal> {
        self.enforcement.check_no_trial()?;
        self.settings.check_set(&asked.reset)?;
        // To name what a reload opens also ends what the agent itself set, if that alone keeps it shut.
        let loaded = files::reload(self.settings.path(), &asked.reset, &asked.allow_open);
        let loaded = loaded.map_err(|error| ChangeRefusal::Invalid(error.into()))?;
        // A signal does not say who sent it or whose session would be cut off.
        if peer.is_none()
            && let Some(problem) = not_confirmed(&loaded, &self.settings)
        {
            return Err(ChangeRefusal::from(problem).into());
        }
        let new = &loaded.config;
        let fixed = changed_fixed_keys(self.settings.config(), new);
        if !fixed.is_empty() {
            return Err(ChangeRefusal::Restart(fixed).into());
        }
        let effects = effects(&self.settings, &self.live, new);
        let is_unnamed = |opened: &Opened| !asked.allow_open.iter().any(|name| opened.is_named_by(name));
        let opened = opened(&self.settings, &self.live, new).into_iter();
        let unnamed: Vec<String> = opened.filter(is_unnamed).map(|opened| opened.name).collect();
        let hits_grants = !effects.ended.is_empty() || !effects.shortened.is_empty();
        if !unnamed.is_empty() || (hits_grants && !asked.confirm) {
            return Err(ChangeRefusal::Unconfirmed { effects: Box::new(effects), unnamed }.into());
        }
        if !effects.opened.is_empty() {
            self.records.check_can_record()?;
        }
        let before = self.settings.config().clone();
        let on_trial = asked.session.as_ref().is_some_and(|session| {
            self.enforcement.would_cut_off(session, (&before, new), &self.live, &mut self.records)
        });
        let (effects, durable) = if on_trial {
            let is_edited = self.settings.files() != Some(&loaded.origin);
            let kind = if is_edited { TrialKind::Reload } else { TrialKind::Ports };
            self.begin_trial(loaded, kind, CHANGE_TRIAL)?;
            (effects, true)
        } else {
            self.write_and_adopt(loaded, &who(peer))?
        };
        let (changed, noted) = note_reload(who(peer), &before, self.settings.config(), &mut self.records);
        let durable = noted && durable;
        Ok(self.changed(None, &changed, effects, durable))
    }

    /// Writes what the agent sets into its own file, and puts the loaded configuration in force on behalf of `by`. If the
    /// second step fails, the file is restored.
    pub(super) fn write_and_adopt(&mut self, mut loaded: Loaded, by: &Actor) -> Result<(Effects, bool), Refusal> {
        let former = loaded.keep_own().map_err(|error| Unavailable::NotWritten(error.into()))?;
        self.adopt_files(&loaded, by).map_err(|refusal| {
            former.restore().err().map_or(refusal.clone(), |error| {
                tracing::error!(%error, "a change is not in force, but stays in the file");
                Unavailable::StaysInFile { refusal: Box::new(refusal), error: error.into() }.into()
            })
        })
    }

    /// Puts the loaded configuration in force on behalf of `by`, and keeps it as the accepted configuration.
    fn adopt_files(&mut self, loaded: &Loaded, by: &Actor) -> Result<(Effects, bool), Refusal> {
        let accepted = loaded.accepted();
        let now = self.enforcement.protection(self.settings.config());
        let done = self.reconfigure(&now, loaded.config.clone(), by).map_err(Unavailable::NotReconfigured)?;
        self.settings.set_files(loaded);
        self.settings.adopt_names();
        attribute(self.settings.names().persons(), &mut self.live, &mut self.waiting);
        self.enforcement.forget_unconfirmed_files();
        self.settings.set_kept(accepted::remember(self.settings.state(), &accepted));
        Ok(done)
    }

    fn changed(&self, port: Option<PortId>, changed: &[PortId], effects: Effects, durable: bool) -> Changed {
        let changed = changed.iter().map(ToString::to_string).collect();
        let policy = self.settings.ports().iter().find(|policy| Some(policy.id) == port);
        let view = |policy| views(self, once(policy), None).pop();
        let port = policy.and_then(view);
        let (version, trial) = (self.settings.version(), self.enforcement.view());
        Changed { port, changed, effects, durable, version, trial }
    }
}

/// Returns port policies with their use, and whether the agent itself set them.
fn views<'a>(core: &Core, policies: impl Iterator<Item = &'a PortPolicy>, of: Option<u32>) -> Vec<Port> {
    let mut views = port_views(policies, of, &core.live, &core.records, &core.times);
    for view in &mut views {
        view.activity.set_by_agent = view.id().is_some_and(|id| core.settings.is_own(id));
    }
    views
}

/// Records the differences from `before` in the audit log, port by port. Returns the ports, and whether everything
/// is written.
fn note_changes(by: &Actor, before: &Config, now: &Config, records: &mut Records) -> (Vec<PortId>, bool) {
    let exactly = |ports: &PortPolicies, id: PortId| ports.iter().find(|policy| policy.id == id).cloned();
    let mut ids: Vec<PortId> = before.ports.iter().chain(now.ports.iter()).map(|policy| policy.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let (mut changed, mut written) = (Vec::new(), true);
    for id in ids {
        let (old, new) = (exactly(&before.ports, id), exactly(&now.ports, id));
        let change = match (&old, &new) {
            (None, _) => PortChange::Added,
            (_, None) => PortChange::Removed,
            (Some(old), Some(new)) if old == new => continue,
            _ => PortChange::Changed,
        };
        written &= records.note(&AuditEvent::PortChanged { by: by.clone(), port: id, change, before: old, after: new });
        changed.push(id);
    }
    (changed, written)
}

/// Records in the audit log that the files were read again. Returns the ports whose policies differ from `before`, and
/// whether everything is written.
fn note_reload(by: Actor, before: &Config, now: &Config, records: &mut Records) -> (Vec<PortId>, bool) {
    let (changed, noted) = note_changes(&by, before, now, records);
    let reloaded = AuditEvent::Reloaded {
        by,
        files: FilesRead,
        ports: changed.clone(),
        before: other_keys(before),
        after: other_keys(now),
    };
    let written = records.note(&reloaded);
    (changed, written && noted)
}

/// Records in the audit log what this start changed.
pub(super) fn note_start(settings: &mut Settings, records: &mut Records) {
    if let Some(origin::Changed { before, now, accepted_by }) = settings.take_change() {
        if let Some(by) = accepted_by {
            records.note(&enforcement::accepted_by(by));
        }
        note_reload(Actor::Start, &before, &now, records);
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
        people,
    } = config;
    SettingsInForce {
        mode: *mode,
        interfaces: interfaces.clone(),
        scope: *scope,
        fragments: *fragments,
        break_glass: break_glass.clone(),
        retention: *retention,
        roles: roles.clone(),
        people: people.clone(),
    }
}
