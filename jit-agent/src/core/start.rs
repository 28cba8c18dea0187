//! The configuration to start with: the files, or a fallback if the files can't be used. Ports are protected whatever
//! is broken, and a start opens nothing that a reload would not open.

use std::path::Path;

use jit_common::abi::Mode;
use jit_policy::{BootTime, LONGEST_TRIAL, Span, TrialKind};

use super::{
    origin::{Changed, EndedTrial, Origin, Trial},
    refusal::{own_is_gone, unconfirmed_files},
};
use crate::{
    config::{
        self, Config,
        accepted::{self, Accepted},
        files::{self, Loaded},
        mark,
        opening::{self, Openings},
        trial, unloaded,
    },
    datapath::xdp::pinned_enforces,
};

/// The configuration to start with, and how it was found.
#[derive(Clone, Debug)]
pub struct Start {
    /// The configuration.
    pub config: Config,
    /// What is to be kept as accepted. `None`: what was accepted before stays.
    pub(crate) accepted: Option<Accepted>,
    /// The source of the configuration.
    pub origin: Origin,
    /// What else is broken at the start.
    pub faults: Vec<String>,
}

/// What earlier starts left in the state directory.
struct Kept {
    record: Option<trial::Record>,
    /// Why the record of the trial can't be read.
    doubt: Option<String>,
    accepted: anyhow::Result<Option<Accepted>>,
    mark: Option<mark::Mark>,
}

/// Returns the configuration for a start at a moment of a boot: that of the running trial, of the files, the last
/// accepted configuration, or the defaults. Changes nothing.
#[must_use]
pub fn configuration_at(path: &Path, boot_id: &str, now: BootTime) -> Start {
    let mut faults = Vec::new();
    let loaded = files::load(path);
    let state = match &loaded {
        Ok(loaded) => loaded.config.places.state.clone(),
        Err(_) => config::salvage_places(path).state,
    };
    let kept = kept(&state, &mut faults);
    let on_disk = loaded.as_ref().ok().map(|loaded| loaded.origin.clone());
    let mut start = match loaded {
        Ok(loaded) => match not_wanted(path, &kept, &loaded) {
            Some(problem) if !kept.is_marked(&loaded) => instead(path, kept.accepted, &problem, now, &mut faults),
            _ => taken(path, &loaded, &kept, (boot_id, now), &mut faults),
        },
        Err(error) => instead(path, kept.accepted, &error.to_string(), now, &mut faults),
    };
    start.origin.unloaded = unloaded::marked(&state);
    if let Some(record) = kept.record {
        if record.boot_id == boot_id && record.until > now.after(LONGEST_TRIAL).0 {
            faults.push(format!(
                "{}: until = {} is {} from now, and no trial lasts longer than {}, so none runs; `jit-agent enable` \
                 starts another one",
                trial::path(&state).display(),
                record.until,
                Span(record.end().since(now)),
                Span(LONGEST_TRIAL)
            ));
        }
        go_on(&mut start, on_disk.as_ref(), record, (boot_id, now), &mut faults);
    }
    start.faults.extend(faults);
    start
}

impl Kept {
    /// Whether root accepted these files by hand.
    fn is_marked(&self, loaded: &Loaded) -> bool {
        self.mark.as_ref().is_some_and(|mark| mark.is_of(&loaded.config))
    }
}

fn kept(state: &Path, faults: &mut Vec<String>) -> Kept {
    let (record, doubt) = match trial::recall(state) {
        Ok(record) => (record, None),
        Err(error) => {
            let doubt = format!("what is said of a trial can't be used, so none runs: {error:#}");
            faults.push(format!("{doubt}; remove it, then restart the agent"));
            (None, Some(doubt))
        }
    };
    let mark = mark::recall(state).unwrap_or_else(|error| {
        faults.push(format!("what `jit-agent accept` noted can't be used: {error:#}; run it again"));
        None
    });
    Kept { record, doubt, accepted: accepted::recall(state), mark }
}

/// Why valid files must not be in force: they are on trial, they were tried and not confirmed, or the record of the
/// trial can't be read.
fn not_wanted(path: &Path, kept: &Kept, loaded: &Loaded) -> Option<String> {
    let former = kept.accepted.as_ref().ok().and_then(Option::as_ref);
    let accepted = former.map(|former| &former.config);
    if let Some(doubt) = &kept.doubt {
        let remedy = "so it is not known whether these files were tried and not confirmed";
        let is_other = accepted.is_some_and(|accepted| *accepted != loaded.config);
        return is_other.then(|| format!("{}: {doubt}, {remedy}; remove that", path.display()));
    }
    if former.is_some_and(|former| former.own) && !loaded.origin.has_own() && accepted != Some(&loaded.config) {
        return Some(own_is_gone(path));
    }
    let is_tried = |record: &trial::Record| record.kind == TrialKind::Reload && record.began_with(loaded);
    // An agent that was killed while it confirmed the files had already accepted them.
    (kept.record.as_ref().is_some_and(is_tried) && accepted != Some(&loaded.config)).then(|| unconfirmed_files(path))
}

