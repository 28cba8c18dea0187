//! A configuration on trial: unless the trial is confirmed, the configuration before comes back.
//!
//! The trial is recorded on disk before the kernel is changed. The kernel itself knows when a trial ends that began from
//! observing, whether an agent lives or not. Any other trial is ended by an agent: nothing opens because the agent is
//! late or dead.

use std::time::Duration;

use jit_api::wire::EnforcementChange;
use jit_common::abi::{Mode, Transport};
use jit_policy::{
    GrantId, ProtectedPort, Right, Session, TrialKind,
    audit::{Attempt, AuditEvent, IfAny},
};

use super::{
    Core,
    enforcement::Enforcement,
    handle::CoreHandle,
    live::LiveGrants,
    origin::Trial,
    peer::Peer,
    reconfigure::strictest,
    records::Records,
    refusal::{ChangeRefusal, Conflict, OtherFiles, Refusal, Unavailable, unconfirmed_files},
    settings::Settings,
    waiting::attribute,
};
use crate::config::{
    Config, accepted,
    files::{self, Loaded},
    trial::{self, Record},
    unloaded,
};

impl CoreHandle {
    /// Makes the trial permanent, in the agent's own file and in force.
    ///
    /// # Errors
    /// The peer is not permitted, no trial runs, a file was edited since, or the kernel is broken. In the last two
    /// cases the trial continues.
    pub async fn confirm(&self, peer: Peer) -> Result<EnforcementChange, Refusal> {
        let connected = self.presence().peers();
        let confirm = move |core: &mut Core| {
            let durable = core.noting_refusal(&peer, Attempt::Confirm, |core| core.confirm_trial(&peer))?;
            Ok(EnforcementChange { enforcement: core.enforcement(&peer, &connected)?, grant: None, durable })
        };
        self.ask(confirm).await
    }
}

impl Core {
    /// Puts a configuration in force for `length`, or until the trial is confirmed. The files don't have the
    /// configuration yet, unless they were edited by hand.
    ///
    /// # Errors
    /// The trial can't be recorded, or the kernel refuses the configuration. In both cases everything is as before.
    pub(super) fn begin_trial(&mut self, loaded: Loaded, kind: TrialKind, length: Duration) -> Result<(), Refusal> {
        let Self { times, settings, live, records, enforcement, .. } = self;
        let in_force = || settings.files().cloned();
        let change = loaded.change();
        let Some(files) = (if kind == TrialKind::Reload { Some(loaded.origin) } else { in_force() }) else {
            return Err(Unavailable::NoFiles.into());
        };
        let unloaded = enforcement.unloaded().map(str::to_owned);
        let mode = if unloaded.is_some() { Mode::Observe } else { settings.config().mode };
        let record = Record {
            kind,
            boot_id: times.boot().boot_id.clone(),
            until: times.after(length).0,
            mode_before: Some(mode),
            files,
            tried: loaded.config.written().to_string(),
            change,
            shut: live.ended_by(&loaded.config.ports).iter().map(|id| id.0).collect(),
            unloaded,
        };
        let trial = Trial { record, before: Config { mode, ..settings.config().clone() } };
        trial::keep(settings.state(), &trial.record).map_err(|error| Unavailable::TrialNotRecorded(error.into()))?;
        let (now, wanted) = (enforcement.protection(settings.config()), trial.protection(&loaded.config));
        let done = live.datapath_mut().configure(&strictest(&now, &wanted)).and_then(|()| {
            live.close_entries(&trial.record.shut);
            live.datapath_mut().configure(&wanted)
        });
        if let Err(error) = done {
            enforcement.restore(live, records, (&now, &settings.config().interfaces));
            live.open_entries(&trial.record.shut);
            enforcement.forget(&trial.record, settings.files());
            return Err(Unavailable::NotTried(error.into()).into());
        }
        // Whatever becomes of the trial, an interface that one of the two configurations covers is covered.
        enforcement.cover(live, records, &trial.interfaces(&loaded.config));
        settings.replace(loaded.config);
        enforcement.begin(trial);
        Ok(())
    }

