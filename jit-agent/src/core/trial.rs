//! A configuration on trial: unless the trial is confirmed, the configuration before comes back, whether the agent is
//! alive or not.
//!
//! The trial is recorded on disk before the kernel is changed, and the kernel itself knows when the trial ends.

use std::time::Duration;

use jit_api::wire;
use jit_policy::{
    BootTime, GrantId, ProtectedPort, Protection, Right, Session, TrialKind,
    audit::{AuditEvent, IfAny},
};

use super::{
    Access, Core, RETRY_INTERVAL,
    enforcement::Enforcement,
    peer::Peer,
    policies::not_changed,
    reconfigure::strictest,
    refusal::{ChangeRefusal, Refusal},
};
use crate::config::{
    Config, accepted,
    files::{self, Loaded},
    trial::{self, Record},
    unloaded,
};

/// How much later than the agent the kernel ends a trial, if the configuration before also enforces. In this time a
/// running agent restores that configuration without admitting everybody.
const GRACE: Duration = Duration::from_secs(5);

/// A trial that was over before the agent started but is still recorded.
#[derive(Clone, Debug)]
pub struct Over {
    /// The record of the trial on disk.
    pub record: Record,
    /// Whether the files already have what was tried. The person who confirmed the trial may have got no answer.
    pub confirmed: bool,
}

/// A trial that runs.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The record of the trial on disk.
    pub record: Record,
    /// The configuration that the end of the trial restores.
    pub before: Config,
}

impl Trial {
    /// Returns what the kernel is to enforce during the trial of a configuration.
    #[must_use]
    pub fn protection(&self, tried: &Config) -> Protection {
        let grace = if self.before.mode == jit_common::abi::Mode::Enforce { GRACE } else { Duration::ZERO };
        Protection { trial_until: Some(self.record.end().after(grace)), ..tried.protection() }
    }
}

impl Core {
    /// Returns what the kernel is to enforce now.
    pub(super) fn protection(&self) -> Protection {
        match &self.enforcement.trial {
            Some(trial) => trial.protection(&self.config),
            None => self.config.protection(),
        }
    }

    /// Returns the running trial as people see it.
    pub(super) fn trial_view(&self) -> Option<wire::Trial> {
        let kind = self.enforcement.trial.as_ref()?.record.kind;
        let remaining = self.trial_remaining()?;
        let until = self.clock.wall().saturating_add(remaining).unwrap_or(jiff::Timestamp::MAX);
        Some(wire::Trial::new(kind, until, remaining))
    }

    /// Returns the remaining time of the running trial.
    pub(super) fn trial_remaining(&self) -> Option<Duration> {
        let record = &self.enforcement.trial.as_ref()?.record;
        Some(record.end().since(self.clock.boot()))
    }

    /// Returns a refusal if a trial runs.
    pub(super) fn check_no_trial(&self) -> Result<(), Refusal> {
        match self.trial_view() {
            None => Ok(()),
            Some(trial) => Err(ChangeRefusal::TrialRuns(trial.until_utc).into()),
        }
    }

    /// Puts a configuration in force for `length`, or until the trial is confirmed. The files don't have the
    /// configuration yet, unless they were edited by hand.
    ///
    /// # Errors
    /// The trial can't be recorded, or the kernel refuses the configuration. In both cases everything is as before.
    pub(super) fn try_out(
        &mut self,
        loaded: Loaded,
        kind: TrialKind,
        change: Option<(std::path::PathBuf, String)>,
        length: Duration,
    ) -> Result<(), Refusal> {
        let Some(files) = (if kind == TrialKind::Reload { Some(loaded.origin) } else { self.origin.files.clone() })
        else {
            return Err(Refusal::Unavailable("there are no files that a trial could begin with".to_owned()));
        };
        let shut: Vec<i64> = self.ended_by(&loaded.config.ports).iter().map(|id| id.0).collect();
        let record = Record {
            kind,
            boot_id: self.boot.boot_id.clone(),
            until: self.clock.boot().after(length).0,
            files,
            tried: loaded.text,
            change,
            shut,
            unloaded: self.enforcement.unloaded.clone(),
        };
        let trial = Trial { record, before: self.before_trial() };
        let state = self.config.places.state.clone();
        trial::keep(&state, &trial.record)
            .map_err(|error| Refusal::Unavailable(format!("{error:#}; nothing was changed")))?;
        let (now, wanted) = (self.protection(), trial.protection(&loaded.config));
        let done = self.datapath.configure(&strictest(&now, &wanted)).and_then(|()| {
            self.shut(&trial.record.shut);
            self.datapath.configure(&wanted)
        });
        if let Err(error) = done {
            let error = self.go_back(&now, &error);
            self.open_again(&trial.record.shut);
            self.forget_trial(&trial.record);
            return Err(Refusal::Unavailable(format!("{error}; the configuration before stays in force")));
        }
        self.config = loaded.config;
        self.enforcement.trial = Some(trial);
        Ok(())
    }