/// Returns the configuration of valid files, as far as they open nothing that was accepted as shut.
fn taken(
    path: &Path,
    loaded: &Loaded,
    kept: &Kept,
    (boot_id, now): (&str, BootTime),
    faults: &mut Vec<String>,
) -> Start {
    let files = || Start {
        config: loaded.config.clone(),
        accepted: Some(loaded.accepted()),
        origin: Origin::loaded(path, loaded),
        faults: Vec::new(),
    };
    let record = kept.record.as_ref();
    let former = match &kept.accepted {
        Ok(Some(former)) => former,
        Ok(None) | Err(_) => {
            if let Err(error) = &kept.accepted {
                faults.push(format!("what was accepted before can't be used: {error:#}"));
            }
            let is_trial = record.is_some_and(|record| record.runs(boot_id, now, LONGEST_TRIAL));
            let is_free = loaded.config.mode == Mode::Enforce || is_trial || kept.is_marked(loaded);
            if is_free || !pinned_enforces(&loaded.config.places.bpffs, now) {
                return files();
            }
            let fault = refused(path, &Openings::observe());
            let config = Config { mode: Mode::Enforce, ..loaded.config.clone() };
            return Start { config, accepted: None, origin: Origin::broken(path, fault), faults: Vec::new() };
        }
    };
    // Whoever confirms a trial has named what it opens. The agent may have been killed before it could note that.
    // A confirmed reload was noted as accepted first.
    let is_confirmed = record.is_some_and(|record| {
        record.kind != TrialKind::Reload
            && !record.is_concluded()
            && record.config().is_ok_and(|tried| tried == loaded.config)
    });
    let marked = kept.mark.as_ref().filter(|mark| mark.is_of(&loaded.config)).map(|mark| mark.by.clone());
    let is_checked = former.config.mode == Mode::Enforce && marked.is_none() && !is_confirmed;
    let openings = Openings::between(&former.config, &loaded.config);
    let mut start = files();
    if is_checked && !openings.is_empty() {
        start.config = opening::stricter(&former.config, &loaded.config);
        start.origin = Origin::broken(path, refused(path, &openings));
        // A key that was written when it was accepted must not become a default by being removed.
        let absent = loaded.absent.intersection(&former.absent).cloned().collect();
        start.accepted = Some(Accepted { config: start.config.clone(), absent, own: loaded.origin.has_own() });
        if kept.mark.is_some() {
            faults
                .push("the files were changed after `jit-agent accept`, so it does not count; run it again".to_owned());
        }
    }
    if start.config != former.config && !is_confirmed {
        let (before, now) = (former.config.clone(), start.config.clone());
        start.origin.changed = Some(Changed { before, now, accepted_by: marked });
    }
    start
}

/// Says what valid files would open, and how to open it.
fn refused(path: &Path, openings: &Openings) -> String {
    let named = &openings.named;
    let allow = if named.is_empty() { String::new() } else { format!(" --allow-open {}", named.join(" ")) };
    format!(
        "{}: these files would leave unprotected what nobody named: {openings}; for that, what was accepted before stays in \
         force; run `jitctl reload{allow}` if it is to be open, or `jit-agent accept` as root while no agent runs",
        path.display()
    )
}

/// Continues a trial, unless the trial is over: its time is up, it was confirmed, or during it the files were changed
/// or enforcement was unloaded.
fn go_on(
    start: &mut Start,
    on_disk: Option<&files::Origin>,
    record: trial::Record,
    (boot_id, now): (&str, BootTime),
    faults: &mut Vec<String>,
) {
    let Ok(tried) = record.config() else { return };
    // If the files have the tried configuration, an agent was killed while it confirmed the trial.
    let confirmed = !record.is_concluded()
        && start.origin.files.is_some()
        && start.origin.unloaded.is_none()
        && start.config == tried;
    let runs = record.runs(boot_id, now, LONGEST_TRIAL);
    let same_files = on_disk.is_none_or(|files| *files == record.files);
    let same_mark = start.origin.unloaded == record.unloaded;
    if confirmed || !runs || !same_files || !same_mark {
        if runs && !confirmed && same_mark {
            faults.push(
                "the configuration files were changed during a trial, so it is over, and they are in force".to_owned(),
            );
        }
        start.origin.ended_trial = Some(EndedTrial { record, confirmed });
        return;
    }
    let before = std::mem::replace(&mut start.config, tried);
    let derived = if start.origin.unloaded.is_some() { Mode::Observe } else { before.mode };
    let before = Config { mode: record.mode_before.unwrap_or(derived), ..before };
    if record.kind == TrialKind::Reload {
        start.origin.files = Some(record.files.clone());
        start.origin.fault = None;
    }
    start.origin.trial = Some(Trial { record, before });
}

/// Returns the fallback for files that can't be used.
fn instead(
    path: &Path,
    accepted: anyhow::Result<Option<Accepted>>,
    problem: &str,
    now: BootTime,
    faults: &mut Vec<String>,
) -> Start {
    let (config, origin) = match accepted {
        Ok(Some(accepted)) => {
            let fault = format!("{problem}; the last accepted configuration stays in force");
            (accepted.config, Origin::broken(path, fault))
        }
        missing => {
            let mut config = config::salvage(path);
            if pinned_enforces(&config.places.bpffs, now) {
                config.mode = Mode::Enforce;
            }
            faults.push(match missing {
                Err(error) => format!("what was accepted before can't be used: {error:#}"),
                Ok(_) => "no configuration was accepted before".to_owned(),
            });
            let fault = format!(
                "{problem}; what of it can be used is in force, mode \"{}\", and nobody is let in to a port whose policy \
                 can't be read; correct the file, try it with `jit-agent check`, and run `jitctl reload`, or restart the \
                 agent",
                config.mode.name()
            );
            (config, Origin::broken(path, fault))
        }
    };
    Start { config, accepted: None, origin, faults: Vec::new() }
}
