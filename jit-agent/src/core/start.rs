//! The configuration to start with: the files, or a fallback if the files can't be used. Ports are protected whatever
//! is broken.

use std::path::Path;

use jit_policy::{BootTime, LONGEST_TRIAL, Span, TrialKind};

use super::{
    origin::{EndedTrial, Origin, Trial},
    refusal::unconfirmed_files,
};
use crate::{
    config::{Config, accepted, files, trial, unloaded},
    datapath::xdp::pinned_enforces,
};

/// The configuration to start with, and how it was found.
#[derive(Clone, Debug)]
pub struct Start {
    /// The configuration.
    pub config: Config,
    /// The configuration's text, if it is to be kept as the fallback for a start with broken files.
    pub text: Option<String>,
    /// The source of the configuration.
    pub origin: Origin,
    /// What else is broken at the start.
    pub faults: Vec<String>,
}

/// Returns the configuration for a start at a moment of a boot: that of the running trial, of the files, the last
/// accepted configuration, or the defaults. Changes nothing.
#[must_use]
pub fn configuration_at(path: &Path, boot_id: &str, now: BootTime) -> Start {
    let mut faults = Vec::new();
    let loaded = files::load(path);
    let state = match &loaded {
        Ok(loaded) => loaded.config.places.state.clone(),
        Err(_) => files::salvage_places(path).state,
    };
    let (record, doubt) = match trial::recall(&state) {
        Ok(record) => (record, None),
        Err(error) => {
            let doubt = format!("what is said of a trial can't be used, so none runs: {error:#}");
            faults.push(format!("{doubt}; remove it, then restart the agent"));
            (None, Some(doubt))
        }
    };
    let mut start = match loaded {
        Ok(loaded) => match not_wanted(path, &state, record.as_ref(), doubt, &loaded) {
            Some(problem) => instead(path, &state, &problem, now, &mut faults),
            None => Start {
                config: loaded.config,
                text: Some(loaded.text),
                origin: Origin::loaded(path, loaded.origin),
                faults: Vec::new(),
            },
        },
        Err(error) => instead(path, &state, &error.to_string(), now, &mut faults),
    };
    start.origin.unloaded = unloaded::marked(&state);
    if let Some(record) = record {
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
        go_on(&mut start, record, (boot_id, now), &mut faults);
    }
    start.faults.extend(faults);
    start
}

/// Why valid files must not be in force: they are on trial, they were tried and not confirmed, or the record of the
/// trial can't be read.
fn not_wanted(
    path: &Path,
    state: &Path,
    record: Option<&trial::Record>,
    doubt: Option<String>,
    loaded: &files::Loaded,
) -> Option<String> {
    let accepted = accepted::recall(state).ok();
    if let Some(doubt) = doubt {
        let remedy = "so it is not known whether these files were tried and not confirmed";
        let is_other = accepted.is_some_and(|accepted| accepted != loaded.config);
        return is_other.then(|| format!("{}: {doubt}, {remedy}; remove that", path.display()));
    }
    let is_tried = record.is_some_and(|record| record.kind == TrialKind::Reload && record.began_with(loaded));
    // An agent that was killed while it confirmed the files had already accepted them.
    (is_tried && accepted.as_ref() != Some(&loaded.config)).then(|| unconfirmed_files(path))
}

/// Continues a trial, unless the trial is over: its time is up, it was confirmed, or during it the files were changed
/// or enforcement was unloaded.
fn go_on(start: &mut Start, record: trial::Record, (boot_id, now): (&str, BootTime), faults: &mut Vec<String>) {
    let Ok(tried) = record.config() else { return };
    // If the files have the tried configuration, an agent was killed while it confirmed the trial.
    let confirmed = start.text.is_some() && start.origin.unloaded.is_none() && start.config == tried;
    let runs = record.runs(boot_id, now, LONGEST_TRIAL);
    let same_files = start.origin.files.as_ref().is_none_or(|files| *files == record.files);
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
    let before = match start.origin.unloaded {
        Some(_) => Config { mode: jit_common::abi::Mode::Observe, ..before },
        None => before,
    };
    if record.kind == TrialKind::Reload {
        start.origin.files = Some(record.files.clone());
        start.origin.fault = None;
    }
    start.origin.trial = Some(Trial { record, before });
}

/// Returns the fallback for files that can't be used.
fn instead(path: &Path, state: &Path, problem: &str, now: BootTime, faults: &mut Vec<String>) -> Start {
    let (config, origin) = match accepted::recall(state) {
        Ok(config) => {
            let fault = format!("{problem}; the last accepted configuration stays in force");
            (config, Origin::broken(path, fault))
        }
        Err(missing) => {
            let mut config = files::salvage(path);
            if pinned_enforces(&config.places.bpffs, now) {
                config.mode = jit_common::abi::Mode::Enforce;
            }
            faults.push(format!("no configuration was accepted before: {missing:#}"));
            let fault = format!(
                "{problem}; what of it can be used is in force, and the defaults for the rest, mode \"{}\"; correct the \
                 file, try it with `jit-agent check`, and run `jitctl reload`, or restart the agent",
                config.mode.name()
            );
            (config, Origin::broken(path, fault))
        }
    };
    Start { config, text: None, origin, faults: Vec::new() }
}
