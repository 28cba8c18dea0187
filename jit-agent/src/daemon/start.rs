//! The configuration to start with: the files, or what comes in their place where they can't be used. Ports are locked
//! whatever is broken.

use std::path::Path;

use super::host;
use crate::{
    clock::{Clock as _, SystemClock},
    config::{Config, accepted, files, trial, trial::Kind, unloaded},
    core::{LONGEST_TRIAL, Origin, Trial, unconfirmed_files},
    datapath::xdp::pinned_enforces,
};

/// What to start with.
pub(super) struct Start {
    /// The configuration.
    pub(super) config: Config,
    /// Its text, if it is to be kept for a start with broken files.
    pub(super) text: Option<String>,
    /// Where it is from.
    pub(super) origin: Origin,
    /// What else is broken.
    pub(super) faults: Vec<String>,
}

/// The configuration of the files, of the trial that runs, the one accepted last, or the defaults.
pub(super) fn configuration(path: &Path) -> Start {
    let mut faults = Vec::new();
    let loaded = files::load(path);
    let state = match &loaded {
        Ok(loaded) => loaded.config.places.state.clone(),
        Err(_) => files::salvage_places(path).state,
    };
    let record = trial::recall(&state).unwrap_or_else(|error| {
        faults.push(format!("what is said of a trial can't be used, so none runs: {error:#}"));
        None
    });
    let boot_id = host::boot().map(|boot| boot.boot_id).unwrap_or_default();
    let running = record.clone().filter(|record| record.runs(&boot_id, SystemClock.boot(), LONGEST_TRIAL));
    let mut start = match loaded {
        Ok(loaded) if record.as_ref().is_some_and(|record| was_not_confirmed(record, &loaded)) => {
            // Those are tried still, or were and have not been confirmed.
            let problem = unconfirmed_files(&path.display().to_string());
            instead(path, &state, &problem, &mut faults)
        }
        Ok(files::Loaded { config, origin, text }) => {
            Start { config, text: Some(text), origin: Origin::loaded(path, origin), faults: Vec::new() }
        }
        Err(error) => instead(path, &state, &error.to_string(), &mut faults),
    };
    start.origin.unloaded = unloaded::marked(&state);
    match running.as_ref().map(|record| (record, record.config())) {
        Some((record, Ok(tried))) => resume(&mut start, &state, record, tried, &mut faults),
        _ => forget(&state, record.as_ref(), &mut faults),
    }
    start.faults.extend(faults);
    start
}

/// Edited files that are tried, or were.
fn was_not_confirmed(record: &trial::Record, loaded: &files::Loaded) -> bool {
    record.kind == Kind::Reload && record.began_with(loaded)
}

/// Goes on with a trial, unless the files were changed since it began: then these count.
fn resume(start: &mut Start, state: &Path, record: &trial::Record, tried: Config, faults: &mut Vec<String>) {
    let same = start.origin.files.as_ref().is_none_or(|files| *files == record.files);
    if !same {
        let done = trial::forget(state);
        faults.extend(done.err().map(|error| format!("a trial that is over stays written down: {error:#}")));
        // An agent that was killed while it confirmed the trial had written this already.
        if start.config == tried {
            return;
        }
        faults.push(
            "the configuration files were changed during a trial, so it is over, and they are in force".to_owned(),
        );
        return;
    }
    let before = std::mem::replace(&mut start.config, tried);
    let before = match start.origin.unloaded {
        Some(_) => Config { mode: jit_common::abi::Mode::Observe, ..before },
        None => before,
    };
    if record.kind == Kind::Reload {
        start.origin.files = Some(record.files.clone());
        start.origin.fault = None;
    }
    start.origin.trial = Some(Trial { record: record.clone(), before });
}

/// A trial that is over need not be remembered, bar the files that were tried.
fn forget(state: &Path, record: Option<&trial::Record>, faults: &mut Vec<String>) {
    if record.is_some_and(|record| record.kind != Kind::Reload)
        && let Err(error) = trial::forget(state)
    {
        faults.push(format!("a trial that is over stays written down: {error:#}"));
    }
}

/// What is in force in place of files that can't be used.
fn instead(path: &Path, state: &Path, problem: &str, faults: &mut Vec<String>) -> Start {
    let (config, origin) = match accepted::recall(state) {
        Ok(config) => {
            let fault = format!("{problem}; the last accepted configuration stays in force");
            (config, Origin::broken(path, fault))
        }
        Err(missing) => {
            let mut config = files::salvage(path);
            if pinned_enforces(&config.places.bpffs, SystemClock.boot()) {
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
