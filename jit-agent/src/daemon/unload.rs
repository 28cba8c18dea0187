//! The command `jit-agent unload`. It works with any broken configuration. Root runs it, so it does in no directory what
//! somebody else could not do there, whatever a configuration says that somebody else could have written.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::host;
use crate::{
    config::{
        self, Places,
        trust::{self, Doubt},
        unloaded,
    },
    datapath::{DatapathError, xdp::unload},
};

/// Where the command looks for enforcement.
#[derive(Debug, PartialEq, Eq)]
struct Targets {
    /// The directories of pins.
    bpffs: Vec<PathBuf>,
    /// The directory of the mark.
    state: PathBuf,
    /// What was named and is left alone, and why.
    left_alone: Vec<String>,
}

/// Removes all enforcement, with or without a daemon. Enforcement stays removed until it is enabled again. Returns a
/// report of what was done and what is left to do by hand.
///
/// # Errors
/// A part of the enforcement can't be removed. The error names it.
pub fn remove_enforcement(config: &Path) -> anyhow::Result<String> {
    // Only the paths of the pins and of the state directory are read from the configuration.
    let Targets { bpffs, state, left_alone } =
        targets(config::named_places(config), &Places::default(), config::doubt(config).as_ref());
    let mark_before = unloaded::marked(&state);
    // The mark is set first, so that a running agent does not load the program again.
    let marked = unloaded::mark(&state, &host::who_and_when().to_string());
    let (mut removed, mut errors) = (Vec::new(), Vec::new());
    for directory in &bpffs {
        match unload(directory) {
            Ok(more) => removed.extend(more),
            Err(incomplete) => {
                removed.extend(incomplete.removed);
                errors.extend(incomplete.errors);
            }
        }
    }
    if !errors.is_empty() && removed.is_empty() {
        let unmarked = match mark_before {
            Some(by) => unloaded::mark(&state, &by),
            None => unloaded::clear(&state),
        };
        let also = unmarked.err().map(|error| format!("\n  {error:#}, so an agent that is started loads nothing"));
        bail!("nothing was removed:\n  {}{}", join(&errors), also.unwrap_or_default());
    }
    let mut notes = left_alone;
    notes.push(match marked {
        Ok(()) => "this holds until `jit-agent enable`, over restarts and reboots".to_owned(),
        Err(error) => format!(
            "warning: this could not be noted ({error:#}), so an agent that runs or is started loads the program again: \
             `systemctl disable --now jit-agent`"
        ),
    });
    let notes = notes.join("\n");
    if !errors.is_empty() {
        bail!("not removed:\n  {}\nremoved:\n  {}\n{notes}", join(&errors), removed.join("\n  "));
    }
    if removed.is_empty() {
        let looked: Vec<_> = bpffs.iter().map(|directory| directory.display().to_string()).collect();
        return Ok(format!("nothing is loaded in {}\n{notes}", looked.join(" or ")));
    }
    Ok(format!("removed:\n  {}\nthe ports are open\n{notes}", removed.join("\n  ")))
}

/// What a configuration names, if nobody else could have written it. Otherwise of that what belongs to whoever could
/// have written it, and the usual places.
fn targets(named: Places, usual: &Places, doubt: Option<&Doubt>) -> Targets {
    let Places { state, bpffs, .. } = named;
    let Some(doubt) = doubt else { return Targets { bpffs: vec![bpffs], state, left_alone: Vec::new() } };
    let mut left_alone = Vec::new();
    let mut is_used = |directory: &Path, key: &str| {
        let is_theirs = trust::find(directory, trust::own())
            .is_ok_and(|found| found.doubt().is_some_and(|found| found.is_of_the_same_user(doubt)));
        if !is_theirs {
            left_alone.push(format!("{}, which {key} names, was left alone, since {doubt}", directory.display()));
        }
        is_theirs
    };
    let state = if state == usual.state || is_used(&state, "state_dir") { state } else { usual.state.clone() };
    let mut directories = vec![usual.bpffs.clone()];
    if bpffs != usual.bpffs && is_used(&bpffs, "bpffs_dir") {
        directories.push(bpffs);
    }
    Targets { bpffs: directories, state, left_alone }
}

fn join(errors: &[DatapathError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
}