    /// Returns the configuration that a trial that begins now would restore.
    fn before_trial(&self) -> Config {
        let mode = if self.enforcement.unloaded.is_some() { jit_common::abi::Mode::Observe } else { self.config.mode };
        Config { mode, ..self.config.clone() }
    }

    /// Makes the trial permanent.
    pub(super) fn confirm_trial(&mut self, peer: &Peer) -> Result<bool, Refusal> {
        self.access.check(peer, Right::Administer)?;
        self.end_trial_in_time();
        let Some(trial) = self.enforcement.trial.clone() else {
            let text = "no trial runs, so there is nothing to confirm; `jit-agent enable` starts one";
            return Err(Refusal::Conflict(text.to_owned()));
        };
        let record = &trial.record;
        let state = self.config.places.state.clone();
        let mark = unloaded::marked(&state);
        if let Some(by) = mark.as_ref().filter(|_| mark != record.unloaded) {
            let text = format!(
                "enforcement was unloaded {by}, after the trial had begun; `jit-agent disable` ends the trial, then \
                 `jit-agent enable` starts another one"
            );
            return Err(Refusal::Conflict(text));
        }
        let mut parts = record.files.unchanged().map_err(|error| not_changed(&error))?;
        let mut before = None;
        if let Some((path, text)) = &record.change {
            let Some(part) = parts.iter_mut().find(|part| part.path == *path) else {
                return Err(Refusal::Unavailable(format!("{} is not there any more", path.display())));
            };
            before = Some(std::mem::replace(&mut part.text, text.clone()));
        }
        let loaded = files::parse(&parts).map_err(|error| ChangeRefusal::Invalid(error.to_string()))?;
        if let Some((path, text)) = &record.change {
            files::replace(path, text).map_err(|error| not_changed(&error))?;
        }
        // The configuration for the next start is changed first, and the kernel and the grants follow. If the agent is
        // killed in between, its successor considers the trial confirmed.
        let unmarked = unloaded::clear(&state).map_err(|error| format!("{error:#}"));
        let accepted = accepted::text(&state);
        let kept = unmarked.is_ok().then(|| accepted::remember(&state, &loaded.text));
        // From here on no trial runs, unless the kernel refuses.
        self.enforcement.trial = None;
        let done = unmarked
            .and_then(|()| self.reconfigure_from(&trial.protection(&self.config), self.config.clone(), &peer.actor()));
        let (_, mut durable) = match done {
            Ok(done) => done,
            Err(error) => {
                if let Some(by) = mark
                    && let Err(error) = unloaded::mark(&state, &by)
                {
                    tracing::error!(%error, "a trial is not confirmed, but the mark of the removal by hand is gone");
                }
                if let Ok(text) = accepted
                    && let Err(error) = accepted::remember(&state, &text)
                {
                    tracing::error!(%error, "a trial is not confirmed, but what it tries is kept for broken files");
                }
                if let Some(((path, _), text)) = record.change.as_ref().zip(before)
                    && let Err(error) = files::replace(path, &text)
                {
                    tracing::error!(%error, "a trial is not confirmed, but the file has what it tries");
                }
                self.enforcement.trial = Some(trial);
                return Err(Refusal::Unavailable(format!("{error}; the trial goes on")));
            }
        };
        self.enforcement.unloaded = None;
        let Loaded { config, origin, text: _ } = loaded;
        (self.access, self.origin.unknown) = Access::resolve(&config.roles);
        self.origin.files = Some(origin);
        self.origin.fault = None;
        self.origin.not_kept = kept.and_then(Result::err).map(|error| accepted::not_kept(&error));
        let (by, mode) = (Some(peer.person()), self.config.mode);
        durable &= self.note(&AuditEvent::Confirmed { by, tried: record.kind, mode });
        Ok(self.forget_trial(record) && durable)
    }