    /// Makes the trial permanent. Returns whether all of that is written.
    pub(super) fn confirm_trial(&mut self, peer: &Peer) -> Result<bool, Refusal> {
        self.settings.check(peer, Right::Administer)?;
        let trial = self.enforcement.trial().cloned().ok_or(Conflict::NoTrial)?;
        let record = &trial.record;
        let state = self.settings.state().to_owned();
        let mark = unloaded::marked(&state);
        if let Some(by) = mark.as_ref().filter(|_| mark != record.unloaded) {
            return Err(Conflict::Unloaded(by.clone()).into());
        }
        let mut loaded = record.files.unchanged()?;
        if record.change.is_some() {
            let changed = loaded.changed_to(self.settings.config());
            loaded = changed.map_err(|error| ChangeRefusal::Invalid(error.into()))?;
        }
        let former = loaded.keep_own().map_err(|error| Unavailable::NotWritten(error.into()))?;
        // The configuration for the next start is changed first, and the kernel and the grants follow. If the agent is
        // killed in between, its successor considers the trial confirmed.
        let unmarked = unloaded::clear(&state).map_err(|error| Unavailable::StaysMarked(error.into()));
        let accepted = accepted::recall(&state);
        let kept = unmarked.is_ok().then(|| accepted::remember(&state, &loaded.accepted()));
        // From here on no trial runs, unless the kernel refuses.
        self.enforcement.take_trial();
        let tried = self.settings.config().clone();
        let done = unmarked.and_then(|()| {
            let done = self.reconfigure(&trial.protection(&tried), tried, &peer.actor());
            done.map_err(Unavailable::NotConfirmed)
        });
        let (_, mut durable) = match done {
            Ok(done) => done,
            Err(error) => {
                if let Some(by) = mark
                    && let Err(error) = unloaded::mark(&state, &by)
                {
                    tracing::error!(%error, "a trial is not confirmed, but the mark of the removal by hand is gone");
                }
                if let Ok(Some(accepted)) = accepted
                    && let Err(error) = accepted::remember(&state, &accepted)
                {
                    tracing::error!(%error, "a trial is not confirmed, but what it tries is kept for the next start");
                }
                if let Err(error) = former.restore() {
                    tracing::error!(%error, "a trial is not confirmed, but the file has what it tries");
                }
                let interfaces = trial.interfaces(self.settings.config());
                self.enforcement.begin(trial);
                self.enforcement.cover(&mut self.live, &mut self.records, &interfaces);
                return Err(error.into());
            }
        };
        self.enforcement.clear_unloaded();
        self.settings.adopt_names();
        attribute(self.settings.names().persons(), &mut self.live, &mut self.waiting);
        self.settings.set_files(&loaded);
        self.settings.set_kept(kept.unwrap_or(Ok(())));
        let (by, mode) = (Some(peer.person()), self.settings.config().mode);
        durable &= self.records.note(&AuditEvent::Confirmed { by, tried: record.kind, mode });
        Ok(self.enforcement.forget(record, self.settings.files()) && durable)
    }

    /// Restores the configuration from before the trial. Returns whether the end of the trial is written.
    pub(super) fn end_trial(&mut self, peer: Option<&Peer>) -> Result<bool, Refusal> {
        let Self { settings, live, records, enforcement, .. } = self;
        let Some(trial) = enforcement.take_trial() else { return Ok(true) };
        let (now, wanted) = (trial.protection(settings.config()), trial.before.protection());
        let done = live.datapath_mut().configure(&strictest(&now, &wanted)).and_then(|()| {
            live.open_entries(&trial.record.shut);
            live.datapath_mut().configure(&wanted)
        });
        if let Err(error) = done {
            let interfaces = trial.interfaces(settings.config());
            enforcement.restore(live, records, (&now, &interfaces));
            live.close_entries(&trial.record.shut);
            enforcement.begin(trial);
            return Err(Unavailable::TrialNotEnded(error.into()).into());
        }
        let Trial { record, before } = trial;
        enforcement.cover(live, records, &before.interfaces);
        // A grant that was made under the tried policies may be one that the policies before forbid.
        live.apply_policies(&before.ports, peer.map(Peer::actor).as_ref(), records);
        settings.replace(before);
        if record.kind == TrialKind::Reload {
            settings.unset_files(unconfirmed_files(settings.path()));
        }
        let forgotten = enforcement.forget(&record, settings.files());
        let ended = AuditEvent::TrialEnded {
            by: peer.map(Peer::person),
            tried: record.kind,
            mode: settings.config().mode,
            grants: IfAny(Some(record.shut.into_iter().map(GrantId).collect())),
        };
        Ok(records.note(&ended) && forgotten && records.are_written())
    }
}

/// Why these files can't be considered intended: they were tried and not confirmed, or the record of the trial can't be
/// read.
pub(super) fn not_confirmed(loaded: &Loaded, settings: &Settings) -> Option<OtherFiles> {
    if settings.files().is_some_and(files::Origin::has_own) && !loaded.origin.has_own() {
        return Some(OtherFiles::OwnGone(settings.path().to_owned()));
    }
    match trial::recall(settings.state()) {
        Ok(record) => record
            .filter(|record| record.kind == TrialKind::Reload && record.began_with(loaded))
            .map(|_| OtherFiles::Unconfirmed(settings.path().to_owned())),
        Err(error) => Some(OtherFiles::Doubtful(error.into())),
    }
}

impl Enforcement {
    /// Whether a configuration would cut off a session that is admitted now.
    pub(super) fn would_cut_off(
        &mut self,
        session: &Session,
        (now, new): (&Config, &Config),
        live: &LiveGrants,
        records: &mut Records,
    ) -> bool {
        // Unloaded enforcement admits everybody, and a change of the configuration does not load it.
        !self.check_unloaded(records) && admits(now, live, session) && !admits(new, live, session)
    }
}

/// Whether a configuration admits a session, with the live grants that the configuration allows.
fn admits(config: &Config, live: &LiveGrants, session: &Session) -> bool {
    let Session { source, port } = session;
    config.mode == Mode::Observe
        || !config.protection().ports.contains(&ProtectedPort::new(*port, Transport::Tcp))
        || config.is_break_glass(*source)
        || live.granted(session).is_some_and(|id| !live.ended_by(&config.ports).contains(&id))
}
