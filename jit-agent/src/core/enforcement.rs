//! The state of enforcement that is not in the configuration: the running trial, and whether someone unloaded
//! enforcement by hand.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use jit_api::wire;
use jit_policy::{
    BootTime, GrantId, Protection, TrialKind,
    audit::{self, AuditEvent, IfAny},
};

use super::{
    origin::{EndedTrial, Trial},
    records::Records,
    refusal::{ChangeRefusal, Refusal},
    settings::Settings,
    sockets::ConnectedTo,
    times::{RETRY_INTERVAL, Times},
};
use crate::config::{
    Config, files,
    trial::{self, Record},
    unloaded::{self, Remover},
};

/// The state of enforcement.
pub(super) struct Enforcement {
    times: Times,
    /// The directory of the agent's own files. A running agent keeps it.
    state: PathBuf,
    /// The trial that runs.
    trial: Option<Trial>,
    /// A trial that was over before this start.
    ended_trial: Option<EndedTrial>,
    /// When ending the trial is retried.
    next_try: BootTime,
    /// Who unloaded enforcement by hand, and when.
    unloaded: Option<String>,
    /// The fault of the trial's file.
    fault: Option<String>,
    /// The function that finds who is connected to ports.
    connected_to: ConnectedTo,
}

impl Enforcement {
    pub(super) fn new(
        times: Times,
        state: &Path,
        (trial, ended_trial): (Option<Trial>, Option<EndedTrial>),
        connected_to: ConnectedTo,
    ) -> Self {
        Self {
            times,
            state: state.to_owned(),
            trial,
            ended_trial,
            next_try: BootTime::default(),
            unloaded: None,
            fault: None,
            connected_to,
        }
    }

    /// The trial that runs.
    pub(super) const fn trial(&self) -> Option<&Trial> {
        self.trial.as_ref()
    }

    /// Returns what the kernel is to enforce now.
    pub(super) fn protection(&self, config: &Config) -> Protection {
        match &self.trial {
            Some(trial) => trial.protection(config),
            None => config.protection(),
        }
    }

    /// Returns the running trial as people see it.
    pub(super) fn view(&self) -> Option<wire::Trial> {
        let record = &self.trial.as_ref()?.record;
        Some(wire::Trial::new(record.kind, self.times.wall_at(record.end()), self.remaining()?))
    }

    /// Returns the remaining time of the running trial.
    pub(super) fn remaining(&self) -> Option<Duration> {
        Some(self.trial.as_ref()?.record.end().since(self.times.now()))
    }

    /// Returns a refusal if a trial runs.
    pub(super) fn check_no_trial(&self) -> Result<(), Refusal> {
        match self.view() {
            None => Ok(()),
            Some(trial) => Err(ChangeRefusal::TrialRuns(trial.until_utc).into()),
        }
    }