    /// Ends a trial whose time is over. If the kernel refuses, the end is retried later. The program lets all packets
    /// pass from that moment on anyway.
    pub(super) fn end_trial_in_time(&mut self) {
        let now = self.clock.boot();
        let is_over = |trial: &Trial| now >= trial.record.end() && now >= self.enforcement.next_try;
        if !self.enforcement.trial.as_ref().is_some_and(is_over) {
            return;
        }
        if let Err(refusal) = self.end_trial(None) {
            tracing::error!(%refusal, "the configuration from before the trial can't be put in force; tried again later");
            self.enforcement.next_try = now.after(RETRY_INTERVAL);
        }
    }

    /// The moment at which the core must next end or retry to end the trial.
    pub(super) fn next_trial_step(&self) -> Option<BootTime> {
        let trial = self.enforcement.trial.as_ref()?;
        Some(trial.record.end().max(self.enforcement.next_try))
    }

    /// Restores the configuration from before the trial. Returns whether the end of the trial is written.
    pub(super) fn end_trial(&mut self, peer: Option<&Peer>) -> Result<bool, Refusal> {
        let Some(trial) = self.enforcement.trial.take() else { return Ok(true) };
        let (now, wanted) = (trial.protection(&self.config), trial.before.protection());
        let done = self.datapath.configure(&strictest(&now, &wanted)).and_then(|()| {
            self.open_again(&trial.record.shut);
            self.datapath.configure(&wanted)
        });
        if let Err(error) = done {
            let error = self.go_back(&now, &error);
            self.shut(&trial.record.shut);
            self.enforcement.trial = Some(trial);
            return Err(Refusal::Unavailable(format!("the trial can't be ended: {error}; it ends by itself")));
        }
        let Trial { record, before } = trial;
        self.config = before;
        if record.kind == TrialKind::Reload {
            self.origin.files = None;
            self.origin.fault = Some(unconfirmed_files(&self.origin.path.display().to_string()));
        }
        let forgotten = self.forget_trial(&record);
        let ended = AuditEvent::TrialEnded {
            by: peer.map(Peer::person),
            tried: record.kind,
            mode: self.config.mode,
            grants: IfAny(Some(record.shut.into_iter().map(GrantId).collect())),
        };
        Ok(self.note(&ended) && forgotten)
    }

    /// Removes the trial's record, so that no start continues the trial. For edited files a record stays, so that no
    /// start considers the files intended. Returns whether this is written.
    fn forget_trial(&mut self, record: &Record) -> bool {
        let state = &self.config.places.state;
        let unconfirmed = record.kind == TrialKind::Reload && self.origin.files.as_ref() != Some(&record.files);
        let done = if unconfirmed { trial::keep(state, &record.concluded()) } else { trial::forget(state) };
        self.enforcement.fault = done.err().map(|error| {
            tracing::error!(%error, "the trial has ended, but stays written down");
            format!("the trial has ended, but stays written down until its time is over: {error:#}")
        });
        self.enforcement.fault.is_none()
    }

    /// Records the result of a trial that was over before this start, after the grants that the trial closed are back.
    pub(super) fn conclude_trial(&mut self) {
        // Without a store the grants are not back and the result can't be recorded.
        if self.store.is_err() {
            return;
        }
        let Some(Over { record, confirmed }) = self.enforcement.over.take() else { return };
        let (by, tried, mode) = (None, record.kind, self.config.mode);
        if confirmed {
            tracing::warn!("a trial was confirmed just before the agent stopped: what it tried is in force for good");
            self.note(&AuditEvent::Confirmed { by, tried, mode });
        } else if record != record.concluded() {
            tracing::warn!("a trial ended without having been confirmed while no agent ran");
            self.note(&AuditEvent::TrialEnded { by, tried, mode, grants: IfAny(None) });
        }
        self.forget_trial(&record);
    }

