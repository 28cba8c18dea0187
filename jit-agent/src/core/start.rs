//! The configuration to start with: the files, or what comes in their place where they can't be used. Ports are locked
//! whatever is broken.

use std::path::Path;

use jit_policy::{BootTime, LONGEST_TRIAL, Span, TrialKind};

use super::{Origin, Over, Trial, trial::unconfirmed_files};
use crate::{
    config::{Config, accepted, files, trial, unloaded},
    datapath::xdp::pinned_enforces,
};

/// What to start with.
#[derive(Clone, Debug)]
pub struct Start {
    /// The configuration.
    pub config: Config,
    /// Its text, if it is to be kept for a start with broken files.
    pub text: Option<String>,
    /// Where it is from.
    pub origin: Origin,
    /// What else is broken.
    pub faults: Vec<String>,
}

/// The configuration of the files, of the trial that runs, the one accepted last, or the defaults, at a moment of a boot.
/// Changes nothing.
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

/// Why files that could be in force must not be: they are tried still, or were and have not been confirmed, or nobody
/// can tell.
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
    // An agent that was killed while it confirmed them had accepted them already.
    (is_tried && accepted.as_ref() != Some(&loaded.config)).then(|| unconfirmed_files(&path.display().to_string()))
}

/// Goes on with a trial, unless it is over: by its time, by a confirmation, or since the files were changed or all was
/// unloaded while it ran.
fn go_on(start: &mut Start, record: trial::Record, (boot_id, now): (&str, BootTime), faults: &mut Vec<String>) {
    let Ok(tried) = record.config() else { return };
    // What the files say is what was tried: an agent was killed while it confirmed the trial.
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
        start.origin.over = Some(Over { record, confirmed });
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

/// What is in force in place of files that can't be used.
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