    /// Returns the faults that the status shows.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        let under_a_trial = self.trial.as_ref().is_some_and(|trial| trial.record.unloaded == self.unloaded);
        let unloaded = self.unloaded.as_ref().filter(|_| !under_a_trial).map(|by| {
            format!("enforcement was unloaded {by}, so nothing is attached; `jit-agent enable` loads it again")
        });
        unloaded.into_iter().chain(self.fault.clone())
    }

    /// Who unloaded enforcement by hand, and when, as of the last look.
    pub(super) fn unloaded(&self) -> Option<&str> {
        self.unloaded.as_deref()
    }

    /// Looks whether nothing may be attached, because someone unloaded enforcement by hand.
    pub(super) fn check_unloaded(&mut self, records: &mut Records) -> bool {
        let marked = unloaded::marked(&self.state);
        // A trial of enforcement may begin while the mark of an unload exists, and then the mark stays for the end of
        // the trial. A later mark is an intended unload.
        if self.trial.as_ref().is_some_and(|trial| marked.is_none() || trial.record.unloaded == marked) {
            return false;
        }
        if marked.is_some() && self.unloaded.is_none() {
            tracing::error!(by = marked, "enforcement was unloaded: nothing is attached until it is enabled again");
            records.note(&unloaded_by(marked.as_deref().unwrap_or_default()));
        }
        self.unloaded = marked;
        self.unloaded.is_some()
    }

    /// Notes that enforcement is loaded for good.
    pub(super) fn clear_unloaded(&mut self) {
        self.unloaded = None;
    }

    /// Starts a trial, or continues a trial that could not be ended.
    pub(super) fn begin(&mut self, trial: Trial) {
        self.trial = Some(trial);
    }

    /// Takes the running trial out, so that no trial runs.
    pub(super) const fn take_trial(&mut self) -> Option<Trial> {
        self.trial.take()
    }

    /// Whether the kernel lacks a grant because of a trial, even of a trial that is over.
    pub(super) fn was_closed(&self, grant: GrantId) -> bool {
        let ended = self.ended_trial.iter().map(|ended| &ended.record);
        let mut records = self.trial.iter().map(|trial| &trial.record).chain(ended);
        records.any(|record| record.shut.contains(&grant.0))
    }

    /// Whether the time of the running trial is over.
    pub(super) fn is_due(&self) -> bool {
        self.next_step().is_some_and(|moment| moment <= self.times.now())
    }

    /// The moment at which the core must next end or retry to end the trial.
    pub(super) fn next_step(&self) -> Option<BootTime> {
        let trial = self.trial.as_ref()?;
        Some(trial.record.end().max(self.next_try))
    }

    /// Retries to end the trial later, and shows until then why it could not be ended.
    pub(super) fn retry_later(&mut self, refusal: &Refusal) {
        self.next_try = self.times.after(RETRY_INTERVAL);
        self.fault = Some(refusal.to_string());
    }

    /// Returns the sources that are connected to ports now, each with the port, and why the list may be incomplete.
    pub(super) fn connected(&self, ports: &[u16]) -> (Vec<(IpAddr, u16)>, Option<String>) {
        match (self.connected_to)(ports) {
            Ok(found) => (found, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        }
    }

    /// Removes the trial's record, so that no start continues the trial. For edited files that are not in force, a
    /// record stays, so that no start considers these files intended. Returns whether this is written.
    pub(super) fn forget(&mut self, record: &Record, in_force: Option<&files::Origin>) -> bool {
        let unconfirmed = record.kind == TrialKind::Reload && in_force != Some(&record.files);
        let done = if unconfirmed { trial::keep(&self.state, &record.concluded()) } else { trial::forget(&self.state) };
        self.fault = done.err().map(|error| {
            tracing::error!(%error, "the trial has ended, but stays written down");
            format!("the trial has ended, but stays written down until its time is over: {error:#}")
        });
        self.fault.is_none()
    }

    /// Removes the record of unconfirmed files, after other files are in force or these files were adopted from the
    /// console.
    pub(super) fn forget_unconfirmed_files(&mut self) {
        if let Err(error) = trial::forget(&self.state) {
            self.fault = Some(format!("what was tried last stays written down: {error:#}"));
        }
    }

    /// Records the result of a trial that was over before this start, after the grants that the trial closed are back.
    pub(super) fn conclude(&mut self, settings: &Settings, records: &mut Records) {
        // Without a store the grants are not back and the result can't be recorded.
        if records.store().is_err() {
            return;
        }
        let Some(EndedTrial { record, confirmed }) = self.ended_trial.take() else { return };
        let (by, tried, mode) = (None, record.kind, settings.config().mode);
        if confirmed {
            tracing::warn!("a trial was confirmed just before the agent stopped: what it tried is in force for good");
            records.note(&AuditEvent::Confirmed { by, tried, mode });
        } else if record != record.concluded() {
            tracing::warn!("a trial ended without having been confirmed while no agent ran");
            records.note(&AuditEvent::TrialEnded { by, tried, mode, grants: IfAny(None) });
        }
        self.forget(&record, settings.files());
    }
}

/// Returns the audit event for an unload by hand: the person, if the mark names one, else the mark's text.
fn unloaded_by(mark: &str) -> AuditEvent {
    let Some(Remover { name, login, time }) = Remover::of_mark(mark) else {
        return AuditEvent::Unloaded { by: None, time: IfAny(None), reason: IfAny(Some(mark.to_owned())) };
    };
    AuditEvent::Unloaded { by: Some(named(name, login)), time: IfAny(Some(time)), reason: IfAny(None) }
}

/// Notes that somebody accepted the files of this start by hand.
pub(super) fn accepted_by(Remover { name, login, time }: Remover) -> AuditEvent {
    AuditEvent::Accepted { by: named(name, login), time }
}

fn named(name: String, login: Option<(Option<u32>, String)>) -> audit::Remover {
    // These programs are root's. A user without a name has the user id in place of the name.
    let uid = if name == "root" { Some(0) } else { name.parse().ok() };
    audit::Remover { uid, name, login }
}