    /// Whether the kernel lacks a grant because of a trial, even of a trial that is over.
    pub(super) fn was_shut_by_trial(&self, grant: GrantId) -> bool {
        let Enforcement { trial, over, .. } = &self.enforcement;
        let records = trial.iter().map(|trial| &trial.record).chain(over.iter().map(|over| &over.record));
        records.into_iter().any(|record| record.shut.contains(&grant.0))
    }

    /// Why these files can't be considered intended: they were tried and not confirmed, or the record of the trial
    /// can't be read.
    pub(super) fn not_confirmed(&self, loaded: &Loaded) -> Option<String> {
        match trial::recall(&self.config.places.state) {
            Ok(record) => record
                .filter(|record| record.kind == TrialKind::Reload && record.began_with(loaded))
                .map(|_| unconfirmed_files(&self.origin.path.display().to_string())),
            Err(error) => Some(format!(
                "what is said of a trial can't be used, so it is not known whether these files were tried and not \
                 confirmed: {error:#}; remove that first"
            )),
        }
    }

    /// Removes the record of unconfirmed files, after other files are in force or these files were adopted from the
    /// console.
    pub(super) fn forget_unconfirmed_files(&mut self) {
        if let Err(error) = trial::forget(&self.config.places.state) {
            self.enforcement.fault = Some(format!("what was tried last stays written down: {error:#}"));
        }
    }

    /// Whether a configuration would cut off a session that is admitted now.
    pub(super) fn would_cut(&mut self, session: &Session, new: &Config) -> bool {
        // Unloaded enforcement admits everybody, and a change of the configuration does not load it.
        !self.stays_unloaded() && self.lets_in(session, &self.config) && !self.lets_in(session, new)
    }

    /// Whether a configuration admits a session, with the live grants that the configuration allows.
    pub(super) fn lets_in(&self, session: &Session, config: &Config) -> bool {
        let Session { source, port } = session;
        let is_protected =
            config.protection().ports.contains(&ProtectedPort::new(*port, jit_common::abi::Transport::Tcp));
        config.mode == jit_common::abi::Mode::Observe
            || !is_protected
            || config.break_glass.iter().any(|prefix| prefix.contains(source))
            || self.granted(session).is_some_and(|id| !self.ended_by(&config.ports).contains(&id))
    }

    /// Returns a live grant that admits a session: the grant that ends last.
    pub(super) fn granted(&self, session: &Session) -> Option<GrantId> {
        let now = self.clock.boot();
        let covers = |entry: jit_policy::EntryKey| {
            (entry.number, entry.transport) == (session.port, jit_common::abi::Transport::Tcp)
                && entry.source.contains(&session.source)
        };
        let covering = self.book.iter().filter(|grant| grant.end > now && grant.entries().any(covers));
        covering.max_by_key(|grant| grant.end).map(|grant| grant.id)
    }

    /// Closes the kernel's entries of these grants for the time of the trial.
    fn shut(&mut self, grants: &[i64]) {
        let mut without = self.book.clone();
        for id in grants {
            if let Some((_, changes)) = without.remove(GrantId(*id)) {
                self.enforce(&changes);
            }
        }
    }

    /// Opens the kernel's entries of those grants that are still live.
    fn open_again(&mut self, grants: &[i64]) {
        for id in grants {
            let entries: Vec<_> = self.book.get(GrantId(*id)).into_iter().flat_map(|grant| grant.entries()).collect();
            let changes: Vec<_> = entries.into_iter().map(|entry| self.intended(entry)).collect();
            self.enforce(&changes);
        }
    }

    /// Continues a trial after a restart: closes again the grants that the trial closes.
    pub(super) fn go_on_with_trial(&mut self) {
        let shut = self.enforcement.trial.as_ref().map(|trial| trial.record.shut.clone()).unwrap_or_default();
        self.shut(&shut);
    }
}

/// Returns why files that were tried are not in force.
pub(super) fn unconfirmed_files(path: &str) -> String {
    format!(
        "{path}: these files were tried and not confirmed, so the configuration before them is in force; edit them, or \
         take them over from the console with `jitctl reload`, then `jit-agent confirm` where it asks for that"
    )
}
